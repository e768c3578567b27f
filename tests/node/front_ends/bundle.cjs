// Reads {page, documented}: the name of a page in this folder, and the code that it imports from "documented".
// Writes the page as one script for a browser, with the packages of NODE_PATH.
"use strict";

const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const esbuild = require("esbuild");

const { page, documented } = JSON.parse(readFileSync(0, "utf8"));

const fromDocumentation = {
  name: "documented",
  setup(build) {
    build.onResolve({ filter: /^documented$/ }, () => ({ path: "documented", namespace: "documented" }));
    build.onLoad({ filter: /.*/, namespace: "documented" }, () => ({
      contents: documented,
      loader: "tsx",
      resolveDir: __dirname,
    }));
  },
};

async function main() {
  const { outputFiles } = await esbuild.build({
    entryPoints: [join(__dirname, page)],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    define: { "process.env.NODE_ENV": '"development"', "process.env.NEXT_PUBLIC_ASSISTANT_BASE_URL": "undefined" },
    nodePaths: process.env.NODE_PATH.split(":"),
    plugins: [fromDocumentation],
    logLevel: "error",
  });
  process.stdout.write(JSON.stringify(outputFiles[0].text));
}

main();
