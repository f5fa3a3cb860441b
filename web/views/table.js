/**
 * The table of tasks: a grid of which only the rows in view exist, however many there are.
 *
 * @typedef {import("../model/state.js").Row} Row
 * @typedef {import("../model/state.js").Tasks} Tasks
 *
 * @typedef {object} Actions
 * @property {(id: string, byKey: boolean) => void} open
 * @property {(index: number) => void} activate  make a row of the list the active one; -1 for none
 * @property {(scrolled: boolean) => void} scrolled  whether the newest row is out of view
 * @property {() => void} follow  go back to the newest
 * @property {() => void} atEnd  the end of the list is in view
 * @property {(key: string, value: string) => void} filter  show all tasks that have this in common
 *
 * @typedef {object} Model
 * @property {Tasks} tasks
 * @property {number} activeNumber  of the row that the keyboard is at, 0 for none
 * @property {string} openId  of the task whose details are open
 * @property {number} now  Unix seconds on the workers' clock
 */

import { kindOf } from "../embed/kind.js";
import { progressOf, runtimeOf } from "../embed/task.js";
import { count, cut, duration, inFull, moment, nameParts, shownState, when, word } from "../model/format.js";
import { waitText } from "../model/waiting.js";
import { byId, el, icon, setAttribute, setStateIcon, setText } from "./dom.js";
import { isPlain, placeHref, placeLink, placeOfTerm } from "./links.js";

/** Extra rows beyond the visible ones, so that scrolling shows no gaps; fewer while the list moves by itself. */
const OVERSCAN = 6;
const OVERSCAN_FOLLOWING = 2;
/** The room for the tags of a row, in characters. */
const TAGS_ROOM = 24;

/** @typedef {HTMLElement & {parts: Record<string, any>, row?: Row, task?: object}} RowElement */

export class TableView {
  #actions;
  #root = byId("table");
  #body = byId("table-body");
  #arrivals = byId("arrivals");
  #window = el("div", { class: "window", role: "presentation" });
  /** @type {Map<number, RowElement>} */ #live = new Map();
  /** @type {RowElement[]} */ #spare = [];
  #height = 0;
  #rowHeight = 36;
  #top = 0;
  /** Between press and release of a pointer nothing moves, so that the row that was aimed at is the one that opens. */
  #pressed = false;
  /** @type {Model | null} */ #model = null;

