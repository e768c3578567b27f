// The head of a folder in the list: a button that opens and closes it, and a button for its menu.

import { element, icon } from "./dom.js";
import { onContextMenu, openMenuOf } from "./menus.js";
import { numbers, t } from "./texts.js";
import { later } from "./toast.js";

export class FolderHead {
  #count = element("span", { class: "folder-count" });
  #setOpen;

  constructor(name, isOpen, setOpen) {
    this.id = `folder:${name}`;
    this.name = name;
    this.isOpen = isOpen;
    this.#setOpen = setOpen;
    this.link = element(
      "button",
      { type: "button", class: "row-link folder-name", onclick: () => this.open(!this.isOpen) },
      icon("chevron"),
      icon("folder"),
      element("span", { class: "row-title", dir: "auto" }, name),
      this.#count,
    );
    this.button = element(
      "button",
      { type: "button", class: "row-menu icon-button", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": t("Actions for the folder {name}", { name }) },
      icon("more"),
    );
    this.button.addEventListener("click", () => this.#openMenu());
    this.element = element("div", { class: "row folder-head", "data-id": this.id }, this.link, this.button);
    onContextMenu(this.element, (point) => this.#openMenu(point));
  }

  show(count) {
    this.#count.textContent = count ? numbers.format(count) : "";
    this.link.setAttribute("aria-expanded", String(this.isOpen));
  }

  setTabStop(isTabStop) {
    for (const part of [this.link, this.button]) part.tabIndex = isTabStop ? 0 : -1;
  }

  open(isWanted) {
    this.#setOpen(this.name, isWanted);
  }

  rename() {
    later(import("./retag.js"), ({ renameFolder }) => renameFolder(this.name));
  }

  remove() {
    later(import("./retag.js"), ({ removeFolder }) => removeFolder(this.name));
  }

  #openMenu(point) {
    const actions = [
      { name: t("Rename …"), icon: "rename", onSelect: () => this.rename() },
      { name: t("Remove the folder"), icon: "delete", onSelect: () => this.remove(), isDangerous: true },
    ];
    openMenuOf(this.button, () => actions, point);
  }
}
