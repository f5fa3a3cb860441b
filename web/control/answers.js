/**
 * What the relay answers about all tasks that it knows: the rest of the list, how many there are, what happened when, and
 * the tasks by name. All of it is asked for again when something else is looked for.
 *
 * @typedef {import("../model/filter.js").Group} Group
 * @typedef {import("../model/state.js").Row} Row
 *
 * @typedef {object} Wanted  what the list shows
 * @property {import("../model/offered.js").Kind} kind
 * @property {Group[]} groups
 * @property {string} sort
 */

import { absoluteOf, needsRelay, spanOf, textOf } from "../model/filter.js";
import { termOf, UNFINISHED } from "../model/offered.js";
import { ChartControl } from "./chart.js";
import { Loading } from "./loading.js";
import { NamesControl } from "./names.js";
import { NumbersControl } from "./numbers.js";

export class Answers {
  #tasks;
  #now;
  #changed;
  /** @type {Wanted} */ #wanted = { kind: "all", groups: [], sort: "sent" };
  /** The newest tasks, as they were loaded at the start, and whether all unfinished ones are there. @type {import("./follow.js").Loaded | null} */
  #loaded = null;
  /** How far back all is known. @type {{since: number | null, gaps: any[]} | null} */ reach = null;
  /** Why the relay has only what the journal holds. */
  archive = "";

  /** @param {import("../model/state.js").Tasks} tasks @param {() => number} now  Unix seconds on the relay's clock @param {() => void} changed */
  constructor(tasks, now, changed) {
    this.#tasks = tasks;
    this.#now = now;
    this.#changed = changed;
    this.loading = new Loading(tasks, changed);
    this.numbers = new NumbersControl(changed);
    this.chart = new ChartControl(now, changed);
    this.names = new NamesControl(now, changed);
  }

  /** What is looked for, as the relay reads it, whenever it does. */
  get filter() {
    return textOf(absoluteOf(this.#wanted.groups, this.#now()));
  }

  /** The same, of the kind that is chosen. */
  get filterOfKind() {
    const { kind, groups } = this.#wanted;
    const beside = groups.some(({ key, negated }) => key === "state" && !negated);
    return [this.filter, termOf(kind, beside)].filter(Boolean).join(" ");
  }

  /** Something else is looked for. */
  select(/** @type {Wanted} */ wanted) {
    const otherTerms = textOf(this.#wanted.groups) !== textOf(wanted.groups);
    this.#wanted = wanted;
    if (!this.#loaded) return;
    this.#list();
    this.#changed();
    if (!otherTerms) return;
    this.numbers.select(this.filter);
    this.#draw();
  }

  /**
   * The page has begun, or begun anew.
   * @param {import("./follow.js").Loaded} loaded
   * @param {boolean} told  whether the relay tells how many tasks there are
   */
  begin(loaded, told) {
    const { newest, unfinished } = loaded;
    this.#loaded = loaded;
    this.reach = { since: newest.since ?? null, gaps: newest.gaps ?? [] };
    this.archive = newest.archive ?? "";
    const last = newest.tasks.at(-1);
    const moment = newest.next && last ? this.#tasks.get(last.id)?.created : -Infinity;
    this.#tasks.completeSince(moment ?? -Infinity, unfinished);
    this.#list();
    this.numbers.forget(told);
    this.numbers.select(this.filter);
    this.#draw();
    this.names.stale();
  }

  /** The relay has told how many tasks there are of all. */
  overview(/** @type {any} */ { total, kinds, since, archive }) {
    this.numbers.tell({ total, kinds });
    if (this.reach) this.reach = { ...this.reach, since: since ?? null };
    this.archive = archive ?? "";
    this.names.stale();
    this.chart.retry();
  }

  /** Somebody looks at the page again: what has changed meanwhile was not asked for. */
  seen() {
    this.numbers.stale();
    this.names.stale();
  }

  /** There is something new of a task. @param {Row} row @param {boolean} ended  whether it has just ended */
  heard(row, ended) {
    this.numbers.stale();
    this.names.stale();
    this.chart.retry();
    if (ended && this.chart.series && this.#tasks.wants(row)) this.chart.heard(row.task);
  }

  #list() {
    const { kind, groups, sort } = this.#wanted;
    const asked = { filter: this.filterOfKind, sort };
    if (sort === "sent" && kind === "all" && !groups.length) this.loading.begin(asked, this.#loaded?.newest.next ?? null);
    else if (sort === "sent" && UNFINISHED.includes(kind) && this.#loaded?.unfinished && !needsRelay(groups)) {
      this.loading.begin(asked, null);
    } else this.loading.ask(asked);
  }

  #draw() {
    const { groups } = this.#wanted;
    const filter = textOf(groups.filter(({ key }) => key !== "since" && key !== "until"));
    this.chart.ask({ filter, ...spanOf(groups, this.#now()) });
  }
}
