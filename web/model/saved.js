/**
 * Filters that somebody wants to use again: what stands in the address for each, by the name that it was given. Pure.
 *
 * @typedef {{name: string, address: string}} Saved
 */

import { addressOf, placeOf } from "./address.js";

/** The most that are kept, and the longest name, in characters. */
export const MOST_SAVED = 50;
const LONGEST_NAME = 80;

/** Read what was kept, which another version of the page may have written: what isn't one is left out. @returns {Saved[]} */
export function readSaved(/** @type {string | null} */ text) {
  let kept;
  try {
    kept = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(kept)) return [];
  return kept
    .filter((each) => typeof each?.name === "string" && each.name && typeof each.address === "string")
    .slice(0, MOST_SAVED)
    .map(({ name, address }) => ({ name: name.slice(0, LONGEST_NAME), address: addressOf({ ...placeOf(address), task: "" }) }));
}

/** With one more, the newest first; one of the same name takes the other's place. @returns {Saved[]} */
export function withSaved(/** @type {Saved[]} */ kept, /** @type {string} */ name, /** @type {string} */ address) {
  const short = name.trim().slice(0, LONGEST_NAME);
  if (!short) return kept;
  return [{ name: short, address }, ...kept.filter((each) => each.name !== short)].slice(0, MOST_SAVED);
}
