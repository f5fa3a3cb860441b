/**
 * The chart above the list: what ended and failed, and a span of it that somebody chooses, by dragging or by keyboard.
 *
 * @typedef {import("../model/series.js").Series} Series
 */

import { barsPath, BUCKETS, stepText } from "../model/series.js";
import { clock, count, when } from "../model/format.js";
import { byId, setAttribute, setText } from "./dom.js";

/** It is drawn no more often than this, in milliseconds: at a thousand events a second nobody sees more. */
const INTERVAL = 1000;

export class ChartView {
  #root = byId("chart");
  #plot = byId("chart-plot");
  #image = byId("chart-image");
  #succeeded = byId("chart-succeeded");
  #failed = byId("chart-failed");
  #chosen = byId("chart-chosen");
  #title = byId("chart-title");
  #axis = [byId("chart-since"), byId("chart-until")];
  #most = byId("chart-most");
  #from = byId("chart-from");
  #to = byId("chart-to");
  #show = byId("chart-show");
  #actions;
  /** @type {Series | null} */ #series = null;
  #version = -1;
  #drawnAt = -Infinity;
  /** @type {any} */ #timer;
  /** Where a drag has begun, as a place among the buckets. */ #pressed = -1;

  /** @param {{choose: (since: number, until: number) => void, changed: () => void}} actions  Unix seconds */
  constructor(actions) {
    this.#actions = actions;
    for (const range of [this.#from, this.#to]) {
      range.max = String(BUCKETS);
      range.addEventListener("input", () => this.#moved(range));
      range.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "Enter") this.#choose();
        else if (event.key === "Escape") this.#reset();
        else return;
        event.preventDefault();
      });
    }
    this.#show.addEventListener("click", () => this.#choose());
    this.#plot.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#press(event));
    this.#plot.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#drag(event));
    this.#plot.addEventListener("pointerup", () => this.#release());
    this.#plot.addEventListener("pointercancel", () => this.#reset());
  }

  update(/** @type {Series | null} */ series) {
    this.#root.hidden = !series;
    if (!series || (series === this.#series && series.version === this.#version)) return;
    const wait = series === this.#series ? this.#drawnAt + INTERVAL - performance.now() : 0;
    if (wait > 0) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#actions.changed();
      }, wait);
      return;
    }
    if (series !== this.#series) this.#reset();
    this.#series = series;
    this.#version = series.version;
    this.#drawnAt = performance.now();
    this.#draw(series);
  }

  #draw(/** @type {Series} */ series) {
    const { buckets, most, step, since, until, follows, text } = series;
    const scale = most || 1;
    const failed = buckets.map((bucket) => bucket.failed / scale);
    setAttribute(this.#failed, "d", barsPath(failed));
    setAttribute(this.#succeeded, "d", barsPath(buckets.map(({ succeeded }) => succeeded / scale), failed));
    setText(this.#title, `Finished and failed per ${stepText(step)}`);
    setText(this.#axis[0], when(since));
    setText(this.#axis[1], follows ? "now" : when(until));
    setText(this.#most, count(most));
    setAttribute(this.#image, "aria-label", text);
    this.#say();
  }

  /** @returns {[number, number]} the chosen places, in order */
  get #places() {
    const places = [Number(this.#from.value), Number(this.#to.value)].sort((a, b) => a - b);
    return [places[0], places[1]];
  }

  #moved(/** @type {HTMLInputElement} */ range) {
    // They don't pass each other.
    if (range === this.#from && range.valueAsNumber > this.#to.valueAsNumber) this.#to.value = range.value;
    if (range === this.#to && range.valueAsNumber < this.#from.valueAsNumber) this.#from.value = range.value;
    this.#say();
  }

  /** Show what is chosen. */
  #say() {
    const [from, to] = this.#places;
    const whole = from === 0 && to === BUCKETS;
    this.#show.hidden = whole || from === to;
    setAttribute(this.#chosen, "x", from);
    setAttribute(this.#chosen, "width", whole ? 0 : to - from);
    for (const [range, place] of [[this.#from, from], [this.#to, to]]) setAttribute(range, "aria-valuetext", this.#said(place));
    setText(this.#show, `Show ${this.#said(from)} to ${this.#said(to)}`);
  }

  #said(/** @type {number} */ place) {
    return this.#series ? clock(this.#series.since + place * this.#series.step) : "";
  }

  #choose() {
    const [from, to] = this.#places;
    if (!this.#series || from === to) return;
    const { since, step } = this.#series;
    this.#reset();
    this.#actions.choose(since + from * step, since + to * step);
  }

  #reset() {
    this.#pressed = -1;
    this.#from.value = "0";
    this.#to.value = String(BUCKETS);
    this.#say();
  }

  #placeAt(/** @type {PointerEvent} */ event) {
    const { left, width } = this.#plot.getBoundingClientRect();
    return Math.min(BUCKETS, Math.max(0, ((event.clientX - left) / width) * BUCKETS));
  }

  #press(/** @type {PointerEvent} */ event) {
    if (event.button !== 0 || !this.#series) return;
    this.#pressed = this.#placeAt(event);
    this.#plot.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  #drag(/** @type {PointerEvent} */ event) {
    if (this.#pressed < 0) return;
    const [a, b] = [this.#pressed, this.#placeAt(event)].sort((x, y) => x - y);
    this.#from.value = String(Math.floor(a));
    this.#to.value = String(Math.ceil(b));
    this.#say();
  }

  #release() {
    if (this.#pressed < 0) return;
    const [from, to] = this.#places;
    const dragged = to - from < BUCKETS;
    this.#pressed = -1;
    if (dragged) this.#choose();
    else this.#reset();
  }
}
