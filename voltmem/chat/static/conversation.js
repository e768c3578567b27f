// The open conversation: its messages, streaming answers, and the actions on messages.

import { addressOf, base } from "./addresses.js";
import { answerIn, follow, leave } from "./answers.js";
import * as api from "./api.js";
import { focusComposer, moveDraft, openDraft, restoreDraft, setBusy } from "./composer.js";
import { announce, arrange, byId, element, whenNear } from "./dom.js";
import { has } from "./features.js";
import { loadMarkdown } from "./markdown.js";
import { MessageView, isShown, textOf, textParts } from "./message.js";
import { Near } from "./near.js";
import { Note, noteOf } from "./notes.js";
import { around, newest, rest, statusesOf, withNews, PAGE } from "./pages.js";
import { model } from "./settings.js";
import { keepAtEnd } from "./stay.js";
import { find, receive, removed } from "./store.js";
import { t } from "./texts.js";
import { later, showBackgroundError, showError, toast } from "./toast.js";
import { welcome } from "./welcome.js";

const MOST_TRIES = 20;
const NEAR_THE_END = 120; // pixels: within them, the view scrolls along with new text

const scroller = byId("scroller");
const log = byId("messages");
const toNewest = byId("to-newest");
const older = element("div", { class: "sentinel" });
const newer = element("div", { class: "sentinel" });
const near = new Near(scroller, log);
const views = new Map(); // those on the page, and those with something unfolded
const notes = new Map(); // by the id of the question

let id = null; // of the open conversation; null: a new one, which is not created yet
let messages = []; // oldest first
let others = { statuses: new Map(), branches: new Map() }; // of questions without a complete answer, and of their answers; of messages
let missed = null; // what an event said of the conversation while its answer was followed
let hasOlder = false;
let hasNewer = false;
let request = null; // the latest call of open() or openNew()
let requested = 0; // the number of requests for the newest messages
let newestShown = 0; // the number of the latest such request whose response is shown
let navigate;
let checkAgain = () => {};
let lookWhereItIs = () => {};

export function startConversation(options) {
  ({ navigate } = options);
  const checks = [
    whenNear(older, scroller, () => hasOlder && load("older")),
    whenNear(newer, scroller, () => hasNewer && !answerIn(id) && load("newer")),
  ];
  checkAgain = () => checks.forEach((check) => check());
  scroller.addEventListener("scroll", () => requestAnimationFrame(() => scrolled()), { passive: true });
  matchMedia("print").addEventListener("change", ({ matches }) => showAll(matches));
  addEventListener("beforeprint", () => showAll(true));
  lookWhereItIs = keepAtEnd(scroller, log); // while formulas and pictures get their sizes
  toNewest.addEventListener("click", () => (hasNewer ? open(id) : toEnd("smooth")));
}

// --- opening ----------------------------------------------------------------------------------------------------

let opened = null; // the promise of the last call of open()
let linked = null; // the message at which it was opened

/** Open a conversation at its end, or at one of its messages. */
export const open = (conversationId, messageId = null) => (opened = opening(conversationId, messageId));

async function opening(conversationId, messageId) {
  linked = messageId;
  const mine = (request = {});
  const number = (requested += 1);
  const isOther = id !== conversationId;
  id = conversationId;
  leave(id);
  openDraft(id);
  setBusy(Boolean(answerIn(id)));
  if (isOther) clear(skeleton());
  try {
    const [item, page, beside] = await Promise.all([
      receive(api.conversation(id)),
      messageId ? around(id, messageId) : newest(id),
      rest(id),
      loadMarkdown(),
    ]);
    if (request !== mine) return;
    others = beside;
    if (messageId || number > newestShown) ({ messages, hasOlder, hasNewer } = page);
    newestShown = Math.max(newestShown, number);
    render(messageId ?? "end");
    if (messageId) showMessage(messageId);
    else toEnd();
    markRead(item);
    joinAnswer();
  } catch (error) {
    if (request !== mine) return;
    clear(failure(() => open(conversationId, messageId)));
    if (error.status === 404 && messageId) navigate(base, { replace: true }); // perhaps only the message doesn't exist
    else if (error.status === 404) removed(conversationId);
    showError(error.status === 404 ? new api.Problem(t("There is no such conversation.")) : error);
  }
  checkAgain();
}

