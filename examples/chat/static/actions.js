// What a person does to a conversation: the same from its row and from its own head.

import * as api from "./api.js";
import { element } from "./dom.js";
import { learn, removed, titleOf } from "./store.js";
import { tell, toast } from "./toast.js";

let navigate;

export function startActions(options) {
  ({ navigate } = options);
}

/** The entries of the menu of a conversation; rename is called to name it where it stands. */
export const actionsFor = (item, rename) => [
  { name: "Rename", icon: "rename", onSelect: rename },
  { name: item.pinned ? "Unpin" : "Pin", icon: item.pinned ? "unpin" : "pin", onSelect: () => pin(item) },
  { name: item.archived ? "Unarchive" : "Archive", icon: item.archived ? "unarchive" : "archive", onSelect: () => archive(item) },
  { name: "Delete", icon: "delete", onSelect: () => remove(item), isDangerous: true },
];

const change = (item, changes) => learn(api.change(item.id, changes));

const pin = (item) => change(item, { pinned: !item.pinned }).catch(tell);

async function archive(item) {
  try {
    await change(item, { archived: !item.archived });
    const undo = () => change(item, { archived: item.archived }).catch(tell);
    toast(`${item.archived ? "Unarchived" : "Archived"} “${titleOf(item)}”`, { action: "Undo", onAction: undo });
  } catch (error) {
    tell(error);
  }
}

export async function remove(item) {
  const path = `/c/${encodeURIComponent(item.id)}`;
  try {
    await api.remove(item.id);
    const wasOpen = location.pathname === path;
    removed(item.id);
    toast(`Deleted “${titleOf(item)}”`, { action: "Undo", onAction: () => restore(item, wasOpen ? path : null) });
  } catch (error) {
    tell(error);
  }
}

/** Undo the deletion; what was open opens again, if nothing else was opened meanwhile. */
async function restore(item, path) {
  try {
    await learn(api.restore(item.id));
    if (path && location.pathname === "/") navigate(path);
  } catch (error) {
    tell(error);
  }
}

/** Put a box where the title stands: Enter or leaving it renames, Escape does not. */
export function renameIn(place, item, onEnd) {
  const before = [...place.childNodes];
  const box = element("input", { class: "rename", dir: "auto", value: item.title ?? "", "aria-label": "Title", maxlength: "200" });
  let ended = false;
  const end = async (isWanted) => {
    if (ended) return;
    ended = true;
    const title = box.value.trim();
    place.replaceChildren(...before);
    if (isWanted && title && title !== item.title) await change(item, { title }).catch(tell);
    onEnd();
  };
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return; // an Enter that ends a word, not the title
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  // Once it is clear where the focus went: a row that moves takes it along, and another window gives it back.
  box.addEventListener("blur", () => queueMicrotask(() => box.isConnected && document.activeElement !== box && end(true)));
  place.replaceChildren(box);
  box.focus();
  box.select();
}
