/** What the page *By name* shows: asked for when it is opened, and again when something has changed. */

import { BUCKETS, HOUR, Series } from "../model/series.js";
import { loadNames, loadSeries } from "../requests.js";
import { parse, termText, textOf } from "../model/filter.js";

/** @typedef {import("../requests.js").NameStats} NameStats */

/** The time between two questions, in milliseconds. */
const INTERVAL = 10_000;
/** Questions for pictures that are asked at a time, and the most pictures that are kept. */
const AT_A_TIME = 3;
const MOST_PICTURES = 500;

export class NamesControl {
  #now;
  #changed;
  #filter = "";
  #run = 0;
  #askedAt = -Infinity;
  /** @type {any} */ #timer;
  /** Names whose pictures are wanted. @type {string[]} */ #wanted = [];
  #busy = 0;
  open = false;
  failed = false;
  span = "24h";
  /** @type {NameStats[] | null} */ names = null;
  /** @type {Map<string, Series>} */ pictures = new Map();

  /** @param {() => number} now  Unix seconds on the relay's clock @param {() => void} changed */
  constructor(now, changed) {
    this.#now = now;
    this.#changed = changed;
  }

  /** Show the names of what is looked for. */
  show(/** @type {string} */ filter, /** @type {string} */ span) {
    if (this.open && this.names && filter === this.#filter && span === this.span) return;
    this.open = true;
    this.#filter = filter;
    this.span = span;
    this.names = null;
    this.pictures.clear();
    this.#wanted = [];
    this.#ask();
  }

  close() {
    this.open = false;
    this.#run += 1;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.names = null;
    this.pictures.clear();
    this.#wanted = [];
  }

  /** Something has changed: ask again, but not too often. */
  stale() {
    if (!this.open || this.#timer || document.hidden) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#ask();
      },
      Math.max(0, this.#askedAt + INTERVAL - performance.now()),
    );
  }

  /** A name has come into view: its picture is wanted. */
  seen(/** @type {string} */ name) {
    if (this.pictures.has(name) || this.#wanted.includes(name) || this.pictures.size >= MOST_PICTURES) return;
    this.#wanted.push(name);
    if (this.#busy < AT_A_TIME) this.#draw();
  }

  async #ask() {
    const run = ++this.#run;
    this.#askedAt = performance.now();
    const since = this.span === "all" ? "" : this.span;
    const names = await loadNames({ filter: this.#filter, since });
    if (run !== this.#run) return;
    this.failed = !names;
    this.names = names ?? this.names ?? [];
    this.#changed();
  }

  /** What is looked for beside names: of two names a filter takes either. */
  #others() {
    return textOf(parse(this.#filter).filter(({ key, negated }) => key !== "name" || negated));
  }

  async #draw() {
    this.#busy += 1;
    for (let name = this.#wanted.shift(); name !== undefined; name = this.#wanted.shift()) {
      const until = (Math.floor(this.#now() / 60) + 1) * 60;
      const asked = { filter: `${this.#others()} ${termText("name", name)}`.trim(), since: until - HOUR, until, buckets: BUCKETS };
      const answer = await loadSeries(asked);
      if (answer && this.open) this.pictures.set(name, new Series(asked.since, until, false, answer.buckets));
      this.#changed();
    }
    this.#busy -= 1;
  }
}
