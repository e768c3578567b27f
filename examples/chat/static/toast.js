// Short notices at the edge, some with a way back. They wait while somebody is on them.

import { byId, element, iconButton } from "./dom.js";

const SECONDS = 8;
const MOST = 4; // at a time, the newest

export function toast(text, { action, onAction, isError = false } = {}) {
  const close = () => {
    clearTimeout(timer);
    note.remove();
  };
  const others = [...byId("toasts").children];
  if (!action) for (const each of others) if (each.textContent === text) each.remove(); // said once is enough
  others.slice(0, 1 - MOST).forEach((each) => each.remove());
  const note = element(
    "div",
    { class: `toast${isError ? " toast-error" : ""}` },
    element("span", { dir: "auto" }, text),
    action
      ? element("button", { type: "button", class: "toast-action", onclick: () => (close(), onAction()) }, action)
      : null,
    iconButton("close", "Dismiss", close),
  );
  let timer;
  const wait = () => (timer = setTimeout(close, SECONDS * 1000));
  for (const event of ["pointerenter", "focusin"]) note.addEventListener(event, () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => note.matches(":focus-within") || wait());
  note.addEventListener("focusout", () => note.matches(":hover") || wait());
  byId("toasts").append(note);
  wait();
}

/** Show what went wrong; what a person cancelled is nothing. */
export function tell(error) {
  if (error.name === "AbortError") return;
  toast(error.message, { isError: true });
}

/** The same for what nobody asked for: that the server is away, is told anyhow. */
export function tellIfNew(error) {
  if (!error.isUnreachable) tell(error);
}
