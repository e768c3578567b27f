// Which messages are on the page: those near the visible part. Empty elements keep the place of the others.

import { element } from "./dom.js";

const MARGIN = 500; // pixels above and below the visible part
const GUESS = 120; // pixels: the height of a message, until some are known
const ENOUGH = 5; // messages
const AT_ONCE = 4; // new messages in a frame while somebody scrolls

export class Near {
  isWhole = false; // whether all are on the page: printed, or looked through
  #scroller;
  #log;
  #heights = new Map(); // by id: of those that were on the page, with the space below them
  #guess = null; // the height of the others; it stays, or gaps would not have the height that is expected
  #ids = [];
  #places = [];

  constructor(scroller, log) {
    [this.#scroller, this.#log] = [scroller, log];
  }

  /** Return the places of the messages to show: near the visible part, or near a place that is wanted, or near the "end". */
  choose(ids, wanted = null) {
    const { id, below } = this.#seen();
    const before = new Set(this.#places.map((place) => this.#ids[place]));
    this.#ids = ids;
    if (this.#heights.size >= ENOUGH) this.#guess ??= [...this.#heights.values()].reduce((sum, height) => sum + height) / this.#heights.size;
    const { clientHeight } = this.#scroller;
    if (wanted === "end") this.#places = this.#from(this.#sum(0, ids.length) - clientHeight);
    else if (wanted !== null) this.#places = this.#from(this.#sum(0, wanted) - clientHeight / 2);
    else this.#places = this.#some(this.#from(this.#startAt(id, below)), before);
    return this.#places;
  }

  /** Whether the last message is on the page. */
  get hasEnd() {
    return this.#places.at(-1) === this.#ids.length - 1;
  }

  /** Return whether other messages are near now. */
  isElsewhere() {
    const { id, below } = this.#seen();
    return String(this.#from(this.#startAt(id, below))) !== String(this.#places);
  }

  /** Return an element in place of messages that are not on the page. */
  gap(from, to) {
    const made = element("div", { class: "gap" });
    made.style.height = `${this.#sum(from, to)}px`;
    return made;
  }

  /** Return a function that scrolls so that what is visible now is where it was. */
  stay() {
    const { shown } = this.#seen();
    const before = shown?.offsetTop;
    return () => {
      const moved = shown?.isConnected ? shown.offsetTop - before : 0;
      if (moved) this.#scroller.scrollTop += moved;
    };
  }

  /**
   * Measure the messages on the page. Returns the first visible one, or else the last one above: (shown), its id, and
   * how far the visible part begins below it.
   */
  #seen() {
    const { scrollTop } = this.#scroller;
    let [last, shown] = [null, null];
    for (const child of this.#log.children) {
      if (!child.matches(".message, .gap, .sentinel")) continue; // what stands below a question is part of it
      // Before a gap there is less space than before a message.
      if (last?.dataset.id && (child.dataset.id || !this.#heights.has(last.dataset.id))) this.#heights.set(last.dataset.id, child.offsetTop - last.offsetTop);
      last = child;
      const isAbove = !shown || shown.offsetTop + shown.offsetHeight <= scrollTop;
      if (child.dataset.id && isAbove) shown = child;
    }
    const top = shown?.offsetTop ?? this.#log.firstElementChild?.offsetTop ?? 0;
    return { shown, id: shown?.dataset.id, below: scrollTop - top };
  }

  /** Return the places of those that are on the page, and of a few others, from the middle on. More come in the next frame. */
  #some(places, before) {
    const middle = places[places.length >> 1];
    const others = places.filter((place) => !before.has(this.#ids[place])).sort((one, other) => Math.abs(one - middle) - Math.abs(other - middle));
    const later = new Set(this.isWhole ? [] : others.slice(AT_ONCE));
    return places.filter((place) => !later.has(place));
  }

  /** Return where the visible part begins, by the heights that are expected. */
  #startAt(id, below) {
    const place = this.#ids.indexOf(id);
    return place < 0 ? this.#scroller.scrollTop : this.#sum(0, place) + below;
  }

  /** Return the places of the messages near a visible part that begins here; and of those that have to stay. */
  #from(start) {
    const end = start + this.#scroller.clientHeight;
    const stays = this.#staying();
    const places = [];
    let top = 0;
    for (let place = 0; place < this.#ids.length; place += 1) {
      const bottom = top + this.#height(place);
      if (this.isWhole || (bottom > start - MARGIN && top < end + MARGIN) || stays(place)) places.push(place);
      top = bottom;
    }
    return places;
  }

  /** Return the test whether a message stays because it has the focus, is being edited, or is selected. */
  #staying() {
    const { anchorNode, focusNode, isCollapsed } = getSelection();
    const idAt = (node) => this.#log.contains(node) && (node.closest ? node : node.parentElement).closest(".message")?.dataset.id;
    const edited = [...this.#log.querySelectorAll(".message-editing")].map(({ dataset }) => dataset.id);
    const staying = new Set([idAt(document.activeElement), ...edited]);
    const ends = isCollapsed ? [] : [anchorNode, focusNode].map((node) => this.#ids.indexOf(idAt(node)));
    const [first, last] = [Math.min(...ends), Math.max(...ends)];
    return (place) => staying.has(this.#ids[place]) || (first >= 0 && place >= first && place <= last);
  }

  #height(place) {
    return this.#heights.get(this.#ids[place]) ?? this.#guess ?? GUESS;
  }

  #sum(from, to) {
    let sum = 0;
    for (let place = from; place < to; place += 1) sum += this.#height(place);
    return sum;
  }
}
