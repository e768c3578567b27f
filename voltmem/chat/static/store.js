// The conversations that this tab has loaded. Views add listeners to follow their changes.

const known = new Map();
const listeners = new Set();
const updates = new Map(); // by id: the number of the conversation's last update
let count = 0; // of all updates

export const find = (id) => known.get(id);
export const listen = (listener) => listeners.add(listener);

/** Store the current state of a conversation and notify the listeners. */
export function changed(item) {
  known.set(item.id, item);
  notify(item.id, item);
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
  if (!isUpdatedSince(item.id, sent)) changed(item);
  return item;
}

/**
 * The same for a page of the list. Returns its items without outdated ones (items), the ids of all conversations that
 * were updated after the request was sent (newer), and the last item of the page, outdated or not (end).
 */
export async function receivePage(response) {
  const sent = count;
  const page = await response;
  const items = page.items.filter((item) => !isUpdatedSince(item.id, sent));
  items.forEach((item) => known.set(item.id, item));
  return { ...page, items, end: page.items.at(-1), newer: [...updates.keys()].filter((id) => isUpdatedSince(id, sent)) };
}

const isUpdatedSince = (id, moment) => (updates.get(id) ?? 0) > moment;

export const titleOf = (item) => item.title?.trim() || "New chat";
