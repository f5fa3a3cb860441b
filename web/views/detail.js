/**
 * All that is known of one task.
 *
 * @typedef {import("../model/timeline.js").History} History
 * @typedef {import("../model/timeline.js").Entry} Entry
 * @typedef {import("../model/timeline.js").Try} Try
 * @typedef {import("../model/facts.js").Fact} Fact
 * @typedef {import("../embed/task.js").Task} Task
 *
 * @typedef {object} Actions
 * @property {() => void} close
 * @property {(key: string, value: string) => void} filter
 * @property {(id: string) => void} open  the details of another task
 * @property {(text: string) => void} copy
 * @property {(id: string) => void} revoke
 * @property {(task: Task) => void} again
 * @property {(task: Task) => void} edit
 *
 * @typedef {object} Model
 * @property {History} history
 * @property {number} now  Unix seconds on the workers' clock
 * @property {string} obstacle  why it can't be submitted again, "" where it can
 * @property {boolean} mayRevoke  whether the relay would take that from here
 */

import { kindOf } from "../embed/kind.js";
import { progressOf } from "../embed/task.js";
import { argumentsText, clockText, entryNote, entryText, factsOf, noteText, outcomeText } from "../model/facts.js";
import { count, cut, duration, inFull, moment, precisely, shownState, word } from "../model/format.js";
import { keptToken, resultAddress, saveResult } from "../requests.js";
import { byId, el, icon, keyed, nameSpans, setAttribute, setStateIcon, setText } from "./dom.js";
import { canLookFor, isPlain, placeHref, placeLink, placeOfTerm } from "./links.js";
import { writeTraceback } from "./traceback.js";

/** The most characters of a value or error, and of a name, that are drawn: millions of them can block a browser for minutes. */
const SHOWN = 20_000;
const NAME_SHOWN = 400;

export class DetailView {
  #root = byId("detail");
  #actions;
  /** @type {History | null} */ #history = null;
  #version = -1;
  #obstacle = "";
  #mayRevoke = false;
  #named = "";
  /** @type {Record<string, any>} */ #parts = {};

  constructor(/** @type {Actions} */ actions) {
    this.#actions = actions;
  }

