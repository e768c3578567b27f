// The dialog that jumps to a month.

import { locale, t } from "./texts.js";
import { monthView } from "./views.js";
import { openDialog } from "./dialog.js";
import { element, iconButton } from "./dom.js";
import { showView } from "./list.js";
import { focusFirst } from "./sections.js";

const YEAR = new Intl.DateTimeFormat(locale, { year: "numeric" });
const MONTH = new Intl.DateTimeFormat(locale, { month: "long" });
const LONG = new Intl.DateTimeFormat(locale, { month: "long", year: "numeric" });
const IN_A_ROW = 3;

/** Ask for a month, and show the conversations from its end on. */
export function openMonths() {
  const now = new Date();
  let year = now.getFullYear();
  const shown = element("output", { class: "year", "aria-live": "polite" });
  const months = element("div", { class: "months", role: "group", "aria-label": t("Months") });
  const earlier = iconButton("back", t("Year before"), () => show(year - 1));
  const later = iconButton("back", t("Year after"), () => show(year + 1));
  later.classList.add("turned");
  const dialog = openDialog(t("Jump to a month"), [element("div", { class: "years" }, earlier, shown, later), months], { kind: "dialog-months" });

  function show(wanted) {
    year = wanted;
    shown.textContent = YEAR.format(new Date(year, 0));
    later.disabled = year >= now.getFullYear();
    months.replaceChildren(...Array.from({ length: 12 }, (_, month) => button(new Date(year, month))));
  }

  const button = (month) =>
    element(
      "button",
      {
        ...{ type: "button", class: `month${LONG.format(month) === LONG.format(now) ? " month-now" : ""}`, disabled: month > now },
        ...{ "aria-label": LONG.format(month), onclick: () => jump(month) },
      },
      MONTH.format(month),
    );

  function jump(month) {
    dialog.close();
    const until = new Date(month.getFullYear(), month.getMonth() + 1);
    showView(monthView(until, LONG.format(month))).then(focusFirst);
  }

  months.addEventListener("keydown", (event) => {
    /** @type {any[]} */
    const buttons = [...months.children];
    const forward = getComputedStyle(months).direction === "rtl" ? -1 : 1;
    const step = { ArrowRight: forward, ArrowLeft: -forward, ArrowDown: IN_A_ROW, ArrowUp: -IN_A_ROW }[event.key];
    if (!step) return;
    event.preventDefault();
    buttons[buttons.indexOf(event.target) + step]?.focus();
  });
  show(year);
  months.children[now.getMonth()].focus();
}
