/**
 * The page: every effect is here. Events of the relay and of the user change the model; the views draw it.
 *
 * @typedef {import("./model/form.js").Registered} Registered
 * @typedef {import("./embed/task.js").Task} Task
 * @typedef {import("./watcher.js").Status} Status
 */

import { Feed, followTask } from "./control/follow.js";
import { installKeys } from "./control/keys.js";
import { ListControl } from "./control/list.js";
import { Composer } from "./control/submit.js";
import { kindOf } from "./embed/kind.js";
import { obstacleTo } from "./model/again.js";
import { termText } from "./model/filter.js";
import { cut, decoded, shownState, word } from "./model/format.js";
import * as json from "./model/json.js";
import { Tasks } from "./model/state.js";
import { History } from "./model/timeline.js";
import { clockSkew, keepToken, keptToken } from "./requests.js";
import { FormView, RegistryView } from "./views/compose.js";
import { DetailView } from "./views/detail.js";
import { askRevoke, askToken, installTheme } from "./views/dialogs.js";
import { byId, MEDIUM, NARROW } from "./views/dom.js";
import { announce, ConnectionView, EmptyView, FilterErrorView, NoticeView, ToolbarView } from "./views/status.js";
import { TableView } from "./views/table.js";
import { Relay, RelayError } from "./watcher.js";

/** The interval between drawings while many events arrive, in milliseconds; a single event is drawn in the next frame. */
const BUSY_INTERVAL = 100;
/** The share of the time that drawing may take, layout and painting included: slow drawing happens less often. */
const DRAWING_SHARE = 0.25;
const LONGEST_INTERVAL = 1000;
/** The interval at which running times are updated, in milliseconds. */
const TICK = 1000;

const model = {
  tasks: new Tasks(),
  status: /** @type {Status} */ ({ phase: "connecting" }),
  loading: true,
  registry: { tasks: /** @type {Registered[]} */ ([]), note: "", revoke: false },
  history: /** @type {History | null} */ (null),
  notice: "",
};

const connection = new Relay({
  url: new URL(".", document.baseURI),
  getToken: keptToken,
  onStatus,
  name: "page",
  json,
});
/** What the details follow. @type {{end: () => void} | undefined} */ let watched;
/** Whether the details were opened from the keyboard, which then goes back to where it was. */
let openedByKey = false;

const list = new ListControl(model.tasks, { draw, changed, now, wrong, table: () => views.table });
const composer = new Composer({
  connection,
  draw,
  changed,
  focusMistake: () => views.form.focus(),
  sending(id) {
    model.tasks.claim(id);
    feed.offer([`task:${id}`]);
  },
  sent(name, submitted) {
    feed.admit(submitted);
    announce(`${name} submitted`);
  },
});

// Drawing

const views = {
  connection: new ConnectionView(() => connectNow()),
  toolbar: new ToolbarView({ select: (kind) => list.select({ kind }), toggleFollow: () => list.toggleFollow() }),
  notice: new NoticeView(() => notify("")),
  filterError: new FilterErrorView((problem) => list.correct(problem)),
  empty: new EmptyView({ showAll: () => list.select({ kind: "all", query: "" }), compose }),
  table: new TableView({
    open,
    activate: (index) => list.activate(index),
    scrolled: (away) => list.scrolled(away),
    follow: () => list.follow(),
  }),
  registry: new RegistryView(composeActions()),
  form: new FormView(composeActions()),
  detail: new DetailView({ close, open, filter: filterBy, copy, revoke, again, edit }),
};

let scheduled = false;
let drawnAt = 0;
let interval = BUSY_INTERVAL;

function changed() {
  if (scheduled) return;
  scheduled = true;
  const wait = drawnAt + interval - performance.now();
  if (wait > 0) setTimeout(() => requestAnimationFrame(drawFrame), wait);
  else requestAnimationFrame(drawFrame);
}

/** What is posted in a frame arrives when it has been painted. */
const painted = new MessageChannel();
painted.port1.onmessage = () => {
  interval = Math.min(LONGEST_INTERVAL, Math.max(BUSY_INTERVAL, (performance.now() - drawnAt) / DRAWING_SHARE));
};

function drawFrame() {
  draw();
  painted.port2.postMessage(null);
}