  update(/** @type {Model | null} */ model) {
    this.#root.hidden = !model;
    if (!model) {
      this.#history = null;
      this.#root.replaceChildren();
      return;
    }
    const { history, now, obstacle, mayRevoke } = model;
    if (history !== this.#history) this.#build(history);
    else if (history.version === this.#version && obstacle === this.#obstacle && mayRevoke === this.#mayRevoke) return;
    this.#history = history;
    this.#version = history.version;
    this.#obstacle = obstacle;
    this.#mayRevoke = mayRevoke;
    this.#write(model);
    this.tick(now);
  }

  tick(/** @type {number} */ now) {
    const task = this.#history?.task;
    if (task) setText(this.#parts.clock, clockText(task, now));
  }

  focus() {
    this.#parts.title?.focus({ preventScroll: true });
  }

  #build(/** @type {History} */ { id }) {
    const { close, copy, revoke, again, edit } = this.#actions;
    this.#named = "";
    const current = () => /** @type {Task} */ (this.#history?.task);
    /** @type {Record<string, any>} */
    const parts = {
      title: el("h2", { id: "detail-title", tabindex: -1, text: cut(id, NAME_SHOWN) }),
      icon: icon("state-PENDING"),
      word: el("span"),
      clock: el("span", { class: "dim" }),
      progress: el("progress", { max: 100, "aria-label": "Progress" }),
      percent: el("span", { class: "dim" }),
      again: el("button", { type: "button", onclick: () => again(current()) }, icon("icon-again"), "Run again"),
      edit: el("button", { type: "button", onclick: () => edit(current()) }, icon("icon-edit"), "Edit and run"),
      revoke: el("button", { type: "button", text: "Revoke…", onclick: () => revoke(id) }),
      obstacle: el("p", { id: "detail-obstacle" }),
      note: el("p", { class: "quiet" }),
      outcome: section("Result"),
      timeline: section("Timeline"),
      arguments: section("Arguments"),
      facts: el("dl", { class: "facts" }),
      tries: el("div", { class: "tries" }),
      value: el("pre", { class: "value", tabindex: 0 }),
      error: el("p", { class: "error-line" }, this.#errorLink(), el("span")),
      trace: el("div", { class: "value wrong trace", role: "group", tabindex: 0, "aria-label": "Traceback" }),
      whole: el("a", {
        class: "quiet",
        target: "_blank",
        rel: "noopener",
        href: resultAddress(id),
        text: "Open the full result",
        onclick(/** @type {MouseEvent} */ event) {
          if (!keptToken()) return;
          event.preventDefault();
          saveResult(id).catch((error) => setText(parts.whole, `Could not load the full result: ${error.message}`));
        },
      }),
      call: el("pre", { class: "value", tabindex: 0, "aria-label": "Arguments" }),
      omitted: el("p", { class: "quiet" }),
      clipped: el("p", { class: "quiet" }),
      clippedCall: el("p", { class: "quiet" }),
    };
    this.#parts = parts;
    parts.outcome.head.append(copyButton("Copy the result or traceback", () => copy(outcomeText(current()))));
    parts.arguments.head.append(copyButton("Copy the arguments", () => copy(argumentsText(current()))));
    parts.outcome.root.append(parts.error, parts.trace, parts.value, parts.clipped, parts.whole);
    parts.timeline.root.append(parts.omitted, parts.tries);
    parts.arguments.root.append(parts.call, parts.clippedCall);
    parts.badge = el("span", { class: "badge" }, parts.icon, parts.word);
    parts.actions = el("div", { class: "detail-actions" }, parts.again, parts.edit, parts.revoke, parts.obstacle);
    const closer = el("button", {
      type: "button",
      class: "icon-button",
      "aria-label": "Close the details",
      title: "Close (Esc)",
      onclick: close,
    });
    closer.append(icon("icon-close"));
    parts.state = el("div", { class: "detail-state" }, parts.badge, parts.clock, parts.progress, parts.percent);
    parts.body = el(
      "div",
      { class: "detail-body" },
      parts.note,
      parts.outcome.root,
      parts.timeline.root,
      parts.arguments.root,
      el("section", {}, el("h3", { text: "Details" }), parts.facts),
    );
    this.#root.replaceChildren(
      el(
        "div",
        { class: "detail-head" },
        el("div", { class: "detail-title" }, parts.title, closer),
        parts.state,
        parts.actions,
      ),
      parts.body,
    );
  }

  /** The type of an error, which leads to all tasks that failed with it. */
  #errorLink() {
    return el("a", {
      class: "link",
      title: "Show all tasks with this error",
      onclick: (/** @type {MouseEvent} */ event) =>
        this.#answer(event, () => this.#actions.filter("error", this.#history?.task?.exception?.type ?? "")),
    });
  }

  /** Do what a link says here, unless it is to be opened elsewhere. */
  #answer(/** @type {MouseEvent} */ event, /** @type {() => void} */ act) {
    if (!isPlain(event)) return;
    event.preventDefault();
    act();
  }

  #write(/** @type {Model} */ { history, obstacle }) {
    const { task } = history;
    const parts = this.#parts;
    setText(parts.note, noteText(history));
    parts.note.hidden = !parts.note.textContent;
    for (const part of [parts.state, parts.actions, parts.outcome.root, parts.timeline.root, parts.arguments.root])
      part.hidden = !task;
    this.#writeFacts(task ? factsOf(task) : [{ label: "Task id", text: history.id, copy: true }]);
    if (!task) return;
    if (task.name && task.name !== this.#named) {
      this.#named = task.name;
      parts.title.replaceChildren(...nameSpans(cut(task.name, NAME_SHOWN)));
    }
    this.#writeState(task);
    this.#writeActions(task, obstacle);
    this.#writeOutcome(task);
    clip(parts.call, parts.clippedCall, argumentsText(task));
    parts.arguments.root.hidden = !parts.call.textContent;
    parts.omitted.hidden = !history.omitted && !history.trimmed;
    setText(
      parts.omitted,
      history.omitted ? `${history.omitted} earlier entries are not shown.` : "Earlier events are no longer kept.",
    );
    const tries = history.tries();
    setAttribute(parts.tries, "data-single", tries.length === 1 && !tries[0].retries);
    keyed(parts.tries, tries, ({ key }) => key, createTry, updateTry);
  }

