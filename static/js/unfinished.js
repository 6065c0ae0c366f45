// Keeps a form marked data-unfinished on the server while somebody fills it in: a choice at once, words when the fingers
// rest, the rest of it when the page goes. What is kept needs no "Leave page?" (see unsaved.js).
const REST_MS = 800;
const form = document.querySelector("form[data-unfinished]");
const line = document.querySelector("[data-kept]");
let timer = 0;
let dirty = false; // something is on the page that the server was not told
let running = false;
let leaving = false;

const cookie = (name) =>
  document.cookie
    .split("; ")
    .find((part) => part.startsWith(`${name}=`))
    ?.slice(name.length + 1) ?? "";

function answer() {
  const data = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (["value", "reason", "kept", "until", "switches", "version"].includes(name)) data.append(name, value);
  }
  return data;
}

const send = (keepalive) =>
  fetch(form.dataset.unfinished, {
    method: "POST",
    body: answer(),
    // A sign-in in another tab has changed the token of this page.
    headers: { "X-CSRFToken": cookie("csrftoken") || form.querySelector("[name=csrfmiddlewaretoken]").value },
    redirect: "manual",
    keepalive,
  });

function say(words, failed = false) {
  line.toggleAttribute("hidden", !words);
  line.classList.toggle("tone-danger", failed);
  // Read aloud only when something is wrong: that all is well is not said at every pause.
  if (failed) line.setAttribute("role", "alert");
  else line.removeAttribute("role");
  line.querySelector("[data-words]").textContent = words;
}

async function keep() {
  if (leaving) return;
  if (running) {
    later(REST_MS);
    return;
  }
  running = true;
  dirty = false;
  try {
    const response = await send(false);
    if (response.type === "opaqueredirect") throw new Error("signedOut");
    const { words } = await response.json();
    if (!response.ok) say(words, true);
    else if (!dirty) {
      say(words);
      form.dispatchEvent(new CustomEvent("kept", { bubbles: true }));
    }
  } catch (error) {
    dirty = true;
    if (!leaving) say(error.message === "signedOut" ? line.dataset.signedOut : line.dataset.offline, true);
  } finally {
    running = false;
  }
}

function later(ms) {
  dirty = true;
  clearTimeout(timer);
  timer = setTimeout(keep, ms);
}

if (form && line) {
  // Switches stand outside of the form they belong to, so their events do not pass it.
  document.addEventListener("input", (event) => {
    if (event.target.form === form && event.target.name !== "password") later(event.target.matches("textarea") ? REST_MS : 0);
  });
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    leaving = true;
    clearTimeout(timer);
    const token = cookie("csrftoken");
    const field = event.target.querySelector("[name=csrfmiddlewaretoken]");
    if (token && field) field.value = token;
  });
  window.addEventListener("pagehide", () => {
    if (dirty && !leaving) send(true);
  });
  window.addEventListener("pageshow", () => (leaving = false));
}
