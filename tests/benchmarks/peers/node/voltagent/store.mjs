// VoltAgent's memory on PostgreSQL.
import { PostgreSQLMemoryAdapter } from "@voltagent/postgres";

const USER = "ada";

function message({ id, kind, text }) {
  const tool = { type: "tool-look", toolCallId: "t1", state: "output-available", input: { text }, output: text };
  return { id, role: kind === "user" ? "user" : "assistant", parts: [kind === "tool" ? tool : { type: "text", text }] };
}

export class Store {
  constructor(connection) {
    this.connection = connection;
  }

  async open() {
    this.memory = new PostgreSQLMemoryAdapter({ connection: this.connection });
  }

  async close() {}

  async create(id) {
    await this.memory.createConversation({ id, resourceId: "agent", userId: USER, title: id, metadata: {} });
  }

  async add(conversation, messages) {
    if (messages.length === 1) await this.memory.addMessage(message(messages[0]), USER, conversation);
    else await this.memory.addMessages(messages.map(message), USER, conversation);
  }

  async load(conversation, newest) {
    return (await this.memory.getMessages(USER, conversation, { limit: newest })).length;
  }

  async list(page) {
    const options = { limit: page, orderBy: "updated_at", orderDirection: "DESC" };
    return (await this.memory.getConversationsByUserId(USER, options)).length;
  }
}
