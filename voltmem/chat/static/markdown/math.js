// Formulas as KaTeX draws them, for eyes and, as MathML, for screen readers. KaTeX is loaded with the first one.

import { element } from "../dom.js";
import { t } from "../texts.js";

const LONGEST = 2000; // characters
const DEEPEST = 200; // elements in elements: a formula takes about five for each of its own levels
const KEPT = 500; // drawn formulas, for a text that is drawn again while it grows
const DEFINES = /\\(?:[gex]?def|let|futurelet|(?:re)?newcommand|providecommand)(?![A-Za-z])/; // a short text, a large formula
const OPTIONS = { throwOnError: true, strict: "ignore", trust: false, maxSize: 20, maxExpand: 500 };
const SLICE = 10; // milliseconds, after which the page gets its turn
const ENDS = { "$$": "$$", "\\[": "\\]", "\\(": "\\)", $: "$" };

let katex = null;
let loading = null;
const kept = new Map();
const waiting = [];

/** Return the formula's element. It shows the source until it is drawn, and if that fails. */
export function formula({ content, markup, block, meta }) {
  const isDisplayed = markup === "$$" || markup === "\\[";
  const source = markup + content + (meta.isOpen ? "" : ENDS[markup]);
  const made = element(block ? "div" : "span", { class: isDisplayed ? "formula formula-displayed" : "formula" });
  made.append(element("code", {}, source));
  if (meta.isOpen || content.length > LONGEST || DEFINES.test(content)) return made;
  const job = { made, content, isDisplayed };
  const drawn = kept.get(key(job));
  if (drawn) show(job, drawn.cloneNode(true));
  else later(job);
  return made;
}

const key = ({ content, isDisplayed }) => `${isDisplayed}${content}`;

function show({ made, isDisplayed }, drawn) {
  made.replaceChildren(drawn);
  if (isDisplayed) for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": t("Formula") })) made.setAttribute(name, value);
}

function later(job) {
  waiting.push(job);
  if (waiting.length > 1) return;
  loading ??= load();
  loading.then(draw, () => waiting.splice(0));
}

/** Draw the formulas that wait, and let the page have its turn now and then. */
function draw() {
  const until = performance.now() + SLICE;
  while (waiting.length && performance.now() < until) drawOne(waiting.shift());
  if (waiting.length) setTimeout(draw);
}

function drawOne(job) {
  if (!job.made.isConnected) return; // drawn anew meanwhile
  const drawn = kept.get(key(job)) ?? rendered(job);
  if (drawn) show(job, drawn.cloneNode(true));
}

/** Return the drawn formula; null if it is none. */
function rendered(job) {
  const drawn = element("span");
  try {
    katex.render(job.content, drawn, { ...OPTIONS, displayMode: job.isDisplayed });
  } catch {
    return null;
  }
  if (depth(drawn) > DEEPEST) return null;
  if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
  kept.set(key(job), drawn);
  return drawn;
}

function depth(root) {
  let deepest = 0;
  const level = [[root, 1]];
  while (level.length) {
    const [each, at] = level.pop();
    deepest = Math.max(deepest, at);
    for (const child of each.children) level.push([child, at + 1]);
  }
  return deepest;
}

async function load() {
  const style = element("link", { rel: "stylesheet", href: new URL("../vendor/katex/katex.min.css", import.meta.url).href });
  const isStyled = new Promise((resolve, reject) => {
    style.addEventListener("load", resolve);
    style.addEventListener("error", reject);
  });
  document.head.append(style);
  await Promise.all([import("../vendor/katex/katex.min.js"), isStyled]);
  katex = globalThis.katex; // the released file is no module
}
