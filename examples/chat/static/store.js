// The conversations that are known here. Whoever shows one listens to what becomes of it.

const known = new Map();
const listeners = new Set();

export const find = (id) => known.get(id);
export const listen = (listener) => listeners.add(listener);

/** A conversation as it is now, wherever that was learnt: from an answer, or from an event. */
export function changed(item) {
  known.set(item.id, item);
  listeners.forEach((listener) => listener(item.id, item));
}

/** The same for many that nobody else shows yet. */
export const remember = (items) => items.forEach((item) => known.set(item.id, item));

export function removed(id) {
  known.delete(id);
  listeners.forEach((listener) => listener(id, null));
}

export const titleOf = (item) => item.title || "New chat";
