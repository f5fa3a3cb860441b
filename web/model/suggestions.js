/** Suggestions for a mistyped name, the same as `watcher/core/suggestions.py` makes them. Pure. */

/** The longest name that gets a suggestion, in characters. */
const LONGEST = 255;
const ALMOST = 0.85;
/** Other names of the final states. */
const FINAL = ["FAILURE", "IGNORED", "REJECTED", "REVOKED", "SUCCESS"];
/** @type {Record<string, string>} */
// prettier-ignore
const ALIASES = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  FAILED: "FAILURE", FAIL: "FAILURE", FAILS: "FAILURE",
  SUCCEEDED: "SUCCESS", SUCCEED: "SUCCESS", SUCCESSFUL: "SUCCESS",
};

/** The final state that was probably meant by a wrong name. @returns {string | undefined} */
export function stateMeant(/** @type {string} */ state) {
  const name = state.toUpperCase();
  if (FINAL.includes(state)) return undefined;
  return ALIASES[name] ?? closeTo(name, FINAL);
}

/**
 * The name that is most like the given one; of several the last in the order of the alphabet.
 * @param {string} given
 * @param {readonly string[]} names
 * @param {number} alike  least similarity; 1 means equal
 * @returns {string | undefined}
 */
export function closeTo(given, names, alike = ALMOST) {
  const word = [...given];
  if (word.length > LONGEST) return undefined;
  let best;
  let most = alike;
  for (const name of [...names].sort()) {
    const alikeness = ratio([...name], word);
    if (alikeness < most) continue;
    best = name;
    most = alikeness;
  }
  return best;
}

/** How alike two texts are: the share of their characters that stand in common blocks (Ratcliff and Obershelp). */
function ratio(/** @type {string[]} */ a, /** @type {string[]} */ b) {
  return a.length + b.length ? (2 * common(a, b)) / (a.length + b.length) : 1;
}

/** The number of characters in the longest common block, and in those on either side of it. @returns {number} */
function common(/** @type {string[]} */ a, /** @type {string[]} */ b) {
  const [inA, inB, length] = longestBlock(a, b);
  if (!length) return 0;
  return length + common(a.slice(0, inA), b.slice(0, inB)) + common(a.slice(inA + length), b.slice(inB + length));
}

/** Where the longest common block begins, the first of them, and its length. @returns {[number, number, number]} */
function longestBlock(/** @type {string[]} */ a, /** @type {string[]} */ b) {
  /** @type {[number, number, number]} */ let best = [0, 0, 0];
  let before = new Array(b.length + 1).fill(0);
  a.forEach((character, i) => {
    const ending = new Array(b.length + 1).fill(0);
    b.forEach((other, j) => {
      if (character !== other) return;
      ending[j + 1] = before[j] + 1;
      if (ending[j + 1] > best[2]) best = [i - ending[j + 1] + 1, j - ending[j + 1] + 1, ending[j + 1]];
    });
    before = ending;
  });
  return best;
}
