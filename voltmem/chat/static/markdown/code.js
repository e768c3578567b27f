// Blocks of code, in colours where the language is known. What colours them is loaded with the first one.

import { copyText } from "../clipboard.js";
import { element, iconButton } from "../dom.js";
import { t } from "../texts.js";

const LONGEST = 20_000; // characters; longer blocks stay plain
const DEADLINE = 1000; // milliseconds, after which a block stays plain: some texts take the highlighter minutes
const KEPT = 100; // coloured blocks, for a text that is drawn again
const LANGUAGES = {
  bash: "bash console sh shell zsh", c: "c h", cpp: "cpp c++ cc cxx hpp", csharp: "csharp c# cs", css: "css", diff: "diff patch",
  dockerfile: "dockerfile docker", go: "go golang", graphql: "graphql gql", ini: "ini toml", java: "java",
  javascript: "javascript js jsx mjs cjs", json: "json json5 jsonc jsonl", kotlin: "kotlin kt kts", lua: "lua",
  makefile: "makefile make mk", markdown: "markdown md", pgsql: "pgsql postgres postgresql plpgsql", php: "php",
  powershell: "powershell ps1 pwsh", python: "python py python3", r: "r", ruby: "ruby rb", rust: "rust rs", sql: "sql",
  swift: "swift", typescript: "typescript ts tsx mts cts", xml: "xml html svg xhtml vue", yaml: "yaml yml",
};
const MODULES = new Map(Object.entries(LANGUAGES).flatMap(([name, all]) => all.split(" ").map((each) => [each, name])));
const WITHIN = { xml: ["css", "javascript"], markdown: ["xml"], php: ["xml"] }; // languages in other languages
// The kinds of words that have a colour of their own, and those that share it.
const KINDS = {
  keyword: "keyword built_in selector-tag name section literal operator meta", string: "string regexp addition char link code",
  number: "number symbol bullet variable template-variable attr attribute property", comment: "comment quote doctag",
  title: "title type class selector-id selector-class selector-attr selector-pseudo", deletion: "deletion",
};
const COLOURS = new Map(Object.entries(KINDS).flatMap(([kind, all]) => all.split(" ").map((each) => [each, kind])));

/** Return the element of a block. It is plain while it grows. */
export function codeBlock(code, language, { isGrowing = false } = {}) {
  const copy = iconButton("copy", t("Copy the code"), () => copyText(copy, code));
  const shown = element("code", {}, code);
  const name = MODULES.get(language.toLowerCase());
  if (name && !isGrowing && code.length <= LONGEST) colour({ shown, code, name });
  return element(
    "figure",
    { class: "code", dir: "ltr" },
    element("figcaption", {}, language || t("text"), copy),
    element("pre", { tabindex: "0", role: "group", "aria-label": t("Code") }, shown),
  );
}

// --- the worker that colours, one block after the other, so that the page never waits for it ---------------------

let worker = null;
let deadline = null;
const waiting = []; // the first one is in the worker
const kept = new Map(); // what the worker made of a code; null for one that stays plain

const key = ({ name, code }) => `${name} ${code}`;

function colour(job) {
  if (kept.has(key(job))) return show(job, kept.get(key(job)));
  waiting.push(job);
  if (waiting.length === 1) begin();
}

function begin() {
  const job = waiting[0];
  if (!job) return;
  if (kept.has(key(job))) return end(kept.get(key(job)));
  try {
    worker ??= started();
    worker.postMessage({ code: job.code, names: [job.name, ...(WITHIN[job.name] ?? [])] });
  } catch {
    waiting.splice(0); // there are no workers here
  }
}

function started() {
  const made = new Worker(new URL("highlighter.js", import.meta.url), { type: "module" });
  made.addEventListener("message", ({ data }) => {
    if (data === "begun") deadline = setTimeout(giveUp, DEADLINE);
    else end(data);
  });
  made.addEventListener("error", giveUp);
  return made;
}

function giveUp() {
  worker.terminate();
  worker = null;
  if (waiting.length) end(null);
}

/** Show what was made of the first block that waits, and go on with the next one. */
function end(pieces) {
  clearTimeout(deadline);
  const job = waiting.shift();
  if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
  kept.set(key(job), pieces);
  show(job, pieces);
  begin();
}

function show({ shown }, pieces) {
  if (pieces) shown.replaceChildren(...pieces.map(coloured));
}

/** Return the node of a piece: a text, or the kind of a word with its own pieces. */
function coloured(piece) {
  if (typeof piece === "string") return document.createTextNode(piece);
  const [scope, pieces] = piece;
  const kind = COLOURS.get(scope?.split(".")[0]);
  return element("span", { class: kind && `code-${kind}` }, ...pieces.map(coloured));
}
