/**
 * What ended and failed in each part of a span of time, for the chart: as the relay answered, and what was heard since. Pure.
 *
 * @typedef {import("../requests.js").Bucket} Bucket
 * @typedef {import("../requests.js").Series} Answer
 */

import { clock, count, when } from "./format.js";

/** Parts of the span. */
export const BUCKETS = 60;
/** The usual span, up to now, in seconds. */
export const HOUR = 3600;

export class Series {
  /** @type {Bucket[]} */ #buckets;
  /** Grows with each change. */
  version = 0;

  /**
   * @param {number} since @param {number} until  Unix seconds
   * @param {boolean} follows  whether the span ends now, and so moves on
   * @param {Bucket[]} [buckets]
   */
  constructor(since, until, follows, buckets = []) {
    this.step = Math.max(0.001, (until - since) / BUCKETS);
    this.since = since;
    this.follows = follows;
    this.#buckets = Array.from({ length: BUCKETS }, (_, place) => empty(since + place * this.step));
    for (const bucket of buckets) {
      const known = this.#at(bucket.at + this.step / 2);
      if (known) Object.assign(known, { sent: bucket.sent, succeeded: bucket.succeeded, failed: bucket.failed, other: bucket.other });
    }
  }

  get until() {
    return this.since + this.step * BUCKETS;
  }

  get buckets() {
    return this.#buckets;
  }

  /** A task has ended. */
  add(/** @type {number} */ at, /** @type {"succeeded" | "failed" | "other"} */ kind) {
    if (this.follows) this.moveTo(at);
    const bucket = this.#at(at);
    if (!bucket) return;
    bucket[kind] += 1;
    this.version += 1;
  }

  /** Time goes on: what is too old leaves. */
  moveTo(/** @type {number} */ now) {
    if (!this.follows) return;
    const steps = Math.min(BUCKETS, Math.floor((now - this.until) / this.step) + 1);
    if (!(steps > 0)) return;
    const behind = Math.ceil((now - this.until) / this.step);
    this.since += Math.max(steps, behind) * this.step;
    this.#buckets.splice(0, steps);
    while (this.#buckets.length < BUCKETS) this.#buckets.push(empty(0));
    for (const [place, bucket] of this.#buckets.entries()) bucket.at = this.since + place * this.step;
    this.version += 1;
  }

  /** The most that ended in one part. */
  get most() {
    return this.#buckets.reduce((most, { succeeded, failed }) => Math.max(most, succeeded + failed), 0);
  }

  /** What it shows, in words. */
  get text() {
    const sum = (/** @type {"succeeded" | "failed"} */ key) => this.#buckets.reduce((all, bucket) => all + bucket[key], 0);
    const worst = this.#buckets.reduce((a, b) => (b.failed > a.failed ? b : a));
    const failed = sum("failed");
    const most = failed ? `, most of them (${count(worst.failed)}) at ${clock(worst.at)}` : "";
    return `From ${when(this.since)} to ${when(this.until)}: ${count(sum("succeeded"))} succeeded, ${count(failed)} failed${most}.`;
  }

  #at(/** @type {number} */ moment) {
    return this.#buckets[Math.floor((moment - this.since) / this.step)];
  }
}

/** @returns {Bucket} */
function empty(/** @type {number} */ at) {
  return { at, sent: 0, succeeded: 0, failed: 0, other: 0 };
}

/**
 * The outline of bars, in a box of `BUCKETS` by 100: one path, however many there are.
 * @param {number[]} heights  of each bar, its foot and its head, as shares of 1
 * @param {number[]} [feet]
 */
export function barsPath(heights, feet = []) {
  let path = "";
  for (const [place, height] of heights.entries()) {
    if (!(height > 0)) continue;
    const foot = feet[place] ?? 0;
    path += `M${place + 0.12} ${round(100 - foot * 100)}v${round(-height * 100)}h.76v${round(height * 100)}z`;
  }
  return path;
}

function round(/** @type {number} */ value) {
  return Math.round(value * 100) / 100;
}

/** A length of time as a bucket's is said: second, minute, 5 min. */
export function stepText(/** @type {number} */ seconds) {
  if (seconds < 90) return Math.round(seconds) === 60 ? "minute" : `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 360) / 10} h`;
}
