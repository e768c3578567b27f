// Reads {address, id}. Asks, asks again and resumes with the AI SDK's transport; writes the UIMessages that it makes.
"use strict";

const { readFileSync } = require("node:fs");
const ai = require("ai");

async function message(stream) {
  let last = null;
  for await (const each of ai.readUIMessageStream({ stream, terminateOnError: true })) last = each;
  return last;
}

async function main() {
  const { address, id } = JSON.parse(readFileSync(0, "utf8"));
  const api = `${address}/api/ai/chat`;
  const transport = new ai.DefaultChatTransport({ api, headers: { "X-User": "ada" } });
  const messages = [{ id: "question-1", role: "user", parts: [{ type: "text", text: "What did you say?" }] }];
  const send = async (trigger) => message(await transport.sendMessages({ chatId: id, messages, trigger }));
  const asked = await send("submit-message");
  const again = await send("regenerate-message");
  const stream = await transport.reconnectToStream({ chatId: id });
  process.stdout.write(JSON.stringify({ asked, again, resumed: stream && (await message(stream)) }));
}

main();
