// What is not sent yet: texts, and files. The tab keeps it for the next visit: see kept.js.

import { keep, kept } from "./kept.js";

const MOST = 50;

export class Drafts {
  #name;
  #items; // texts or lists, by the conversation or the message, the latest last

  constructor(name) {
    this.#name = name;
    this.#items = new Map(kept(name, [], sessionStorage));
  }

  /** Return a text or a list; "" if there is none. */
  get(key) {
    return this.#items.get(key) ?? "";
  }

  /** Keep a text or a list. An empty one is forgotten. */
  put(key, item) {
    this.#items.delete(key);
    if (item.length) this.#items.set(key, item);
    this.#items = new Map([...this.#items].slice(-MOST));
    keep(this.#name, [...this.#items], sessionStorage);
  }
}
