/** What the page asks of its relay by requests: the tasks that it starts from, those that it looks for, a result. */

import { parse } from "./model/json.js";

/** Tasks per request, and loaded at the start. */
const PAGE_SIZE = 200;
const TASKS_AT_START = 1000;
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
 * Load the newest tasks, unfinished ones older than the history among them. Once, when the page starts or has lost its
 * place; what follows comes over the connection.
 * @param {(task: any) => void} take
 * @returns {Promise<{epoch: string, offset: number} | undefined>} the position from which to follow, if there is one
 */
export async function loadTasks(take) {
  let position;
  let before = "";
  let taken = 0;
  do {
    const query = new URLSearchParams({ limit: String(PAGE_SIZE), ...(before && { before }) });
    const page = await getJSON(`api/tasks?${query}`);
    if (!page) break;
    // The first page's: events that arrived while the others were read come again, and are known by their offsets.
    position ??= { epoch: page.epoch, offset: page.offset };
    for (const task of page.tasks) take(task);
    taken += page.tasks.length;
    before = page.next;
  } while (before && taken < TASKS_AT_START);
  return position;
}

/** What of a filter the relay can look for in all that it knows. */
const SEARCHED = new Set(["tag", "root", "group"]);

/**
 * Look for older tasks than those the page has, because someone wants to see them; one page of them.
 * @param {import("./model/filter.js").Group[]} groups
 * @param {(task: any) => void} take
 * @returns {Promise<boolean>} whether the relay was asked and answered
 */
export async function searchTasks(groups, take) {
  const asked = groups
    .filter(({ key, negated, alternatives }) => SEARCHED.has(key) && !negated && alternatives.length === 1)
    .flatMap(({ key, alternatives: [{ parts = [] }] }) => (parts.length === 1 ? [[key, parts[0]]] : []));
  if (!asked.length) return false;
  const page = await getJSON(`api/tasks?${new URLSearchParams([...asked, ["limit", String(PAGE_SIZE)]])}`);
  for (const task of page?.tasks ?? []) take(task);
  return page !== undefined;
}

/** @returns {Promise<any>} undefined where there is no answer to be had: the journal alone has to do then */
async function getJSON(/** @type {string} */ address) {
  const token = keptToken();
  try {
    const response = await fetch(address, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    if (!response.ok) return undefined;
    const ahead = (Date.now() - Date.parse(response.headers.get("Date") ?? "")) / 1000;
    skew = Math.abs(ahead) > SKEW_NOTICED ? ahead : 0;
    return parse(await response.text());
  } catch {
    return undefined;
  }
}

/** Where a task's result is, whatever its size. */
export function resultAddress(/** @type {string} */ id) {
  return `api/tasks/${encodeURIComponent(id)}/result`;
}

/** Save a task's result where a plain link would not do: it carries no token. */
export async function saveResult(/** @type {string} */ id) {
  const response = await fetch(resultAddress(id), { headers: { Authorization: `Bearer ${keptToken()}` } });
  if (!response.ok) throw new Error(`the relay answered with status ${response.status}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `${id}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}
