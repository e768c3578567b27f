// A row of the list: a link to the conversation, and a button for its menu.

import { actionsFor, remove, renameIn } from "./actions.js";
import { addressOf } from "./addresses.js";
import { element, icon } from "./dom.js";
import { openMenu } from "./menu.js";
import { titleOf } from "./store.js";

export class Row {
  #item;
  #isCurrent;
  #isTabStop;
  #title = element("span", { class: "row-title", dir: "auto" });
  #preview = element("span", { class: "row-preview", dir: "auto" });
  #state = element("span", { class: "unseen" });
  #slot = element("div", { class: "row-rename", hidden: true });

  constructor(id) {
    this.link = element(
      "a",
      { class: "row-link", href: addressOf(id) },
      this.#title,
      this.#preview,
      this.#state,
    );
    this.button = element(
      "button",
      { type: "button", class: "row-menu icon-button", "aria-haspopup": "menu", "aria-expanded": "false" },
      icon("more"),
    );
    this.button.addEventListener("click", () => openMenu(this.button, actionsFor(this.#item, () => this.rename())));
    this.element = element("li", { class: "row", "data-id": id }, this.link, this.#slot, this.button);
  }

  show(item, isCurrent) {
    if (item === this.#item && isCurrent === this.#isCurrent) return; // most rows are unchanged
    [this.#item, this.#isCurrent] = [item, isCurrent];
    const isUnread = item.unread && !isCurrent;
    this.#title.textContent = titleOf(item);
    this.#preview.textContent = (item.preview ?? "").replace(/[*_`#>|]+/g, " ").replace(/\s+/g, " ");
    this.#state.textContent = [isUnread && ", unread", item.pinned && ", pinned"].filter(Boolean).join("");
    this.button.setAttribute("aria-label", `Actions for ${titleOf(item)}`);
    this.element.classList.toggle("row-unread", isUnread);
    this.element.classList.toggle("row-unnamed", !item.title?.trim());
    if (isCurrent) this.link.setAttribute("aria-current", "page");
    else this.link.removeAttribute("aria-current");
  }

  /** Set whether the Tab key reaches this row. */
  setTabStop(isTabStop) {
    if (isTabStop === this.#isTabStop) return;
    this.#isTabStop = isTabStop;
    for (const part of [this.link, this.button]) part.tabIndex = isTabStop ? 0 : -1;
  }

  rename() {
    this.link.hidden = true;
    this.#slot.hidden = false;
    renameIn(this.#slot, this.#item, () => {
      this.#slot.hidden = true;
      this.link.hidden = false;
      this.link.focus();
    });
  }

  remove() {
    remove(this.#item);
  }
}
