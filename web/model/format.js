/** How values, times and durations read on the page. Pure. */

import { kindOf } from "../embed/kind.js";
import { stringify } from "./json.js";

/** The longest value shown in one line, in characters. */
const LINE_LIMIT = 160;

/** A text cut to a length, with an ellipsis where something is missing. */
export function cut(/** @type {string} */ text, limit = LINE_LIMIT) {
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

/** Any JSON value in one short line. */
export function line(/** @type {any} */ value, limit = LINE_LIMIT) {
  // A long text is cut first: to quote all of it would be work for nothing.
  const whole = typeof value === "string" ? stringify(value.slice(0, limit + 1)) : stringify(value);
  return cut(whole ?? "", limit);
}

/** Any JSON value as a block of text. */
export function block(/** @type {any} */ value) {
  return stringify(value, 2) ?? "";
}

/** A duration: < 0.1 ms, 0.4 ms, 12 ms, 3.24 s, 2 m 05 s, 3 h 10 m, 2 d 4 h. `whole` leaves out fractions, for one that counts. */
export function duration(/** @type {number} */ seconds, whole = false) {
  if (seconds < 1 && !whole) {
    const ms = seconds * 1000;
    if (ms > 0 && ms < 0.1) return "< 0.1 ms";
    return `${ms === 0 || ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`;
  }
  if (seconds < 60) return whole ? `${Math.floor(seconds)} s` : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const total = Math.floor(seconds);
  const pad = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (total < 3600) return `${Math.floor(total / 60)} m ${pad(total % 60)} s`;
  if (total < 86_400) return `${Math.floor(total / 3600)} h ${pad(Math.floor(total / 60) % 60)} m`;
  return `${Math.floor(total / 86_400)} d ${Math.floor(total / 3600) % 24} h`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** The last moment that a Date can be, in milliseconds (ECMAScript, 21.4.1.1). */
const LAST = 8.64e15;

/** A moment, or what comes nearest to it: a worker may tell of any number of Unix seconds. */
export function moment(/** @type {number} */ timestamp) {
  return new Date(Math.max(-LAST, Math.min(LAST, timestamp * 1000)));
}

/** The time of day, with the date where it was not today. */
export function when(/** @type {number} */ timestamp, now = Date.now()) {
  if (!Number.isFinite(timestamp)) return "unknown time";
  const date = moment(timestamp);
  return (date.toDateString() === new Date(now).toDateString() ? CLOCK : DAY).format(date);
}

/** The time of day. */
export function clock(/** @type {number} */ timestamp) {
  return Number.isFinite(timestamp) ? CLOCK.format(moment(timestamp)) : "unknown time";
}

/** The time of day to the millisecond. */
export function precisely(/** @type {number} */ timestamp) {
  return `${clock(timestamp)}.${String(moment(timestamp).getMilliseconds()).padStart(3, "0")}`;
}

/** Date, time and zone. */
export function inFull(/** @type {number} */ timestamp) {
  return FULL.format(moment(timestamp));
}

/** A size: 812 bytes, 12 KiB, 3.4 MiB. */
export function size(/** @type {number} */ bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KiB`;
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

/** The state that a task or an event shows: Celery's, but of one whose worker is gone that it is lost. */
export function shownState(/** @type {{state: string, reason?: string}} */ told) {
  return kindOf(told) === "lost" ? "LOST" : told.state;
}

/** A state as a word: Celery's own name, with one capital. */
export function word(/** @type {string} */ state) {
  return state.charAt(0).toUpperCase() + state.slice(1).toLowerCase();
}

/** A count with separators. */
export const count = new Intl.NumberFormat("en").format;

/** A task's name in two parts: where it lives, and what it is called. @returns {[string, string]} */
export function nameParts(/** @type {string} */ name) {
  const dot = name.lastIndexOf(".") + 1;
  return [name.slice(0, dot), name.slice(dot)];
}

/**
 * The arguments of a call in one line, parentheses included: real values as JSON, else the texts that stand for them.
 * @param {Record<string, any>} fields  of a task or an event
 * @param {number} [limit]  in characters
 */
export function call({ args, kwargs, argsrepr, kwargsrepr }, limit = LINE_LIMIT) {
  if (args && kwargs) {
    const parts = args.map((/** @type {any} */ value) => line(value, 80));
    for (const [key, value] of Object.entries(kwargs)) parts.push(`${key}=${line(value, 80)}`);
    return cut(`(${parts.join(", ")})`, limit);
  }
  if (argsrepr === undefined && kwargsrepr === undefined) return "";
  const parts = [];
  const positional = (argsrepr ?? "()").replace(/^[([]/, "").replace(/,?[)\]]$/, "");
  if (positional) parts.push(positional);
  if (kwargsrepr && kwargsrepr !== "{}") parts.push(`**${kwargsrepr}`);
  return cut(`(${parts.join(", ")})`, limit);
}

