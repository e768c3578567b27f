// The bar below the list: what can be done with all selected conversations at once, with one way back.

import { addressOf } from "./addresses.js";
import { chooseFolder, reopen } from "./actions.js";
import * as api from "./api.js";
import { byId, element, focusedElement, iconButton } from "./dom.js";
import { has } from "./features.js";
import { focusList } from "./sections.js";
import { clearSelection } from "./selection.js";
import { receive, removed } from "./store.js";
import { many, t } from "./texts.js";
import { later, showError, toast } from "./toast.js";

const AT_ONCE = 4; // requests

const bar = byId("selection");

/** Show the bar for these conversations; hide it if there are none. */
export function showBar(items) {
  bar.hidden = !items.length;
  byId("sidebar-foot").hidden = Boolean(items.length);
  const before = items.length ? bar.contains(focusedElement()) && focusedElement().getAttribute("aria-label") : null;
  bar.replaceChildren(
    iconButton("close", t("End the selection"), () => end()),
    element("b", {}, many(items.length, "{count} selected", "{count} selected")),
    ...(items[0]?.deletedAt ? inTrash(items) : inList(items)),
  );
  if (before) bar.querySelector(`[aria-label="${before}"]`)?.focus();
}

const inList = (items) => [
  has("folders") && iconButton("folder", t("Move to a folder"), (event) => chooseFolder(event.currentTarget, items, end), { "aria-haspopup": "menu" }),
  has("archive") &&
    (items[0]?.archived
      ? iconButton("unarchive", t("Unarchive"), () => archive(items, false))
      : iconButton("archive", t("Archive"), () => archive(items, true))),
  has("deletion") && iconButton("delete", t("Delete"), () => remove(items)),
].filter(Boolean);

const inTrash = (items) => [
  iconButton("undo", t("Restore"), () => restore(items)),
  iconButton("delete", t("Delete for good …"), () => purge(items)),
];

/** End the selection. The focus goes back to the list. */
function end() {
  clearSelection();
  focusList();
}

/** Call the verb for each item. Returns those for which it succeeded; another failure than a missing item is shown. */
async function each(items, verb) {
  const [waiting, done] = [[...items], []];
  const work = async () => {
    while (waiting.length) {
      const item = waiting.shift();
      try {
        await verb(item);
        done.push(item);
      } catch (error) {
        if (error.status === 404) continue; // deleted elsewhere
        waiting.length = 0;
        showError(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return done;
}

const setArchived = (items, archived) => each(items, (item) => receive(api.change(item.id, { archived })));
const restored = (items) => each(items, (item) => receive(api.restore(item.id)));

async function archive(items, isWanted) {
  end();
  const done = await setArchived(items, isWanted);
  if (!done.length) return;
  const undo = () => setArchived(done, !isWanted);
  const text = isWanted
    ? many(done.length, "Archived one conversation", "Archived {count} conversations")
    : many(done.length, "Unarchived one conversation", "Unarchived {count} conversations");
  toast(text, { action: t("Undo"), onAction: undo });
}

/** Delete the selected conversations, with one way back. */
export async function remove(items) {
  if (items[0]?.deletedAt) return purge(items);
  if (!has("deletion")) return;
  const open = items.map(({ id }) => addressOf(id)).find((path) => path === location.pathname);
  end();
  const done = await each(items, async ({ id }) => {
    await api.remove(id);
    removed(id);
  });
  const undo = async () => {
    await restored(done);
    reopen(open);
  };
  if (!done.length) return;
  toast(many(done.length, "Deleted one conversation", "Deleted {count} conversations"), { action: t("Undo"), onAction: undo });
}

async function restore(items) {
  end();
  const done = await restored(items);
  if (done.length) toast(many(done.length, "Restored one conversation", "Restored {count} conversations"));
}

const purge = (items) =>
  later(import("./dialog.js"), async ({ confirmed }) => {
    const text = many(
      items.length,
      "One conversation and all of its messages will be gone. This can’t be undone.",
      "{count} conversations and all of their messages will be gone. This can’t be undone.",
    );
    if (!(await confirmed(t("Delete for good?"), text, t("Delete for good")))) return;
    end();
    await each(items, async ({ id }) => {
      await api.purge(id);
      removed(id);
    });
  });
