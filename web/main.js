/**
 * The page: every effect is here. Events of the relay and of the user change the model; the views draw it.
 *
 * @typedef {import("./model/form.js").Registered} Registered
 * @typedef {import("./embed/task.js").Task} Task
 * @typedef {import("./watcher.js").Status} Status
 */

import { Answers } from "./control/answers.js";
import { Details } from "./control/details.js";
import { Drawing } from "./control/drawing.js";
import { Feed } from "./control/follow.js";
import { installKeys } from "./control/keys.js";
import { ListControl } from "./control/list.js";
import { Panel } from "./control/panel.js";
import { PlaceControl } from "./control/place.js";
import { Composer } from "./control/submit.js";
import { kindOf } from "./embed/kind.js";
import { obstacleTo } from "./model/again.js";
import { termText } from "./model/filter.js";
import { cut, shownState, word } from "./model/format.js";
import * as json from "./model/json.js";
import { Tasks } from "./model/state.js";
import { clockSkew, keepToken, keptToken } from "./requests.js";
import { AttentionView } from "./views/attention.js";
import { BarView } from "./views/bar.js";
import { ChartView } from "./views/chart.js";
import { FormView, RegistryView } from "./views/compose.js";
import { DetailView } from "./views/detail.js";
import { askRevoke, askToken, installTheme } from "./views/dialogs.js";
import { byId, NARROW } from "./views/dom.js";
import { NamesView } from "./views/names.js";
import { SavedView } from "./views/saved.js";
import { announce, ConnectionView, EmptyView, FilterErrorView, NoticeView, ToolbarView } from "./views/status.js";
import { TableView } from "./views/table.js";
import { showView } from "./views/view.js";
import { Relay, RelayError } from "./watcher.js";

/** The interval at which running times are updated, in milliseconds. */
const TICK = 1000;

const model = {
  tasks: new Tasks(undefined, now),
  status: /** @type {Status} */ ({ phase: "connecting" }),
  loading: true,
  registry: { tasks: /** @type {Registered[]} */ ([]), note: "", revoke: false },
  notice: "",
};

