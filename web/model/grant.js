/**
 * What a client that may not see everything can follow: channels that its grant names, and those that its globs match. Pure.
 *
 * @typedef {import("../embed/task.js").Task} Task
 */

const CHANNEL = /^(task|root|group|name|tag):./s;
/** In a glob, a character that is meant as itself (Python's fnmatch). */
const LITERAL = /\[([*?[])\]/g;

export class Grant {
  /** Channels that are named as they are. @type {string[]} */ channels = [];
  /** Globs that stand for more than one. @type {string[]} */ patterns = [];
  /** @type {RegExp[]} */ #patterns = [];

  /** @param {string[] | undefined} globs  as the relay told them at `connect`; undefined: everything may be seen */
  constructor(globs) {
    /** How much of the tasks may be seen. @type {"all" | "some" | "none"} */
    this.extent = globs === undefined ? "all" : globs.length ? "some" : "none";
    if (this.extent !== "some") this.channels = ["tasks"]; // where there is none, the relay says why not
    for (const glob of new Set(globs)) {
      const name = exactly(glob);
      if (name === undefined) this.#add(glob);
      else if (CHANNEL.test(name)) this.channels.push(name);
    }
  }

  /** Those of a task's channels that a glob opens. @returns {string[]} */
  opened(/** @type {string[]} */ channels) {
    return channels.filter((channel) => this.#patterns.some((pattern) => pattern.test(channel)));
  }

  #add(/** @type {string} */ glob) {
    this.patterns.push(glob);
    try {
      this.#patterns.push(new RegExp(`^(?:${expression(glob)})$`, "s"));
    } catch {
      // A range that goes backwards, say: it matches nothing.
    }
  }
}

/** The channels that carry a task, as watcher/core/event.py has them. @returns {string[]} */
export function channelsOf(/** @type {Task} */ { id, root_id: root, group_id: group, name, tags }) {
  const one = (/** @type {string} */ kind, /** @type {string | undefined} */ value) => (value ? [`${kind}:${value}`] : []);
  const tagged = (tags ?? []).map((/** @type {string} */ tag) => `tag:${tag}`);
  return [`task:${id}`, ...one("root", root), ...one("group", group), ...one("name", name), ...tagged];
}

/** The one name that a glob stands for; undefined where it stands for more. @returns {string | undefined} */
function exactly(/** @type {string} */ glob) {
  return /[*?[]/.test(glob.replace(LITERAL, "")) ? undefined : glob.replace(LITERAL, "$1");
}

function expression(/** @type {string} */ glob) {
  return glob.replace(/\[(!?)(\]?[^\]]*)\]|[^]/g, (part, not, set) => {
    if (set !== undefined) return `[${not ? "^" : ""}${set.replace(/[\\\]^[]/g, "\\$&")}]`;
    return part === "*" ? ".*" : part === "?" ? "." : part.replace(/[\\^$.|+()[\]{}/]/, "\\$&");
  });
}
