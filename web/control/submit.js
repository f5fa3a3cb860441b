/**
 * From a chosen task to a submitted one: what is filled in, what is wrong with it, and how it is sent exactly once.
 *
 * @typedef {import("../model/form.js").Registered} Registered
 * @typedef {import("../embed/task.js").Task} Task
 * @typedef {import("../views/compose.js").Draft} Draft
 *
 * @typedef {object} Page  what the composer needs of the page
 * @property {import("../watcher.js").Relay} connection
 * @property {() => void} draw
 * @property {() => void} changed  draw soon
 * @property {() => void} focusMistake
 * @property {(id: string) => void} sending  called before and after a submission: the task is this page's
 * @property {(name: string, submitted: import("../watcher.js").Submitted) => void} sent
 */

import { optionsAgain, optionsOf } from "../model/again.js";
import { dictionary } from "../model/dictionary.js";
import { argumentIn, arrange, fieldsOf, OPTIONS, optionTextsFor, read, readOptions, textsFor } from "../model/form.js";
import { newId } from "../watcher.js";

/** The number of submissions whose priority is remembered: events don't carry it. */
const REMEMBERED = 1000;

export class Composer {
  #page;
  /** The priorities that tasks were submitted with from here, by id. @type {Map<string, {priority: number}>} */
  #priorities = new Map();
  /** What is being filled in. @type {Draft | null} */
  draft = null;

  constructor(/** @type {Page} */ page) {
    this.#page = page;
  }

  /** Begin to fill in the arguments of a task. */
  choose(/** @type {Registered} */ task, texts = {}, optionTexts = {}) {
    const fields = fieldsOf(task.parameters);
    const typed = dictionary(texts);
    this.draft = { task, fields, texts: typed, optionTexts, errors: dictionary(), error: "", sending: false, sentId: "" };
    this.#page.draw();
  }

  /** Begin from the arguments and the options of a task that was submitted before. */
  edit(/** @type {Registered} */ registered, /** @type {Task} */ task) {
    const options = { ...this.#priorities.get(task.id), ...optionsOf(task) };
    this.choose(registered, textsFor(fieldsOf(registered.parameters), task.args, task.kwargs), optionTextsFor(options));
  }

  back() {
    this.draft = null;
    this.#page.draw();
  }

  /** A field was changed: what was said about it holds no more. */
  edited(/** @type {string} */ name) {
    if (!this.draft) return;
    delete this.draft.errors[name];
    this.draft.error = "";
    this.#page.changed();
  }

  /**
   * Submit what was typed, or say what is wrong with it.
   * @param {Record<string, string>} texts
   * @param {Record<string, string>} optionTexts
   */
  async submit(texts, optionTexts) {
    const { draft } = this;
    if (!draft) return;
    const given = read(draft.fields, texts);
    const options = readOptions(optionTexts);
    const { args, kwargs, errors } = arrange(draft.fields, given.values);
    draft.errors = dictionary(errors, given.errors);
    for (const [name, message] of Object.entries(options.errors)) draft.errors[`option:${name}`] = message;
    draft.error = "";
    draft.sentId = "";
    if (Object.keys(draft.errors).length) return this.#show();
    draft.sending = true;
    this.#page.draw();
    try {
      draft.sentId = await this.send({ task: draft.task.name, args, kwargs, options: options.values });
    } catch (error) {
      blame(draft, /** @type {Error} */ (error).message);
    }
    draft.sending = false;
    this.#show();
  }

  /**
   * Submit, once, whatever happens to the connection meanwhile: the page chooses the task's id, and a repeat under the
   * same id sends nothing again.
   * @param {{task: string, args: any[], kwargs: Record<string, any>, options: Record<string, any>}} request
   * @returns {Promise<string>} the task's id; rejects with RelayError
   */
  async send(request) {
    const { task, args, kwargs, options } = request;
    const id = options.task_id ?? newId();
    this.#page.sending(id);
    const sent = await this.#page.connection.submit(task, args, kwargs, { ...options, task_id: id });
    if (options.priority !== undefined) this.#remember(sent.id, options.priority);
    this.#page.sending(sent.id); // another one where the task's own code had one in its place
    this.#page.sent(task, sent);
    return sent.id;
  }

  #remember(/** @type {string} */ id, /** @type {number} */ priority) {
    this.#priorities.set(id, { priority });
    const [oldest] = this.#priorities.keys();
    if (this.#priorities.size > REMEMBERED) this.#priorities.delete(oldest);
  }

  /**
   * Submit a task once more as it was: its arguments, queue, tags, and its priority where it was submitted from here.
   * @param {Task} task
   * @returns {Promise<{id: string, note: string}>} the new task's id, and what of it is not as it was
   */
  async again(task) {
    const { name = "", args = [], kwargs = {} } = task;
    const options = optionsAgain(task, this.#priorities.get(task.id));
    try {
      return { id: await this.send({ task: name, args, kwargs, options }), note: "" };
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      if (!options.queue || argumentIn(message) !== "queue") throw error;
      const { queue: _, ...others } = options;
      const id = await this.send({ task: name, args, kwargs, options: others });
      return { id, note: `Sent to the queue that the app routes it to, not to the original queue: ${message}` };
    }
  }

  #show() {
    this.#page.draw();
    if (Object.keys(this.draft?.errors ?? {}).length) this.#page.focusMistake();
  }
}

/** Put a refusal where it belongs: at the field that it names, else at the form. */
function blame(/** @type {Draft} */ draft, /** @type {string} */ message) {
  const name = argumentIn(message);
  if (draft.fields.some((field) => field.name === name)) draft.errors[`${name}`] = message;
  else if (OPTIONS.some((option) => option.name === name)) draft.errors[`option:${name}`] = message;
  else draft.error = message;
}
