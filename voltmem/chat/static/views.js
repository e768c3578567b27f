// The views of the list: all conversations, the archive, the trash. What each shows, and in which order.

import * as api from "./api.js";
import { folderOf } from "./foldertags.js";
import { t } from "./texts.js";

const byActivity = ({ pinned, updatedAt, id }) => [Number(pinned), Date.parse(updatedAt), updatedAt, id];
const byDeletion = ({ deletedAt, id }) => [Date.parse(deletedAt), deletedAt, id];

/** load(query) loads a page, has(item) says whether a conversation belongs there, and place(item) is compared. */
export const VIEWS = {
  all: {
    load: (query) => api.conversations({ ...query, archived: false }),
    has: (item) => !item.archived && !item.deletedAt && folderOf(item) === null, // a folder lists its own
    place: byActivity,
    none: t("No conversations yet."),
  },
  archived: {
    name: t("Archived"),
    load: (query) => api.conversations({ ...query, archived: true }),
    has: (item) => item.archived && !item.deletedAt,
    place: byActivity,
    none: t("No archived conversations."),
  },
  trash: {
    name: t("Trash"),
    load: async () => ({ ...(await api.deleted()), nextCursor: null, hasMore: false }),
    has: (item) => Boolean(item.deletedAt),
    place: byDeletion,
    group: "deleted",
    none: t("The trash is empty."),
  },
};

/** The view of what was last active before a time, for a jump to the month before it. */
export const monthView = (until, name) => ({
  name: t("Until {month}", { month: name }),
  load: (query) => api.conversations({ ...query, archived: false, pinned: false, activeBefore: until.toISOString() }),
  has: (item) => !item.archived && !item.deletedAt && !item.pinned && Date.parse(item.updatedAt) < until.getTime(),
  place: byActivity,
  none: t("No conversations from that time or before."),
});

/** Compare two items in the order of a view: the greater one is first. */
export function compare(view, one, other) {
  const [mine, others] = [view.place(one), view.place(other)];
  const place = mine.findIndex((value, index) => value !== others[index]);
  return place < 0 ? 0 : mine[place] > others[place] ? -1 : 1;
}
