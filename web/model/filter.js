/**
 * Which tasks the table shows: a kind of state, and what the search box says, in the language of docs/filters.md; the
 * same as `watcher/core/filters/` has it. Pure.
 *
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {import("./values.js").Value} Value
 * @typedef {import("./offered.js").Kind} Kind
 *
 * @typedef {object} Group  it holds if any of the alternatives does, or, if negated, if none does
 * @property {string} key  empty for words
 * @property {boolean} negated
 * @property {Value[]} alternatives
 *
 * @typedef {{kind: Kind, groups: Group[]}} Filter  of which all groups must hold
 */

import { kindOf } from "../embed/kind.js";
import { ranFor, waitedFor, waitingKind } from "./kinds.js";
import { inLocalTime } from "./moments.js";
import { isOf } from "./offered.js";
import { InvalidFilter, terms, valueText } from "./terms.js";
import { absolute, folded, isAlternative, valueOf, WAITING_KINDS } from "./values.js";

export { InvalidFilter } from "./terms.js";

/** Between the parts of the text in which words are looked for; in no filter, so that none spans two parts. */
const SEPARATOR = "\x1f";

// Without a prototype, as each table that is asked for what others called something: `constructor` is in no other.

/** What of a task each key is compared with; an empty text is none. @type {Record<string, (task: Task) => (string | undefined)[]>} */
const TEXTS = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  id: (task) => [task.id],
  name: (task) => [task.name],
  queue: (task) => [task.queue],
  worker: ({ hostname }) => [hostname, hostname?.split("@").slice(1).join("@")],
  tag: (task) => task.tags ?? [],
  error: ({ exception }) => [exception?.type, exception?.type.split(".").pop()],
  root: (task) => [task.root_id || task.id],
  parent: (task) => [parentOf(task)],
  group: (task) => [task.group_id],
};

/** The task that sent this one. What runs again under its own id may be told to be its own: no task is. */
export function parentOf(/** @type {Task} */ { id, parent_id: parent }) {
  return parent === id ? undefined : parent;
}

/**
 * Read what the search box says.
 * @param {string} text
 * @param {number} [now]  Unix seconds; with it, a filter is refused that ends before it begins
 * @returns {Group[]}
 * @throws {InvalidFilter}  its message names the wrong term, what is accepted, and what may have been meant
 */
export function parse(text, now) {
  /** @type {Group[]} */
  const groups = [];
  for (const term of terms(text)) add(groups, term.key, term.negated, valueOf(term));
  if (now === undefined) return groups;
  const { since, until } = spanOf(groups, now);
  if (since > until) throw new InvalidFilter(textOf(groups.filter(isMoment)), "this span ends before it begins");
  return groups;
}

/**
 * Add a term to the group that it is an alternative in, or as a group of its own; never one twice.
 * @param {Group[]} groups
 * @param {string} key
 * @param {boolean} negated
 * @param {Value} value
 */
function add(groups, key, negated, value) {
  for (const group of groups) {
    const known = group.alternatives.some(({ text }) => text === value.text);
    if (group.key !== key || group.negated !== negated || !(isAlternative(key) || known)) continue;
    if (!known) group.alternatives.push(value);
    return;
  }
  groups.push({ key, negated, alternatives: [value] });
}

/** The canonical text of a filter, of which `parse` makes the same again. */
export function textOf(/** @type {Group[]} */ groups) {
  return groups
    .flatMap(({ key, negated, alternatives }) =>
      alternatives.map(({ text }) => `${negated ? "-" : ""}${key && `${key}:`}${text}`),
    )
    .join(" ");
}

/** One term as it stands in the search box, whatever the value: it means itself. */
export function termText(/** @type {string} */ key, /** @type {string} */ value) {
  return `${key}:${valueText(value)}`;
}

/** Whether only the relay can tell which tasks pass: what the page keeps of a task is cut. */
export function needsRelay(/** @type {Group[]} */ groups) {
  return groups.some(({ key }) => !key);
}

/** Whether tasks may begin or cease to pass because time goes on. */
export function movesOn(/** @type {Group[]} */ groups) {
  return groups.some(({ alternatives }) =>
    alternatives.some(
      ({ type, kind = "" }) => ["ago", "clock", "bound"].includes(type) || WAITING_KINDS.includes(kind),
    ),
  );
}

function isMoment(/** @type {Group} */ { key }) {
  return key === "since" || key === "until";
}

/**
 * What all of `since` and `until` say together, in Unix seconds: not before the one, before the other.
 *
 * A clock time is the last moment at which clocks showed it here; that of `since` the last one before the span's end.
 * @returns {{since: number, until: number}} infinite where there is no bound
 */