/** Show a new conversation. Its first question creates it. */
export function openNew() {
  request = {};
  if (id !== null && isGone(id)) moveDraft(id, null); // keep the draft of a deleted conversation
  id = null;
  leave(id);
  openDraft(id);
  setBusy(false);
  clear(welcome(send));
}

function clear(...instead) {
  [messages, hasOlder, hasNewer, missed] = [[], false, false, null];
  others = { statuses: new Map(), branches: new Map() };
  views.clear();
  notes.clear();
  log.replaceChildren(...instead);
  showToNewest();
}

const skeleton = () =>
  element("div", { class: "messages-skeleton", "aria-hidden": "true" }, element("i"), element("i"), element("i"));

const failure = (onclick) =>
  element(
    "p",
    { class: "failure" },
    t("This conversation couldn’t be loaded."),
    " ",
    element("button", { type: "button", class: "link-button", onclick }, t("Try again")),
  );

function showMessage(messageId) {
  const view = views.get(shownAs(messageId)); // near: see render()
  if (!view) {
    toast(t("That message no longer exists. This is the end of its conversation."));
    navigate(addressOf(id), { replace: true, isOpen: true });
    return toEnd();
  }
  for (const part of view.element.querySelectorAll("details")) part.open = true;
  view.element.scrollIntoView({ block: "center" });
  lookWhereItIs();
  view.element.focus({ preventScroll: true });
  view.element.classList.add("message-found");
  view.element.addEventListener("animationend", () => view.element.classList.remove("message-found"), { once: true });
}

/** Return the id of the message that shows a message: the result of a tool is shown with its call. */
const shownAs = (messageId) => messages.slice(0, messages.findIndex(({ id }) => id === messageId) + 1).findLast(isShown)?.id;

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
    if (direction === "older") [messages, hasOlder] = [[...items, ...messages], hasMore];
    else [messages, hasNewer] = [[...messages, ...items], hasMore];
    render();
    checkAgain();
  } catch (error) {
    showError(error); // tried again on the next scroll
  } finally {
    isLoading = false;
  }
}

// --- showing ----------------------------------------------------------------------------------------------------

/** Draw the messages near the visible part, or near another one: "end", or the id of a message. */
function render(wanted = null) {
  if (id === null) return; // a frame requested before openNew()
  const live = answerIn(id);
  const all = live ? withAnswer(live) : messages;
  const shown = all.filter((message) => isShown(message) || message === live?.answer);
  const ids = shown.map((message) => message.id);
  const at = wanted && wanted !== "end" ? Math.max(ids.indexOf(shownAs(wanted)), 0) : wanted;
  const [places, stay] = [near.choose(ids, at), near.stay()];
  const elements = [...places, shown.length].flatMap((place, number) => {
    const next = (places[number - 1] ?? -1) + 1;
    const gap = place > next ? [near.gap(next, place)] : [];
    return place < shown.length ? [...gap, ...elementsOf(shown, place, live)] : gap;
  });
  arrange(log, [older, ...elements, newer]);
  stay();
  const there = new Set(places.map((place) => ids[place]));
  for (const [each, view] of views) if (!there.has(each) && (!ids.includes(each) || !view.element.querySelector("details[open]"))) views.delete(each);
  showToNewest();
}

/** Return the elements of a message: its view, and what stands below it. */
function elementsOf(shown, place, live) {
  const message = shown[place];
  const note = noteOf(message, shown[place + 1], { ...others, hasNewer });
  const isWanted = !live && others.statuses.get(message.id) === "approval" && place === shown.length - 1;
  return [viewOf(message, message === live?.answer, isWanted), ...(note ? [noteView(message, note)] : [])];
}

