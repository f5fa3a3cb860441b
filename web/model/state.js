/**
 * The tasks that the page knows: a bounded collection, folded from events, with the list that a filter shows of it.
 *
 * No I/O and no clock: what comes out depends on nothing but what went in. Rows hold only what the table shows (large
 * values stay out, a task's details are asked for when it is opened), so ten thousand of them take little memory. An
 * event costs the same whatever the number of tasks: the list is kept in order, never sorted anew.
 *
 * @typedef {import("../embed/task.js").Event} Event
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {import("./filter.js").Filter & {sort?: string}} Filter
 *
 * @typedef {object} Row
 * @property {string} id
 * @property {number} number  distinguishes rows, in the order in which they were made
 * @property {number} created  Unix seconds; fixed when the row is made, so that rows never change places
 * @property {Task} task  without large values; another object after each change
 * @property {string} call  its arguments in one line
 * @property {string} outcome  its result, error or reason in one line
 * @property {number | undefined} key  by which the list is sorted; fixed while the row is in the list
 * @property {import("./offered.js").Wait | undefined} wait  what it waited for when it was heard of last
 * @property {boolean} shown  whether it is in the list: it passes the filter, and no row above it is missing
 * @property {boolean} mine  whether it was submitted from this page
 */

import { kindOf } from "../embed/kind.js";
import { firstSeen, fold, runtimeOf } from "../embed/task.js";
import { movesOn, passing } from "./filter.js";
import { call, cut, line, size, word } from "./format.js";
import { waitedFor, waitingKind } from "./kinds.js";
import { UNFINISHED, WAITS } from "./offered.js";

/** The share of the tasks that is removed when the limit is reached, the oldest finished ones first. */
const EVICTED_SHARE = 0.05;

/** By what a list is sorted, the greatest first; rows without it are in none. @type {Record<string, (row: Row) => number | undefined>} */
const KEYS = {
  sent: (row) => row.created,
  runtime: ({ task }) => runtimeOf(task),
  waited: ({ task }) => ("STARTED" in task.times ? waitedFor(task, 0) : undefined),
};
/** Less than any two moments or durations differ by that the list tells apart. */
const LITTLE = 1e-6;

/** The tasks that the page has, at most `limit` of them. */
export class Tasks {
  /** @type {Map<string, Row>} */ #byId = new Map();
  /** @type {Row[]} oldest first */ #shown = [];
  /** @type {Row[] | null} */ #held = null;
  /** @type {Filter} */ #filter = { kind: "all", groups: [] };
  #passes = passing(this.#filter, 0);
  /** The same but for words: what the page keeps of a task is cut, and the relay has looked for them. */
  #passesElse = this.#passes;
  /** Tasks that the relay has found. @type {Set<string>} */ #found = new Set();
  #clock;
  /** All tasks that were sent since are here, whatever the filter. */ #complete = -Infinity;
  /** All unfinished tasks are here. */ #unfinished = true;
  /** All tasks of the list are here down to this key. */ #floor = -Infinity;
  #pinned = "";
  #lastNumber = 0;
  #arrivals = 0;
  /** How many tasks there are of each kind; `lost` is among them once there was one. @type {Record<string, number>} */
  counts = { all: 0, waiting: 0, queued: 0, scheduled: 0, retrying: 0, running: 0, succeeded: 0, failed: 0, other: 0 };
  /** Grows with each change, so that a view knows whether to look. */
  version = 0;

  /** @param {number} [limit] @param {() => number} [clock]  Unix seconds on the workers' clock */
  constructor(limit = 10_000, clock = () => 0) {
    this.limit = limit;
    this.#clock = clock;
  }

