/**
 * The tasks that the page knows: a bounded collection, folded from events, with the list that a filter shows of it.
 *
 * No I/O and no clock: what comes out depends on nothing but what went in. Rows hold only what the table shows (large
 * values stay out, a task's details are asked for when it is opened), so ten thousand of them take little memory. An
 * event costs the same whatever the number of tasks: the list is kept in order, never sorted anew.
 *
 * @typedef {import("../embed/task.js").Event} Event
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {import("./filter.js").Filter} Filter
 *
 * @typedef {object} Row
 * @property {string} id
 * @property {number} number  distinguishes rows, in the order in which they were made
 * @property {number} created  Unix seconds; fixed when the row is made, so that rows never change places
 * @property {Task} task  without large values; another object after each change
 * @property {string} call  its arguments in one line
 * @property {string} outcome  its result, error or reason in one line
 * @property {boolean} shown  whether it passes the filter
 * @property {boolean} mine  whether it was submitted from this page
 */

import { kindOf } from "../embed/kind.js";
import { firstSeen, fold } from "../embed/task.js";
import { movesOn, passing } from "./filter.js";
import { call, cut, line, size, when, word } from "./format.js";

/** The share of the tasks that is removed when the limit is reached, the oldest finished ones first. */
const EVICTED_SHARE = 0.05;

/** The newest tasks, at most `limit` of them. */
export class Tasks {
  /** @type {Map<string, Row>} */ #byId = new Map();
  /** @type {Row[]} oldest first */ #shown = [];
  /** @type {Row[] | null} */ #held = null;
  /** @type {Filter} */ #filter = { kind: "all", groups: [] };
  #passes = passing(this.#filter, 0);
  #pinned = "";
  #lastNumber = 0;
  #arrivals = 0;
  /** How many tasks there are of each kind; `lost` is among them once there was one. @type {Record<string, number>} */
  counts = { all: 0, waiting: 0, running: 0, succeeded: 0, failed: 0, other: 0 };
  /** Grows with each change, so that a view knows whether to look. */
  version = 0;

  constructor(limit = 10_000) {
    this.limit = limit;
  }

