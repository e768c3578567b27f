// The palette: one box over conversations, messages and commands.

import { addressOf } from "./addresses.js";
import * as api from "./api.js";
import { openDialog } from "./dialog.js";
import { announce, element, icon, marked } from "./dom.js";
import { has } from "./features.js";
import { folderOf, tagOf } from "./foldertags.js";
import { namesOf } from "./keys.js";
import { filter, parsed, unfinished } from "./query.js";
import { titleOf } from "./store.js";
import { locale, many, t } from "./texts.js";
import { showError } from "./toast.js";

const PAUSE = 120; // milliseconds after the last key
const [RECENT, FOUND] = [6, 20];
const HINTS = has("folders")
  ? t("Words, “phrases”, -without, tag:, in: a folder, before: 2026-03-01")
  : t("Words, “phrases”, -without, tag:, before: 2026-03-01");
const HINT = has("search") ? HINTS : "";
const NAME = has("search") ? t("Search and commands") : t("Commands");
const DAY = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });

let count = 0;

/** Open the palette. page: {navigate, showHit(path, words)}. */
export function openPalette(commands, page) {
  const list = element("div", { id: `palette-${(count += 1)}`, class: "palette-list", role: "listbox", "aria-label": t("Results") });
  const box = element("input", {
    class: "palette-box", type: "text", role: "combobox", dir: "auto", maxlength: "300", autocomplete: "off", spellcheck: "false", enterkeyhint: "go",
    placeholder: has("search") ? t("Search, or type a command") : t("Type a command"),
    "aria-label": has("search") ? t("Search conversations, messages and commands") : NAME,
    "aria-expanded": "true", "aria-controls": list.id, "aria-autocomplete": "list", autofocus: true,
  });
  const hint = element("p", { class: "palette-hint" }, HINT);
  const dialog = openDialog(NAME, [element("div", { class: "palette-head" }, icon("search"), box), list, hint], {
    kind: "palette",
    onClose: () => (clearTimeout(timer), request?.abort()),
  });
  let [timer, request, options, active, tags] = [null, null, [], 0, null];

  const run = (option, isNewTab) => {
    if (option.complete) return (box.value = option.complete, box.focus(), search());
    dialog.close();
    if (option.path && isNewTab) open(option.path, "_blank");
    else if (option.path) page.showHit(option.path, option.words);
    else option.run();
  };

  function show(groups) {
    options = groups.flatMap(({ options }) => options);
    active = 0;
    list.replaceChildren(...groups.filter(({ options }) => options.length).map(group));
    if (!options.length) list.append(element("p", { class: "palette-none" }, t("Nothing found")));
    mark();
  }

  function group({ name, options: own }, place) {
    const id = `${list.id}-group-${place}`;
    return element("div", { role: "group", "aria-labelledby": id }, element("div", { class: "group-name", id }, name), ...own.map(choice));
  }

  function choice(option) {
    const made = element(
      "div",
      { class: "choice", role: "option", id: `${list.id}-${options.indexOf(option)}`, "aria-selected": "false" },
      icon(option.icon),
      element("span", { class: "choice-name", dir: "auto" }, ...(option.title ?? [option.name])),
      option.detail ? element("span", { class: "choice-detail", dir: "auto" }, ...option.detail) : null,
      option.note ? element("span", { class: "choice-note" }, option.note) : null,
    );
    made.addEventListener("click", (event) => run(option, event.ctrlKey || event.metaKey));
    made.addEventListener("pointermove", () => active !== options.indexOf(option) && ((active = options.indexOf(option)), mark()));
    return made;
  }

  function mark() {
    list.querySelectorAll("[role=option]").forEach((each, place) => each.setAttribute("aria-selected", String(place === active)));
    const made = list.querySelector("[aria-selected=true]");
    if (made) box.setAttribute("aria-activedescendant", made.id);
    else box.removeAttribute("aria-activedescendant");
    made?.scrollIntoView({ block: "nearest" });
  }

  async function search() {
    request?.abort();
    const mine = (request = new AbortController());
    const text = box.value;
    try {
      tags ??= api.tags().then(({ items }) => items, () => []);
      const groups = [...completions(text, await tags), ...(await results(text, mine.signal)), ...matching(commands, text)];
      if (mine.signal.aborted) return;
      show(groups);
      hint.textContent = hintFor(text);
      if (text.trim()) announce(options.length ? many(options.length, "One result", "{count} results") : t("No results"));
    } catch (error) {
      showError(error);
    }
  }

  box.addEventListener("input", () => {
    clearTimeout(timer);
    request?.abort(); // its results are for another text
    timer = setTimeout(() => ((timer = null), search()), PAUSE);
  });
  box.addEventListener("keydown", async (event) => {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && options.length) {
      event.preventDefault();
      active = (active + step + options.length) % options.length;
      mark();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (timer) (clearTimeout(timer), (timer = null), await search()); // what is shown is for an earlier text
      if (options[active]) run(options[active], event.ctrlKey || event.metaKey);
    }
  });
  show(matching(commands, ""));
  search();
}

