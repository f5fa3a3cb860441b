/**
 * How someone moves through the list of tasks: what it shows, where they are in it, and whether it may move.
 *
 * @typedef {import("../model/state.js").Tasks} Tasks
 * @typedef {import("../model/offered.js").Kind} Kind
 *
 * @typedef {object} Page  what it needs of the page
 * @property {() => void} draw
 * @property {() => void} changed  draw soon
 * @property {() => import("../views/table.js").TableView} table
 * @property {() => number} now  Unix seconds
 * @property {(change: {kind: Kind, filter: string, sort: string}, typed: boolean) => void} placed  says what is shown
 * @property {(problem: InvalidFilter | undefined) => void} wrong  what the search box says is not understood
 * @property {(wanted: import("./answers.js").Wanted) => void} selected  something else is looked for
 */

import { InvalidFilter, parse, textOf } from "../model/filter.js";
import { utcText } from "../model/moments.js";
import { terms } from "../model/terms.js";
import { byId } from "../views/dom.js";

/** The pause in typing after which a mistake is told, or the relay is asked for older tasks, in milliseconds. */
const REST = 300;

export class ListControl {
  #tasks;
  #page;
  #box = byId("filter");
  #paused = false;
  #scrolled = false;
  /** @type {any} */ #rest;
  #sort = "sent";
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
   * @param {{kind?: Kind, query?: string, sort?: string}} change
   * @param {boolean} [typed]  whether more is to come, letter by letter
   */
  select({ kind = this.#tasks.filter.kind, query = this.#box.value, sort = this.#sort }, typed = false) {
    if (this.#box.value !== query) this.#box.value = query;
    this.#sort = sort;
    clearTimeout(this.#rest);
    const place = () => this.#page.placed({ kind, filter: query, sort }, typed); // not letter by letter: browsers allow few a second
    const read = this.#read(query);
    const groups = read ?? this.#tasks.filter.groups;
    if (!typed) place();
    this.#tasks.select({ kind, groups, sort });
    this.follow();
    if (!read) return;
    const ask = () => this.#page.selected({ kind, groups, sort });
    if (!typed) return ask();
    this.#rest = setTimeout(() => {
      place();
      ask();
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
      this.#rest = setTimeout(() => this.#page.wrong(error), REST);
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

  /** Look at a span of time only, in place of any other. @param {number} since @param {number} until  Unix seconds */
  span(since, until) {
    const rest = this.#tasks.filter.groups.filter(({ key }) => key !== "since" && key !== "until");
    const text = (/** @type {number} */ seconds) => utcText(Math.round(seconds) * 1e6);
    this.select({ query: [textOf(rest), `since:${text(since)}`, `until:${text(until)}`].filter(Boolean).join(" ") });
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
  show(/** @type {{kind: Kind, query: string, sort: string}} */ { kind, query, sort }) {
    if (kind !== this.#tasks.filter.kind || query !== this.#box.value || sort !== this.#sort) this.select({ kind, query, sort });
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
