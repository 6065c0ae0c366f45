// Copy buttons appear only where they can work, and say so when they have.
const SAID_MS = 1600;

function show() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), SAID_MS);
});
document.addEventListener("htmx:afterSwap", show);
show();
