// Asking for a menu, which is loaded when it is first needed.

import { later } from "./toast.js";

/** Open a menu at a button, or at a point, with what choices(actions.js) returns. */
export const openMenuOf = (button, choices, point = null) =>
  later(Promise.all([import("./menu.js"), import("./actions.js")]), ([{ openMenu }, actions]) => openMenu(button, choices(actions), point));

/** Call a function of actions.js. */
export const act = (use) => later(import("./actions.js"), use);

/** Open a menu for a right click, for a long press, and for the keyboard's menu key. Shift asks for the browser's own. */
export function onContextMenu(place, open) {
  place.addEventListener("contextmenu", (event) => {
    if (event.shiftKey || event.target.closest("input")) return;
    event.preventDefault();
    const point = event.button === 2 ? { x: event.clientX, y: event.clientY } : null;
    // Some systems send the event when the button goes down. When it goes up, browsers close the menus that are open.
    if (event.buttons) addEventListener("pointerup", () => setTimeout(open, 0, point), { once: true });
    else open(point);
  });
}
