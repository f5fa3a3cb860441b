/** JSON for the page, which shows values as they are: whole numbers that a JavaScript number would round stay whole. */

const LONG_INTEGER = /(^|[[:,\s])-?\d{16,}(?![\d.eE])/;

/** `JSON.parse`, but a whole number that a JavaScript number would round becomes a BigInt. */
export function parse(/** @type {string} */ text) {
  return LONG_INTEGER.test(text) ? JSON.parse(text, exactly) : JSON.parse(text);
}

/** @param {string} _key @param {any} value @param {{source?: string}} [context]  (ECMAScript's JSON source text access) */
function exactly(_key, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  return /^-?\d+$/.test(context?.source ?? "") ? BigInt(/** @type {string} */ (context?.source)) : value;
}

/** `JSON.stringify` for what `parse` gives. @returns {string} */
export function stringify(/** @type {any} */ value, /** @type {number} */ indent = 0) {
  // @ts-expect-error: rawJSON is younger than TypeScript's library.
  return JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? JSON.rawJSON(`${item}`) : item), indent);
}
