/** The keys that work anywhere on the page; those of the table and of the registry are theirs. */

import { dialogIsOpen, showHelp } from "../views/dialogs.js";
import { byId } from "../views/dom.js";

/**
 * @param {object} actions
 * @param {() => void} actions.compose
 * @param {() => void} actions.toggleFollow
 * @param {() => void} actions.escape
 * @param {(key: KeyboardEvent) => void} actions.table  a key that moves through the table, pressed elsewhere
 */
export function installKeys({ compose, toggleFollow, escape, table }) {
  byId("help-button").addEventListener("click", showHelp);
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialogIsOpen()) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const typing = target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      if (typing) leave(/** @type {HTMLInputElement} */ (target));
      else escape();
      return;
    }
    if (typing) return;
    if (event.key === "n" || event.key === "s") compose();
    else if (event.key === "/") byId("filter").focus();
    else if (event.key === "p") toggleFollow();
    else if (event.key === "?") showHelp();
    else if (event.key === "j" || event.key === "k") table(event);
    else return;
    event.preventDefault();
  });
}

/** Go out of a field; what was looked for in it is looked for no more, in every browser alike. */
function leave(/** @type {HTMLInputElement} */ field) {
  if (field.type === "search" && field.value) {
    field.value = "";
    field.dispatchEvent(new Event("input"));
  }
  field.blur();
}
