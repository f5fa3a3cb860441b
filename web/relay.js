/** What the page asks of its relay: where it is, the tasks that it starts from, and what happens from then on. */

import { parse } from "./json.js";

const EVERYTHING = { epoch: "", offset: 0 };

const PAGE_SIZE = 200;
const TASKS_AT_START = 1000;
/** Clocks that differ by less are taken for equal: the Date header counts whole seconds. */
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
 * Take over the tasks that the relay knows, then follow from exactly there. Where something in between could not be
 * had, this is said, and done again from what there is.
 * @param {import("./watcher.js").Relay} connection
 * @param {import("./state.js").Tasks} tasks
 * @param {object} tell
 * @param {() => void} tell.changed
 * @param {(row: import("./state.js").Row) => void} tell.ended  a task of this page has ended
 * @param {() => void} tell.gap
 * @param {(reason: string) => void} tell.refused
 */
export async function followTasks(connection, tasks, tell) {
  const since = await loadTasks((task) => tasks.merge(task));
  let first = true;
  const handlers = {
    onSubscribed(/** @type {import("./watcher.js").Subscribed} */ { gap, renewed }) {
      const again = (gap || renewed) && !first;
      if (renewed) tasks.clear();
      // Without a place to start from, all that is kept was asked for: that some of it is gone goes without saying.
      if (since && (gap || renewed)) tell.gap();
      if (again) {
        subscription.end();
        followTasks(connection, tasks, tell);
      }
      first = false;
      tell.changed();
    },
    onEvent(/** @type {any} */ event, /** @type {number} */ offset) {
      const row = tasks.apply(event, offset);
      if (row?.mine && row.task.final && row.task.timestamp === event.timestamp) tell.ended(row);
      if (row) tell.changed();
    },
    onError: (/** @type {Error} */ error) => tell.refused(error.message),
  };
  const subscription = connection.subscribe("tasks", handlers, since ?? EVERYTHING);
}

/**
 * Follow one task, from the first of its events that is kept.
 * @param {import("./watcher.js").Relay} connection
 * @param {import("./timeline.js").History} history
 * @param {() => void} changed
 */
export function followTask(connection, history, changed) {
  const handlers = {
    onSubscribed(/** @type {import("./watcher.js").Subscribed} */ { data, gap, renewed }) {
      if (renewed) history.reset();
      history.learn(data?.task ?? null, gap);
      changed();
    },
    onEvent(/** @type {any} */ event, /** @type {number} */ offset) {
      history.apply(event, offset);
      changed();
    },
    onError(/** @type {Error} */ error) {
      history.refuse(error.message);
      changed();
    },
  };
  return connection.subscribe(`task:${history.id}`, handlers, EVERYTHING);
}

/**
 * Load the newest tasks, unfinished ones older than the history among them. Once, when the page starts or has lost its
 * place; what follows comes over the connection.
 * @param {(task: any) => void} take
 * @returns {Promise<{epoch: string, offset: number} | undefined>} the position from which to follow, if there is one
 */
async function loadTasks(take) {
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
 * @param {import("./filter.js").Term[]} terms
 * @param {(task: any) => void} take
 * @returns {Promise<boolean>} whether the relay was asked and answered
 */
export async function searchTasks(terms, take) {
  const asked = terms.filter(({ key }) => SEARCHED.has(key)).map(({ key, text }) => [key, text]);
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
  if (!response.ok) throw new Error(`the relay answered ${response.status}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `${id}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}