function hintFor(text) {
  if (!has("search")) return HINT;
  const query = parsed(text);
  if (query.isUnclear && !unfinished(text)) return t("before: takes a date: 2026-03-01, 2026-03 or 2026");
  return query.tag && query.in ? t("Of tag: and in:, only in: counts") : HINT;
}

const matching = (commands, text) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const isMeant = ({ name }) => words.every((word) => name.toLowerCase().includes(word));
  const options = commands.filter(isMeant).map((command) => ({ ...command, run: command.run ?? command.onSelect, note: command.keys && namesOf(command.keys).join("+") }));
  return [
    { name: t("Commands"), options: options.filter(({ onSelect }) => !onSelect) },
    { name: t("This conversation"), options: options.filter(({ onSelect }) => onSelect) },
  ];
};

/** Return the folders or tags that complete the filter that is being typed. */
function completions(text, tags) {
  const typed = unfinished(text);
  if (!typed || !has("search")) return [];
  const [name, picture] = typed.name === "in" ? [t("Folders"), "folder"] : [t("Tags"), "tag"];
  const folders = new Map(tags.map(({ tag }) => [tag, folderOf({ tags: [tag] })]));
  const names = typed.name === "in" ? [...folders.values()].filter(Boolean) : [...folders.keys()].filter((tag) => !folders.get(tag));
  const fitting = names.filter((name) => name.toLowerCase().startsWith(typed.value.toLowerCase()) && name !== typed.value);
  const complete = (value) => text.slice(0, typed.start) + filter(typed.name, value);
  return [{ name, options: fitting.slice(0, 8).map((value) => ({ name: value, icon: picture, complete: complete(value) })) }];
}

/** Search, and return the groups of conversations and messages. Without words, list conversations. */
async function results(text, signal) {
  const query = has("search") || !text.trim() ? parsed(text) : { isUnclear: true };
  const tag = query.in ? tagOf(query.in) : query.tag;
  const before = query.before?.toISOString();
  if (!query.words) {
    if (query.isUnclear && !tag && !before) return [];
    const isFiltered = Boolean(tag || before);
    const which = isFiltered ? { tag, activeBefore: before, limit: FOUND } : { pinned: false, limit: RECENT };
    const { items } = await api.conversations({ ...which, preview: false });
    return [{ name: isFiltered ? t("Conversations") : t("Recent"), options: items.map((item) => conversation(item)) }];
  }
  const { items } = await api.search(query.words, undefined, signal, { tag, before, limit: FOUND });
  const isTitle = ({ title, messageId }) => isMarked(title) || !messageId;
  const [titles, messages] = [items.filter(isTitle), items.filter((hit) => !isTitle(hit))];
  return [
    { name: t("Conversations"), options: titles.map((hit) => conversation(hit.conversation, hit, query.words)) },
    { name: t("Messages"), options: messages.map((hit) => conversation(hit.conversation, hit, query.words)) },
  ];
}

const isMarked = (pieces) => pieces.some(({ isMatch }) => isMatch);

const conversation = (item, hit = null, words = "") => ({
  icon: hit?.messageId ? "message" : "chat",
  title: hit?.title.length ? marked(hit.title) : [titleOf(item)],
  detail: hit?.snippet.length ? marked(hit.snippet) : null,
  note: DAY.format(new Date(hit?.createdAt ?? item.updatedAt)),
  path: addressOf(item.id, hit?.messageId),
  words: hit?.messageId ? words : "",
});
