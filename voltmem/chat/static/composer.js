// The message box. It grows with its text. Enter sends, Shift+Enter adds a line break. A button stops an answer.

import { byId, isPhone } from "./dom.js";
import { fit } from "./message.js";

const [box, sendButton, stopButton] = [byId("composer-text"), byId("send"), byId("stop")];
const drafts = new Map(); // unsent text by conversation id; null: the new conversation
let place = null; // the id of the draft in the box
let isBusy = false;

/** Start the box. It calls send with the text. */
export function startComposer({ send, stop }) {
  const submit = () => {
    const text = box.value.trim();
    if (!text || isBusy) return;
    write("");
    send(text);
  };
  byId("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  box.addEventListener("input", () => write(box.value));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  stopButton.addEventListener("click", () => {
    stop();
    box.focus();
  });
  write("");
}

function write(text) {
  drafts.set(place, text);
  if (box.value !== text) box.value = text;
  fit(box);
  sendButton.disabled = !text.trim();
}

/** Show a conversation's draft in the box. */
export function openDraft(id) {
  place = id;
  write(drafts.get(id) ?? "");
}

/** Move a draft to another id, when the new conversation gets its id or a conversation is deleted. */
export function moveDraft(from, to) {
  const text = drafts.get(from) ?? "";
  drafts.delete(from);
  if (place === from) place = to;
  restoreDraft(to, text);
}

/** Put a text that was not sent back in the draft, before text written since. */
export function restoreDraft(id, text) {
  drafts.set(id, [text, drafts.get(id)].filter(Boolean).join("\n\n"));
  if (place === id) write(drafts.get(id));
}

export function setBusy(busy) {
  const hadFocus = document.activeElement === stopButton;
  isBusy = busy;
  sendButton.hidden = busy;
  stopButton.hidden = !busy;
  if (hadFocus) box.focus();
}

export function focusComposer() {
  if (!isPhone()) box.focus(); // on a phone the keyboard would cover half of the page
}
