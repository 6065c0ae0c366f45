// Dialogs, menus and dismissals. `data-opens="id"` opens a <dialog>; the link or button under it works without scripts.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  const dialog = opener && document.getElementById(opener.dataset.opens);
  if (dialog instanceof HTMLDialogElement) {
    event.preventDefault();
    opener.closest("details.drop")?.removeAttribute("open");
    document.querySelector(".nav:popover-open")?.hidePopover();
    dialog.showModal();
    return;
  }
  if (event.target instanceof HTMLDialogElement) event.target.close(); // a click beside the dialog, on its backdrop
  if (event.target.closest("[data-dismiss]")) event.target.closest(".notice")?.remove();
  if (event.target.closest("[data-back]")) history.back();
  for (const menu of document.querySelectorAll("details.drop[open]")) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.drop[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// A destructive form asks once more; without scripts its own page does.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// The address bar shows the fragment of an open dialog, so that a link can open one.
const wanted = location.hash && document.getElementById(location.hash.slice(1));
if (wanted instanceof HTMLDialogElement) wanted.showModal();

for (const button of document.querySelectorAll("[data-dismiss], [data-back]")) button.hidden = false;

// Focus goes to what went wrong.
document.querySelector("[data-errors]")?.focus();
