// Apply the chosen theme before the page is painted. Without a choice, the system's theme applies.
(() => {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
