// Reads {page, address}: the code for attached files from the documentation, and the address of the application.
// Writes {part, status, bytes, error}: the part of a message, what its address gives, and what a file that is too large says.
"use strict";

const { readFileSync } = require("node:fs");
const ts = require("typescript");

const { page, address } = JSON.parse(readFileSync(0, "utf8"));

const send = globalThis.fetch;
const asAda = (path, options = {}) =>
  send(new URL(path, address), { ...options, headers: { ...options.headers, "X-User": "ada" } });
globalThis.fetch = asAda;

const { outputText } = ts.transpileModule(page, { compilerOptions: { module: "commonjs", target: "es2022" } });
const exported = {};
new Function("exports", "require", outputText)(exported, () => ({}));

async function main() {
  const part = await exported.attach(new File(["a note"], "note.txt", { type: "text/plain" }));
  const answer = await asAda(part.url);
  const error = await exported.attach(new File(["too large, by far"], "x")).catch(({ message }) => message);
  process.stdout.write(JSON.stringify({ part, status: answer.status, bytes: await answer.text(), error }));
}

main();
