/** The tasks by name: how the table of them is sorted, and what its cells say. Pure. */

import { count, duration } from "./format.js";

/** @typedef {import("../requests.js").NameStats} NameStats */

/** Most names that are shown. */
export const MOST_NAMES = 500;

/** What each column sorts by; numbers descend, names ascend. @type {Record<string, (stats: NameStats) => string | number>} */
export const COLUMNS = {
  // @ts-expect-error: __proto__ is no entry
  __proto__: null,
  name: ({ name }) => name,
  count: ({ count: number }) => number,
  failed: ({ count: number, failed }) => (number ? failed / number : 0),
  p50: ({ runtime }) => runtime?.p50 ?? -1,
  p95: ({ runtime }) => runtime?.p95 ?? -1,
  waited: ({ waited }) => waited?.p95 ?? -1,
  seen: ({ seen }) => seen,
};

/** The names in the order of a column, the most that are shown. */
export function sorted(/** @type {NameStats[]} */ names, /** @type {string} */ column) {
  const key = COLUMNS[column] ?? COLUMNS.count;
  const order = (/** @type {NameStats} */ a, /** @type {NameStats} */ b) => {
    const [x, y] = [key(a), key(b)];
    const by = typeof x === "number" && typeof y === "number" ? y - x : 0;
    return by || (a.name < b.name ? -1 : 1);
  };
  return [...names].sort(order).slice(0, MOST_NAMES);
}

/** A share as a text: 0 %, < 0.1 %, 3.2 %, 12 %. */
export function shareText(/** @type {NameStats} */ { count: all, failed }) {
  if (!failed || !all) return "0 %";
  const percent = (failed / all) * 100;
  if (percent < 0.1) return "< 0.1 %";
  return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

/** What a row's cells say, beside the name and the picture. */
export function cellsOf(/** @type {NameStats} */ stats) {
  const { runtime, waited } = stats;
  return {
    count: count(stats.count),
    failed: stats.failed ? `${count(stats.failed)} (${shareText(stats)})` : "0",
    p50: runtime ? duration(runtime.p50) : "",
    p95: runtime ? duration(runtime.p95) : "",
    waited: waited ? duration(waited.p95) : "",
  };
}
