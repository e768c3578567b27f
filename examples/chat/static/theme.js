// Before the page is painted: the theme that was chosen here, if one was. Otherwise the system's.
(() => {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
