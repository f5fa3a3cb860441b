/**
 * The details of one task: opened, followed, closed.
 *
 * @typedef {object} Page  what they need of the page
 * @property {import("../watcher.js").Relay} connection
 * @property {import("./follow.js").Feed} feed
 * @property {import("./list.js").ListControl} list
 * @property {{detail: import("../views/detail.js").DetailView, table: import("../views/table.js").TableView}} views
 * @property {() => void} draw
 * @property {() => void} changed  draw soon
 * @property {(id: string) => void} placed  says which task is open, "" for none
 */

import { History } from "../model/timeline.js";
import { byId, NARROW } from "../views/dom.js";
import { followTask } from "./follow.js";

export class Details {
  #page;
  /** What they follow. @type {{end: () => void} | undefined} */ #watched;
  /** Whether they were opened from the keyboard, which then goes back to where it was. */ #byKey = false;
  /** What is known of the task whose details are open. @type {History | null} */ history = null;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    NARROW.addEventListener("change", () => this.#coverList());
  }

  open(/** @type {string} */ id, byKey = false) {
    const { connection, feed, views, draw, changed, placed } = this.#page;
    placed(id);
    if (this.history?.id !== id) {
      this.#watched?.end();
      this.history = new History(id);
      this.#watched = followTask(connection, this.history, feed, changed);
    }
    this.#byKey = byKey;
    draw();
    this.#coverList();
    if (byKey || NARROW.matches) views.detail.focus();
  }

  close() {
    if (!this.history) return;
    const { list, views, draw, placed } = this.#page;
    const { id } = this.history;
    const hadFocus = byId("detail").contains(document.activeElement);
    this.#watched?.end();
    this.history = null;
    this.#coverList();
    placed("");
    draw();
    if (!hadFocus) return;
    views.table.focus();
    if (this.#byKey) list.activateTask(id);
  }

  /** What lies under the details can't be reached. */
  #coverList() {
    byId("tasks").inert = NARROW.matches && this.history !== null;
  }
}
