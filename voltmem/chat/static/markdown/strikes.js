// Struck-out text between one or two tildes, as in GitHub's dialect.

const TILDE = "~".charCodeAt(0);

export function strikes(parser) {
  parser.inline.ruler.at("strikethrough", tildes);
  parser.inline.ruler2.at("strikethrough", strikeOut);
}

/** A rule for runs of tildes. One tilde within a word is none, since it means a range: "10~20". */
function tildes(state, silent) {
  if (silent || state.src.charCodeAt(state.pos) !== TILDE) return false;
  let run = state.scanDelims(state.pos, true);
  if (run.length === 1) run = state.scanDelims(state.pos, false);
  state.push("text", "", 0).content = "~".repeat(run.length);
  if (run.length <= 2) {
    // The markers of one tilde and of two differ, so that each ends its own kind only.
    const kind = { marker: -run.length, length: 0, token: state.tokens.length - 1, end: -1 };
    state.delimiters.push({ ...kind, open: run.can_open, close: run.can_close });
  }
  state.pos += run.length;
  return true;
}

function strikeOut(state) {
  for (const delimiters of [state.delimiters, ...state.tokens_meta.map((meta) => meta?.delimiters ?? [])]) {
    for (const { marker, token, end } of delimiters) {
      if (marker >= 0 || end < 0) continue;
      Object.assign(state.tokens[token], { type: "s_open", nesting: 1, content: "" });
      Object.assign(state.tokens[delimiters[end].token], { type: "s_close", nesting: -1, content: "" });
    }
  }
}
