// Dialogs over the page: one that asks for a confirmation or a text, and the frame of all others.

import { appendToPage, byId, element, iconButton } from "./dom.js";
import { t } from "./texts.js";

let count = 0;

/**
 * Open a dialog. Returns its element; it is removed when it is closed. onClose is called with the returnValue.
 *
 * @param {string} title
 * @param {any[]} content
 * @param {{kind?: string, onClose?: (value: string) => void}} options
 */
export function openDialog(title, content, { kind = "", onClose = () => {} } = {}) {
  const id = `dialog-title-${(count += 1)}`;
  const { lang, dir } = byId("announcer"); // in <voltmem-sidebar>, the page around it may have others
  const dialog = element(
    "dialog",
    { class: `dialog ${kind}`, "aria-labelledby": id, lang: lang || null, dir: dir || null },
    element(
      "div",
      { class: "dialog-head" },
      element("h2", { id, dir: "auto" }, title),
      iconButton("close", t("Close"), () => dialog.close()),
    ),
    ...content,
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  // Below a dialog, what is announced is not heard, and notices can't be pressed.
  const above = [byId("toasts"), byId("announcer")];
  dialog.append(...above);
  dialog.addEventListener("close", () => {
    appendToPage(...above);
    dialog.remove();
    onClose(dialog.returnValue);
  });
  appendToPage(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask whether to do something. Resolves to whether it is wanted. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const dialog = openDialog(title, [form(action, [element("p", {}, text)], true)], {
      onClose: (value) => resolve(value === "done"),
    });
    dialog.querySelector("[value=cancel]").focus(); // Enter must not do what can't be undone
  });
}

/** Ask for a short text. Resolves to it; null if there is none. */
export function asked(title, label, action, value = "") {
  const box = element("input", { class: "field", dir: "auto", maxlength: "100", required: true, value, "aria-label": label });
  return new Promise((resolve) => {
    openDialog(title, [form(action, [box])], { onClose: (end) => resolve((end === "done" && box.value.trim()) || null) });
    box.select();
  });
}

function form(action, content, isDangerous = false) {
  const kind = isDangerous ? "button-danger" : "button-main";
  const cancel = element("button", { class: "button", value: "cancel", formnovalidate: true }, t("Cancel"));
  const done = element("button", { class: `button ${kind}`, value: "done" }, action);
  // The first button of a form is the one that Enter presses; in the row, it comes last.
  return element("form", { method: "dialog" }, ...content, element("div", { class: "dialog-buttons" }, done, cancel));
}
