// What the list says of a conversation: its title, its preview, the group of its day. The first rows are the server's,
// which says the same: voltmem/chat/_first_rows.py.

import { locale, t } from "./texts.js";

/** @type {[number, string][]} */
const AGES = [[0, "today"], [1, "yesterday"], [7, "previous-7-days"], [30, "previous-30-days"]];
const NAMES = {
  ...{ pinned: t("Pinned"), today: t("Today"), yesterday: t("Yesterday"), deleted: t("Deleted") },
  ...{ "previous-7-days": t("Previous 7 days"), "previous-30-days": t("Previous 30 days") },
};
const MONTH = new Intl.DateTimeFormat(locale, { month: "long", year: "numeric", timeZone: "UTC" });
const DAY = 86_400_000;
// Of Markdown, and of formulas: what stands around words, and what stands between them.
const AROUND = /(?<![A-Za-z0-9])[*_]+|[*_]+(?![A-Za-z0-9])|`+|\$\$|\\[()[\]]/g;
const BETWEEN = /(?<!\S)[#>]+(?!\S)|:?-{2,}:?|\|/g;
const days = new WeakMap(); // by the conversation: of its last activity

export const titleOf = (item) => item.title?.trim() || t("New chat");
export const previewOf = ({ preview }) => (preview ?? "").replace(AROUND, "").replace(BETWEEN, " ").replace(/\s+/g, " ").trim();

/** Return the number of the viewer's day. */
function dayAt(time) {
  const date = new Date(time);
  return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY;
}

/** Return the function that returns the group of a conversation, as it is now: pinned, a day, days, or a month. */
export function grouping() {
  const today = dayAt(Date.now());
  return (item) => {
    if (item.pinned) return "pinned";
    if (!days.has(item)) days.set(item, dayAt(item.updatedAt));
    const day = days.get(item);
    return AGES.find(([most]) => today - day <= most)?.[1] ?? new Date(day * DAY).toISOString().slice(0, 7);
  };
}

/** Return the heading of a group: those without a name are months, "2026-03". */
export const headingOf = (group) => NAMES[group] ?? MONTH.format(new Date(group));
