/** Saved filters: a dialog with those that this browser keeps, and a field to keep what is shown now. */

import { addressOf, placeOf } from "../model/address.js";
import { readSaved, withSaved } from "../model/saved.js";
import { byId, el, icon, keyed } from "./dom.js";
import { isPlain, placeLink } from "./links.js";

/** @typedef {import("../model/saved.js").Saved} Saved */
/** @typedef {import("../model/address.js").Place} Place */

const KEY = "watcher-filters";

export class SavedView {
  #dialog = byId("saved");
  #list = byId("saved-list");
  #none = byId("saved-none");
  #name = byId("saved-name");
  /** Where the browser keeps nothing they last as long as the page is open. @type {Saved[]} */ #kept = [];
  #address = "";

  constructor() {
    byId("saved-close").addEventListener("click", () => this.#dialog.close());
    byId("saved-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#keep(withSaved(this.#read(), this.#name.value, this.#address));
      this.#name.value = "";
    });
  }

  /** Show them, beside what is shown now. */
  open(/** @type {Place} */ place) {
    this.#address = addressOf({ ...place, task: "" });
    this.#name.value = place.filter || (place.kind === "all" ? "" : place.kind);
    this.#write();
    this.#dialog.showModal();
  }

  #read() {
    try {
      const text = localStorage.getItem(KEY);
      if (text !== null) this.#kept = readSaved(text); // another tab may have changed them
    } catch {
      // Storage is switched off.
    }
    return this.#kept;
  }

  #keep(/** @type {Saved[]} */ kept) {
    this.#kept = kept;
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
    } catch {
      // Storage is switched off, or full.
    }
    this.#write();
  }

  #write() {
    const kept = this.#read();
    this.#none.hidden = kept.length > 0;
    keyed(
      this.#list,
      kept,
      ({ name, address }) => `${name}\n${address}`,
      (saved) => this.#item(saved),
      () => {},
    );
  }

  #item(/** @type {Saved} */ { name, address }) {
    const place = placeOf(address);
    const said = [place.view === "names" && "by name", place.kind !== "all" && place.kind, place.filter].filter(Boolean);
    const onclick = (/** @type {MouseEvent} */ event) => isPlain(event) && this.#dialog.close();
    const remove = el("button", {
      type: "button",
      class: "icon-button",
      "aria-label": `Remove ${name}`,
      onclick: () => {
        this.#keep(this.#read().filter((each) => each.name !== name));
        this.#name.focus();
      },
    });
    remove.append(icon("icon-close"));
    const link = placeLink(place, { class: "link", onclick }, name);
    return el("li", {}, el("span", {}, link, el("span", { class: "quiet", text: ` ${said.join(", ")}` })), remove);
  }
}
