// The sources of an answer: a numbered list below it, and where its text refers to one, a small link to it.

import { element } from "./dom.js";
import { linkTo } from "./links.js";
import { numbers, t } from "./texts.js";

// [1] and [1, 2]; 【1】 and 【1†source】. The numbers are those of the sources, in their order.
const MARK = /\[(\d{1,3}(?:, ?\d{1,3}){0,20})\]|【(\d{1,3})(?:†[^】]{0,200})?】/g;
const NUMBER_ALONE = /^\[?\d{1,3}\]?$/;
const UNREAD = "a, pre, code, .formula, .katex, .noteref";

const MOST = 500; // links in a message: nobody follows more, and each takes a browser a millisecond and more
let count = 0;

export class Sources {
  #key = `source-${(count += 1)}`;
  #refs = 0;
  #left = MOST;
  #known = ""; // the sources that are shown, as JSON
  #blocks = new WeakMap(); // by the block of a text: the sources that were known when it was read
  #numbers = new Map(); // by the address
  #items = [];
  #last = null; // the link by which somebody has come

  /** section: the element below the texts, in which the sources are listed. */
  constructor(section) {
    this.section = section;
    this.list = element("ol");
    section.replaceChildren(element("p", { class: "sources-name", "aria-hidden": "true" }, t("Sources")), this.list);
  }

  /** Show the sources, parts of a message, and the links to them in the texts, which may have grown. */
  show(parts, texts) {
    const known = JSON.stringify(parts);
    if (known !== this.#known) this.#write(parts);
    this.#known = known;
    this.texts = texts;
    this.#left = MOST - this.#refsIn().length;
    for (const block of texts.flatMap((text) => [...text.children])) {
      if (this.#blocks.get(block) === known) continue;
      this.#blocks.set(block, known);
      this.#read(block);
    }
    const cited = new Set(this.#refsIn().map((ref) => ref.dataset.source));
    this.#items.forEach(({ back }, place) => (back.hidden = !cited.has(String(place + 1))));
  }

  // --- the list -------------------------------------------------------------------------------------------------

  #write(parts) {
    const sources = new Map();
    for (const part of parts) {
      const key = address(part) ?? part.sourceId ?? part.title;
      if (!sources.has(key)) sources.set(key, part);
    }
    this.#items = [...sources.values()].map((part, place) => this.#item(part, place + 1));
    this.#numbers = new Map([...sources.keys()].map((key, place) => [key, place + 1]));
    this.list.replaceChildren(...this.#items.map(({ made }) => made));
  }

  #item(part, number) {
    const [at, title] = [address(part), part.title?.trim()];
    const host = at && new URL(at).host.replace(/^www\./, "");
    const name = title || (at ? at.replace(/^https?:\/\/(www\.)?/, "") : t("A document"));
    const link = at && linkTo(at, [name]);
    const back = element("a", {
      role: "doc-backlink", class: "source-back", href: `#${this.#key}`, "aria-label": t("Back to the text, from source {number}", { number }), hidden: true,
    }, "↩");
    back.addEventListener("click", (event) => this.#goBack(event, number));
    const shownHost = title && host && title !== host ? element("span", { class: "source-host" }, host) : null;
    const made = element("li", { id: `${this.#key}-${number}`, tabindex: "-1" }, element("bdi", {}, link || name), shownHost && " ", shownHost, " ", back);
    return { made, back, name };
  }

  #goBack(event, number) {
    const refs = this.#refsIn().filter((ref) => ref.dataset.source === String(number));
    event.preventDefault();
    (refs.includes(this.#last) ? this.#last : refs[0])?.focus();
  }

  #refsIn() {
    return this.texts.flatMap((text) => [...text.querySelectorAll(".noteref > a")]);
  }

  // --- the links in the text ------------------------------------------------------------------------------------

  #read(block) {
    if (block.matches(UNREAD)) return;
    for (const link of block.querySelectorAll("a[href]:not(.noteref a)")) {
      const number = this.#numbers.get(link.href);
      if (this.#left <= 0) return;
      if (!number || link.nextElementSibling?.classList.contains("noteref")) continue;
      if (NUMBER_ALONE.test(link.textContent)) link.replaceWith(this.#ref(number));
      else link.after(this.#ref(number));
    }
    block.normalize();
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, (node) =>
      node.nodeType === Node.ELEMENT_NODE ? (node.matches(UNREAD) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_SKIP) : NodeFilter.FILTER_ACCEPT,
    );
    const found = [];
    while (walker.nextNode()) if (/[[【]\d/.test(walker.currentNode.data)) found.push(walker.currentNode);
    found.forEach((node) => this.#mark(node));
  }

  /** Replace the marks in a text. A number that no source has leaves its mark a text. */
  #mark(node) {
    const text = node.data; // once: it is a copy
    const pieces = [];
    let place = 0;
    for (const { 0: mark, 1: several, 2: one, index } of text.matchAll(MARK)) {
      const numbers = (several ?? one).split(",").map(Number);
      if (this.#left <= 0) break;
      if (numbers.some((number) => !this.#items[number - 1])) continue;
      pieces.push(text.slice(place, index).replace(/ $/, ""), ...numbers.map((number) => this.#ref(number)));
      place = index + mark.length;
    }
    if (place) node.replaceWith(...pieces, text.slice(place));
  }

  #ref(number) {
    this.#left -= 1;
    const { name } = this.#items[number - 1];
    const link = element("a", {
      role: "doc-noteref", id: `${this.#key}-ref-${(this.#refs += 1)}`, href: `#${this.#key}-${number}`, "data-source": number,
      "aria-label": t("Source {number}: {name}", { number, name }), title: name,
    }, numbers.format(number));
    link.addEventListener("click", (event) => {
      event.preventDefault(); // a hash in the address is the id of a message
      this.#last = link;
      this.#items[number - 1].made.focus();
    });
    return element("sup", { class: "noteref" }, link);
  }
}

/** Return the address of a source as the browser writes it; null for a document, and for what leads nowhere from here. */
function address({ url }) {
  return url && linkTo(url, []) ? new URL(url).href : null;
}
