// Mastra's storage on PostgreSQL: the part of it that holds threads and their messages.
import { PostgresStore } from "@mastra/pg";

const USER = "ada";

export class Store {
  constructor(connection) {
    this.connection = connection;
  }

  async open() {
    this.store = new PostgresStore({ id: "benchmark", connectionString: this.connection });
    await this.store.init();
    this.memory = await this.store.getStore("memory");
  }

  async close() {
    await this.store.close();
  }

  async create(id) {
    const now = new Date();
    await this.memory.saveThread({
      thread: { id, resourceId: USER, title: id, metadata: {}, createdAt: now, updatedAt: now },
    });
  }

  async add(conversation, messages) {
    await this.memory.saveMessages({ messages: messages.map((said) => message(said, conversation)) });
  }

  async load(threadId, newest) {
    const orderBy = { field: "createdAt", direction: "DESC" };
    return (await this.memory.listMessages({ threadId, perPage: newest, page: 0, orderBy })).messages.length;
  }

  async list(page) {
    const orderBy = { field: "updatedAt", direction: "DESC" };
    const found = await this.memory.listThreads({ perPage: page, page: 0, orderBy, filter: { resourceId: USER } });
    return found.threads.length;
  }
}

function message({ id, kind, text }, threadId) {
  const call = { state: "result", toolCallId: "t1", toolName: "look", args: { text }, result: text };
  const part = kind === "tool" ? { type: "tool-invocation", toolInvocation: call } : { type: "text", text };
  return {
    id,
    threadId,
    resourceId: USER,
    role: kind === "user" ? "user" : "assistant",
    type: "v2",
    createdAt: new Date(),
    content: { format: 2, parts: [part] },
  };
}
