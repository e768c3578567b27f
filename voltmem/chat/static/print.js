// A conversation on paper: all of it, also what the page has not loaded. It is laid out beside the page, and only in print.

import { all } from "./export.js";
import { element } from "./dom.js";
import { loadMarkdown } from "./markdown.js";
import { SPEAKERS, isShown, timed } from "./message.js";
import { Parts } from "./parts.js";
import { titleOf } from "./store.js";

const PATIENCE = 3_000; // milliseconds for formulas, colours and pictures

/** Open the browser's dialog that prints the conversation. */
export async function print(item) {
  const [messages] = await Promise.all([all(item.id), loadMarkdown()]);
  const shown = messages.filter(isShown).map(drawn);
  const made = element("div", { class: "printed messages" }, element("h1", { dir: "auto" }, titleOf(item)), ...shown);
  document.body.append(made);
  await Promise.race([isReady(made), new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  addEventListener("afterprint", () => made.remove(), { once: true });
  window.print();
}

function drawn(message) {
  const body = element("div", { class: "body", dir: "auto" }, ...new Parts().show(timed(message), message.role));
  for (const each of body.querySelectorAll("details")) each.open = true;
  return element("article", { class: `message message-${message.role}`, "aria-label": SPEAKERS[message.role] }, body);
}

/** Wait for what is drawn later. */
async function isReady(made) {
  await Promise.all([...made.querySelectorAll("img")].map((picture) => picture.decode().catch(() => {})));
  const waits = () => made.querySelector(".formula:not(:has(.katex)), .sources:empty");
  while (made.isConnected && waits()) await new Promise(requestAnimationFrame);
  await document.fonts.ready;
}