  /** How many tasks are here, in the list or not. */
  get size() {
    return this.#byId.size;
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

  /**
   * Take over a task as the relay knows it, unless what is known here is newer.
   * @param {Task} task
   * @param {boolean} [found]  whether the relay has found it by the list's filter
   */
  merge(task, found = false) {
    const row = this.#byId.get(task.id);
    if (found) this.#found.add(task.id);
    if (row && task.offset <= row.task.offset) {
      if (found) this.#place(row);
      return;
    }
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

  /**
   * Show other tasks: at once those that are here, as far down as none is missing; `reach` lets more of them in.
   */
  select(/** @type {Filter} */ filter) {
    this.#filter = filter;
    this.#found.clear();
    this.#pinned = "";
    this.#look();
    this.#floor = this.#hasItsOwn ? -Infinity : this.#complete;
    this.#rebuild();
  }

  #look() {
    const now = this.#clock();
    const { kind, groups } = this.#filter;
    this.#passes = passing({ kind, groups }, now);
    this.#passesElse = passing({ kind, groups: groups.filter(({ key }) => key) }, now);
  }

  /** Whether the list changes because time goes on. */
  get movesOn() {
    return movesOn(this.#filter.groups) || WAITS.includes(this.#filter.kind);
  }

  /** Let the list be that of now. */
  refresh() {
    if (!this.movesOn) return;
    this.#look();
    for (const row of this.#byId.values()) this.#place(row);
    this.version += 1;
  }

  /** Whether the list would show a task, were it of the kind that is chosen. */
  wants(/** @type {Row} */ row) {
    return this.#of(passing({ kind: "all", groups: this.#filter.groups }, this.#clock()), row);
  }

  #of(/** @type {(task: Task, call: string) => boolean} */ passes, /** @type {Row} */ { task, call: given }) {
    return passes(task, `${task.name ?? ""}${given}`);
  }

  /** Whether what the list has does not depend on when it was sent: all of it is loaded, or it is sorted otherwise. */
  get #hasItsOwn() {
    return (this.#filter.sort ?? "sent") !== "sent" || (this.#unfinished && UNFINISHED.includes(this.#filter.kind));
  }

  /**
   * All tasks that were sent since this moment are here; -Infinity for all that are known.
   * @param {number} moment  Unix seconds
   * @param {boolean} unfinished  whether all unfinished ones are here, too
   */
  completeSince(moment, unfinished = true) {
    this.#complete = moment;
    this.#unfinished = unfinished;
    if (!this.#hasItsOwn) this.reach(moment);
  }

  /** All tasks of the list are here down to this key: those that were waiting for others above them come into it. */
  reach(/** @type {number} */ key) {
    if (key === this.#floor) return;
    const held = this.#held;
    const { length } = this.#shown;
    this.#floor = key;
    const arrived = this.#arrivals;
    this.#rebuild();
    this.#arrivals = arrived;
    if (!held) return;
    // What someone reads stays where it is, and goes on at its end.
    const known = new Set(held);
    const end = held[0];
    const below = this.#shown.filter((row) => !known.has(row) && (!end || precedes(row, end)));
    this.#held = length ? [...below, ...held] : [...this.#shown];
  }

  /** By what the list would sort a task. @returns {number | undefined} */
  keyOf(/** @type {string} */ id) {
    const row = this.#byId.get(id);
    return row && KEYS[this.#filter.sort ?? "sent"](row);
  }

  /** How far down the list goes without a gap. */
  get floor() {
    return this.#floor;
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
    this.#complete = this.#floor = -Infinity;
    this.#rebuild();
  }

  /** Whether any task is running or waiting, and so has a time that goes on. */
  get isCounting() {
    return this.counts.running > 0 || this.counts.waiting > 0;
  }

  /**
   * @param {Row | undefined} known
   * @param {Task} task
   * @param {Event} source  what it came from, large values included
   */
  #store(known, task, source) {
    const row = known ?? this.#create(task);
    if (known) this.#count(row, -1);
    row.task = task;
    row.wait = waitingKind(task, this.#clock());
    this.#count(row, 1);
    row.call ||= call(source);
    if (task.state === source.state && task.timestamp === source.timestamp) row.outcome = outcome(source);
    this.#place(row);
    if (!known && this.#byId.size > this.limit) this.#evict();
    this.version += 1;
    return row;
  }

  #count(/** @type {Row} */ { task, wait }, /** @type {number} */ by) {
    const kind = kindOf(task);
    this.counts.all += by;
    this.counts[kind] = (this.counts[kind] ?? 0) + by;
    if (wait) this.counts[wait] += by;
  }

  /** @returns {Row} */
  #create(/** @type {Task} */ task) {
    const number = ++this.#lastNumber;
    const mine = task.id === this.#pinned;
    const created = firstSeen(task);
    /** @type {Row} */
    const row = { id: task.id, number, created, task, call: "", outcome: "", key: 0, wait: undefined, shown: false, mine };
    this.#byId.set(row.id, row);
    return row;
  }

  /** Whether a row belongs into the list; its key is settled then. */
  #fits(/** @type {Row} */ row) {
    if (!row.shown) row.key = KEYS[this.#filter.sort ?? "sent"](row);
    if (row.id === this.#pinned) {
      row.key ??= Infinity;
      return true;
    }
    if (row.key === undefined || row.key < this.#floor) return false;
    return this.#of(this.#found.has(row.id) ? this.#passesElse : this.#passes, row);
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
    if (this.#held && !(this.#held.length && precedes(row, this.#held[0]))) this.#arrivals += 1;
  }

  #rebuild() {
    this.#shown = [];
    this.#arrivals = 0;
    for (const row of this.#byId.values()) {
      row.shown = false;
      row.shown = this.#fits(row);
      if (row.shown) this.#shown.push(row);
    }
    this.#shown.sort((a, b) => (precedes(a, b) ? -1 : 1));
    if (this.#held) this.#held = [...this.#shown];
    this.version += 1;
  }

  /** Let go of the oldest: finished ones that nobody looks at first, then those in the list, then unfinished ones. */
  #evict() {
    const oldestFirst = [...this.#byId.values()].sort((a, b) => a.created - b.created || a.number - b.number);
    const order = (/** @type {Row} */ row) => (row.task.final ? (row.shown ? 1 : 0) : 2);
    const leaving = oldestFirst.sort((a, b) => order(a) - order(b)).slice(0, Math.ceil(this.limit * EVICTED_SHARE));
    for (const row of leaving) {
      this.#byId.delete(row.id);
      this.#count(row, -1);
      this.#complete = Math.max(this.#complete, row.created + LITTLE);
      if (row.shown) this.#floor = Math.max(this.#floor, (row.key ?? 0) + LITTLE);
      row.shown = false;
    }
    for (const row of this.#shown) row.shown &&= row.id === this.#pinned || (row.key ?? 0) >= this.#floor;
    this.#shown = this.#shown.filter((row) => row.shown);
  }
}

function precedes(/** @type {Row} */ { key: a = 0, number: m }, /** @type {Row} */ { key: b = 0, number: n }) {
  return a < b || (a === b && m < n);
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
  const { state, result, result_size: bytes, exception, reason, meta } = event;
  if (bytes !== undefined) return `${size(bytes)}, open to view`;
  if (state === "SUCCESS") return result === undefined ? "" : event.result_repr ? cut(result) : line(result);
  if (exception) return cut(`${exception.type}: ${exception.message}`);
  if (kindOf(event) === "lost") return `worker lost, was ${cut(word(state))}`;
  if (reason) return reason.replaceAll("_", " ");
  if (meta === undefined || meta === null) return "";
  if (typeof meta === "object" && "current" in meta) return cut(String(meta.description ?? meta.message ?? ""));
  return line(meta);
}
