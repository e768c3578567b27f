// The server's API, with a function for each call. A failed call throws a Problem with the server's message.

import { base } from "./addresses.js";
import { byId } from "./dom.js";
import { t } from "./texts.js";

// The responses to the first requests, by their paths: the page carries them.
const carried = JSON.parse(byId("carried")?.textContent || "{}");
let isStarting = true;

export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }

  get isUnreachable() {
    return this.status === 0;
  }
}

function addressed(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/**
 * Send a request.
 *
 * @param {string} method
 * @param {string} path
 * @param {{body?: any, file?: File, query?: object, signal?: AbortSignal, headers?: Record<string, string>}} options
 */
async function send(method, path, { body, file, query, signal, headers = {} } = {}) {
  const url = `${base}api/${addressed(path, query)}`;
  if (body !== undefined) headers = { ...headers, "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(url, { method, signal, headers, body: file ?? (body && JSON.stringify(body)) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(t("The server can’t be reached."));
  }
  if (!response.ok) throw await problem(response);
  return response;
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : body.title;
  return new Problem(detail ?? t("The server answered with {status}.", { status: response.status }), response.status);
}

/** Ask the server from now on, also for what came with the page: it may have changed. */
export const forgetCarried = () => (isStarting = false);

async function call(method, path, options) {
  const there = isStarting && method === "GET" && carried[addressed(path, options?.query)];
  if (there) return there;
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

const at = (id) => `conversations/${encodeURIComponent(id)}`;

export const conversations = (query) => call("GET", "conversations", { query });
export const conversation = (id) => call("GET", at(id));
export const create = () => call("POST", "conversations", { body: {} });
export const change = (id, changes) => call("PATCH", at(id), { body: changes });
export const remove = (id) => call("DELETE", at(id));
export const restore = (id) => call("POST", `${at(id)}/restore`);
export const markRead = (id) => call("POST", `${at(id)}/read`, { body: {} });
export const fork = (id, upTo) => call("POST", `${at(id)}/fork`, { body: { upTo } });

/** Load a page of messages: what each one says, in the parts of the AI SDK's UIMessages. The server reads them. */
export async function messages(id, query) {
  const page = await call("GET", `${at(id)}/messages`, { query: { ...query, uiMessages: true } });
  return { ...page, items: page.items.map(said) };
}

// A message without parts says nothing by itself, such as the result of a tool, which is in the part of its call.
export const said = ({ id, createdAt, metadata, uiMessage }) => ({ id, createdAt, metadata, role: null, parts: [], ...uiMessage });

export const deleted = () => call("GET", "deleted");
export const purge = (id) => call("DELETE", `deleted/${encodeURIComponent(id)}`);
export const purgeAll = () => call("DELETE", "deleted");

export const tags = () => call("GET", "tags");
export const replaceTag = (body) => call("PATCH", "tags", { body });

export const shares = (id) => call("GET", `${at(id)}/shares`);
export const share = (id) => call("POST", `${at(id)}/share`, { body: {} });
export const revoke = (token) => call("DELETE", `shares/${encodeURIComponent(token)}`);
export const shared = (token, after) => call("GET", `shared/${encodeURIComponent(token)}`, { query: { after } });

export const search = (q, after, signal, more) => call("GET", "search", { query: { q, after, ...more }, signal });

/** Ask a question. Resolves to the events of its answer. */
export const ask = async (question, signal) => events(await send("POST", "chat", { body: question, signal }));

/** Join the answer of a conversation after an event. Resolves to its events; null if none is under way. */
export async function join(id, lastEventId, signal) {
  const headers = lastEventId ? { "Last-Event-ID": lastEventId } : {};
  const response = await send("GET", `chat/${encodeURIComponent(id)}/stream`, { headers, signal });
  return response.status === 204 ? null : events(response);
}

/** Decide about the calls of an answer that wait for approval. Resolves to the events of the answer, which goes on. */
export const decide = async (id, answerId, decisions, signal) =>
  events(
    await send("POST", `chat/${encodeURIComponent(id)}/answers/${encodeURIComponent(answerId)}/decisions`, {
      body: { decisions },
      signal,
    }),
  );

/** Store a file. Resolves to {url}. */
export const upload = (file) =>
  call("POST", "files", { file, headers: { "Content-Type": file.type || "application/octet-stream" } });

export const rate = (id, answerId, type) =>
  call("PUT", `chat/${encodeURIComponent(id)}/answers/${encodeURIComponent(answerId)}/feedback`, { body: { type } });

export const stop = (id) => call("POST", `chat/${encodeURIComponent(id)}/stop`);

/** Load what became of the answers of a conversation that are not complete. */
export const unfinished = async (id) => (await call("GET", `chat/${encodeURIComponent(id)}/answers`)).items;

/** Load the ids of the conversations whose answers are under way. */
export const answering = async () => (await call("GET", "answers")).items.map((each) => each.conversationId);

export const branches = async (id) => (await call("GET", `${at(id)}/branches`)).items;
export const choose = (id, messageId) => call("POST", `${at(id)}/messages/${encodeURIComponent(messageId)}/choose`);

/** Yield the events of a stream as they arrive: {name, data, id}. */
async function* events(response) {
  const text = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  try {
    for (let chunk = await text.read(); !chunk.done; chunk = await text.read()) {
      const blocks = (unread + chunk.value).split(/\r?\n\r?\n/);
      unread = blocks.pop();
      for (const block of blocks) {
        const { event, data, id } = fields(block);
        if (data !== undefined) yield { name: event, data: JSON.parse(data), id };
      }
    }
  } catch {
    throw new Problem(t("The connection broke before the answer was complete."));
  }
}

const fields = (block) => Object.fromEntries(block.split(/\r?\n/).map((line) => line.split(/: ?(.*)/s)));

const CHANGES = ["conversation.created", "conversation.updated", "conversation.deleted", "message.added"];

const [SHORTEST_PAUSE, LONGEST_PAUSE] = [1_000, 60_000];

/** Watch for changes, made here or in another tab. Returns a function that stops watching. */
export function watch({ onReady, onChange, onLost }) {
  let source, timer;
  let pause = SHORTEST_PAUSE;
  const ready = () => {
    pause = SHORTEST_PAUSE;
    onReady();
  };
  const lost = () => {
    onLost();
    if (source.readyState !== EventSource.CLOSED) return; // after a broken connection, the browser reconnects by itself
    timer = setTimeout(connect, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  };
  const connect = () => {
    source = new EventSource(`${base}api/chat/events`);
    for (const name of ["ready", "reconnected"]) source.addEventListener(name, ready);
    for (const name of CHANGES) source.addEventListener(name, (event) => onChange(JSON.parse(event.data)));
    source.addEventListener("error", lost);
  };
  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
