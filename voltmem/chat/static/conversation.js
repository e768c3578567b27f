// The open conversation: which one it is, its messages as the server has them, and the answer that is followed.

import { addressOf, base, go } from "./addresses.js";
import { answerIn, follow, leave } from "./answers.js";
import * as api from "./api.js";
import { focusComposer, moveDraft, openDraft, setBusy } from "./composer.js";
import { announce, element } from "./dom.js";
import { has } from "./features.js";
import { checkEnds, clearLog, draw, drawAlong, showMessage, shownAs, startLog, toEnd, viewOf, withAnswer } from "./log.js";
import { loadMarkdown } from "./markdown.js";
import { isShown, textOf } from "./message.js";
import { around, newest, rest, statusesOf, withNews, PAGE } from "./pages.js";
import { find, receive, removed } from "./store.js";
import { t } from "./texts.js";
import { later, showBackgroundError, showError, toast } from "./toast.js";
import { welcome } from "./welcome.js";

let id = null; // of the open conversation; null: a new one, which is not created yet
let messages = []; // oldest first
let others = { statuses: new Map(), branches: new Map() }; // of questions without a complete answer, and of their answers; of messages
let missed = null; // what an event said of the conversation while its answer was followed
let hasOlder = false;
let hasNewer = false;
let request = null; // the latest call of open() or openNew()
let requested = 0; // the number of requests for the newest messages
let newestShown = 0; // the number of the latest such request whose response is shown

export function startConversation() {
  const asks = (name) => (...given) => asking((loaded) => loaded[name](...given));
  const acts = (name) => (...given) => here(import("./messageactions.js"), (loaded) => loaded[name](...given));
  const handlers = { regenerate: asks("regenerate"), decide: asks("decide"), fork: acts("fork"), choose: acts("choose"), rate: acts("rate") };
  startLog({ load, goToNewest: () => open(id), askAgain: asks("askAgain"), handlers });
}

/** Use a module that the first screen does not need, unless another conversation is opened while it is loaded. */
function here(module, use) {
  const mine = request;
  return later(module, (loaded) => request === mine && use(loaded));
}

/** Use asking.js. */
export const asking = (use) => here(import("./asking.js"), use);

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
    if (messageId) showLinked();
    else toEnd();
    markRead(item);
    joinAnswer();
  } catch (error) {
    if (request !== mine) return;
    clear(failure(() => open(conversationId, messageId)));
    if (error.status === 404 && messageId) go(base, { replace: true }); // perhaps only the message doesn't exist
    else if (error.status === 404) removed(conversationId);
    showError(error.status === 404 ? new api.Problem(t("There is no such conversation.")) : error);
  }
  checkEnds();
}

/** Show a new conversation. Its first question creates it. */
export function openNew() {
  request = {};
  if (id !== null && isGone(id)) moveDraft(id, null); // keep the draft of a deleted conversation
  id = null;
  leave(id);
  openDraft(id);
  setBusy(false);
  clear(welcome((question) => asking(({ send }) => send(question))));
}

/** Create the new conversation and open it, unless another one was opened meanwhile. Returns its id. */
export async function create() {
  const mine = request;
  if (mine.isCreating) return null;
  mine.isCreating = true;
  try {
    const item = await receive(api.create());
    if (request === mine) {
      clear();
      id = item.id;
      moveDraft(null, id);
      go(addressOf(id), { isOpen: true });
    }
    return item.id;
  } catch (error) {
    showError(error);
    return null;
  } finally {
    mine.isCreating = false;
  }
}

export const isGone = (conversationId) => !find(conversationId) || find(conversationId).deletedAt;

function clear(...instead) {
  [messages, hasOlder, hasNewer, missed] = [[], false, false, null];
  others = { statuses: new Map(), branches: new Map() };
  clearLog(...instead);
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

/** Show the message at which the conversation was opened. */
function showLinked() {
  if (showMessage(linked)) return; // near: see render()
  toast(t("That message no longer exists. This is the end of its conversation."));
  go(addressOf(id), { replace: true, isOpen: true });
  toEnd();
}

let isLoading = false;

const edge = (direction) => messages.at(direction === "older" ? 0 : -1)?.id;

async function load(direction) {
  const isThereMore = direction === "older" ? hasOlder : hasNewer && !answerIn(id);
  if (isLoading || !isThereMore) return;
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
    checkEnds();
  } catch (error) {
    showError(error); // tried again on the next scroll
  } finally {
    isLoading = false;
  }
}

