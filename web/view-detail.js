/**
 * All that is known of one task.
 *
 * @typedef {import("./timeline.js").History} History
 * @typedef {import("./timeline.js").Entry} Entry
 * @typedef {import("./timeline.js").Try} Try
 * @typedef {import("./module/task.js").Task} Task
 *
 * @typedef {object} Actions
 * @property {() => void} close
 * @property {(key: string, value: string) => void} filter
 * @property {(text: string) => void} copy
 * @property {(id: string) => void} revoke
 * @property {(task: Task) => void} again
 * @property {(task: Task) => void} edit
 *
 * @typedef {object} Model
 * @property {History} history
 * @property {number} now  Unix seconds on the workers' clock
 * @property {string} obstacle  why it can't be submitted again, "" where it can
 */

import { byId, el, icon, keyed, nameSpans, setAttribute, setStateIcon, setText } from "./dom.js";
import { kindOf } from "./filter.js";
import { block, call, count, cut, duration, inFull, line, moment, precisely, size, word } from "./format.js";
import { keptToken, resultAddress, saveResult } from "./relay.js";
import { progressOf, runtimeOf } from "./module/task.js";

/** Of a value, an error or a name so much is drawn, in characters: millions, with overrides of the direction in them, stop a browser for minutes. */
const SHOWN = 20_000;
const NAME_SHOWN = 400;

/** @typedef {{label: string, text: string, copy?: boolean, filter?: string, title?: string}} Fact */

