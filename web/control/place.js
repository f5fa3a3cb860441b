/** The page's address: what is shown is written into it, and what somebody writes into it is shown. */

import { addressOf, HOME, placeOf } from "../model/address.js";

/** @typedef {import("../model/address.js").Place} Place */

export class PlaceControl {
  /** @type {Place} */ #place = { ...HOME };
  #typing = false;
  #show;

  /** @param {(place: Place) => void} show  called with what the address says, at the start and when it has changed */
  constructor(show) {
    this.#show = show;
    addEventListener("popstate", () => this.read());
  }

  /** What the page shows. @returns {Readonly<Place>} */
  get now() {
    return this.#place;
  }

  /** Show what the address says. */
  read() {
    this.#typing = false;
    this.#place = placeOf(location.hash);
    this.#show(this.#place);
  }

  /**
   * Say that something else is shown now: a step that Back goes back from, but what is typed is one step until it rests.
   * @param {Partial<Place>} change
   * @param {{typed?: boolean}} [how]
   */
  write(change, { typed = false } = {}) {
    const place = { ...this.#place, ...change };
    const address = addressOf(place);
    const before = addressOf(this.#place);
    this.#place = place;
    if (address === before) return;
    const whole = address || location.pathname + location.search;
    if (typed && this.#typing) history.replaceState(null, "", whole);
    else history.pushState(null, "", whole);
    this.#typing = typed;
  }
}
