/**
 * The kinds of state that the page offers, and of which kind a task is. What waits is told apart further: what lies in a
 * queue, what is not to start before a moment that is still to come, and what is tried again. Pure.
 *
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {"queued" | "scheduled" | "retrying"} Wait
 * @typedef {"all" | Wait | import("../embed/kind.js").Kind} Kind
 */

import { kindOf } from "../embed/kind.js";
import { waitingKind } from "./kinds.js";

/** In the order in which the page offers them: what failed is to be found first. @type {[Kind, string][]} */
export const KIND_NAMES = [
  ["all", "All"],
  ["failed", "Failed"],
  ["lost", "Lost"],
  ["waiting", "Waiting"],
  ["queued", "Queued"],
  ["scheduled", "Scheduled"],
  ["retrying", "Retrying"],
  ["running", "Running"],
  ["succeeded", "Succeeded"],
  ["other", "Other"],
];

/** What is shown only while what waits is looked at. */
export const WAITS = ["queued", "scheduled", "retrying"];

/** Kinds that a task is one of. */
const EACH = ["waiting", "running", "lost", "succeeded", "failed", "other"];

/**
 * A kind as it stands in a filter. Several terms with `state:` are alternatives, so beside another such term all others are
 * ruled out instead.
 * @param {Kind} kind
 * @param {boolean} [beside]  whether the filter has such a term
 */
export function termOf(kind, beside = false) {
  if (kind === "all") return "";
  if (!beside) return `state:${kind}`;
  const others = WAITS.includes(kind) ? [...EACH.slice(1), ...WAITS] : EACH;
  return others
    .filter((each) => each !== kind)
    .map((each) => `-state:${each}`)
    .join(" ");
}

/** The kinds of which all tasks are loaded at the start, whatever their age. */
export const UNFINISHED = ["waiting", "running", "lost", ...WAITS];

/** Whether a task is of a kind. */
export function isOf(/** @type {Task} */ task, /** @type {Kind} */ kind, /** @type {number} */ now) {
  return kind === "all" || kindOf(task) === kind || waitingKind(task, now) === kind;
}
