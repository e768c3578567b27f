// The sections of the list with their rows: drawn without moving what stays, with one tab stop for all of them.

import { arrange, byId, element, focusedElement } from "./dom.js";
import { Row } from "./row.js";
import * as selection from "./selection.js";
import { later } from "./toast.js";

const list = byId("list");
const rows = new Map(); // and the heads of folders, which are reached with the arrow keys as well
const sections = new Map();

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
  const [focused, neighbour] = [focusedElement(), neighbourOfFocus(present)];
  if (!present.has(tabStop)) tabStop = present.has(current) ? current : ids[0];
  order = ids;
  arrange(list, [...wanted.map(drawnSection), ...others]);
  for (const id of rows.keys()) if (!present.has(id)) rows.delete(id);
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
  const { heading, parent, made } = sections.get(key);
  if (head?.id) stop(head.id, head);
  else if (!head) heading.textContent = label;
  parent.hidden = !items.length;
  arrange(parent, items.map(row));
  arrange(made, [head?.element ?? heading, parent, ...(more ? [more] : [])]);
  return made;
}

function row(item) {
  const made = rows.get(item.id) ?? new Row(item.id);
  made.show(item, item.id === current);
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
  if (!id || !rows.has(id) || present.has(id)) return id && rows.has(id) ? id : null;
  const place = order.indexOf(id);
  return [...order.slice(place + 1), ...order.slice(0, place).reverse()].find((each) => present.has(each)) ?? "none";
}

const idAt = (place) => place?.closest?.(".row")?.dataset.id;
const conversations = () => order.filter((id) => rows.get(id) instanceof Row);

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
    if (!(rows.get(id) instanceof Row)) return;
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
  if (!id || id === tabStop) return;
  tabStop = id;
  for (const [each, made] of rows) made.setTabStop(each === tabStop);
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
  const isRow = mine instanceof Row;
  const links = order.map((each) => rows.get(each).link).filter((link) => !link.hidden);
  const place = links.indexOf(mine.link);
  if (ctrlKey || metaKey) {
    return { a: () => selection.selectAll(conversations()), " ": isRow && (() => selection.toggle(id)) }[key];
  }
  const [into, out] = getComputedStyle(list).direction === "rtl" ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];
  if (shiftKey && isRow && (key === "ArrowDown" || key === "ArrowUp")) return () => extend(id, key === "ArrowDown" ? 1 : -1);
  return {
    ArrowDown: () => links[place + 1]?.focus(),
    ArrowUp: () => links[place - 1]?.focus(),
    Home: () => links[0].focus(),
    End: () => links.at(-1).focus(),
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
  rows.get(next).link.focus();
}

/** Focus the row that the Tab key reaches. */
export const focusList = () => (rows.get(tabStop)?.link ?? byId("new-chat")).focus();

/** Focus the first row. */
export const focusFirst = () => rows.get(order[0])?.link.focus();
