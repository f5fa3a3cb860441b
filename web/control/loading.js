/**
 * The list as the relay has it: its first tasks when something else is looked for, and more when its end is reached.
 *
 * @typedef {import("../model/state.js").Tasks} Tasks
 * @typedef {import("../requests.js").Listed} Listed
 *
 * @typedef {object} Asked  what the list shows
 * @property {string} filter  in the filter language, of the kind too
 * @property {string} sort
 */

import { listTasks } from "../requests.js";

/** So many of the rows that the page may keep are left for what happens meanwhile. */
const KEPT_FREE = 0.1;

export class Loading {
  #tasks;
  #changed;
  /** @type {Asked} */ #asked = { filter: "", sort: "sent" };
  /** @type {string | number | null | undefined} undefined where the relay has not answered yet */ #next;
  #run = 0;
  /** `full`: the page has as many tasks as it keeps. @type {"loading" | "more" | "end" | "full" | "failed"} */
  phase = "end";

  /** @param {Tasks} tasks @param {() => void} changed */
  constructor(tasks, changed) {
    this.#tasks = tasks;
    this.#changed = changed;
  }

  /** The list begins with what is there already, and goes on from here. */
  begin(/** @type {Asked} */ asked, /** @type {Listed["next"]} */ next) {
    this.#run += 1;
    this.#asked = asked;
    this.#next = next;
    this.phase = next ? "more" : "end";
  }

  /** Look for other tasks. @returns {Promise<void>} when the first of them are there */
  async ask(/** @type {Asked} */ asked) {
    this.#asked = asked;
    this.#next = undefined;
    await this.#load();
  }

  /** Load on at the end of the list, once at a time. */
  async more() {
    if (this.phase !== "more" && this.phase !== "failed") return;
    if (this.#tasks.size > this.#tasks.limit * (1 - KEPT_FREE)) {
      this.phase = "full";
      this.#changed();
      return;
    }
    await this.#load();
  }

  async #load() {
    const run = ++this.#run;
    this.phase = "loading";
    this.#changed();
    const page = await listTasks({ ...this.#asked, before: this.#next ?? "" });
    if (run !== this.#run) return;
    this.phase = page ? (page.next ? "more" : "end") : "failed";
    if (page) this.#take(page);
    this.#changed();
  }

  #take(/** @type {Listed} */ page) {
    this.#next = page.next;
    for (const task of page.tasks) this.#tasks.merge(task, true);
    const last = page.tasks.at(-1);
    const key = last && this.#tasks.keyOf(last.id);
    if (!page.next) this.#tasks.reach(-Infinity);
    else if (key !== undefined) this.#tasks.reach(key);
  }
}
