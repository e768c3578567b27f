// The folders: which there are, what is in them, and which are open. A folder is a tag that begins with "folder:".

import * as api from "./api.js";
import { element, icon } from "./dom.js";
import { FolderHead } from "./folder.js";
import { folderOf, tagOf } from "./foldertags.js";
import { kept, keep } from "./kept.js";
import { find, listen, receivePage } from "./store.js";
import { locale, t } from "./texts.js";
import { later, showBackgroundError } from "./toast.js";
import { VIEWS, compare } from "./views.js";

const PAGE = 30;
const PAUSE = 300; // milliseconds after a change, before the numbers are loaded again

const VIEW = { ...VIEWS.all, has: (item) => !item.archived && !item.deletedAt };
const folders = new Map(); // by name: {head, count, items, cursor, hasMore, isLoaded}
const places = new Map(); // by the id of a conversation: the folder it was last seen in, or null
const heading = element(
  "div",
  { class: "group-name folders-head" },
  element("h2", {}, t("Folders")),
  element("button", { type: "button", class: "icon-button", "aria-label": t("New folder"), title: t("New folder"), onclick: make }, icon("plus")),
);

let redraw = () => {};
let timer = null;

/** Load the folders, and call back after each change of what is shown. */
export function startFolders(onChange) {
  redraw = onChange;
}

/** The sections of the folders: none if there are no folders. */
export function folderSections() {
  if (!folders.size) return [];
  const names = [...folders.keys()].sort(new Intl.Collator(locale, { numeric: true }).compare);
  return [{ key: "folders", label: t("Folders"), items: [], head: { element: heading } }, ...names.map(section)];
}

function section(name) {
  const { head, count, items, hasMore, isLoaded } = folders.get(name);
  const isShown = head.isOpen && isLoaded;
  head.show(isShown && !hasMore ? items.length : count); // which counts all with the tag, also those in other folders
  const more = hasMore
    ? element("button", { type: "button", class: "link-button folder-more", onclick: () => load(name) }, t("Show more"))
    : element("p", { class: "folder-note" }, t("Empty. Drag conversations here, or move them by their menus."));
  return { key: tagOf(name), label: name, head, items: isShown ? items : [], more: isShown && (hasMore || !items.length) ? more : null };
}

export const folderNames = () => [...folders.keys()];

// --- which there are --------------------------------------------------------------------------------------------

/** Load the names and the numbers, and what is in the open folders. */
export async function loadFolders() {
  clearTimeout(timer);
  try {
    const { items } = await api.tags();
    const counts = new Map(items.map(({ tag, listed }) => [folderOf({ tags: [tag] }), listed]).filter(([name]) => name !== null));
    for (const name of kept("emptyFolders", [])) if (!counts.has(name)) counts.set(name, 0);
    for (const name of folders.keys()) if (!counts.has(name)) folders.delete(name);
    for (const [name, count] of counts) folderAt(name).count = count;
    await Promise.all([...folders].filter(([, { head }]) => head.isOpen).map(([name]) => load(name, true)));
  } catch (error) {
    showBackgroundError(error);
  }
  redraw();
}

function folderAt(name) {
  if (!folders.has(name)) {
    const isOpen = kept("openFolders", []).includes(name);
    folders.set(name, { head: new FolderHead(name, isOpen, setOpen), count: 0, items: [], cursor: null, hasMore: false, isLoaded: false });
  }
  return folders.get(name);
}

/** Open or close a folder. */
function setOpen(name, isWanted) {
  const others = kept("openFolders", []).filter((each) => each !== name);
  keep("openFolders", isWanted ? [...others, name] : others);
  folderAt(name).head.isOpen = isWanted;
  if (isWanted) load(name, true);
  redraw();
}

/** Ask for a name, and make an empty folder. Other devices see it when something is in it. */
export function make() {
  return later(import("./dialog.js"), async ({ asked }) => {
    const name = await asked(t("New folder"), t("Name"), t("Create"));
    if (!name) return null;
    keep("emptyFolders", [...new Set([...kept("emptyFolders", []), name])]);
    folderAt(name);
    redraw();
    return name;
  });
}

/** Forget that a folder was made here, and whether it is open; or that it has another name now. */
export function forget(name, newName = null) {
  for (const key of ["openFolders", "emptyFolders"]) {
    const names = kept(key, []);
    if (names.includes(name)) keep(key, [...names.filter((each) => each !== name), ...(newName ? [newName] : [])]);
  }
  folders.delete(name);
}

// --- what is in them --------------------------------------------------------------------------------------------

async function load(name, isNew = false) {
  const folder = folderAt(name);
  try {
    const query = { tag: tagOf(name), limit: PAGE, after: isNew ? null : folder.cursor };
    const page = await receivePage(VIEW.load(query));
    const before = isNew ? [] : folder.items;
    const given = new Set(page.items.map(({ id }) => id));
    Object.assign(folder, { cursor: page.nextCursor, hasMore: page.hasMore, isLoaded: true });
    const inside = page.items.filter((item) => folderOf(item) === name); // the tag may be a second one
    folder.items = [...before.filter(({ id }) => !given.has(id)), ...inside];
    inside.forEach(({ id }) => places.set(id, name));
    page.newer.forEach((id) => place(id, find(id)));
  } catch (error) {
    showBackgroundError(error);
  }
  redraw();
}

/** Put a conversation into its folder, and take it out of the others. */
function place(id, item) {
  const name = item && VIEW.has(item) ? folderOf(item) : null;
  for (const [each, folder] of folders) {
    const without = folder.items.filter((other) => other.id !== id);
    const last = folder.items.at(-1);
    if (each === name && folder.isLoaded && (!folder.hasMore || !last || compare(VIEW, item, last) <= 0)) {
      const index = without.findIndex((other) => compare(VIEW, item, other) < 0);
      without.splice(index < 0 ? without.length : index, 0, item);
    }
    folder.items = without;
  }
  return name;
}

listen((id, item) => {
  const name = place(id, item);
  if (name !== null) redraw();
  if ((places.get(id) ?? null) === name) return;
  places.set(id, name);
  clearTimeout(timer);
  timer = setTimeout(loadFolders, PAUSE); // it was moved, or is seen there for the first time
});
