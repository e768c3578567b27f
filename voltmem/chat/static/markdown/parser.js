// CommonMark with GitHub's tables, task lists, struck-out text and bare addresses, with formulas, and with footnotes. HTML is
// text.

import footnotes from "../vendor/markdown-it-footnote/index.mjs";
import MarkdownIt from "../vendor/markdown-it/markdown-it.esm.min.mjs";
import { autolinks } from "./autolinks.js";
import { formulas } from "./formulas.js";
import { strikes } from "./strikes.js";

const DEEPEST = 40; // a list in a list is two levels

const NOTE = /^ {0,3}\[\^[^\]\s]+\]:/m; // defines a footnote
const MOST_NOTES = 500; // with more, what reads them would take quadratic time: they stay text

function made() {
  // @ts-expect-error: the released file says nothing of its types
  const parser = new MarkdownIt({ html: false });
  parser.use(autolinks).use(strikes).use(formulas);
  parser.block.ruler.before("table", "deep", deep);
  return parser;
}

const parser = made();
let withNotes = null; // another parser, for texts with footnotes

function parserFor(text) {
  if (!NOTE.test(text) || text.split("[^", MOST_NOTES + 2).length > MOST_NOTES + 1) return parser;
  return (withNotes ??= made().use(footnotes).disable("footnote_inline"));
}

/** Return the tokens of a text, and whether it defines what links or footnotes refer to. isGrowing: the text's end may be missing. */
export function parse(text, { isGrowing = false } = {}) {
  const env = { isGrowing };
  const tokens = parserFor(text).parse(text, env);
  for (const token of tokens) if (token.type === "fence") token.info = parser.utils.unescapeAll(token.info);
  return { tokens, hasReferences: Object.keys({ ...env.references, ...env.footnotes }).length > 0 };
}

/** A rule that takes what is nested too deep as text; the parser itself would leave it out. */
function deep(state, startLine, endLine, silent) {
  if (silent || state.level < DEEPEST) return false;
  let line = startLine + 1;
  while (line < endLine && (state.isEmpty(line) || state.sCount[line] >= state.blkIndent)) line += 1;
  state.push("deep", "", 0).content = state.getLines(startLine, line, state.blkIndent, false).trim();
  state.line = line;
  return true;
}
