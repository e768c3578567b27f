// Renders the Markdown that models write as elements. HTML in the text is never parsed.

import { element, iconButton, announce, icon } from "./dom.js";
import { toast } from "./toast.js";

const FENCE = /^(\s*)(`{3,}(?=[^`]*$)|~{3,})\s*([\w+#.-]*)/;
const ITEM = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;
const TASK = /^\[([ xX])\]\s+/;
const HEADING = /^(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 16; // nested lists and quotes; a limit for the stack

export function markdown(text) {
  const made = document.createDocumentFragment();
  made.append(...new Blocks(text.replaceAll("\r\n", "\n").split("\n")).all());
  return made;
}

// --- blocks ---------------------------------------------------------------------------------------------------

class Blocks {
  #place = 0;

  constructor(lines, depth = 0) {
    this.lines = lines;
    this.depth = depth;
  }

  *all() {
    if (this.depth > DEEPEST) return yield paragraph([this.lines.join("\n")]);
    while (this.#place < this.lines.length) {
      const line = this.#line;
      if (!line.trim()) this.#place += 1;
      else if (FENCE.test(line)) yield this.#code();
      else if (HEADING.test(line)) yield this.#heading();
      else if (RULE.test(line)) yield this.#rule();
      else if (ITEM.test(line)) yield this.#list();
      else if (QUOTE.test(line)) yield this.#quote();
      else if (this.#isTable()) yield this.#table();
      else yield this.#paragraph();
    }
  }

  get #line() {
    return this.lines[this.#place];
  }

  #takeWhile(test) {
    const from = this.#place;
    while (this.#place < this.lines.length && test(this.#line)) this.#place += 1;
    return this.lines.slice(from, this.#place);
  }

  #within = (lines) => new Blocks(lines, this.depth + 1).all();

  #code() {
    const [, , , language] = this.#line.match(FENCE);
    const [indent, closes] = [indentOf(this.#line), closing(this.#line)];
    this.#place += 1;
    const code = this.#takeWhile((line) => !closes.test(line));
    this.#place += 1; // the closing fence, which may be missing while an answer streams
    return codeBlock(code.map((line) => outdented(line, indent)).join("\n"), language);
  }

  #heading() {
    const [, marks, words] = this.#line.match(HEADING);
    this.#place += 1;
    return element(`h${Math.min(marks.length + 2, 6)}`, { dir: "auto" }, ...inline(words));
  }

  #rule() {
    this.#place += 1;
    return element("hr");
  }

  #quote() {
    const lines = this.#takeWhile((line) => QUOTE.test(line));
    return element("blockquote", {}, ...this.#within(lines.map((line) => line.replace(QUOTE, ""))));
  }

  #list() {
    const [, , bullet] = this.#line.match(ITEM);
    const indent = indentOf(this.#line);
    const items = [];
    while (this.#isItem(indent, bullet)) items.push(this.#item(indent));
    const start = /\d/.test(bullet) && bullet !== "1." && bullet !== "1)" ? parseInt(bullet, 10) : null;
    return element(/\d/.test(bullet) ? "ol" : "ul", { start, dir: "auto" }, items);
  }

  /** Return whether the line is an item of the list: not indented deeper than the first item, and of its kind. */
  #isItem(indent, bullet) {
    const item = this.#line?.match(ITEM);
    if (!item || RULE.test(this.#line)) return false;
    return indentOf(this.#line) < indent + 2 && /\d/.test(item[2]) === /\d/.test(bullet);
  }

  /** Parse an item with the indented lines below it, and the blank lines before the next item. */
  #item(indent) {
    const [whole, before, , text] = this.#line.match(ITEM);
    const width = indentOf(this.#line) + whole.length - before.length - text.length;
    const lines = [text.replace(TASK, "")];
    let closes = FENCE.test(text) ? closing(text) : null; // set inside a code block, whose lines may have any indent
    this.#place += 1;
    for (; this.#place < this.lines.length; this.#place += 1) {
      const line = this.#line;
      if (!closes && line.trim() && indentOf(line) < indent + 2) break;
      if (!closes && FENCE.test(line)) closes = closing(line);
      else if (closes?.test(line)) closes = null;
      lines.push(outdented(line, width));
    }
    const [first, ...below] = this.#within(lines);
    const task = text.match(TASK)?.[1].trim();
    const kind = task === undefined ? null : task ? "task-done" : "task-open";
    // The text of a first paragraph is placed directly beside the bullet.
    return element("li", { class: kind }, ...(first?.tagName === "P" ? first.childNodes : [first]), ...below);
  }

  #isTable() {
    const next = this.lines[this.#place + 1] ?? "";
    return this.#line.includes("|") && next.includes("|") && DIVIDER.test(next);
  }

  #table() {
    const [head, , ...body] = this.#takeWhile((line) => line.includes("|") && !startsBlock(line));
    return table(cells(head), body.map(cells));
  }

  #paragraph() {
    const from = this.#place;
    const lines = this.#takeWhile((line) => line.trim() && !startsBlock(line) && (this.#place === from || !this.#isTable()));
    return paragraph(inline(lines.map((line) => line.trimStart()).join("\n")));
  }
}

const startsBlock = (line) => [FENCE, HEADING, RULE, ITEM, QUOTE].some((pattern) => pattern.test(line));

const paragraph = (children) => element("p", { dir: "auto" }, ...children);

/** Return the pattern of the line that closes a code block: at least as many of its marks, and nothing else. */
function closing(line) {
  const [, , marks] = line.match(FENCE);
  return new RegExp(`^\\s*${marks[0]}{${marks.length},}\\s*$`);
}

const TAB = 4;
const indentOf = (line) => line.match(/^\s*/)[0].replaceAll("\t", " ".repeat(TAB)).length;

/** Return the line with its indent reduced by width. */
function outdented(line, width) {
  let place = 0;
  for (; width > 0 && /\s/.test(line[place] ?? ""); place += 1) width -= line[place] === "\t" ? TAB : 1;
  return " ".repeat(Math.max(-width, 0)) + line.slice(place);
}

/** Return the cells of a row. A bar in code or after a backslash is no separator. */
function cells(line) {
  const row = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  const found = row.matchAll(/((?:\\.|`[^`]*`|[^|])*)(?:\||$)/g);
  return [...found].filter(([whole], place) => whole || !place).map(([, cell]) => cell.trim().replaceAll("\\|", "|"));
}

function table(head, body) {
  const row = (tag, texts) => element("tr", {}, texts.map((text) => element(text ? tag : "td", { dir: "auto" }, ...inline(text))));
  return element(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, row("th", head)),
      element("tbody", {}, body.map((texts) => row("td", texts))),
    ),
  );
}

function codeBlock(code, language) {
  const copy = iconButton("copy", "Copy the code", () => copyText(copy, code));
  return element(
    "figure",
    { class: "code", dir: "ltr" },
    element("figcaption", {}, language || "text", copy),
    element("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, element("code", {}, code)),
  );
}

/** Copy the text, and show a check mark on the button for a moment. */
export async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return toast("The browser doesn’t let this page copy.", { isError: true });
  }
  announce("Copied");
  button.replaceChildren(icon("check"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}

// --- within a line --------------------------------------------------------------------------------------------

// Spans have a maximum length, because the search for missing end marks would take quadratic time.
const SPANS = [
  /\\(?<escaped>[!-/:-@[-`{-~])/,
  /(?<!`)(?<marks>`+)(?!`)(?<code>.{1,2000}?)(?<!`)\k<marks>(?!`)/,
  /\*\*(?=\S)(?<strong>.{1,2000}?)(?<=[^\s\\])\*\*(?!\*)/,
  /\*(?=[^\s*])(?<em>.{1,2000}?)(?<=[^\s*\\])\*/,
  /(?<!\w)_(?=\S)(?<lowEm>.{1,2000}?)(?<=[^\s\\])_(?!\w)/,
  /~~(?=\S)(?<del>.{1,2000}?)(?<=[^\s\\])~~/,
  /!?\[(?<label>[^\]]{1,2000})\]\((?<address>(?:[^()\s]|\([^()\s]*\)){1,2000})\)/,
  /(?<plain>https?:\/\/(?:[^\s<>"'()]|\([^\s<>"'()]*\)){1,2000}(?<![.,;:!?*_~`]))/,
];
const SPAN = new RegExp(SPANS.map(({ source }) => source).join("|"), "gs");

function inline(text, depth = 0) {
  if (depth > DEEPEST) return [text];
  const pieces = [];
  let place = 0;
  for (const found of text.matchAll(SPAN)) {
    pieces.push(text.slice(place, found.index), span(found, depth + 1));
    place = found.index + found[0].length;
  }
  return [...pieces, text.slice(place)].filter((piece) => piece !== "");
}

function span({ 0: whole, groups }, depth) {
  const { escaped, code, strong, em, lowEm, del, label, address, plain } = groups;
  if (escaped) return escaped;
  if (code) return element("code", {}, code.replace(/^ (.*\S.*) $/s, "$1"));
  if (strong) return element("strong", {}, ...inline(strong, depth));
  if (em ?? lowEm) return element("em", {}, ...inline(em ?? lowEm, depth));
  if (del) return element("del", {}, ...inline(del, depth));
  if (plain) return linkTo(plain, [plain]) ?? whole;
  return linkTo(address, label.includes("://") ? [label] : inline(label, depth)) ?? whole; // no link in a link
}

/** Return a link to another site; null for an address of another kind. */
export function linkTo(address, children) {
  if (!URL.canParse(address) || !["https:", "http:", "mailto:"].includes(new URL(address).protocol)) return null;
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...children);
}
