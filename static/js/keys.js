// Keyboard: Ctrl/Cmd K searches, Ctrl/Cmd Enter submits, Escape leaves a field; single keys go, filter, move and open.
// A control names its key in data-keys; after the key, the focus goes on to what data-leads selects.
// Single keys can be switched off in the account (WCAG 2.1.4) and never fire while somebody types.
const PREFIX_MS = 1500;
let prefix = "";
let prefixTimer = 0;

const typing = (element) =>
  element.isContentEditable || element.matches("input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select");

const shown = (element) => element && element.getClientRects().length > 0;

function press(element) {
  if (!element) return false;
  element.focus({ preventScroll: false });
  element.click();
  if (element.dataset.leads) document.querySelector(element.dataset.leads)?.focus();
  return true;
}

function search() {
  const field = document.querySelector("[data-search]");
  if (shown(field)) field.select();
  else document.querySelector(".search-link")?.click();
}

const rows = () => [...document.querySelectorAll("[data-rows] > tr, [data-rows] > li, [data-rows] > .q")].filter(shown);

function move(step) {
  const all = rows();
  if (!all.length) return false;
  const here = all.findIndex((row) => row.classList.contains("here"));
  const next = all[Math.min(Math.max(here + step, 0), all.length - 1)];
  all[here]?.classList.remove("here");
  next.classList.add("here");
  (next.matches("a") ? next : next.querySelector("a"))?.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

const currentRow = () => rows().find((row) => row.classList.contains("here") || row.contains(document.activeElement));

const actions = {
  "/": () => {
    const field = document.querySelector("[data-filters] [name=q], [data-filters] input, [data-filters] select");
    if (!field) return false;
    const fold = field.closest("details:not([open])");
    if (fold) fold.open = true;
    if (!shown(field)) field.closest("[popover]")?.showPopover();
    field.focus();
    return true;
  },
  "?": () => {
    document.getElementById("help")?.showModal();
    return true;
  },
  j: () => move(1),
  k: () => move(-1),
  o: () => press(currentRow()?.querySelector("a") ?? null),
  x: () => press(currentRow()?.querySelector("input[type=checkbox]") ?? null),
};

function single(key) {
  const wanted = prefix ? `${prefix} ${key}` : key;
  prefix = "";
  clearTimeout(prefixTimer);
  // A control of this page that names the key comes before the general meaning of the key.
  const control = [...document.querySelectorAll(`[data-keys="${CSS.escape(wanted)}"]`)].find((each) => shown(each) || wanted.startsWith("g "));
  if (control) return press(control);
  if (wanted === "g") {
    prefix = "g";
    prefixTimer = setTimeout(() => (prefix = ""), PREFIX_MS);
    return true;
  }
  return actions[wanted]?.() ?? false;
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "k") {
      event.preventDefault();
      search();
    } else if (event.key === "Enter" && event.target.form) {
      event.preventDefault();
      const form = event.target.form;
      form.requestSubmit(form.querySelector("[data-next]") ?? undefined);
    }
    return;
  }
  if (event.key === "Escape" && typing(event.target)) event.target.blur(); // and single keys mean something again
  if (event.altKey || typing(event.target) || document.body.dataset.singleKeys !== "on") return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key.length === 1 && single(event.key)) event.preventDefault();
});
