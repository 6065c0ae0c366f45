// htmx: the CSRF token, the thin bar for slow answers, and a toast for an answer that cannot be swapped in.
const TOAST_MS = 12000;
let running = 0;

const cookie = (name) =>
  document.cookie
    .split("; ")
    .find((part) => part.startsWith(`${name}=`))
    ?.slice(name.length + 1) ?? "";

document.addEventListener("htmx:configRequest", (event) => {
  const token = cookie("csrftoken") || document.querySelector("[name=csrfmiddlewaretoken]")?.value;
  if (event.detail.verb !== "get" && token) event.detail.headers["X-CSRFToken"] = token;
  // A filter nobody filled in does not belong into an address that people share.
  if (event.target.matches("[data-filters]")) {
    const form = event.target;
    for (const [name, value] of [...event.detail.formData]) if (value === "") event.detail.formData.delete(name);
    // Leaving a field tells of a change that typing has told already; asking twice would move rows under the reader.
    const question = new URLSearchParams(event.detail.formData).toString();
    if (form.dataset.asked === question && event.detail.triggeringEvent?.type === "change") event.preventDefault();
    form.dataset.asked = question;
  }
});

const busy = (step) => {
  running = Math.max(running + step, 0);
  document.body.classList.toggle("busy", running > 0);
};
document.addEventListener("htmx:beforeRequest", () => busy(1));
document.addEventListener("htmx:afterRequest", () => busy(-1));

export function toast(words) {
  const template = document.getElementById("toast");
  if (!template) return;
  const notice = template.content.firstElementChild.cloneNode(true);
  notice.querySelector("[data-words]").textContent = words;
  document.getElementById("toasts").append(notice);
  setTimeout(() => notice.remove(), TOAST_MS);
}

document.addEventListener("htmx:responseError", (event) => {
  const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  const words = answer.querySelector("[data-error], [data-errors], main h1")?.textContent.trim().replace(/\s+/g, " ");
  toast(words || `${event.detail.xhr.status} ${event.detail.xhr.statusText}`);
});
const say = (name) => toast(document.getElementById("toasts").dataset[name]);
document.addEventListener("htmx:sendError", () => say("noAnswer"));
document.addEventListener("htmx:timeout", () => say("tooSlow"));

// A panel that failed says so in its place and offers to try again; the page lives.
document.addEventListener("htmx:afterRequest", (event) => {
  const panel = event.target.closest?.("[id^=panel-]");
  if (!panel || event.detail.successful) return;
  const again = document.createElement("button");
  again.className = "btn";
  again.type = "button";
  again.textContent = document.getElementById("toasts").dataset.retry;
  again.addEventListener("click", () => window.htmx.trigger(panel, "retry"));
  const body = document.createElement("div");
  body.className = "body";
  body.append(again);
  panel.querySelector(".panel-body").replaceChildren(body);
});

// After a swap, focus goes to the first thing that needs attention.
document.addEventListener("htmx:afterSwap", (event) => {
  event.target.querySelector?.("[data-errors]")?.focus();
});
