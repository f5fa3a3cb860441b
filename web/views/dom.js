/** The few words that the views need to write elements. Text goes in as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/** Where the details lie over the list, where the form lies over both, and where it has to make room; as in style.css. */
export const NARROW = matchMedia("(max-width: 40rem)");
export const MEDIUM = matchMedia("(max-width: 60rem)");
export const TIGHT = matchMedia("(max-width: 80rem)");

/**
 * Make an element. Properties: `class`, `text`, `on…` for listeners; anything else is an attribute, where false, null
 * and undefined mean: none.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of the sprite in index.html. */
export function icon(/** @type {string} */ name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

// prettier-ignore
const STATES_WITH_ICON = new Set([
  "PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED",
  "LOST",
]);

/** Show a state in an icon; `share` fills the pie of one in progress. */
export function setStateIcon(
  /** @type {SVGElement} */ svg,
  /** @type {string} */ state,
  /** @type {number} */ share = 0,
) {
  const name = STATES_WITH_ICON.has(state) ? state : "STARTED";
  setAttribute(/** @type {Element} */ (svg.firstChild), "href", `#state-${name}`);
  const percent = String(Math.round(share * 100));
  if (svg.style.getPropertyValue("--share") !== percent) svg.style.setProperty("--share", percent);
}

/** Set an attribute, or remove it where the value is false, null or undefined; nothing is touched without need. */
export function setAttribute(/** @type {Element} */ element, /** @type {string} */ name, /** @type {any} */ value) {
  if (value === false || value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Set an element's text; nothing is touched without need, so that a selection in it stays. */
export function setText(/** @type {Element} */ element, /** @type {string} */ text) {
  const { firstChild } = element;
  if (firstChild instanceof Text && !firstChild.nextSibling) {
    if (firstChild.data !== text) firstChild.data = text;
  } else if (firstChild || text) element.textContent = text;
}

/** The element with this id, which index.html has. @returns {any} */
export function byId(/** @type {string} */ id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/**
 * Make the children of an element stand for these items, in this order; those that stay are kept and only updated.
 * @template I
 * @param {Element} parent
 * @param {I[]} items
 * @param {(item: I) => string} keyOf
 * @param {(item: I) => Element} create
 * @param {(element: any, item: I) => void} update
 */
export function keyed(parent, items, keyOf, create, update) {
  const known = new Map([...parent.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = known.get(key);
    known.delete(key);
    if (!element) {
      element = create(item);
      /** @type {HTMLElement} */ (element).dataset.key = key;
    }
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
    update(element, item);
  }
  for (const element of known.values()) element.remove();
}

/** The spans of a task's name: where it lives, and what it is called. */
export function nameSpans(/** @type {string} */ name) {
  const dot = name.lastIndexOf(".") + 1;
  return [
    el("span", { class: "module", text: name.slice(0, dot) }),
    el("span", { class: "name", text: name.slice(dot) }),
  ];
}
