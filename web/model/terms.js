/**
 * From the text of a filter to its terms, as they are written; the same as `watcher/core/filters/terms.py` has it. Pure.
 *
 * A term ends at the next blank that is not in double quotes. Quotes may begin anywhere in it, and what stands in them
 * means itself: blanks, stars, colons.
 *
 * @typedef {{text: string, quoted: boolean}} Piece  a part of a term, and whether it was in quotes
 *
 * @typedef {object} Term
 * @property {string} source  as it was written
 * @property {number} begin  where it begins in the filter
 * @property {boolean} negated
 * @property {string} key  empty if it is free text
 * @property {Piece[]} pieces  its value
 * @property {string} value  without quotes
 */

/** The longest filter, in characters, and most terms in it. */
const LONGEST = 4096;
const MOST_TERMS = 100;
/** Most characters of a term that an error repeats. */
const SHOWN = 60;

/** What separates terms, spelled out because languages differ in what they count as blank. */
const BLANKS = "\\t\\n\\v\\f\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const BLANK = new RegExp(`[${BLANKS}]+`, "g");
const PIECE = new RegExp(
  `(?<blank>[${BLANKS}]+)|"(?<quoted>(?:[^"\\\\]|\\\\.)*)"|(?<bare>[^${BLANKS}"]+)|(?<open>")`,
  "gs",
);
const NO_END = 'the quote " has no end; in quotes, a quote is written \\" and a backslash \\\\';
/** What begins with a key: letters and a colon, unless an address follows (`https:` and two slashes). */
const KEYED = /^([A-Za-z_]+):(?!\/\/)/;
/** Characters that no filter has: databases can't compare some of them, and none of them can be seen. */
const CONTROL = /[\0-\x08\x0e-\x1f\x7f\p{Cs}]/u;
const TO_BE_QUOTED = new RegExp(`[${BLANKS}"*]`);
const WORDS_TO_BE_QUOTED = new RegExp(`^-|[${BLANKS}"]`);

/** A filter is not accepted. */
export class InvalidFilter extends Error {
  /**
   * @param {string} term  the wrong term; empty if it is the whole filter
   * @param {string} problem  what is wrong, and what is accepted
   * @param {string} [meant]  the nearest right term
   */
  constructor(term, problem, meant) {
    const named = term ? `'${shown(term)}': ` : "";
    super(`${named}${problem}${meant ? `; did you mean ${meant}?` : ""}`);
    this.term = term;
    this.problem = problem;
    this.meant = meant;
  }
}

/** A text as an error repeats it: in one line, cut. */
export function shown(/** @type {string} */ text) {
  const line = [...text.replace(BLANK, " ")];
  return line.length <= SHOWN ? line.join("") : `${line.slice(0, SHOWN - 1).join("")}…`;
}

/** A text in double quotes, in which it means itself. */
export function quoted(/** @type {string} */ text) {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** A value, or a part of one between stars, as it stands in a filter. */
export function valueText(/** @type {string} */ text) {
  return TO_BE_QUOTED.test(text) ? quoted(text) : text;
}

/** Words to look for as they stand in a filter. */
export function wordsText(/** @type {string} */ words) {
  return WORDS_TO_BE_QUOTED.test(words) || KEYED.test(words) ? quoted(words) : words;
}

/**
 * Split a filter into its terms.
 * @returns {Term[]}
 * @throws {InvalidFilter}
 */
export function terms(/** @type {string} */ text) {
  const length = [...text].length;
  if (length > LONGEST) {
    throw new InvalidFilter("", `a filter has at most ${grouped(LONGEST)} characters, this one has ${grouped(length)}`);
  }
  const control = CONTROL.exec(text)?.[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  if (control) throw new InvalidFilter("", `a filter must not hold the character U+${control}`);
  const found = split(text);
  if (found.length > MOST_TERMS) {
    throw new InvalidFilter("", `a filter has at most ${MOST_TERMS} terms, this one has ${found.length}`);
  }
  return found.map(({ begin, end, pieces }) => ({ ...term(text.slice(begin, end), pieces), begin }));
}

const grouped = new Intl.NumberFormat("en").format;

function split(/** @type {string} */ text) {
  /** @type {{begin: number, end: number, pieces: Piece[]}[]} */
  const found = [];
  let within = false;
  for (const match of text.matchAll(PIECE)) {
    const { blank, quoted: inQuotes, bare, open } = match.groups ?? {};
    if (blank === undefined && !within) found.push({ begin: match.index, end: 0, pieces: [] });
    within = blank === undefined;
    if (!within) continue;
    const last = found[found.length - 1];
    if (open !== undefined) throw new InvalidFilter(text.slice(last.begin), NO_END);
    last.pieces.push({ text: bare ?? inQuotes.replace(/\\(["\\])/g, "$1"), quoted: bare === undefined });
    last.end = match.index + match[0].length;
  }
  return found;
}

function term(/** @type {string} */ source, /** @type {Piece[]} */ [first, ...others]) {
  const negated = !first.quoted && first.text.startsWith("-");
  const text = negated ? first.text.slice(1) : first.text;
  const [begin = "", key = ""] = (!first.quoted && KEYED.exec(text)) || [];
  const pieces = [{ ...first, text: text.slice(begin.length) }, ...others].filter((piece) => piece.text);
  return { source, negated, key, pieces, value: pieces.map((piece) => piece.text).join("") };
}

/** A term with another key, or another value: what may have been meant. */
export function instead(/** @type {Term} */ { source, negated, key: old }, /** @type {string} */ key, value = "") {
  const sign = negated ? "-" : "";
  return `${sign}${key}:${value || source.slice(sign.length + old.length + 1)}`;
}
