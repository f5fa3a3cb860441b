/** The dialogs of index.html as questions: each resolves with what the user answered. */

import { byId, setText } from "./dom.js";

/** Show the keyboard help. */
export function showHelp() {
  byId("help").showModal();
}

/** Whether any dialog is open, so that keys belong to it. */
export function dialogIsOpen() {
  return document.querySelector("dialog[open]") !== null;
}

/**
 * Ask for a token; the same question is asked once, however often.
 * @param {string} reason  why the relay wants one
 * @returns {Promise<string>} empty where none was given
 */
export function askToken(reason) {
  const dialog = byId("token");
  const input = byId("token-input");
  setText(byId("token-reason"), reason);
  if (!dialog.open) {
    input.value = "";
    dialog.showModal();
  }
  return new Promise((resolve) => {
    dialog.onclose = () => {
      resolve(input.value.trim());
      input.value = "";
    };
  });
}

/**
 * Ask whether a task is to be revoked. To terminate it is a choice of its own, never made in advance.
 * @returns {Promise<{terminate: boolean} | null>} null where it is to be kept
 */
export function askRevoke() {
  const dialog = byId("revoke");
  const terminate = byId("revoke-terminate");
  const confirm = byId("revoke-confirm");
  const name = () => setText(confirm, terminate.checked ? "Revoke and terminate" : "Revoke");
  terminate.checked = false;
  terminate.onchange = name;
  name();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "revoke" ? { terminate: terminate.checked } : null);
  });
}

const THEMES = ["system", "light", "dark"];
const THEME_NAMES = { system: "system", light: "light", dark: "dark" };

/** Let the button at the top go through the themes, and keep the choice. theme.js applies it at the next visit. */
export function installTheme() {
  const button = byId("theme-button");
  const root = document.documentElement;
  const show = () => {
    const theme = /** @type {keyof THEME_NAMES} */ (root.dataset.theme ?? "system");
    const label = `Theme: ${THEME_NAMES[theme]}`;
    button.querySelector("use").setAttribute("href", `#icon-theme-${theme}`);
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    root.dataset.theme = next;
    try {
      localStorage.setItem("watcher-theme", next);
    } catch {
      // Storage is switched off: the choice holds for as long as the page is open.
    }
    show();
  });
  show();
}
