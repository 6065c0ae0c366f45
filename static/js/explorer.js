// The explorer beyond plain links: questions without a reload, zoom, dragging, and arrows that walk along the lines.
// Every link and form works without this file; what the page shows stands in its address.
const page = document.querySelector(".atlas-page");
const ZOOM = 1.25;
const NEARLY = 0.87; // the smallest size at which a picture is shown whole without being asked
let zoom = 0; // 0: as the page shows it
let fitted = false; // the whole width at once, however wide it is
let place = { left: 0, top: 0 };

const explorer = () => document.getElementById("explorer");
const chart = () => document.getElementById("chart");
const sheet = () => document.querySelector("[data-sheet]");

// --- Zoom --------------------------------------------------------------------------------------------------

function size() {
  const picture = chart();
  if (!picture) return;
  const { width, height } = picture.viewBox.baseVal;
  picture.classList.toggle("zoomed", zoom > 0);
  picture.classList.toggle("fitted", fitted);
  picture.setAttribute("width", String(width * (zoom || 1)));
  picture.setAttribute("height", String(height * (zoom || 1)));
}

function zooms(how) {
  const picture = chart();
  const area = sheet();
  if (!picture || !area) return;
  const now = picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
  const across = (area.scrollLeft + area.clientWidth / 2) / area.scrollWidth;
  const down = (area.scrollTop + area.clientHeight / 2) / area.scrollHeight;
  fitted = how === "fit";
  zoom = fitted ? 0 : Math.min(Math.max(now * (how === "in" ? ZOOM : 1 / ZOOM), 0.1), 4);
  size();
  area.scrollLeft = across * area.scrollWidth - area.clientWidth / 2;
  area.scrollTop = down * area.scrollHeight - area.clientHeight / 2;
}

// --- Walking -----------------------------------------------------------------------------------------------

const boxes = () => [...document.querySelectorAll("#chart a.box")];
const x = (box) => box.parentNode.transform.baseVal.getItem(0).matrix.e;

// One box is in the tab order, the arrows reach the others.
function rove(box) {
  for (const each of boxes()) each.setAttribute("tabindex", each === box ? "0" : "-1");
}

function step(box, key) {
  const all = boxes();
  if (key === "ArrowUp" || key === "ArrowDown") {
    const column = all.filter((each) => x(each) === x(box));
    return column[column.indexOf(box) + (key === "ArrowDown" ? 1 : -1)];
  }
  const [from, to] = key === "ArrowRight" ? [0, 1] : [1, 0];
  const near = new Set(
    [...document.querySelectorAll("#chart [data-e]")]
      .map((line) => line.dataset.e.split(" "))
      .filter((ends) => ends[from] === box.dataset.n)
      .map((ends) => ends[to]),
  );
  const middle = box.getBoundingClientRect().top;
  return all
    .filter((each) => near.has(each.dataset.n))
    .sort((one, other) => Math.abs(one.getBoundingClientRect().top - middle) - Math.abs(other.getBoundingClientRect().top - middle))[0];
}

