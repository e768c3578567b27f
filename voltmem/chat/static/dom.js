// Helpers for elements. Text is always inserted as text, never parsed as HTML.

const ICONS = new URL("icons.svg", import.meta.url).href;

/**
 * Make an element. A property that is null or false is left out, one that is true has no value, "onclick" is a listener.
 *
 * @template {string} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} properties
 * @param {any[]} children texts, elements, arrays of them; null: none
 * @returns {Tag extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Tag] : HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  /** @type {any} */
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// What the modules work in: the page, or the shadow root of <voltmem-sidebar> in the page of another application.
/** @type {any} */
let root = document;
export const setRoot = (shadow) => (root = shadow);
/**
 * The elements of the page's HTML that have more than every element has.
 *
 * @typedef {{"composer-text": HTMLTextAreaElement, search: HTMLInputElement, files: HTMLInputElement, send: HTMLButtonElement,
 *     stop: HTMLButtonElement, attach: HTMLButtonElement, "forked-from": HTMLAnchorElement}} Special
 */
/** @type {<Id extends string>(id: Id) => Id extends keyof Special ? Special[Id] : HTMLElement} */
export const byId = (id) => root.getElementById(id);
export const focusedElement = () => root.activeElement;

/** Add elements to the end of the page, or of the shadow root. */
export const appendToPage = (...made) => (root === document ? document.body : root).append(...made);

const pictures = new Map();

export function icon(name) {
  if (!pictures.has(name)) pictures.set(name, made(name));
  return pictures.get(name).cloneNode(true); // which is many times as fast
}

function made(name) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  picture.append(document.createElementNS(space, "use"));
  picture.firstElementChild.setAttribute("href", `${ICONS}#${name}`);
  return picture;
}

export function iconButton(name, label, onclick, properties = {}) {
  return element(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...properties },
    icon(name),
  );
}

/** Mark the matches in the pieces of text that the search returns. */
export const marked = (pieces) =>
  pieces.map((piece) => (piece.isMatch ? element("mark", {}, piece.text) : piece.text));

/** Replace a parent's children. Children that stay are not moved, so focus and scroll positions are kept. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, place) => {
    const there = parent.children[place];
    if (there === child) return;
    if (there?.nextSibling === child) there.remove(); // it moves down, and is inserted later
    else parent.insertBefore(child, there ?? null);
  });
}

/** Call load when the sentinel comes near the visible part of the scroller. Returns a function that checks again. */
export function whenNear(sentinel, scroller, load) {
  const observer = new IntersectionObserver(
    (entries) => entries.some((entry) => entry.isIntersecting) && load(),
    { root: scroller, rootMargin: "600px 0px" },
  );
  observer.observe(sentinel);
  // The observer reports changes only. Call this after loading, in case the sentinel is still near.
  return () => {
    observer.unobserve(sentinel);
    observer.observe(sentinel);
  };
}

/** Announce a text to screen readers, after what they are reading. */
export function announce(text) {
  byId("announcer").textContent = text;
}

const PHONE = matchMedia("(max-width: 47.99rem)");
export const isPhone = () => PHONE.matches;
export const onPhoneChange = (listener) => PHONE.addEventListener("change", listener);
