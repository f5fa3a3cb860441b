/**
 * The kinds of state that the page offers, and of which kind a task is. What waits is told apart further: what lies in a
 * queue, what is not to start before a moment that is still to come, and what is tried again. Pure.
 *
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {"queued" | "scheduled" | "retrying"} Wait
 * @typedef {"all" | Wait | import("../embed/kind.js").Kind} Kind
 */

import { kindOf } from "../embed/kind.js";

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

/** The kinds of which all tasks are loaded at the start, whatever their age. */
export const UNFINISHED = ["waiting", "running", "lost", ...WAITS];

/** When a task may start, in Unix seconds; undefined where it may at once. @returns {number | undefined} */
export function dueOf(/** @type {Task} */ { eta }) {
  const zoned = eta && (/(?:Z|[+-]\d\d:?\d\d)$/i.test(eta) ? eta : `${eta}Z`); // Celery's times are UTC
  const due = zoned ? Date.parse(zoned) / 1000 : Number.NaN;
  return Number.isFinite(due) ? due : undefined;
}

/**
 * What a task that waits is waiting for; undefined for any other.
 * @param {Task} task
 * @param {number} now  Unix seconds on the workers' clock
 * @returns {Wait | undefined}
 */
export function waitOf(task, now) {
  if (kindOf(task) !== "waiting") return undefined;
  if (task.state === "RETRY") return "retrying";
  return (dueOf(task) ?? 0) > now ? "scheduled" : "queued";
}

/** Whether a task is of a kind. */
export function isOf(/** @type {Task} */ task, /** @type {Kind} */ kind, /** @type {number} */ now) {
  return kind === "all" || kindOf(task) === kind || waitOf(task, now) === kind;
}
