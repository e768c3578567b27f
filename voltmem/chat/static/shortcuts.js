// The list of shortcuts.

import { openDialog } from "./dialog.js";
import { element } from "./dom.js";
import { has } from "./features.js";
import { namesOf } from "./keys.js";
import { t } from "./texts.js";

const INTO = document.documentElement.dir === "rtl" ? "←" : "→";

const IN_THE_LIST = [
  [t("Next or previous row"), "↑", "↓"],
  [t("First or last row"), "Home", "End"],
  [t("The row’s menu; open a folder"), INTO],
  [t("Rename"), "F2"],
  ...(has("deletion") ? [[t("Delete"), "Delete"]] : []),
  [t("Select a row"), "Mod+Space"],
  [t("Select several rows"), "Shift+↑", "Shift+↓"],
  [t("Select all"), "Mod+A"],
  [t("End the selection"), "Esc"],
];

const IN_A_CONVERSATION = [
  [t("Send"), "Enter"],
  [t("New line"), "Shift+Enter"],
  [t("Stop the answer"), "Esc"],
  ...(has("branches") ? [[t("Edit the last question"), "↑"]] : []),
  [t("Next or previous match"), "F3", "Shift+F3"],
];

export function openShortcuts(commands) {
  const anywhere = commands.filter(({ keys }) => keys).map(({ name, keys }) => [name, keys]);
  openDialog(
    t("Keyboard shortcuts"),
    [
      element(
        "div",
        { class: "shortcuts", tabindex: "0", role: "group", "aria-label": t("Keyboard shortcuts") },
        ...[[t("Anywhere"), anywhere], [t("In the list"), IN_THE_LIST], [t("In a conversation"), IN_A_CONVERSATION]].map(group),
      ),
    ],
    { kind: "dialog-shortcuts" },
  );
}

/** @param {any[]} given */
const group = ([name, shortcuts]) =>
  element("section", {}, element("h3", {}, name), element("dl", {}, ...shortcuts.map(([what, ...keys]) => row(what, keys))));

const row = (what, keys) => element("div", {}, element("dt", {}, what), element("dd", {}, ...keys.map(pressed)));

const pressed = (keys) =>
  element("span", { class: "keys" }, ...namesOf(keys).map((key) => element("kbd", {}, key)));
