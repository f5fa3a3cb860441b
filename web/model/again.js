/**
 * Running a task again: as what it was sent before, and how the new one says of which task it is a repeat. Pure.
 *
 * The new task says so by a tag, because that reaches everyone who sees the task, in every window and on every day. What
 * it sends in turn inherits its tags, so only a task that no other has sent is taken at its word.
 *
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {Record<string, any>} Options  of a submission, see docs/protocol.md
 */

import { parentOf } from "./filter.js";

const MARK = "again:";
/** The relay's limits: number of tags, and characters of a tag. */
const MOST_TAGS = 64;
const LONGEST_TAG = 251;

/** The id of the task that this one repeats, if it says so. @returns {string | undefined} */
export function repeatOf(/** @type {Task} */ task) {
  const sender = parentOf(task);
  const root = task.root_id ?? task.id;
  if (sender !== undefined || root !== task.id) return undefined;
  return task.tags?.find(isMark)?.slice(MARK.length) || undefined;
}

/** Whether a tag says that a task is a repeat. */
export function isMark(/** @type {string} */ tag) {
  return tag.startsWith(MARK);
}

/**
 * Why a task can't be submitted again from here; empty where it can.
 * @param {Task | null} task
 * @param {{name: string}[]} registered  what the relay offers
 */
export function obstacleTo(task, registered) {
  const reason = !task?.name
    ? "its name is unknown."
    : !task.args || !task.kwargs
      ? task.argsrepr === undefined
        ? "its arguments are unknown."
        : "its arguments were truncated, masked or not JSON. Only their text is known."
      : registered.some(({ name }) => name === task.name)
        ? ""
        : "it is not among the tasks that you may submit.";
  return reason && `Can't run it again: ${reason}`;
}

/** The options that a task was sent with, as far as it tells; its priority, it doesn't. @returns {Options} */
export function optionsOf(/** @type {Task} */ { queue, tags }) {
  const own = (tags ?? []).filter((/** @type {string} */ tag) => !isMark(tag) && tag && tag.length <= LONGEST_TAG);
  return { ...(queue && { queue }), ...(own.length && { tags: own }) };
}

/**
 * The options of a repeat.
 * @param {Task} task  the one that is repeated
 * @param {Options} known  what is known of how it was sent, beside what it tells
 * @returns {Options}
 */
export function optionsAgain(task, known = {}) {
  const { tags = [], ...options } = { ...known, ...optionsOf(task) };
  const mark = `${MARK}${task.id}`;
  const marked = mark.length > LONGEST_TAG ? tags : [...tags.slice(0, MOST_TAGS - 1), mark];
  return marked.length ? { ...options, tags: marked } : options;
}
