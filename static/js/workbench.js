// The workbench beyond plain forms: Ctrl+Enter from anywhere, switches that choose Reduce and the list of what goes,
// a selection that outlives the page, and progress read aloud. Single keys are named by data-keys and live in keys.js.
const form = document.getElementById("decision");
const switches = [...document.querySelectorAll("[data-keep]")];

function refreshPlan() {
  for (const each of switches) each.closest("tr")?.classList.toggle("cut", !each.checked);
  const plan = document.querySelector("[data-plan]");
  const row = document.querySelector("[data-plan-row]");
  if (!plan || !row) return;
  plan.replaceChildren(
    ...switches
      .filter((each) => !each.checked)
      .map((each) => {
        const line = row.content.firstElementChild.cloneNode(true);
        line.querySelector("code").textContent = each.dataset.keep;
        return line;
      }),
  );
}

document.addEventListener("change", (event) => {
  if (!event.target.matches?.("[data-keep]")) return;
  refreshPlan();
  const reduce = form?.querySelector("[value=certify_reduced]");
  if (reduce && switches.some((each) => !each.checked)) reduce.checked = true;
});

// keys.js sends the form that has the focus; elsewhere the one thing to do next is meant: decide, see what changed,
// sign.
document.addEventListener(
  "keydown",
  (event) => {
    const own = event.target.form;
    if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter" || (own && !own.matches("[data-picks]"))) return;
    const next = form?.querySelector("[data-next]") ?? document.querySelector("main [data-next], [data-goal] .btn.primary");
    if (!next) return;
    event.preventDefault();
    next.click();
  },
  true,
);

// What is selected in the queue, kept while one moves from item to item.
const picks = document.querySelector("[data-picks]");
if (picks) {
  const key = `picks-${picks.dataset.picks}`;
  const chosen = new Set(JSON.parse(sessionStorage.getItem(key) ?? "[]"));
  const boxes = [...picks.querySelectorAll("[type=checkbox]")];
  const current = picks.querySelector("[data-keys=x]")?.value;
  const keep = () => sessionStorage.setItem(key, JSON.stringify([...chosen]));
  const refresh = () => {
    picks.querySelector("[data-picked]").hidden = chosen.size === 0;
    picks.querySelector("[data-count]").textContent = String(chosen.size);
  };
  for (const box of boxes) box.checked = chosen.has(box.value);
  picks.addEventListener("change", (event) => {
    if (event.target.checked) chosen.add(event.target.value);
    else chosen.delete(event.target.value);
    keep();
    refresh();
  });
  picks.addEventListener("submit", () => {
    for (const value of chosen) {
      if (boxes.some((box) => box.value === value)) continue;
      picks.append(Object.assign(document.createElement("input"), { type: "hidden", name: "item", value }));
    }
    sessionStorage.removeItem(key);
  });
  form?.addEventListener("submit", () => {
    if (chosen.delete(current)) keep();
  });
  refresh();
}

// A status that is there from the start is read by nobody: it is said once the page stands.
for (const line of document.querySelectorAll("[data-announce]")) {
  const words = line.textContent;
  line.textContent = "";
  setTimeout(() => (line.textContent = words), 400);
}

// The current entry of a long queue is in view.
document.querySelector(".q.current")?.scrollIntoView({ block: "nearest" });

// All evidence opens in place, so that a choice and words that are not saved stay; the server notes that it was asked.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-evidence]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  window.htmx.ajax("GET", link.href.split("#")[0], { target: "#all", swap: "outerHTML show:#all:top" });
});
if (switches.length) refreshPlan();
