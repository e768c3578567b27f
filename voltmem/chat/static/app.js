// The page: addresses, keyboard shortcuts, and events of the server.

import { addressOf, base, conversationAt, isOfChat, setNavigate } from "./addresses.js";
import { startCommands } from "./commands.js";
import { focusComposer, startComposer } from "./composer.js";
import * as conversation from "./conversation.js";
import { byId, element } from "./dom.js";
import { setDrawer, startDrawer } from "./drawer.js";
import { reload, setCurrent } from "./list.js";
import { startWatching } from "./live.js";
import { act, openMenuOf } from "./menus.js";
import { settings, startSettings } from "./settings.js";
import { startSidebar } from "./sidebar.js";
import { listen, titleOf } from "./store.js";
import { t } from "./texts.js";
import { later } from "./toast.js";

// --- addresses --------------------------------------------------------------------------------------------------

function navigate(path, { replace = false, isOpen = false } = {}) {
  if (replace || path === location.pathname + location.hash) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
  if (isOpen) showHead();
  else route();
}

/** Open the conversation of the address, at a message if the address has one, or a new conversation. */
function route() {
  found?.hide();
  const id = conversationAt(location.pathname);
  if (id) conversation.open(decoded(id), decoded(location.hash.slice(1)) || null);
  else conversation.openNew();
  showHead();
}

/** Decode a part of an address. Returns it unchanged if it is malformed, such as a percent sign typed by hand. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Follow a link of the chat, without leaving the page. */
function follow(event) {
  const link = event.target.closest("a");
  if (!link || link.target || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const isSkip = link.classList.contains("skip");
  if (!isSkip && !isOfChat(link)) return;
  event.preventDefault();
  if (isSkip) return byId("composer-text").focus(); // without a change of the address, where a hash is a message's id
  showHit(link.pathname + link.hash, link.dataset.words);
}

let found = null; // the module that marks words, once it is loaded

/** Open a conversation, or one of its messages with the words marked that were searched for. */
function showHit(path, words) {
  setDrawer(false);
  navigate(path);
  if (!location.hash) focusComposer();
  if (words) later(import("./found.js"), (loaded) => (found = loaded).show(words));
}

// --- the head ---------------------------------------------------------------------------------------------------

const [title, menuButton, forkedFrom] = [byId("title"), byId("conversation-menu"), byId("forked-from")];

function showHead() {
  const item = conversation.openItem();
  const isKnown = conversation.openId() === null || item;
  if (!title.querySelector("input")) title.textContent = isKnown ? titleOf(item ?? {}) : settings.title;
  title.classList.toggle("unseen", !isKnown);
  document.title = item ? `${titleOf(item)} · ${settings.title}` : settings.title;
  menuButton.hidden = !item;
  forkedFrom.hidden = !item?.forkedFrom;
  forkedFrom.href = addressOf(item?.forkedFrom ?? "", item?.forkedUpTo);
  forkedFrom.textContent = t("Forked from another conversation");
  setCurrent(conversation.openId());
}

/** Return the actions on the open conversation. */
function choices({ actionsFor, renameIn }) {
  const item = conversation.openItem();
  const rename = () => renameIn(title, item, () => (showHead(), menuButton.focus()));
  return item ? actionsFor(item, rename, menuButton) : [];
}

/** Show what has changed about the open conversation. One that is deleted is left. */
function hear(id, item) {
  if (id !== conversation.openId()) return;
  if (item && !item.deletedAt) showHead();
  else navigate(base, { replace: true });
}

// --- events of the server ---------------------------------------------------------------------------------------

const watch = () =>
  startWatching({
    onReady() {
      byId("offline").hidden = true;
      conversation.refresh(); // the page may come from the browser's cache
      reload();
    },
    onChange(id, event) {
      if (event.conversation && id === conversation.openId()) conversation.hear(event);
    },
    onLost() {
      byId("offline").textContent = t("The connection is lost. Reconnecting …");
      byId("offline").hidden = false;
    },
  });

// --- what shortcuts and buttons do ------------------------------------------------------------------------------

function newChat() {
  setDrawer(false);
  navigate(base);
  focusComposer();
}

function print() {
  const item = conversation.openItem();
  if (item) act(({ printed }) => printed(item));
  else window.print();
}

const changeTheme = () => later(import("./themes.js"), (themes) => themes.changeTheme());

function showLogo() {
  if (settings.logo) document.querySelector(".logo").replaceWith(element("img", { class: "logo", src: settings.logo, alt: "" }));
}

// --- the start --------------------------------------------------------------------------------------------------

const SOON = ["chunks", "edit", "palette"]; // loaded before they are needed: no key is lost that is typed right after ⌘K

/** Start the page: the conversation, and in a task of its own the sidebar. */
export function start() {
  document.addEventListener("click", follow);
  addEventListener("popstate", route);
  menuButton.addEventListener("click", () => openMenuOf(menuButton, choices));
  listen(hear);
  conversation.startConversation();
  setNavigate(navigate);
  startSettings();
  showLogo();
  startComposer({ asking: conversation.asking, edit: conversation.editLast });
  startDrawer();
  startCommands({ newChat, changeTheme, print, showHit }, () => act(choices));
  route();
  focusComposer();
  setTimeout(startRest);
}

function startRest() {
  startSidebar().then(() => Promise.all(SOON.map((name) => import(`./${name}.js`)))).catch(() => {});
  watch();
  later(import("./themes.js"), (themes) => themes.startTheme());
}
