// Toasts: short notices, some with an undo button. They stay while they have the focus or the pointer.

import { byId, element, iconButton } from "./dom.js";
import { t } from "./texts.js";

const SECONDS = 8;
const MAX_TOASTS = 4; // the oldest are removed

/**
 * Show a notice.
 *
 * @param {string} text
 * @param {{action?: string, onAction?: () => void, isError?: boolean}} options the text of a button and what it does
 */
export function toast(text, { action, onAction, isError = false } = {}) {
  const close = () => {
    clearTimeout(timer);
    note.remove();
  };
  const others = [...byId("toasts").children];
  if (!action) for (const each of others) if (each.textContent === text) each.remove(); // replace an equal toast
  others.slice(0, 1 - MAX_TOASTS).forEach((each) => each.remove());
  const note = element(
    "div",
    { class: `toast${isError ? " toast-error" : ""}` },
    element("span", { dir: "auto" }, text),
    action
      ? element("button", { type: "button", class: "toast-action", onclick: () => (close(), onAction()) }, action)
      : null,
    iconButton("close", t("Dismiss"), close),
  );
  let timer;
  const wait = () => (timer = setTimeout(close, SECONDS * 1000));
  for (const event of ["pointerenter", "focusin"]) note.addEventListener(event, () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => note.matches(":focus-within") || wait());
  note.addEventListener("focusout", () => note.matches(":hover") || wait());
  byId("toasts").append(note);
  wait();
}

/** Call a function of a module that is loaded when it is first needed, and show what goes wrong. */
export async function later(loading, use) {
  let loaded;
  try {
    loaded = await loading;
  } catch {
    return toast(t("This part of the page couldn’t be loaded. Try it again."), { isError: true });
  }
  try {
    return await use(loaded);
  } catch (error) {
    if (!("isUnreachable" in error)) throw error; // a mistake of the page's own
    showError(error);
  }
}

/** Show an error. A cancelled request is not an error. */
export function showError(error) {
  if (error.name === "AbortError") return;
  toast(error.message, { isError: true });
}

/** Show an error of a background request. If the server is unreachable, the page already says so. */
export function showBackgroundError(error) {
  if (!error.isUnreachable) showError(error);
}