const connection = new Relay({
  url: new URL(".", document.baseURI),
  getToken: keptToken,
  onStatus,
  name: "page",
  json,
});
const drawing = new Drawing(draw);
const changed = () => drawing.changed();
const answers = new Answers(model.tasks, now, changed);
/** What the address says is shown. */
const place = new PlaceControl(({ task, view, kind, filter, sort, span }) => {
  list.show({ kind: /** @type {any} */ (kind), query: filter, sort });
  if (view === "names") answers.names.show(answers.filter, span);
  else answers.names.close();
  if (task) details.open(task);
  else details.close();
  changed();
});
const list = new ListControl(model.tasks, {
  draw: () => drawing.now(),
  changed,
  now,
  wrong,
  table: () => views.table,
  placed: (change, typed) => place.write(change, { typed }),
  leaving: () => answers.loading.stop(),
  selected(wanted) {
    answers.select(wanted);
    if (answers.names.open) answers.names.show(answers.filter, place.now.span);
  },
});
const composer = new Composer({
  connection,
  draw: () => drawing.now(),
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
  bar: new BarView({ more: () => answers.loading.more(), sort: (sort) => list.select({ sort }), failed: notify }),
  chart: new ChartView({ choose: (since, until) => list.span(since, until), changed }),
  names: new NamesView({
    span(span) {
      place.write({ span });
      answers.names.show(answers.filter, span);
    },
    seen: (name) => answers.names.seen(name),
    draw: () => drawing.now(),
  }),
  empty: new EmptyView({ showAll: () => list.select({ kind: "all", query: "" }), compose: () => panel.open() }),
  table: new TableView({
    open: (id, byKey) => details.open(id, byKey),
    filter: filterBy,
    activate: (index) => list.activate(index),
    scrolled: (away) => list.scrolled(away),
    follow: () => list.follow(),
    atEnd: () => answers.loading.phase === "more" && answers.loading.more(),
  }),
  registry: new RegistryView(composeActions()),
  form: new FormView(composeActions()),
  detail: new DetailView({
    close: () => details.close(),
    open: (id) => details.open(id),
    filter: filterBy,
    copy,
    revoke,
    again,
    edit,
  }),
  attention: new AttentionView(),
  saved: new SavedView(),
};

/** Draw everything that changed; each view leaves alone what is as it should be. */
function draw() {
  const { tasks, status, loading, registry } = model;
  const { history } = details;
  const time = now();
  const { archive, loading: loads, reach, filterOfKind: filter } = answers;
  const numbers = answers.numbers.now;
  views.connection.update(status, archive);
  views.toolbar.update({ tasks, numbers, pending: answers.numbers.isPending });
  views.notice.update(model.notice);
  views.bar.update({ tasks, numbers, phase: loads.phase, reach, filter });
  views.chart.update(answers.chart.series);
  views.names.update(answers.names.open ? answers.names : null);
  showView(place.now);
  views.table.update({ tasks, activeNumber: list.activeNumber, openId: history?.id ?? "", now: time });
  views.empty.update({ tasks, loading, unanswered: loads.phase === "failed", status, registry, extent: feed.extent });
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
  const away = model.status.phase === "waiting" || model.status.phase === "connecting";
  const counts = away || model.tasks.isCounting || model.tasks.movesOn || goesOn(details.history?.task);
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
    model.tasks.refresh();
    changed();
  }
  views.table.tick(now());
  views.detail.tick(now());
  views.connection.update(model.status, answers.archive);
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
  if (status.phase === "connected" || before === "connected") drawing.now();
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
  loaded: (loaded, told) => answers.begin(loaded, told),
  overview: (numbers) => answers.overview(numbers),
  heard: (row, ended) => answers.heard(row, ended),
  failed: () => views.attention.failed(),
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

const details = new Details({
  connection,
  feed,
  list,
  views,
  draw: () => drawing.now(),
  changed,
  placed: (task) => place.write({ task }),
});

/** Show the tasks that have something in common with one, and let the search box say so. */
function filterBy(/** @type {string} */ key, /** @type {string} */ value) {
  if (NARROW.matches) details.close();
  list.select({ kind: "all", query: termText(key, value) });
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
    show: (/** @type {string} */ id) => details.open(id),
    edited: (/** @type {string} */ name) => composer.edited(name),
  };
}

const panel = new Panel({
  focus: () => (composer.draft ? views.form : views.registry).focus(),
  makeRoom: () => details.close(),
});

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
  panel.close();
  list.bring(composer.draft.sentId);
}

async function again(/** @type {Task} */ task) {
  const { history: read } = details;
  try {
    const { id, note } = await composer.again(task);
    if (note) notify(note);
    // Who went elsewhere while the relay was asked is not called back.
    if (details.history === read) details.open(id);
    list.bring(id);
  } catch (error) {
    notify(`Could not submit the task: ${/** @type {Error} */ (error).message}`);
  }
}

function edit(/** @type {Task} */ task) {
  const registered = model.registry.tasks.find(({ name }) => name === task.name);
  if (!registered) return;
  composer.edit(registered, task);
  panel.open();
}

// The start

installTheme();
installKeys({
  compose: () => panel.open(),
  toggleFollow: () => list.toggleFollow(),
  escape() {
    if (panel.isAbove) panel.leave();
    else if (details.history) details.close();
    else list.follow();
  },
  table(event) {
    views.table.focus();
    byId("table").dispatchEvent(new KeyboardEvent("keydown", { key: event.key }));
  },
});
byId("saved-button").addEventListener("click", () => views.saved.open({ ...place.now, filter: byId("filter").value }));
document.addEventListener("visibilitychange", () => {
  tickIfNeeded();
  answers.seen();
});
connection.open();
place.read();
drawing.now();
