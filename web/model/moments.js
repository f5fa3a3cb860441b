/**
 * Moments as ISO 8601 writes them, as Unix time; the same as `watcher/core/moments.py` has it. Pure.
 *
 * @typedef {object} Wall  a date and a time of day, as a clock on a wall shows them: of no zone
 * @property {number} year
 * @property {number} month  from 1 on
 * @property {number} day
 * @property {number} hour
 * @property {number} minute
 * @property {number} second
 * @property {number} microsecond
 */

const ISO =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?$/;

/**
 * A moment from its text, to the microsecond.
 * @returns {number | Wall | undefined} Unix microseconds, or the time on the wall where the text has no offset
 */
export function iso(/** @type {string} */ text) {
  const found = ISO.exec(text);
  if (!found) return undefined;
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map((digits) => Number(digits ?? 0));
  const [fraction = "", utc, sign, hours, minutes = 0] = found.slice(7);
  const wall = { year, month, day, hour, minute, second, microsecond: Number(fraction.padEnd(6, "0").slice(0, 6)) };
  const moment = inUtc(wall);
  if (utcText(moment).slice(0, 19) !== `${text.slice(0, 10)}T${text.slice(11, 16)}:${(found[6] ?? "").padStart(2, "0")}`)
    return undefined; // a day or an hour that there is not
  if (utc) return moment;
  if (!sign) return wall;
  if (Number(hours) > 23 || Number(minutes) > 59) return undefined;
  return moment - (sign === "+" ? 1 : -1) * (Number(hours) * 60 + Number(minutes)) * 60_000_000;
}

/** The moment in Unix microseconds at which a wall's clock shows it in UTC. */
export function inUtc(/** @type {Wall} */ { year, month, day, hour, minute, second, microsecond }) {
  return Date.UTC(year, month - 1, day, hour, minute, second) * 1000 + microsecond;
}

/** The same where the reader is. @param {Wall} wall @param {number} [days]  later */
export function inLocalTime({ year, month, day, hour, minute, second, microsecond }, days = 0) {
  return new Date(year, month - 1, day + days, hour, minute, second).getTime() * 1000 + microsecond;
}

/** A moment in Unix microseconds as ISO 8601 in UTC, with a fraction where it has one. */
export function utcText(/** @type {number} */ moment) {
  const rest = ((moment % 1_000_000) + 1_000_000) % 1_000_000;
  const text = new Date((moment - rest) / 1000).toISOString().slice(0, 19);
  return `${text}${rest ? `.${String(rest).padStart(6, "0")}` : ""}Z`;
}
