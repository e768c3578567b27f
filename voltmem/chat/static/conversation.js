// The open conversation: its messages, streaming answers, and the actions on messages.

import { addressOf, base } from "./addresses.js";
import * as api from "./api.js";
import { moveDraft, openDraft, restoreDraft, setBusy } from "./composer.js";
import { announce, arrange, byId, element, whenNear } from "./dom.js";
import { MessageView, isShown, textOf, textParts } from "./message.js";
import { find, receive, removed } from "./store.js";
import { showBackgroundError, showError, toast } from "./toast.js";
import { welcome } from "./welcome.js";

const PAGE = 30;
const NEAR_THE_END = 120; // pixels: within them, the view scrolls along with new text

const scroller = byId("scroller");
const log = byId("messages");
const toNewest = byId("to-newest");
const older = element("div", { class: "sentinel" });
const newer = element("div", { class: "sentinel" });
const views = new Map();
const streams = new Map(); // by conversation id: an answer continues while another conversation is open

let id = null; // of the open conversation; null: a new one, which is not created yet
let messages = []; // oldest first
let hasOlder = false;
let hasNewer = false;
let request = null; // the latest call of open() or openNew()
let requested = 0; // the number of requests for the newest messages
let newestShown = 0; // the number of the latest such request whose response is shown
let navigate;
let checkAgain = () => {};

export function startConversation(options) {
  ({ navigate } = options);
  const checks = [
    whenNear(older, scroller, () => hasOlder && load("older")),
    whenNear(newer, scroller, () => hasNewer && !streams.has(id) && load("newer")),
  ];
  checkAgain = () => checks.forEach((check) => check());
  scroller.addEventListener("scroll", showToNewest, { passive: true });
  toNewest.addEventListener("click", () => (hasNewer ? open(id) : toEnd("smooth")));
}

// --- opening ----------------------------------------------------------------------------------------------------

/** Open a conversation at its end, or at one of its messages. */
export async function open(conversationId, messageId = null) {
  const mine = (request = {});
  const number = (requested += 1);
  const isOther = id !== conversationId;
  id = conversationId;
  openDraft(id);
  setBusy(streams.has(id));
  if (isOther) clear(skeleton());
  try {
    const [item, page] = await Promise.all([receive(api.conversation(id)), messageId ? around(id, messageId) : newest(id)]);
    if (request !== mine) return;
    if (messageId || number > newestShown) ({ messages, hasOlder, hasNewer } = page);
    newestShown = Math.max(newestShown, number);
    render();
    if (messageId) showMessage(messageId);
    else toEnd();
    markRead(item);
  } catch (error) {
    if (request !== mine) return;
    clear(failure(() => open(conversationId, messageId)));
    if (error.status === 404 && messageId) navigate(base, { replace: true }); // perhaps only the message doesn't exist
    else if (error.status === 404) removed(conversationId);
    showError(error.status === 404 ? new api.Problem("There is no such conversation.") : error);
  }
  checkAgain();
}

/** Show a new conversation. Its first question creates it. */
export function openNew() {
  request = {};
  if (id !== null && isGone(id)) moveDraft(id, null); // keep the draft of a deleted conversation
  id = null;
  openDraft(id);
  setBusy(false);
  clear(welcome(send));
}

function clear(...instead) {
  [messages, hasOlder, hasNewer] = [[], false, false];
  views.clear();
  log.replaceChildren(...instead);
  showToNewest();
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

/** Load the message with those before and after it; the newest messages if it doesn't exist. */
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
  // Neither response has the message itself. It is the one before the next message, or the newest message.
  const next = after.items[0]?.id;
  const { items } = await api.messages(conversationId, { before: next, limit: 1 });
  return { messages: [...before.items, ...items, ...after.items], hasOlder: before.hasMore, hasNewer: after.hasMore };
}

