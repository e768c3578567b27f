// The list of shortcuts.

import { openDialog } from "./dialog.js";
import { element } from "./dom.js";
import { has } from "./features.js";

const IN_THE_LIST = [
  ["Next or previous row", "↑", "↓"],
  ["First or last row", "Home", "End"],
  ["The row’s menu; open a folder", "→"],
  ["Rename", "F2"],
  ...(has("deletion") ? [["Delete", "Delete"]] : []),
  ["Select a row", "Mod+Space"],
  ["Select several rows", "Shift+↑", "Shift+↓"],
  ["Select all", "Mod+A"],
  ["End the selection", "Esc"],
];

const IN_A_CONVERSATION = [
  ["Send", "Enter"],
  ["New line", "Shift+Enter"],
  ["Stop the answer", "Esc"],
  ...(has("branches") ? [["Edit the last question", "↑"]] : []),
  ["Next or previous match", "F3", "Shift+F3"],
];

const IS_APPLE = /Mac|iP/.test(navigator.platform);
const NAMES = IS_APPLE ? { Mod: "⌘", Shift: "⇧" } : { Mod: "Ctrl" };

export function openShortcuts(commands) {
  const anywhere = commands.filter(({ keys }) => keys).map(({ name, keys }) => [name, keys]);
  openDialog(
    "Keyboard shortcuts",
    [
      element(
        "div",
        { class: "shortcuts", tabindex: "0", role: "group", "aria-label": "Keyboard shortcuts" },
        ...[["Anywhere", anywhere], ["In the list", IN_THE_LIST], ["In a conversation", IN_A_CONVERSATION]].map(group),
      ),
    ],
    { kind: "dialog-shortcuts" },
  );
}

const group = ([name, shortcuts]) =>
  element("section", {}, element("h3", {}, name), element("dl", {}, ...shortcuts.map(([what, ...keys]) => row(what, keys))));

const row = (what, keys) => element("div", {}, element("dt", {}, what), element("dd", {}, ...keys.map(pressed)));

const pressed = (keys) =>
  element("span", { class: "keys" }, ...keys.split("+").map((key) => element("kbd", {}, NAMES[key] ?? key)));
