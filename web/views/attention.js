/** The tab's title and icon: what has failed since somebody last looked at it. */

import { count } from "../model/format.js";

/** The title changes no more often than this, in milliseconds. */
const INTERVAL = 1000;

export class AttentionView {
  #title = document.title;
  #icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]"));
  #calm = this.#icon.getAttribute("href") ?? "";
  #failed = 0;
  /** @type {any} */ #timer;

  constructor() {
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** A task has failed. */
  failed() {
    if (!document.hidden) return;
    this.#failed += 1;
    if (this.#timer) return;
    this.#write();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#write();
    }, INTERVAL);
  }

  #seen() {
    if (document.hidden) return;
    this.#failed = 0;
    this.#write();
  }

  #write() {
    const icon = this.#failed ? "icon-failed.svg" : this.#calm;
    if (this.#icon.getAttribute("href") !== icon) this.#icon.setAttribute("href", icon);
    document.title = this.#failed ? `(${count(this.#failed)} failed) ${this.#title}` : this.#title;
  }
}
