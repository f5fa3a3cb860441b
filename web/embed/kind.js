/** What a state means to people: which of a few kinds it is of. The same for the page and for the element. */

import { isFinal } from "./task.js";

/** @typedef {"waiting" | "running" | "lost" | "succeeded" | "failed" | "other"} Kind */

const WAITING = ["PENDING", "RECEIVED", "RETRY"];

/**
 * Which kind a task or an event is of; started, in progress and custom states are all `running`. What has not ended and
 * whose worker is gone is `lost`: nobody works on it, though another worker may still get it.
 * @param {{state: string, reason?: string}} told
 * @returns {Kind}
 */
export function kindOf({ state, reason }) {
  if (isFinal(state)) return state === "SUCCESS" ? "succeeded" : state === "FAILURE" ? "failed" : "other";
  return reason === "worker_lost" ? "lost" : WAITING.includes(state) ? "waiting" : "running";
}