export class DetailView {
  #root = byId("detail");
  #actions;
  /** @type {History | null} */ #history = null;
  #version = -1;
  #obstacle = "";
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
    const { history, now, obstacle } = model;
    if (history !== this.#history) this.#build(history);
    else if (history.version === this.#version && obstacle === this.#obstacle) return;
    this.#history = history;
    this.#version = history.version;
    this.#obstacle = obstacle;
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
      error: el("p", { class: "error-line" }, el("strong"), el("span")),
      trace: el("pre", { class: "value wrong trace", tabindex: 0, "aria-label": "Traceback" }),
      whole: el("a", {
        class: "quiet",
        target: "_blank",
        rel: "noopener",
        href: resultAddress(id),
        text: "Open the whole result",
        onclick(/** @type {MouseEvent} */ event) {
          if (!keptToken()) return;
          event.preventDefault();
          saveResult(id).catch((error) => setText(parts.whole, `The whole result can't be had: ${error.message}`));
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
      history.omitted ? `${history.omitted} earlier entries are left out.` : "Earlier events are not kept any more.",
    );
    const tries = history.tries();
    setAttribute(parts.tries, "data-single", tries.length === 1 && !tries[0].retries);
    keyed(parts.tries, tries, ({ key }) => key, createTry, updateTry);
  }

  #writeState(/** @type {Task} */ task) {
    const { badge, word: text, icon: svg, progress: bar, percent } = this.#parts;
    const progress = kindOf(task.state) === "running" ? progressOf(task) : undefined;
    setAttribute(badge, "data-kind", kindOf(task.state));
    setAttribute(badge, "data-state", task.state);
    setStateIcon(svg, task.state, progress?.share);
    setText(text, cut(word(task.state)));
    bar.hidden = percent.hidden = !progress;
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
    revoke.hidden = task.final;
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
      setText(error.lastChild, exception.message ? cut(`: ${exception.message}`, SHOWN) : "");
    }
    trace.hidden = !exception?.traceback;
    value.hidden = !text;
    clip(exception ? trace : value, clipped, exception ? (exception.traceback ?? "") : text, Boolean(exception));
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

  #fact(/** @type {Fact} */ { label, text, copy, filter, title }) {
    const shown = cut(text, NAME_SHOWN);
    const value = filter
      ? el("button", {
          type: "button",
          class: "link mono",
          text: shown,
          title: `Show all tasks with ${filter}:${shown}`,
          onclick: () => this.#actions.filter(filter, text),
        })
      : el("span", { class: copy ? "mono" : "", text: shown, title });
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
 * @param {Element} element
 * @param {HTMLElement} note
 * @param {string} text
 * @param {boolean} [end]  whether its end matters most, as a traceback's does
 */
function clip(element, note, text, end = false) {
  const rest = text.length - SHOWN;
  note.hidden = rest <= 0;
  setText(element, rest <= 0 ? text : end ? `…${text.slice(-SHOWN)}` : `${text.slice(0, SHOWN)}…`);
  if (rest <= 0) return;
  setText(note, `The ${end ? "last" : "first"} ${count(SHOWN)} of ${count(text.length)} characters. Copy it to have all.`);
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

function noteText(/** @type {History} */ { phase, refusal }) {
  return {
    loading: "Asking the relay…",
    unknown: "Nobody knows this task: neither the relay's history nor the result backend has it.",
    refused: `The relay does not tell: ${refusal}`,
    known: "",
  }[phase];
}

function clockText(/** @type {Task} */ task, /** @type {number} */ now) {
  const running = kindOf(task.state) === "running";
  const seconds = runtimeOf(task, running ? now : undefined);
  const attempt = task.retries ? `, try ${task.retries + 1}` : "";
  if (seconds !== undefined) return `${running ? "for" : "after"} ${duration(seconds, running)}${attempt}`;
  return task.final ? attempt.slice(2) : `for ${duration(Math.max(0, now - task.timestamp), true)}${attempt}`;
}

function outcomeText(/** @type {Task} */ task) {
  const { exception, state, result, result_size: bytes, meta, meta_size: metaBytes, reason } = task;
  if (exception) return exception.traceback ?? `${exception.type}: ${exception.message}`;
  if (bytes !== undefined) return `The result takes ${size(bytes)}: more than is put into an event.`;
  if (state === "SUCCESS") return task.result_repr ? String(result) : result === undefined ? "" : block(result);
  if (reason) return reason.replaceAll("_", " ");
  if (metaBytes !== undefined) return `What it reported takes ${size(metaBytes)}: more than is put into an event.`;
  return meta === undefined ? "" : block(meta);
}

function argumentsText(/** @type {Task} */ task) {
  const { args, kwargs } = task;
  if (!args || !kwargs) return call(task, Infinity);
  const parts = args.map((/** @type {any} */ value) => line(value, Infinity));
  for (const [key, value] of Object.entries(kwargs)) parts.push(`${key}=${line(value, Infinity)}`);
  return parts.length ? parts.join("\n") : "none";
}

/** @returns {Fact[]} */
function factsOf(/** @type {Task} */ task) {
  const { times } = task;
  const sent = times.PENDING;
  const waited = sent !== undefined && times.STARTED !== undefined ? duration(Math.max(0, times.STARTED - sent)) : "";
  /** @type {(Omit<Fact, "text"> & {text?: string})[]} */
  const facts = [
    { label: "Task id", text: task.id, copy: true },
    { label: "Worker", text: task.hostname, filter: "worker" },
    { label: "Queue", text: task.queue, filter: "queue" },
    { label: "Sent", text: sent === undefined ? "" : inFull(sent) },
    { label: "Waited", text: waited },
    { label: "Retries", text: task.retries ? String(task.retries) : "" },
    { label: "Not before", text: task.eta },
    { label: "Expires", text: task.expires },
    { label: "Reason", text: task.reason?.replaceAll("_", " ") },
    ...(task.tags ?? []).map((/** @type {string} */ text) => ({ label: "Tag", text, filter: "tag" })),
    { label: "Root", text: task.root_id === task.id ? "" : task.root_id, filter: "root", copy: true },
    { label: "Parent", text: task.parent_id, filter: "id", copy: true },
    { label: "Group", text: task.group_id, filter: "group", copy: true },
    { label: "Known by", text: task.source === "backend" ? "the result backend only" : "" },
  ];
  return /** @type {Fact[]} */ (facts.filter(({ text }) => text));
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

function updateEntry(/** @type {any} */ element, /** @type {Entry} */ { event, since, times, delta }) {
  const [svg, what, at, gap, note] = element.children;
  setAttribute(element, "data-kind", kindOf(event.state));
  setAttribute(element, "data-state", event.state);
  setStateIcon(svg, event.state, progressOf(event)?.share ?? 0);
  setText(what.firstChild, cut(word(event.state)));
  setText(
    what.lastChild,
    [
      times > 1 && ` ${times} reports`,
      event.late && " arrived late",
      event.source === "backend" && " from the result backend",
    ]
      .filter(Boolean)
      .join(","),
  );
  setText(at, precisely(since));
  setAttribute(at, "datetime", moment(since).toISOString());
  setAttribute(at, "title", inFull(since));
  setText(gap, delta === undefined ? "" : `+${duration(delta)}`);
  setText(note, entryNote(event));
  note.hidden = !note.textContent;
}

function entryNote(/** @type {Record<string, any>} */ { state, exception, reason, meta, hostname }) {
  if (exception) return cut(`${exception.type}: ${exception.message}`, 300);
  if (reason) return reason.replaceAll("_", " ");
  if (meta !== undefined) return line(meta, 200);
  return state === "STARTED" && hostname ? `on ${cut(hostname)}` : "";
}
