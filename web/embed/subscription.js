/**
 * One watched channel, whatever becomes of the connection: what it has seen, and what it is told.
 *
 * @import {Handlers, Position} from "../watcher.js"
 */

/** What the relay answered instead of a result; `code` is the protocol's, 0 where no answer came. */
export class RelayError extends Error {
  name = "RelayError";

  /** @param {{code: number, message?: string, temporary?: boolean}} error */
  constructor({ code, message, temporary = false }) {
    super(message || `error ${code}`);
    this.code = code;
    this.temporary = temporary;
  }
}

/** Report an error like an uncaught one; Node has no `reportError`. */
export function report(/** @type {any} */ error) {
  (globalThis.reportError ?? console.error)(error);
}

/** Call a callback; its errors are reported, and don't stop what follows. */
export function guard(/** @type {() => void} */ call) {
  try {
    call();
  } catch (error) {
    report(error);
  }
}

/** One watched channel; `end()` lets it go. Made by `Connection.subscribe`. */
export class Subscription {
  #handlers;
  #leave;
  /** Of its own, that lets one watch this channel. @type {string | undefined} */ token;

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
    const gap = Boolean(was_recovering) && !recovered;
    guard(() => this.#handlers.onSubscribed?.({ data, position: { epoch, offset }, gap, renewed }));
    for (const publication of publications) this.deliver(publication);
    this.position.offset = Math.max(this.position.offset, offset);
  }

  /** What has no offset tells what holds now: it is never missed, and never old. */
  deliver(/** @type {{data: any, offset?: number}} */ { data, offset }) {
    if (!this.live || !this.position || (offset ?? Infinity) <= this.position.offset) return;
    this.position.offset = offset ?? this.position.offset;
    guard(() => this.#handlers.onEvent(data, offset ?? 0));
  }

  refuse(/** @type {RelayError} */ error) {
    guard(() => this.#handlers.onError?.(error));
  }
}
