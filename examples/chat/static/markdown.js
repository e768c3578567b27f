// As much Markdown as models write, made into elements: no HTML of theirs is ever read.

import { element, iconButton, announce, icon } from "./dom.js";

const FENCE = /^\s*(```|~~~)\s*([\w+#.-]*)/;
const ITEM = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;
const HEADING = /^(#{1,6})\s+(.*?)#*$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const ROW = /^\s*\|.*\|\s*$/;
const DIVIDER = /^\s*\|(\s*:?-+:?\s*\|)+\s*$/;

export function markdown(text) {
  const made = document.createDocumentFragment();
  made.append(...blocks(text.replaceAll("\r\n", "\n").split("\n")));
  return made;
}

// --- blocks ---------------------------------------------------------------------------------------------------

function* blocks(lines) {
  let place = 0;
  const takeWhile = (test) => {
    const from = place;
    while (place < lines.length && test(lines[place])) place += 1;
    return lines.slice(from, place);
  };
  while (place < lines.length) {
    const line = lines[place];
    if (!line.trim()) {
      place += 1;
    } else if (FENCE.test(line)) {
      const [, fence, language] = line.match(FENCE);
      place += 1;
      const code = takeWhile((each) => !each.trim().startsWith(fence));
      place += 1; // the closing one, which has not come yet while an answer streams
      yield codeBlock(code.join("\n"), language);
    } else if (HEADING.test(line)) {
      const [, marks, words] = line.match(HEADING);
      place += 1;
      yield element(`h${Math.min(marks.length + 2, 6)}`, {}, ...inline(words));
    } else if (RULE.test(line)) {
      place += 1;
      yield element("hr");
    } else if (ITEM.test(line)) {
      yield list(takeWhile((each) => ITEM.test(each) || /^\s{2,}\S/.test(each)));
    } else if (line.startsWith(">")) {
      const quoted = takeWhile((each) => each.startsWith(">"));
      yield element("blockquote", {}, ...blocks(quoted.map((each) => each.replace(/^> ?/, ""))));
    } else if (ROW.test(line) && DIVIDER.test(lines[place + 1] ?? "")) {
      yield table(takeWhile((each) => ROW.test(each)));
    } else {
      const words = takeWhile((each) => each.trim() && !startsBlock(each));
      if (words.length === 0) words.push(lines[place++]); // a row without a table
      yield element("p", {}, ...inline(words.join("\n")));
    }
  }
}

const startsBlock = (line) => [FENCE, HEADING, RULE, ITEM, ROW, /^>/].some((pattern) => pattern.test(line));

function list(lines) {
  const [, indent, bullet] = lines[0].match(ITEM);
  const items = [];
  for (const line of lines) {
    const item = line.match(ITEM);
    if (item && item[1].length <= indent.length) items.push({ text: item[3], below: [] });
    else items.at(-1).below.push(line.slice(Math.min(line.search(/\S/), indent.length + 2)));
  }
  const ordered = /\d/.test(bullet);
  return element(
    ordered ? "ol" : "ul",
    { start: ordered && bullet !== "1." ? parseInt(bullet, 10) : null },
    items.map((item) => element("li", {}, ...inline(item.text), ...blocks(item.below))),
  );
}

function table(lines) {
  const cells = (line) => line.trim().slice(1, -1).split("|").map((cell) => cell.trim());
  const [head, , ...body] = lines;
  return element(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, cells(head).map((cell) => element(cell ? "th" : "td", {}, ...inline(cell))))),
      element(
        "tbody",
        {},
        body.map((line) => element("tr", {}, cells(line).map((cell) => element("td", {}, ...inline(cell))))),
      ),
    ),
  );
}

function codeBlock(code, language) {
  const copy = iconButton("copy", "Copy the code", () => copyText(copy, code));
  return element(
    "figure",
    { class: "code" },
    element("figcaption", {}, language || "text", copy),
    element("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, element("code", {}, code)),
  );
}

/** Copy, and say so on the button for a moment. */
export async function copyText(button, text) {
  await navigator.clipboard.writeText(text);
  announce("Copied");
  button.replaceChildren(icon("check"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}

// --- within a line --------------------------------------------------------------------------------------------

const SPANS = [
  [/`([^`]+)`/, (found) => element("code", {}, found[1])],
  [/\*\*(?=\S)(.+?)(?<=\S)\*\*/s, (found) => element("strong", {}, ...inline(found[1]))],
  [/\*(?=[^\s*])(.+?)(?<=[^\s*])\*/s, (found) => element("em", {}, ...inline(found[1]))],
  [/(?<!\w)_(?=\S)(.+?)(?<=\S)_(?!\w)/s, (found) => element("em", {}, ...inline(found[1]))],
  [/\[([^\]]+)\]\(([^()\s]+)\)/, (found) => link(found[2], inline(found[1])) ?? found[0]],
  [/https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)]/, (found) => link(found[0], [found[0]])],
];

function inline(text) {
  const [found, make] = SPANS.map(([pattern, make]) => [text.match(pattern), make])
    .filter(([found]) => found)
    .reduce((first, each) => (first && first[0].index <= each[0].index ? first : each), null) ?? [null];
  if (!found) return text ? [text] : [];
  return [text.slice(0, found.index), make(found), ...inline(text.slice(found.index + found[0].length))].filter(
    (piece) => piece !== "",
  );
}

function link(address, children) {
  if (!URL.canParse(address) || !["https:", "http:", "mailto:"].includes(new URL(address).protocol)) return null;
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...children);
}
