// The search. While there is a query, the results replace the list, the best match first.

import { addressOf } from "./addresses.js";
import * as api from "./api.js";
import { announce, byId, element, focusedElement, marked, whenNear } from "./dom.js";
import { focusFirst } from "./sections.js";
import { listen, titleOf } from "./store.js";
import { locale, many, t } from "./texts.js";
import { showError } from "./toast.js";

const PAUSE = 120; // milliseconds after the last key

const box = byId("search");
const list = byId("list");
const results = byId("results");
const sentinel = element("div", { class: "sentinel" });
const heading = element("h2", { class: "group-name" });
const found = element("ul", { class: "rows" });

let request = null;
let timer = null;
let searching = null; // the search for the current query; resolves to whether its results are shown
let cursor = null;

export function startSearch() {
  const checkAgain = whenNear(sentinel, results, async () => cursor && (await loadMore()) && checkAgain());
  box.addEventListener("input", () => {
    stop(); // the response to an earlier query must not replace a later one's
    if (!box.value.trim()) return close();
    timer = setTimeout(search, PAUSE);
  });
  if (box.value.trim()) search(); // it was typed before this module was loaded
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // an input method is composing a word
    const action = { Escape: box.value && clear, ArrowDown: results.hidden ? focusFirst : () => move(0), Enter: openBest }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  results.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") (clear(), box.focus(), event.preventDefault());
    if (!step) return;
    event.preventDefault();
    move([...results.querySelectorAll("a")].indexOf(focusedElement()) + step);
  });
}

function move(place) {
  const links = results.querySelectorAll("a");
  if (place < 0) box.focus();
  else links[place]?.focus();
}

async function openBest() {
  if (timer) search(); // the current query has not been sent yet
  if (await searching) found.querySelector("a")?.click();
}

export function clear() {
  stop();
  box.value = "";
  close();
}

function stop() {
  clearTimeout(timer);
  request?.abort();
  timer = searching = null;
}

function close() {
  results.hidden = true;
  list.hidden = false;
  cursor = null;
  announce("");
}

function search() {
  stop();
  request = new AbortController();
  searching = show();
}

/** Show the first results. Returns whether the search succeeded. */
async function show() {
  try {
    const { items, nextCursor } = await api.search(box.value, undefined, request.signal);
    cursor = nextCursor;
    found.replaceChildren(...items.map(hit));
    count();
    results.replaceChildren(heading, found, sentinel);
    results.scrollTop = 0;
    results.hidden = false;
    list.hidden = true;
    announce(heading.textContent);
    return true;
  } catch (error) {
    showError(error);
    return false;
  }
}

function count() {
  const { length } = found.children;
  const text = cursor ? t("{count} or more found", { count: length }) : many(length, "{count} found", "{count} found");
  heading.textContent = length ? text : t("Nothing found");
}

async function loadMore() {
  const after = cursor;
  cursor = null;
  try {
    const { items, nextCursor } = await api.search(box.value, after, request.signal);
    cursor = nextCursor;
    found.append(...items.map(hit));
    count();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") cursor = after; // tried again on the next scroll
    showError(error);
    return false;
  }
}

listen((id, item) => {
  if (item && !item.deletedAt) return;
  for (const each of [...found.children]) if (each.dataset.id === id) each.remove();
  count();
});

const DAY = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", year: "numeric" });

function hit({ conversation, title, messageId, createdAt, snippet }) {
  return element(
    "li",
    { class: "row row-hit", "data-id": conversation.id },
    element(
      "a",
      { class: "row-link", href: addressOf(conversation.id, messageId), "data-words": messageId ? box.value : null },
      element("span", { class: "row-title", dir: "auto" }, ...(title.length ? marked(title) : [titleOf(conversation)])),
      element("span", { class: "row-snippet", dir: "auto" }, ...marked(snippet)),
      createdAt ? element("span", { class: "row-date" }, DAY.format(new Date(createdAt))) : null,
    ),
  );
}
