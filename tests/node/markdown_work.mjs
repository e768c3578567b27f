// Counts the work of drawing Markdown: how often the page's own blocks of code run, and elements are made. Times would
// not be the same twice.
//
// Reads { folder, sizes, piece, only } and prints { name: [{ work, isWhole }] }, for each text one for each of its sizes.
// With a piece, texts grow by so many characters, as an answer does. only: the names of the texts; null: all.

import { Session } from "node:inspector/promises";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";

for (const flag of ["--no-opt", "--no-maglev", "--no-sparkplug"]) setFlagsFromString(flag); // compiled code counts less

const repeated = (piece) => (n) => piece.repeat(Math.ceil(n / piece.length));
const TEXTS = {
  "heading, spaces, another line": (n) => `# ${" ".repeat(n)}\u2028x`,
  "heading, spaces": (n) => `# a${" ".repeat(n)}b`,
  "divider, spaces": (n) => `a|b\n${" ".repeat(n)}x|`,
  "divider": (n) => `a|b\n${repeated("-|")(n)}x`,
  "item, spaces": (n) => `- ${" ".repeat(n)}\u2028x`,
  "rule, dashes": (n) => `-${repeated(" -")(n)} x`,
  "rule, spaces": (n) => `-${" ".repeat(n)}x`,
  "strong": repeated("**a "),
  "emphasis": repeated("_a "),
  "nested emphasis": repeated("**a *b ~~c "),
  "emphasis in emphasis": (n) => `${"*_".repeat(n / 4)}a${"_*".repeat(n / 4)}`,
  "tildes": repeated("~a ~~b "),
  "brackets": repeated("["),
  "links": repeated("[a]("),
  "images": repeated("![a]("),
  "backticks": repeated("`"),
  "codes": repeated("`a` "),
  "paragraphs": repeated("a\n\n"),
  "runs of backticks": (n) => Array.from({ length: Math.sqrt(2 * n) }, (_, length) => `${"`".repeat(length + 1)}a`).join(""),
  "addresses": repeated("http://a."),
  "addresses, brackets": repeated("http://(a"),
  "addresses, dots": (n) => `http://a${".".repeat(n)}`,
  "addresses, closing brackets": (n) => `http://a${")".repeat(n)}`,
  "addresses, semicolons": (n) => `www.a.b/${repeated("a;")(n)}`,
  "mail": repeated("a@"),
  "mail, long": (n) => `${"a".repeat(n)} @`,
  "mail, schemes": repeated("mailto:"),
  "quotes": (n) => repeated(`${"> ".repeat(16)}a\n`)(n),
  "deep quotes": (n) => `${"> ".repeat(n / 2)}a`,
  "lists": (n) => Array.from({ length: n / 20 }, (_, line) => `${"  ".repeat(line % 16)}- a`).join("\n"),
  "deep lists": (n) => `${"- ".repeat(n / 2)}x`,
  "long item, deep": (n) =>
    Array.from({ length: 16 }, (_, depth) => `${"  ".repeat(depth)}- a`).join("\n") + repeated(`\n${" ".repeat(34)}b`)(n),
  "cells": (n) => `a|b\n-|-\n${repeated("`|")(n)}`,
  "cells, escapes": (n) => `a|b\n-|-\n|${"\\".repeat(n)}`,
  "fence, spaces": (n) => `${" ".repeat(n)}\`\`\``,
  "spaces": (n) => `${" ".repeat(n)}x`,
  "fences": repeated("```\n"),
  "fences in lists": repeated("- ```\n"),
  "escapes": repeated("\\*"),
  "rows": repeated("a|b\n"),
  "HTML": repeated("<a b='"),
  "entities": repeated("&am"),
  "dollars": repeated("$a "),
  "two dollars": repeated("$$\na\n"),
  "two dollars, open": repeated("$$a "),
  "formulas, round": repeated("\\(a "),
  "formulas, square": repeated("\\[\n"),
  "formulas, square, within": repeated("a\\[b "),
  "formulas": repeated("$a_1$ "),
};
const ANSWER = "## On *b*\n\nSome `c`, **d** and $e^2$.\n\n- f\n- g\n\n```py\nh = 1\n```\n\n| i | j |\n|---|---|\n| k | l |\n\n";
const ANSWERS = {
  "many blocks": repeated(ANSWER),
  "one block of code": (n) => `\`\`\`py\n${repeated("a = b + c\n")(n)}`,
  "one list": repeated("- an item of it\n"),
};

// --- a document that counts its elements ---------------------------------------------------------------------------

let made = 0;

class Stub {
  children = [];
  constructor(tagName = "") {
    made += 1;
    this.tagName = tagName.toUpperCase();
  }
  get firstChild() {
    return this.children[0];
  }
  get firstElementChild() {
    return this.children[0];
  }
  get textContent() {
    let text = "";
    const left = [this];
    while (left.length) {
      const each = left.pop();
      if (typeof each === "string") text += each;
      else if (each.tagName !== "FIGCAPTION") for (const child of each.children.toReversed()) left.push(child);
    }
    return text;
  }
  append(...added) {
    made += added.length;
    for (const each of added) {
      if (typeof each !== "string") each.parent = this;
      this.children.push(each);
    }
  }
  replaceChildren(...added) {
    this.children = [];
    this.append(...added);
  }
  remove() {
    const place = this.parent.children.lastIndexOf(this); // near the end
    this.parent.children.splice(place, 1);
  }
  querySelector() {
    return this.children[0]?.tagName === "TABLE" ? this.children[0] : null;
  }
  cloneNode() {
    return new Stub(this.tagName);
  }
  setAttribute() {}
  addEventListener() {}
}

const noTexts = new Stub(); // of the page in its language
noTexts.lang = "en";
noTexts.append("{}");

globalThis.document = {
  createDocumentFragment: () => new Stub(),
  createElement: (tag) => new Stub(tag),
  createElementNS: (_, tag) => new Stub(tag),
  getElementById: () => noTexts,
};
globalThis.matchMedia = () => ({ addEventListener() {} });

// --- counting ------------------------------------------------------------------------------------------------------

const session = new Session();
session.connect();
await session.post("Profiler.enable");

/** Return how often the blocks of the page's modules ran, and how many elements were made. */
async function workOf(action, folder) {
  await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  made = 0;
  action();
  const { result } = await session.post("Profiler.takePreciseCoverage");
  await session.post("Profiler.stopPreciseCoverage");
  let runs = made;
  for (const { url, functions } of result)
    if (url.startsWith(folder)) for (const { ranges } of functions) for (const { count } of ranges) runs += count;
  return runs;
}

const letters = (text) => text.replaceAll(/[^A-Za-z]/g, "");

const given = JSON.parse(await new Response(process.stdin).text());
const folder = pathToFileURL(`${given.folder}/`).href;
const { Growing } = await import(`${folder}markdown/growing.js`);
new Growing(new Stub()).show("# a\n\n*b* `c` ~d~ $e$ [f](g)\n\n- a", false); // what is made once, is made


function draw(root, text) {
  const growing = new Growing(root);
  for (let end = given.piece || Infinity; end < text.length; end += given.piece) growing.show(text.slice(0, end), true);
  growing.show(text, false);
}

const results = {};
for (const [name, make] of Object.entries(given.piece ? ANSWERS : TEXTS)) {
  if (given.only && !given.only.includes(name)) continue;
  results[name] = [];
  for (const size of given.sizes) {
    const text = make(size);
    const root = new Stub("div");
    const work = await workOf(() => draw(root, text), folder);
    results[name].push({ work, isWhole: letters(root.textContent) === letters(text) });
  }
}
process.stdout.write(JSON.stringify(results));
