// The conversation that is open: its messages, those that stream into it, and what a person does with each.

import * as api from "./api.js";
import { giveBack, moveDraft, openDraft, setBusy } from "./composer.js";
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
let lookAgain = () => {};

export function startConversation(options) {
  ({ navigate } = options);
  const lookers = [
    whenNear(older, scroller, () => hasOlder && load("older")),
    whenNear(newer, scroller, () => hasNewer && !streams.has(id) && load("newer")),
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
  openDraft(id);
  setBusy(streams.has(id));
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
  if (id !== null && isGone(id)) moveDraft(id, null); // whoever was writing there goes on here
  id = null;
  openDraft(id);
  setBusy(false);
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

/** The message, what led to it, and what followed; the newest, where there is no such message. */
async function around(conversationId, messageId) {
  let before, after;
  try {
    [before, after] = await Promise.all([
      api.messages(conversationId, { before: messageId, limit: PAGE }),
      api.messages(conversationId, { after: messageId, limit: PAGE }),
    ]);
  } catch (error) {
    if (error.status !== 404) throw error;
    return newest(conversationId);
  }
  // Neither has the message itself: it is the one right before what follows it, or the newest.
  const next = after.items[0]?.id;
  const { items } = await api.messages(conversationId, { before: next, limit: 1 });
  return { messages: [...before.items, ...items, ...after.items], hasOlder: before.hasMore, hasNewer: after.hasMore };
}

function point(messageId) {
  const view = views.get(messageId);
  if (!view) {
    toast("That message is gone: this is the end of its conversation.");
    navigate(`/c/${encodeURIComponent(id)}`, { replace: true, isOpen: true });
    return toEnd();
  }
  for (const tool of view.element.querySelectorAll("details")) tool.open = true;
  view.element.scrollIntoView({ block: "center" });
  view.element.focus({ preventScroll: true });
  view.element.classList.add("message-found");
  view.element.addEventListener("animationend", () => view.element.classList.remove("message-found"), { once: true });
}

let isLoading = false;

const edge = (direction) => messages.at(direction === "older" ? 0 : -1)?.id;

async function load(direction) {
  if (isLoading) return;
  isLoading = true;
  const mine = request;
  try {
    const from = edge(direction);
    const place = direction === "older" ? { before: from } : { after: from };
    const { items, hasMore } = await api.messages(id, { ...place, limit: PAGE });
    if (request !== mine || edge(direction) !== from) return; // something else is shown by now
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

/** Ask something; what is not taken comes back into the box. */
export async function send(text) {
  const isNew = id === null;
  const conversationId = id ?? (await make());
  const question = { id: crypto.randomUUID(), role: "user", content: text, metadata: {}, createdAt: new Date() };
  if (conversationId && (await stream(conversationId, question, { messageId: question.id, text }))) return;
  if (isNew && conversationId) await unmake(conversationId);
  giveBack(isGone(conversationId) ? null : conversationId, text);
}

/** Make the conversation that is still to be made, and return its id; it is open, unless another one was opened. */
async function make() {
  const mine = request;
  if (mine.isMaking) return null;
  mine.isMaking = true;
  try {
    const item = await learn(api.create());
    if (request === mine) {
      clear();
      id = item.id;
      moveDraft(null, id);
      navigate(`/c/${encodeURIComponent(id)}`, { isOpen: true });
    }
    return item.id;
  } catch (error) {
    tell(error);
    return null;
  } finally {
    mine.isMaking = false;
  }
}

/** Take away the conversation that was made for a question that was not taken. */
async function unmake(conversationId) {
  try {
    await api.remove(conversationId);
  } catch {
    return; // it stays, and is asked in the next time
  }
  moveDraft(conversationId, null);
  removed(conversationId);
}

const isGone = (conversationId) => !find(conversationId) || find(conversationId).deletedAt;

function edit(question, text) {
  return stream(id, { ...question, content: text, metadata: {} }, { messageId: question.id, text });
}

function regenerate(answer) {
  const before = messages.slice(0, messages.findIndex((message) => message.id === answer.id));
  const question = before.findLast((message) => message.role === "user");
  if (question) stream(id, question, { messageId: question.id });
  else toast("Before this, nothing was asked.");
}

/** Ask, and show the answer as it comes; returns whether the question was taken. */
async function stream(conversationId, question, body) {
  streams.get(conversationId)?.controller.abort();
  const answer = { id: crypto.randomUUID(), role: "assistant", content: "", metadata: {}, createdAt: new Date() };
  const mine = { conversationId, question, answer, controller: new AbortController() };
  streams.set(conversationId, mine);
  await showAsked(mine);
  const isHeard = await hear(mine, body);
  const isTaken = isHeard || (await isStored(mine));
  const latest = streams.get(conversationId);
  if (latest !== mine) return isTaken || latest?.question.id === question.id; // asked anew meanwhile
  if (isHeard && isOpen(mine)) keep(mine);
  streams.delete(conversationId);
  if (isOpen(mine)) {
    setBusy(false);
    follow.now();
  }
  // What was stopped is seen here sooner than it is stored.
  if (!isHeard || !mine.controller.signal.aborted) await settle(conversationId);
  return isTaken;
}

const isOpen = (stream) => stream.conversationId === id;

async function showAsked(stream) {
  const isShown = messages.some((message) => message.id === stream.question.id); // and what followed it goes
  if (isOpen(stream) && hasNewer && !isShown) await open(id); // an answer belongs to the end
  if (!isOpen(stream)) return;
  setBusy(true);
  render();
  toEnd();
  announce("Answering");
}

/** Take the answer as it comes, up to its end; returns whether anything came: then the question is stored. */
async function hear(stream, body) {
  const { conversationId, controller } = stream;
  let isHeard = false;
  try {
    for await (const event of api.answer({ conversationId, ...body }, controller.signal)) {
      isHeard = true;
      take(stream, event);
      if (isOpen(stream)) follow();
    }
    if (isOpen(stream)) announce(textOf(stream.answer));
  } catch (error) {
    if (error.name === "AbortError") stream.answer = { ...stream.answer, metadata: { stopped: true } };
    else tell(error);
  }
  return isHeard;
}

function keep(stream) {
  messages = withStream(stream).filter((message) => message !== stream.answer || message.content);
  hasNewer = false;
}

/** Whether a question is stored to which nothing was heard: it was stopped at once, or the connection broke. */
async function isStored({ conversationId, question }) {
  try {
    const { messages } = await newest(conversationId);
    return messages.some((message) => message.id === question.id && textOf(message) === textOf(question));
  } catch {
    return false;
  }
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

let isForking = false;

async function fork(message) {
  if (isForking) return; // one click of two is enough
  isForking = true;
  try {
    const item = await learn(api.fork(id, message.id));
    navigate(`/c/${encodeURIComponent(item.id)}`);
    toast("This is a copy. The other one stays as it was.");
  } catch (error) {
    tell(error);
  } finally {
    isForking = false;
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
    if (id !== conversationId || streams.has(id) || hasNewer || turn < shown) return; // a later one was answered before
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
