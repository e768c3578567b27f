// The words of a search in the open conversation: marked, with a bar that leads to the next and the previous place.

import { announce, byId, element, iconButton } from "./dom.js";
import { showAll } from "./log.js";
import { t } from "./texts.js";

const log = byId("messages");
const text = element("span", { class: "found-count" });
const bar = element(
  "div",
  { class: "found", role: "group", "aria-label": t("Matches in this conversation"), hidden: true },
  text,
  iconButton("up", t("Previous match"), () => go(-1), { "aria-keyshortcuts": "Shift+F3" }),
  iconButton("below", t("Next match"), () => go(1), { "aria-keyshortcuts": "F3" }),
  iconButton("close", t("End the search"), () => (hide(), byId("composer-text").focus())),
);

let pattern = null;
let ranges = [];
let current = null;
let frame = null;

const observer = new MutationObserver(() => {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(collect); // messages come, and answers grow
});

bar.addEventListener("keydown", (event) => event.key === "Escape" && (hide(), byId("composer-text").focus()));
document.addEventListener("keydown", (event) => {
  if (bar.hidden || event.key !== "F3") return;
  event.preventDefault();
  go(event.shiftKey ? -1 : 1);
});

/** Mark these words, as somebody typed them into a search, and show the bar. */
export function show(words) {
  pattern = patternOf(words);
  if (!pattern) return hide();
  if (!bar.isConnected) byId("scroller").before(bar);
  [current, ranges] = [null, []];
  bar.hidden = false;
  showAll(true); // as long as somebody looks through it
  observer.observe(log, { childList: true, subtree: true, characterData: true });
  collect();
}

export function hide() {
  if (!bar.hidden) showAll(false);
  bar.hidden = true;
  observer.disconnect();
  for (const name of ["found", "found-current"]) globalThis.CSS?.highlights?.delete(name);
}

// --- the words --------------------------------------------------------------------------------------------------

/** Return the text without case and accents, as the search compares it. Each character keeps its place. */
const plain = (given) => given.replace(/[^\x00-\x7f]/g, (each) => each.normalize("NFD")[0]).toLowerCase().padEnd(given.length).slice(0, given.length);

const UNSPACED = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u;

/** Return what matches any of the words; the last one may be the beginning of a word. Null: there are none. */
function patternOf(words) {
  const terms = [...words.matchAll(/(-?)(?:"([^"]*)"?|(\S+))/g)].filter(([, without]) => !without).map(([, , phrase, word]) => plain(phrase ?? word));
  const sources = terms
    .map((term, place) => [term.match(/[\p{L}\p{N}]+/gu), place === terms.length - 1 && !/\s$/.test(words)])
    .filter(([parts]) => parts)
    .map(([parts, isPrefix]) => {
      const isUnspaced = UNSPACED.test(parts.join(""));
      return `${isUnspaced ? "" : "(?<![\\p{L}\\p{N}])"}${parts.join("[^\\p{L}\\p{N}]+")}${isUnspaced || isPrefix ? "" : "(?![\\p{L}\\p{N}])"}`;
    });
  return sources.length ? new RegExp(sources.join("|"), "gu") : null;
}

// --- the places -------------------------------------------------------------------------------------------------

function collect() {
  ranges = [];
  for (const body of log.querySelectorAll(".body")) {
    const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      /** @type {any} */
      const node = walker.currentNode;
      for (const found of plain(node.data).matchAll(pattern)) {
        const range = new Range();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        ranges.push(range);
      }
    }
  }
  const isSame = ({ startContainer, startOffset }) => startContainer === current?.startContainer && startOffset === current.startOffset;
  current = ranges.find(isSame) ?? inLinked() ?? ranges[0] ?? null;
  mark();
}

/** Return the first place in the message that the address names. */
function inLinked() {
  const id = decodeURIComponent(location.hash.slice(1));
  return ranges.find(({ startContainer }) => startContainer.parentElement.closest(".message")?.dataset.id === id);
}

function mark() {
  const place = ranges.indexOf(current) + 1;
  text.textContent = ranges.length ? t("{place} of {count}", { place, count: ranges.length }) : t("No matches");
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.set("found", new Highlight(...ranges));
  CSS.highlights.set("found-current", new Highlight(...(current ? [current] : [])));
}

/** Go to another place. After the last one comes the first one again. */
function go(step) {
  if (!ranges.length) return;
  current = ranges[(ranges.indexOf(current) + step + ranges.length) % ranges.length];
  mark();
  const parent = current.startContainer.parentElement;
  for (let each = parent.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
  parent.scrollIntoView({ block: "center" });
  announce(`${text.textContent}: ${parent.textContent.slice(0, 200)}`);
}
