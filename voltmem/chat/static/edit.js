// The box in which a question is edited, in its place. Enter asks with the new text, Escape cancels.

import { edit } from "./asking.js";
import { element } from "./dom.js";
import { edits, fit, isTooLong, textOf } from "./message.js";
import { t } from "./texts.js";

/** Return the box, and its buttons. end takes them away. */
export function editBox(message, end) {
  const box = element("textarea", { class: "edit-text", "aria-label": t("Edit the message"), rows: "1", dir: "auto" });
  const save = () => {
    const text = box.value.trim();
    if (isTooLong(text)) return;
    end();
    if (text && text !== textOf(message)) edit(message, text);
  };
  box.value = edits.get(message.id) || textOf(message);
  box.addEventListener("input", () => {
    edits.put(message.id, box.value);
    fit(box);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    save();
  });
  return [
    box,
    element(
      "div",
      { class: "edit-buttons" },
      element("button", { type: "button", class: "button", onclick: end }, t("Cancel")),
      element("button", { type: "button", class: "button button-main", onclick: save }, t("Ask")),
    ),
  ];
}
