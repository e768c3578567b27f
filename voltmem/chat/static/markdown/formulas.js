// Formulas in a text: $$…$$ and \[…\] on their own, \(…\) and $…$ within a line. What merely looks like one, such as
// two prices, stays text.

const LONGEST = 100; // lines; a search for the end of a formula goes no further
const PAIRS = { "$$": "$$", "\\[": "\\]", "\\(": "\\)", $: "$" };
const MATHEMATICAL = /[\^_=+<>]|\\[A-Za-z,;!]/;

export function formulas(parser) {
  const terminates = { alt: ["paragraph", "reference", "blockquote", "list"] };
  parser.block.ruler.before("fence", "formula", formulaBlock, terminates);
  parser.inline.ruler.before("escape", "formula", formulaWithin);
}

/** A rule for a formula whose first line begins with $$ or \[ and whose last line ends with the other mark. */
function formulaBlock(state, startLine, endLine, silent) {
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const place = state.bMarks[startLine] + state.tShift[startLine];
  const opens = state.src.slice(place, place + 2);
  if (opens !== "$$" && opens !== "\\[") return false;
  const first = lineOf(state, startLine);
  const last = lastLine(state, startLine, endLine, opens, first);
  // While an answer streams, a formula that it may still end is shown as one.
  const isOpen = last === null && state.env.isGrowing && first.length === 2 && endLine - startLine <= LONGEST;
  if (last === null && !isOpen) return false;
  const end = isOpen ? endLine : last + 1;
  const text = state.getLines(startLine, end, state.sCount[startLine], false).trim();
  const source = text.slice(2, isOpen ? undefined : -2).trim();
  if (!isOpen && !isFormula(opens, source)) return false;
  if (silent) return true;
  const token = state.push("formula", "", 0);
  Object.assign(token, { content: source, markup: opens, map: [startLine, end], block: true });
  token.meta = { isOpen };
  state.line = end;
  return true;
}

/** Return the number of the line that ends the formula; null if none does. */
function lastLine(state, startLine, endLine, opens, first) {
  const closes = PAIRS[opens];
  if (first.length >= 4 && first.includes(closes, 2)) return first.indexOf(closes, 2) === first.length - 2 ? startLine : null;
  for (let line = startLine + 1; line < Math.min(endLine, startLine + LONGEST); line += 1) {
    if (!state.isEmpty(line) && state.sCount[line] < state.blkIndent) return null; // it is outside of the list's item
    const text = lineOf(state, line);
    const place = text.indexOf(closes);
    if (place >= 0) return place === text.length - 2 ? line : null;
  }
  return null;
}

const lineOf = (state, line) => state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]).trimEnd();

/** A rule for a formula within a line. */
function formulaWithin(state, silent) {
  const { src, pos } = state;
  const opens = src[pos] === "$" && src[pos + 1] !== "$" ? "$" : src.slice(pos, pos + 2);
  const closes = PAIRS[opens];
  if (!closes) return false;
  const start = pos + opens.length;
  const end = next(state, closes, start, silent);
  if (end < 0 || end + closes.length > state.posMax) return false;
  const source = src.slice(start, end);
  if (opens === "$" ? !isBetweenDollars(source, src[pos - 1], src[end + 1]) : !isFormula(opens, source)) return false;
  if (!silent) Object.assign(state.push("formula", "", 0), { content: source.trim(), markup: opens, meta: {} });
  state.pos = end + closes.length;
  return true;
}

/** Return where the mark is found next. The answer is kept, so that many openings without an end are one search. */
function next(state, mark, from, silent) {
  // Looking ahead and reading are two passes, each of which only moves forward.
  const kept = ((state.nextMarks ??= {})[`${mark}${silent}`] ??= { from: Infinity, found: 0 });
  const isKnown = from >= kept.from && (kept.found < 0 || kept.found >= from);
  if (!isKnown) Object.assign(kept, { from, found: state.src.indexOf(mark, from) });
  return kept.found;
}

/** Return whether the text is a formula, and no words between brackets that were escaped. */
const isFormula = (opens, source) =>
  source.trim() !== "" && (opens === "$$" || MATHEMATICAL.test(source) || (opens === "\\(" && !/\s/.test(source.trim())));

/** Return whether the text between two dollars is a formula, and not between two prices or variables of a shell. */
function isBetweenDollars(source, before = "", after = "") {
  if (!source || /^\s|\s$|\n/.test(source) || /[\w$\\]/.test(before) || /[\w$]/.test(after)) return false;
  return !/^\d/.test(source) || !/\s/.test(source) || MATHEMATICAL.test(source);
}
