// What can be done from anywhere: by a shortcut, or from the palette.

import { byId } from "./dom.js";
import { openSidebar, toggleSidebar } from "./drawer.js";
import { has, offered } from "./features.js";
import { focusSearch, openMonths, show } from "./sidebar.js";
import { t } from "./texts.js";
import { later } from "./toast.js";

let commands = [];
let contextual = async () => [];

/**
 * Start the shortcuts. page: {newChat, changeTheme, print, showHit}; actions() resolves to
 * those on the open conversation.
 */
export function startCommands(page, actions) {
  contextual = actions;
  const palette = () => later(import("./palette.js"), async ({ openPalette }) => openPalette(await allCommands(), page));
  const search = () => (openSidebar(), focusSearch());
  commands = offered([
    { name: t("New chat"), icon: "compose", keys: "Mod+Shift+O", run: page.newChat },
    { name: has("search") ? t("Search and commands") : t("Commands"), icon: "search", keys: "Mod+K", run: palette, isPalette: true },
    { name: t("Search in the sidebar"), icon: "search", keys: "/", run: search, feature: "search" },
    { name: t("Open or close the sidebar"), icon: "sidebar", keys: "Mod+B", run: toggleSidebar },
    { name: t("Archived conversations"), icon: "archive", run: () => (openSidebar(), show("archived")), feature: "archive" },
    { name: t("Trash"), icon: "delete", run: () => (openSidebar(), show("trash")), feature: "trash" },
    { name: t("Jump to a month"), icon: "calendar", run: () => (openSidebar(), openMonths()) },
    { name: t("New folder"), icon: "folder", run: () => (openSidebar(), later(import("./folders.js"), ({ make }) => make())), feature: "folders" },
    { name: t("Print"), keys: "Mod+P", run: page.print, isPalette: true, feature: "export" },
    { name: t("Change the theme"), icon: "system", run: page.changeTheme },
    { name: t("Keyboard shortcuts"), icon: "keyboard", keys: "?", run: showShortcuts },
  ]);
  byId("shortcuts").addEventListener("click", showShortcuts);
  document.addEventListener("keydown", (event) => {
    const command = commands.find(({ keys }) => keys && isPressed(event, keys));
    if (!command || event.isComposing) return;
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) command.run();
  });
}

// The palette does without itself, and has printing among the actions.
const allCommands = async () => [...commands.filter(({ isPalette }) => !isPalette), ...((await contextual()) ?? [])];
const showShortcuts = () => later(import("./shortcuts.js"), (shortcuts) => shortcuts.openShortcuts(commands));

const isTyping = ({ target }) => target.matches?.("input, textarea, select, [contenteditable]");

/** Whether these keys are pressed. Mod is Ctrl, or ⌘. A character alone is no shortcut while somebody types. */
function isPressed(event, keys) {
  const names = keys.split("+");
  const hasMod = names.includes("Mod");
  if (event.altKey || hasMod !== (event.ctrlKey || event.metaKey)) return false;
  if (!hasMod) return event.key === keys && !isTyping(event);
  return names.includes("Shift") === event.shiftKey && event.key.toLowerCase() === names.at(-1).toLowerCase();
}
