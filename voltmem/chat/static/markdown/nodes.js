// Makes elements of the parser's tokens. Texts are inserted as texts: nothing of what a model writes is parsed as HTML.

import { element } from "../dom.js";
import { linkTo } from "../links.js";
import { numbers, t } from "../texts.js";
import { codeBlock } from "./code.js";
import { formula } from "./math.js";

const DEEPEST = 100; // elements in elements; what is nested deeper keeps its text only
const TASK = /^\[([ xX])\]\s/;
const TAGS = {
  paragraph: "p", blockquote: "blockquote", bullet_list: "ul", ordered_list: "ol", list_item: "li",
  thead: "thead", tbody: "tbody", tr: "tr", th: "th", td: "td", em: "em", strong: "strong", s: "del",
};
const DIRECTED = new Set(["p", "ul", "ol", "th", "td"]); // each runs in the direction of its first letter

/** Return the blocks of a text: their tokens, and the line in which each begins, but for the list of footnotes. */
export function blocks(tokens) {
  const found = [];
  let from = 0;
  let depth = 0;
  tokens.forEach(({ nesting }, place) => {
    depth += nesting;
    if (depth > 0) return;
    found.push({ line: tokens[from].map?.[0], tokens: tokens.slice(from, place + 1) });
    from = place + 1;
  });
  return found;
}

/** Return the element of a block. isGrowing: it is not complete. */
export function drawn(tokens, { isGrowing = false } = {}) {
  const drawing = new Drawing(isGrowing);
  tokens.forEach((token, place) => drawing.add(token, tokens, place));
  return drawing.root.firstChild;
}

class Drawing {
  root = document.createDocumentFragment();
  #open = [this.root];

  constructor(isGrowing) {
    this.isGrowing = isGrowing;
  }

  add(token, tokens, place) {
    if (token.nesting > 0) this.#begin(token, tokens, place);
    else if (token.nesting < 0) this.#end(token);
    else this.#append(...this.#single(token));
  }

  #append(...children) {
    this.#open.at(-1).append(...children);
  }

  #begin(token, tokens, place) {
    if (token.hidden) return; // a paragraph in a list without blank lines
    const made = this.#open.length > DEEPEST ? null : opened(token, tokens, place, this.#open.at(-1));
    if (made) this.#append(made);
    this.#open.push(made?.querySelector?.("table, section > ol") ?? made ?? this.#open.at(-1));
  }

  #end(token) {
    if (!token.hidden) this.#open.pop();
  }

  #single(token) {
    switch (token.type) {
      case "inline":
        token.children.forEach((child, place) => this.add(child, token.children, place));
        return [];
      case "softbreak":
        return ["\n"];
      case "hardbreak":
        return [element("br"), "\n"];
      case "hr":
        return [element("hr")];
      case "code_inline":
        return [element("code", {}, token.content)];
      case "fence":
      case "code_block":
        return [codeBlock(token.content.replace(/\n$/, ""), token.info.trim().split(/\s/, 1)[0], this)];
      case "formula":
        return [formula(token)];
      case "image":
        return [image(token)];
      case "footnote_ref":
        return [noteRef(token.meta)];
      case "footnote_anchor":
        return token.meta.subId ? [] : [" ", noteBack(token.meta)];
      default:
        return [token.content];
    }
  }
}

function opened(token, tokens, place, parent) {
  const kind = token.type.slice(0, -"_open".length);
  if (kind === "heading") return element(`h${Math.min(Number(token.tag[1]) + 1, 6)}`, { dir: "auto" });
  if (kind === "link") return link(token);
  if (kind === "table") return table();
  if (kind === "footnote_block") return notes();
  if (kind === "footnote") return element("li", { tabindex: "-1", "data-note": token.meta.id + 1, dir: "auto" });
  const tag = TAGS[kind];
  const isDirected = DIRECTED.has(tag) && !(tag === "p" && parent.tagName === "LI"); // an item runs as its list does
  const properties = { dir: isDirected ? "auto" : null, start: token.attrGet("start") };
  if (kind === "list_item") properties.class = task(tokens[place + 2]);
  if (tag === "th" || tag === "td") properties.class = token.attrGet("style")?.replace("text-align:", "align-");
  return element(tag, properties);
}

/** Take the box off the first paragraph of an item. Returns the item's class; null for one without a box. */
function task(paragraph) {
  const first = paragraph?.type === "inline" ? paragraph.children[0] : null;
  const mark = first?.type === "text" ? first.content.match(TASK)?.[1] : undefined;
  if (mark === undefined) return null;
  first.content = first.content.replace(TASK, "");
  return mark === " " ? "task-open" : "task-done";
}

const table = () => element("div", { class: "table", tabindex: "0", role: "group", "aria-label": t("Table") }, element("table"));

// --- footnotes, which look like the sources of an answer ---------------------------------------------------------

const notes = () => element("section", { class: "sources", role: "doc-endnotes", "aria-label": t("Footnotes") }, element("ol"));

function noteRef({ id }) {
  const number = id + 1;
  const properties = { role: "doc-noteref", href: `#footnote-${number}`, "data-ref": number, "aria-label": t("Footnote {number}", { number }) };
  return element("sup", { class: "noteref" }, element("a", { ...properties, onclick: to(`li[data-note="${number}"]`) }, numbers.format(number)));
}

function noteBack({ id }) {
  const number = id + 1;
  const properties = { role: "doc-backlink", class: "source-back", href: `#footnote-${number}`, "aria-label": t("Back to the text, from footnote {number}", { number }) };
  return element("a", { ...properties, onclick: to(`[data-ref="${number}"]`) }, "↩");
}

/** Return what moves the focus within a text. The address stays, where a hash is the id of a message. */
const to = (selector) => (event) => {
  event.preventDefault();
  event.currentTarget.closest(".text").querySelector(selector)?.focus();
};

// --- links and pictures -------------------------------------------------------------------------------------------

function link(token) {
  const [address, title] = [token.attrGet("href"), token.attrGet("title")];
  return linkTo(address, [], { title }) ?? unlinked(address, title);
}

/** Show the text of a link that leads nowhere from here, with its address for those who point at it. */
const unlinked = (address, title, properties = {}) =>
  element("span", { class: "unlinked", title: title || address, "data-address": address, ...properties });

/** Show a picture that is in the text itself. Others are links: a model's answer makes the page load nothing. */
function image(token) {
  const [address, title] = [token.attrGet("src"), token.attrGet("title")];
  const name = plain(token.children);
  if (address.startsWith("data:image/")) return element("img", { class: "picture", src: address, alt: name, title });
  const made = linkTo(address, [], { title, class: "image" }) ?? unlinked(address, title, { class: "unlinked image" });
  made.append(name || address);
  return made;
}

const plain = (tokens) =>
  tokens.map(({ type, content, children }) => (children?.length ? plain(children) : type.endsWith("break") ? "\n" : content)).join("");
