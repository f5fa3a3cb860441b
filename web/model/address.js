/**
 * What of the page stands in its address, behind the `#`: which tasks are shown and how, and which one is open. So Back,
 * a reload, and a link sent to somebody show the same. A server never gets to see this part of an address. Pure.
 *
 * @typedef {object} Place
 * @property {"tasks" | "names"} view
 * @property {string} task  id of the open one, "" for none
 * @property {string} kind  one of model/offered.js
 * @property {string} filter  as it stands in the box
 * @property {string} sort  one of SORTS
 * @property {string} span  of the names: one of SPANS
 */

import { KIND_NAMES } from "./offered.js";

/** What a list can be sorted by, and what that is called; the first is the usual one. @type {[string, string][]} */
export const SORTS = [
  ["sent", "Newest first"],
  ["runtime", "Longest runtime first"],
  ["waited", "Longest wait first"],
];
/** How far back the names are counted, and what that is called; the first is the usual one. @type {[string, string][]} */
export const SPANS = [
  ["24h", "Last 24 hours"],
  ["1h", "Last hour"],
  ["7d", "Last 7 days"],
  ["all", "All that is known"],
];
const KINDS = KIND_NAMES.map(([kind]) => kind);
/** The longest filter that is taken from an address, in characters: the relay takes no longer one. */
const LONGEST_FILTER = 4096;

/** The page as it is without anything in its address. @type {Place} */
export const HOME = { view: "tasks", task: "", kind: "all", filter: "", sort: "sent", span: "24h" };

/** Read an address, which may have been written by anybody: what it can't mean is left out. @returns {Place} */
export function placeOf(/** @type {string} */ hash) {
  const [, path, query = ""] = hash.match(/^#?([^?]*)\??(.*)$/s) ?? ["", "", ""];
  const told = new URLSearchParams(query);
  const one = (/** @type {string} */ key, /** @type {string[]} */ known) => {
    const value = told.get(key) ?? "";
    return known.includes(value) ? value : known[0];
  };
  return {
    view: path === "names" ? "names" : "tasks",
    task: path.startsWith("task/") ? decoded(path.slice("task/".length)) : "",
    kind: one("kind", KINDS),
    filter: (told.get("filter") ?? "").slice(0, LONGEST_FILTER),
    sort: one("sort", SORTS.map(([sort]) => sort)),
    span: one("span", SPANS.map(([span]) => span)),
  };
}

/** The address of a place, `#` included; empty for the page as it is at first. */
export function addressOf(/** @type {Partial<Place>} */ part) {
  const place = { ...HOME, ...part };
  const told = new URLSearchParams();
  for (const key of /** @type {const} */ (["kind", "filter", "sort", "span"])) {
    if (place[key] !== HOME[key]) told.set(key, place[key]);
  }
  const path = place.task ? `task/${encodeURIComponent(place.task.toWellFormed())}` : place.view === "names" ? "names" : "tasks";
  const query = told.toString();
  return path === "tasks" && !query ? "" : `#${path}${query && `?${query}`}`;
}

/** @returns {string} */
function decoded(/** @type {string} */ text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
