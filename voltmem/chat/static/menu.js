// The menu, opened at a button or where the pointer is. Supports arrow keys, first letters and Escape. Closing it
// restores the focus.

import { byId, element, focusedElement, icon } from "./dom.js";

const menu = byId("menu");
let opener = null;

/** Open the menu at a button, or at a point {x, y}. Items: {name, icon, onSelect, isDangerous, isFirst: of a group}. */
export function openMenu(button, items, point = null) {
  if (menu.matches(":popover-open") && !point) return menu.hidePopover();
  opener = button;
  menu.replaceChildren(...items.flatMap(menuItem));
  button.closest("nav, main")?.append(menu); // the landmark that it belongs to, of which one may be inert
  menu.showPopover();
  const at = point && { left: point.x, right: point.x + menu.offsetWidth, top: point.y, bottom: point.y };
  place(at ?? button.getBoundingClientRect(), getComputedStyle(button).direction === "rtl" && !point);
  button.setAttribute("aria-expanded", "true");
  choices()[0].focus();
}

const choices = () => [...menu.querySelectorAll("[role=menuitem]")];

function menuItem({ name, icon: picture, onSelect, isDangerous, isFirst }) {
  const select = () => {
    menu.hidePopover();
    onSelect();
  };
  const kind = `menu-item${isDangerous ? " menu-item-dangerous" : ""}`;
  const made = element(
    "button",
    { type: "button", role: "menuitem", class: kind, tabindex: "-1", onclick: select },
    icon(picture),
    element("span", { dir: "auto" }, name),
  );
  return isFirst ? [element("div", { role: "separator", class: "menu-line" }), made] : [made];
}

function place(anchor, isMirrored) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = anchor.bottom + 4 + height <= innerHeight;
  const left = isMirrored ? anchor.left : anchor.right - width;
  menu.style.top = `${below ? anchor.bottom + 4 : Math.max(8, anchor.top - 4 - height)}px`;
  menu.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
}

menu.addEventListener("toggle", (event) => {
  if (event.newState === "open") return;
  opener?.setAttribute("aria-expanded", "false");
  if (menu.contains(focusedElement()) || [document.body, null].includes(focusedElement())) opener?.focus();
});

menu.addEventListener("keydown", (event) => {
  const items = choices();
  const place = items.indexOf(focusedElement());
  const begins = (item) => item.textContent.toLowerCase().startsWith(event.key.toLowerCase());
  const starting = [...items.keys()].map((each) => (place + 1 + each) % items.length).find((each) => begins(items[each]));
  const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: -1 }[event.key] ?? starting;
  event.stopPropagation(); // to what is around its place in the page
  if (event.key === "Tab") menu.hidePopover();
  else if (event.key in { ArrowDown: 0, ArrowUp: 0, Home: 0, End: 0 } || (event.key.length === 1 && starting >= 0)) {
    event.preventDefault();
    items.at(next % items.length).focus();
  }
});