/** Draw what is near after scrolling: a few messages in each frame, and others if a guess was wrong. */
function scrolled(tries = 0) {
  showToNewest();
  if (id === null || tries > MOST_TRIES || !near.isElsewhere()) return;
  render();
  requestAnimationFrame(() => scrolled(tries + 1));
}

/** Put all loaded messages on the page, or only the near ones again. */
export function showAll(isWhole) {
  near.isWhole = isWhole;
  render();
}

/** Return the messages up to the question, the question, and the answer so far. */
function withAnswer({ question, answer }) {
  const stored = messages.filter((message) => message.id !== answer.id);
  const place = stored.findIndex((message) => message.id === question?.id);
  if (place >= 0) return [...stored.slice(0, place + 1), answer];
  return question?.parts ? [...stored, question, answer] : [...stored, answer];
}

function viewOf(message, isStreaming, asks) {
  if (!views.has(message.id)) views.set(message.id, new MessageView(message, { edit, regenerate, fork, choose, rate, decide }));
  views.get(message.id).show(message, { isStreaming, asks, branch: others.branches.get(message.id) });
  return views.get(message.id).element;
}

function noteView(question, status) {
  if (!notes.has(question.id)) notes.set(question.id, new Note(() => askAgain(question)));
  notes.get(question.id).show(status);
  return notes.get(question.id).element;
}

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_THE_END;

/** @param {ScrollBehavior} behavior */
function toEnd(behavior = "instant") {
  const isFar = !near.hasEnd;
  if (isFar) render("end");
  scroller.scrollTo({ top: scroller.scrollHeight, behavior: isFar ? "instant" : behavior });
}

function showToNewest() {
  toNewest.hidden = id === null || (isAtEnd() && !hasNewer);
}

// --- questions and answers --------------------------------------------------------------------------------------

