/**
 * Which tasks the table shows: a kind of state, and what the search box says. Pure.
 *
 * The search box understands words (looked for in name, id, arguments and tags) and `key:value` pairs; a value with
 * blanks stands in double quotes. All of them must hold.
 *
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {import("./kinds.js").Kind} Kind
 * @typedef {{key: string, value: string, text: string}} Term  the value in lower case, and as it was typed
 * @typedef {{kind: Kind, terms: Term[]}} Filter
 */

import { kindOf } from "../embed/kind.js";

// Without a prototype, as each table that is asked for what others called something: `constructor` is in no other.

/** @type {Record<string, (task: Task) => string | undefined>} */
const FIELDS = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  id: (task) => task.id,
  name: (task) => task.name,
  state: (task) => task.state,
  queue: (task) => task.queue,
  worker: (task) => task.hostname,
  root: (task) => task.root_id ?? task.id,
  parent: parentOf,
  group: (task) => task.group_id,
};

/** The task that sent this one. What runs again under its own id may be told to be its own: no task is. */
export function parentOf(/** @type {Task} */ { id, parent_id: parent }) {
  return parent === id ? undefined : parent;
}

const TERM = /(?:(\w+):)?(?:"([^"]*)"?|(\S+))/g;

/** Split the text of the search box into terms. @returns {Term[]} */
export function parseQuery(/** @type {string} */ text) {
  const terms = [];
  for (const [whole, key = "", quoted, bare = ""] of text.matchAll(TERM)) {
    const known = key in FIELDS || key === "tag";
    const value = known ? (quoted ?? bare) : whole.replaceAll('"', "");
    if (value) terms.push({ key: known ? key : "", value: value.toLowerCase(), text: value });
  }
  return terms;
}

/** One term as it stands in the search box. */
export function termText(/** @type {string} */ key, /** @type {string} */ value) {
  return /[\s"]/.test(value) ? `${key}:"${value.replaceAll('"', "")}"` : `${key}:${value}`;
}

/** Whether a task passes the filter. `call` is its name and arguments as the table shows them. */
export function matches(/** @type {Task} */ task, /** @type {string} */ call, /** @type {Filter} */ { kind, terms }) {
  if (kind !== "all" && kindOf(task) !== kind) return false;
  return terms.every(({ key, value }) => {
    if (key === "tag") return task.tags?.some((/** @type {string} */ tag) => tag.toLowerCase() === value) ?? false;
    if (key === "name") return task.name?.toLowerCase().includes(value) ?? false;
    if (key) return FIELDS[key](task)?.toLowerCase() === value;
    return `${task.id} ${call} ${task.tags?.join(" ") ?? ""}`.toLowerCase().includes(value);
  });
}
