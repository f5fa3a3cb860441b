/**
 * The Centrifuge client protocol (JSON, version 2) over one WebSocket. What of it is public is told in watcher.d.ts.
 *
 * After a lost connection it comes back by itself, with growing and jittered waits, and asks for exactly what it
 * missed: each subscription remembers the position of the last event that it has delivered. Nothing here polls.
 *
 * @import {Handlers, Options, Position, Status} from "../watcher.js"
 */

import { guard, RelayError, Subscription } from "./subscription.js";

/** The wait before the first reconnect, and the longest one; milliseconds, before jitter. */
const BASE_WAIT = 200;
const LONGEST_WAIT = 20_000;
/** The time for the handshake, in milliseconds. */
const HANDSHAKE_LIMIT = 10_000;
/** How late a ping may be before the connection counts as dead, in milliseconds. */
const PING_GRACE = 10_000;
/** A connection ends a series of failures when it has lasted this long, in milliseconds. */
const STEADY_AFTER = 5_000;
/** Error codes of the protocol: those that ask for another token, and single ones. */
const TOKEN_ERRORS = [101, 103, 109];
const EXPIRED = 109;
const REPLACED = 105;
const INVALID_TOKEN = 3500;
/** The share of a token's lifetime after which a new one is requested, and the longest timer, in seconds. */
const RENEWED_AFTER = 0.75;
const LONGEST_TIMER = 86_400;

/** The wait before an attempt in milliseconds: full jitter, so that a restarted relay's clients come one by one. */
export function backoff(/** @type {number} */ attempt, random = Math.random) {
  return random() * Math.min(LONGEST_WAIT, BASE_WAIT * 2 ** attempt);
}

/** Whether a close code says: do not come back (3500-3999 and 4500-4999, as the protocol has it). */
export function isTerminal(/** @type {number} */ code) {
  return code >= 3500 && code < 5000 && code % 1000 >= 500;
}

