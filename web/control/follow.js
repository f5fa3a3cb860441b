/**
 * Following tasks: take over what the relay knows, then every event from exactly there.
 *
 * Who may see everything follows the one channel `tasks`. Who may see some follows the channels that show those, each
 * event once: rows know by its offset what they have seen.
 *
 * @typedef {import("../watcher.js").Relay} Relay
 * @typedef {import("../watcher.js").Position} Position
 * @typedef {import("../watcher.js").Subscribed} Subscribed
 * @typedef {import("../watcher.js").Subscription} Subscription
 * @typedef {import("../model/state.js").Row} Row
 *
 * @typedef {NonNullable<Awaited<ReturnType<typeof loadTasks>>>} Loaded
 *
 * @typedef {object} Tell  what the page is told
 * @property {() => void} changed
 * @property {(row: Row) => void} ended  a task of this page has ended, or was lost
 * @property {() => void} failed  a task has failed
 * @property {() => void} gap  events in between could not be had
 * @property {(loaded: Loaded) => void} loaded  the newest tasks and the unfinished ones are there
 * @property {(overview: any) => void} overview  how many tasks there are; to who may see all of them
 * @property {(row: Row, ended: boolean) => void} heard  of a task there is something new; whether it has just ended
 * @property {(text: string) => void} refused  what can't be followed, and why
 * @property {(patterns: string[]) => void} partly  of what these globs grant, only what is known is followed
 */

import { kindOf } from "../embed/kind.js";
import { channelsOf, Grant } from "../model/grant.js";
import { loadTasks } from "../requests.js";

const EVERYTHING = { epoch: "", offset: 0 };
/** The most channels that the page follows: half of the relay's default limit of subscriptions. */
const MOST_CHANNELS = 500;
/** Error code: replaced by another subscription of the channel, that of the details. */
const REPLACED = 105;
const DENIED = 103;
const OVERVIEW = "overview";

/** The list of tasks, kept as it is in the relay. */
export class Feed {
  #connection;
  #tasks;
  #tell;
  #grant = new Grant(undefined);
  /** What the relay told of the grant. */
  #told = "";
  /** What is followed; no subscription where the details have the channel. @type {Map<string, Subscription | undefined>} */
  #followed = new Map();
  /** The channel that the details have. */
  #lent = "";
  /** Tokens that the relay gave for tasks submitted from here, by channel. @type {Map<string, string>} */
  #tokens = new Map();
  /** What looks at one task's events, whichever channel they come on. @type {Onlooker | null} */ #onlooker = null;
  /** @type {Position} */ #since = EVERYTHING;
  /** Grows with each start, so that what belongs to an earlier one is known. */
  #run = 0;
  #gapTold = false;
  #cleared = false;

  /** @param {Relay} connection @param {import("../model/state.js").Tasks} tasks @param {Tell} tell */
  constructor(connection, tasks, tell) {
    this.#connection = connection;
    this.#tasks = tasks;
    this.#tell = tell;
  }

  /** How much of the tasks may be seen. @returns {"all" | "some" | "none"} */
  get extent() {
    return this.#grant.extent;
  }

