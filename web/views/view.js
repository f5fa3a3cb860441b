/** Which of its views the page shows: the tasks, or their names. */

import { addressOf, HOME } from "../model/address.js";
import { byId, setAttribute } from "./dom.js";
import { placeHref } from "./links.js";

/** @typedef {import("../model/address.js").Place} Place */

export function showView(/** @type {Readonly<Place>} */ { view, filter, kind, sort, span }) {
  const names = view === "names";
  byId("stage").hidden = names;
  byId("kinds").hidden = names;
  byId("follow").hidden = names;
  byId("list-bar").hidden = names;
  for (const [id, own] of /** @type {[string, boolean][]} */ ([["view-tasks", !names], ["view-names", names]])) {
    const link = byId(id);
    setAttribute(link, "aria-current", own ? "page" : null);
    const place = own ? { view, filter, kind, sort, span } : { ...HOME, view: names ? /** @type {const} */ ("tasks") : /** @type {const} */ ("names"), filter };
    if (link.getAttribute("href") !== (addressOf(place) || "#tasks")) Object.assign(link, placeHref(place));
  }
}
