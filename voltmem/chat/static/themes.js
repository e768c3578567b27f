// The button of the theme: the system's, light or dark. theme.js applies the choice before the page is painted.

import { byId, icon } from "./dom.js";
import { t } from "./texts.js";

const NEXT = { system: "light", light: "dark", dark: "system" };
const NAMES = { system: t("system"), light: t("light"), dark: t("dark") };
const ICONS = { system: "system", light: "sun", dark: "moon" };

const { dataset } = document.documentElement;

export function startTheme() {
  byId("theme").addEventListener("click", changeTheme);
  showTheme();
}

function showTheme() {
  const theme = dataset.theme ?? "system";
  byId("theme").replaceChildren(icon(ICONS[theme]));
  byId("theme").setAttribute("aria-label", t("Theme: {theme}. Change to {next}", { theme: NAMES[theme], next: NAMES[NEXT[theme]] }));
  byId("theme").title = t("Theme: {theme}", { theme: NAMES[theme] });
}

export function changeTheme() {
  const theme = NEXT[dataset.theme ?? "system"];
  if (theme === "system") {
    delete dataset.theme;
    localStorage.removeItem("theme");
  } else {
    dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }
  showTheme();
}
