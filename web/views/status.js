/**
 * What stands around the table: the connection, what is away, the kinds of state with their counts, the notice, the empty
 * state.
 *
 * @typedef {import("../watcher.js").Status} Status
 * @typedef {import("../model/state.js").Tasks} Tasks
 * @typedef {import("../model/offered.js").Kind} Kind
 * @typedef {import("../model/filter.js").InvalidFilter} InvalidFilter
 * @typedef {import("../model/form.js").Registered} Registered
 * @typedef {import("../requests.js").Numbers} Numbers
 */

import { exampleOf } from "../model/form.js";
import { clock, count, cut } from "../model/format.js";
import { KIND_NAMES, WAITS } from "../model/offered.js";
import { byId, el, setAttribute, setText } from "./dom.js";

/** The connection, always in sight; and a banner across the page where what it shows may be out of date. */
export class ConnectionView {
  #root = byId("connection");
  #text = byId("connection-text");
  #banner = byId("banner");
  #said = byId("banner-text");
  #now = byId("banner-now");
  #namespace = byId("namespace");
  /** When the connection was lost, in Unix seconds. */ #lostAt = 0;
  #wasThere = false;

  constructor(/** @type {() => void} */ connectNow) {
    this.#now.addEventListener("click", connectNow);
  }

  /** @param {Status} status @param {string} [archive]  why the relay has only what the journal holds */
  update(status, archive = "") {
    setAttribute(this.#root, "data-phase", status.trouble ? "troubled" : status.phase);
    setAttribute(this.#root, "title", status.trouble ?? status.reason ?? null);
    setText(this.#text, connectionText(status));
    this.#warn(status, archive);
    const namespace = status.server?.data?.namespace;
    if (!status.server) return;
    this.#namespace.hidden = !namespace || namespace === "watcher";
    setText(this.#namespace, namespace ?? "");
  }

  #warn(/** @type {Status} */ status, /** @type {string} */ archive) {
    const { phase } = status;
    if (phase === "connected" || phase === "closed") this.#lostAt = 0;
    else this.#lostAt ||= Date.now() / 1000;
    this.#wasThere ||= phase === "connected";
    const text = warningText(status, archive, this.#lostAt, this.#wasThere);
    this.#banner.hidden = !text;
    setText(this.#said, text);
    setAttribute(this.#banner, "data-severe", phase === "refused" || phase === "unauthorized");
    this.#now.hidden = !["waiting", "refused", "unauthorized"].includes(phase);
    setText(this.#now, phase === "unauthorized" ? "Enter a token" : "Try now");
  }
}

/** A loss that is made good sooner than this, in seconds, is not worth a banner. */
const BRIEF = 1;

/** @param {Status} status @param {string} archive @param {number} lostAt @param {boolean} wasThere */
function warningText(status, archive, lostAt, wasThere) {
  const { phase, reason, trouble } = status;
  if (phase === "refused") return `The relay refuses this page${reason ? ` (${cut(reason)})` : ""}: nothing here is up to date.`;
  if (phase === "unauthorized") return "The relay asks for a token: nothing here is up to date.";
  if (phase === "connected") {
    if (trouble) return `Redis is away (${cut(trouble)}): what happens now is shown when it is back.`;
    return archive && `The archive is behind (${cut(archive)}): lists and numbers go back as far as the journal does.`;
  }
  if (!lostAt || Date.now() / 1000 - lostAt < BRIEF) return "";
  if (!wasThere) return "The relay can't be reached: nothing is shown yet.";
  return `No connection to the relay since ${clock(lostAt)}: the list shows what was known then.`;
}

function connectionText(/** @type {Status} */ { phase, retryAt = 0, reason, trouble }) {
  if (trouble) return "Connected, but Redis is unavailable";
  if (phase === "connected") return "Connected";
  if (phase === "connecting") return "Connecting…";
  if (phase === "unauthorized") return "Token required";
  if (phase === "refused") return `Refused${reason ? `: ${reason}` : ""}`;
  if (phase === "closed") return "Not connected";
  const seconds = Math.ceil((retryAt - Date.now()) / 1000);
  return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting…";
}

/** Which tasks are shown, and whether the list follows. */
export class ToolbarView {
  #kinds = byId("kinds");
  #follow = byId("follow");
  #followText = byId("follow-text");
  #matches = byId("matches");
  /** @type {Map<Kind, HTMLElement>} */ #buttons = new Map();

  /** @param {{select: (kind: Kind) => void, toggleFollow: () => void}} actions */
  constructor(actions) {
    for (const [kind, name] of KIND_NAMES) {
      const counter = el("span", { class: "count" });
      const button = el(
        "button",
        { type: "button", "data-kind": kind, "data-wait": WAITS.includes(kind), onclick: () => actions.select(kind) },
        name,
        " ",
        counter,
      );
      this.#buttons.set(kind, button);
      this.#kinds.append(button);
    }
    this.#follow.addEventListener("click", actions.toggleFollow);
  }

  /**
   * @param {object} model
   * @param {Tasks} model.tasks
   * @param {Numbers | null} model.numbers  how many there are; null where that is not known, but only how many are here
   * @param {boolean} model.pending  whether it is going to be known
   */
  update({ tasks, numbers, pending }) {
    const { kind: chosenKind, groups } = tasks.filter;
    const counts = numbers ? { ...numbers.kinds, all: numbers.total } : tasks.counts;
    for (const [kind, button] of this.#buttons) {
      // What waits is told apart in the overview only; but all of it is here.
      const waits = WAITS.includes(kind);
      const here = waits ? (groups.length ? undefined : tasks.counts[kind]) : 0;
      const number = pending ? undefined : (counts[kind] ?? here);
      const counter = /** @type {Element} */ (button.lastElementChild);
      setAttribute(button, "aria-pressed", chosenKind === kind ? "true" : "false");
      setText(counter, number === undefined ? "" : count(number));
      setAttribute(counter, "data-some", Boolean(number));
      if (waits) button.hidden = chosenKind !== "waiting" && !WAITS.includes(chosenKind);
      else button.hidden = kind === "lost" && !number && chosenKind !== kind; // rare, and there is little room
    }
    const matching = numbers ? (counts[chosenKind] ?? tasks.length) : tasks.length;
    setText(this.#matches, groups.length && !pending ? count(matching) : "");
    setAttribute(this.#follow, "data-held", tasks.isHeld);
    setAttribute(
      this.#follow,
      "title",
      tasks.isHeld ? "Follow the newest tasks (p)" : "Pause the list (p)",
    );
    setText(this.#followText, tasks.isHeld ? "Paused" : "Live");
  }
}

/** What of the filter is not understood, and a way to what was probably meant. */
export class FilterErrorView {
  #box = byId("filter");
  #root = byId("filter-error");
  #text = byId("filter-error-text");
  #meant = byId("filter-meant");
  /** @type {InvalidFilter | undefined} */ #problem;

  constructor(/** @type {(problem: InvalidFilter) => void} */ correct) {
    this.#meant.addEventListener("click", () => this.#problem && correct(this.#problem));
  }

  update(/** @type {InvalidFilter | undefined} */ problem) {
    this.#problem = problem;
    this.#root.hidden = !problem;
    this.#meant.hidden = !problem?.meant;
    setText(this.#text, problem?.message ?? "");
    setText(this.#meant, problem?.meant ? `Use ${problem.meant}` : "");
    setAttribute(this.#box, "aria-invalid", problem ? "true" : null);
    setAttribute(this.#box, "aria-describedby", problem ? "filter-error-text" : null);
  }
}

/** One thing to say above the table, until it is dismissed. */
export class NoticeView {
  #root = byId("notice");
  #text = byId("notice-text");

  constructor(/** @type {() => void} */ dismiss) {
    byId("notice-close").addEventListener("click", dismiss);
  }

  update(/** @type {string} */ text) {
    this.#root.hidden = !text;
    setText(this.#text, text);
  }
}

/** What stands where no row does. */
export class EmptyView {
  #root = byId("empty");
  #shown = "";

  /** @param {{showAll: () => void, compose: () => void}} actions */
  constructor(actions) {
    this.actions = actions;
  }

  /**
   * @param {object} model
   * @param {Tasks} model.tasks
   * @param {boolean} model.loading
   * @param {boolean} model.unanswered  whether the relay did not answer what it was asked for the list
   * @param {Status} model.status
   * @param {{tasks: Registered[]}} model.registry
   * @param {"all" | "some" | "none"} model.extent  how much of the tasks may be seen
   */
  update({ tasks, loading, unanswered, status, registry, extent }) {
    const nothing = extent === "all" ? "nothing" : extent;
    const filtered = unanswered ? "unanswered" : "filtered";
    const kind = tasks.length > 0 ? "" : tasks.counts.all > 0 ? filtered : loading ? status.phase : nothing;
    const example = kind === "nothing" ? exampleOf(registry.tasks) : "";
    if (`${kind} ${example}` === this.#shown) return;
    this.#shown = `${kind} ${example}`;
    this.#root.hidden = !kind;
    this.#root.replaceChildren(...this.#content(kind, example));
  }

  #content(/** @type {string} */ kind, /** @type {string} */ example) {
    if (kind === "filtered") {
      return [
        el("p", { class: "dim", text: "No tasks match." }),
        el("button", { type: "button", text: "Show all tasks", onclick: this.actions.showAll }),
      ];
    }
    if (kind === "unanswered") {
      return [el("p", { class: "dim", text: "The relay did not answer. Of the tasks that this page holds, none match." })];
    }
    if (kind === "some") {
      return [
        el("h2", { text: "No tasks that you may watch yet" }),
        el("p", { class: "dim", text: "Tasks that you may watch appear here immediately." }),
      ];
    }
    if (kind === "none") {
      return [
        el("h2", { text: "You may not watch any tasks" }),
        el("p", { class: "dim", text: "Ask the operator of this relay for access." }),
      ];
    }
    if (kind === "nothing") {
      const logo = /** @type {Element} */ (document.querySelector(".brand .logo")?.cloneNode(true));
      return [
        logo,
        el("h2", { text: "No tasks yet" }),
        el("p", {
          class: "dim",
          text: example
            ? "Run a task here, or send one from Python. It appears immediately."
            : "Send a task from Python. It appears immediately.",
        }),
        example && el("pre", {}, el("code", { text: cut(example) })),
        el(
          "p",
          { class: "quiet" },
          "Sent one, but nothing appears? Check that ",
          el("code", { text: "watcher.install(app)" }),
          " is called where the app is made, in the process that sends and in the worker.",
        ),
      ].filter((part) => part !== "");
    }
    if (kind === "refused") return [el("p", { class: "dim", text: "The relay refused the connection." })];
    if (kind === "unauthorized") return [el("p", { class: "dim", text: "The relay requires a token." })];
    return kind ? [el("p", { class: "dim", text: "Waiting for the relay…" })] : [];
  }
}

/** Says to a screen reader what the user did and what came of it; never more than one thing at a time. */
export function announce(/** @type {string} */ text) {
  byId("announcer").textContent = text;
}
