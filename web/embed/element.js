/**
 * `<watcher-task>`: one task's state, bar, result or error in somebody's page. What is set on it, what it looks like and
 * which events it fires is told in docs/page.md and watcher.d.ts.
 *
 * Text goes in as text, never as markup, and styles come as a sheet: it works under a policy (CSP) without
 * `unsafe-inline`, and with Trusted Types.
 *
 * @import {Options, Relay, RelayError, Status, Task} from "../watcher.js"
 */

import { kindOf } from "./kind.js";
import { progressOf } from "./task.js";

// prettier-ignore
const STYLE = `
:host{display:block;font:var(--watcher-font,inherit);color:var(--watcher-text,inherit)}
:host([hidden]),[hidden]{display:none!important}
.task{overflow-wrap:anywhere;display:flex;flex-wrap:wrap;align-items:baseline;gap:.25em var(--watcher-gap,.75em);--state:var(--watcher-waiting,light-dark(#55606b,#a5b0ba))}
.running{--state:var(--watcher-running,light-dark(#0a65b8,#7cbcf5))}
.succeeded{--state:var(--watcher-succeeded,light-dark(#0d7035,#6cce88))}
.failed,.lost{--state:var(--watcher-failed,light-dark(#bf2525,#ff918a))}
.state,.error{color:var(--state)}
.state{font-weight:600}
.bar{flex:1 1 6em;align-self:center;height:var(--watcher-bar-height,.4em);border-radius:var(--watcher-radius,1em);overflow:hidden;background:var(--watcher-track,color-mix(in srgb,currentColor 16%,transparent))}
.fill{height:100%;width:30%;border-radius:inherit;background:var(--state)}
.percent{font-variant-numeric:tabular-nums}
.result,.error,.note{flex-basis:100%}
.result,.error{max-height:12em;overflow:auto;white-space:pre-wrap;font-family:var(--watcher-mono,ui-monospace,monospace);font-size:.9em}
.said{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media(prefers-reduced-motion:no-preference){.fill{transition:width .2s}.fill:not([style*="%"]){animation:wait 1.4s ease-in-out infinite alternate}}
@media(forced-colors:active){.bar{outline:1px solid}.fill{background:Highlight!important}}
@keyframes wait{to{transform:translateX(233%)}}`;

/** The longest value that is shown, in characters. */
const SHOWN = 2_000;
const PARTS = ["state", "name", "percent", "bar", "result", "error", "note"];

