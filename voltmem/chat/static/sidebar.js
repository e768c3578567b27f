// The sidebar: what the chat's page and <voltmem-sidebar> have in common.

import { byId } from "./dom.js";
import { has } from "./features.js";
import { reload, showView, startList, useFolders } from "./list.js";
import { later } from "./toast.js";

let clearSearch = () => {};

export async function startSidebar() {
  startList();
  for (const view of ["all", "archived", "trash"]) byId(`show-${view}`)?.addEventListener("click", () => show(view));
  byId("jump").addEventListener("click", openMonths);
  await reload();
  // After the first list is there: what is needed as soon as somebody does something.
  if (has("folders")) later(import("./folders.js"), useFolders);
  if (has("search")) later(import("./search.js"), (search) => ((clearSearch = search.clear), search.startSearch()));
  if (has("folders")) later(import("./drag.js"), ({ startDrag }) => startDrag());
  Promise.all([import("./menu.js"), import("./actions.js")]).catch(() => {}); // tried again when they are needed
}

/** Show a view of the list, and move the focus to the button that leads back. */
export function show(view) {
  clearSearch();
  showView(view);
  byId(view === "all" ? "new-chat" : "show-all").focus();
}

export function focusSearch() {
  byId("search").focus();
  byId("search").select();
}

export const openMonths = () => later(import("./month.js"), (month) => month.openMonths());
