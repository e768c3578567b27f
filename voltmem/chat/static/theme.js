// Apply what the browser keeps before the page is painted: the chosen theme, and the place of the sidebar. Without a
// choice, the system's theme applies.
(() => {
  const page = document.documentElement;
  const kept = (name) => JSON.parse(localStorage.getItem(`voltmem-${name}`));
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen) page.dataset.theme = chosen;
    if (kept("sidebarClosed")) page.classList.add("sidebar-closed");
    if (kept("sidebarWidth")) page.style.setProperty("--sidebar", `${kept("sidebarWidth")}px`);
  } catch {
    // The browser keeps nothing, or something unreadable.
  }
})();
