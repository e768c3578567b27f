// Reads {name: UIMessages}; writes what the AI SDK's versions refuse: {"name, version": error}.
"use strict";

const { readFileSync } = require("node:fs");

const versions = { 5: require("ai5"), 6: require("ai"), 7: require("ai7") };

async function main() {
  const refused = {};
  for (const [name, messages] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
    for (const [version, { validateUIMessages, convertToModelMessages }] of Object.entries(versions)) {
      try {
        await validateUIMessages({ messages });
        const prompt = await convertToModelMessages(messages);
        const parts = prompt.flatMap(({ content }) => (typeof content === "string" ? [] : content));
        const answered = parts.filter(({ type }) => type === "tool-result").map(({ toolCallId }) => toolCallId);
        const open = parts.filter(({ type, toolCallId }) => type === "tool-call" && !answered.includes(toolCallId));
        if (open.length) throw new Error(`calls without a result: ${open.map(({ toolCallId }) => toolCallId)}`);
      } catch (error) {
        refused[`${name}, ${version}`] = String(error.message ?? error).slice(0, 2000);
      }
    }
  }
  process.stdout.write(JSON.stringify(refused));
}

main();
