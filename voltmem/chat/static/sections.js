// The sections of the list with their rows: drawn without moving what stays, with one tab stop for all of them. Only the
// rows near the visible part are on the page, and the one that the Tab key reaches.

import { arrange, byId, element, focusedElement } from "./dom.js";
import { Row } from "./row.js";
import * as selection from "./selection.js";
import { later } from "./toast.js";

const MARGIN = 400; // pixels above and below the visible part

const list = byId("list");
const rows = new Map(); // those on the page, and the heads of folders, which are reached with the arrow keys as well
const sections = new Map();

let drawn = []; // the sections on the page
let height = 52; // of a row, in pixels: all are as high
let order = []; // the ids of the rows
let current = null;
let tabStop = null;

/**
 * Draw the sections: {key, label, items}, and of a folder {head, more}: its own head, and an element below its rows.
 * Others are elements below all. What has the focus keeps it as it moves.
 */
export function draw(wanted, others) {
  const ids = wanted.flatMap(({ head, items }) => [...(head?.id ? [head.id] : []), ...items.map(({ id }) => id)]);
  const present = new Set(ids);
  const [focused, neighbour, before] = [focusedElement(), neighbourOfFocus(present), visible()];
  if (!present.has(tabStop)) tabStop = present.has(neighbour) ? neighbour : present.has(current) ? current : ids[0];
  order = ids;
  drawn = wanted.map(drawnSection);
  arrange(list, [...drawn.map(({ made }) => made), ...others]);
  stay(before);
  fill();
  selection.keepSelected(present);
  if (neighbour && !list.contains(focusedElement())) {
    const moved = list.contains(focused) ? focused : null; // it moved with its row and lost the focus
    (moved ?? rows.get(neighbour)?.link ?? byId("new-chat")).focus();
  }
}

function drawnSection({ key, label, items, head, more }) {
  if (!sections.has(key)) {
    const id = `group-${key}`;
    const heading = head?.element ?? element("h2", { class: "group-name", id });
    const parent = element("ul", { class: "rows", ...(head ? { "aria-label": label } : { "aria-labelledby": id }) });
    const made = element("section", { class: head?.id ? "group folder" : "group", "data-key": key }, heading, parent);
    sections.set(key, { heading, parent, made });
  }
  const section = sections.get(key);
  const { heading, parent, made } = section;
  if (head?.id) stop(head.id, head);
  else if (!head) heading.textContent = label;
  parent.hidden = !items.length;
  parent.style.minHeight = `${items.length * height}px`;
  arrange(made, [head?.element ?? heading, parent, ...(more ? [more] : [])]);
  return Object.assign(section, { items });
}

/** Put the rows on the page that are near the visible part. */
function fill(isAgain = false) {
  const focused = idAt(focusedElement());
  const [from, to] = [list.scrollTop - MARGIN, list.scrollTop + list.clientHeight + MARGIN];
  const tops = drawn.map(({ parent }) => parent.offsetTop);
  const there = new Set(drawn.flatMap(({ items, parent }, number) => {
    const at = (place) => Math.min(Math.max(place, 0), items.length);
    const [first, last] = [at(Math.floor((from - tops[number]) / height)), at(Math.ceil((to - tops[number]) / height))];
    const kept = items.flatMap(({ id }, place) => ((id === tabStop || id === focused) && (place < first || place >= last) ? [place] : []));
    const places = [...kept, ...Array.from({ length: last - first }, (_, place) => first + place)].sort((one, other) => one - other);
    arrange(parent, places.map((place, number) => row(items[place], place, items.length, place - (places[number - 1] ?? -1) - 1)));
    return places.map((place) => items[place].id);
  }));
  for (const [id, made] of rows) if (made.isRow ? !there.has(id) : !order.includes(id)) rows.delete(id);
  const usual = [...rows.values()].find(({ link, isRow }) => isRow && !link.hidden); // and not one that is renamed
  const now = usual?.element.getBoundingClientRect().height;
  if (!now || now === height || isAgain) return;
  height = now; // the text is larger than usual
  for (const { items, parent } of drawn) parent.style.minHeight = `${items.length * height}px`;
  fill(true);
}

list.addEventListener("scroll", () => requestAnimationFrame(() => fill()), { passive: true });
new ResizeObserver(() => fill()).observe(list);

/** Let the Tab key reach a row, which stays on the page then, wherever the list is scrolled to. */
export function keepRow(id) {
  tabStop = id;
  for (const [each, made] of rows) made.setTabStop(each === tabStop);
  fill();
}

/** Return where the visible rows are. */
function visible() {
  const found = new Map();
  for (const { items, parent } of drawn) {
    const top = parent.offsetTop;
    const first = Math.max(Math.floor((list.scrollTop - top) / height), 0);
    items.slice(first, first + Math.ceil(list.clientHeight / height)).forEach(({ id }, place) => found.set(id, top + (first + place) * height));
  }
  return found;
}

