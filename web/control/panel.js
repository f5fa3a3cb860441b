/** The panel in which tasks are chosen and filled in: beside the list where there is room, else over it. */

import { byId, MEDIUM, TIGHT } from "../views/dom.js";

export class Panel {
  #layout = byId("layout");
  #button = byId("compose-button");
  #page;

  /** @param {{focus: () => void, makeRoom: () => void}} page  `makeRoom` closes what can't be beside it */
  constructor(page) {
    this.#page = page;
    this.#button.addEventListener("click", () => {
      // Beside the details of a task it may be open without being there.
      if (this.isOpen && byId("compose").checkVisibility()) this.close();
      else this.open();
    });
    byId("compose-close").addEventListener("click", () => this.leave());
  }

  get isOpen() {
    return this.#layout.dataset.compose === "open";
  }

  /** Whether it is what someone would close first. */
  get isAbove() {
    return this.isOpen && (MEDIUM.matches || byId("compose").contains(document.activeElement));
  }

  open() {
    if (TIGHT.matches) this.#page.makeRoom();
    this.#layout.dataset.compose = "open";
    this.#button.setAttribute("aria-expanded", "true");
    this.#page.focus();
  }

  close() {
    this.#layout.dataset.compose = "closed";
    this.#button.setAttribute("aria-expanded", "false");
  }

  /** Close it, and go back to where it was asked for. */
  leave() {
    this.close();
    if (MEDIUM.matches) this.#button.focus();
  }
}
