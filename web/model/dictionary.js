/**
 * Values by names that others chose, of parameters for example: an object without a prototype, in which `constructor` and
 * `__proto__` are names as any others. In a plain object the one is there before it is set, and the other can't be set.
 * @param {...Record<string, any>} parts  what is in it; of a name in several the last
 * @returns {Record<string, any>}
 */
export function dictionary(...parts) {
  return Object.assign(Object.create(null), ...parts);
}
