// Leaving a form marked `data-guard` with changes asks first. Sending it does not, nor does what the server keeps
// unfinished (event `kept`).
let sending = false;
const changed = new Set();

document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (form?.matches("[data-guard]")) changed.add(form);
});
document.addEventListener("submit", (event) => {
  if (!event.defaultPrevented) sending = true;
});
document.addEventListener("htmx:afterRequest", (event) => {
  sending = false;
  if (event.detail.successful) changed.delete(event.target.closest?.("form"));
});
document.addEventListener("kept", (event) => changed.delete(event.target));
window.addEventListener("beforeunload", (event) => {
  if (!sending && [...changed].some((form) => form.isConnected)) event.preventDefault();
});

// A form sent twice by an impatient double click is one act too many.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method === "dialog" || event.target.method === "get") return;
  if (event.target.dataset.sent) {
    event.preventDefault();
    return;
  }
  event.target.dataset.sent = "1";
  setTimeout(() => delete event.target.dataset.sent, 3000);
});
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));
