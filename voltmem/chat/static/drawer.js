// On a phone the sidebar is a drawer over the conversation. Only one of the two is accessible at a time.

import { byId, isPhone, onPhoneChange } from "./dom.js";

const [sidebar, main, button] = [byId("sidebar"), byId("main"), byId("open-sidebar")];
let isOpen = false;

export function startDrawer() {
  button.addEventListener("click", () => setDrawer(true));
  byId("close-sidebar").addEventListener("click", () => setDrawer(false));
  byId("scrim").addEventListener("click", () => setDrawer(false));
  sidebar.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && setDrawer(false));
  onPhoneChange(() => setDrawer(false));
  setDrawer(false);
}

export function setDrawer(isWanted) {
  const wasOpen = isOpen;
  isOpen = isWanted && isPhone();
  document.body.classList.toggle("drawer-open", isOpen);
  button.setAttribute("aria-expanded", String(isOpen));
  sidebar.inert = isPhone() && !isOpen;
  main.inert = isOpen;
  if (isOpen) byId("new-chat").focus();
  else if (wasOpen && isPhone()) button.focus();
}
