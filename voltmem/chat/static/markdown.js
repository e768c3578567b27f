// Shows the Markdown that models write. What draws it is loaded when the page has time, or with the first text.

import { element } from "./dom.js";

let drawing = null; // the module, once it is there
let loading = null;

/** Load what draws Markdown. Resolves also if that fails: texts are shown as they are then. */
export function loadMarkdown() {
  loading ??= import("./markdown/growing.js").then((module) => (drawing = module), () => (loading = null));
  return loading;
}

(globalThis.requestIdleCallback ?? setTimeout)(loadMarkdown);

/** A text that may grow. */
export class Markdown {
  element = element("div", { class: "text" });
  #growing = null;
  #given = null;

  show(text, { isGrowing = false } = {}) {
    this.#given = { text, isGrowing };
    if (drawing) return this.#draw();
    this.#plain();
    loadMarkdown().then(() => drawing && this.#draw());
    return this.element;
  }

  #draw() {
    const { text, isGrowing } = this.#given;
    try {
      this.#growing ??= new drawing.Growing(this.element);
      this.#growing.show(text, isGrowing);
      this.element.classList.remove("text-plain");
    } catch {
      this.#growing = null;
      this.#plain();
    }
    return this.element;
  }

  #plain() {
    this.element.classList.add("text-plain");
    this.element.replaceChildren(element("p", { dir: "auto" }, this.#given.text));
  }
}
