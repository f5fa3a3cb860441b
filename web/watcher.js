/**
 * The connection to a celery-watcher relay: the Centrifuge client protocol (JSON, version 2) over one WebSocket.
 *
 * It connects, subscribes, calls, answers pings, and after a lost connection comes back by itself, with growing and
 * jittered waits, to ask for exactly what it missed: every subscription remembers the `(epoch, offset)` of the last
 * event that it has delivered. Nothing here polls. This module stands alone, so that any page can import it.
 *
 * @typedef {{epoch: string, offset: number}} Position  what a subscriber has seen
 *
 * @typedef {object} Status
 * @property {"closed"|"connecting"|"connected"|"waiting"|"unauthorized"|"refused"} phase
 *   `waiting` comes back by itself at `retryAt`; `unauthorized` wants another token and then `open()`; `refused` is final
 * @property {number} [retryAt]  when the next attempt starts, in milliseconds as `Date.now()` counts them
 * @property {number} [code]  the close code or error code that explains the phase
 * @property {string} [reason]  the same in words
 * @property {Record<string, any>} [server]  the connect reply, once connected
 * @property {string} [trouble]  why events may be late although there is a connection
 *
 * @typedef {object} Subscribed
 * @property {any} data  what the relay knew at that moment: `{task}` or `{tasks}`, by channel
 * @property {Position} position
 * @property {boolean} gap  whether events in between could not be had
 * @property {boolean} renewed  whether the epoch changed: all that was known by offset is void
 *
 * @typedef {object} Handlers
 * @property {(event: any, offset: number) => void} onEvent  called for each event once, in order
 * @property {(subscribed: Subscribed) => void} [onSubscribed]  called before the events that a subscription recovered
 * @property {(error: RelayError) => void} [onError]  the relay will not carry this channel; it is not asked again
 */

const BASE_WAIT = 200;
const LONGEST_WAIT = 20_000;
const HANDSHAKE_LIMIT = 10_000;
const PING_GRACE = 10_000;
/** A connection that lived shorter than this does not end a series of failures. */
const STEADY_AFTER = 5_000;
const TOKEN_ERRORS = new Set([101, 103, 109]);
const INVALID_TOKEN = 3500;
const LOST = { code: 0, message: "the connection was lost", temporary: true };

/** What the relay answered instead of a result; `code` is the protocol's, 0 where no answer came. */
export class RelayError extends Error {
  /** @param {{code: number, message?: string, temporary?: boolean}} error */
  constructor({ code, message, temporary = false }) {
    super(message || `error ${code}`);
    this.name = "RelayError";
    this.code = code;
    this.temporary = temporary;
  }
}

/**
 * The wait before the next attempt in milliseconds: exponential with full jitter, so that the clients of a restarted
 * relay do not come back at once.
 * @param {number} attempt  0 for the first
 */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(LONGEST_WAIT, BASE_WAIT * 2 ** attempt);
}

/** Whether a close code says: do not come back (3500-3999 and 4500-4999, as the protocol has it). */
export function isTerminal(/** @type {number} */ code) {
  return (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
}

const LONG_INTEGER = /(^|[[:,\s])-?\d{16,}(?![\d.eE])/;

/** `JSON.parse`, but a whole number that a JavaScript number would round becomes a BigInt. */
export function parseJSON(/** @type {string} */ text) {
  return LONG_INTEGER.test(text) ? JSON.parse(text, exactly) : JSON.parse(text);
}

/** @param {string} _key @param {any} value @param {{source?: string}} [context]  (ECMAScript's JSON source text access) */
function exactly(_key, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  return /^-?\d+$/.test(context?.source ?? "") ? BigInt(/** @type {string} */ (context?.source)) : value;
}

/** `JSON.stringify` for what `parseJSON` gives. @returns {string} */
export function stringifyJSON(/** @type {any} */ value, /** @type {number} */ indent = 0) {
  // @ts-expect-error: rawJSON is younger than TypeScript's library.
  return JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? JSON.rawJSON(`${item}`) : item), indent);
}

