/**
 * One task, folded from its events: the rules of docs/protocol.md, without any I/O, the same as the relay's own.
 *
 * @typedef {import("../watcher.js").Event} Event
 * @typedef {import("../watcher.js").Task} Task
 */

/** @type {Record<string, number>} */
// prettier-ignore
export const RANKS = {
  // @ts-expect-error: __proto__ is no entry. A custom state may be called `constructor`.
  __proto__: null,
  PENDING: 0, RECEIVED: 1, STARTED: 2, PROGRESS: 3, RETRY: 4,
  FAILURE: 5, REVOKED: 5, REJECTED: 5, IGNORED: 5, SUCCESS: 6,
};

/** Fields that describe the task whatever its state: a later event that lacks one does not take it away. */
// prettier-ignore
const LASTING = [
  "name", "hostname", "queue", "retries", "sent", "run", "redelivered", "eta", "expires", "root_id", "parent_id",
  "group_id", "argsrepr", "kwargsrepr", "args", "kwargs", "tags",
];

/** Those of one run: another one has its own, or they are not known of it. */
const OF_THE_RUN = ["hostname", "run", "redelivered"];

/** Fields that explain the state they came with, and leave with it. `meta` is apart: the last progress stays true. */
const OF_THE_STATE = ["runtime", "result", "result_repr", "result_size", "exception", "reason"];

/** States whose events say when the task may run, and until when: what they leave out does not hold any more. */
const SCHEDULED = new Set(["PENDING", "RECEIVED", "RETRY"]);

/** How far along a state is within one run; custom `update_state` names rank like PROGRESS. */
export function rank(/** @type {string} */ state) {
  return RANKS[state] ?? RANKS.PROGRESS;
}

/** Whether a task in this state has ended. */
export function isFinal(/** @type {string} */ state) {
  return rank(state) >= RANKS.FAILURE;
}

/** Whether an event is of another life of the id than the task: one that was sent at another moment. */
function ofAnotherLife(/** @type {Task} */ task, /** @type {Event} */ event) {
  return task.sent != null && event.sent != null && task.sent !== event.sent;
}

/** Whether it is of another try, or another delivery to a worker. */
function ofAnotherRun(/** @type {any} */ task, /** @type {Event} */ event) {
  if ((task.retries ?? 0) !== (event.retries ?? 0)) return true;
  return task.run != null && event.run != null && task.run !== event.run;
}

/**
 * What is known of a task after one more event; neither argument is changed. Which event makes the state is decided by
 * the journal: what is `late` doesn't.
 * @param {Task | undefined} task
 * @param {Event} event
 * @param {number} offset  the event's, in the journal
 * @returns {Task}
 */
export function fold(task, event, offset) {
  const behind = task !== undefined && (event.late === true || offset < task.offset);
  if (task === undefined || (!behind && ofAnotherLife(task, event))) return first(event, offset);
  /** @type {Record<string, any>} */
  const next = { ...task, offset: Math.max(task.offset, offset) };
  if (!behind) supersede(next, task, event);
  else if (!ofAnotherLife(task, event)) complete(next, task, event);
  return /** @type {Task} */ (next);
}

/** @returns {Task} */
function first(/** @type {Event} */ event, /** @type {number} */ offset) {
  const { late, ...told } = event;
  const times = { __proto__: null, [event.state]: event.timestamp };
  return /** @type {any} */ ({ ...told, final: isFinal(event.state), offset, times });
}

/** The event is the task's state from now on. */
function supersede(/** @type {Record<string, any>} */ next, /** @type {Task} */ task, /** @type {Event} */ event) {
  const anotherRun = ofAnotherRun(task, event);
  next.state = event.state;
  next.timestamp = event.timestamp;
  next.source = event.source;
  next.final = isFinal(event.state);
  for (const field of LASTING) if (event[field] != null) next[field] = event[field];
  for (const field of OF_THE_STATE) next[field] = event[field];
  if (SCHEDULED.has(event.state)) {
    next.eta = event.eta;
    next.expires = event.expires;
  }
  if (anotherRun) for (const field of OF_THE_RUN) next[field] = event[field];
  if (anotherRun || event.meta !== undefined || event.meta_size !== undefined) {
    next.meta = event.meta;
    next.meta_size = event.meta_size;
  }
  next.times = entered(anotherRun ? timesBefore(task, event) : task.times, event);
  if (task.state === "RECEIVED" && isBefore(event, task)) next.reserved = reserved(task);
  else if (task.reserved && !ofAnotherRun(task.reserved, event)) next.reserved = undefined;
}

function isBefore(/** @type {Event} */ a, /** @type {Event} */ b) {
  return ((a.retries ?? 0) - (b.retries ?? 0) || (a.redelivered ?? 0) - (b.redelivered ?? 0)) < 0;
}

function reserved(/** @type {Event} */ { timestamp, hostname, retries, run }) {
  return { timestamp, hostname, retries, run };
}

/** What the times of a run begin with: when its try was sent, and when it was received. */
function timesBefore(/** @type {Task} */ task, /** @type {Event} */ event) {
  /** @type {Record<string, number>} */
  // @ts-expect-error: __proto__ is no entry.
  const times = { __proto__: null };
  if ((task.retries ?? 0) === (event.retries ?? 0) && "PENDING" in task.times) times.PENDING = task.times.PENDING;
  if (task.reserved && !ofAnotherRun(task.reserved, event)) times.RECEIVED = task.reserved.timestamp;
  return times;
}

function entered(/** @type {Record<string, number>} */ times, /** @type {Event} */ event) {
  const moment = Math.min(event.timestamp, times[event.state] ?? Infinity);
  return { __proto__: null, ...times, [event.state]: moment };
}

/** The event stands behind the task's state: it tells only what is not known yet, and who has the next run. */
function complete(/** @type {Record<string, any>} */ next, /** @type {Task} */ task, /** @type {Event} */ event) {
  const anotherRun = ofAnotherRun(task, event);
  for (const field of LASTING) {
    if (anotherRun && OF_THE_RUN.includes(field)) continue;
    const told = !(anotherRun || task.state === "RETRY") || (field !== "eta" && field !== "expires");
    if (told && next[field] == null && event[field] != null) next[field] = event[field];
  }
  if (!anotherRun) {
    next.times = entered(task.times, event);
    return;
  }
  if (event.state === "RECEIVED" && isBefore(task, event)) {
    next.eta = event.eta;
    next.expires = event.expires;
    next.reserved = reserved(event);
  } else if (event.state !== "RECEIVED" && task.reserved && !ofAnotherRun(task.reserved, event)) {
    next.reserved = undefined; // it has begun, and changes nothing any more
  }
}

/** When a task was sent, or else first heard of, in Unix seconds: the times are those of its present try. */
export function firstSeen(/** @type {Task} */ task) {
  return Math.min(task.sent ?? Infinity, task.timestamp, ...Object.values(task.times));
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
