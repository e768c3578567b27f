// Answers "decode": takes the rows of a history in assistant-ui's own format to assistant-ui's own decoder. Returns
// {refused, stored}: the contents of which it drops a part, and the rows as the documentation's adapter stores them.
"use strict";

const { createInterface } = require("node:readline");
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");

console.warn = () => {};
const load = (path) => import(pathToFileURL(join(process.env.NODE_PATH, "@assistant-ui/core/dist", path)));

async function decode(rows) {
  const { auiV0Decode, auiV0DecodeSafely = auiV0Decode } = await load("react/runtimes/cloud/auiV0.js");
  const { fromThreadMessageLike } = await load("runtime/utils/thread-message-like.js");
  const refused = [];
  const stored = rows.map(({ id, parent_id, content }) => {
    const row = { id, parent_id, content, format: "aui/v0", created_at: new Date() };
    const decoded = auiV0DecodeSafely(row)?.message.content ?? [];
    if (decoded.length !== content.content.length) refused.push(content);
    const like = { ...content, id, createdAt: new Date(content.createdAt ?? Date.now()) };
    const { id: _, ...own } = fromThreadMessageLike(like, id, { type: "complete", reason: "unknown" });
    return { id, parent_id, content: own };
  });
  return { refused, stored };
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, arguments: [rows] } = JSON.parse(line);
  const answer = await decode(rows).then((answer) => ({ answer }), (error) => ({ error: String(error.stack ?? error) }));
  process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
});
