// The menu, opened at a button. Supports arrow keys, first letters and Escape. Closing it restores the focus.

import { byId, element, icon } from "./dom.js";

const menu = byId("menu");
let opener = null;

/** Open the menu at a button. Items: {name, icon, onSelect, isDangerous}. */
export function openMenu(button, items) {
  if (menu.matches(":popover-open")) return menu.hidePopover();
  opener = button;
  menu.replaceChildren(...items.map(menuItem));
  menu.showPopover();
  place(button.getBoundingClientRect());
  button.setAttribute("aria-expanded", "true");
  menu.firstElementChild.focus();
}

function menuItem({ name, icon: picture, onSelect, isDangerous }) {
  const select = () => {
    menu.hidePopover();
    onSelect();
  };
  const kind = `menu-item${isDangerous ? " menu-item-dangerous" : ""}`;
  return element("button", { type: "button", role: "menuitem", class: kind, tabindex: "-1", onclick: select }, icon(picture), name);
}

function place(anchor) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = anchor.bottom + 4 + height <= innerHeight;
  menu.style.top = `${below ? anchor.bottom + 4 : Math.max(8, anchor.top - 4 - height)}px`;
  menu.style.left = `${Math.max(8, Math.min(anchor.right - width, innerWidth - width - 8))}px`;
}

menu.addEventListener("toggle", (event) => {
  if (event.newState === "open") return;
  opener?.setAttribute("aria-expanded", "false");
  if (menu.contains(document.activeElement) || document.activeElement === document.body) opener?.focus();
});

menu.addEventListener("keydown", (event) => {
  const items = [...menu.children];
  const place = items.indexOf(document.activeElement);
  const starting = items.findIndex((item) => item.textContent.toLowerCase().startsWith(event.key.toLowerCase()));
  const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: -1 }[event.key] ?? starting;
  if (event.key === "Tab") menu.hidePopover();
  else if (event.key in { ArrowDown: 0, ArrowUp: 0, Home: 0, End: 0 } || (event.key.length === 1 && starting >= 0)) {
    event.preventDefault();
    items.at(next % items.length).focus();
  }
});
