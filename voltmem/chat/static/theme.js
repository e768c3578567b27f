// Apply what the browser keeps before the page is painted: the chosen theme, and the place of the sidebar. Without a
// choice, the system's theme applies. The application may have chosen a colour.
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
  const { accent } = JSON.parse(page.dataset.settings ?? "{}");
  if (!accent) return;
  const light = `color-mix(in oklab, ${accent} 45%, white)`;
  for (const [name, inLight, inDark] of [
    ["accent", accent, light],
    ["accent-hover", `color-mix(in oklab, ${accent} 85%, black)`, `color-mix(in oklab, ${accent} 30%, white)`],
    ["on-accent", "#ffffff", "#10120f"],
    ["halo", `color-mix(in srgb, ${accent} 16%, transparent)`, `color-mix(in srgb, ${accent} 40%, transparent)`],
    ["tint", `color-mix(in oklab, ${accent} 10%, white)`, `color-mix(in oklab, ${accent} 30%, black)`],
  ])
    page.style.setProperty(`--${name}`, `light-dark(${inLight}, ${inDark})`);
})();
