// Start the page once the first rows are painted: they are in its HTML. A hidden page is not painted.

const start = () => import("./app.js");

if (document.hidden) start();
else requestAnimationFrame(() => setTimeout(start));
