/**
 * What stands below the list and above the chart: how far they reach, how the list is sorted, and where it can be had as a
 * file.
 *
 * @typedef {object} Model
 * @property {import("../model/state.js").Tasks} tasks
 * @property {import("../requests.js").Numbers | null} numbers
 * @property {"loading" | "more" | "end" | "full" | "failed"} phase  of loading the list
 * @property {{since: number | null, gaps: any[]} | null} reach
 * @property {string} filter  as the relay reads it, of the chosen kind too
 */

import { SORTS } from "../model/address.js";
import { count, inFull, when } from "../model/format.js";
import { exportAddress, keptToken, save } from "../requests.js";
import { byId, el, setAttribute, setText } from "./dom.js";
import { isPlain } from "./links.js";

export class BarView {
  #end = byId("list-end");
  #more = byId("more");
  #sort = byId("sort");
  #reach = byId("reach");
  #exports = ["csv", "ndjson"].map((format) => ({ format, link: byId(`export-${format}`) }));
  #filter = "";
  #heads = document.querySelectorAll(".head [data-sort]");

  /** @param {{more: () => void, sort: (sort: string) => void, failed: (text: string) => void}} actions */
  constructor(actions) {
    for (const [value, text] of SORTS) this.#sort.append(el("option", { value, text }));
    this.#sort.addEventListener("change", () => actions.sort(this.#sort.value));
    this.#more.addEventListener("click", actions.more);
    for (const { format, link } of this.#exports) {
      link.addEventListener("click", (/** @type {MouseEvent} */ event) => {
        if (!keptToken() || !isPlain(event)) return;
        event.preventDefault(); // a plain link carries no token
        save(this.#address(format), `tasks.${format}`).catch((error) => actions.failed(`Could not export: ${error.message}`));
      });
    }
  }

  update(/** @type {Model} */ { tasks, numbers, phase, reach, filter }) {
    const { kind, sort = "sent" } = tasks.filter;
    const all = numbers ? (kind === "all" ? numbers.total : numbers.kinds[kind]) : undefined;
    setText(this.#end, endText(phase, tasks.length, all, reach?.since));
    this.#more.hidden = phase !== "more" && phase !== "failed";
    setText(this.#more, phase === "failed" ? "Try again" : "Load older tasks");
    if (this.#sort.value !== sort) this.#sort.value = sort;
    for (const head of this.#heads) setAttribute(head, "aria-sort", /** @type {HTMLElement} */ (head).dataset.sort === sort ? "descending" : null);
    setText(this.#reach, reach ? reachText(reach) : "");
    setAttribute(this.#reach, "title", reach?.gaps.length ? gapsText(reach.gaps) : null);
    this.#filter = filter;
    for (const { format, link } of this.#exports) setAttribute(link, "href", this.#address(format));
  }

  #address(/** @type {string} */ format) {
    const sort = this.#sort.value;
    return exportAddress({ filter: this.#filter, sort, format });
  }
}

/**
 * @param {Model["phase"]} phase
 * @param {number} here  rows in the list
 * @param {number | undefined} all
 * @param {number | null | undefined} since
 */
function endText(phase, here, all, since) {
  if (phase === "loading") return "Loading…";
  if (phase === "failed") return "The relay did not answer.";
  if (phase === "full") return `${count(here)} tasks: this page keeps no more. A filter shows older ones.`;
  if (phase === "more") return all !== undefined && all > here ? `${count(here)} of ${count(all)} tasks` : `${count(here)} tasks`;
  const back = since == null ? "" : `, back to ${when(since)}`;
  return here ? `That is all${back}: ${count(here)} ${here === 1 ? "task" : "tasks"}` : "";
}

function reachText(/** @type {{since: number | null, gaps: any[]}} */ { since, gaps }) {
  const missing = gaps.length ? `, ${gaps.length === 1 ? "one gap" : `${count(gaps.length)} gaps`}` : "";
  return since === null ? `All tasks are known${missing}` : `All tasks since ${when(since)} are known${missing}`;
}

function gapsText(/** @type {{since: number, until: number}[]} */ gaps) {
  return gaps.map(({ since, until }) => `Some may be missing from ${inFull(since)} to ${inFull(until)}.`).join("\n");
}
