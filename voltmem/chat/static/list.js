// The list of conversations: grouped as by the server, loaded while scrolling, and kept in order after each change.

import * as api from "./api.js";
import { arrange, byId, element, whenNear } from "./dom.js";
import { Row } from "./row.js";
import { find, listen, receivePage } from "./store.js";

const PAGE = 40;
const MOST_AT_ONCE = 100;

const list = byId("list");
const sentinel = element("div", { class: "sentinel" });
const rows = new Map();
const groups = new Map();

let shown = []; // in order
let last = null; // the last item of the last loaded page
let cursor = null;
let hasMore = true;
let archived = false;
let current = null;
let tabStop = null;
let loading = null; // the page that is being loaded
let failed = false;

export function startList() {
  checkAgain = whenNear(sentinel, list, () => hasMore && !failed && loadMore());
  skeleton();
}

let checkAgain = () => {};

// --- content ----------------------------------------------------------------------------------------------------

/** Reload the list down to the visible rows. Rows below them are loaded again when they are scrolled to. */
export async function reload() {
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
  const page = receivePage(api.conversations({ ...query, archived }));
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
  shown = items;
  newer.forEach((id) => place(id, find(id)));
  render();
  checkAgain();
}

export function showArchived(isWanted) {
  archived = isWanted;
  [shown, cursor, hasMore, last] = [[], null, true, null];
  skeleton();
  list.scrollTop = 0;
  reload();
}

/** Mark the open conversation. */
export function setCurrent(id) {
  if (id === current) return;
  current = tabStop = id;
  render();
}

/** Insert, move or remove a conversation. */
function place(id, item) {
  const without = shown.filter((each) => each.id !== id);
  const isShown = item && item.archived === archived && !item.deletedAt && (!hasMore || !last || compare(item, last) <= 0);
  if (isShown) {
    const index = indexOf(item, without);
    without.splice(index, 0, withGroup(item, without[index - 1], without[index]));
  }
  shown = without;
}

listen((id, item) => {
  place(id, item);
  render();
});

/**
 * Add the group to a conversation. The server groups the items of a page by day in the user's time zone, but events
 * have no group. Use the group of an item of the same day, or of the neighbours; if the neighbours differ, reload.
 */
function withGroup(item, above, below) {
  if (item.pinned) return { ...item, group: { key: "pinned", label: "Pinned" } };
  const day = dayOf(item);
  if (day === dayOf({ updatedAt: Date.now() })) return { ...item, group: { key: "today", label: "Today" } };
  const same = shown.find((each) => !each.pinned && dayOf(each) === day);
  if (!same && above?.group.key !== below?.group.key) reload();
  return { ...item, group: (same ?? below ?? above ?? { group: { key: day, label: day } }).group };
}

const DAY = new Intl.DateTimeFormat();
const dayOf = ({ updatedAt }) => DAY.format(new Date(updatedAt));

function indexOf(item, items) {
  const index = items.findIndex((each) => compare(item, each) < 0);
  return index < 0 ? items.length : index;
}

/** Compare two items in the order of the list: pinned first, then by last activity, newest first. */
function compare(one, other) {
  const key = ({ pinned, updatedAt, id }) => [Number(pinned), Date.parse(updatedAt), updatedAt, id];
  const [mine, others] = [key(one), key(other)];
  const place = mine.findIndex((value, index) => value !== others[index]);
  return place < 0 ? 0 : mine[place] > others[place] ? -1 : 1;
}

// --- rendering --------------------------------------------------------------------------------------------------

function render() {
  const [focused, neighbour] = [document.activeElement, neighbourOfFocus()];
  const order = new Map();
  for (const item of shown) {
    const { key, label } = item.group;
    if (!order.has(key)) order.set(key, { label, items: [] });
    order.get(key).items.push(item);
  }
  const stop = rows.has(tabStop) && shown.some((item) => item.id === tabStop) ? tabStop : shown[0]?.id;
  const sections = [...order].map(([key, { label, items }]) => {
    const { section, heading, items: parent } = group(key);
    heading.textContent = label;
    arrange(parent, items.map((item) => row(item, stop)));
    return section;
  });
  arrange(list, [...sections, ...ending(), sentinel]);
  const present = new Set(shown.map((item) => item.id));
  for (const id of rows.keys()) if (!present.has(id)) rows.delete(id);
  if (neighbour && !list.contains(document.activeElement)) {
    const moved = list.contains(focused) ? focused : null; // it moved with its row and lost the focus
    (moved ?? rows.get(neighbour)?.link ?? byId("new-chat")).focus();
  }
}

function group(key) {
  if (!groups.has(key)) {
    const heading = element("h2", { class: "group-name", id: `group-${key}` });
    const items = element("ul", { class: "rows", "aria-labelledby": `group-${key}` });
    groups.set(key, { heading, items, section: element("section", { class: "group" }, heading, items) });
  }
  return groups.get(key);
}

function row(item, stop) {
  if (!rows.has(item.id)) rows.set(item.id, new Row(item.id));
  const made = rows.get(item.id);
  made.show(item, item.id === current);
  made.setTabStop(item.id === stop);
  return made.element;
}

function ending() {
  if (failed) {
    const again = () => ((failed = false), shown.length ? loadMore() : reload());
    return [element("p", { class: "list-note" }, "Couldn’t load more. ", element("button", { type: "button", class: "link-button", onclick: again }, "Try again"))];
  }
  if (shown.length || hasMore) return [];
  return [element("p", { class: "list-note" }, archived ? "No archived conversations." : "No conversations yet.")];
}

function skeleton() {
  const bones = Array.from({ length: 8 }, () => element("div", { class: "bone", "aria-hidden": "true" }));
  list.replaceChildren(...bones, sentinel);
}

// --- the keyboard -----------------------------------------------------------------------------------------------

/** Return the id of the row to focus after rendering: the focused row, or the nearest one if it is removed. */
function neighbourOfFocus() {
  const focused = document.activeElement?.closest?.(".row");
  if (!focused || !list.contains(focused)) return null;
  if (shown.some((item) => item.id === focused.dataset.id)) return focused.dataset.id;
  const order = [...list.querySelectorAll(".row")];
  const place = order.indexOf(focused);
  const present = new Set(shown.map((item) => item.id));
  const nearest = [...order.slice(place + 1), ...order.slice(0, place).reverse()].find((each) => present.has(each.dataset.id));
  return nearest?.dataset.id ?? "none";
}

list.addEventListener("focusin", (event) => {
  const focused = event.target.closest(".row");
  if (!focused || focused.dataset.id === tabStop) return;
  tabStop = focused.dataset.id;
  for (const [id, each] of rows) each.setTabStop(id === tabStop);
});

list.addEventListener("keydown", (event) => {
  const focused = event.target.closest(".row");
  if (!focused || event.ctrlKey || event.metaKey || event.altKey) return;
  const links = [...list.querySelectorAll(".row-link:not([hidden])")];
  const mine = rows.get(focused.dataset.id);
  const place = links.indexOf(mine.link);
  const action = {
    ArrowDown: () => links[place + 1]?.focus(),
    ArrowUp: () => links[place - 1]?.focus(),
    Home: () => links[0].focus(),
    End: () => links.at(-1).focus(),
    ArrowRight: () => mine.button.focus(),
    ArrowLeft: () => mine.link.focus(),
    F2: () => mine.rename(),
    Delete: () => mine.remove(),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  if (event.repeat && !event.key.startsWith("Arrow")) return; // a held key repeats only arrow keys
  action();
});

/** Focus the first row. */
export const focusList = () => list.querySelector(".row-link")?.focus();
