// The workbench beyond plain forms: Ctrl+Enter from anywhere, switches that choose Reduce, and the list of what goes.
// Single keys are named by data-keys on the controls and handled in keys.js.
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

// keys.js sends the form that has the focus; here it is always the decision.
document.addEventListener(
  "keydown",
  (event) => {
    if (!form?.requestSubmit || !(event.ctrlKey || event.metaKey) || event.key !== "Enter" || event.target.form) return;
    event.preventDefault();
    form.requestSubmit(form.querySelector("[data-next]"));
  },
  true,
);

// The current entry of a long queue is in view.
document.querySelector(".q[aria-current]")?.scrollIntoView({ block: "nearest" });
if (switches.length) refreshPlan();
