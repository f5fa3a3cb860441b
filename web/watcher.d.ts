/** Types of celery-watcher's module for any page, `/watcher.js` of a relay. How to use it: docs/page.md. */

/** What a subscriber has seen: an event's place in the journal. */
export interface Position {
  epoch: string;
  offset: number;
}

/** One change of one task's state; docs/protocol.md has all fields. */
export interface Event {
  id: string;
  /** Celery's names, and whatever `update_state` was given. */
  state: string;
  /** Unix seconds at the process where it happened. */
  timestamp: number;
  source: "signal" | "backend";
  name?: string;
  /** The worker. */
  hostname?: string;
  queue?: string;
  /** The try, from 0 on. */
  retries?: number;
  /** When the task was sent, in Unix seconds: the same id sent again has another moment, a retry has not. */
  sent?: number;
  /** Names one delivery of the task to a worker. */
  run?: string;
  /** How often the broker had delivered the message before. */
  redelivered?: number;
  tags?: string[];
  /** Seconds. */
  runtime?: number;
  result?: any;
  /** `result` is a text that stands for a value which JSON can't hold. */
  result_repr?: true;
  /** Bytes of a result that is too large for an event; `GET /api/tasks/ID/result` has it. */
  result_size?: number;
  exception?: { type: string; message: string; traceback?: string };
  /** What `update_state(meta=…)` gave. `current` and `total`, where they are numbers, draw a bar. */
  meta?: any;
  meta_size?: number;
  /** It stands behind the task's state: for a timeline, never to be shown as the state. */
  late?: true;
  /** Why it is in this state: `expired`, `revoked`, `terminated`, `worker_lost`, `time_limit`, `backend_lost`, `not_sent`,
   * `undecodable`, `invalid`. */
  reason?: string;
  [field: string]: any;
}

/** What is known of a task: each field's current value. */
export interface Task extends Event {
  /** Whether it has ended: SUCCESS, FAILURE, REVOKED, REJECTED or IGNORED. */
  final: boolean;
  /** Of the last event folded in. */
  offset: number;
  /** Of each state of the current run, when it was first entered, in Unix seconds. */
  times: Record<string, number>;
  /** The next run, where a worker has received it while the state is still that of the run before. */
  reserved?: { timestamp: number; hostname?: string; retries?: number; run?: string };
}

export interface Status {
  /**
   * `waiting` comes back by itself at `retryAt`. `unauthorized` wants another token, and then `open()`; `refused` is
   * final. `closed` is what `close()` leaves.
   */
  phase: "closed" | "connecting" | "connected" | "waiting" | "unauthorized" | "refused";
  /** When the next attempt starts, in milliseconds as `Date.now()` counts them. */
  retryAt?: number;
  /** The close code or error code that explains the phase; 0 where there was none. */
  code?: number;
  /** The same in words. */
  reason?: string;
  /** The connect reply, once connected. */
  server?: Record<string, any>;
  /** Why events may be late although there is a connection. */
  trouble?: string;
}

export interface Options {
  /** The relay's http(s) address. By default the one that the module was loaded from. */
  url?: string | URL;
  /** A token that stays the same. */
  token?: string | null;
  /** Called before each connection, and again when three quarters of a token's life have passed. */
  getToken?: () => string | null | undefined | Promise<string | null | undefined>;
  /** The same as `relay.onStatus(…)`. */
  onStatus?: (status: Status) => void;
  /** How the relay's log calls this client. */
  name?: string;
  /** What reads and writes JSON: for pages that need whole numbers beyond 2⁵³. */
  json?: { parse(text: string): any; stringify(value: any): string };
}

/**
 * Called with the task after each change, and with null where nobody knows the id: not the history, not the unfinished
 * tasks, not the result backend. `gap` says that events in between can't be had any more (`recovered: false`); the task
 * is right all the same.
 */
export type TaskListener = (task: Task | null, about: { gap: boolean }) => void;

/** Called when nothing will be heard of a task any more; RelayError says why. */
export type ErrorListener = (error: RelayError) => void;