/** Scroll so that the rows that were visible stay where they were, when others come or go above them. */
function stay(before) {
  if (!list.scrollTop) return;
  const moves = drawn.flatMap(({ items, parent }) => {
    const top = parent.offsetTop;
    return items.flatMap(({ id }, place) => (before.has(id) ? [top + place * height - before.get(id)] : []));
  });
  const most = moves.sort((one, other) => one - other)[moves.length >> 1]; // some may have moved by themselves
  if (most) list.scrollTop += most;
}

/** Return a row at its place among so many, with room for those before it that are not on the page. */
function row(item, place, count, missing) {
  const made = rows.get(item.id) ?? new Row(item.id);
  made.show(item, item.id === current);
  made.put(place, count, missing * height);
  made.mark(selection.isSelecting(), selection.isSelected(item.id));
  stop(item.id, made);
  return made.element;
}

function stop(id, made) {
  rows.set(id, made);
  made.setTabStop(id === tabStop);
}

/** Set the open conversation. Returns whether it is another one, which the next draw() marks. */
export function setOpen(id) {
  if (id === current) return false;
  current = tabStop = id;
  return true;
}

/** Return the id of the row to focus after drawing: the focused row, or the nearest one if it is removed. */
function neighbourOfFocus(present) {
  const id = idAt(focusedElement());
  if (!id || present.has(id)) return id ?? null;
  const place = order.indexOf(id);
  return [...order.slice(place + 1), ...order.slice(0, place).reverse()].find((each) => present.has(each)) ?? "none";
}

const idAt = (place) => place?.closest?.(".row")?.dataset.id;
const conversations = () => drawn.flatMap(({ items }) => items.map(({ id }) => id));

/** Focus the row at a place, which may be far from the visible ones. */
function focusAt(place) {
  const id = order[place];
  if (!id) return;
  if (!rows.has(id)) keepRow(id);
  rows.get(id).link.focus();
}

selection.onSelection(() => {
  list.classList.toggle("selecting", selection.isSelecting());
  for (const [id, made] of rows) made.mark?.(selection.isSelecting(), selection.isSelected(id));
});

// --- the pointer ------------------------------------------------------------------------------------------------

// Before the row's own handlers: a click that selects does nothing else.
list.addEventListener(
  "click",
  (event) => {
    const id = event.target.closest(".row-link") && idAt(event.target);
    if (!(rows.get(id)?.isRow)) return;
    if (event.shiftKey) selection.selectTo(id, conversations(), current);
    else if (event.ctrlKey || event.metaKey || selection.isSelecting()) selection.toggle(id);
    else return;
    event.preventDefault();
    rows.get(id).link.focus(); // a click on a link doesn't move the focus in every browser
  },
  true,
);

// --- the keyboard -----------------------------------------------------------------------------------------------

list.addEventListener("focusin", (event) => {
  const id = idAt(event.target);
  if (id && id !== tabStop) keepRow(id);
});

list.addEventListener("keydown", (event) => {
  const id = idAt(event.target);
  const mine = rows.get(id);
  if (!mine || event.altKey || event.target.matches("input")) return;
  const action = actionOf(event, id, mine);
  if (!action) return;
  event.preventDefault();
  if (event.repeat && !event.key.startsWith("Arrow")) return; // a held key repeats only arrow keys
  action();
});

function actionOf({ key, shiftKey, ctrlKey, metaKey }, id, mine) {
  const isRow = mine.isRow;
  const place = order.indexOf(id);
  if (ctrlKey || metaKey) {
    return { a: () => selection.selectAll(conversations()), " ": isRow && (() => selection.toggle(id)) }[key];
  }
  const [into, out] = getComputedStyle(list).direction === "rtl" ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];
  if (shiftKey && isRow && (key === "ArrowDown" || key === "ArrowUp")) return () => extend(id, key === "ArrowDown" ? 1 : -1);
  return {
    ArrowDown: () => focusAt(place + 1),
    ArrowUp: () => focusAt(place - 1),
    Home: () => focusAt(0),
    End: () => focusAt(order.length - 1),
    [into]: () => (mine.open && !mine.isOpen ? mine.open(true) : mine.button.focus()),
    [out]: () => (mine.isOpen && focusedElement() === mine.link ? mine.open(false) : mine.link.focus()),
    F2: () => mine.rename(),
    Delete: () => (selection.isSelecting() ? later(import("./bulk.js"), ({ remove }) => remove(selection.selected())) : mine.remove()),
    " ": isRow && selection.isSelecting() && focusedElement() === mine.link && (() => selection.toggle(id)),
    Escape: selection.isSelecting() && selection.clearSelection,
  }[key];
}

/** Extend the selection by a row, and move there. */
function extend(id, step) {
  const ids = conversations();
  const next = ids[ids.indexOf(id) + step];
  if (!next) return;
  if (!selection.isSelecting()) selection.toggle(id);
  selection.selectTo(next, ids, id);
  focusAt(order.indexOf(next));
}

/** Focus the row that the Tab key reaches. */
export const focusList = () => (rows.get(tabStop)?.link ?? byId("new-chat")).focus();

/** Focus the first row. */
export const focusFirst = () => focusAt(0);
