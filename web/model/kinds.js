/**
/**
 * The kinds of state that the page offers, and of which kind a task is. What waits is told apart further: what lies in a
 * queue, what is not to start before a moment that is still to come, and what is tried again. And how long a task has
 * waited and run. The same as `watcher/core/kinds.py` has it. Pure.
 *
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {"queued" | "scheduled" | "retrying"} Wait
 * @typedef {"all" | Wait | import("../embed/kind.js").Kind} Kind
 */

import { kindOf } from "../embed/kind.js";
import { inUtc, iso } from "./moments.js";

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
  const moment = eta == null ? undefined : iso(eta);
  if (moment === undefined) return undefined;
  return (typeof moment === "number" ? moment : inUtc(moment)) / 1e6; // Celery's times are UTC
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
  return (dueOf(task) ?? -Infinity) > now ? "scheduled" : "queued";
}

/** Whether a task is of a kind. */
export function isOf(/** @type {Task} */ task, /** @type {Kind} */ kind, /** @type {number} */ now) {
  return kind === "all" || kindOf(task) === kind || waitOf(task, now) === kind;
}

/** For how long the current try has run, in seconds. @returns {number | undefined} */
export function ranFor(/** @type {Task} */ task, /** @type {number} */ now) {
  if (task.final && task.runtime != null) return task.runtime;
  const started = task.times.STARTED;
  if (started === undefined) return undefined;
  if (task.final) return Math.max(0, task.timestamp - started);
  return kindOf(task) === "running" ? Math.max(0, now - started) : undefined;
}

/** For how long the current try waited for its start, or waits, in seconds. @returns {number | undefined} */
export function waitedFor(/** @type {Task} */ task, /** @type {number} */ now) {
  const waits = kindOf(task) === "waiting";
  if (waits && task.state === "RETRY") return Math.max(0, now - task.timestamp);
  const sent = task.times.PENDING ?? (task.retries ? undefined : task.sent);
  const started = waits ? now : task.times.STARTED;
  return sent == null || started === undefined ? undefined : Math.max(0, started - sent);
}