  /** Take over what the relay knows, then follow; anew where this was done before. */
  async start() {
    const run = ++this.#run;
    const { watch } = this.#connection.status.server?.data ?? {};
    for (const subscription of this.#followed.values()) subscription?.end();
    this.#followed.clear();
    this.#told = JSON.stringify(watch);
    this.#grant = new Grant(watch);
    this.#gapTold = this.#cleared = false;
    const loaded = await loadTasks((task) => run === this.#run && this.#tasks.merge(task));
    if (run !== this.#run) return;
    const { epoch = "", offset = 0 } = loaded?.newest ?? {};
    this.#since = { epoch, offset };
    if (loaded) this.#tell.loaded(loaded);
    if (this.extent === "all") this.#watchNumbers();
    this.#onlooker?.ask();
    for (const channel of [...this.#grant.channels, ...this.#tokens.keys()]) this.#follow(channel, this.#since);
    if (!this.#grant.patterns.length) return;
    for (const { task } of this.#tasks.all()) this.#offerTask(task);
    this.#tell.partly(this.#grant.patterns);
    this.#tell.changed();
  }

  /** How many tasks there are is told to who may see all of them; others ask. */
  #watchNumbers() {
    const tell = (/** @type {any} */ numbers) => numbers?.kinds && this.#tell.overview(numbers);
    const handlers = {
      onSubscribed: (/** @type {Subscribed} */ { data }) => tell(data),
      onEvent: tell,
      onError() {}, // the list tells what it knows
    };
    this.#followed.set(OVERVIEW, this.#connection.subscribe(OVERVIEW, handlers));
  }

  /** Connected once more: with another grant all begins anew, and what the one before showed is forgotten. */
  reconsider() {
    if (JSON.stringify(this.#connection.status.server?.data?.watch) === this.#told) return;
    this.#tasks.clear();
    this.#tokens.clear();
    this.start();
  }

  /** Follow a task that was submitted from here: whoever submits one may watch it. */
  admit(/** @type {import("../watcher.js").Submitted} */ { channel, token, epoch, offset }) {
    if (!token || this.extent === "all" || this.#tokens.size >= MOST_CHANNELS) return;
    this.#tokens.set(channel, token);
    this.#follow(channel, { epoch, offset });
  }

  /** The token that lets one watch a channel, where the connection's own may not do. */
  tokenOf(/** @type {string} */ channel) {
    return this.#tokens.get(channel);
  }

  /** Follow those of these channels that a glob opens. */
  offer(/** @type {string[]} */ channels) {
    for (const channel of this.#grant.opened(channels)) this.#follow(channel, this.#since);
  }

  /** The details take this channel, if it is followed or not: one subscription a channel. */
  lend(/** @type {string} */ channel) {
    this.#lent = channel;
    if (this.#followed.has(channel)) this.#followed.set(channel, undefined);
  }

  /** The details have done with the channel that they took, up to this position. */
  takeBack(/** @type {Position} */ position) {
    const channel = this.#lent;
    this.#lent = "";
    if (this.#followed.delete(channel)) this.#follow(channel, position);
  }

  /** Show a task whose own channel may not be watched, but that may be seen by another. */
  observe(/** @type {Onlooker | null} */ onlooker) {
    this.#onlooker = onlooker;
    onlooker?.ask();
  }

  /** What came on a channel that the details have. */
  lentEvent(/** @type {any} */ event, /** @type {number} */ offset) {
    if (this.#followed.has(this.#lent)) this.#take(event, offset);
  }

  #follow(/** @type {string} */ channel, /** @type {Position} */ since) {
    if (this.#followed.has(channel) || this.#followed.size >= MOST_CHANNELS) return;
    this.#followed.set(channel, undefined);
    if (channel === this.#lent) return;
    let first = true;
    const handlers = {
      onSubscribed: (/** @type {Subscribed} */ told) => {
        this.#subscribed(told, first);
        first = false;
      },
      onEvent: (/** @type {any} */ event, /** @type {number} */ offset) => this.#take(event, offset),
      onError: (/** @type {any} */ error) => this.#refused(channel, error),
    };
    this.#followed.set(channel, this.#connection.subscribe(channel, handlers, since, this.tokenOf(channel)));
  }

  #subscribed(/** @type {Subscribed} */ { data, gap, renewed }, /** @type {boolean} */ first) {
    if (renewed && !(first && this.#cleared)) {
      this.#cleared = true; // by the first of the channels that were asked for at once: the others add to it
      this.#tasks.clear();
    }
    // Without a place to start from, all that is kept was asked for: that some of it is gone goes without saying.
    if (this.#since.epoch && (gap || renewed) && !this.#gapTold) {
      this.#gapTold = true;
      this.#tell.gap();
    }
    for (const task of data?.tasks ?? (data?.task ? [data.task] : [])) this.#tasks.merge(task);
    if ((gap || renewed) && !first) this.start();
    this.#tell.changed();
  }

  #take(/** @type {any} */ event, /** @type {number} */ offset) {
    this.#onlooker?.take(event, offset);
    const row = this.#tasks.apply(event, offset);
    if (!row) return;
    this.#offerTask(row.task);
    const ended = row.task.final && row.task.offset === offset && row.task.state === event.state;
    this.#tell.heard(row, ended);
    if (ended && event.state === "FAILURE") this.#tell.failed();
    const rests = row.task.final || kindOf(row.task) === "lost";
    if (row.mine && rests && row.task.timestamp === event.timestamp) this.#tell.ended(row);
    this.#tell.changed();
  }

  /** Of a task that has ended nothing more is to come, but others may share its other channels. */
  #offerTask(/** @type {import("../model/state.js").Row["task"]} */ task) {
    if (!this.#grant.patterns.length) return;
    const [own, ...shared] = channelsOf(task);
    this.offer(task.final ? shared : [own, ...shared]);
  }

  #refused(/** @type {string} */ channel, /** @type {import("../watcher.js").RelayError} */ { code, message }) {
    if (code === REPLACED) return;
    this.#followed.delete(channel);
    this.#tell.refused(channel === "tasks" ? `the list of tasks: ${message}` : `${channel}: ${message}`);
  }
}

/** The history of one task, from what the relay answers when it is asked for it, and what others hear of it since. */
class Onlooker {
  #connection;
  #history;
  #changed;
  #refusal;
  /** What was heard while the relay was asked. @type {[any, number][]} */ #heard = [];
  #asked = 0;

  /**
   * @param {Relay} connection
   * @param {import("../model/timeline.js").History} history
   * @param {() => void} changed
   * @param {string} refusal  why its own channel may not be watched
   */
  constructor(connection, history, changed, refusal) {
    this.#connection = connection;
    this.#history = history;
    this.#changed = changed;
    this.#refusal = refusal;
  }

  async ask() {
    const asked = ++this.#asked;
    this.#heard = [];
    const task = await this.#connection.get(this.#history.id).catch(() => null);
    if (asked !== this.#asked) return;
    this.#asked = 0;
    this.#history.reset();
    if (!task) this.#history.refuse(this.#refusal);
    else {
      this.#history.learn(task, Boolean(task.retries));
      // Of what came before the moments are known, and no more.
      const { id, retries } = task;
      const lost = kindOf(task) === "lost";
      for (const [state, timestamp] of Object.entries(task.times)) {
        if (state !== task.state || lost) this.#history.apply({ id, state, timestamp, source: "signal", retries }, 0);
      }
      if (lost || task.state in task.times) this.#history.apply({ ...task }, 0);
      for (const [event, offset] of this.#heard) this.take(event, offset);
    }
    this.#changed();
  }

  take(/** @type {any} */ event, /** @type {number} */ offset) {
    if (event.id !== this.#history.id) return;
    if (this.#asked) this.#heard.push([event, offset]);
    else if (offset > (this.#history.task?.offset ?? 0)) this.#history.apply(event, offset);
    this.#changed();
  }
}

/**
 * Follow one task, from the first of its events that is kept.
 * @param {Relay} connection
 * @param {import("../model/timeline.js").History} history
 * @param {Feed} feed
 * @param {() => void} changed
 */
export function followTask(connection, history, feed, changed) {
  const channel = `task:${history.id}`;
  const handlers = {
    onSubscribed(/** @type {Subscribed} */ { data, gap, renewed }) {
      if (renewed) history.reset();
      history.learn(data?.task ?? null, gap);
      changed();
    },
    onEvent(/** @type {any} */ event, /** @type {number} */ offset) {
      history.apply(event, offset);
      feed.lentEvent(event, offset);
      changed();
    },
    onError(/** @type {import("../watcher.js").RelayError} */ { code, message }) {
      if (code === DENIED && feed.extent === "some") return feed.observe(new Onlooker(connection, history, changed, message));
      history.refuse(message);
      changed();
    },
  };
  feed.lend(channel);
  const subscription = connection.subscribe(channel, handlers, EVERYTHING, feed.tokenOf(channel));
  return {
    end() {
      subscription.end();
      feed.observe(null);
      feed.takeBack(subscription.position ?? EVERYTHING);
    },
  };
}
