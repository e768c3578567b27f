// Moving conversations between folders, and renaming and removing folders: changes of tags, each with one way back.

import * as api from "./api.js";
import { asked } from "./dialog.js";
import { folderOf, tagOf } from "./foldertags.js";
import { folderNames, forget, loadFolders, make } from "./folders.js";
import { reload } from "./list.js";
import { openMenu } from "./menu.js";
import { changed, find, titleOf } from "./store.js";
import { locale, many, t } from "./texts.js";
import { later, showError, toast } from "./toast.js";

/** Let the user choose a folder for these conversations, in a menu at a button. onMove is called when they move. */
export function chooseFolder(button, items, onMove) {
  const here = items.every((item) => folderOf(item) === folderOf(items[0])) ? folderOf(items[0]) : null;
  const names = folderNames().sort(new Intl.Collator(locale, { numeric: true }).compare);
  const go = (name) => (onMove(), move(items, name));
  const makeAndGo = () => later(make(), (name) => name && go(name));
  openMenu(button, [
    ...names.filter((name) => name !== here).map((name) => ({ name, icon: "folder", onSelect: () => go(name) })),
    { name: t("New folder …"), icon: "plus", onSelect: makeAndGo, isFirst: names.length > (here ? 1 : 0) },
    ...(items.some((item) => folderOf(item)) ? [{ name: here ? t("Out of “{folder}”", { folder: here }) : t("Out of their folders"), icon: "back", onSelect: () => go(null) }] : []),
  ]);
}

/** Move conversations into a folder; out of theirs, if name is null. */
export async function move(items, name) {
  const from = new Map(items.map((item) => [item.id, folderOf(item)]));
  const moved = items.filter((item) => folderOf(item) !== name);
  if (!moved.length) return;
  try {
    await retag(moved, () => name);
  } catch (error) {
    return showError(error);
  }
  const undo = () => retag(moved.map(({ id }) => find(id)).filter(Boolean), ({ id }) => from.get(id)).catch(showError);
  toast(movedText(moved, name), { action: t("Undo"), onAction: undo });
}

function movedText(moved, folder) {
  const [count, title] = [moved.length, titleOf(moved[0])];
  if (count === 1) return folder === null ? t("Moved “{title}” out of its folder", { title }) : t("Moved “{title}” to “{folder}”", { title, folder });
  return folder === null
    ? many(count, "Moved one conversation out of its folder", "Moved {count} conversations out of their folders")
    : movedTo(count, folder);
}

const movedTo = (count, folder) => many(count, "Moved one conversation to “{folder}”", "Moved {count} conversations to “{folder}”", { folder });

/** Put each conversation into the folder that target(item) returns, with a request for each pair of folders. */
async function retag(items, target) {
  const groups = Map.groupBy?.(items, pair) ?? groupedBy(items, pair);
  function pair(item) {
    return JSON.stringify([folderOf(item), target(item)]);
  }
  for (const [key, each] of groups) {
    const [tag, by] = JSON.parse(key).map((name) => (name === null ? undefined : tagOf(name)));
    await api.replaceTag({ tag, by, conversationIds: each.map(({ id }) => id) });
    for (const item of each) changed({ ...item, tags: [...item.tags.filter((old) => old !== tag), ...(by ? [by] : [])] });
  }
}

function groupedBy(items, key) {
  const groups = new Map();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

// --- folders ----------------------------------------------------------------------------------------------------

export async function renameFolder(name) {
  const newName = await asked(t("Rename “{title}”", { title: name }), t("Name"), t("Rename"), name);
  if (!newName || newName === name) return;
  const isThere = folderNames().includes(newName); // what was in either is in it then
  const { conversationIds } = await api.replaceTag({ tag: tagOf(name), by: tagOf(newName) });
  forget(name, newName);
  if (isThere && conversationIds.length) {
    toast(movedTo(conversationIds.length, newName), { action: t("Undo"), onAction: () => replaced({ tag: tagOf(newName), by: tagOf(name), conversationIds }) });
  }
  await Promise.all([loadFolders(), reload()]);
}

/** Replace a tag, for Undo, and show the folders. */
async function replaced(change) {
  await api.replaceTag(change).catch(showError);
  await Promise.all([loadFolders(), reload()]);
}

/** Remove a folder. What was in it stays, and is listed by its date again. */
export async function removeFolder(name) {
  const { conversationIds } = await api.replaceTag({ tag: tagOf(name) });
  forget(name);
  const undo = () => conversationIds.length && replaced({ by: tagOf(name), conversationIds });
  toast(t("Removed the folder “{name}”", { name }), { action: t("Undo"), onAction: undo });
  await Promise.all([loadFolders(), reload()]);
}