  /** Number of rows in the list as shown. */
  get length() {
    return (this.#held ?? this.#shown).length;
  }

  /** How many rows have come since the list was held. */
  get arrivals() {
    return this.#arrivals;
  }

  get isHeld() {
    return this.#held !== null;
  }

  get filter() {
    return this.#filter;
  }

  /** The row at a place of the list, 0 being the newest. @returns {Row | undefined} */
  at(/** @type {number} */ index) {
    const list = this.#held ?? this.#shown;
    return list[list.length - 1 - index];
  }

  /** @returns {Row | undefined} */
  get(/** @type {string} */ id) {
    return this.#byId.get(id);
  }

  /** Every row, whether shown or not. */
  all() {
    return [...this.#byId.values()];
  }

  /** The place of a row in the list as shown, -1 where it is not in it. */
  indexOf(/** @type {Row | undefined} */ row) {
    const list = this.#held ?? this.#shown;
    const index = row ? list.lastIndexOf(row) : -1;
    return index < 0 ? -1 : list.length - 1 - index;
  }

  /** Fold in one event. @returns {Row | undefined} the row, or undefined where the event was known */
  apply(/** @type {Event} */ event, /** @type {number} */ offset) {
    const row = this.#byId.get(event.id);
    if (row && offset <= row.task.offset) return undefined;
    return this.#store(row, fold(row?.task, light(event), offset), event);
  }

  /** Take over a task as the relay knows it, unless what is known here is newer. */
  merge(/** @type {Task} */ task) {
    const row = this.#byId.get(task.id);
    if (row && task.offset <= row.task.offset) return;
    this.#store(row, /** @type {Task} */ (light(task)), task);
  }

  /** Mark a task as submitted from this page; it is shown whatever the filter until that changes. */
  claim(/** @type {string} */ id) {
    const before = this.#byId.get(this.#pinned);
    this.#pinned = id;
    if (before) this.#place(before);
    const row = this.#byId.get(id);
    if (!row) return;
    row.mine = true;
    this.#place(row);
    this.version += 1;
  }

  /** Show other tasks. @param {Filter} filter @param {number} [now]  Unix seconds, where the filter speaks of time */
  select(filter, now = 0) {
    this.#filter = filter;
    this.#passes = passing(filter, now);
    this.#pinned = "";
    this.#rebuild();
  }

  /** Whether the list changes because time goes on. */
  get movesOn() {
    return movesOn(this.#filter.groups);
  }

  /** Let the list be that of another moment. */
  refresh(/** @type {number} */ now) {
    if (!this.movesOn) return;
    this.#passes = passing(this.#filter, now);
    for (const row of this.#byId.values()) this.#place(row);
    this.version += 1;
  }

  /** Keep the list as it is, while its rows go on changing; `release` lets it follow again. */
  hold() {
    this.#held ??= [...this.#shown];
    this.version += 1;
  }

  release() {
    this.#held = null;
    this.#arrivals = 0;
    this.version += 1;
  }

  /** Forget all. */
  clear() {
    this.#byId.clear();
    for (const kind of Object.keys(this.counts)) this.counts[kind] = 0;
    this.#held = null;
    this.#rebuild();
  }

  /** Whether any task is running, and so has a time that goes on. */
  get isRunning() {
    return this.counts.running > 0;
  }

  /**
   * @param {Row | undefined} known
   * @param {Task} task
   * @param {Event} source  what it came from, large values included
   */
  #store(known, task, source) {
    const row = known ?? this.#create(task);
    if (known) this.#count(known.task, -1);
    else this.counts.all += 1;
    this.#count(task, 1);
    row.task = task;
    row.call ||= call(source);
    if (task.state === source.state && task.timestamp === source.timestamp) row.outcome = outcome(source);
    this.#place(row);
    if (!known && this.#byId.size > this.limit) this.#evict();
    this.version += 1;
    return row;
  }

  #count(/** @type {Task} */ task, /** @type {number} */ by) {
    const kind = kindOf(task);
    this.counts[kind] = (this.counts[kind] ?? 0) + by;
  }

  /** @returns {Row} */
  #create(/** @type {Task} */ task) {
    const number = ++this.#lastNumber;
    const mine = task.id === this.#pinned;
    const row = { id: task.id, number, created: firstSeen(task), task, call: "", outcome: "", shown: false, mine };
    this.#byId.set(row.id, row);
    return row;
  }

  /** Put a row into the list, or take it out, as the filter says. */
  #place(/** @type {Row} */ row) {
    const fits = this.#fits(row);
    if (fits === row.shown) return;
    row.shown = fits;
    if (!fits) {
      this.#shown.splice(this.#shown.lastIndexOf(row), 1);
      return;
    }
    let index = this.#shown.length;
    while (index > 0 && precedes(row, this.#shown[index - 1])) index -= 1;
    this.#shown.splice(index, 0, row);
    if (this.#held) this.#arrivals += 1;
  }

  #fits(/** @type {Row} */ row) {
    return row.id === this.#pinned || this.#passes(row.task, `${row.task.name ?? ""}${row.call}`);
  }

  #rebuild() {
    this.#shown = [];
    this.#arrivals = 0;
    for (const row of this.#byId.values()) {
      row.shown = this.#fits(row);
      if (row.shown) this.#shown.push(row);
    }
    this.#shown.sort((a, b) => (precedes(a, b) ? -1 : 1));
    if (this.#held) this.#held = [...this.#shown];
    this.version += 1;
  }

  #evict() {
    const oldestFirst = [...this.#byId.values()].sort((a, b) => (precedes(a, b) ? -1 : 1));
    const leaving = [...oldestFirst.filter((row) => row.task.final), ...oldestFirst.filter((row) => !row.task.final)];
    for (const row of leaving.slice(0, Math.ceil(this.limit * EVICTED_SHARE))) {
      this.#byId.delete(row.id);
      this.#count(row.task, -1);
      this.counts.all -= 1;
      row.shown = false;
    }
    this.#shown = this.#shown.filter((row) => this.#byId.has(row.id));
  }
}

function precedes(/** @type {Row} */ a, /** @type {Row} */ b) {
  return a.created < b.created || (a.created === b.created && a.number < b.number);
}

/** An event or task without what may be large; of an exception there is as much as filters look at. */
function light(/** @type {Event} */ { args, kwargs, argsrepr, kwargsrepr, result, exception, meta, ...rest }) {
  const { current, total } = meta ?? {};
  if (current !== undefined) rest.meta = { current, total };
  if (exception) rest.exception = { type: cut(exception.type), message: cut(exception.message) };
  return rest;
}

/** What a state has to say, in one line. */
function outcome(/** @type {Event} */ event) {
  const { state, timestamp, result, result_size: bytes, exception, reason, meta, eta } = event;
  if (bytes !== undefined) return `${size(bytes)}, open to view`;
  if (state === "SUCCESS") return result === undefined ? "" : event.result_repr ? cut(result) : line(result);
  const due = eta && kindOf(event) === "waiting" ? `not before ${when(Date.parse(eta) / 1000, timestamp * 1000)}` : "";
  if (exception) return (due && `${due}, `) + cut(`${exception.type}: ${exception.message}`);
  if (kindOf(event) === "lost") return `worker lost, was ${cut(word(state))}`;
  if (reason) return reason.replaceAll("_", " ");
  if (due) return due;
  if (meta === undefined || meta === null) return "";
  if (typeof meta === "object" && "current" in meta) return cut(String(meta.description ?? meta.message ?? ""));
  return line(meta);
}
