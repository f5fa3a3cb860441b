/**
 * From the terms of a filter to what they mean; the same as `watcher/core/filters/parsing.py` has it. Pure.
 *
 * @typedef {import("./terms.js").Term} Term
 * @typedef {import("./moments.js").Wall} Wall
 *
 * @typedef {object} Value  with `text`, as it stands in a filter, and what its type has
 * @property {"glob" | "kind" | "state" | "ago" | "clock" | "local" | "absolute" | "bound" | "words"} type
 * @property {string} text
 * @property {string[]} [parts]  of a glob: what stands between the stars; one part: the value itself
 * @property {string} [kind]
 * @property {string[]} [names]  of a state: any of these
 * @property {number} [duration]  in microseconds
 * @property {string} [operator]  of a bound: > >= < or <=
 * @property {Wall} [wall]  of a clock time, only the time of day
 * @property {boolean} [day]  whether the whole day is meant
 * @property {number} [moment]  in Unix microseconds
 * @property {string} [words]  to look for, folded
 */

import { RANKS } from "../embed/task.js";
import { inUtc, iso, utcText } from "./moments.js";
import { closeTo, stateMeant } from "./suggestions.js";
import { InvalidFilter, instead, quoted, shown, terms, valueText, wordsText } from "./terms.js";

/** The kinds of state, and those of what waits. */
export const KINDS = ["waiting", "running", "lost", "succeeded", "failed", "other"];
export const WAITING_KINDS = ["queued", "scheduled", "retrying"];
const ALL_KINDS = [...KINDS, ...WAITING_KINDS];
const STATES = Object.keys(RANKS);

/** The keys, in the order in which people are told of them: how values are read, and an example. @type {Record<string, [keyof typeof READERS, string]>} */
const KEYS = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  state: ["state", "failed"],
  name: ["glob", "mail.send"],
  queue: ["glob", "default"],
  worker: ["glob", "celery@web2"],
  tag: ["glob", "user:42"],
  error: ["glob", "CardDeclined"],
  since: ["moment", "2h"],
  until: ["moment", "03:10"],
  runtime: ["bound", ">5s"],
  waited: ["bound", ">1m"],
  id: ["glob", "order-17"],
  root: ["glob", "order-17"],
  parent: ["glob", "order-17"],
  group: ["glob", "nightly"],
};
/** Other words for the keys: suggested, not accepted. @type {Record<string, string>} */
// prettier-ignore
const ALIASES = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  after: "since", before: "until", duration: "runtime", exception: "error", from: "since",
  group_id: "group", host: "worker", hostname: "worker", kind: "state", latency: "waited",
  parent_id: "parent", root_id: "root", status: "state", tags: "tag", task: "name", task_id: "id",
  to: "until", uuid: "id", wait: "waited", waiting: "waited",
};
const KEYS_ALIKE = 0.6;

/** Most stars in one value, and the longest term that is suggested, in characters. */
const MOST_STARS = 10;
const LONGEST_MEANT = 200;
/** Units of durations in microseconds, the longest first. @type {Record<string, number>} */
const UNITS = { w: 604_800e6, d: 86_400e6, h: 3600e6, m: 60e6, s: 1e6, ms: 1000 };
/** The longest duration: a hundred years. */
const LONGEST = 36_500 * UNITS.d;
/** The end of the years that a moment may be in: so far numbers hold microseconds. */
const LAST_YEAR = 2199;
const LATEST = Date.UTC(LAST_YEAR + 1, 0) * 1000;