/** Send a question. If it is not stored, its text goes back into the box. */
export async function send(text, files = []) {
  const isNew = id === null;
  const conversationId = id ?? (await create());
  if (conversationId && (await ask(conversationId, { text, files }))) return;
  if (isNew && conversationId) await removeUnused(conversationId);
  restoreDraft(isGone(conversationId) ? null : conversationId, text);
  if (files.length) later(import("./attachments.js"), ({ restoreAttachments }) => restoreAttachments(files));
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

/** Ask a question in place of another, which stays in a branch of its own. Resolves to whether it was stored. */
async function edit(question, text) {
  const place = messages.findIndex((message) => message.id === question.id);
  const conversationId = id;
  try {
    const before = place > 0 ? messages[place - 1] : (await api.messages(id, { before: question.id, limit: 1 })).items[0];
    const files = question.parts.filter((part) => part.type === "file");
    return await ask(conversationId, { text, files, parentId: before?.id ?? null });
  } catch (error) {
    showError(error);
    return false;
  }
}

/** Open the last question in its edit box. Returns whether there is one. */
export function editLast() {
  const question = has("branches") && messages.findLast((message) => message.role === "user" && isShown(message));
  if (question && !views.has(question.id)) render(question.id);
  views.get(question?.id)?.edit();
  return Boolean(question);
}

function regenerate(answer) {
  const before = messages.slice(0, messages.findIndex((message) => message.id === answer.id));
  const question = before.findLast((message) => message.role === "user");
  if (question) askAgain(question);
  else toast(t("There is no question before this answer."));
}

const askAgain = (question) => ask(id, { question });

/**
 * Ask a question with a new text, or a stored question again, and follow the answer. Resolves to whether it was
 * stored. An answer that is under way is stopped before.
 *
 * @param {string} conversationId
 * @param {{text?: string, files?: any[], parentId?: string, question?: any}} options
 */
async function ask(conversationId, { text, files = [], parentId, question = null }) {
  const parts = [...files, ...(text ? textParts(text) : [])];
  const asked = question ?? { id: crypto.randomUUID(), role: "user", parts, metadata: {}, createdAt: new Date() };
  const sent = files.map(({ url, mediaType, filename = "" }) => ({ url, mediaType, filename }));
  const body = { conversationId, messageId: asked.id, text, parentId, files: sent, model: model() };
  const before = { messages, hasNewer };
  try {
    if (answerIn(conversationId)) await api.stop(conversationId);
    await showAsked(conversationId, asked, parentId);
    return await followed(conversationId, asked, (signal) => api.ask(body, signal), null, Boolean(question) || parentId !== undefined);
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
    const wasStored = await isStored(conversationId, asked);
    if (!wasStored && conversationId === id) ({ messages, hasNewer } = before);
    now();
    await synchronize(conversationId);
    return wasStored;
  }
}

/** Show a question at its place, and leave out what follows: it is in another branch. */
async function showAsked(conversationId, question, parentId) {
  const isThere = messages.some((message) => message.id === question.id || message.id === parentId);
  if (conversationId === id && hasNewer && !isThere) await open(id); // it is added at the end
  if (conversationId !== id) return;
  const place = messages.findIndex((message) => message.id === question.id);
  if (place >= 0) messages = messages.slice(0, place);
  else if (parentId !== undefined) messages = messages.slice(0, messages.findIndex((message) => message.id === parentId) + 1);
  messages = [...messages, question];
  hasNewer = false;
  others.statuses.delete(question.id);
}

/** Follow an answer, and show how it ends. Resolves to whether the question is stored. */
async function followed(conversationId, question, send = null, before = null, isBranch = false) {
  const isOpen = () => conversationId === id;
  /** @type {any} */
  let current;
  let wasOver = false; // when it was joined
  const onChange = (mine) => {
    const isFirst = current === undefined;
    current = mine;
    if (!isOpen()) return leave(id); // who asked has gone on before the answer began
    if (!isFirst) return nextFrame();
    setBusy(true);
    now();
    if (send) toEnd();
    if (document.activeElement === document.body) focusComposer(); // the button that was pressed is gone
    announce(t("Answering"));
  };
  try {
    const status = await follow({ conversationId, question, before, ask: send, onChange });
    wasOver = status === null;
    if (isOpen() && status === "complete") announce(textOf(current.answer));
    return true;
  } finally {
    if (isOpen() && !answerIn(id)) {
      setBusy(false);
      if (current.answer.parts.length) messages = withAnswer(current); // until the stored one is here
      if (current.status === "approval") others.statuses.set(current.answer.id, current.status);
      now();
    }
    const isTold = current.isLeft || (current.status === "complete" && !before && !isBranch); // by an event, which may be here already
    if (!isTold && (wasOver || current.status !== "streaming" || current.hasBegun)) await synchronize(conversationId);
    else if (isOpen() && missed?.messages?.items.at(-1).id === current.answer.id) await take(missed);
  }
}

/** Join the answer of the open conversation that is under way elsewhere. */
function joinAnswer() {
  if (answerIn(id)) return setBusy(true);
  const [questionId] = [...others.statuses].find(([, status]) => status === "streaming") ?? [];
  if (!questionId) return;
  const place = messages.findIndex((message) => message.id === questionId);
  followed(id, messages[place] ?? { id: questionId }, null, place < 0 ? null : messages[place + 1]).catch(showBackgroundError);
}

/** Return whether a question is stored whose request failed: the connection may have broken after that. */
async function isStored(conversationId, question) {
  try {
    const { messages } = await newest(conversationId);
    return messages.some((message) => message.id === question.id && textOf(message) === textOf(question));
  } catch {
    return false;
  }
}

/** Tell the answer what was decided about its calls. It goes on. */
async function decide(answer, decisions) {
  const conversationId = id;
  const question = messages[messages.findIndex((message) => message.id === answer.id) - 1];
  try {
    await followed(conversationId, question, (signal) => api.decide(conversationId, answer.id, decisions, signal), answer);
  } catch (error) {
    showError(error);
    await synchronize(conversationId);
  }
}

async function rate(answer, type) {
  const [conversationId, feedback] = [id, type && { type }];
  const shown = { ...answer, metadata: { ...answer.metadata, feedback } };
  messages = messages.map((message) => (message.id === answer.id ? shown : message));
  render();
  try {
    await api.rate(conversationId, answer.id, type);
  } catch (error) {
    showError(error);
    await synchronize(conversationId);
  }
}

async function choose(messageId, label) {
  try {
    await api.choose(id, messageId);
    await synchronize(id);
    views.get(messageId)?.focusButton(label);
  } catch (error) {
    showError(error);
  }
}

let frame = null;

/** Render at most once per frame, however fast the pieces arrive. */
function nextFrame() {
  frame ??= requestAnimationFrame(now);
}

function now() {
  cancelAnimationFrame(frame);
  frame = null;
  const wasAtEnd = isAtEnd();
  render(wasAtEnd ? "end" : null);
  if (wasAtEnd) toEnd();
}

export async function stop() {
  const asked = answerIn(id);
  if (asked && !asked.hasBegun) asked.controller.abort();
  setBusy(false); // the next question waits for the end
  try {
    await api.stop(id);
    announce(t("Stopped"));
  } catch (error) {
    setBusy(Boolean(answerIn(id)));
    showError(error);
  }
}

let isForking = false;

async function fork(message) {
  if (isForking) return; // ignore the second click of a double click
  isForking = true;
  try {
    const item = await receive(api.fork(id, message.id));
    navigate(addressOf(item.id));
    toast(t("This is a copy. The original conversation is unchanged."));
  } catch (error) {
    showError(error);
  } finally {
    isForking = false;
  }
}

// --- changes elsewhere ------------------------------------------------------------------------------------------

/** Update the shown messages from the server. */
export async function refresh() {
  await opened; // its responses may be older
  if (!canRefresh() || answerIn(id)) return;
  receive(api.conversation(id)).catch(() => {}); // which the next line says, too
  await synchronize(id);
}

/** Show what an event says of the open conversation, and ask for what it does not say. */
export async function hear(event) {
  if (!canRefresh()) return;
  if (answerIn(id)) missed = event; // until its end
  else await take(event);
}

const canRefresh = () => id !== null && !hasNewer && !document.querySelector(".message-editing");

async function take({ answers, messages: news, saysAll }) {
  const all = news ? withNews(messages, news) : saysAll ? messages : null;
  if (!all || synchronizing) return synchronize(id); // a response on its way may be older than this, and says more
  show(all, { ...others, statuses: statusesOf(answers) }, (requested += 1));
}

/** Show messages, and what is known of them beside. The number is that of the request whose response it is. */
function show(all, beside, number) {
  [newestShown, others] = [number, beside];
  const [wasAtEnd, shownBefore] = [isAtEnd(), linked && shownAs(linked)];
  messages = all;
  render(wasAtEnd ? "end" : null);
  if (wasAtEnd) toEnd();
  if (shownBefore && shownAs(linked) && shownAs(linked) !== shownBefore) showMessage(linked); // a result, without its call before
  markRead(find(id));
  joinAnswer();
}

let synchronizing = 0; // how many requests are on their way

async function synchronize(conversationId) {
  const number = (requested += 1);
  synchronizing += 1;
  try {
    const [page, beside] = await Promise.all([newest(conversationId), rest(conversationId)]);
    if (id !== conversationId || answerIn(id) || hasNewer || number < newestShown) return; // a later response is shown
    missed = null;
    const kept = messages.findIndex((message) => message.id === page.messages[0]?.id);
    if (kept <= 0) ({ hasOlder, hasNewer } = page);
    show([...messages.slice(0, Math.max(kept, 0)), ...page.messages], beside, number);
  } catch (error) {
    if (error.status === 404) removed(conversationId);
    else showBackgroundError(error);
  } finally {
    synchronizing -= 1;
  }
}

let marking = null; // the id of what is being marked as read; the event of that shows whether there is more to mark

export function markRead(item) {
  if (!item?.unread || item.id === marking || item.id !== id || document.hidden || answerIn(id)) return;
  marking = id;
  receive(api.markRead(id)).catch(showBackgroundError).finally(() => (marking = null));
}

export const openId = () => id;
export const openItem = () => (id ? find(id) : null);
