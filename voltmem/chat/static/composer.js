// The message box. It grows with its text, and keeps it and its files for the next visit. A button stops an answer.

import { byId, isPhone } from "./dom.js";
import { Drafts } from "./drafts.js";
import { fit, isTooLong } from "./message.js";
import { settings } from "./settings.js";
import { later } from "./toast.js";

const [box, sendButton, stopButton] = [byId("composer-text"), byId("send"), byId("stop")];
const IS_TOUCH = matchMedia("(pointer: coarse)");
const NEW = "new"; // the key of the new conversation's draft

const drafts = new Drafts("drafts"); // by conversation id
let place = NEW; // the key of the draft in the box
let isBusy = false;
let isSending = false;
let attachments = null; // the module, once it is loaded

/** Call a function of attachments.js, if files can be attached. */
const withAttachments = (use) => settings.uploads.length && later(import("./attachments.js"), use);

const hasAttachments = () => attachments?.hasAttachments() ?? false;

/** Start the box. It sends and stops by asking(), and changes the last question by edit(). */
export function startComposer({ asking, edit }) {
  const stop = () => asking((loaded) => loaded.stop());
  const early = box.value; // typed before the scripts were there
  const submit = async () => {
    if (isBusy || isSending || sendButton.disabled || isTooLong(box.value.trim())) return;
    isSending = true;
    const files = attachments ? await attachments.takeAttachments() : [];
    isSending = false;
    if (!files) return; // one of them could not be uploaded: it is shown, and the text stays
    const [from, text] = [place, box.value.trim()];
    write("");
    const loaded = await asking((loaded) => loaded);
    if (loaded) loaded.send(text.toWellFormed?.() ?? text, files); // an input method may leave half a character
    else restoreDraft(from, text, files);
  };
  byId("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  box.addEventListener("input", () => write(box.value));
  box.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return; // an input method has the key; Safari says so by 229 only
    if (event.key === "ArrowUp" && !box.value && edit()) event.preventDefault();
    if (event.key !== "Enter" || event.shiftKey || IS_TOUCH.matches) return;
    event.preventDefault();
    submit();
  });
  stopButton.addEventListener("click", () => {
    stop();
    box.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isBusy || event.defaultPrevented || event.isComposing) return;
    if (document.querySelector(":popover-open, dialog[open]") || event.target.matches("input, .edit-text")) return;
    stop();
  });
  write(drafts.get(place));
  if (early.trim() && early !== box.value) restoreDraft(place, early);
  withAttachments((module) => {
    attachments = module;
    attachments.startAttachments({ onChange: showSendable });
    attachments.openAttachments(place);
  });
  // A visitor without a keyboard adds lines by Enter, and sends with the button.
  box.enterKeyHint = IS_TOUCH.matches ? "enter" : "send";
}

function write(text) {
  drafts.put(place, text);
  if (box.value !== text) box.value = text;
  fit(box);
  showSendable();
}

function showSendable() {
  sendButton.disabled = !box.value.trim() && !hasAttachments();
}

/** Show a conversation's draft in the box; null: that of the new conversation. */
export function openDraft(id) {
  place = id ?? NEW;
  write(drafts.get(place));
  attachments?.openAttachments(place);
}

/** Move a draft to another id, when the new conversation gets its id or a conversation is deleted. */
export function moveDraft(from, to) {
  const [key, other] = [from ?? NEW, to ?? NEW];
  const text = drafts.get(key);
  drafts.put(key, "");
  if (place === key) place = other;
  restoreDraft(to, text);
  withAttachments(({ moveAttachments }) => moveAttachments(key, other));
}

/** Put a text and files that were not sent back in the draft, before what was written since. */
export function restoreDraft(id, text, files = []) {
  const key = id ?? NEW;
  if (files.length) withAttachments(({ restoreAttachments }) => restoreAttachments(key, files));
  drafts.put(key, [text, drafts.get(key)].filter(Boolean).join("\n\n"));
  if (place === key) write(drafts.get(key));
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
