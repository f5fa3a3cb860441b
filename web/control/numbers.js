/**
 * How many tasks there are of each kind: as the relay tells whoever may see all of them, else as it answers when it is
 * asked. It is asked when something else is looked for, and again when something has changed.
 *
 * @typedef {import("../requests.js").Numbers} Numbers
 */

import { WAITS } from "../model/offered.js";
import { countTasks } from "../requests.js";

/** The time between two questions, in milliseconds. */
const INTERVAL = 3000;

export class NumbersControl {
  #changed;
  /** What is looked for, beside the kind. */ #filter = "";
  /** @type {Numbers | null} of all tasks, as the relay told */ #told = null;
  /** @type {Numbers | null} of those that are looked for, as the relay answered */ #asked = null;
  #askedAt = -Infinity;
  #asking = false;
  /** @type {any} */ #timer;
  #run = 0;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** @returns {Numbers | null} null where the relay has told nothing: the list knows what it has */
  get now() {
    return this.#filter ? this.#asked : (this.#told ?? this.#asked);
  }

  /** Count other tasks. */
  select(/** @type {string} */ filter) {
    if (filter === this.#filter && this.now) return;
    this.#filter = filter;
    this.#asked = null;
    this.#run += 1;
    this.#asking = false;
    this.#ask();
  }

  /** The relay has told how many there are of all. */
  tell(/** @type {Numbers} */ numbers) {
    this.#told = numbers;
    this.stale();
    this.#changed();
  }

  /** What was told holds no more: with another token, say. */
  forget() {
    this.#told = this.#asked = null;
    this.#run += 1;
    this.#asking = false;
  }

  /** Something has changed: ask again, but not too often. */
  stale() {
    if (this.#timer || document.hidden || (!this.#filter && this.#told)) return;
    const wait = this.#askedAt + INTERVAL - performance.now();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#ask();
    }, Math.max(0, wait));
  }

  async #ask() {
    if (this.#asking || (!this.#filter && this.#told)) return;
    const run = this.#run;
    this.#asking = true;
    this.#askedAt = performance.now();
    const numbers = await countTasks(this.#filter);
    if (run !== this.#run) return;
    this.#asking = false;
    if (!numbers) return;
    const { kinds } = numbers;
    kinds.waiting ??= WAITS.reduce((sum, kind) => sum + (kinds[kind] ?? 0), 0);
    this.#asked = numbers;
    this.#changed();
  }
}