export function spanOf(/** @type {Group[]} */ groups, /** @type {number} */ now) {
  const moments = (/** @type {string} */ of, /** @type {boolean} */ no, before = Infinity) =>
    groups
      .filter(({ key, negated }) => key === of && negated === no)
      .flatMap(({ key, alternatives }) => alternatives.map((value) => momentOf(value, key, now, before)));
  const ends = moments("until", false);
  const begins = [...moments("since", false, Math.min(...ends)), ...moments("until", true)];
  ends.push(...moments("since", true));
  return { since: Math.max(...begins), until: Math.min(...ends) };
}

/**
 * A moment in Unix seconds.
 * @param {Value} value
 * @param {string} key  that it belongs to: until a day is until its end
 * @param {number} now
 * @param {number} before  a clock time is the last one before this; else the last one up to now
 * @returns {number}
 */
function momentOf({ type, duration = 0, moment = 0, wall, day }, key, now, before) {
  if (type === "ago") return now - duration / 1e6;
  if (type === "absolute" || !wall) return moment / 1e6;
  if (type === "local") return inLocalTime(wall, day && key === "until" ? 1 : 0) / 1e6;
  const limit = before === Infinity ? now : before;
  const date = new Date(limit * 1000);
  const today = { ...wall, year: date.getFullYear(), month: date.getMonth() + 1, day: date.getDate() };
  const last = inLocalTime(today) / 1e6;
  return last < limit || (last === limit && before === Infinity) ? last : inLocalTime(today, -1) / 1e6;
}

/** The same filter with moments that mean the same to everybody, wherever and whenever they read it. */
export function absoluteOf(/** @type {Group[]} */ groups, /** @type {number} */ now) {
  const others = groups.filter((group) => !isMoment(group));
  for (const [key, seconds] of Object.entries(spanOf(groups, now))) {
    if (!Number.isFinite(seconds)) continue;
    others.push({ key, negated: false, alternatives: [absolute(Math.max(0, Math.round(seconds * 1e6)))] });
  }
  return others;
}

/**
 * What says whether a task passes the filter at a moment, by the task, and its name and arguments as the table shows them.
 * @param {Filter} filter
 * @param {number} now  Unix seconds
 * @returns {(task: Task, call: string) => boolean}
 */
export function passing({ kind, groups }, now) {
  const { since, until } = spanOf(groups, now);
  const others = groups.filter((group) => !isMoment(group));
  return (task, call) =>
    isOf(task, kind, now) &&
    task.timestamp >= since &&
    task.timestamp < until &&
    others.every(
      ({ key, negated, alternatives }) =>
        alternatives.some((value) => holds(value, key, task, call, now)) !== negated,
    );
}

/**
 * Whether one term holds of a task.
 * @param {Value} value
 * @param {string} key
 * @param {Task} task
 * @param {string} call
 * @param {number} now
 */
function holds({ type, parts = [], names, kind = "", words = "", operator = "", duration = 0 }, key, task, call, now) {
  if (type === "glob") return TEXTS[key](task).some((text) => text && isLike(text, parts));
  if (type === "state") return names?.includes(task.state) ?? false;
  if (type === "kind") return kind === (WAITING_KINDS.includes(kind) ? waitingKind(task, now) : kindOf(task));
  if (type === "words") return searched(task, call).includes(words);
  const seconds = key === "runtime" ? ranFor(task, now) : waitedFor(task, now);
  return seconds !== undefined && isWithin(seconds, operator, duration / 1e6);
}

function isWithin(/** @type {number} */ seconds, /** @type {string} */ operator, /** @type {number} */ bound) {
  if (operator === ">") return seconds > bound;
  if (operator === ">=") return seconds >= bound;
  return operator === "<" ? seconds < bound : seconds <= bound;
}

/** Whether a text is the one part, or begins, ends and goes on like several, with anything between them. */
function isLike(/** @type {string} */ text, /** @type {string[]} */ [first, ...middle]) {
  const last = middle.pop();
  if (last === undefined) return text === first;
  const end = text.length - last.length;
  let at = first.length;
  if (end < at || !text.startsWith(first) || !text.endsWith(last)) return false;
  for (const part of middle) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** The text in which words are looked for, folded. */
function searched(/** @type {Task} */ { id, tags, exception }, /** @type {string} */ call) {
  const error = exception ? [exception.type, exception.message] : [];
  return folded([id, call, ...(tags ?? []), ...error].join(SEPARATOR));
}
