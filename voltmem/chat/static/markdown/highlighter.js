// A worker: colours a block of code. It answers { code, names } with "begun" when the languages of these names are
// loaded, and with pieces: texts, and [kind of word, its pieces]. The first of the names is the code's own language.

import highlighter from "../vendor/highlight/core.min.js";

addEventListener("message", async ({ data: { code, names } }) => {
  let pieces = null;
  try {
    await Promise.all(names.map(load));
    postMessage("begun");
    const { _emitter } = highlighter.highlight(code, { language: names[0], ignoreIllegals: true });
    pieces = piecesOf(_emitter.rootNode);
  } catch {
    // the code stays plain
  }
  postMessage(pieces);
});

async function load(name) {
  if (highlighter.getLanguage(name)) return;
  highlighter.registerLanguage(name, (await import(`../vendor/highlight/languages/${name}.min.js`)).default);
}

const piecesOf = ({ children }) => children.map((each) => (typeof each === "string" ? each : [each.scope, piecesOf(each)]));
