/**
 * What a waiting task waits for, and how long a task has waited and run; the same as `watcher/core/kinds.py` has it. Pure.
 *
 * @typedef {import("../embed/task.js").Task} Task
 */

import { kindOf } from "../embed/kind.js";
import { inUtc, iso } from "./moments.js";

/**
 * What a waiting task waits for: its next try, the moment before which it may not start, or a free worker.
 * @param {Task} task
 * @param {number} now  Unix seconds
 * @returns {"retrying" | "scheduled" | "queued" | undefined}
 */
export function waitingKind(task, now) {
  if (kindOf(task) !== "waiting") return undefined;
  if (task.state === "RETRY") return "retrying";
  return (dueOf(task) ?? -Infinity) > now ? "scheduled" : "queued";
}

/** The moment before which a task may not start, in Unix seconds. @returns {number | undefined} */
export function dueOf(/** @type {Task} */ { eta }) {
  const moment = eta == null ? undefined : iso(eta);
  if (moment === undefined) return undefined;
  return (typeof moment === "number" ? moment : inUtc(moment)) / 1e6;
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
