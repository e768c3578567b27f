// Start the page once the first rows are painted: they are in its HTML. A hidden page is not painted.

async function start() {
  document.head.append(/** @type {HTMLTemplateElement} */ (document.getElementById("modules")).content); // all are fetched at once, and not before
  const app = await import("./app.js");
  setTimeout(app.start); // a task of its own: what is typed meanwhile appears
}

if (document.hidden) start();
else requestAnimationFrame(() => setTimeout(start));
