/** Links to what the page can show: real ones, that open in a tab of their own as any other. */

import { addressOf, HOME } from "../model/address.js";
import { termText } from "../model/filter.js";
import { el } from "./dom.js";

/** @typedef {import("../model/address.js").Place} Place */

/**
 * A link to a place; where there is nothing to say of one, to the page itself.
 * @param {Partial<Place>} place
 * @param {Record<string, any>} [properties]  as those of `el`
 * @param {...(Node | string | false)} children
 */
export function placeLink(place, properties = {}, ...children) {
  return el("a", { ...properties, ...placeHref(place) }, ...children);
}

/** Where a link to a place leads; in a page that has another place, an address without one leads nowhere. */
export function placeHref(/** @type {Partial<Place>} */ place) {
  return { href: addressOf(place) || "#tasks" };
}

/** The place of all tasks that have something in common. @returns {Partial<Place>} */
export function placeOfTerm(/** @type {string} */ key, /** @type {string} */ value) {
  return { ...HOME, filter: termText(key, value) };
}

/** The longest value that a link looks for, in characters: a filter takes not much more, and addresses are kept short. */
const LONGEST = 1000;

/** Whether all tasks that have this in common can be looked for. */
export function canLookFor(/** @type {string} */ value) {
  return value.length <= LONGEST;
}

/** Whether a click is one that the page answers itself: others open tabs, save, or are of another button. */
export function isPlain(/** @type {MouseEvent} */ event) {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
}
