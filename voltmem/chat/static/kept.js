// What the browser keeps for the next visit: the width of the sidebar, the folders that are open. What is the user's own
// is kept in the tab (sessionStorage), since others may use the same browser.

const key = (name) => `voltmem-${name}`;

/** Return what was kept under a name; the default if there is nothing, or something unreadable. */
export function kept(name, otherwise, place = localStorage) {
  try {
    return JSON.parse(place.getItem(key(name))) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function keep(name, value, place = localStorage) {
  try {
    place.setItem(key(name), JSON.stringify(value));
  } catch {
    // The browser has no room, or keeps nothing.
  }
}
