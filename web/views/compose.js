/**
 * Where a task is chosen and its arguments are filled in.
 *
 * @typedef {import("../model/form.js").Registered} Registered
 * @typedef {import("../model/form.js").Field} Field
 *
 * @typedef {object} Draft  what is being filled in
 * @property {Registered} task
 * @property {Field[]} fields
 * @property {Record<string, string>} texts  what stands in the fields at first
 * @property {Record<string, string>} optionTexts  what stands in the options at first
 * @property {Record<string, string>} errors  by field
 * @property {string} error  about the whole
 * @property {boolean} sending
 * @property {string} sentId  of the task that was submitted last
 *
 * @typedef {object} Actions
 * @property {(task: Registered) => void} choose
 * @property {() => void} back
 * @property {(texts: Record<string, string>, options: Record<string, string>) => void} submit
 * @property {(id: string) => void} show  a task that was submitted
 * @property {(name: string) => void} edited  a field, by name
 */

import { OPTIONS } from "../model/form.js";
import { byId, el, icon, keyed, nameSpans, setAttribute, setText } from "./dom.js";

/** The registry, searched as one types. */
export class RegistryView {
  #root = byId("registry");
  #search = byId("registry-search");
  #list = byId("registry-list");
  #note = byId("registry-note");
  #choose;
  /** @type {Registered[]} */ #tasks = [];

  constructor(/** @type {Actions} */ { choose }) {
    this.#choose = choose;
    this.#search.addEventListener("input", () => this.#draw());
    this.#search.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#searchKey(event));
    this.#list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#listKey(event));
  }

  /** @param {{tasks: Registered[], note: string, hidden: boolean}} model */
  update({ tasks, note, hidden }) {
    this.#root.hidden = hidden;
    this.#note.hidden = !note;
    setText(this.#note, note);
    if (tasks === this.#tasks) return;
    this.#tasks = tasks;
    this.#draw();
  }

  focus() {
    this.#search.focus();
    this.#search.select();
  }

  /** Go back to where the choice was made. */
  focusTask(/** @type {string} */ name) {
    const button = [...this.#list.children].find((item) => item.dataset.key === name)?.firstElementChild;
    (button ?? this.#search).focus();
  }

  #found() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return this.#tasks.filter(({ name, doc }) => {
      const text = `${name} ${doc}`.toLowerCase();
      return words.every((/** @type {string} */ word) => text.includes(word));
    });
  }

  #draw() {
    const found = this.#found();
    keyed(
      this.#list,
      found,
      ({ name }) => name,
      (task) => this.#item(task),
      () => {},
    );
    if (this.#tasks.length && !found.length) {
      this.#note.hidden = false;
      setText(this.#note, "No registered tasks match.");
    } else if (this.#tasks.length) this.#note.hidden = true;
  }

  #item(/** @type {Registered} */ task) {
    const [doc] = task.doc.trim().split("\n");
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", onclick: () => this.#choose(this.#tasks.find(({ name }) => name === task.name) ?? task) },
        el(
          "span",
          { class: "title" },
          ...nameSpans(task.name),
          el("span", { class: "signature", text: task.signature }),
        ),
        doc && el("span", { class: "doc", text: doc }),
      ),
    );
  }

  #searchKey(/** @type {KeyboardEvent} */ event) {
    const [first] = this.#found();
    if (event.key === "Enter" && first) this.#choose(first);
    else if (event.key === "ArrowDown") this.#list.querySelector("button")?.focus();
    else return;
    event.preventDefault();
  }

  #listKey(/** @type {KeyboardEvent} */ event) {
    const item = /** @type {Element} */ (event.target).closest("li");
    if (event.key === "ArrowDown") item?.nextElementSibling?.querySelector("button")?.focus();
    else if (event.key === "ArrowUp") (item?.previousElementSibling?.querySelector("button") ?? this.#search).focus();
    else return;
    event.preventDefault();
  }
}

/** The form of one task. */
export class FormView {
  #root = byId("task-form");
  #actions;
  /** @type {Draft | null} */ #draft = null;
  /** @type {Map<string, any>} the fields and options by name */ #inputs = new Map();
  /** @type {any} */ #button;
  /** @type {any} */ #output;
  /** @type {any} */ #error;

