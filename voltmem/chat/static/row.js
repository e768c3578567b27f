// A row of the list: a link to the conversation, and a button for its menu.

import { addressOf } from "./addresses.js";
import { previewOf, titleOf } from "./described.js";
import { element, icon } from "./dom.js";
import { act, onContextMenu, openMenuOf } from "./menus.js";
import { t } from "./texts.js";

export class Row {
  isRow = true; // and not the head of a folder
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
    this.button.addEventListener("click", () => this.#openMenu());
    this.element = element("li", { class: "row", "data-id": id }, this.link, this.#slot, this.button);
    onContextMenu(this.element, (point) => this.#openMenu(point));
    this.link.addEventListener("click", (event) => {
      if (!this.#item.deletedAt || event.defaultPrevented) return; // prevented: it was selected
      event.preventDefault();
      this.#openMenu();
    });
  }

  show(item, isCurrent) {
    if (item === this.#item && isCurrent === this.#isCurrent) return; // most rows are unchanged
    [this.#item, this.#isCurrent] = [item, isCurrent];
    const isUnread = item.unread && !isCurrent;
    this.#title.replaceChildren(...(item.forkedFrom ? [icon("fork")] : []), titleOf(item));
    this.#preview.textContent = previewOf(item);
    const marks = [item.answering ? t("answering") : isUnread && t("unread"), item.pinned && t("pinned"), item.forkedFrom && t("a fork")];
    this.#state.textContent = marks.map((mark) => (mark ? t(", {mark}", { mark }) : "")).join("");
    this.button.setAttribute("aria-label", t("Actions for {title}", { title: titleOf(item) }));
    this.element.classList.toggle("row-unread", isUnread && !item.answering);
    this.element.classList.toggle("row-answering", Boolean(item.answering));
    this.element.classList.toggle("row-unnamed", !item.title?.trim());
    if (isCurrent) this.link.setAttribute("aria-current", "page");
    else this.link.removeAttribute("aria-current");
  }

  /** Show whether conversations are being selected, and whether this one is. */
  mark(isSelecting, isSelected) {
    // What is deleted can't be opened: its row opens the menu.
    const role = isSelecting ? "checkbox" : this.#item.deletedAt ? "button" : null;
    if (role === this.link.getAttribute("role") && String(isSelected) === this.link.getAttribute("aria-checked")) return;
    for (const [name, value] of [["role", role], ["aria-checked", isSelecting ? String(isSelected) : null]]) {
      if (value === null) this.link.removeAttribute(name);
      else this.link.setAttribute(name, value);
    }
  }

  #openMenu(point) {
    openMenuOf(this.button, ({ actionsFor }) => actionsFor(this.#item, () => this.rename(), this.button), point);
  }

  /** Say at which place the row is, and how many pixels of rows before it are not on the page. */
  put(place, count, missing) {
    this.element.style.marginBlockStart = missing ? `${missing}px` : "";
    for (const [name, value] of [["aria-posinset", place + 1], ["aria-setsize", count]])
      if (this.element.getAttribute(name) !== String(value)) this.element.setAttribute(name, value);
  }

  /** Set whether the Tab key reaches this row. */
  setTabStop(isTabStop) {
    if (isTabStop === this.#isTabStop) return;
    this.#isTabStop = isTabStop;
    for (const part of [this.link, this.button]) part.tabIndex = isTabStop ? 0 : -1;
  }

  rename() {
    if (this.#item.deletedAt) return;
    act(({ renameIn }) => {
      this.link.hidden = true;
      this.#slot.hidden = false;
      renameIn(this.#slot, this.#item, () => {
        this.#slot.hidden = true;
        this.link.hidden = false;
        this.link.focus();
      });
    });
  }

  remove() {
    act(({ remove }) => remove(this.#item));
  }
}
