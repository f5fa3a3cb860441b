/**
 * The history of one task, kept for its details: every change of state in the order of its time, try by try. Pure.
 *
 * @typedef {import("../embed/task.js").Event} Event
 * @typedef {import("../embed/task.js").Task} Task
 *
 * @typedef {object} Entry
 * @property {string} key  stays the same while the entry changes
 * @property {Event} event  the newest of those it stands for
 * @property {number} since  Unix seconds of the first of them
 * @property {number} times  how many it stands for: progress is shown once, with its newest value
 * @property {number} [delta]  seconds since the entry before
 *
 * @typedef {object} Try
 * @property {string} key
 * @property {number} life  how often the task was sent before under its id
 * @property {number} retries
 * @property {Entry[]} entries
 */

import { fold, rank } from "../embed/task.js";

/** The most entries that are kept, the newest ones: a task that retries for weeks must not fill the page. */
const ENTRY_LIMIT = 400;

/** Whether two events tell of the same delivery to a worker. */
function sameRun(/** @type {Event} */ a, /** @type {Event} */ b) {
  return a.sent === b.sent && a.run === b.run && (a.retries ?? 0) === (b.retries ?? 0);
}

/** What is known of the task whose details are open. */
export class History {
  /** @type {Entry[]} */ #entries = [];
  #lastKey = 0;
  /** @type {Task | null} */ task = null;
  /** `loading` until the relay has answered; `unknown` where it doesn't know the id. @type {"loading"|"known"|"unknown"|"refused"} */
  phase = "loading";
  /** How many entries were left out. */
  omitted = 0;
  /** Why the relay doesn't tell, where it refused. */
  refusal = "";
  /** Whether the relay has forgotten events of this task. */
  trimmed = false;
  version = 0;

  constructor(/** @type {string} */ id) {
    this.id = id;
  }

  /** The relay's answer: the task, or null if it is unknown; `trimmed` if events are gone. */
  learn(/** @type {Task | null} */ task, trimmed = false) {
    this.trimmed ||= trimmed;
    if (task && task.offset >= (this.task?.offset ?? 0)) this.task = task;
    this.phase = this.task ? "known" : "unknown";
    this.version += 1;
  }

  refuse(/** @type {string} */ reason) {
    this.phase = "refused";
    this.refusal = reason;
    this.version += 1;
  }

  /** Take one event; the caller passes each once. */
  apply(/** @type {Event} */ event, /** @type {number} */ offset) {
    if (!this.task || offset > this.task.offset) this.task = fold(this.task ?? undefined, event, offset);
    this.phase = "known";
    this.#record(event);
    this.version += 1;
  }

  /** Start anew, because what was known by offset is void. */
  reset() {
    this.#entries = [];
    this.task = null;
    this.omitted = 0;
    this.phase = "loading";
    this.version += 1;
  }

  /** The entries by try of each life, oldest first. @returns {Try[]} */
  tries() {
    const lives = [...new Set(this.#entries.map(({ event }) => event.sent ?? this.task?.sent ?? 0))].sort((a, b) => a - b);
    /** @type {Map<string, Try>} */
    const byTry = new Map();
    for (const entry of this.#entries) {
      const life = lives.indexOf(entry.event.sent ?? this.task?.sent ?? 0);
      const retries = entry.event.retries ?? 0;
      const key = `${life}:${retries}`;
      if (!byTry.has(key)) byTry.set(key, { key, life, retries, entries: [] });
      byTry.get(key)?.entries.push(entry);
    }
    const tries = [...byTry.values()].sort((a, b) => a.life - b.life || a.retries - b.retries);
    let before;
    for (const { entries } of tries) {
      entries.sort((a, b) => a.since - b.since || rank(a.event.state) - rank(b.event.state));
      for (const entry of entries) {
        entry.delta = before && Math.max(0, entry.since - before.since);
        before = entry;
      }
    }
    return tries;
  }

  #record(/** @type {Event} */ event) {
    const same = this.#entries.findLast(
      (entry) => sameRun(entry.event, event) && rank(entry.event.state) === rank("PROGRESS"),
    );
    const report = rank(event.state) === rank("PROGRESS") && !event.reason && !same?.event.reason;
    if (same && same.event.state === event.state && report) {
      same.since = Math.min(same.since, event.timestamp);
      same.event = event; // of one process, in order: its clock may have been put back
      same.times += 1;
      return;
    }
    this.#entries.push({ key: String(++this.#lastKey), event, since: event.timestamp, times: 1 });
    if (this.#entries.length > ENTRY_LIMIT) {
      this.#entries.shift();
      this.omitted += 1;
    }
  }
}
