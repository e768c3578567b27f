// The actions on a conversation, for the menus of its row and of its head.

import { addressOf, base } from "./addresses.js";
import * as api from "./api.js";
import { element } from "./dom.js";
import { receive, removed, titleOf } from "./store.js";
import { showError, toast } from "./toast.js";

let navigate;

export function startActions(options) {
  ({ navigate } = options);
}

/** Return the entries of a conversation's menu. rename is called to edit the title in place. */
export const actionsFor = (item, rename) => [
  { name: "Rename", icon: "rename", onSelect: rename },
  { name: item.pinned ? "Unpin" : "Pin", icon: item.pinned ? "unpin" : "pin", onSelect: () => pin(item) },
  { name: item.archived ? "Unarchive" : "Archive", icon: item.archived ? "unarchive" : "archive", onSelect: () => archive(item) },
  { name: "Delete", icon: "delete", onSelect: () => remove(item), isDangerous: true },
];

const change = (item, changes) => receive(api.change(item.id, changes));

const pin = (item) => change(item, { pinned: !item.pinned }).catch(showError);

async function archive(item) {
  try {
    await change(item, { archived: !item.archived });
    const undo = () => change(item, { archived: item.archived }).catch(showError);
    toast(`${item.archived ? "Unarchived" : "Archived"} “${titleOf(item)}”`, { action: "Undo", onAction: undo });
  } catch (error) {
    showError(error);
  }
}

export async function remove(item) {
  const path = addressOf(item.id);
  const wasOpen = location.pathname === path; // now: the event of the deletion may close it before the answer is here
  try {
    await api.remove(item.id);
    removed(item.id);
    toast(`Deleted “${titleOf(item)}”`, { action: "Undo", onAction: () => restore(item, wasOpen ? path : null) });
  } catch (error) {
    showError(error);
  }
}

/** Undo the deletion. Opens the conversation again if it was open and no other was opened meanwhile. */
async function restore(item, path) {
  try {
    await receive(api.restore(item.id));
    if (path && location.pathname === base) navigate(path);
  } catch (error) {
    showError(error);
  }
}

/** Edit the title in place. Enter or leaving the box renames the conversation, Escape cancels. */
export function renameIn(place, item, onEnd) {
  const before = [...place.childNodes];
  const box = element("input", { class: "rename", dir: "auto", value: item.title ?? "", "aria-label": "Title", maxlength: "200" });
  let ended = false;
  const end = async (isWanted) => {
    if (ended) return;
    ended = true;
    const title = box.value.trim();
    place.replaceChildren(...before);
    if (isWanted && title && title !== item.title) await change(item, { title }).catch(showError);
    onEnd();
  };
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return; // the Enter key confirms a word of an input method
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  // Deferred until the new focus is known: a moved row is focused again, and so is a window that becomes active.
  box.addEventListener("blur", () => queueMicrotask(() => box.isConnected && document.activeElement !== box && end(true)));
  place.replaceChildren(box);
  box.focus();
  box.select();
}
