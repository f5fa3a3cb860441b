/**
 * How someone moves through the list of tasks: what it shows, where they are in it, and whether it may move.
 *
 * @typedef {import("../model/state.js").Tasks} Tasks
 * @typedef {import("../model/kinds.js").Kind} Kind
 *
 * @typedef {object} Page  what it needs of the page
 * @property {() => void} draw
 * @property {() => void} changed  draw soon
 * @property {() => import("../views/table.js").TableView} table
 * @property {(change: {kind: Kind, filter: string}, typed: boolean) => void} placed  says what is shown
 */

import { parseQuery } from "../model/filter.js";
import { searchTasks } from "../requests.js";
import { byId } from "../views/dom.js";

/** The pause in typing after which the relay is asked for older tasks, in milliseconds. */
const REST = 300;

export class ListControl {
  #tasks;
  #page;
  #box = byId("filter");
  #paused = false;
  #scrolled = false;
  /** @type {any} */ #search;
  /** The row that the keyboard is at, by number; 0 for none. */
  activeNumber = 0;

  /** @param {Tasks} tasks @param {Page} page */
  constructor(tasks, page) {
    this.#tasks = tasks;
    this.#page = page;
    this.#box.addEventListener("input", () => this.select({}, true));
  }

  /**
   * Show other tasks. The search box says which, so it is what changes.
   * @param {{kind?: Kind, query?: string}} change
   * @param {boolean} [typed]  whether more is to come, letter by letter
   */
  select({ kind = this.#tasks.filter.kind, query = this.#box.value }, typed = false) {
    if (this.#box.value !== query) this.#box.value = query;
    if (!typed) this.#page.placed({ kind, filter: query }, false);
    const terms = parseQuery(query);
    this.#tasks.select({ kind, terms });
    this.follow();
    clearTimeout(this.#search);
    this.#search = setTimeout(async () => {
      this.#page.placed({ kind, filter: query }, typed); // not letter by letter: browsers allow few steps a second
      if (await searchTasks(terms, (task) => this.#tasks.merge(task))) this.#page.changed();
    }, REST);
  }

  /** Make a row of the list the active one; -1 for none. */
  activate(/** @type {number} */ index) {
    this.activeNumber = this.#tasks.at(index)?.number ?? 0;
    this.#holdIfNeeded();
    if (this.activeNumber) this.#page.table().reveal(index);
    this.#page.draw();
  }

  /** Make a task's row the active one, if it is in the list. */
  activateTask(/** @type {string} */ id) {
    this.activate(this.#tasks.indexOf(this.#tasks.get(id)));
  }

  /** Whether the newest row was scrolled out of view. */
  scrolled(/** @type {boolean} */ away) {
    if (this.#scrolled === away) return;
    this.#scrolled = away;
    this.#holdIfNeeded();
    this.#page.changed();
  }

  /** Go back to the newest, and let the list move again. */
  follow() {
    this.#paused = this.#scrolled = false;
    this.activeNumber = 0;
    this.#page.table().toTop();
    this.#holdIfNeeded();
    this.#page.draw();
  }

  toggleFollow() {
    if (this.#tasks.isHeld) return this.follow();
    this.#paused = true;
    this.#holdIfNeeded();
    this.#page.draw();
  }

  /** Show what the address says, where that is something else. */
  show(/** @type {{kind: Kind, query: string}} */ { kind, query }) {
    if (kind !== this.#tasks.filter.kind || query !== this.#box.value) this.select({ kind, query });
  }

  /** Bring a task that was just submitted into view. */
  bring(/** @type {string} */ id) {
    this.follow();
    const index = this.#tasks.indexOf(this.#tasks.get(id));
    if (index >= 0) this.#page.table().reveal(index);
  }

  /** What someone reads must not move: the list stays as it is while they are down in it. */
  #holdIfNeeded() {
    const hold = this.#paused || this.#scrolled || this.activeNumber > 0;
    if (hold && !this.#tasks.isHeld) this.#tasks.hold();
    else if (!hold && this.#tasks.isHeld) this.#tasks.release();
  }
}