/** One client of one relay. It does nothing before `open()`. */
export class Connection {
  #url;
  #options;
  /** @type {Set<(status: Status) => void>} */ #listeners = new Set();
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Status} */ #status = { phase: "closed" };
  /** @type {Map<number, any>} */ #pending = new Map();
  /** @type {Map<string, Subscription>} */ #subscriptions = new Map();
  #lastId = 0;
  #attempt = 0;
  #connectedAt = 0;
  #heardAt = 0;
  /** @type {any} */ #timer;
  /** @type {any} */ #renewal;
  /** @type {string | null | undefined} the one in use */ #token;
  /** @type {string | null | undefined} the last one that the relay called expired */ #expired;

  constructor(/** @type {Options} */ { url = new URL(".", import.meta.url), token = null, onStatus, ...options } = {}) {
    const address = new URL(`${url}`.replace(/\/*$/, "/connection/websocket"), globalThis.document?.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    this.#url = address;
    this.#options = { getToken: () => token, name: "watcher.js", json: JSON, ...options };
    if (onStatus) this.onStatus(onStatus);
  }

  get status() {
    return this.#status;
  }

  /** Be told when the status changes, until the function that is returned is called. */
  onStatus(/** @type {(status: Status) => void} */ listener) {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Connect now; without effect while connecting or connected. */
  open() {
    if (["connecting", "connected"].includes(this.#status.phase)) return;
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#expired = undefined;
    this.#dial();
  }

  /** Leave, and stay away until `open()`. */
  close() {
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    this.#release();
    this.#become({ phase: "closed" });
  }

  /**
   * Watch a channel, now and after each reconnect.
   * @param {string} channel
   * @param {Handlers} handlers
   * @param {Position} [since]  deliver what came after; `{epoch: "", offset: 0}` asks for all that is kept
   * @param {string} [token]  that lets one watch this channel, where the connection's own doesn't
   */
  subscribe(channel, handlers, since, token) {
    const before = this.#subscriptions.get(channel);
    before?.refuse(new RelayError({ code: REPLACED, message: "replaced by another subscription" }));
    before?.end();
    const subscription = new Subscription(channel, handlers, since, () => {
      if (this.#subscriptions.get(channel) !== subscription) return;
      this.#subscriptions.delete(channel);
      if (this.#status.phase === "connected") this.#command({ unsubscribe: { channel } });
    });
    subscription.token = token;
    this.#subscriptions.set(channel, subscription);
    if (this.#status.phase === "connected") this.#join(subscription);
    return subscription;
  }

  /**
   * Call a method of the relay; waits for the connection where there is none.
   * @param {string} method
   * @param {object} [data]
   * @param {{timeout?: number, repeatable?: boolean}} [options]  `timeout` in milliseconds; a `repeatable` call is
   *   made again after a lost connection, where others fail with code 0
   * @returns {Promise<any>}  what the method returned; rejects with RelayError
   */
  rpc(method, data = {}, { timeout = 15_000, repeatable = false } = {}) {
    return new Promise((resolve, reject) => {
      const done = (/** @type {any} */ reply) => resolve(reply.rpc?.data ?? {});
      const id = this.#command({ rpc: { method, data } }, done, reject, { repeatable, patient: true });
      const late = new RelayError({ code: 0, message: "timed out waiting for an answer", temporary: true });
      setTimeout(() => this.#settle(id)?.failed(late), timeout);
    });
  }

  #become(/** @type {Status} */ status) {
    this.#status = status;
    for (const listener of [...this.#listeners]) guard(() => listener(status));
  }

  async #dial() {
    clearTimeout(this.#timer);
    this.#become({ phase: "connecting" });
    const mine = this.#status;
    try {
      this.#token = await this.#options.getToken();
    } catch (error) {
      if (this.#status === mine) this.#lost(0, `could not get a token: ${error}`);
    }
    if (this.#status !== mine) return;
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      // No http(s) address, or plain http in a page that came by https.
      return this.#become({ phase: "refused", code: 0, reason: `${error}` });
    }
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(0, "the handshake timed out"), HANDSHAKE_LIMIT);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#greet();
    };
    socket.onclose = ({ code, reason }) => {
      this.#lost(code, reason);
      if (!opened) this.#explain();
    };
    socket.onmessage = ({ data }) => {
      try {
        this.#receive(data);
      } catch (error) {
        this.#lost(0, `invalid message: ${error}`); // to go on would be to miss what it said
      }
    };
  }

  /** Browsers don't say why a handshake failed. If the relay's files can be loaded, it was refused. */
  async #explain() {
    const origin = globalThis.location?.origin;
    const file = new URL("../watcher.js", this.#url);
    file.protocol = file.protocol.replace("ws", "http");
    if (!origin || origin === file.origin) return;
    const { ok } = await fetch(file, { method: "HEAD" }).catch(() => ({ ok: false }));
    if (!ok || this.#status.phase !== "waiting") return;
    const reason = `the relay refuses WebSockets from this page: its WATCHER_ORIGINS must include ${origin}`;
    this.#become({ ...this.#status, reason });
  }

  #greet() {
    const token = this.#token;
    this.#command(
      { connect: { name: this.#options.name, ...(token && { token }) } },
      (reply) => this.#welcome(reply.connect),
      (error) => this.#refuse(error),
      { now: true },
    );
  }

  #welcome(/** @type {any} */ server) {
    this.#connectedAt = this.#heardAt = Date.now();
    this.#status = { phase: "connected", server, trouble: server.data?.trouble };
    this.#listen();
    this.#renew(server.ttl);
    for (const entry of [...this.#pending.values()]) if (entry.patient) this.#write(entry);
    for (const subscription of this.#subscriptions.values()) this.#join(subscription);
    this.#become(this.#status); // last: listeners may subscribe and call
  }

  #refuse(/** @type {RelayError} */ { code, message, temporary }) {
    if (!code) return;
    // A token that expired on its way here, or while the machine slept: its holder may have another by now.
    const again = code === EXPIRED && this.#token !== this.#expired;
    if (again) this.#expired = this.#token;
    if (again || temporary || code < 100) return this.#lost(code, message);
    this.#release();
    this.#become({ phase: TOKEN_ERRORS.includes(code) ? "unauthorized" : "refused", code, reason: message });
  }

  /** Give the relay another token before the one that it has ends, in `ttl` seconds. */
  #renew(ttl = 0) {
    clearTimeout(this.#renewal);
    if (ttl < 1) return; // the relay will end the connection, and a token is asked for before the next one
    const wait = Math.min(ttl * RENEWED_AFTER, LONGEST_TIMER);
    this.#renewal = setTimeout(async () => {
      const socket = this.#socket;
      const token = await Promise.resolve(this.#options.getToken()).catch(() => null);
      if (this.#socket !== socket) return;
      if (!token || token === this.#token) return this.#renew(ttl - wait);
      this.#token = token;
      this.#command(
        { refresh: { token } },
        (reply) => this.#renew(reply.refresh.ttl),
        (error) => this.#refuse(error),
      );
    }, wait * 1000);
  }

  /** Notice a dead connection: the relay pings, and a silence much longer than its interval means that it is gone. */
  #listen() {
    const { ping } = /** @type {any} */ (this.#status.server);
    clearTimeout(this.#timer);
    if (!ping) return;
    const left = this.#heardAt + ping * 1000 + PING_GRACE - Date.now();
    if (left <= 0) this.#lost(0, "no ping received");
    else this.#timer = setTimeout(() => this.#listen(), left);
  }

  #wake = () => {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#status.phase === "waiting") this.#dial();
    else if (this.#status.phase === "connected") this.#listen();
  };

  #lost(/** @type {number} */ code, /** @type {string} */ reason) {
    if (this.#connectedAt && Date.now() - this.#connectedAt > STEADY_AFTER) this.#attempt = 0;
    this.#release();
    if (code === INVALID_TOKEN) return this.#become({ phase: "unauthorized", code, reason });
    if (isTerminal(code)) return this.#become({ phase: "refused", code, reason });
    const wait = backoff(this.#attempt++);
    this.#timer = setTimeout(() => this.#dial(), wait);
    this.#become({ phase: "waiting", code, reason, retryAt: Date.now() + wait });
  }

  /** Let go of the socket at once: a close handshake with a dead peer would take its time. */
  #release() {
    clearTimeout(this.#timer);
    clearTimeout(this.#renewal);
    this.#connectedAt = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onclose = socket.onmessage = null;
      socket.close();
    }
    const lost = new RelayError({ code: 0, message: "connection lost", temporary: true });
    for (const entry of [...this.#pending.values()]) {
      if (!entry.patient || (entry.sent && !entry.repeatable)) this.#settle(entry.id)?.failed(lost);
    }
  }

  /**
   * Send a command, or keep it until there is a connection. Answers are taken by callbacks, not promises, because what
   * follows a reply in the same frame must find it already acted upon. `patient` waits for a connection, `now` does
   * not even wait for the connect reply.
   * @param {object} body  the command without its id
   * @param {(reply: any) => void} [done]
   * @param {(error: RelayError) => void} [failed]
   * @param {{repeatable?: boolean, patient?: boolean, now?: boolean}} [how]
   */
  #command(body, done = () => {}, failed = () => {}, { now = false, ...how } = {}) {
    const id = ++this.#lastId;
    const entry = { id, text: this.#options.json.stringify({ id, ...body }), done, failed, sent: false, ...how };
    this.#pending.set(id, entry);
    if (now || this.#status.phase === "connected") this.#write(entry);
    return id;
  }

  #write(/** @type {any} */ entry) {
    entry.sent = true;
    this.#socket?.send(entry.text);
  }

  #settle(/** @type {number} */ id) {
    const entry = this.#pending.get(id);
    this.#pending.delete(id);
    return entry;
  }

  #receive(/** @type {string} */ frame) {
    this.#heardAt = Date.now();
    const socket = this.#socket;
    for (const line of frame.split("\n")) {
      if (this.#socket !== socket) return; // left over a line before
      if (line === "{}") this.#status.server?.pong && socket?.send("{}");
      else if (line) this.#take(this.#options.json.parse(line));
    }
  }

  #take(/** @type {any} */ { id, error, push, ...reply }) {
    if (id) {
      const entry = this.#settle(id);
      if (error) entry?.failed(new RelayError(error));
      else entry?.done(reply);
    } else if (push?.message) {
      this.#become({ ...this.#status, trouble: push.message.data?.trouble ?? undefined });
    } else if (push) {
      const subscription = this.#subscriptions.get(push.channel);
      if (push.pub) subscription?.deliver(push.pub);
      else if (push.unsubscribe && subscription) {
        const { code, reason } = push.unsubscribe;
        this.#dismissed(subscription, new RelayError({ code, message: reason }));
      }
    }
  }

  #join(/** @type {Subscription} */ subscription) {
    const { channel, position, token } = subscription;
    const current = () => this.#subscriptions.get(channel) === subscription;
    subscription.live = false;
    this.#command(
      { subscribe: { channel, token, ...(position && { recover: true, ...position }) } },
      (reply) => current() && subscription.accept(reply.subscribe),
      (error) => {
        if (!error.code || !current()) return;
        // A relay that is in trouble for a moment is asked again by reconnecting, with the waits that this brings.
        if (error.temporary) this.#lost(error.code, error.message);
        else this.#dismissed(subscription, error);
      },
    );
  }

  /** From 2500 on, the protocol's unsubscribe codes mean: ask again. Everything else, errors included, is final. */
  #dismissed(/** @type {Subscription} */ subscription, /** @type {RelayError} */ error) {
    if (error.code >= 2500) return this.#join(subscription);
    this.#subscriptions.delete(subscription.channel);
    subscription.refuse(error);
  }
}
