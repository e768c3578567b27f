// Reads {name: chunks of a UI message stream}; writes the UIMessages that the AI SDK makes: {"name, version": message},
// or null where a version refuses the stream.
"use strict";

const { readFileSync } = require("node:fs");

const versions = { 5: require("ai5"), 6: require("ai"), 7: require("ai7") };

/** The chunks go through the AI SDK's transport, which checks them against its schema. */
async function received(ai, chunks) {
  const body = chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("") + "data: [DONE]\n\n";
  const fetch = async () => new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  const transport = new ai.DefaultChatTransport({ api: "http://test/", fetch });
  return transport.sendMessages({ chatId: "c", messages: [], trigger: "submit-message" });
}

async function main() {
  const made = {};
  for (const [name, chunks] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
    for (const [version, ai] of Object.entries(versions)) {
      try {
        const stream = await received(ai, chunks);
        for await (const message of ai.readUIMessageStream({ stream, terminateOnError: true })) {
          made[`${name}, ${version}`] = message;
        }
      } catch {
        made[`${name}, ${version}`] = null;
      }
    }
  }
  process.stdout.write(JSON.stringify(made));
}

main();
