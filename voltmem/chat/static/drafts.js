// Texts that are not sent yet. The tab keeps them for the next visit: see kept.js.

import { keep, kept } from "./kept.js";

const MOST = 50;

export class Drafts {
  #name;
  #texts; // by the conversation or the message, the latest last

  constructor(name) {
    this.#name = name;
    this.#texts = new Map(kept(name, [], sessionStorage));
  }

  get(key) {
    return this.#texts.get(key) ?? "";
  }

  /** Keep a text. An empty one is forgotten. */
  put(key, text) {
    this.#texts.delete(key);
    if (text) this.#texts.set(key, text);
    this.#texts = new Map([...this.#texts].slice(-MOST));
    keep(this.#name, [...this.#texts], sessionStorage);
  }
}