page?.addEventListener("keydown", (event) => {
  const box = event.target.closest?.("a.box");
  if (!box || !event.key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const next = step(box, event.key);
  if (!next) return;
  rove(next);
  next.focus();
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
});

// --- Asking without a reload -------------------------------------------------------------------------------

function remember() {
  const area = sheet();
  if (area) place = { left: area.scrollLeft, top: area.scrollTop };
}

page?.addEventListener("click", (event) => {
  if (event.target.closest("[data-to-picture]") && boxes().length) {
    event.preventDefault();
    return boxes().find((box) => box.getAttribute("tabindex") === "0")?.focus();
  }
  const zoomer = event.target.closest("[data-zooms]");
  if (zoomer) return zooms(zoomer.dataset.zooms);
  const link = event.target.closest("a");
  if (!link || !explorer()?.contains(link) || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const target = new URL(link.getAttribute("href"), location.href);
  if (target.pathname !== location.pathname || link.dataset.plain !== undefined) return;
  event.preventDefault();
  touched = link.closest(".node")?.querySelector(".box")?.id ?? "";
  window.htmx.ajax("GET", target.pathname + target.search, { target: "#explorer", swap: "outerHTML", source: explorer() });
});

// --- Dragging ----------------------------------------------------------------------------------------------

let drag = null;
page?.addEventListener("pointerdown", (event) => {
  const area = event.target.closest("[data-sheet]");
  if (!area || event.pointerType !== "mouse" || event.button || event.target.closest("a")) return;
  drag = { area, left: area.scrollLeft + event.clientX, top: area.scrollTop + event.clientY };
  area.classList.add("dragged");
});
addEventListener("pointermove", (event) => {
  if (!drag) return;
  drag.area.scrollLeft = drag.left - event.clientX;
  drag.area.scrollTop = drag.top - event.clientY;
});
addEventListener("pointerup", () => {
  drag?.area.classList.remove("dragged");
  drag = null;
});

// --- Before and after an answer ----------------------------------------------------------------------------

let filtering = false; // the drawer of filters was open
let sameQuestion = "";
let focused = ""; // the id of what had the focus within the explorer
let touched = ""; // the id of the box whose link was followed
let known = new Set(); // the boxes that were there

function question() {
  const query = new URLSearchParams(location.search);
  return ["ask", "of", "to"].map((name) => query.get(name) ?? "").join(" ");
}

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target !== explorer()) return;
  remember();
  focused = explorer().contains(document.activeElement) ? document.activeElement.id : "";
  known = new Set(boxes().map((box) => box.id));
  sameQuestion = question();
  filtering = document.getElementById("facets")?.matches(":popover-open") ?? false;
});

function settle() {
  const area = sheet();
  const picture = chart();
  document.querySelector("[data-zoom]")?.removeAttribute("hidden");
  if (!picture || !area) return;
  // What is a little too wide is shown a little smaller, rather than without its last column.
  const { width } = picture.viewBox.baseVal;
  if (!zoom && width > area.clientWidth && width * NEARLY <= area.clientWidth) fitted = true;
  size();
  const selected = explorer().dataset.selected;
  const box = (selected && document.getElementById(`n-${selected}`)) || boxes()[0];
  if (box) rove(box);
}

document.addEventListener("htmx:afterSettle", (event) => {
  if (!event.target.closest?.("#explorer") && event.target.id !== "explorer") return;
  if (filtering) document.getElementById("facets")?.showPopover();
  if (question() !== sameQuestion) {
    zoom = 0;
    fitted = false;
  }
  settle();
  const area = sheet();
  if (area && question() === sameQuestion) {
    area.scrollTo({ ...place, behavior: "instant" });
    // What was expanded or folded may have moved with everything else.
    bring(document.getElementById(touched));
  } else show();
  touched = "";
  // What was chosen keeps the focus, so that the arrows go on from there.
  if (explorer().contains(document.activeElement)) return;
  const selected = explorer().dataset.selected;
  // A group that was opened is no longer there: the focus goes on to the first of what came out of it.
  const box =
    (selected && document.getElementById(`n-${selected}`)) ||
    (focused && document.getElementById(focused)) ||
    (known.size && boxes().find((each) => !known.has(each.id)));
  if (!box) return;
  if (box.matches("a.box")) rove(box);
  box.focus({ preventScroll: true });
});

// A tall picture begins where the question is about, not at its top.
function show() {
  bring(document.querySelector("#chart .node.sel, #chart .node.seed, #chart .node.cut"));
}

function bring(about) {
  const area = sheet();
  if (!area || !about) return;
  const box = about.getBoundingClientRect();
  const frame = area.getBoundingClientRect();
  if (box.top < frame.top || box.bottom > frame.bottom) area.scrollTop += box.top - frame.top - frame.height / 2;
  if (box.left < frame.left || box.right > frame.right) area.scrollLeft += box.left - frame.left - frame.width / 2;
}

settle();
show();
