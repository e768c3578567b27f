// The box to write in: it grows, Enter sends, Shift+Enter breaks the line; while an answer comes, it can be stopped.

import { byId, isPhone } from "./dom.js";
import { fit } from "./message.js";

const [box, sendButton, stopButton] = [byId("composer-text"), byId("send"), byId("stop")];
const drafts = new Map(); // what is written and not sent, by conversation; null: the one that is still to be made
let place = null; // the conversation whose box it is
let isBusy = false;

/** Send is called with the text. */
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

/** The box is a conversation's now, with what was written there and not sent. */
export function openDraft(id) {
  place = id;
  write(drafts.get(id) ?? "");
}

/** A conversation was made of the new one, or is gone: what was written for it stays in the box. */
export function moveDraft(from, to) {
  const text = drafts.get(from) ?? "";
  drafts.delete(from);
  if (place === from) place = to;
  giveBack(to, text);
}

/** Put back what could not be sent, before what was written since. */
export function giveBack(id, text) {
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
  if (!isPhone()) box.focus(); // on a phone the keyboard would cover half of what was opened
}
