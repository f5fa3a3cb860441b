/**
 * From a task's signature to a form, and from what was typed into it to arguments. Pure.
 *
 * @typedef {object} Parameter  as the relay's registry has it
 * @property {string} name
 * @property {"positional_only"|"positional_or_keyword"|"var_positional"|"keyword_only"|"var_keyword"} kind
 * @property {boolean} required
 * @property {any} [default]  present where JSON can hold it
 * @property {string} annotation
 *
 * @typedef {{name: string, signature: string, parameters: Parameter[], doc: string}} Registered
 * @typedef {"text"|"word"|"integer"|"number"|"boolean"|"choice"|"list"|"object"|"any"} Input  a `word` is a text of one line
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {Parameter["kind"]} kind
 * @property {Input} input
 * @property {boolean} required
 * @property {boolean} nullable
 * @property {string[]} choices  of a `choice`, as JSON
 * @property {string} initial  what stands in it at first; "true" or "false" for a boolean
 * @property {string} placeholder
 * @property {string} type  the annotation as people read it
 * @property {string} hint
 *
 * @typedef {{values: Record<string, any>, errors: Record<string, string>}} Read
 */

import { dictionary } from "./dictionary.js";
import { parse, stringify } from "./json.js";

/** @type {Record<string, Input>} */
// prettier-ignore
const INPUTS = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  str: "text", int: "integer", float: "number", complex: "any", bool: "boolean",
  list: "list", tuple: "list", set: "list", frozenset: "list", sequence: "list", iterable: "list", collection: "list",
  dict: "object", mapping: "object", typeddict: "object",
};

/** @type {Partial<Record<Input, string>>} */
const HINTS = {
  list: "A JSON list, such as [1, 2]",
  object: 'A JSON object, such as {"key": 1}',
  any: "JSON, or else plain text",
};

/** The fields of a form for these parameters. @returns {Field[]} */
export function fieldsOf(/** @type {Parameter[]} */ parameters) {
  return parameters.map(fieldOf);
}

/** @returns {Field} */
function fieldOf(/** @type {Parameter} */ parameter) {
  const { name, kind, required } = parameter;
  const variadic = kind === "var_positional" ? "list" : kind === "var_keyword" ? "object" : undefined;
  const { type, nullable } = plainType(parameter.annotation ?? "");
  const choices = choicesOf(type);
  const input = variadic ?? (choices.length ? "choice" : inputOf(type, parameter.default));
  const known = parameter.default !== undefined && parameter.default !== null;
  const initial = known && !variadic ? textOf(parameter.default, input) : "";
  const placeholder = required || variadic ? "" : parameter.default === null ? "None" : known ? "" : "default";
  // prettier-ignore
  return {
    name, kind, input, choices, placeholder, type,
    required: required && !variadic,
    nullable: nullable || parameter.default === null,
    initial: initial || (input === "boolean" && required ? "false" : initial),
    hint: variadic === "list" ? "More positional arguments, as a JSON list"
      : variadic === "object" ? "More keyword arguments, as a JSON object"
      : (HINTS[input] ?? ""),
  };
}

