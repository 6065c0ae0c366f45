// Everything works without this file; it makes the same things quicker. Elements say what they want with data-
// attributes, because the content security policy allows no inline code and htmx evaluates none.
import "./keys.js";
import "./dialogs.js";
import "./bulk.js";
import "./unsaved.js";
import "./requests.js";
import "./copy.js";

// Where the steps of a form are one scrolling line, the current one is in sight.
const step = document.querySelector(".wsteps [aria-current]");
if (step) {
  const strip = step.closest(".wsteps");
  strip.scrollLeft += step.getBoundingClientRect().left - strip.getBoundingClientRect().left - 16;
}

// Of tabs that do not fit into one line, the current one is in sight.
for (const current of document.querySelectorAll(".tabs > [aria-current], .seg.scrolls > [aria-current]")) {
  const strip = current.parentNode;
  const beyond = current.getBoundingClientRect().right - strip.getBoundingClientRect().right;
  if (beyond > 0) strip.scrollLeft += beyond + 16;
}
