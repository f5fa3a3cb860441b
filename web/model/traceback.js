/**
 * A traceback of Python in its parts, so that the app's own frames can be told from those of libraries. Pure.
 *
 * @typedef {object} Frame
 * @property {string} text  as it came, its lines of code included
 * @property {string} file
 * @property {string} line  its number
 * @property {string} name  of the function
 * @property {boolean} library
 *
 * @typedef {{text: string} | {frames: Frame[], library: boolean}} Part  lines between frames; frames that follow each other
 */

const FRAME = /^ {2}File "(.+)", line (\d+)(?:, in (.*))?$/;
/** Where installed packages and the interpreter's own modules are. */
const LIBRARY = /[\\/](?:site-packages|dist-packages)[\\/]|[\\/](?:lib|lib64|Lib)[\\/]python\d|[\\/]Python\d+[\\/]Lib[\\/]|^<(?!stdin|string|ipython)/;
/** Frames that are told apart; of a deeper traceback, the rest is one text. */
const MOST_FRAMES = 400;

/**
 * The parts of a traceback in their order; joined by line ends, their texts are what came.
 * @returns {Part[] | null} null where it doesn't look like one of Python, or has none of the app's own frames
 */
export function partsOf(/** @type {string} */ text) {
  /** @type {Part[]} */
  const parts = [];
  let number = 0;
  let own = false;
  /** @type {Frame | null} */ let open = null;
  for (const line of text.split("\n")) {
    const match = number < MOST_FRAMES ? line.match(FRAME) : null;
    const last = parts.at(-1);
    if (match) {
      number += 1;
      const [, file, at, name = ""] = match;
      open = { text: line, file, line: at, name, library: LIBRARY.test(file) };
      own ||= !open.library;
      if (last && "frames" in last && last.library === open.library) last.frames.push(open);
      else parts.push({ frames: [open], library: open.library });
    } else if (open && (/^ {4}/.test(line) || /^ {2}\[Previous line repeated/.test(line))) open.text += `\n${line}`;
    else {
      open = null;
      if (last && "text" in last) last.text += `\n${line}`;
      else parts.push({ text: line });
    }
  }
  return own ? parts : null;
}

/** The frame in which the app's own code was last: where to look first. @returns {Frame | undefined} */
export function lastOwn(/** @type {Part[]} */ parts) {
  return parts.flatMap((part) => ("frames" in part && !part.library ? part.frames : [])).at(-1);
}
