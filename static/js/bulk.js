// Bulk selection: `[data-bulk]` holds rows with checkboxes `[data-pick]`, one `[data-pick-all]`, a bar `[data-bulk-bar]`
// and a `[data-count]`. Shift extends a selection.
let last = null;

function refresh(group) {
  const picks = [...group.querySelectorAll("[data-pick]")];
  const picked = picks.filter((each) => each.checked);
  for (const each of picks) each.closest("tr, li")?.setAttribute("aria-selected", String(each.checked));
  const all = group.querySelector("[data-pick-all]");
  if (all) {
    all.checked = picks.length > 0 && picked.length === picks.length;
    all.indeterminate = picked.length > 0 && picked.length < picks.length;
  }
  for (const count of group.querySelectorAll("[data-count]")) count.textContent = String(picked.length);
  for (const bar of group.querySelectorAll("[data-bulk-bar]")) bar.hidden = picked.length === 0;
}

document.addEventListener("click", (event) => {
  const box = event.target.closest?.("[data-pick], [data-pick-all]");
  const group = box?.closest("[data-bulk]");
  if (!group) return;
  const picks = [...group.querySelectorAll("[data-pick]")];
  if (box.matches("[data-pick-all]")) {
    for (const each of picks) each.checked = box.checked;
  } else if (event.shiftKey && last && group.contains(last)) {
    const [from, to] = [picks.indexOf(last), picks.indexOf(box)].sort((a, b) => a - b);
    for (const each of picks.slice(from, to + 1)) each.checked = box.checked;
  }
  if (box.matches("[data-pick]")) last = box;
  refresh(group);
});

const refreshAll = () => document.querySelectorAll("[data-bulk]").forEach(refresh);
document.addEventListener("htmx:afterSwap", refreshAll);
refreshAll();
