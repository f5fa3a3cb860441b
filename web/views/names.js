/**
 * The page *By name*: how many tasks there are of each name, how many failed, how long they ran and waited.
 *
 * @typedef {import("../requests.js").NameStats} NameStats
 * @typedef {import("../model/series.js").Series} Series
 *
 * @typedef {object} Model
 * @property {NameStats[] | null} names  null while they are loaded
 * @property {boolean} failed  whether they could not be loaded
 * @property {string} span
 * @property {Map<string, Series>} pictures  of what happened lately, by name
 */

import { HOME, SPANS } from "../model/address.js";
import { termText } from "../model/filter.js";
import { count, cut, inFull, when } from "../model/format.js";
import { cellsOf, MOST_NAMES, sorted } from "../model/names.js";
import { barsPath, BUCKETS } from "../model/series.js";
import { byId, el, keyed, nameSpans, setAttribute, setText } from "./dom.js";
import { placeLink } from "./links.js";

const SVG = "http://www.w3.org/2000/svg";
/** @type {[string, string][]} */
const HEADS = [
  ["name", "Task"],
  ["count", "Tasks"],
  ["failed", "Failed"],
  ["p50", "Runtime p50"],
  ["p95", "Runtime p95"],
  ["waited", "Waited p95"],
  ["seen", "Last seen"],
];

export class NamesView {
  #root = byId("names");
  #body = byId("names-body");
  #note = byId("names-note");
  #span = byId("names-span");
  /** @type {Map<string, HTMLElement>} */ #heads = new Map();
  #column = "count";
  /** @type {Model | null} */ #model = null;
  #seen;

  /** @param {{span: (span: string) => void, seen: (name: string) => void, draw: () => void}} actions  `seen`: its picture is wanted */
  constructor(actions) {
    for (const [value, text] of SPANS) this.#span.append(el("option", { value, text }));
    this.#span.addEventListener("change", () => actions.span(this.#span.value));
    for (const [column, text] of HEADS) this.#head(column, text, actions.draw);
    byId("names-head").append(el("th", { scope: "col", text: "Last hour" }));
    this.#seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) actions.seen(/** @type {HTMLElement} */ (target).dataset.key ?? "");
      }
    });
  }

  update(/** @type {Model | null} */ model) {
    this.#root.hidden = !model;
    this.#model = model;
    if (!model) return;
    const { names, failed, span } = model;
    if (this.#span.value !== span) this.#span.value = span;
    const rows = sorted(names ?? [], this.#column);
    const left = (names?.length ?? 0) - rows.length;
    const said = failed
      ? "The relay can't count tasks by name now."
      : !names
        ? "Loading…"
        : left > 0
          ? `${count(MOST_NAMES)} of ${count(names.length)} names. A filter shows others.`
          : `${count(names.length)} ${names.length === 1 ? "name" : "names"}`;
    setText(this.#note, said);
    for (const [column, head] of this.#heads) {
      const order = column === "name" ? "ascending" : "descending";
      setAttribute(head, "aria-sort", column === this.#column ? order : null);
    }
    keyed(
      this.#body,
      rows,
      ({ name }) => name,
      ({ name }) => this.#row(name),
      (row, stats) => this.#write(row, stats),
    );
  }

  #head(/** @type {string} */ column, /** @type {string} */ text, /** @type {() => void} */ draw) {
    const onclick = () => {
      this.#column = column;
      draw();
    };
    const head = el("th", { scope: "col", class: column === "name" ? "" : "number" }, el("button", { type: "button", onclick, text }));
    this.#heads.set(column, head);
    byId("names-head").append(head);
  }

  #row(/** @type {string} */ name) {
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${BUCKETS} 100`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img");
    for (const kind of ["succeeded", "failed"]) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("data-kind", kind);
      picture.append(path);
    }
    const link = placeLink({ ...HOME, filter: termText("name", name) }, { class: "link mono" }, ...nameSpans(cut(name)));
    const cell = () => el("td", { class: "number" });
    const row = el("tr", {}, el("th", { scope: "row" }, link), ...Array.from({ length: 5 }, cell));
    row.append(el("td", { class: "number" }, el("time")), el("td", { class: "spark" }, picture));
    queueMicrotask(() => this.#seen.observe(row));
    return row;
  }

  #write(/** @type {any} */ row, /** @type {NameStats} */ stats) {
    const [, ...cells] = row.children;
    const texts = cellsOf(stats);
    for (const [place, text] of [texts.count, texts.failed, texts.p50, texts.p95, texts.waited].entries()) {
      setText(cells[place], text);
    }
    setAttribute(cells[1], "data-some", stats.failed > 0);
    const time = cells[5].firstChild;
    setText(time, when(stats.seen));
    setAttribute(time, "title", inFull(stats.seen));
    const series = this.#model?.pictures.get(stats.name);
    if (!series) return;
    const picture = cells[6].firstChild;
    const scale = series.most || 1;
    const failed = series.buckets.map((bucket) => bucket.failed / scale);
    setAttribute(picture.lastChild, "d", barsPath(failed));
    setAttribute(picture.firstChild, "d", barsPath(series.buckets.map(({ succeeded }) => succeeded / scale), failed));
    setAttribute(picture, "aria-label", series.text);
  }
}