/** Draw everything that changed; each view leaves alone what is as it should be. */
function draw() {
  scheduled = false;
  drawnAt = performance.now();
  const { tasks, status, loading, history, registry } = model;
  const time = now();
  views.connection.update(status);
  views.toolbar.update(model);
  views.notice.update(model.notice);
  views.table.update({ tasks, activeNumber: list.activeNumber, openId: history?.id ?? "", now: time });
  views.empty.update({ tasks, loading, status, registry, extent: feed.extent });
  views.registry.update({ ...registry, hidden: composer.draft !== null });
  views.form.update(composer.draft);
  const obstacle = obstacleTo(history?.task ?? null, registry.tasks);
  views.detail.update(history && { history, now: time, obstacle, mayRevoke: registry.revoke });
  byId("layout").dataset.detail = history ? "open" : "closed";
  tickIfNeeded();
}

/** @type {any} */ let ticker;

/** One timer for what counts on the page, only while something does and someone can see it. It talks to nobody. */
function tickIfNeeded() {
  const { tasks, status, history } = model;
  const counts = tasks.isRunning || tasks.movesOn || status.phase === "waiting" || goesOn(history?.task);
  if (counts && !document.hidden) ticker ??= setInterval(tick, TICK);
  else {
    clearInterval(ticker);
    ticker = undefined;
  }
}

function goesOn(/** @type {Task | null | undefined} */ task) {
  return task?.final === false && kindOf(task) !== "lost";
}

function tick() {
  if (model.tasks.movesOn) {
    model.tasks.refresh(now());
    changed();
  }
  views.table.tick(now());
  views.detail.tick(now());
  views.connection.update(model.status);
}

/** Unix seconds on the relay's clock. */
function now() {
  return Date.now() / 1000 - clockSkew();
}

function notify(/** @type {string} */ text) {
  model.notice = text;
  if (text) announce(text);
  changed();
}

/** Say beside the search box what is wrong in it. */
function wrong(/** @type {import("./model/filter.js").InvalidFilter | undefined} */ problem) {
  views.filterError.update(problem);
  if (problem) announce(problem.message);
}

// The relay

function onStatus(/** @type {Status} */ status) {
  const before = model.status.phase;
  model.status = status;
  if (status.phase === "connected" && before === "connected") {
    announce(status.trouble ? "The relay has lost its connection to Redis" : "The relay is connected to Redis again");
  } else if (status.phase === "connected") {
    if (!model.loading) announce("Reconnected");
    if (model.loading) feed.start();
    else feed.reconsider();
    loadRegistry();
  } else if (status.phase === "waiting" && before === "connected") announce("Connection lost");
  else if (status.phase === "refused") announce("The relay refused the connection");
  else if (status.phase === "unauthorized") connectNow();
  if (status.phase === "connected" || before === "connected") draw();
  else changed();
}

async function connectNow() {
  if (model.status.phase === "unauthorized") {
    const given = await askToken(
      keptToken() ? `The relay rejected the token: ${model.status.reason}.` : "",
    );
    if (!given) return;
    keepToken(given);
  }
  connection.open();
}

const feed = new Feed(connection, model.tasks, {
  changed() {
    model.loading = false;
    changed();
  },
  ended: announceEnd,
  gap: () => notify("Some events are missing. The list shows what the relay still knows."),
  refused(text) {
    model.loading = false;
    notify(`Could not follow ${text}`);
  },
  partly: (patterns) =>
    notify(`You may see ${cut(patterns.join(", "))}. Tasks with names that are new to this page appear after a reload.`),
});

function announceEnd(/** @type {import("./model/state.js").Row} */ { task, outcome }) {
  announce(`${cut(task.name ?? task.id)}: ${cut(word(shownState(task)))}${outcome ? `, ${outcome}` : ""}`);
}

async function loadRegistry() {
  try {
    const { tasks, revoke = true } = await connection.rpc("registry", {}, { repeatable: true });
    feed.offer(tasks.map((/** @type {Registered} */ { name }) => `name:${name}`));
    const note = tasks.length ? "" : "The app has no registered tasks that you may submit.";
    model.registry = { tasks, note, revoke };
  } catch (error) {
    if (!(error instanceof RelayError)) throw error;
    const note =
      error.code === 108
        ? "This relay can't submit tasks: it was started without an app."
        : `Could not load the registered tasks: ${error.message}`;
    if (error.code) model.registry = { tasks: [], note, revoke: error.code !== 108 };
  }
  changed();
}

// The details

