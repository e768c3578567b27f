// Which conversations are selected. While there are any, a click on a row selects it, and a bar says what can be done.

import { announce } from "./dom.js";
import { find } from "./store.js";
import { many, t } from "./texts.js";
import { later } from "./toast.js";

const chosen = new Set();
const listeners = new Set();
let anchor = null; // where a range begins

export const isSelecting = () => chosen.size > 0;
export const isSelected = (id) => chosen.has(id);
export const selected = () => [...chosen].map(find).filter(Boolean);
export const onSelection = (listener) => listeners.add(listener);

/** Select a conversation, or take it out. */
export function toggle(id) {
  anchor = id;
  if (!chosen.delete(id)) chosen.add(id);
  notify();
}

/** Select a range of these ids: from the one that was selected last, or from the given one, to this one. */
export function selectTo(id, ids, from) {
  anchor = ids.includes(anchor) ? anchor : ids.includes(from) ? from : id;
  const [first, last] = [ids.indexOf(anchor), ids.indexOf(id)].sort((one, other) => one - other);
  selectAll(ids.slice(first, last + 1));
}

export function selectAll(ids) {
  chosen.clear();
  ids.forEach((id) => chosen.add(id));
  notify();
}

export function clearSelection() {
  if (!chosen.size) return;
  chosen.clear();
  anchor = null;
  notify();
}

/** Take out what the list no longer shows. */
export function keepSelected(present) {
  const gone = [...chosen].filter((id) => !present.has(id));
  gone.forEach((id) => chosen.delete(id));
  if (gone.length) notify();
}

function notify() {
  listeners.forEach((listener) => listener());
  announce(chosen.size ? many(chosen.size, "{count} selected", "{count} selected") : t("Nothing selected"));
  later(import("./bulk.js"), ({ showBar }) => showBar(selected()));
}
