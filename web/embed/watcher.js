/**
 * The module that any page may import from its relay: `connect`, and the element `<watcher-task>`. The page of the
 * relay is built on it too. Its types and what they mean are in watcher.d.ts; how to use it, in docs/page.md.
 *
 * @import {Options, Status, Task, TaskListener, ErrorListener} from "../watcher.js"
 */

import { Connection } from "./connection.js";
import { taskElement } from "./element.js";
import { guard, RelayError, report } from "./subscription.js";
import { fold } from "./task.js";

export { RelayError };

/** The longest time of a submission, reconnecting included, in milliseconds. */
const SUBMIT_LIMIT = 60_000;

/** Connect to a relay: a Relay that is open already. */
export function connect(/** @type {Options} */ options = {}) {
  const relay = new Relay(options);
  relay.open();
  return relay;
}

/**
 * A task that is watched.
 * @typedef {object} Watched
 * @property {Task | null} [task]  as it was told last; null where nobody knows it
 * @property {Set<{onTask: TaskListener, onError: ErrorListener}>} listeners
 * @property {() => void} leave
 */

/** A connection that knows of tasks: any number of watches and calls share it. */
export class Relay extends Connection {
  /** @type {Map<string, Watched>} */ #watched = new Map();

  constructor(/** @type {Options} */ options = {}) {
    super(options);
    this.onStatus(() => {
      const error = this.#refusal();
      if (error) for (const { listeners } of this.#watched.values()) each(listeners, ({ onError }) => onError(error));
    });
  }

  /**
   * Watch one task, now and after each reconnect.
   * @param {string} id
   * @param {TaskListener} onTask  called with the task as it stands, and after each change
   * @param {ErrorListener} [onError]  called when nothing will be heard of it any more
   * @returns {() => void} ends it
   */
  watch(id, onTask, onError = report) {
    const watched = this.#watched.get(id) ?? this.#follow(id);
    const listener = { onTask, onError };
    watched.listeners.add(listener);
    queueMicrotask(() => {
      const error = this.#refusal();
      if (!watched.listeners.has(listener)) return;
      if (watched.task !== undefined) guard(() => onTask(watched.task ?? null, { gap: false }));
      if (error) guard(() => onError(error));
    });
    return () => {
      if (watched.listeners.delete(listener) && !watched.listeners.size) watched.leave();
    };
  }

  /**
   * Submit a task, once, whatever happens to the connection meanwhile.
   * @param {string} task  its registered name
   * @param {any[]} [args]
   * @param {Record<string, any>} [kwargs]
   * @param {Record<string, any>} [options]  those of docs/protocol.md, "Submitting"
   * @returns {Promise<import("../watcher.js").Submitted>} rejects with RelayError
   */
  submit(task, args = [], kwargs = {}, options = {}) {
    // With an id of its own a call can be made again after a lost connection: the same id is never sent twice.
    const data = { task, args, kwargs, options: { ...options, task_id: options.task_id ?? newId() } };
    return this.rpc("submit", data, { timeout: SUBMIT_LIMIT, repeatable: true });
  }

  /**
   * Tell the workers to drop a task, or with `terminate` to end it where it is running.
   * @param {string} id
   * @param {{terminate?: boolean}} [options]
   */
  async revoke(id, options = {}) {
    await this.rpc("revoke", { id, ...options }, { repeatable: true });
  }

  /** A task as it stands; null where nobody knows it. @returns {Promise<Task | null>} */
  async get(/** @type {string} */ id) {
    return (await this.rpc("get", { id }, { repeatable: true })).task;
  }

  /** Why no watched task can be heard of, where the connection has ended for good. */
  #refusal() {
    const { phase, code = 0, reason } = this.status;
    return ["unauthorized", "refused"].includes(phase) && new RelayError({ code, message: reason });
  }

  /** One subscription, however many listen. @returns {Watched} */
  #follow(/** @type {string} */ id) {
    const leave = () => {
      if (this.#watched.get(id) === watched) this.#watched.delete(id);
      subscription.end();
    };
    /** @type {Watched} */ const watched = { listeners: new Set(), leave };
    const tell = (/** @type {Task | null} */ task, gap = false) => {
      watched.task = task;
      each(watched.listeners, ({ onTask }) => onTask(task, { gap }));
    };
    const subscription = this.subscribe(`task:${id}`, {
      onSubscribed({ data, gap, renewed }) {
        const { task: known } = watched;
        /** @type {Task | null} */ const task = data?.task ?? null;
        if (!known) tell(task, gap);
        else if (task && (renewed || task.offset > known.offset)) tell(task, gap);
        else if (renewed && !known.final) tell(null, gap);
        else if (renewed) watched.task = { ...known, offset: 0 }; // what has ended stays, though Redis has forgotten it
        else if (gap) tell(known, gap);
      },
      onEvent(event, offset) {
        const { task } = watched;
        if (!task || offset > task.offset) tell(fold(task ?? undefined, event, offset));
      },
      onError: (error) => {
        this.#watched.delete(id);
        each(watched.listeners, ({ onError }) => onError(error));
      },
    });
    this.#watched.set(id, watched);
    return watched;
  }
}

/** @template T @param {Set<T>} listeners @param {(listener: T) => void} call */
function each(listeners, call) {
  for (const listener of [...listeners]) guard(() => call(listener));
}

/** A task id as Celery makes them; `crypto.randomUUID` is there on https and loopback only. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-4$3-a$4-"); // RFC 9562, 5.4
}

// Where there is no document, as on a server that renders pages, there is no element either.
if (globalThis.customElements && !customElements.get("watcher-task")) {
  customElements.define("watcher-task", taskElement(connect));
}