function open(/** @type {string} */ id, byKey = false) {
  const address = `#task/${encodeURIComponent(id)}`;
  if (location.hash !== address) history.pushState(null, "", address);
  if (model.history?.id !== id) {
    watched?.end();
    model.history = new History(id);
    watched = followTask(connection, model.history, feed, changed);
  }
  openedByKey = byKey;
  draw();
  coverList();
  if (byKey || NARROW.matches) views.detail.focus();
}

/** What lies under the details can't be reached. */
function coverList() {
  byId("tasks").inert = NARROW.matches && model.history !== null;
}

function close() {
  if (!model.history) return;
  const { id } = model.history;
  const hadFocus = byId("detail").contains(document.activeElement);
  watched?.end();
  model.history = null;
  coverList();
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  draw();
  if (!hadFocus) return;
  views.table.focus();
  if (openedByKey) list.activateTask(id);
}

/** Show the tasks that have something in common with one, and let the search box say so. */
function filterBy(/** @type {string} */ key, /** @type {string} */ value) {
  if (NARROW.matches) close();
  list.select({ kind: "all", query: termText(key, value) });
}

function route() {
  const [, id] = location.hash.match(/^#task\/(.+)$/) ?? [];
  if (id) open(decoded(id));
  else close();
}

async function copy(/** @type {string} */ text) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied");
  } catch {
    notify("The browser does not allow copying. Select the text instead."); // as on plain http beyond this machine
  }
}

async function revoke(/** @type {string} */ id) {
  const answer = await askRevoke();
  if (!answer) return;
  try {
    await connection.revoke(id, answer.terminate ? { terminate: true } : {});
    announce("Revoke request sent to the workers");
  } catch (error) {
    notify(`Could not revoke the task: ${/** @type {Error} */ (error).message}`);
  }
}

// Submitting

function composeActions() {
  return {
    choose,
    back,
    submit,
    show: (/** @type {string} */ id) => open(id),
    edited: (/** @type {string} */ name) => composer.edited(name),
  };
}

function compose() {
  if (MEDIUM.matches) close();
  byId("layout").dataset.compose = "open";
  byId("compose-button").setAttribute("aria-expanded", "true");
  if (composer.draft) views.form.focus();
  else views.registry.focus();
}

function closeCompose() {
  byId("layout").dataset.compose = "closed";
  byId("compose-button").setAttribute("aria-expanded", "false");
}

/** Close the form, and go back to where it was asked for. */
function leaveCompose() {
  closeCompose();
  if (MEDIUM.matches) byId("compose-button").focus();
}

function choose(/** @type {Registered} */ task) {
  composer.choose(task);
  views.form.focus();
}

function back() {
  const name = composer.draft?.task.name ?? "";
  composer.back();
  views.registry.focusTask(name);
}

/** @param {Record<string, string>} texts @param {Record<string, string>} options */
async function submit(texts, options) {
  await composer.submit(texts, options);
  if (!composer.draft?.sentId) return;
  closeCompose();
  list.show(composer.draft.sentId);
}

async function again(/** @type {Task} */ task) {
  const { history: read } = model;
  try {
    const { id, note } = await composer.again(task);
    if (note) notify(note);
    // Who went elsewhere while the relay was asked is not called back.
    if (model.history === read) open(id);
    list.show(id);
  } catch (error) {
    notify(`Could not submit the task: ${/** @type {Error} */ (error).message}`);
  }
}

function edit(/** @type {Task} */ task) {
  const registered = model.registry.tasks.find(({ name }) => name === task.name);
  if (!registered) return;
  if (MEDIUM.matches) close();
  byId("layout").dataset.compose = "open";
  composer.edit(registered, task);
  views.form.focus();
}

// The start

installTheme();
installKeys({
  compose,
  toggleFollow: () => list.toggleFollow(),
  escape() {
    const composing = byId("layout").dataset.compose === "open";
    if (composing && (MEDIUM.matches || byId("compose").contains(document.activeElement))) leaveCompose();
    else if (model.history) close();
    else list.follow();
  },
  table(event) {
    views.table.focus();
    byId("table").dispatchEvent(new KeyboardEvent("keydown", { key: event.key }));
  },
});
byId("compose-button").addEventListener("click", () =>
  byId("layout").dataset.compose === "open" ? closeCompose() : compose(),
);
byId("compose-close").addEventListener("click", leaveCompose);
NARROW.addEventListener("change", coverList);
addEventListener("popstate", route);
document.addEventListener("visibilitychange", tickIfNeeded);
connection.open();
route();
draw();
