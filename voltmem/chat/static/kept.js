// What the browser keeps for the next visit: the width of the sidebar, the folders that are open.

const key = (name) => `voltmem-${name}`;

/** Return what was kept under a name; the default if there is nothing, or something unreadable. */
export function kept(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key(name))) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(key(name), JSON.stringify(value));
  } catch {
    // The browser has no room, or keeps nothing.
  }
}
