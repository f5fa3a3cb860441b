/** How long what waits has been waiting, and for what, in words. Pure. */

import { dueOf, waitingKind } from "./kinds.js";
import { when } from "./format.js";

/** @typedef {import("../embed/task.js").Task} Task */

/** A time as it is said of one that is long: 12 s, 3 min, 7 h 55 min, 2 d 4 h. It changes once a minute at most. */
export function roughly(/** @type {number} */ seconds) {
  const total = Math.max(0, Math.floor(seconds));
  if (total < 60) return `${total} s`;
  const minutes = Math.floor(total / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/**
 * What a waiting task waits for: "waiting for 3 min", "in 7 h 55 min, not before 18:30:00", "try 3 at 16:42:06". Empty for
 * any other.
 * @param {Task} task
 * @param {number} now  Unix seconds on the workers' clock
 */
export function waitText(task, now) {
  const wait = waitingKind(task, now);
  if (!wait) return "";
  const due = dueOf(task);
  const coming = due !== undefined && due > now;
  const attempt = (task.retries ?? 0) + (wait === "retrying" ? 2 : 1);
  if (coming && wait === "retrying") return `try ${attempt} at ${when(due, now * 1000)}`;
  if (coming) return `in ${roughly(due - now)}, not before ${when(due, now * 1000)}`;
  const age = `waiting for ${roughly(now - waitsSince(task, now))}`;
  return wait === "retrying" ? `try ${attempt} ${age}` : age;
}

/** Since when a task could have been started. */
function waitsSince(/** @type {Task} */ task, /** @type {number} */ now) {
  const { PENDING, RECEIVED } = task.times;
  const sent = task.state === "RETRY" ? task.timestamp : (PENDING ?? task.sent ?? RECEIVED ?? task.timestamp);
  const due = dueOf(task);
  return due !== undefined && due <= now ? Math.max(sent, due) : sent;
}
