// The conversations that are known here. Whoever shows one listens to what becomes of it.

const known = new Map();
const listeners = new Set();
const learnt = new Map(); // when something was learnt of each the last time, counted in things learnt
let count = 0;

export const find = (id) => known.get(id);
export const listen = (listener) => listeners.add(listener);

/** A conversation as it is now, told by an event or by an answer that nothing has overtaken. */
export function changed(item) {
  known.set(item.id, item);
  tell(item.id, item);
}

export function removed(id) {
  known.delete(id);
  tell(id, null);
}

function tell(id, item) {
  learnt.set(id, (count += 1));
  listeners.forEach((listener) => listener(id, item));
}

/**
 * Await what the server says of a conversation, and return it. An answer is as old as its question: where something
 * was learnt of the conversation meanwhile, that counts. A late answer would bring back what was deleted.
 */
export async function learn(answer) {
  const asked = count;
  const item = await answer;
  if (!isLearntSince(item.id, asked)) changed(item);
  return item;
}

/**
 * The same for a page of the list: its items without those of which something was learnt meanwhile, the ids of these
 * (newer), and the item that ends it, in whatever state (end).
 */
export async function learnPage(answer) {
  const asked = count;
  const page = await answer;
  const items = page.items.filter((item) => !isLearntSince(item.id, asked));
  items.forEach((item) => known.set(item.id, item));
  return { ...page, items, end: page.items.at(-1), newer: [...learnt.keys()].filter((id) => isLearntSince(id, asked)) };
}

const isLearntSince = (id, moment) => (learnt.get(id) ?? 0) > moment;

export const titleOf = (item) => item.title?.trim() || "New chat";
