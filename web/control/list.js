/**
 * How someone moves through the list of tasks: what it shows, where they are in it, and whether it may move.
 *
 * @typedef {import("../model/state.js").Tasks} Tasks
 * @typedef {import("../model/kinds.js").Kind} Kind
 *
 * @typedef {object} Page  what it needs of the page
 * @property {() => void} draw
 * @property {() => void} changed  draw soon
 * @property {() => number} now  Unix seconds
 * @property {(problem: InvalidFilter | undefined) => void} wrong  what the search box says is not understood
 * @property {() => import("../views/table.js").TableView} table
 * @property {(change: {kind: Kind, filter: string}, typed: boolean) => void} placed  says what is shown
 */

import { InvalidFilter, parse } from "../model/filter.js";
import { terms } from "../model/terms.js";
import { searchTasks } from "../requests.js";
import { byId } from "../views/dom.js";

/** The pause in typing after which a mistake is told, or the relay is asked for older tasks, in milliseconds. */
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
   * Show other tasks. The search box says which, so it is what changes; what is wrong in it changes nothing, and is told
   * when there is a pause in typing, for what is begun is wrong until it is written to its end.
   * @param {{kind?: Kind, query?: string}} change
   * @param {boolean} [typed]  whether more is to come, letter by letter
   */
  select({ kind = this.#tasks.filter.kind, query = this.#box.value }, typed = false) {
    if (this.#box.value !== query) this.#box.value = query;
    if (!typed) this.#page.placed({ kind, filter: query }, false);
    clearTimeout(this.#search);
    const groups = this.#read(query);
    this.#tasks.select({ kind, groups: groups ?? this.#tasks.filter.groups });
    this.follow();
    if (!groups) return;
    this.#search = setTimeout(async () => {
      this.#page.placed({ kind, filter: query }, typed); // not letter by letter: browsers allow few steps a second
      if (await searchTasks(groups, (task) => this.#tasks.merge(task))) this.#page.changed();
    }, REST);
  }

  /** @returns {import("../model/filter.js").Group[] | undefined} undefined where it is wrong */
  #read(/** @type {string} */ query) {
    try {
      const groups = parse(query, this.#page.now());
      this.#page.wrong(undefined);
      return groups;
    } catch (error) {
      if (!(error instanceof InvalidFilter)) throw error;
      this.#search = setTimeout(() => this.#page.wrong(error), REST);
      return undefined;
    }
  }

  /** Take what was probably meant in place of a wrong term. */
  correct(/** @type {InvalidFilter} */ { term, meant = "" }) {
    const { value } = this.#box;
    const at = terms(value).find(({ source }) => source === term)?.begin ?? 0;
    this.#box.focus();
    this.select({ query: value.slice(0, at) + meant + value.slice(at + term.length) });
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