function showMessage(messageId) {
  const upTo = messages.slice(0, messages.findIndex((message) => message.id === messageId) + 1);
  const view = views.get(upTo.findLast(isShown)?.id); // the result of a tool is shown with its call
  if (!view) {
    toast("That message no longer exists. This is the end of its conversation.");
    navigate(addressOf(id), { replace: true, isOpen: true });
    return toEnd();
  }
  for (const part of view.element.querySelectorAll("details")) part.open = true;
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
    if (request !== mine || edge(direction) !== from) return; // other messages are shown now
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    if (direction === "older") [messages, hasOlder] = [[...items, ...messages], hasMore];
    else [messages, hasNewer] = [[...messages, ...items], hasMore];
    render();
    if (direction === "older") scroller.scrollTop = scroller.scrollHeight - fromEnd; // keep the visible messages in place
    checkAgain();
  } catch (error) {
    showError(error); // tried again on the next scroll
  } finally {
    isLoading = false;
  }
}

// --- showing ----------------------------------------------------------------------------------------------------

function render() {
  if (id === null) return; // a frame requested before openNew()
  const stream = streams.get(id);
  const live = (stream ? withStream(stream) : messages).filter(isShown);
  const present = new Set(live.map((message) => message.id));
  for (const each of views.keys()) if (!present.has(each)) views.delete(each);
  arrange(log, [older, ...live.map((message) => viewOf(message, message === stream?.answer)), newer]);
  showToNewest();
}

/** Return the messages up to the question, the question, and the answer so far. */
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

function showToNewest() {
  toNewest.hidden = id === null || (isAtEnd() && !hasNewer);
}

// --- questions and answers --------------------------------------------------------------------------------------

/** Send a question. If it is not stored, its text goes back into the box. */
export async function send(text) {
  const isNew = id === null;
  const conversationId = id ?? (await create());
  const question = { id: crypto.randomUUID(), role: "user", parts: textParts(text), metadata: {}, createdAt: new Date() };
  if (conversationId && (await stream(conversationId, question, { messageId: question.id, text }))) return;
  if (isNew && conversationId) await removeUnused(conversationId);
  restoreDraft(isGone(conversationId) ? null : conversationId, text);
}

/** Create the new conversation and open it, unless another one was opened meanwhile. Returns its id. */
async function create() {
  const mine = request;
  if (mine.isCreating) return null;
  mine.isCreating = true;
  try {
    const item = await receive(api.create());
    if (request === mine) {
      clear();
      id = item.id;
      moveDraft(null, id);
      navigate(addressOf(id), { isOpen: true });
    }
    return item.id;
  } catch (error) {
    showError(error);
    return null;
  } finally {
    mine.isCreating = false;
  }
}

/** Delete the conversation that was created for a question that could not be sent. */
async function removeUnused(conversationId) {
  try {
    await api.remove(conversationId);
  } catch {
    return; // it stays, and the next question uses it
  }
  moveDraft(conversationId, null);
  removed(conversationId);
}

const isGone = (conversationId) => !find(conversationId) || find(conversationId).deletedAt;

function edit(question, text) {
  return stream(id, { ...question, parts: textParts(text), metadata: {} }, { messageId: question.id, text });
}

function regenerate(answer) {
  const before = messages.slice(0, messages.findIndex((message) => message.id === answer.id));
  const question = before.findLast((message) => message.role === "user");
  if (question) stream(id, question, { messageId: question.id });
  else toast("There is no question before this answer.");
}

/** Send a question and show its answer while it streams. Returns whether the question was stored. */
async function stream(conversationId, question, body) {
  streams.get(conversationId)?.controller.abort();
  const answer = { id: crypto.randomUUID(), role: "assistant", parts: textParts(""), metadata: {}, createdAt: new Date() };
  const mine = { conversationId, question, answer, controller: new AbortController() };
  streams.set(conversationId, mine);
  await showQuestion(mine);
  const hasAnswer = await readAnswer(mine, body);
  const wasStored = hasAnswer || (await isStored(mine));
  const latest = streams.get(conversationId);
  if (latest !== mine) return wasStored || latest?.question.id === question.id; // sent again meanwhile
  if (hasAnswer && isOpen(mine)) keepAnswer(mine);
  streams.delete(conversationId);
  if (isOpen(mine)) {
    setBusy(false);
    follow.now();
  }
  // A stopped answer is shown here before the server has stored it.
  if (!hasAnswer || !mine.controller.signal.aborted) await synchronize(conversationId);
  return wasStored;
}

