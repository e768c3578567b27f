// The list of conversations: in groups, loaded while scrolling, and kept in order after each change.

import { grouping, headingOf } from "./described.js";
import { byId, element, whenNear } from "./dom.js";
import { act } from "./menus.js";
import { draw, setOpen } from "./sections.js";
import { clearSelection } from "./selection.js";
import { find, listen, receivePage } from "./store.js";
import { t } from "./texts.js";
import { VIEWS, compare } from "./views.js";

const PAGE = 40;
const MOST_AT_ONCE = 100;

const list = byId("list");
const sentinel = element("div", { class: "sentinel" });

/** @type {any} */
let view = VIEWS.all;
let shown = []; // in order
let last = null; // the last item of the last loaded page
let cursor = null;
let hasMore = true;
let loading = null; // the page that is being loaded
let failed = false;
let isLoaded = false; // the first page of the view
let folders = null; // the module, once it is loaded

export function startList() {
  byId("empty-trash").addEventListener("click", async () => (await act(({ emptyTrash }) => emptyTrash())) && reload());
  checkAgain = whenNear(sentinel, list, () => hasMore && !failed && loadMore());
  if (list.firstChild) list.append(sentinel); // with the first rows
  else skeleton();
}

/** Show the folders as well, above the groups. */
export function useFolders(module) {
  folders = module;
  folders.startFolders(() => view === VIEWS.all && isLoaded && render());
  if (view === VIEWS.all) folders.loadFolders();
}

let checkAgain = () => {};

// --- content ----------------------------------------------------------------------------------------------------

/** Reload the list down to the visible rows. Rows below them are loaded again when they are scrolled to. */
export async function reload() {
  if (view === VIEWS.all) folders?.loadFolders();
  const [wanted, items, newer] = [Math.max(rowsInView(), PAGE), [], []];
  let page;
  do {
    page = await load({ limit: Math.min(wanted - items.length, MOST_AT_ONCE), after: page?.nextCursor });
    if (!page) return;
    items.push(...page.items);
    newer.push(...page.newer);
  } while (page.hasMore && items.length < wanted);
  setEnd(page);
  show(items, newer);
}

/** Estimate the number of rows above the lower edge of the list. Browsers round heights up, so at most those shown. */
const rowsInView = () =>
  Math.min(Math.ceil((shown.length * (list.scrollTop + list.clientHeight)) / (list.scrollHeight || 1)), shown.length);

async function loadMore() {
  if (loading || !cursor) return;
  const page = await load({ limit: PAGE, after: cursor });
  if (!page) return;
  const given = new Set(page.items.map((item) => item.id));
  setEnd(page);
  show([...shown.filter((item) => !given.has(item.id)), ...page.items], page.newer);
}

/** Load a page. Returns null if it failed, or if another view was requested meanwhile. */
async function load(query) {
  const page = receivePage(view.load(query));
  loading = page;
  failed = false;
  const answer = await page.catch(() => null);
  if (loading !== page) return null; // another view was requested meanwhile
  loading = null;
  if (!answer) {
    failed = true;
    render();
  }
  return answer;
}

/** Continue after this page. */
function setEnd(page) {
  [cursor, hasMore, last] = [page.nextCursor, page.hasMore, page.end ?? null];
}

/** Show these items, and place the conversations that changed while they were loaded. */
function show(items, newer) {
  shown = items.filter(view.has);
  newer.forEach((id) => place(id, find(id)));
  isLoaded = true;
  render();
  checkAgain();
}

/** Show another view, or one of VIEWS by its name. Resolves when it is there. */
export function showView(wanted) {
  view = VIEWS[wanted] ?? wanted;
  clearSelection();
  [shown, cursor, hasMore, last, isLoaded] = [[], null, true, null, false];
  showViewHead();
  skeleton();
  list.scrollTop = 0;
  return reload();
}

/** Mark the open conversation. */
export function setCurrent(id) {
  if (setOpen(id)) render();
}

/** Insert, move or remove a conversation. */
function place(id, item) {
  const without = shown.filter((each) => each.id !== id);
  const isShown = item && view.has(item) && (!hasMore || !last || compare(view, item, last) <= 0);
  if (isShown) {
    without.splice(indexOf(item, without), 0, item);
  }
  shown = without;
}

listen((id, item) => {
  // What is deleted comes without its conversation, and may be here already.
  if (view === VIEWS.trash && !item) return reload();
  place(id, item);
  render();
});

function indexOf(item, items) {
  const index = items.findIndex((each) => compare(view, item, each) < 0);
  return index < 0 ? items.length : index;
}

// --- rendering --------------------------------------------------------------------------------------------------

function render() {
  const sections = new Map();
  const groupOf = view.group ? () => view.group : grouping();
  for (const item of shown) {
    const key = groupOf(item);
    if (!sections.has(key)) sections.set(key, { key, label: headingOf(key), items: [] });
    sections.get(key).items.push(item);
  }
  byId("empty-trash").hidden = view !== VIEWS.trash || !shown.length;
  const above = view === VIEWS.all && folders ? folders.folderSections() : [];
  draw([...above, ...sections.values()], [...(above.length && !shown.length ? [] : ending()), sentinel]);
}

function ending() {
  if (failed) {
    const again = () => ((failed = false), shown.length ? loadMore() : reload());
    return [element("p", { class: "list-note" }, t("Couldn’t load more."), " ", element("button", { type: "button", class: "link-button", onclick: again }, t("Try again")))];
  }
  return shown.length || hasMore ? [] : [element("p", { class: "list-note" }, view.none)];
}

function skeleton() {
  const bones = Array.from({ length: 8 }, () => element("div", { class: "bone", "aria-hidden": "true" }));
  list.replaceChildren(...bones, sentinel);
}

// --- the head of a view -----------------------------------------------------------------------------------------

function showViewHead() {
  byId("view-head").hidden = view === VIEWS.all;
  byId("view-name").textContent = view.name ?? "";
  byId("empty-trash").hidden = true;
  for (const name of ["archived", "trash"]) byId(`show-${name}`)?.setAttribute("aria-pressed", String(view === VIEWS[name]));
}
