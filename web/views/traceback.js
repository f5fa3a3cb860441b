/** A traceback: the app's own last frame first, those of libraries folded, and all of it in the order in which it came. */

import { lastOwn, partsOf } from "../model/traceback.js";
import { el } from "./dom.js";

/** @typedef {import("../model/traceback.js").Frame} Frame */
/** @typedef {import("../model/traceback.js").Part} Part */

/** What each element shows, which is left alone as long as it is the same: a fold that was opened stays open. */
const written = new WeakMap();

/** Show a traceback in an element; what doesn't look like one of Python is shown as it came. */
export function writeTraceback(/** @type {HTMLElement} */ element, /** @type {string} */ text) {
  if (written.get(element) === text) return;
  written.set(element, text);
  const parts = partsOf(text);
  element.replaceChildren(...(parts ? structured(parts) : [text]));
}

/** @returns {Node[]} */
function structured(/** @type {Part[]} */ parts) {
  const last = lastOwn(parts);
  const first = last && el("div", { class: "last-own" }, el("p", { class: "trace-label", text: "Last in your code" }), frame(last));
  const whole = parts.map((part) => {
    if ("text" in part) return el("div", { class: "trace-text", text: part.text });
    const frames = part.frames.map((each) => (each === last ? el("div", { class: "own last", text: each.text }) : frame(each)));
    if (!part.library) return el("div", {}, ...frames);
    const number = part.frames.length;
    const summary = el("summary", { text: `${number} library ${number === 1 ? "frame" : "frames"}` });
    return el("details", { class: "library" }, summary, ...frames);
  });
  return first ? [first, ...whole] : whole;
}

function frame(/** @type {Frame} */ { text, library }) {
  return el("div", { class: library ? "" : "own", text });
}