  #writeState(/** @type {Task} */ task) {
    const { badge, word: text, icon: svg, progress: bar, percent } = this.#parts;
    const kind = kindOf(task);
    const state = shownState(task);
    const progress = kind === "running" || kind === "lost" ? progressOf(task) : undefined;
    setAttribute(badge, "data-kind", kind);
    setAttribute(badge, "data-state", state);
    setStateIcon(svg, state, progress?.share);
    setText(text, cut(word(state)));
    bar.hidden = !progress || kind === "lost";
    percent.hidden = !progress;
    if (!progress) return;
    bar.value = progress.share * 100;
    setText(percent, `${Math.floor(progress.share * 100)} %, ${progress.current} of ${progress.total}`);
  }

  #writeActions(/** @type {Task} */ task, /** @type {string} */ obstacle) {
    const { again, edit, revoke, obstacle: text } = this.#parts;
    for (const button of [again, edit]) {
      button.disabled = Boolean(obstacle);
      setAttribute(button, "aria-describedby", obstacle ? "detail-obstacle" : null);
    }
    revoke.hidden = task.final || !this.#mayRevoke;
    setText(text, obstacle);
    text.hidden = !obstacle;
  }

  #writeOutcome(/** @type {Task} */ task) {
    const { outcome, error, trace, value, clipped, whole } = this.#parts;
    const { exception } = task;
    const text = exception ? "" : outcomeText(task);
    setText(
      outcome.title,
      exception || task.state === "FAILURE" ? "Error" : task.state === "SUCCESS" ? "Result" : "Last report",
    );
    outcome.root.hidden = !text && !exception && task.result_size === undefined;
    error.hidden = !exception;
    if (exception) {
      setText(error.firstChild, cut(exception.type, NAME_SHOWN));
      if (canLookFor(exception.type)) Object.assign(error.firstChild, placeHref(placeOfTerm("error", exception.type)));
      else error.firstChild.removeAttribute("href");
      setText(error.lastChild, exception.message ? cut(`: ${exception.message}`, SHOWN) : "");
    }
    trace.hidden = !exception?.traceback;
    value.hidden = !text;
    if (!exception) clip(value, clipped, text);
    else clip(trace, clipped, exception.traceback ?? "", writeTraceback);
    whole.hidden = task.result_size === undefined && !(task.state === "SUCCESS" && text.length > SHOWN);
  }

  #writeFacts(/** @type {Fact[]} */ facts) {
    keyed(
      this.#parts.facts,
      facts,
      ({ label, text }) => `${label}\n${text}`,
      (fact) => this.#fact(fact),
      () => {},
    );
  }

  #fact(/** @type {Fact} */ { label, text, copy, filter: key, open }) {
    const filter = key && canLookFor(text) ? key : "";
    const shown = cut(text, NAME_SHOWN);
    const properties = {
      class: "link mono",
      text: shown,
      title: filter ? `Show all tasks with ${filter}:${shown}` : "Open this task",
      onclick: (/** @type {MouseEvent} */ event) =>
        this.#answer(event, () => (filter ? this.#actions.filter(filter, text) : this.#actions.open(text))),
    };
    const value =
      filter || open
        ? placeLink(filter ? placeOfTerm(filter, text) : { task: text }, properties)
        : el("span", { class: copy ? "mono" : "", text: shown });
    return el(
      "div",
      {},
      el("dt", { text: label }),
      el("dd", {}, value, copy && copyButton(`Copy ${label}`, () => this.#actions.copy(text))),
    );
  }
}

/**
 * Show a text, or of a very long one a part, and say so.
 * @param {HTMLElement} element
 * @param {HTMLElement} note
 * @param {string} text
 * @param {(element: HTMLElement, text: string) => void} [writeEnd]  writes a text whose end matters most
 */
function clip(element, note, text, writeEnd) {
  const rest = text.length - SHOWN;
  note.hidden = rest <= 0;
  if (writeEnd) writeEnd(element, rest <= 0 ? text : `…${text.slice(-SHOWN)}`);
  else setText(element, rest <= 0 ? text : `${text.slice(0, SHOWN)}…`);
  if (rest <= 0) return;
  setText(note, `Showing the ${writeEnd ? "last" : "first"} ${count(SHOWN)} of ${count(text.length)} characters. Copy to get all of them.`);
}

function section(/** @type {string} */ name) {
  const title = el("h3", { text: name });
  const head = el("div", { class: "section-head" }, title);
  return { root: el("section", {}, head), head, title };
}

function copyButton(/** @type {string} */ label, /** @type {() => void} */ onclick) {
  const button = el("button", {
    type: "button",
    class: "icon-button copy",
    "aria-label": label,
    title: label,
    onclick,
  });
  button.append(icon("icon-copy"));
  return button;
}

function createTry(/** @type {Try} */ { life, retries }) {
  const title = life ? `Sent again, try ${retries + 1}` : `Try ${retries + 1}`;
  return el("div", {}, el("p", { class: "try-title", text: title }), el("ol", { class: "entries" }));
}

function updateTry(/** @type {any} */ element, /** @type {Try} */ { entries }) {
  keyed(element.lastChild, entries, ({ key }) => key, createEntry, updateEntry);
}

function createEntry() {
  return el(
    "li",
    { class: "entry" },
    icon("state-PENDING"),
    el("span", { class: "what" }, el("strong"), el("span", { class: "dim" })),
    el("time", { class: "at" }),
    el("span", { class: "delta" }),
    el("span", { class: "note" }),
  );
}

function updateEntry(/** @type {any} */ element, /** @type {Entry} */ entry) {
  const { event, since, delta } = entry;
  const [svg, what, at, gap, note] = element.children;
  const state = shownState(event);
  setAttribute(element, "data-kind", kindOf(event));
  setAttribute(element, "data-state", state);
  setStateIcon(svg, state, progressOf(event)?.share ?? 0);
  setText(what.firstChild, cut(word(state)));
  setText(what.lastChild, entryText(entry));
  // Of a loss nobody knows when it was: what tells of it bears the time of the last word from the worker.
  const timed = kindOf(event) !== "lost";
  setText(at, timed ? precisely(since) : "");
  setAttribute(at, "datetime", moment(since).toISOString());
  setAttribute(at, "title", inFull(since));
  setText(gap, delta === undefined || !timed ? "" : `+${duration(delta)}`);
  setText(note, entryNote(event));
  note.hidden = !note.textContent;
}
