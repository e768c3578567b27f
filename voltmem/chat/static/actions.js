// The actions on a conversation, for the menus of its row and of its head.

import { addressOf, base, go } from "./addresses.js";
import * as api from "./api.js";
import { element, focusedElement } from "./dom.js";
import { has, offered } from "./features.js";
import { toggle } from "./selection.js";
import { receive, removed, titleOf } from "./store.js";
import { t } from "./texts.js";
import { later, showError, toast } from "./toast.js";

/** Return the entries of a conversation's menu at a place. rename is called to edit the title in place. */
export const actionsFor = (item, rename, place) => offered(item.deletedAt ? actionsInTrash(item) : actionsInList(item, rename, place));

const actionsInList = (item, rename, place) => [
  { name: t("Rename"), icon: "rename", onSelect: rename },
  { name: item.pinned ? t("Unpin") : t("Pin"), icon: item.pinned ? "unpin" : "pin", onSelect: () => pin(item) },
  { name: t("Move to a folder …"), icon: "folder", onSelect: () => chooseFolder(place, [item]), feature: "folders" },
  { name: t("Select"), icon: "select", onSelect: () => toggle(item.id) },
  { name: t("Open in a new tab"), icon: "open", onSelect: () => open(addressOf(item.id), "_blank") },
  { name: t("Share …"), icon: "share", onSelect: () => later(import("./share.js"), ({ openShare }) => openShare(item)), isFirst: true, feature: "sharing" },
  { name: t("Export as Markdown"), icon: "download", onSelect: () => download(item, "md"), isFirst: !has("sharing"), feature: "export" },
  { name: t("Export as JSON"), icon: "code", onSelect: () => download(item, "json"), feature: "export" },
  { name: t("Print …"), icon: "print", onSelect: () => printed(item), feature: "export" },
  { name: item.archived ? t("Unarchive") : t("Archive"), icon: item.archived ? "unarchive" : "archive", onSelect: () => archive(item), isFirst: true, feature: "archive" },
  { name: t("Delete"), icon: "delete", onSelect: () => remove(item), isDangerous: true, isFirst: !has("archive"), feature: "deletion" },
];

const actionsInTrash = (item) => [
  { name: t("Restore"), icon: "undo", onSelect: () => restore(item) },
  { name: t("Select"), icon: "select", onSelect: () => toggle(item.id) },
  { name: t("Delete for good …"), icon: "delete", onSelect: () => purge(item), isDangerous: true },
];

/** Let the user choose a folder for conversations, in a menu at a place. */
export const chooseFolder = (place, items, onMove = () => {}) =>
  later(import("./retag.js"), (retag) => retag.chooseFolder(place, items, onMove));

const download = (item, format) => later(import("./export.js"), (exporting) => exporting.download(item, format));

/** Print a conversation: all of it, and not only what the page has loaded. */
export const printed = (item) => later(import("./print.js"), ({ print }) => print(item));

const change = (item, changes) => receive(api.change(item.id, changes));

const pin = (item) => change(item, { pinned: !item.pinned }).catch(showError);

async function archive(item) {
  try {
    await change(item, { archived: !item.archived });
    const undo = () => change(item, { archived: item.archived }).catch(showError);
    const title = titleOf(item);
    toast(item.archived ? t("Unarchived “{title}”", { title }) : t("Archived “{title}”", { title }), { action: t("Undo"), onAction: undo });
  } catch (error) {
    showError(error);
  }
}

/** Delete a conversation; for good, if it is in the trash. */
export async function remove(item) {
  if (item.deletedAt) return purge(item);
  if (!has("deletion")) return;
  const path = addressOf(item.id);
  const wasOpen = location.pathname === path; // now: the event of the deletion may close it before the answer is here
  try {
    await api.remove(item.id);
    removed(item.id);
    toast(t("Deleted “{title}”", { title: titleOf(item) }), { action: t("Undo"), onAction: () => restore(item, wasOpen ? path : null) });
  } catch (error) {
    showError(error);
  }
}

const purge = (item) =>
  later(import("./dialog.js"), async ({ confirmed }) => {
    const text = t("“{title}” and all of its messages will be gone. This can’t be undone.", { title: titleOf(item) });
    if (!(await confirmed(t("Delete for good?"), text, t("Delete for good")))) return;
    await api.purge(item.id);
    removed(item.id);
  });

/** Delete everything in the trash for good, after a confirmation. Resolves to whether it was done. */
export const emptyTrash = () =>
  later(import("./dialog.js"), async ({ confirmed }) => {
    const text = t("All conversations in it, and all of their messages, will be gone. This can’t be undone.");
    if (!(await confirmed(t("Empty the trash?"), text, t("Empty the trash")))) return false;
    await api.purgeAll();
    return true;
  });

/** Undo the deletion. Opens the conversation again if it was open and no other was opened meanwhile. */
async function restore(item, path) {
  try {
    await receive(api.restore(item.id));
    reopen(path);
  } catch (error) {
    showError(error);
  }
}

/** Open the conversation that was open before, unless another one was opened meanwhile. */
export function reopen(path) {
  if (path && location.pathname === base) go(path);
}

/** Edit the title in place. Enter or leaving the box renames the conversation, Escape cancels. */
export function renameIn(place, item, onEnd) {
  const before = [...place.childNodes];
  const box = element("input", { class: "rename", dir: "auto", value: item.title ?? "", "aria-label": t("Title"), maxlength: "200" });
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
  box.addEventListener("blur", () => queueMicrotask(() => box.isConnected && focusedElement() !== box && end(true)));
  place.replaceChildren(box);
  box.focus();
  box.select();
}
