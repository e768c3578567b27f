// The page that a public link leads to: a conversation to read, without a sidebar and without a sign-in.

import { base } from "./addresses.js";
import * as api from "./api.js";
import { byId, element } from "./dom.js";
import { Parts } from "./parts.js";
import { t } from "./texts.js";

const token = decodeURIComponent(location.pathname.slice(`${base}shared/`.length));
const log = byId("messages");

try {
  let page = await api.shared(token);
  document.title = byId("title").textContent = page.title?.trim() || t("A conversation");
  log.append(...page.items.map(message));
  while (page.nextCursor) {
    page = await api.shared(token, page.nextCursor);
    log.append(...page.items.map(message));
  }
} catch (error) {
  const text = error.status === 404 ? t("This link doesn’t lead anywhere: it is wrong, or it was revoked.") : error.message;
  byId("title").textContent = document.title;
  log.append(element("p", { class: "failure" }, text));
}

function message({ role, content, files, sources }) {
  const parts = [
    ...files.map(({ url, mediaType, name }) => ({ type: "file", url, mediaType, filename: name || undefined })),
    ...(content ? [{ type: "text", text: content }] : []),
    ...sources.map((source) => ({ type: "source-url", ...source })),
  ];
  const body = element("div", { class: "body", dir: "auto" }, ...new Parts().show(parts, role));
  const name = role === "user" ? t("Question") : t("Answer");
  return element("article", { class: `message message-${role}`, "aria-label": name }, body);
}
