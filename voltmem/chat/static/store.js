// The conversations that this tab has loaded. Views add listeners to follow their changes.


const known = new Map();
const listeners = new Set();
let answering = new Set(); // the ids of those whose answer is under way
const expected = new Set(); // the ids of those whose new state came with a response: an event will tell it again
const updates = new Map(); // by id: the number of the conversation's last update
let count = 0; // of all updates

export const find = (id) => known.get(id);
export const listen = (listener) => listeners.add(listener);

/** Store the current state of a conversation and notify the listeners. */
export function changed(item) {
  notify(item.id, put(item));
}

function put(item) {
  const made = { ...item, answering: answering.has(item.id) };
  known.set(item.id, made);
  return made;
}

/** Store the state that an event tells. Returns whether that is all that has changed, and not what the messages say. */
export function told(item) {
  const before = known.get(item.id);
  const isActive = before?.updatedAt !== item.updatedAt || before.preview !== item.preview;
  const saysAll = !isActive && (!isSame(item) || expected.has(item.id));
  expected.delete(item.id);
  changed(item);
  return saysAll;
}

function isSame(item) {
  const { answering: _, ...before } = known.get(item.id) ?? {};
  return JSON.stringify(before) === JSON.stringify(item);
}

/** Mark that the answer of a conversation is under way, or that none is. The conversation's next state shows it. */
export const setAnsweringIn = (id, isUnderWay) => answering[isUnderWay ? "add" : "delete"](id);

/** Mark the conversations whose answers are under way, and no others. */
export function setAnswering(ids) {
  const before = answering;
  answering = new Set(ids);
  for (const id of new Set([...before, ...answering]))
    if (before.has(id) !== answering.has(id) && known.has(id)) changed(known.get(id));
}

export function removed(id) {
  known.delete(id);
  notify(id, null);
}

function notify(id, item) {
  updates.set(id, (count += 1));
  listeners.forEach((listener) => listener(id, item));
}

/**
 * Await the server's response with a conversation, store the conversation and return it. If the conversation was
 * updated after the request was sent, the response is outdated and is not stored: it could undo a deletion.
 */
export async function receive(response) {
  const sent = count;
  const item = await response;
  if (!isUpdatedSince(item.id, sent)) {
    if (!isSame(item)) expected.add(item.id);
    changed(item);
  }
  return known.get(item.id) ?? item;
}

/**
 * The same for a page of the list. Returns its items without outdated ones (items), the ids of all conversations that
 * were updated after the request was sent (newer), and the last item of the page, outdated or not (end).
 */
export async function receivePage(response) {
  const sent = count;
  const page = await response;
  const items = page.items.filter((item) => !isUpdatedSince(item.id, sent)).map(put);
  return { ...page, items, end: page.items.at(-1), newer: [...updates.keys()].filter((id) => isUpdatedSince(id, sent)) };
}

const isUpdatedSince = (id, moment) => (updates.get(id) ?? 0) > moment;

export { titleOf } from "./described.js";
