// A VoltAgent application: its memory, with the methods by their names, and "ask", a turn of an agent with that memory.
// node voltagent.cjs CONNECTION SCHEMA
"use strict";

const { createInterface } = require("node:readline");
const write = process.stdout.write.bind(process.stdout);
for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = () => {};  // its log would be in the answers

const { Agent, Memory } = require("@voltagent/core");
const { PostgreSQLMemoryAdapter } = require("@voltagent/postgres");
const { MockLanguageModelV3 } = require("ai/test");

const [connection, schema] = process.argv.slice(2);
const memory = new PostgreSQLMemoryAdapter({ connection, schema });
const prompts = [];
const model = new MockLanguageModelV3({
  doGenerate: async ({ prompt }) => {
    prompts.push(prompt);
    return {
      content: [{ type: "text", text: `answer ${prompts.length}` }],
      finishReason: { unified: "stop", raw: "stop" },
      usage: { inputTokens: { total: 1 }, outputTokens: { total: 1 } },
      warnings: [],
    };
  },
});
const agent = new Agent({ name: "agent", instructions: "Be brief.", model, memory: new Memory({ storage: memory }) });

const settled = async (userId, conversationId, text) => {
  for (let tries = 0; tries < 200; tries++) {
    const messages = await memory.getMessages(userId, conversationId);
    if (messages.some((message) => JSON.stringify(message.parts).includes(JSON.stringify(text)))) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`the agent's answer was not stored: ${text}`);
};

const calls = {
  // Returns the answer, and what the model was shown: [role, content] for each message.
  async ask(question, userId, conversationId) {
    const { text } = await agent.generateText(question, { userId, conversationId });
    await settled(userId, conversationId, text);  // it is stored in the background
    await settled(userId, conversationId, question);
    return { text, prompt: prompts.at(-1).map(({ role, content }) => [role, content]) };
  },
  // Calls methods of the memory at once. Returns the error of each, or null.
  async together(methods) {
    const results = await Promise.allSettled(methods.map(([name, ...given]) => memory[name](...given)));
    return results.map((result) => (result.status === "rejected" ? String(result.reason.message) : null));
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, call, arguments: given } = JSON.parse(line);
  try {
    const answer = await (calls[call] ?? memory[call].bind(memory))(...given);
    write(`${JSON.stringify({ id, answer: answer ?? null })}\n`);
  } catch (error) {
    write(`${JSON.stringify({ id, error: String(error.stack ?? error) })}\n`);
  }
});
lines.on("close", async () => {
  await memory.close();
  process.exit(0);
});
