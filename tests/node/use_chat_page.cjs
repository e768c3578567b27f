// Reads {page, address}: the code for useChat from the documentation, and the address of the application.
// Writes what a chat with four photos saves and opens again: {begun, sizes, error, opened}.
"use strict";

const { readFileSync } = require("node:fs");
const ts = require("typescript");

const { page, address } = JSON.parse(readFileSync(0, "utf8"));

const sizes = [];
const send = globalThis.fetch;
globalThis.fetch = (path, options = {}) => {
  sizes.push(options.body?.length ?? 0);
  return send(address + path, { ...options, headers: { ...options.headers, "X-User": "ada" } });
};

const compilerOptions = { module: "commonjs", target: "es2022", jsx: "react-jsx" };
const { outputText } = ts.transpileModule(page, { compilerOptions });
const exported = {};
new Function("exports", "require", outputText)(exported, () => ({}));

const text = (words) => ({ type: "text", text: words });
const photo = (bytes) => ({ type: "file", mediaType: "image/jpeg", url: `data:image/jpeg;base64,${"A".repeat(bytes)}` });

async function main() {
  const { stored: begun, save } = await exported.open("new");
  const messages = [];
  for (let round = 0; round < 4; round++) {
    messages.push({ id: `u${round}`, role: "user", parts: [photo(4_000_000), text("And this?")] });
    messages.push({ id: `a${round}`, role: "assistant", parts: [text("Nice.")] });
    await save({ messages });
  }
  messages[7] = { id: "again", role: "assistant", parts: [text("Very nice.")] };
  await save({ messages });
  await save({ messages });
  const error = await save({ messages: [...messages, { id: "u9", role: "user", parts: [photo(11_000_000)] }] }).catch(
    ({ message }) => message,
  );
  const { stored } = await exported.open("new");
  const opened = JSON.stringify(stored) === JSON.stringify(messages) ? "as it was saved" : stored.map(({ id }) => id);
  process.stdout.write(JSON.stringify({ begun, sizes, error, opened }));
}

main();
