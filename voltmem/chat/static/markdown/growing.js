// A text that is drawn while it grows. Blocks that are complete stay as they are; only the last one is drawn again.

import { blocks, drawn } from "./nodes.js";
import { parse } from "./parser.js";

const LONG = 8000; // characters of a last block, from which on it is drawn less often …
const SHARE = 32; // … each time it has grown by this part: the work stays in proportion to the text

export class Growing {
  #text = "";
  #start = 0; // where the last block begins
  #tail = []; // its elements
  #hasReferences = false;

  constructor(root) {
    this.root = root;
    root.replaceChildren();
  }

  /** Draw the text. isGrowing: it is not complete. */
  show(written, isGrowing) {
    const text = written.includes("\r") ? written.replaceAll(/\r\n?/g, "\n") : written;
    if (!text.startsWith(this.#text)) this.#begin();
    const grown = text.length - this.#text.length;
    if (isGrowing && this.#text.length - this.#start > LONG && grown < (text.length - this.#start) / SHARE) return;
    this.#draw(text, isGrowing);
    // A definition at the end may make links of what stands before it.
    if (isGrowing || !this.#hasReferences || !this.#start) return;
    this.#begin();
    this.#draw(text, false);
  }

  #begin() {
    this.#start = 0;
    this.#tail = [];
    this.root.replaceChildren();
  }

  #draw(text, isGrowing) {
    const { tokens, hasReferences } = parse(text.slice(this.#start), { isGrowing });
    const found = blocks(tokens);
    const made = found.map(({ tokens }, place) => drawn(tokens, { isGrowing: isGrowing && place === found.length - 1 }));
    for (const each of this.#tail) each.remove();
    for (const each of made) this.root.append(each); // an answer may have more blocks than a call takes arguments
    this.#tail = made;
    this.#text = text;
    this.#hasReferences ||= hasReferences;
    if (isGrowing) this.#keep(found);
  }

  /** Keep what stands before the last block that begins in a complete line: no further text changes it. */
  #keep(found) {
    const lines = lineStarts(this.#text.slice(this.#start));
    const last = found.findLastIndex(({ line }) => line < lines.length - 1);
    if (last <= 0) return;
    this.#tail = this.#tail.slice(last);
    this.#start += lines[found[last].line];
  }
}

/** Return where each line begins. */
function lineStarts(text) {
  const starts = [0];
  for (let place = text.indexOf("\n"); place >= 0; place = text.indexOf("\n", place + 1)) starts.push(place + 1);
  return starts;
}
