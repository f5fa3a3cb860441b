/**
 * One task, folded from its events: the rules of docs/protocol.md, without any I/O, the same as the relay's own.
 *
 * @typedef {import("../watcher.js").Event} Event
 * @typedef {import("../watcher.js").Task} Task
 */

/** @type {Record<string, number>} */
// prettier-ignore
const RANKS = {
  // @ts-expect-error: __proto__ is no entry. A custom state may be called `constructor`.
  __proto__: null,
  PENDING: 0, RECEIVED: 1, STARTED: 2, PROGRESS: 3, RETRY: 4,
  FAILURE: 5, REVOKED: 5, REJECTED: 5, IGNORED: 5, SUCCESS: 6,
};

/** Fields that describe the task whatever its state: a later event that lacks one does not take it away. */
// prettier-ignore
const LASTING = [
  "name", "hostname", "queue", "retries", "eta", "expires", "root_id", "parent_id", "group_id",
  "argsrepr", "kwargsrepr", "args", "kwargs", "tags",
];

/** Fields that explain the state they came with, and leave with it. `meta` is apart: the last progress stays true. */
const OF_THE_STATE = ["runtime", "result", "result_repr", "result_size", "exception", "reason"];

/** How far along a state is within one try; custom `update_state` names rank like PROGRESS. */
export function rank(/** @type {string} */ state) {
  return RANKS[state] ?? RANKS.PROGRESS;
}

/** Whether a task in this state has ended. */
export function isFinal(/** @type {string} */ state) {
  return rank(state) >= RANKS.FAILURE;
}

/** What was not sent ranks with what was: it may be sent again under its id, or have arrived after all. */
function place(/** @type {any} */ { state, reason }) {
  return reason === "not_sent" ? RANKS.PENDING : rank(state);
}

/** Whether `a` stands at or past `b`: the greater (retries, rank, timestamp) is current, whatever arrived first. */
export function supersedes(/** @type {Event} */ a, /** @type {Event} */ b) {
  return ((a.retries ?? 0) - (b.retries ?? 0) || place(a) - place(b) || a.timestamp - b.timestamp) >= 0;
}

/**
 * What is known of a task after one more event; neither argument is changed.
 * @param {Task | undefined} task
 * @param {Event} event
 * @param {number} offset  the event's, in the journal
 * @returns {Task}
 */
export function fold(task, event, offset) {
  const current = task === undefined || supersedes(event, task);
  const again = task !== undefined && current && (event.retries ?? 0) > (task.retries ?? 0);
  /** @type {Record<string, any>} */
  const next = task ? { ...task } : { id: event.id, offset };
  if (again) next.meta = next.meta_size = undefined;
  if (current) {
    next.state = event.state;
    next.timestamp = event.timestamp;
    next.source = event.source;
    next.final = isFinal(event.state);
    for (const field of OF_THE_STATE) next[field] = event[field];
    if (event.meta !== undefined || event.meta_size !== undefined) {
      next.meta = event.meta;
      next.meta_size = event.meta_size;
    }
  }
  for (const field of LASTING) {
    const value = event[field];
    if (value != null && (current || next[field] == null)) next[field] = value;
  }
  next.times = { __proto__: null, ...(again ? {} : next.times) };
  if ((event.retries ?? 0) === (next.retries ?? 0)) {
    next.times[event.state] = Math.min(event.timestamp, next.times[event.state] ?? Infinity);
  }
  next.offset = Math.max(next.offset, offset);
  return /** @type {Task} */ (next);
}

/** When a task was first heard of, in Unix seconds. */
export function firstSeen(/** @type {Task} */ task) {
  return Math.min(task.timestamp, ...Object.values(task.times));
}

/**
 * How long the current try has run: what the worker measured, else what the times say.
 * @param {Task} task
 * @param {number} [now]  Unix seconds on the worker's clock, for a task that is running
 * @returns {number | undefined} seconds
 */
export function runtimeOf(task, now) {
  if (task.runtime != null) return task.runtime;
  const started = task.times.STARTED;
  if (started === undefined || (task.state === "RETRY" && now === undefined)) return undefined;
  if (rank(task.state) > RANKS.PROGRESS) return Math.max(0, task.timestamp - started);
  return now === undefined ? undefined : Math.max(0, now - started);
}

/**
 * The progress that a task reports, where it reports one that can be drawn.
 * @param {Record<string, any>} task
 * @returns {{current: number, total: number, share: number} | undefined} share is 0 to 1
 */
export function progressOf({ meta }) {
  const { current, total } = meta ?? {};
  if (typeof current !== "number" || typeof total !== "number" || !(total > 0)) return undefined;
  return { current, total, share: Math.min(1, Math.max(0, current / total)) };
}