/** What a subscription is told of, in the order in which it happens. */
export interface Handlers {
  /** Called for each event once, in order. */
  onEvent(event: Event, offset: number): void;
  /** Called when the relay has accepted the subscription, before the events that it recovered. */
  onSubscribed?(subscribed: Subscribed): void;
  /** The relay will not carry this channel; it is not asked again. */
  onError?(error: RelayError): void;
}

export interface Subscribed {
  /** What the relay knew at that moment: `{task}` or `{tasks}`, by channel. */
  data: any;
  position: Position;
  /** Whether events in between could not be had. */
  gap: boolean;
  /** Whether the epoch changed: all that was known by offset is void. */
  renewed: boolean;
}

export interface Subscription {
  readonly channel: string;
  /** Of the last event that was delivered. */
  readonly position: Position | undefined;
  end(): void;
}

/**
 * What `submit` answers: `(epoch, offset)` is the place of `PENDING`; `token` lets its holder watch this task. `existing`:
 * the task's own code sent nothing, and this is another task, which was there before.
 */
export interface Submitted extends Position {
  id: string;
  channel: string;
  token?: string;
  existing?: boolean;
}

/** What the relay answered instead of a result. */
export class RelayError extends Error {
  constructor(error: { code: number; message?: string; temporary?: boolean });
  /** The protocol's: 103 not permitted, 107 wrong arguments, 409 refused by the task, …; 0 where no answer came. */
  code: number;
  /** The same call may succeed later. */
  temporary: boolean;
}

/** One connection to one relay: any number of tasks and calls share it. It does nothing before `open()`. */
export class Relay {
  constructor(options?: Options);

  readonly status: Status;

  /** Be told when the status changes; returns a function that ends it. */
  onStatus(listener: (status: Status) => void): () => void;

  /** Connect now; without effect while connecting or connected. */
  open(): void;

  /** Leave, and stay away until `open()`. */
  close(): void;

  /**
   * Watch one task, now and after each reconnect; returns a function that ends it.
   * @param onError without it an error is reported as an uncaught one is
   */
  watch(id: string, onTask: TaskListener, onError?: ErrorListener): () => void;

  /**
   * Submit a task, once, whatever happens to the connection meanwhile. Rejects with RelayError.
   * @param options `task_id`, `queue`, `countdown`, `eta`, `expires`, `priority`, `tags`
   */
  submit(task: string, args?: any[], kwargs?: Record<string, any>, options?: Record<string, any>): Promise<Submitted>;

  /** Tell the workers to drop a task, or to end it where it is running (`terminate`). Rejects with RelayError. */
  revoke(id: string, options?: { terminate?: boolean }): Promise<void>;

  /** A task as it stands; null where nobody knows it. Rejects with RelayError. */
  get(id: string): Promise<Task | null>;

  /**
   * Watch a channel, now and after each reconnect: `task:ID`, `tag:TAG`, `tasks`, … There is one subscription a channel:
   * another one, `watch` included, takes its place, and `onError` is called with code 105.
   * @param token that lets one watch this channel, as `submit` answers with, where the connection's own doesn't
   */
  subscribe(channel: string, handlers: Handlers, since?: Position, token?: string): Subscription;

  /**
   * Call a method of the relay; waits for the connection where there is none. Rejects with RelayError.
   * @param options `timeout` in milliseconds, 15,000 by default; a `repeatable` call is made again after a lost
   *   connection, where others fail with code 0
   */
  rpc(method: string, data?: object, options?: { timeout?: number; repeatable?: boolean }): Promise<any>;
}

/** Connect to a relay: a Relay that is open already. */
export function connect(options?: Options): Relay;

/** A new task id, as Celery makes them: a random UUID. */
export function newId(): string;

/** `<watcher-task relay="https://relay.example" task="ID" token="…">` */
export interface WatcherTaskElement extends HTMLElement {
  /** The task as it is drawn; null where nobody knows it, undefined before the relay has answered. */
  readonly value: Task | null | undefined;
  /** A connection of the page's own, used in place of `relay` and `token`: one with `getToken`, say. */
  connection: Relay | null;
}

declare global {
  interface HTMLElementTagNameMap {
    "watcher-task": WatcherTaskElement;
  }
}
