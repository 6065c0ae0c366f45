// Everything works without this file; it makes the same things quicker. Elements say what they want with data-
// attributes, because the content security policy allows no inline code and htmx evaluates none.
import "./keys.js";
import "./dialogs.js";
import "./bulk.js";
import "./unsaved.js";
import "./requests.js";
import "./copy.js";