const isOpen = (stream) => stream.conversationId === id;

async function showQuestion(stream) {
  const isShown = messages.some((message) => message.id === stream.question.id); // the messages after it are removed
  if (isOpen(stream) && hasNewer && !isShown) await open(id); // the answer is added at the end
  if (!isOpen(stream)) return;
  setBusy(true);
  render();
  toEnd();
  announce("Answering");
}

/** Read the answer up to its end. Returns whether there was any event, which means that the question is stored. */
async function readAnswer(stream, body) {
  const { conversationId, controller } = stream;
  let hasAnswer = false;
  try {
    for await (const event of api.answer({ conversationId, ...body }, controller.signal)) {
      hasAnswer = true;
      apply(stream, event);
      if (isOpen(stream)) follow();
    }
    if (isOpen(stream)) announce(textOf(stream.answer));
  } catch (error) {
    if (error.name === "AbortError") stream.answer = { ...stream.answer, metadata: { stopped: true } };
    else showError(error);
  }
  return hasAnswer;
}

function keepAnswer(stream) {
  messages = withStream(stream).filter((message) => message !== stream.answer || textOf(message));
  hasNewer = false;
}

/** Return whether a question without an answer is stored: it was stopped at once, or the connection broke. */
async function isStored({ conversationId, question }) {
  try {
    const { messages } = await newest(conversationId);
    return messages.some((message) => message.id === question.id && textOf(message) === textOf(question));
  } catch {
    return false;
  }
}

function apply(stream, { name, data }) {
  if (name === "answer") {
    views.delete(stream.answer.id);
    stream.answer = { ...stream.answer, id: data.id };
  }
  if (name === "text") stream.answer = { ...stream.answer, parts: textParts(textOf(stream.answer) + data.text) };
  if (name === "error") toast(data.detail, { isError: true });
}

/** Render at most once per frame, however fast the pieces arrive. */
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
  if (isForking) return; // ignore the second click of a double click
  isForking = true;
  try {
    const item = await receive(api.fork(id, message.id));
    navigate(addressOf(item.id));
    toast("This is a copy. The original conversation is unchanged.");
  } catch (error) {
    showError(error);
  } finally {
    isForking = false;
  }
}

// --- changes elsewhere ------------------------------------------------------------------------------------------

/** Update the shown messages from the server, after a change in another tab for example. */
export async function refresh() {
  if (id === null || streams.has(id) || hasNewer || document.querySelector(".message-editing")) return;
  await synchronize(id);
}

async function synchronize(conversationId) {
  const number = (requested += 1);
  try {
    const [item, page] = await Promise.all([receive(api.conversation(conversationId)), newest(conversationId)]);
    if (id !== conversationId || streams.has(id) || hasNewer || number < newestShown) return; // a later response is shown
    newestShown = number;
    const wasAtEnd = isAtEnd();
    const kept = messages.findIndex((message) => message.id === page.messages[0]?.id);
    if (kept > 0) messages = [...messages.slice(0, kept), ...page.messages];
    else ({ messages, hasOlder, hasNewer } = page);
    render();
    if (wasAtEnd) toEnd();
    markRead(item);
  } catch (error) {
    if (error.status === 404) removed(conversationId);
    else showBackgroundError(error);
  }
}

export function markRead(item) {
  if (item.unread && item.id === id && !document.hidden && !streams.has(id)) receive(api.markRead(id)).catch(showBackgroundError);
}

export const openId = () => id;
export const openItem = () => (id ? find(id) : null);