  constructor(/** @type {Actions} */ actions) {
    this.#actions = actions;
    this.#root.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#root.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#submit();
    });
  }

  update(/** @type {Draft | null} */ draft) {
    this.#root.hidden = !draft;
    if (draft && draft.fields !== this.#draft?.fields) this.#build(draft);
    this.#draft = draft;
    if (!draft) return;
    for (const [name, { input, error }] of this.#inputs) {
      setText(error, draft.errors[name] ?? "");
      setAttribute(input, "aria-invalid", draft.errors[name] ? "true" : null);
    }
    setText(this.#error, draft.error);
    setAttribute(this.#button, "aria-disabled", draft.sending ? "true" : null);
    this.#writeOutput(draft);
  }

  /** Go to the first field that has a mistake, else to the first. */
  focus() {
    const wrong = [...this.#inputs.values()].find(({ input }) => input.getAttribute("aria-invalid"));
    const [first] = this.#inputs.values();
    if (wrong) wrong.input.closest("details")?.setAttribute("open", "");
    const target = (wrong ?? first)?.input;
    if (!target || (!wrong && target.closest("details"))) this.#button.focus();
    else target.focus();
  }

  #submit() {
    if (!this.#draft || this.#draft.sending) return;
    const textsOf = (/** @type {Field[]} */ fields, prefix = "") =>
      Object.fromEntries(fields.map(({ name }) => [name, this.#inputs.get(prefix + name).read()]));
    this.#actions.submit(textsOf(this.#draft.fields), textsOf(OPTIONS, "option:"));
  }

  #build(/** @type {Draft} */ { task, fields, texts, optionTexts }) {
    this.#inputs.clear();
    this.#button = el("button", { class: "primary", text: "Submit" });
    this.#output = el("span", { class: "sent" });
    this.#error = el("p", { class: "form-error", role: "alert" });
    const back = el("button", {
      type: "button",
      class: "icon-button",
      "aria-label": "Back to all tasks",
      onclick: this.#actions.back,
    });
    back.append(icon("icon-back"));
    this.#root.replaceChildren(
      el("div", { class: "form-head" }, back, el("h3", { id: "form-title" }, ...nameSpans(task.name))),
      el(
        "div",
        { class: "form-body" },
        task.doc.trim() && el("p", { class: "quiet form-doc", text: task.doc.trim() }),
        !fields.length && el("p", { class: "quiet", text: "This task takes no arguments." }),
        ...fields.map((field) => this.#field(field, field.name, texts[field.name] ?? field.initial)),
        this.#options(optionTexts),
      ),
      el("div", { class: "form-foot" }, this.#error, el("div", { class: "submit" }, this.#button, this.#output)),
    );
  }

  #options(/** @type {Record<string, string>} */ texts) {
    const wide = new Set(["queue", "tags", "task_id"]);
    const body = el("div", { class: "options-body" });
    for (const option of OPTIONS) {
      const field = this.#field(option, `option:${option.name}`, texts[option.name] ?? "");
      field.classList.toggle("wide", wide.has(option.name));
      body.append(field);
    }
    const open = Object.keys(texts).length > 0;
    return el("details", { class: "options", open }, el("summary", { text: "Options: queue, countdown, tags …" }), body);
  }

  /** @param {Field} field @param {string} key @param {string} text */
  #field(field, key, text) {
    const id = `field-${key}`;
    const boolean = field.input === "boolean" && !field.nullable;
    const described = `${id}-hint ${id}-error`;
    const control = createControl(field, boolean, text);
    const { input } = control;
    setAttribute(input, "id", id);
    setAttribute(input, "name", id); // not as it is called: `form.NAME` would be it, in place of what a form has itself
    setAttribute(input, "aria-describedby", described);
    setAttribute(input, "aria-required", field.required && !boolean ? "true" : null);
    const error = el("span", { class: "error", id: `${id}-error` });
    this.#inputs.set(key, { ...control, error });
    input.addEventListener("input", () => this.#actions.edited(key));
    const label = el(
      "span",
      { class: "label" },
      el("label", { for: id, text: star(field) + field.name }),
      field.type && el("span", { class: "type", text: field.type }),
      field.required && !boolean && el("span", { class: "needed", text: "required" }),
    );
    const hint = el("span", { class: "hint", id: `${id}-hint`, text: field.hint });
    hint.hidden = !field.hint;
    return el(
      "div",
      { class: boolean ? "field boolean" : "field" },
      ...(boolean ? [input, label] : [label, input]),
      hint,
      error,
    );
  }

  #writeOutput(/** @type {Draft} */ { sending, sentId }) {
    const key = sending ? "sending" : sentId;
    if (this.#output.dataset.key === key) return;
    this.#output.dataset.key = key;
    if (sending || !sentId) this.#output.replaceChildren(sending ? "Sending…" : "");
    else {
      const show = el("button", {
        type: "button",
        class: "link",
        text: sentId,
        title: "Open the task",
        onclick: () => this.#actions.show(sentId),
      });
      this.#output.replaceChildren("Sent", show);
    }
  }
}

function star(/** @type {Field} */ { kind }) {
  return { var_positional: "*", var_keyword: "**" }[/** @type {string} */ (kind)] ?? "";
}

/** @param {Field} field @param {boolean} boolean @param {string} text @returns {{input: any, read: () => string}} */
function createControl({ input: kind, choices, required, placeholder, nullable }, boolean, text) {
  if (boolean) {
    const input = el("input", { type: "checkbox", checked: text === "true" });
    return { input, read: () => String(input.checked) };
  }
  if (kind === "choice" || kind === "boolean") {
    const values = kind === "boolean" ? ["true", "false"] : choices;
    const input = el("select", {}, ...values.map((value) => el("option", { value, text: value })));
    if (!required || nullable) input.prepend(el("option", { value: "", text: nullable ? "None" : "default" }));
    input.value = text;
    return { input, read: () => input.value };
  }
  const common = { autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: placeholder || null };
  const mode = { integer: "numeric", number: "decimal", word: "text" }[/** @type {string} */ (kind)];
  const input = mode
    ? el("input", { type: "text", inputmode: mode, ...common })
    : el("textarea", { rows: 1, ...common });
  input.value = text;
  return { input, read: () => input.value };
}