// --- showing ----------------------------------------------------------------------------------------------------

const known = () => ({ id, messages, others, hasNewer });

/** Draw the messages, near one of them if it is given: see draw(). */
export const render = (wanted = null) => draw(known(), wanted);

/** Show a message as it is now. */
export function renew(changed) {
  messages = messages.map((message) => (message.id === changed.id ? changed : message));
  render();
}

let frame = null;

/** Render at most once per frame, however fast the pieces arrive. */
function nextFrame() {
  frame ??= requestAnimationFrame(redraw);
}

/** Draw the messages now, and stay at the end if the page is there. */
export function redraw() {
  cancelAnimationFrame(frame);
  frame = null;
  drawAlong(known());
}

// --- a question and its answer ----------------------------------------------------------------------------------

/**
 * Show a question at its place, and leave out what follows: it is in another branch. Resolves to a function that shows
 * what was there before.
 */
export async function showAsked(conversationId, question, parentId) {
  if (conversationId !== id) return () => {};
  const before = { messages, hasNewer };
  const isThere = messages.some((message) => message.id === question.id || message.id === parentId);
  if (hasNewer && !isThere) await open(id); // it is added at the end
  if (conversationId !== id) return () => {};
  const place = messages.findIndex((message) => message.id === question.id);
  if (place >= 0) messages = messages.slice(0, place);
  else if (parentId !== undefined) messages = messages.slice(0, messages.findIndex((message) => message.id === parentId) + 1);
  messages = [...messages, question];
  hasNewer = false;
  others.statuses.delete(question.id);
  return () => conversationId === id && ({ messages, hasNewer } = before);
}

/** Follow an answer, and show how it ends. Resolves to whether the question is stored. */
export async function followed(conversationId, question, send = null, before = null, isBranch = false) {
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
    redraw();
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
      if (current.answer.parts.length) messages = withAnswer(messages, current); // until the stored one is here
      if (current.status === "approval") others.statuses.set(current.answer.id, current.status);
      redraw();
    }
    const isTold = current.isLeft || (current.status === "complete" && !before && !isBranch); // by an event, which may be here already
    if (!isTold && (wasOver || current.status !== "streaming" || current.hasBegun)) await synchronize(conversationId);
    else if (isOpen() && missed?.messages?.items.at(-1).id === current.answer.id) await take(missed);
  }
}

/** Open the last question in its edit box. Returns whether there is one. */
export function editLast() {
  const question = has("branches") && messages.findLast((message) => message.role === "user" && isShown(message));
  if (question && !viewOf(question.id)) render(question.id);
  viewOf(question?.id)?.edit();
  return Boolean(question);
}

/** Return the id of the question that is being answered, also one in another branch; undefined if none is. */
const streaming = () => [...others.statuses].find(([, status]) => status === "streaming")?.[0];

/** Whether an answer is under way in a conversation, as far as the page knows. */
export const isAnswering = (conversationId) => Boolean(answerIn(conversationId) || (conversationId === id && streaming()));

/** Join the answer of the open conversation that is under way elsewhere. */
function joinAnswer() {
  setBusy(isAnswering(id));
  if (answerIn(id)) return;
  const questionId = streaming();
  const place = messages.findIndex((message) => message.id === questionId);
  if (!questionId || (place < 0 && !hasNewer)) return; // its question may be in another branch
  followed(id, messages[place] ?? { id: questionId }, null, place < 0 ? null : messages[place + 1]).catch(showBackgroundError);
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
  const shownBefore = linked && shownAs(linked);
  messages = all;
  drawAlong(known());
  if (shownBefore && shownAs(linked) && shownAs(linked) !== shownBefore) showLinked(); // a result, without its call before
  markRead(find(id));
  joinAnswer();
}

let synchronizing = 0; // how many requests are on their way

export async function synchronize(conversationId) {
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
export const shownMessages = () => messages; // oldest first
export const openItem = () => (id ? find(id) : null);