/** One client of one relay. It does nothing before `open()`. */
export class Connection {
  #options;
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Status} */ #status = { phase: "closed" };
  /** @type {Map<number, any>} */ #pending = new Map();
  /** @type {Map<string, Subscription>} */ #subscriptions = new Map();
  #lastId = 0;
  #attempt = 0;
  #connectedAt = 0;
  #heardAt = 0;
  /** @type {any} */ #timer;

  /**
   * @param {object} options
   * @param {string} options.url  ws: or wss: address of the relay's `/connection/websocket`
   * @param {() => string | null | Promise<string | null>} [options.getToken]  called before each attempt
   * @param {(status: Status) => void} [options.onStatus]
   * @param {string} [options.name]  how the relay's log calls this client
   */
  constructor({ url, getToken = () => null, onStatus = () => {}, name = "js" }) {
    this.#options = { url, getToken, onStatus, name };
  }

  get status() {
    return this.#status;
  }

  /** Connect now; without effect while connecting or connected. */
  open() {
    if (["connecting", "connected"].includes(this.#status.phase)) return;
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#dial();
  }

  /** Leave, and stay away until `open()`. */
  close() {
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    this.#release();
    this.#become({ phase: "closed" });
  }

  /**
   * Watch a channel, now and after each reconnect.
   * @param {string} channel
   * @param {Handlers} handlers
   * @param {Position} [since]  deliver what came after; `{epoch: "", offset: 0}` asks for all that is kept
   * @returns {Subscription}
   */
  subscribe(channel, handlers, since) {
    this.#subscriptions.get(channel)?.end();
    const subscription = new Subscription(channel, handlers, since, () => {
      if (this.#subscriptions.get(channel) !== subscription) return;
      this.#subscriptions.delete(channel);
      if (this.#status.phase === "connected") this.#command({ unsubscribe: { channel } });
    });
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
      const late = new RelayError({ code: 0, message: "the relay did not answer in time", temporary: true });
      setTimeout(() => this.#settle(id)?.failed(late), timeout);
    });
  }

  #become(/** @type {Status} */ status) {
    this.#status = status;
    this.#options.onStatus(status);
  }

  async #dial() {
    clearTimeout(this.#timer);
    this.#become({ phase: "connecting" });
    const mine = this.#status;
    /** @type {string | null} */ let token = null;
    try {
      token = await this.#options.getToken();
    } catch (error) {
      if (this.#status === mine) this.#lost(0, `no token: ${error}`);
    }
    if (this.#status !== mine) return;
    const socket = new WebSocket(this.#options.url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(0, "no answer"), HANDSHAKE_LIMIT);
    socket.onopen = () => this.#greet(token);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    socket.onmessage = ({ data }) => {
      try {
        this.#receive(data);
      } catch (error) {
        this.#lost(0, `unreadable message: ${error}`); // to go on would be to miss what it said
      }
    };
  }

  #greet(/** @type {string | null} */ token) {
    const connect = { name: this.#options.name, ...(token && { token }) };
    this.#command(
      { connect },
      (reply) => this.#welcome(reply.connect),
      (error) => this.#refuse(error),
      { now: true },
    );
  }

  #welcome(/** @type {any} */ server) {
    this.#connectedAt = this.#heardAt = Date.now();
    this.#status = { phase: "connected", server, trouble: server.data?.trouble };
    this.#listen();
    for (const entry of [...this.#pending.values()]) if (entry.patient) this.#write(entry);
    for (const subscription of this.#subscriptions.values()) this.#join(subscription);
    this.#options.onStatus(this.#status); // last: it may subscribe and call
  }

  #refuse(/** @type {RelayError} */ { code, message, temporary }) {
    if (!code) return;
    if (temporary || code < 100) return this.#lost(code, message);
    this.#release();
    this.#become({ phase: TOKEN_ERRORS.has(code) ? "unauthorized" : "refused", code, reason: message });
  }

  /** Notice a dead connection: the relay pings, and a silence much longer than its interval means that it is gone. */
  #listen() {
    const { ping } = /** @type {any} */ (this.#status.server);
    clearTimeout(this.#timer);
    if (!ping) return;
    const left = this.#heardAt + ping * 1000 + PING_GRACE - Date.now();
    if (left <= 0) this.#lost(0, "no ping");
    else this.#timer = setTimeout(() => this.#listen(), left);
  }

  #wake = () => {
    if (document.visibilityState === "hidden") return;
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
    this.#connectedAt = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onclose = socket.onmessage = null;
      socket.close();
    }
    for (const entry of [...this.#pending.values()]) {
      if (!entry.patient || (entry.sent && !entry.repeatable)) this.#settle(entry.id)?.failed(new RelayError(LOST));
    }
  }

  /**
   * Send a command, or keep it until there is a connection. Answers are taken by callbacks, not promises, because what
   * follows a reply in the same frame must find it already acted upon.
   * @param {object} body  the command without its id
   * @param {(reply: any) => void} [done]
   * @param {(error: RelayError) => void} [failed]
   * @param {{repeatable?: boolean, patient?: boolean, now?: boolean}} [options]
   *   `patient` waits for a connection, `now` does not even wait for the connect reply
   */
  #command(body, done = () => {}, failed = () => {}, { repeatable = false, patient = false, now = false } = {}) {
    const id = ++this.#lastId;
    const entry = { id, text: stringifyJSON({ id, ...body }), done, failed, repeatable, patient, sent: false };
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
      else if (line) this.#take(parseJSON(line));
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
    const { channel, position } = subscription;
    const current = () => this.#subscriptions.get(channel) === subscription;
    subscription.live = false;
    this.#command(
      { subscribe: { channel, ...(position && { recover: true, ...position }) } },
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

/** One watched channel; `end()` lets it go. Made by `Connection.subscribe`. */
export class Subscription {
  #handlers;
  #leave;

  /** @param {string} channel @param {Handlers} handlers @param {Position | undefined} since @param {() => void} leave */
  constructor(channel, handlers, since, leave) {
    this.channel = channel;
    /** @type {Position | undefined} */ this.position = since && { epoch: since.epoch, offset: since.offset };
    /** Whether the relay has accepted it on this connection; pushes before that are of an earlier subscription. */
    this.live = false;
    this.#handlers = handlers;
    this.#leave = leave;
  }

  end() {
    this.#handlers = { onEvent() {} };
    this.#leave();
  }

  /** The relay's answer to `subscribe`. */
  accept(/** @type {any} */ { epoch = "", offset = 0, publications = [], was_recovering, recovered, data }) {
    this.live = true;
    const renewed = Boolean(this.position?.epoch) && this.position?.epoch !== epoch;
    const since = renewed || !this.position ? 0 : this.position.offset;
    this.position = { epoch, offset: was_recovering ? since : offset };
    this.#guard(() =>
      this.#handlers.onSubscribed?.({
        data,
        position: { epoch, offset },
        gap: Boolean(was_recovering) && !recovered,
        renewed,
      }),
    );
    for (const publication of publications) this.deliver(publication);
    this.position.offset = Math.max(this.position.offset, offset);
  }

  deliver(/** @type {{data: any, offset?: number}} */ { data, offset = 0 }) {
    if (!this.live || !this.position || offset <= this.position.offset) return;
    this.position.offset = offset;
    this.#guard(() => this.#handlers.onEvent(data, offset));
  }

  refuse(/** @type {RelayError} */ error) {
    this.#guard(() => this.#handlers.onError?.(error));
  }

  /** A handler that throws is its page's business; the events after it still arrive. */
  #guard(/** @type {() => void} */ call) {
    try {
      call();
    } catch (error) {
      reportError(error);
    }
  }
}
