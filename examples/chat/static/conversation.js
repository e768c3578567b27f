// The conversation that is open: its messages, those that stream into it, and what a person does with each.

import * as api from "./api.js";
import { announce, arrange, byId, element, whenNear } from "./dom.js";
import { MessageView, textOf } from "./message.js";
import { find, learn, removed } from "./store.js";
import { tell, tellIfNew, toast } from "./toast.js";
import { welcome } from "./welcome.js";

const PAGE = 30;
const NEAR_THE_END = 120; // pixels: whoever is so near follows what is added

const scroller = byId("scroller");
const log = byId("messages");
const toNewest = byId("to-newest");
const older = element("div", { class: "sentinel" });
const newer = element("div", { class: "sentinel" });
const views = new Map();
const streams = new Map(); // by conversation: an answer goes on while another conversation is looked at

let id = null; // of the conversation that is open; null: one that is still to be made
let messages = []; // oldest first
let hasOlder = false;
let hasNewer = false;
let request = null; // the latest to open something
let asked = 0; // how often the newest messages were asked for
let shown = 0; // the last of these whose answer is shown
let navigate;
let onBusy;
let lookAgain = () => {};

export function startConversation(options) {
  ({ navigate, onBusy } = options);
  const lookers = [
    whenNear(older, scroller, () => hasOlder && load("older")),
    whenNear(newer, scroller, () => hasNewer && load("newer")),
  ];
  lookAgain = () => lookers.forEach((look) => look());
  scroller.addEventListener("scroll", showWayDown, { passive: true });
  toNewest.addEventListener("click", () => (hasNewer ? open(id) : toEnd("smooth")));
}

// --- opening ----------------------------------------------------------------------------------------------------

/** Show a conversation from its end, or around one of its messages. */
export async function open(conversationId, messageId = null) {
  const mine = (request = {});
  const turn = (asked += 1);
  const isOther = id !== conversationId;
  id = conversationId;
  onBusy(streams.has(id));
  if (isOther) clear(skeleton());
  try {
    const [item, page] = await Promise.all([learn(api.conversation(id)), messageId ? around(id, messageId) : newest(id)]);
    if (request !== mine) return;
    if (messageId || turn > shown) ({ messages, hasOlder, hasNewer } = page);
    shown = Math.max(shown, turn);
    render();
    if (messageId) point(messageId);
    else toEnd();
    markRead(item);
  } catch (error) {
    if (request !== mine) return;
    clear(failure(() => open(conversationId, messageId)));
    if (error.status === 404 && messageId) navigate("/", { replace: true }); // the message may be what is not there
    else if (error.status === 404) removed(conversationId);
    tell(error.status === 404 ? new api.Problem("There is no such conversation.") : error);
  }
  lookAgain();
}

/** Show a conversation that is still to be made: its first question makes it. */
export function openNew() {
  request = {};
  id = null;
  onBusy(false);
  clear(welcome(send));
}

function clear(...instead) {
  [messages, hasOlder, hasNewer] = [[], false, false];
  views.clear();
  log.replaceChildren(...instead);
  showWayDown();
}

const skeleton = () =>
  element("div", { class: "messages-skeleton", "aria-hidden": "true" }, element("i"), element("i"), element("i"));

const failure = (onclick) =>
  element(
    "p",
    { class: "failure" },
    "This conversation couldn’t be loaded. ",
    element("button", { type: "button", class: "link-button", onclick }, "Try again"),
  );

async function newest(conversationId) {
  const { items, hasMore } = await api.messages(conversationId, { limit: PAGE });
  return { messages: items, hasOlder: hasMore, hasNewer: false };
}

/** The message, what led to it, and what followed. */
async function around(conversationId, messageId) {
  const [before, after] = await Promise.all([
    api.messages(conversationId, { before: messageId, limit: PAGE }),
    api.messages(conversationId, { after: messageId, limit: PAGE }),
  ]);
  // Neither has the message itself: it is the one right before what follows it, or the newest.
  const next = after.items[0]?.id;
  const { items } = await api.messages(conversationId, { before: next, limit: 1 });
  return { messages: [...before.items, ...items, ...after.items], hasOlder: before.hasMore, hasNewer: after.hasMore };
}

function point(messageId) {
  const view = views.get(messageId);
  if (!view) return toEnd();
  for (const tool of view.element.querySelectorAll("details")) tool.open = true;
  view.element.scrollIntoView({ block: "center" });
  view.element.focus({ preventScroll: true });
  view.element.classList.add("message-found");
  view.element.addEventListener("animationend", () => view.element.classList.remove("message-found"), { once: true });
}

let isLoading = false;

async function load(direction) {
  if (isLoading) return;
  isLoading = true;
  const mine = request;
  try {
    const place = direction === "older" ? { before: messages[0].id } : { after: messages.at(-1).id };
    const { items, hasMore } = await api.messages(id, { ...place, limit: PAGE });
    if (request !== mine) return;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    if (direction === "older") [messages, hasOlder] = [[...items, ...messages], hasMore];
    else [messages, hasNewer] = [[...messages, ...items], hasMore];
    render();
    if (direction === "older") scroller.scrollTop = scroller.scrollHeight - fromEnd; // what is read stays where it is
    lookAgain();
  } catch (error) {
    tell(error); // and wait until somebody scrolls again
  } finally {
    isLoading = false;
  }
}

// --- showing ----------------------------------------------------------------------------------------------------

function render() {
  if (id === null) return; // a frame that was asked for before
  const stream = streams.get(id);
  const live = stream ? withStream(stream) : messages;
  const there = new Set(live.map((message) => message.id));
  for (const each of views.keys()) if (!there.has(each)) views.delete(each);
  arrange(log, [older, ...live.map((message) => viewOf(message, message === stream?.answer)), newer]);
  showWayDown();
}