const DURATION = /^(?:[0-9]{1,10}(?:\.[0-9]{1,9})?(?:ms|[smhdw]))+$/;
const PART = /([0-9]+)(?:\.([0-9]+))?(ms|[smhdw])/g;
const NUMBER = /^[0-9]{1,8}(?:\.[0-9]{1,6})?$/;
const UNIX = /^([0-9]{9,10})(?:\.([0-9]{1,6}))?$/;
const CLOCK = /^([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?$/;
const DATE = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/;
const BOUND = /^(>=|<=|>|<)(.*)$/s;
const DURATIONS = "ms, s, m, h, d or w";
const MOMENTS =
  `2h (before now; ${DURATIONS}), a clock time like 03:10, a date like 2026-11-30, or 2026-11-30T03:10, ` +
  "with Z or an offset like +01:00 where it is of another zone";

/** Whether several terms with a key are alternatives; else all of them must hold. */
export function isAlternative(/** @type {string} */ key) {
  return KEYS[key]?.[0] === "state" || KEYS[key]?.[0] === "glob";
}

/** Words as they are compared: in lower case, a Greek sigma always the same. */
export function folded(/** @type {string} */ text) {
  return text.toLowerCase().replaceAll("ς", "σ");
}

/**
 * What a term means.
 * @returns {Value}
 * @throws {InvalidFilter}
 */
export function valueOf(/** @type {Term} */ term) {
  const { key, value, source } = term;
  if (!key && value) return { type: "words", words: folded(value), text: wordsText(value) };
  if (!key) throw new InvalidFilter(source, 'words to look for must follow; a - alone is written "-"');
  if (!(key in KEYS)) throw noSuchKey(term);
  const [values, example] = KEYS[key];
  if (!value) throw new InvalidFilter(source, `a value must follow, as in ${instead(term, key, example)}`);
  return READERS[values](term);
}

function noSuchKey(/** @type {Term} */ term) {
  const key = term.key.toLowerCase();
  const meant = key in KEYS ? key : (ALIASES[key] ?? closeTo(key, Object.keys(KEYS), KEYS_ALIKE));
  const keys = Object.keys(KEYS).join(", ");
  return new InvalidFilter(
    term.source,
    `there is no key ${shown(term.key)}; keys are ${keys}; text with a colon is written in quotes`,
    meant && right(instead(term, meant)),
  );
}

/** A term that may have been meant, if it is right; else what may have been meant by that. */
function right(/** @type {string} */ text) {
  if ([...text].length > LONGEST_MEANT) return undefined;
  try {
    valueOf(terms(text)[0]);
  } catch (error) {
    if (error instanceof InvalidFilter) return error.meant;
    throw error;
  }
  return text;
}

const READERS = { state: readState, glob: readGlob, moment: readMoment, bound: readBound };

/** @returns {Value} */
function readGlob(/** @type {Term} */ { source, pieces }) {
  const parts = [""];
  for (const { text, quoted: literal } of pieces) {
    const [first, ...others] = literal ? [text] : text.split("*");
    parts[parts.length - 1] += first;
    parts.push(...others);
  }
  const whole = parts.filter((part, at) => part || at === 0 || at === parts.length - 1);
  if (whole.length > MOST_STARS + 1) {
    throw new InvalidFilter(source, `a value may have ${MOST_STARS} stars; in quotes, a star means itself`);
  }
  return { type: "glob", parts: whole, text: whole.map(valueText).join("*") };
}

/** @returns {Value} */
function readState(/** @type {Term} */ term) {
  const { value: name, pieces, source } = term;
  const capitals = name.toUpperCase();
  const [plain, kind] = [/^[\0-\x7f]*$/.test(name), name.toLowerCase()];
  if (pieces.some((piece) => piece.quoted)) {
    return { type: "state", names: [name], text: STATES.includes(name) ? name : quoted(name) };
  }
  if (plain && STATES.includes(capitals)) return { type: "state", names: [capitals], text: capitals };
  if (ALL_KINDS.includes(kind)) return { type: "kind", kind, text: kind };
  if (name.includes("*")) throw new InvalidFilter(source, "a state is written whole, without a star");
  const meant = stateMeant(name) ?? closeTo(kind, ALL_KINDS) ?? closeTo(capitals, STATES);
  if (meant) {
    const own = `a custom state of that name is written ${instead(term, "state", quoted(name))}`;
    const problem = `there is no state ${shown(name)}; kinds are ${ALL_KINDS.join(", ")}; ${own}`;
    throw new InvalidFilter(source, problem, instead(term, "state", meant));
  }
  return { type: "state", names: plain && capitals !== name ? [name, capitals] : [name], text: valueText(name) };
}

/** @returns {Value} */
function readMoment(/** @type {Term} */ term) {
  const { key, value, source } = term;
  const [clock, ...times] = CLOCK.exec(value) ?? [];
  const [hour, minute, second] = times.map((digits) => Number(digits ?? 0));
  if (clock && hour < 24 && minute < 60 && second < 60) return clockTime(hour, minute, second);
  if (DURATION.test(value)) {
    const duration = durationOf(term, value);
    return { type: "ago", duration, text: durationText(duration) };
  }
  const unix = UNIX.exec(value);
  const day = DATE.test(value);
  const read = unix
    ? Number(unix[1]) * 1_000_000 + Number((unix[2] ?? "").padEnd(6, "0"))
    : iso(day ? `${value}T00:00` : value);
  if (typeof read === "number" && read >= 0 && read < LATEST) return absolute(read);
  if (typeof read === "object" && read.year >= 1970 && read.year <= LAST_YEAR) {
    return { type: "local", wall: read, day, text: utcText(inUtc(read)).slice(0, day ? 10 : -1) };
  }
  const meant = NUMBER.test(value) ? right(instead(term, key, `${value}h`)) : undefined;
  throw new InvalidFilter(source, `${shown(value)} is no moment; accepted are ${MOMENTS}`, meant);
}

/** A moment in Unix microseconds, as a value. @returns {Value} */
export function absolute(/** @type {number} */ moment) {
  return { type: "absolute", moment, text: utcText(moment) };
}

/** @returns {Value} */
function clockTime(/** @type {number} */ hour, /** @type {number} */ minute, /** @type {number} */ second) {
  const text = [hour, minute, second].map((number) => String(number).padStart(2, "0"));
  const wall = { year: 0, month: 0, day: 0, hour, minute, second, microsecond: 0 };
  return { type: "clock", wall, text: (second ? text : text.slice(0, 2)).join(":") };
}

/** @returns {Value} */
function readBound(/** @type {Term} */ term) {
  const { key, value, source } = term;
  const [found, operator = ">", duration = value] = BOUND.exec(value) ?? [];
  if (found && DURATION.test(duration)) {
    const length = durationOf(term, duration);
    return { type: "bound", operator, duration: length, text: operator + durationText(length) };
  }
  const meant = `${duration}${NUMBER.test(duration) ? "s" : ""}`;
  throw new InvalidFilter(
    source,
    `${shown(value)} is no bound of a duration; accepted are >, >=, < or <= before a duration (${DURATIONS}), as in ${key}:>5s`,
    DURATION.test(meant) ? right(instead(term, key, operator + meant)) : undefined,
  );
}

/** A duration in microseconds. */
function durationOf(/** @type {Term} */ { source }, /** @type {string} */ text) {
  let total = 0n;
  for (const [, whole, fraction = "", unit] of text.matchAll(PART)) {
    const size = BigInt(UNITS[unit]);
    const parts = BigInt(fraction || 0) * size;
    const share = 10n ** BigInt(fraction.length);
    if (parts % share) throw new InvalidFilter(source, "a duration is a whole number of microseconds");
    total += BigInt(whole) * size + parts / share;
  }
  if (total > LONGEST) throw new InvalidFilter(source, `a duration is at most ${durationText(LONGEST)}`);
  return Number(total);
}

/** Microseconds in the largest unit of which they are a whole number. */
function durationText(/** @type {number} */ duration) {
  if (!duration) return "0s";
  const [unit, size] = Object.entries(UNITS).find(([name, size]) => name !== "w" && duration % size === 0) ?? [];
  if (unit && size) return `${duration / size}${unit}`;
  return `${Math.floor(duration / 1000)}.${String(duration % 1000).padStart(3, "0")}`.replace(/0+$/, "") + "ms";
}