  constructor(/** @type {Actions} */ actions) {
    this.#actions = actions;
    this.#body.append(this.#window);
    this.#root.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#root.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.#root.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#click(event));
    this.#root.addEventListener("pointerdown", () => (this.#pressed = true));
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => this.#released());
    this.#root.addEventListener("blur", () => this.#actions.activate(-1));
    this.#arrivals.addEventListener("click", () => this.#actions.follow());
    new ResizeObserver(() => this.#measure()).observe(this.#root);
    this.#measure();
  }

  update(/** @type {Model} */ model) {
    this.#model = model;
    if (this.#pressed) return;
    const { tasks } = model;
    const beyond = tasks.isHeld ? OVERSCAN : OVERSCAN_FOLLOWING;
    const first = Math.max(0, Math.floor(this.#top / this.#rowHeight) - beyond);
    const last = Math.min(tasks.length, Math.ceil((this.#top + this.#height) / this.#rowHeight) + beyond);
    this.#body.style.height = `${tasks.length * this.#rowHeight}px`;
    this.#window.style.transform = `translateY(${first * this.#rowHeight}px)`;
    setAttribute(this.#root, "aria-rowcount", tasks.length + 1);
    this.#fill(model, first, last);
    if (last === tasks.length && this.#height) this.#actions.atEnd();
    const active = this.#live.get(model.activeNumber);
    setAttribute(this.#root, "aria-activedescendant", active ? active.id : null);
    this.#arrivals.hidden = tasks.arrivals === 0;
    if (tasks.arrivals)
      setText(this.#arrivals, `↑ ${count(tasks.arrivals)} new ${tasks.arrivals === 1 ? "task" : "tasks"}`);
  }

  /** Let the times in view go on: how long a task has been running, or waiting. */
  tick(/** @type {number} */ now) {
    for (const { row, parts } of this.#live.values()) {
      if (!row) continue;
      const kind = kindOf(row.task);
      if (kind === "running") setText(parts.runtime, runtimeText(row, now));
      else if (kind === "waiting") setText(parts.text, outcomeText(row, now));
    }
  }

  /** Bring a row of the list into view. */
  reveal(/** @type {number} */ index) {
    const head = this.#body.offsetTop;
    const top = index * this.#rowHeight;
    const { scrollTop } = this.#root;
    if (top < scrollTop) this.#root.scrollTop = top;
    else if (top + this.#rowHeight > scrollTop + this.#height - head)
      this.#root.scrollTop = top + this.#rowHeight - this.#height + head;
    this.#top = this.#root.scrollTop;
  }

  toTop() {
    this.#root.scrollTop = 0;
    this.#top = 0;
  }

  focus() {
    this.#root.focus({ preventScroll: true });
  }

  /** @param {Model} model @param {number} first @param {number} last */
  #fill(model, first, last) {
    const rows = [];
    for (let index = first; index < last; index += 1) rows.push(/** @type {Row} */ (model.tasks.at(index)));
    const staying = new Set(rows.map((row) => row.number));
    for (const [number, element] of this.#live) {
      if (staying.has(number)) continue;
      this.#live.delete(number);
      this.#spare.push(element);
      element.remove();
    }
    let next = this.#window.firstElementChild;
    for (const [place, row] of rows.entries()) {
      const element = this.#live.get(row.number) ?? this.#spare.pop() ?? createRow();
      this.#live.set(row.number, element);
      if (element === next) next = next.nextElementSibling;
      else this.#window.insertBefore(element, next);
      updateRow(element, row, model);
      setAttribute(element, "aria-rowindex", first + place + 2);
    }
  }

  #measure() {
    this.#height = this.#root.clientHeight;
    this.#rowHeight = Number.parseFloat(getComputedStyle(this.#root).getPropertyValue("--row-height")) || 36;
    if (this.#model) this.update(this.#model);
  }

  #scrolled() {
    this.#top = this.#root.scrollTop;
    this.#actions.scrolled(this.#top > this.#rowHeight / 2);
    if (this.#model) this.update(this.#model);
  }

  #released() {
    if (!this.#pressed) return;
    // The click comes after this event.
    setTimeout(() => {
      this.#pressed = false;
      if (this.#model) this.update(this.#model);
    });
  }

  #click(/** @type {MouseEvent} */ event) {
    const target = /** @type {Element} */ (event.target);
    const element = /** @type {RowElement | null} */ (target.closest(".row"));
    const link = /** @type {HTMLElement | null} */ (target.closest("a"));
    if (link && !isPlain(event)) return;
    if (link) event.preventDefault();
    if (link?.dataset.tag !== undefined) this.#actions.filter("tag", link.dataset.tag);
    else if (element?.row && (link || String(getSelection()) === "")) this.#actions.open(element.row.id, false);
  }

  #key(/** @type {KeyboardEvent} */ event) {
    if (!this.#model || event.ctrlKey || event.metaKey || event.altKey) return;
    const { tasks, activeNumber, openId } = this.#model;
    const active = this.#live.get(activeNumber)?.row;
    const at = tasks.indexOf(active ?? tasks.get(openId));
    const page = Math.max(1, Math.floor(this.#height / this.#rowHeight) - 2);
    // prettier-ignore
    const target = {
      ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1,
      PageDown: at + page, PageUp: at - page, Home: 0, End: tasks.length - 1,
    }[event.key];
    if (target !== undefined) this.#actions.activate(Math.min(tasks.length - 1, Math.max(0, target)));
    else if (event.key === "Enter" && active) this.#actions.open(active.id, true);
    else return;
    event.preventDefault();
  }
}

/** @returns {RowElement} */
function createRow() {
  const parts = {
    icon: icon("state-PENDING"),
    word: el("span", { class: "word" }),
    attempt: el("span", { class: "try" }),
    module: el("span", { class: "module" }),
    name: el("span", { class: "name" }),
    call: el("span", { class: "call" }),
    link: el("a", { class: "open", tabindex: -1 }),
    tags: el("span", { class: "tags" }),
    progress: el("progress", { max: 100 }),
    percent: el("span", { class: "percent" }),
    text: el("span", { class: "text" }),
    runtime: el("div", { class: "runtime", role: "gridcell" }),
    time: el("time"),
  };
  const element = el(
    "div",
    { class: "row", role: "row" },
    el("div", { class: "state", role: "gridcell" }, parts.icon, parts.word, parts.attempt),
    el("div", { class: "task", role: "gridcell" }, el("span", { class: "title" }, parts.link, parts.call), parts.tags),
    el("div", { class: "outcome", role: "gridcell" }, parts.progress, parts.percent, parts.text),
    parts.runtime,
    el("div", { class: "when", role: "gridcell" }, parts.time),
  );
  parts.link.append(parts.module, parts.name);
  return Object.assign(element, { parts });
}

function updateRow(
  /** @type {RowElement} */ element,
  /** @type {Row} */ row,
  /** @type {Model} */ { activeNumber, openId, now },
) {
  setAttribute(element, "data-active", row.number === activeNumber);
  setAttribute(element, "data-open", row.id === openId);
  setAttribute(element, "aria-selected", row.id === openId ? "true" : "false");
  setAttribute(element, "data-mine", row.mine);
  setAttribute(element, "data-fresh", row.mine && !row.task.final);
  if (element.row === row && element.task === row.task) return;
  if (element.row !== row) writeIdentity(element, row);
  element.row = row;
  element.task = row.task;
  writeState(element, row, now);
}

/** What stays the same for as long as a row stands for the same task. */
function writeIdentity(/** @type {RowElement} */ element, /** @type {Row} */ row) {
  const { time, link } = element.parts;
  element.id = `row-${row.number}`;
  Object.assign(link, placeHref({ task: row.id }));
  time.dateTime = moment(row.created).toISOString();
  time.title = inFull(row.created);
  setText(time, when(row.created));
}

function writeState(/** @type {RowElement} */ element, /** @type {Row} */ row, /** @type {number} */ now) {
  const { parts } = element;
  const { task } = row;
  const [module, name] = nameParts(cut(task.name ?? ""));
  const kind = kindOf(task);
  const state = shownState(task);
  const progress = kind === "running" || kind === "lost" ? progressOf(task) : undefined;
  const percent = progress ? Math.floor(progress.share * 100) : 0;
  setAttribute(element, "data-kind", kind);
  setAttribute(element, "data-state", state);
  setStateIcon(parts.icon, state, progress?.share);
  setText(parts.word, cut(word(state)));
  setText(parts.attempt, task.retries ? `try ${task.retries + 1}` : "");
  setText(parts.module, name ? module : "");
  setText(parts.name, name || cut(task.id));
  setText(parts.call, row.call);
  setText(parts.text, outcomeText(row, now));
  setText(parts.runtime, runtimeText(row, now));
  setText(parts.percent, progress ? `${percent} %` : "");
  parts.percent.hidden = !progress;
  parts.progress.hidden = !progress || kind === "lost";
  if (progress) {
    parts.progress.value = percent;
    setAttribute(parts.progress, "aria-label", `${percent} % of ${cut(row.task.name ?? "the task")}`);
  }
  writeTags(parts.tags, task.tags ?? []);
}

/** As many tags as there is room for, each of them whole, and how many there are besides. */
function writeTags(/** @type {HTMLElement} */ element, /** @type {string[]} */ tags) {
  if (element.dataset.tags === tags.join("\n") || (!tags.length && !element.firstChild)) return;
  element.dataset.tags = tags.join("\n");
  setAttribute(element, "data-count", tags.length === 0 ? null : tags.length === 1 ? "1 tag" : `${tags.length} tags`);
  let room = TAGS_ROOM;
  const shown = tags.filter((tag) => {
    const fits = tag.length + 2 <= room;
    if (fits) room -= tag.length + 2;
    return fits;
  });
  const links = shown.map((tag) => placeLink(placeOfTerm("tag", tag), { class: "tag", tabindex: -1, "data-tag": tag, text: tag }));
  const rest = tags.filter((tag) => !shown.includes(tag));
  const more = rest.length ? [el("span", { class: "tag", title: cut(rest.join(", ")), text: `+${rest.length}` })] : [];
  element.replaceChildren(...[...links, ...more].flatMap((tag) => [" ", tag]));
}

/** What a task waits for, and what it has told. */
function outcomeText(/** @type {Row} */ { task, outcome }, /** @type {number} */ now) {
  const wait = waitText(task, now);
  return wait && outcome ? `${wait}, ${outcome}` : wait || outcome;
}

function runtimeText(/** @type {Row} */ { task }, /** @type {number} */ now) {
  const running = kindOf(task) === "running";
  const seconds = runtimeOf(task, running ? now : undefined);
  return seconds === undefined ? "" : duration(seconds, running);
}
