// Where the sidebar is: a column that can be closed and resized; on a phone a drawer over the conversation, of which
// only one is accessible at a time.

import { byId, isPhone, onPhoneChange } from "./dom.js";
import { keep, kept } from "./kept.js";
import { t } from "./texts.js";

const [NARROWEST, USUAL, WIDEST, STEP] = [208, 304, 560, 16]; // pixels

const [sidebar, main, opener, closer, splitter] = ["sidebar", "main", "open-sidebar", "close-sidebar", "splitter"].map(byId);
const page = document.documentElement;
let isOpen = false; // the drawer

export function startDrawer() {
  opener.addEventListener("click", () => openSidebar(closer));
  closer.addEventListener("click", closeSidebar);
  byId("scrim").addEventListener("click", () => setDrawer(false));
  sidebar.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && setDrawer(false));
  onPhoneChange(() => setDrawer(false));
  setDrawer(false);
  startSplitter();
}

export function setDrawer(isWanted) {
  const wasOpen = isOpen;
  isOpen = isWanted && isPhone();
  document.body.classList.toggle("drawer-open", isOpen);
  sidebar.inert = isPhone() && !isOpen;
  main.inert = isOpen;
  showState();
  if (isOpen) byId("new-chat").focus();
  else if (wasOpen && isPhone()) opener.focus();
}

const isClosed = () => page.classList.contains("sidebar-closed");

function setClosed(isWanted) {
  page.classList.toggle("sidebar-closed", isWanted);
  keep("sidebarClosed", isWanted);
  showState();
}

const showState = () => opener.setAttribute("aria-expanded", String(isPhone() ? isOpen : !isClosed()));

/** Open the sidebar, and move the focus there if a place for it is given. */
export function openSidebar(focus = null) {
  if (isPhone()) return setDrawer(true);
  setClosed(false);
  focus?.focus();
}

function closeSidebar() {
  if (isPhone()) return setDrawer(false);
  setClosed(true);
  opener.focus();
}

export function toggleSidebar() {
  if (isPhone() ? isOpen : !isClosed()) closeSidebar();
  else openSidebar(closer);
}

// --- the width --------------------------------------------------------------------------------------------------

function startSplitter() {
  setWidth(kept("sidebarWidth", USUAL));
  splitter.addEventListener("pointerdown", (event) => {
    splitter.setPointerCapture(event.pointerId);
    event.preventDefault(); // of selecting text
  });
  splitter.addEventListener("pointermove", (event) => {
    if (!splitter.hasPointerCapture(event.pointerId)) return;
    const width = widthAt(event.clientX);
    if (width < NARROWEST / 2) (splitter.releasePointerCapture(event.pointerId), closeSidebar());
    else setWidth(width);
  });
  splitter.addEventListener("lostpointercapture", () => keep("sidebarWidth", widthNow()));
  splitter.addEventListener("dblclick", () => keep("sidebarWidth", setWidth(USUAL)));
  splitter.addEventListener("keydown", (event) => {
    const forward = isMirrored() ? -STEP : STEP;
    const width = { ArrowRight: widthNow() + forward, ArrowLeft: widthNow() - forward, Home: NARROWEST, End: WIDEST }[event.key];
    if (event.key === "Enter") closeSidebar();
    else if (width) keep("sidebarWidth", setWidth(width));
    else return;
    event.preventDefault();
  });
}

const isMirrored = () => getComputedStyle(sidebar).direction === "rtl";
const widthNow = () => Number(splitter.getAttribute("aria-valuenow"));

function widthAt(x) {
  const { left, right } = sidebar.getBoundingClientRect();
  return isMirrored() ? right - x : x - left;
}

function setWidth(width) {
  const allowed = Math.round(Math.min(Math.max(width, NARROWEST), WIDEST));
  page.style.setProperty("--sidebar", `${allowed}px`);
  for (const [name, value] of [["min", NARROWEST], ["max", WIDEST], ["now", allowed]]) splitter.setAttribute(`aria-value${name}`, String(value));
  splitter.setAttribute("aria-valuetext", t("{width} pixels", { width: allowed }));
  return allowed;
}
