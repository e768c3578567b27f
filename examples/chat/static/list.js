// The list of conversations: grouped as the server groups them, loaded as it is scrolled, in order whatever happens.

import * as api from "./api.js";
import { arrange, byId, element, whenNear } from "./dom.js";
import { Row } from "./row.js";
import { find, learnPage, listen } from "./store.js";

const PAGE = 40;
const MOST_AT_ONCE = 100;

const list = byId("list");
const sentinel = element("div", { class: "sentinel" });
const rows = new Map();
const groups = new Map();

let shown = []; // in order
let last = null; // of the last page: what comes after it is not known yet
let cursor = null;
let hasMore = true;
let archived = false;
let current = null;
let tabStop = null;
let loading = null; // the page that is on its way
let failed = false;

export function startList() {
  lookAgain = whenNear(sentinel, list, () => hasMore && !failed && loadMore());
  skeleton();
}

let lookAgain = () => {};

// --- what is in it ----------------------------------------------------------------------------------------------

/** Load the list anew to where one has scrolled; what was loaded beyond that is loaded again when it is scrolled to. */
export async function reload() {
  const [wanted, items, newer] = [Math.max(seen(), PAGE), [], []];
  let page;
  do {
    page = await load({ limit: Math.min(wanted - items.length, MOST_AT_ONCE), after: page?.nextCursor });
    if (!page) return;
    items.push(...page.items);
    newer.push(...page.newer);
  } while (page.hasMore && items.length < wanted);
  endsWith(page);
  show(items, newer);
}

/** How many of the rows end above the lower edge of the list, about. */
const seen = () => Math.ceil((shown.length * (list.scrollTop + list.clientHeight)) / (list.scrollHeight || 1));

async function loadMore() {
  if (loading || !cursor) return;
  const page = await load({ limit: PAGE, after: cursor });
  if (!page) return;
  const given = new Set(page.items.map((item) => item.id));
  endsWith(page);
  show([...shown.filter((item) => !given.has(item.id)), ...page.items], page.newer);
}

/** Return a page; nothing where it could not be had, or is not wanted any more. */
async function load(query) {
  const page = learnPage(api.conversations({ ...query, archived }));
  loading = page;
  failed = false;
  const answer = await page.catch(() => null);
  if (loading !== page) return null; // another view was asked for meanwhile
  loading = null;
  if (!answer) {
    failed = true;
    render();
  }
  return answer;
}

/** What follows this page comes next. */
function endsWith(page) {
  [cursor, hasMore, last] = [page.nextCursor, page.hasMore, page.end ?? null];
}

/** Show these, and those of which something was learnt while they were on their way. */
function show(items, newer) {
  shown = items;
  newer.forEach((id) => place(id, find(id)));
  render();
  lookAgain();
}

export function showArchived(isWanted) {
  archived = isWanted;
  [shown, cursor, hasMore, last] = [[], null, true, null];
  skeleton();
  list.scrollTop = 0;
  reload();
}

/** Which conversation is open. */
export function setCurrent(id) {
  if (id === current) return;
  current = tabStop = id;
  render();
}

/** Put a conversation where it belongs, if it does. */
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
 * The server groups what it lists, by the days of who looks. What an event tells of belongs where others of its day
 * are, or with those around it; where these disagree, the server is asked.
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

/** The order of the list: the pinned first, then by activity, the last first. */
function compare(one, other) {
  const key = ({ pinned, updatedAt, id }) => [Number(pinned), Date.parse(updatedAt), updatedAt, id];
  const [mine, others] = [key(one), key(other)];
  const place = mine.findIndex((value, index) => value !== others[index]);
  return place < 0 ? 0 : mine[place] > others[place] ? -1 : 1;
}

// --- how it looks -----------------------------------------------------------------------------------------------

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
  const there = new Set(shown.map((item) => item.id));
  for (const id of rows.keys()) if (!there.has(id)) rows.delete(id);
  if (neighbour && !list.contains(document.activeElement)) {
    const moved = list.contains(focused) ? focused : null; // with its row, which takes the focus from it
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
  return [element("p", { class: "list-note" }, archived ? "Nothing is archived." : "No conversations yet.")];
}

function skeleton() {
  const bones = Array.from({ length: 8 }, () => element("div", { class: "bone", "aria-hidden": "true" }));
  list.replaceChildren(...bones, sentinel);
}

// --- the keyboard -----------------------------------------------------------------------------------------------

/** When the row that has the focus goes, the next one gets it. */
function neighbourOfFocus() {
  const focused = document.activeElement?.closest?.(".row");
  if (!focused || !list.contains(focused)) return null;
  if (shown.some((item) => item.id === focused.dataset.id)) return focused.dataset.id;
  const order = [...list.querySelectorAll(".row")];
  const place = order.indexOf(focused);
  const there = new Set(shown.map((item) => item.id));
  const nearest = [...order.slice(place + 1), ...order.slice(0, place).reverse()].find((each) => there.has(each.dataset.id));
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
  const does = {
    ArrowDown: () => links[place + 1]?.focus(),
    ArrowUp: () => links[place - 1]?.focus(),
    Home: () => links[0].focus(),
    End: () => links.at(-1).focus(),
    ArrowRight: () => mine.button.focus(),
    ArrowLeft: () => mine.link.focus(),
    F2: () => mine.rename(),
    Delete: () => mine.remove(),
  }[event.key];
  if (!does) return;
  event.preventDefault();
  if (event.repeat && !event.key.startsWith("Arrow")) return; // a key that is held walks, and does nothing else again
  does();
});

/** Focus the first row, from the search box say. */
export const focusList = () => list.querySelector(".row-link")?.focus();
