// The box to write in: it grows, Enter sends, Shift+Enter breaks the line; while an answer comes, it can be stopped.

import { byId, isPhone } from "./dom.js";
import { fit } from "./message.js";

const [box, sendButton, stopButton] = [byId("composer-text"), byId("send"), byId("stop")];
let isBusy = false;

/** Send is called with the text, and returns whether it was taken; what was not comes back into the box. */
export function startComposer({ send, stop }) {
  const submit = async () => {
    const text = box.value.trim();
    if (!text || isBusy) return;
    write("");
    if (!(await send(text)) && !box.value) write(text);
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
  if (box.value !== text) box.value = text;
  fit(box);
  sendButton.disabled = !text.trim();
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
