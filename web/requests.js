/**
 * What the page asks of its relay by requests: lists of tasks, how many there are, what happened when, a result.
 *
 * @typedef {object} Listed  docs/http.md has it in full
 * @property {any[]} tasks
 * @property {string} epoch
 * @property {number} offset
 * @property {string | number | null} next  where the list goes on; nothing at its end
 * @property {number | null} [since]  Unix seconds back to which all is known; null for as long as the journal is there
 * @property {any[]} [gaps]  times of which some may be missing
 * @property {string | null} [archive]  why the list has only what the journal holds
 *
 * @typedef {{total: number, kinds: Record<string, number>}} Numbers
 *
 * @typedef {{at: number, sent: number, succeeded: number, failed: number, other: number}} Bucket
 * @typedef {{since: number, until: number, step: number, buckets: Bucket[], offset?: number}} Series
 *
 * @typedef {{p50: number, p95: number, max?: number}} Times  in seconds
 * @typedef {{name: string, count: number, failed: number, runtime: Times | null, waited: Times | null, seen: number}} NameStats
 */

import { parse } from "./model/json.js";

/** Tasks per request, and the most unfinished ones that are loaded at the start. */
const PAGE_SIZE = 200;
const MOST_UNFINISHED = 2000;
const UNFINISHED = "state:waiting state:running state:lost";
/** The smallest difference of clocks that counts, in seconds: the Date header counts whole seconds. */
const SKEW_NOTICED = 2;

const TOKEN_KEY = "watcher-token";

let skew = 0;
let kept = storedToken();

/** Seconds by which this machine's clock is ahead of the relay's. */
export function clockSkew() {
  return skew;
}

/** The token that this tab was given. It is never put into an address. */
export function keptToken() {
  return kept;
}

/** Keep a token for as long as the tab is open. */
export function keepToken(/** @type {string} */ token) {
  kept = token;
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // Storage is switched off: a reload asks again.
  }
}

/** @returns {string | null} */
function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return null;
  }
}

/**
 * Ask for tasks: one page of them.
 * @param {{filter?: string, sort?: string, before?: string | number, limit?: number}} asked
 * @returns {Promise<Listed | undefined>} undefined where there is no answer
 */
export function listTasks({ filter = "", sort = "sent", before = "", limit = PAGE_SIZE }) {
  return getJSON("api/tasks", { limit, filter, sort, before });
}

/**
 * Load the newest tasks, and all unfinished ones whatever their age. Once, when the page starts or has lost its place;
 * what follows comes over the connection.
 * @param {(task: any) => void} take
 * @returns {Promise<{newest: Listed, unfinished: boolean} | undefined>} the newest, whose position is the one from which to
 *   follow, and whether those are all unfinished ones
 */
export async function loadTasks(take) {
  const [newest, first] = await Promise.all([listTasks({}), listTasks({ filter: UNFINISHED, limit: 1000 })]);
  for (const task of [...(first?.tasks ?? []), ...(newest?.tasks ?? [])]) take(task);
  let page = first;
  for (let taken = 1000; page?.next && taken < MOST_UNFINISHED; taken += 1000) {
    page = await listTasks({ filter: UNFINISHED, before: page.next, limit: 1000 });
    for (const task of page?.tasks ?? []) take(task);
  }
  return newest && { newest, unfinished: page !== undefined && !page.next };
}

/**
 * How many tasks there are, by kind.
 * @returns {Promise<Numbers | undefined>}
 */
export async function countTasks(/** @type {string} */ filter) {
  const answer = await getJSON("api/counts", { filter, by: "kind" });
  if (!answer) return undefined;
  const kinds = Object.fromEntries(answer.counts.map((/** @type {any} */ { kind, count }) => [kind, count]));
  return { total: answer.total, kinds };
}

/**
 * What happened when.
 * @param {{filter: string, since: number, until: number, buckets: number}} asked  Unix seconds
 * @returns {Promise<Series | undefined>}
 */
export function loadSeries({ filter, since, until, buckets }) {
  return getJSON("api/series", { filter, since: iso(since), until: iso(until), buckets });
}

/** The tasks by name. @param {{filter: string, since: string}} asked @returns {Promise<NameStats[] | undefined>} */
export async function loadNames({ filter, since }) {
  return (await getJSON("api/names", { filter, since }))?.names;
}

/** A moment for the relay, which would take one without a zone for another. */
function iso(/** @type {number} */ seconds) {
  return new Date(seconds * 1000).toISOString();
}

/**
 * @param {string} path
 * @param {Record<string, string | number>} parameters  those that are empty are left out
 */
function address(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "");
  return `${path}?${new URLSearchParams(given.map(([key, value]) => [key, String(value)]))}`;
}

/** @returns {Promise<any>} undefined where there is no answer to be had: the journal alone has to do then */
async function getJSON(/** @type {string} */ path, /** @type {Record<string, string | number>} */ parameters) {
  const token = keptToken();
  try {
    const response = await fetch(address(path, parameters), { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    if (!response.ok) return undefined;
    const ahead = (Date.now() - Date.parse(response.headers.get("Date") ?? "")) / 1000;
    if (Number.isFinite(ahead)) skew = Math.abs(ahead) > SKEW_NOTICED ? ahead : 0;
    return parse(await response.text());
  } catch {
    return undefined;
  }
}

/** Where all tasks that match are in one file. @param {{filter: string, format: string}} asked */
export function exportAddress(asked) {
  return address("api/tasks", asked);
}

/** Where a task's result is, whatever its size. */
export function resultAddress(/** @type {string} */ id) {
  return `api/tasks/${encodeURIComponent(id)}/result`;
}

/** Save a task's result where a plain link would not do: it carries no token. */
export function saveResult(/** @type {string} */ id) {
  return save(resultAddress(id), `${id}.json`);
}

/** Save what is at an address that wants the token. @param {string} path @param {string} name  of the file */
export async function save(path, name) {
  const response = await fetch(path, { headers: { Authorization: `Bearer ${keptToken()}` } });
  if (!response.ok) throw new Error(`the relay answered with status ${response.status}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
