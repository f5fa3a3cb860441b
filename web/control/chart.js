/**
 * The chart of what ended and failed: asked for when something else is looked for, and kept up by what is heard since.
 *
 * @typedef {object} Wanted
 * @property {string} filter  without its moments
 * @property {number} since  Unix seconds, -Infinity where the filter doesn't say
 * @property {number} until  the same, Infinity where it doesn't
 */

import { kindOf } from "../embed/kind.js";
import { BUCKETS, HOUR, Series } from "../model/series.js";
import { loadSeries } from "../requests.js";

/** The time after which a question without an answer is asked again, in milliseconds. */
const RETRY = 5000;

export class ChartControl {
  #now;
  #changed;
  /** @type {Wanted} */ #wanted = { filter: "", since: -Infinity, until: Infinity };
  #run = 0;
  #askedAt = 0;
  /** @type {any} */ #timer;
  /** @type {Series | null} null where the relay has not answered */ series = null;

  /** @param {() => number} now  Unix seconds on the relay's clock @param {() => void} changed */
  constructor(now, changed) {
    this.#now = now;
    this.#changed = changed;
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** Show other tasks, or another span. */
  async ask(/** @type {Wanted} */ wanted = this.#wanted) {
    this.#wanted = wanted;
    this.#askedAt = performance.now();
    const run = ++this.#run;
    const { filter, since, until, follows } = this.#span();
    const answer = await loadSeries({ filter, since, until, buckets: BUCKETS });
    if (run !== this.#run) return;
    this.series = answer ? new Series(since, until, follows, answer.buckets) : null;
    this.#changed();
    this.#wait();
  }

  /** The relay is there, and things happen: ask again what it could not answer, as when it has just begun. */
  retry() {
    if (!this.series && this.#run && performance.now() - this.#askedAt > RETRY) this.ask();
  }

  /** There is something new of a task that is looked for. */
  heard(/** @type {import("../embed/task.js").Task} */ task) {
    const kind = kindOf(task);
    if (kind === "succeeded" || kind === "failed" || kind === "other") this.series?.add(task.timestamp, kind);
  }

  /** In whole steps, so that a minute is one by the clock. */
  #span() {
    const { filter, since: asked, until: end } = this.#wanted;
    const follows = end === Infinity;
    const last = follows ? this.#now() : end;
    const length = Math.max(1, Number.isFinite(asked) ? last - asked : HOUR);
    if (!follows) return { filter, since: last - length, until: last, follows };
    const step = length / BUCKETS;
    const until = (Math.floor(last / step) + 1) * step;
    return { filter, since: until - step * BUCKETS, until, follows };
  }

  /** Time goes on, where somebody sees it. This talks to nobody. */
  #wait() {
    clearTimeout(this.#timer);
    const { series } = this;
    if (!series?.follows || document.hidden) return;
    const rest = Math.min(60, Math.max(1, series.until - this.#now()));
    this.#timer = setTimeout(() => {
      series.moveTo(this.#now());
      this.#changed();
      this.#wait();
    }, rest * 1000);
  }

  #seen() {
    if (document.hidden) return clearTimeout(this.#timer);
    this.series?.moveTo(this.#now());
    this.#changed();
    this.#wait();
  }
}