/** The class of the element. It is made where there is a document, for `HTMLElement` is nowhere else. */
export function taskElement(/** @type {(options: Options) => Relay} */ connect) {
  /** Connections by address and token, which elements share. @type {Map<string, {relay: Relay, users: number}>} */
  const shared = new Map();
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);

  /** @param {string | null} url @param {string | null} token @returns {[Relay, () => void]} */
  function share(url, token) {
    const key = `${url} ${token}`;
    const known = shared.get(key) ?? { relay: connect({ ...(url && { url }), token, name: "watcher-task" }), users: 0 };
    shared.set(key, known);
    known.users += 1;
    return [
      known.relay,
      () => {
        if (--known.users) return;
        shared.delete(key);
        known.relay.close();
      },
    ];
  }

  return class WatcherTask extends HTMLElement {
    static observedAttributes = ["relay", "task", "token"];

    /** @type {Record<string, HTMLElement>} */ #parts = {};
    /** @type {Relay | null} */ #connection = null;
    /** @type {Task | null | undefined} */ #value;
    /** @type {RelayError | null} */ #error = null;
    #queued = false;
    #leave = () => {};

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet];
      const make = (/** @type {Node} */ parent, /** @type {string} */ name) => {
        const part = document.createElement("div");
        part.className = name;
        part.setAttribute("part", name);
        parent.appendChild(part);
        return (this.#parts[name] = part);
      };
      const task = make(root, "task");
      for (const name of PARTS) make(task, name);
      make(this.#parts.bar, "fill");
      make(root, "said").setAttribute("role", "status");
      this.#parts.bar.setAttribute("role", "progressbar");
      this.#draw();
    }

    get value() {
      return this.#value;
    }

    get connection() {
      return this.#connection;
    }

    set connection(relay) {
      this.#connection = relay;
      this.#queue();
    }

    connectedCallback() {
      this.#queue();
    }

    disconnectedCallback() {
      this.#queue();
    }

    attributeChangedCallback() {
      this.#queue();
    }

    /** Start anew once all attributes are set, or the element has come to rest in another place. */
    #queue() {
      if (this.#queued) return;
      this.#queued = true;
      queueMicrotask(() => {
        this.#queued = false;
        this.#start();
      });
    }

    #start() {
      const before = this.#leave;
      const id = this.getAttribute("task");
      this.#leave = () => {};
      this.#value = undefined;
      this.#error = null;
      if (this.isConnected && id) {
        try {
          this.#watch(id);
        } catch (error) {
          this.#fail(/** @type {RelayError} */ (error));
        }
      }
      before(); // after that: a connection that goes on being used stays open
      this.#draw();
    }

    #watch(/** @type {string} */ id) {
      const [relay, release] = this.#connection
        ? [this.#connection, () => {}]
        : share(this.getAttribute("relay"), this.getAttribute("token"));
      const unwatch = relay.watch(
        id,
        (task) => this.#take(task),
        (error) => this.#fail(error),
      );
      const unlisten = relay.onStatus((status) => this.#draw(status));
      this.#leave = () => {
        unwatch();
        unlisten();
        release();
      };
    }

    #take(/** @type {Task | null} */ task) {
      const stopped = stop(task) !== stop(this.#value) && stop(task);
      this.#value = task;
      this.#error = null;
      this.#draw();
      this.#tell("change", task);
      if (!stopped) return;
      this.#say(`${task?.name ?? "Task"}: ${stopped} ${this.#parts.error.textContent || this.#parts.result.textContent}`);
      if (task?.final) this.#tell("final", task);
    }

    #fail(/** @type {RelayError} */ error) {
      this.#error = error;
      this.#draw();
      this.#say(this.#parts.note.textContent ?? "");
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
    }

    #tell(/** @type {string} */ name, /** @type {Task | null} */ detail) {
      this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
    }

    /** To those who listen to the page: only how it ended, or why it can't be watched, not each step on the way. */
    #say(/** @type {string} */ text) {
      this.#parts.said.textContent = text.slice(0, 200);
    }

    #draw(/** @type {Status | undefined} */ status = undefined) {
      const { bar, fill, task: root } = this.#parts;
      const task = this.#value;
      const progress = task && !task.final ? progressOf(task) : undefined;
      const percent = progress && Math.floor(progress.share * 100);
      root.className = `task ${task && (task.state === "REJECTED" ? "failed" : kindOf(task))}`;
      this.#write("state", task ? stop(task) || word(task.state) : "");
      this.#write("name", task ? (task.name ?? task.id) : "");
      this.#write("percent", progress ? `${percent} %` : "");
      this.#write("result", task ? resultText(task) : "");
      this.#write("error", task ? errorText(task) : "");
      this.#write("note", noteText(task, this.#error, status));
      bar.hidden = stop(task) !== "";
      fill.style.width = progress ? `${progress.share * 100}%` : "";
      bar.ariaLabel = this.#parts.name.textContent;
      bar.ariaValueNow = progress ? `${percent}` : null; // none: it can't be told how far it is
    }

    #write(/** @type {string} */ name, /** @type {string} */ whole) {
      const text = cut(whole);
      const part = this.#parts[name];
      if (part.textContent !== text) part.textContent = text;
      part.hidden = !text;
    }
  };
}

/** Where a task has come to rest, in a word: it has ended, or its worker is gone. @param {Task | null | undefined} task */
function stop(task) {
  return task && (task.final ? word(task.state) : kindOf(task) === "lost" ? "Lost" : "");
}

function word(/** @type {string} */ state) {
  return state.charAt(0) + state.slice(1).toLowerCase();
}

function resultText(/** @type {Task} */ { state, result, result_size: bytes }) {
  if (bytes !== undefined) return `a result of ${bytes} bytes`;
  if (state !== "SUCCESS" || result == null) return "";
  return typeof result === "string" ? result : JSON.stringify(result, null, 1);
}

function errorText(/** @type {Task} */ { exception, reason = "" }) {
  return exception ? `${exception.type}: ${exception.message}` : reason.replaceAll("_", " ");
}

/** @param {Task | null | undefined} task @param {RelayError | null} error @param {Status | undefined} status */
function noteText(task, error, status) {
  if (error) return `Can't watch this task: ${error.message}`;
  if (status?.phase === "waiting") return `Reconnecting… ${status.reason ?? ""}`;
  if (status?.trouble) return status.trouble;
  return task === null ? "Task not found" : "";
}

function cut(/** @type {string} */ text) {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