/** An annotation without what only says that None is allowed. */
function plainType(/** @type {string} */ annotation) {
  const text = annotation.replace(/^["']|["']$/g, "").replaceAll("typing.", "");
  const [, optional] = text.match(/^Optional\[(.*)\]$/) ?? [];
  const parts = alternatives(optional ?? text);
  const others = parts.filter((part) => part !== "None");
  return { type: others.join(" | "), nullable: optional !== undefined || others.length < parts.length };
}

/** The parts of a union, those of its members left alone. @returns {string[]} */
function alternatives(/** @type {string} */ type) {
  const parts = [""];
  let depth = 0;
  for (const letter of type) {
    if ("[(".includes(letter)) depth += 1;
    if ("])".includes(letter)) depth -= 1;
    if (letter === "|" && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim());
}

/** @returns {Input} */
function inputOf(/** @type {string} */ type, /** @type {any} */ value) {
  if (!type) return typeof value === "boolean" ? "boolean" : "any";
  if (alternatives(type).length > 1) return "any";
  return INPUTS[type.replace(/\[.*$/, "").replace(/^.*\./, "").toLowerCase()] ?? "any";
}

/** Python's names in JSON. @type {Record<string, string>} */
// @ts-expect-error: __proto__ is no entry
const CONSTANTS = { __proto__: null, True: "true", False: "false", None: "null" };

/** The values of a `Literal[...]`, as JSON. @returns {string[]} */
function choicesOf(/** @type {string} */ type) {
  const [, inside] = type.match(/^Literal\[(.*)\]$/) ?? [];
  if (!inside) return [];
  const items = inside.match(/'[^']*'|"[^"]*"|[^,\s]+/g) ?? [];
  return items.map((item) => {
    if (/^['"]/.test(item)) return stringify(item.slice(1, -1));
    return CONSTANTS[item] ?? item;
  });
}

/** How a value stands in a field. */
export function textOf(/** @type {any} */ value, /** @type {Input} */ input) {
  if (value === undefined) return "";
  if (typeof value === "string" && input === "text") return value || '""';
  if (typeof value === "string" && input === "any") return isPlain(value) ? value : stringify(value);
  return stringify(value);
}

/** Whether a text typed without quotes would be taken as that very text. */
function isPlain(/** @type {string} */ text) {
  if (text.trim() !== text || !text) return false;
  try {
    parse(text);
    return false;
  } catch {
    return true;
  }
}

class Mistake extends Error {}

/** @type {Record<Input, (text: string, field: Field) => any>} */
const READERS = {
  text: (text) => (text === '""' ? "" : text),
  word: (text) => text.trim(),
  boolean: (text) => text === "true",
  choice: (text) => parse(text),
  integer: (text) => {
    const digits = text.trim().replace(/^\+/, "");
    if (!/^-?\d+$/.test(digits)) throw new Mistake("Enter a whole number");
    return parse(digits.replace(/^(-?)0+(?=\d)/, "$1"));
  },
  number: (text) => {
    if (!text.trim() || !Number.isFinite(Number(text))) throw new Mistake("Enter a number");
    return Number(text);
  },
  list: (text) => {
    const value = readJSON(text);
    if (!Array.isArray(value)) throw new Mistake("Enter a JSON list, such as [1, 2]");
    return value;
  },
  object: (text) => {
    const value = readJSON(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Mistake('Enter a JSON object, such as {"key": 1}');
    }
    return value;
  },
  any: (text) => {
    try {
      return parse(text);
    } catch {
      return text;
    }
  },
};

function readJSON(/** @type {string} */ text) {
  try {
    return parse(text);
  } catch (error) {
    throw new Mistake(`Invalid JSON: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * Read what was typed. An empty field that is not required is left out.
 * @param {Field[]} fields
 * @param {Record<string, string>} texts  by name
 * @returns {Read}
 */
export function read(fields, texts) {
  /** @type {Read} */
  const found = { values: dictionary(), errors: dictionary() };
  const typed = dictionary(texts);
  for (const field of fields) {
    const text = typed[field.name] ?? "";
    try {
      if (text.trim()) found.values[field.name] = valueOf(text, field);
      else if (field.required) throw new Mistake(emptyMistake(field));
    } catch (error) {
      if (!(error instanceof Mistake)) throw error;
      found.errors[field.name] = error.message;
    }
  }
  return found;
}

function valueOf(/** @type {string} */ text, /** @type {Field} */ field) {
  if (field.nullable && ["null", "None"].includes(text.trim())) return null;
  return READERS[field.input](text, field);
}

function emptyMistake(/** @type {Field} */ { input }) {
  return input === "text" ? 'This is required; enter "" for an empty string' : "This is required";
}

/**
 * Lay values out as a call: positionally as far as they go, then by name.
 * @param {Field[]} fields
 * @param {Record<string, any>} values
 * @returns {{args: any[], kwargs: Record<string, any>, errors: Record<string, string>}}
 *   an error where something was left out that later arguments can't do without
 */
export function arrange(fields, values) {
  /** @type {{args: any[], kwargs: Record<string, any>, errors: Record<string, string>}} */
  const laid = { args: [], kwargs: dictionary(), errors: dictionary() };
  let missing = "";
  for (const { name, kind } of fields) {
    const given = Object.hasOwn(values, name);
    if (kind === "var_keyword") Object.assign(laid.kwargs, values[name]);
    else if (!given) missing ||= kind.startsWith("positional") ? name : "";
    else if (kind === "keyword_only" || (kind === "positional_or_keyword" && missing)) laid.kwargs[name] = values[name];
    else if (missing && (kind === "positional_only" || values[name].length)) {
      laid.errors[missing] = `This is required when ${name} is given`;
    } else laid.args.push(...(kind === "var_positional" ? values[name] : [values[name]]));
  }
  return laid;
}

/**
 * The texts that would give these arguments: to edit a call that was made before.
 * @param {Field[]} fields
 * @param {any[]} args
 * @param {Record<string, any>} kwargs
 * @returns {Record<string, string>}
 */
export function textsFor(fields, args, kwargs) {
  /** @type {Record<string, string>} */
  const texts = dictionary();
  const rest = dictionary(kwargs);
  const positional = fields.filter(({ kind }) => kind.startsWith("positional"));
  for (const [index, { name, input }] of positional.entries()) {
    texts[name] = index < args.length ? textOf(args[index], input) : textOf(rest[name], input);
    delete rest[name];
  }
  for (const { name, kind, input } of fields) {
    if (kind === "var_positional")
      texts[name] = args.length > positional.length ? stringify(args.slice(positional.length)) : "";
    if (kind === "keyword_only") {
      texts[name] = textOf(rest[name], input);
      delete rest[name];
    }
  }
  const others = fields.find(({ kind }) => kind === "var_keyword");
  if (others) texts[others.name] = Object.keys(rest).length ? stringify(rest) : "";
  return texts;
}

/** A value of each plain type, to show how a task is sent. @type {Record<string, string>} */
// prettier-ignore
const EXAMPLES = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  int: "1", float: "1.5", str: '"text"', bool: "True",
};

/** How one of these tasks is sent from Python, one that takes a little of plain types if there is one; "" for none. */
export function exampleOf(/** @type {Registered[]} */ tasks) {
  const plain = (/** @type {Registered} */ { parameters }) => {
    const required = parameters.filter(({ required }) => required);
    return required.length > 0 && required.every(({ annotation, kind }) => annotation in EXAMPLES && kind.startsWith("pos"));
  };
  const task = tasks.find(plain) ?? tasks.find(({ parameters }) => !parameters.some(({ required }) => required)) ?? tasks[0];
  if (!task) return "";
  const values = task.parameters.filter(({ required }) => required).map(({ annotation }) => EXAMPLES[annotation] ?? "…");
  return `app.send_task(${stringify(task.name)}${values.length ? `, [${values.join(", ")}]` : ""})`;
}

/** What may be said about how a task is sent. @type {Field[]} */
export const OPTIONS = [
  option("queue", "word", "Name of the queue; empty to use the app's routing"),
  option("countdown", "number", "Seconds to wait before the task may run"),
  option("expires", "number", "Seconds after which the task expires, if not started"),
  option("priority", "integer", "0 to 255; its meaning depends on the broker"),
  option("tags", "word", "Separated by commas, or a JSON list; filter by them with tag:…"),
  option("task_id", "word", "Submitting the same id again within a day does not send the task again"),
];

/** @returns {Field} */
function option(/** @type {string} */ name, /** @type {Input} */ input, /** @type {string} */ hint) {
  const kind = "keyword_only";
  return {
    name,
    input,
    hint,
    kind,
    required: false,
    nullable: false,
    choices: [],
    initial: "",
    placeholder: "",
    type: "",
  };
}

/** Read the options. @returns {Read} */
export function readOptions(/** @type {Record<string, string>} */ texts) {
  const found = read(OPTIONS, texts);
  const { tags, task_id: id } = found.values;
  if (tags !== undefined) found.values.tags = tagsIn(tags);
  if (id !== undefined && !/^[A-Za-z0-9._:-]{1,200}$/.test(id)) {
    found.errors.task_id = "Only letters, digits and . _ : -, at most 200 characters";
  }
  return found;
}

/** @returns {any[]} */
function tagsIn(/** @type {string} */ text) {
  if (text.startsWith("[")) {
    try {
      return parse(text);
    } catch {
      // Not a list then, but a tag that begins so.
    }
  }
  const tags = text.split(",").map((tag) => tag.trim());
  return tags.filter(Boolean);
}

/** The texts that would give these options. @returns {Record<string, string>} */
export function optionTextsFor(/** @type {Record<string, any>} */ { queue, priority, tags }) {
  const plain = tags?.every((/** @type {string} */ tag) => tag.trim() === tag && !/^\[|,/.test(tag));
  return {
    ...(queue && { queue }),
    ...(priority !== undefined && { priority: String(priority) }),
    ...(tags?.length && { tags: plain ? tags.join(", ") : stringify(tags) }),
  };
}

/** Which argument a relay's message is about, if it names one. */
export function argumentIn(/** @type {string} */ message) {
  return message.match(/(?:argument|option):? ['"`]([^'"`]+)['"`]/)?.[1];
}
