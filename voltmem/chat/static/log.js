// The messages of the open conversation on the page: their views, near the visible part, and where the page is scrolled.

import { answerIn } from "./answers.js";
import { arrange, byId, element, whenNear } from "./dom.js";
import { MessageView, isShown } from "./message.js";
import { Near } from "./near.js";
import { Note, noteOf } from "./notes.js";
import { keepAtEnd } from "./stay.js";

const MOST_TRIES = 20;
const NEAR_THE_END = 120; // pixels: within them, the view scrolls along with new text
const NOTHING = { id: null, messages: [], others: null, hasNewer: false };

const scroller = byId("scroller");
const log = byId("messages");
const toNewest = byId("to-newest");
const older = element("div", { class: "sentinel" });
const newer = element("div", { class: "sentinel" });
const near = new Near(scroller, log);
const views = new Map(); // those on the page, and those with something unfolded
const notes = new Map(); // by the id of the question

let drawn = NOTHING; // see draw()
let handlers; // of MessageView
let askAgain;
let checkAgain = () => {};
let lookWhereItIs = () => {};

/**
 * Start scrolling. load is called with "older" or "newer" near an end of the messages, goToNewest by the button when
 * newer ones are not loaded; the others with messages, by their buttons.
 */
export function startLog({ load, goToNewest, ...options }) {
  ({ handlers, askAgain } = options);
  const checks = [whenNear(older, scroller, () => load("older")), whenNear(newer, scroller, () => load("newer"))];
  checkAgain = () => checks.forEach((check) => check());
  scroller.addEventListener("scroll", () => requestAnimationFrame(() => scrolled()), { passive: true });
  matchMedia("print").addEventListener("change", ({ matches }) => showAll(matches));
  addEventListener("beforeprint", () => showAll(true));
  lookWhereItIs = keepAtEnd(scroller, log); // while formulas and pictures get their sizes
  toNewest.addEventListener("click", () => (drawn.hasNewer ? goToNewest() : toEnd("smooth")));
}

/** Check again whether an end of the messages is near, after loading. */
export const checkEnds = () => checkAgain();

// --- drawing ----------------------------------------------------------------------------------------------------

/**
 * Draw the messages near the visible part, or near another one: "end", or the id of a message.
 *
 * what: {id: of the conversation, messages: oldest first, others: see rest(), hasNewer: whether newer ones are not loaded}
 */
export function draw(what, wanted = null) {
  drawn = what;
  if (drawn.id === null) return; // a frame requested before openNew()
  const live = answerIn(drawn.id);
  const all = live ? withAnswer(drawn.messages, live) : drawn.messages;
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

/** Draw, and stay at the end if the page is there. */
export function drawAlong(what) {
  const wasAtEnd = isAtEnd();
  draw(what, wasAtEnd ? "end" : null);
  if (wasAtEnd) toEnd();
}

/** Show something else than messages. */
export function clearLog(...instead) {
  drawn = NOTHING;
  views.clear();
  notes.clear();
  log.replaceChildren(...instead);
  showToNewest();
}

/** Return the elements of a message: its view, and what stands below it. */
function elementsOf(shown, place, live) {
  const { others, hasNewer } = drawn;
  const message = shown[place];
  const note = noteOf(message, shown[place + 1], { ...others, hasNewer });
  const isWanted = !live && others.statuses.get(message.id) === "approval" && place === shown.length - 1;
  return [viewElement(message, message === live?.answer, isWanted), ...(note ? [noteView(message, note)] : [])];
}

/** Return the messages up to the question, the question, and the answer so far. */
export function withAnswer(messages, { question, answer }) {
  const stored = messages.filter((message) => message.id !== answer.id);
  const place = stored.findIndex((message) => message.id === question?.id);
  if (place >= 0) return [...stored.slice(0, place + 1), answer];
  return question?.parts ? [...stored, question, answer] : [...stored, answer];
}

function viewElement(message, isStreaming, asks) {
  if (!views.has(message.id)) views.set(message.id, new MessageView(message, handlers));
  views.get(message.id).show(message, { isStreaming, asks, branch: drawn.others.branches.get(message.id) });
  return views.get(message.id).element;
}

function noteView(question, status) {
  if (!notes.has(question.id)) notes.set(question.id, new Note(() => askAgain(question)));
  notes.get(question.id).show(status);
  return notes.get(question.id).element;
}

/** Return the view of a message; undefined if it is not on the page. */
export const viewOf = (messageId) => views.get(messageId);

/** Return the id of the message that shows a message: the result of a tool is shown with its call. */
export function shownAs(messageId) {
  const { messages } = drawn;
  return messages.slice(0, messages.findIndex(({ id }) => id === messageId) + 1).findLast(isShown)?.id;
}

// --- scrolling --------------------------------------------------------------------------------------------------

/** Draw what is near after scrolling: a few messages in each frame, and others if a guess was wrong. */
function scrolled(tries = 0) {
  showToNewest();
  if (drawn.id === null || tries > MOST_TRIES || !near.isElsewhere()) return;
  draw(drawn);
  requestAnimationFrame(() => scrolled(tries + 1));
}

/** Put all loaded messages on the page, or only the near ones again. */
export function showAll(isWhole) {
  near.isWhole = isWhole;
  draw(drawn);
}

/** Scroll to a message that is on the page, and mark it. Returns whether it is there. */
export function showMessage(messageId) {
  const view = views.get(shownAs(messageId));
  if (!view) return false;
  for (const part of view.element.querySelectorAll("details")) part.open = true;
  view.element.scrollIntoView({ block: "center" });
  lookWhereItIs();
  view.element.focus({ preventScroll: true });
  view.element.classList.add("message-found");
  view.element.addEventListener("animationend", () => view.element.classList.remove("message-found"), { once: true });
  return true;
}

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_THE_END;

/** @param {ScrollBehavior} behavior */
export function toEnd(behavior = "instant") {
  const isFar = !near.hasEnd;
  if (isFar) draw(drawn, "end");
  scroller.scrollTo({ top: scroller.scrollHeight, behavior: isFar ? "instant" : behavior });
}

function showToNewest() {
  toNewest.hidden = drawn.id === null || (isAtEnd() && !drawn.hasNewer);
}
