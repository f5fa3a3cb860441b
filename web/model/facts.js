/**
 * What the details say of a task, in words. Pure.
 *
 * @typedef {import("./timeline.js").History} History
 * @typedef {import("./timeline.js").Entry} Entry
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {object} Fact
 * @property {string} label
 * @property {string} text
 * @property {boolean} [copy]  whether it can be copied
 * @property {string} [filter]  what of a filter it is: all tasks with it can be shown
 * @property {boolean} [open]  whether it is a task's id, and that task can be opened
 */

import { kindOf } from "../embed/kind.js";
import { runtimeOf } from "../embed/task.js";
import { isMark, repeatOf } from "./again.js";
import { parentOf } from "./filter.js";
import { block, call, clock, cut, duration, inFull, line, size, word } from "./format.js";
import { waitText } from "./waiting.js";

/** What is to be said before all else. */
export function noteText(/** @type {History} */ { phase, refusal, task }) {
  if (task && kindOf(task) === "lost") {
    const worker = task.hostname ? `worker ${cut(task.hostname)}` : "worker";
    return `Its ${worker} is gone, so the task is not running. Another worker may still receive it.`;
  }
  return {
    loading: "Loading…",
    unknown: "Task not found: neither the relay's history nor the result backend has it.",
    refused: `Could not load the task: ${refusal}`,
    known: "",
  }[phase];
}

/** For how long it has been as it is, or took. Only of what goes on the time does. */
export function clockText(/** @type {Task} */ task, /** @type {number} */ now) {
  const kind = kindOf(task);
  const running = kind === "running";
  const seconds = runtimeOf(task, running ? now : undefined);
  const attempt = task.retries ? `, try ${task.retries + 1}` : "";
  if (kind === "waiting") return `${waitText(task, now)}${task.state === "RETRY" ? "" : attempt}`;
  if (kind === "lost") return `${cut(word(task.state))} at ${clock(task.timestamp)}${attempt}`;
  if (seconds !== undefined) return `${running ? "for" : "after"} ${duration(seconds, running)}${attempt}`;
  return task.final ? attempt.slice(2) : `for ${duration(Math.max(0, now - task.timestamp), true)}${attempt}`;
}

/** What came of it, or what it has reported last. */
export function outcomeText(/** @type {Task} */ task) {
  const { exception, state, result, result_size: bytes, meta, meta_size: metaBytes, reason } = task;
  if (exception) return exception.traceback ?? `${exception.type}: ${exception.message}`;
  if (bytes !== undefined) return `The result has ${size(bytes)}, too much for an event.`;
  if (state === "SUCCESS") return task.result_repr ? String(result) : result === undefined ? "" : block(result);
  if (reason && task.final) return reason.replaceAll("_", " ");
  if (metaBytes !== undefined) return `The report has ${size(metaBytes)}, too much for an event.`;
  return meta === undefined ? "" : block(meta);
}

/** Its arguments, one a line. */
export function argumentsText(/** @type {Task} */ task) {
  const { args, kwargs } = task;
  if (!args || !kwargs) return call(task, Infinity);
  const parts = args.map((/** @type {any} */ value) => line(value, Infinity));
  for (const [key, value] of Object.entries(kwargs)) parts.push(`${key}=${line(value, Infinity)}`);
  return parts.length ? parts.join("\n") : "none";
}

/** What else is known of it. @returns {Fact[]} */
export function factsOf(/** @type {Task} */ task) {
  const { times } = task;
  const sent = task.sent ?? times.PENDING;
  const came = times.PENDING; // of this try: one that is sent again doesn't wait from the first time on
  const again = repeatOf(task);
  const tags = (task.tags ?? []).filter((/** @type {string} */ tag) => again === undefined || !isMark(tag));
  const waited = came !== undefined && times.STARTED !== undefined ? duration(Math.max(0, times.STARTED - came)) : "";
  /** @type {(Omit<Fact, "text"> & {text?: string})[]} */
  const facts = [
    { label: "Task id", text: task.id, copy: true },
    { label: "Name", text: task.name, filter: "name" },
    { label: "Worker", text: task.hostname, filter: "worker" },
    { label: "Queue", text: task.queue, filter: "queue" },
    { label: "Sent", text: sent === undefined ? "" : inFull(sent) },
    { label: "Waited", text: waited },
    { label: "Retries", text: task.retries ? String(task.retries) : "" },
    { label: "Not before", text: readable(task.eta) },
    { label: "Next try", text: nextTry(task) },
    { label: "Expires", text: readable(task.expires) },
    { label: "Reason", text: task.reason?.replaceAll("_", " ") },
    { label: "Repeat of", text: again, open: true, copy: true },
    ...tags.map((/** @type {string} */ text) => ({ label: "Tag", text, filter: "tag" })),
    { label: "Root", text: task.root_id === task.id ? "" : task.root_id, filter: "root", copy: true },
    { label: "Parent", text: parentOf(task), open: true, copy: true },
    { label: "Group", text: task.group_id, filter: "group", copy: true },
    { label: "Known by", text: task.offset === 0 ? "the result backend only" : "" },
  ];
  return /** @type {Fact[]} */ (facts.filter(({ text }) => text));
}

/** Who has the try that is to come, or another delivery, and since when. */
function nextTry(/** @type {Task} */ { reserved }) {
  if (!reserved) return "";
  const { hostname, timestamp } = reserved;
  return `received at ${clock(timestamp)}${hostname ? ` by ${cut(hostname)}` : ""}`;
}

/** A moment in ISO 8601 as the page writes moments; one without a zone is left as it came, for nobody says whose it is. */
function readable(/** @type {string | undefined} */ text) {
  return text && /(?:Z|[+-]\d\d:?\d\d)$/i.test(text) && Date.parse(text) ? inFull(Date.parse(text) / 1000) : text;
}

/** What an entry of the timeline stands for, beside its state. */
export function entryText(/** @type {Entry} */ { event, times }) {
  const lost = kindOf(event) === "lost";
  return [
    times > 1 && ` ${times} reports`,
    event.late && " arrived late",
    event.source === "backend" && (lost ? " reported by the relay" : " from the result backend"),
  ]
    .filter(Boolean)
    .join(",");
}

/** What an entry of the timeline has to say. */
export function entryNote(/** @type {Record<string, any>} */ { state, exception, reason, meta, hostname }) {
  if (exception) return cut(`${exception.type}: ${exception.message}`, 300);
  if (reason) return reason.replaceAll("_", " ");
  if (meta !== undefined) return line(meta, 200);
  return state === "STARTED" && hostname ? `on ${cut(hostname)}` : "";
}