/** What was stored, and what is not yet: the question, and the answer as far as it has come. */
function withStream({ question, answer }) {
  const stored = messages.filter((message) => message.id !== answer.id);
  const place = stored.findIndex((message) => message.id === question.id);
  return [...(place < 0 ? [...stored, question] : [...stored.slice(0, place), question]), answer];
}

function viewOf(message, isStreaming) {
  if (!views.has(message.id)) views.set(message.id, new MessageView(message, { edit, regenerate, fork }));
  views.get(message.id).show(message, { isStreaming });
  return views.get(message.id).element;
}

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_THE_END;

function toEnd(behavior = "instant") {
  scroller.scrollTo({ top: scroller.scrollHeight, behavior });
}

function showWayDown() {
  toNewest.hidden = id === null || (isAtEnd() && !hasNewer);
}

// --- asking -----------------------------------------------------------------------------------------------------

/** Ask something; returns whether it was taken. */
export async function send(text) {
  if (id === null) {
    const mine = request;
    if (mine.isMaking) return false;
    mine.isMaking = true;
    try {
      const item = await learn(api.create());
      if (request !== mine) return true; // another conversation was opened meanwhile
      clear();
      id = item.id;
      navigate(`/c/${encodeURIComponent(id)}`, { isOpen: true });
    } catch (error) {
      mine.isMaking = false;
      tell(error);
      return false;
    }
  }
  const question = { id: crypto.randomUUID(), role: "user", content: text, metadata: {}, createdAt: new Date() };
  return stream(question, { messageId: question.id, text });
}

function edit(question, text) {
  stream({ ...question, content: text, metadata: {} }, { messageId: question.id, text });
}

function regenerate(answer) {
  const before = messages.slice(0, messages.findIndex((message) => message.id === answer.id));
  const question = before.findLast((message) => message.role === "user");
  if (question) stream(question, { messageId: question.id });
  else toast("Before this, nothing was asked.");
}

/** Show an answer as it comes; returns whether the question was stored. */
async function stream(question, body) {
  const conversationId = id;
  streams.get(conversationId)?.controller.abort();
  const answer = { id: crypto.randomUUID(), role: "assistant", content: "", metadata: {}, createdAt: new Date() };
  const mine = { question, answer, controller: new AbortController() };
  streams.set(conversationId, mine);
  const isOpen = () => id === conversationId;
  let isStored = false;
  if (hasNewer) await open(id); // an answer belongs to the end
  onBusy(true);
  render();
  toEnd();
  announce("Answering");
  try {
    for await (const event of api.answer({ conversationId, ...body }, mine.controller.signal)) {
      isStored = true;
      take(mine, event);
      if (isOpen()) follow();
    }
    announce(textOf(mine.answer));
  } catch (error) {
    if (error.name === "AbortError") mine.answer = { ...mine.answer, metadata: { stopped: true } };
    else tell(error);
  }
  if (streams.get(conversationId) !== mine) return true; // asked anew meanwhile
  if (isOpen() && isStored) messages = withStream(mine).filter((message) => message.id !== mine.answer.id || mine.answer.content);
  streams.delete(conversationId);
  if (isOpen()) {
    onBusy(false);
    render();
    follow.now();
  }
  if (isStored && !mine.controller.signal.aborted) await settle(conversationId);
  return isStored || mine.controller.signal.aborted;
}

function take(stream, { name, data }) {
  if (name === "answer") {
    views.delete(stream.answer.id);
    stream.answer = { ...stream.answer, id: data.id };
  }
  if (name === "text") stream.answer = { ...stream.answer, content: stream.answer.content + data.text };
  if (name === "error") toast(data.detail, { isError: true });
}

/** Draw at most once a frame, however fast the pieces come. */
function follow() {
  follow.frame ??= requestAnimationFrame(follow.now);
}

follow.now = () => {
  cancelAnimationFrame(follow.frame);
  follow.frame = null;
  const wasAtEnd = isAtEnd();
  render();
  if (wasAtEnd) toEnd();
};

export function stop() {
  streams.get(id)?.controller.abort();
  announce("Stopped");
}

async function fork(message) {
  try {
    const item = await learn(api.fork(id, message.id));
    navigate(`/c/${encodeURIComponent(item.id)}`);
    toast("This is a copy. The other one stays as it was.");
  } catch (error) {
    tell(error);
  }
}

// --- what happens elsewhere -------------------------------------------------------------------------------------

/** Make what is shown equal to what is stored: another tab may have changed it. */
export async function refresh() {
  if (id === null || streams.has(id) || hasNewer || document.querySelector(".message-editing")) return;
  await settle(id);
}

async function settle(conversationId) {
  const turn = (asked += 1);
  try {
    const [item, page] = await Promise.all([learn(api.conversation(conversationId)), newest(conversationId)]);
    if (id !== conversationId || streams.has(id) || turn < shown) return; // a later one was answered before
    shown = turn;
    const wasAtEnd = isAtEnd();
    const kept = messages.findIndex((message) => message.id === page.messages[0]?.id);
    if (kept > 0) messages = [...messages.slice(0, kept), ...page.messages];
    else ({ messages, hasOlder, hasNewer } = page);
    render();
    if (wasAtEnd) toEnd();
    markRead(item);
  } catch (error) {
    if (error.status === 404) removed(conversationId);
    else tellIfNew(error);
  }
}

export function markRead(item) {
  if (item.unread && item.id === id && !document.hidden && !streams.has(id)) learn(api.markRead(id)).catch(tellIfNew);
}

export const openId = () => id;
export const openItem = () => (id ? find(id) : null);
