// Dragging conversations: into a folder, or out of it onto the groups by date. The menu does the same by keyboard.

import { byId } from "./dom.js";
import { keepRow } from "./sections.js";
import { isSelected, clearSelection, selected } from "./selection.js";
import { find } from "./store.js";
import { later } from "./toast.js";

const TYPE = "application/x-voltmem-conversations";

const list = byId("list");
let dragged = [];

/** Return the section below the pointer. Where there are no folders, as in the archive, a drop means nothing. */
const targetOf = (event) =>
  event.dataTransfer.types.includes(TYPE) && list.querySelector(".folder") ? event.target.closest(".group[data-key]") : null;

/** Return the folder of a section; null for the groups by date. */
const folderAt = (section) => (section.classList.contains("folder") ? section.dataset.key.slice("folder:".length) : null);

export function startDrag() {
  list.addEventListener("dragstart", (event) => {
    const id = event.target.closest?.(".row:not(.folder-head)")?.dataset.id;
    if (!id) return;
    keepRow(id);
    dragged = isSelected(id) ? selected() : [find(id)].filter(Boolean);
    event.dataTransfer.setData(TYPE, String(dragged.length));
    event.dataTransfer.effectAllowed = "copyMove";
    list.classList.add("dragging");
  });
  list.addEventListener("dragover", (event) => {
    const target = targetOf(event);
    highlight(target);
    if (!target) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "move";
  });
  list.addEventListener("drop", (event) => {
    const target = targetOf(event);
    if (!target) return;
    event.preventDefault();
    const items = dragged;
    clearSelection();
    later(import("./retag.js"), ({ move }) => move(items, folderAt(target)));
  });
  list.addEventListener("dragleave", (event) => list.contains(event.relatedTarget) || highlight(null));
  list.addEventListener("dragend", () => {
    highlight(null);
    list.classList.remove("dragging");
  });
}

function highlight(target) {
  for (const each of list.querySelectorAll(".drop")) if (each !== target) each.classList.remove("drop");
  target?.classList.add("drop");
}
