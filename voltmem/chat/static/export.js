// A conversation as a file: Markdown for people, JSON for programs.

import * as api from "./api.js";
import { element } from "./dom.js";
import { titleOf } from "./store.js";
import { locale, t } from "./texts.js";

const PAGE = 200;
const TIME = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });

export async function download(item, format) {
  const messages = await all(item.id);
  const [text, type] = format === "md" ? [asMarkdown(item, messages), "text/markdown"] : [asJson(item, messages), "application/json"];
  const href = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href, download: `${fileName(titleOf(item))}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // the browser may begin to read it later
}

export async function all(id) {
  const messages = [];
  let page;
  do {
    page = await api.messages(id, { limit: PAGE, before: messages[0]?.id });
    messages.unshift(...page.items);
  } while (page.hasMore);
  return messages;
}

/** Return a name that every file system takes. */
const fileName = (title) => title.replace(/[\p{C}\\/:*?"<>|.]+/gu, " ").replace(/\s+/g, " ").trim().slice(0, 80) || t("A conversation");

function asJson({ id, title, tags, createdAt, updatedAt, metadata }, messages) {
  const said = messages.map(({ id, role, createdAt, metadata, parts }) => ({ id, role, createdAt, metadata, parts }));
  return JSON.stringify({ conversation: { id, title, tags, createdAt, updatedAt, metadata }, messages: said }, null, 2);
}

const SPEAKERS = { user: t("You"), assistant: t("Assistant"), system: t("System") };

function asMarkdown(item, messages) {
  const sections = messages.flatMap(({ role, createdAt, parts }) => {
    const said = [...parts.map(written), asList(parts.filter(isSource))].filter(Boolean);
    return said.length ? [`## ${SPEAKERS[role] ?? role} · ${TIME.format(new Date(createdAt))}`, ...said] : [];
  });
  return [`# ${titleOf(item)}`, ...sections].join("\n\n") + "\n";
}

/** Return a part of a message as Markdown; nothing for a part that says nothing to people. */
function written(part) {
  if (part.type === "text") return part.text;
  if (part.type === "reasoning") return part.text && quoted(`*${t("Reasoning")}:* ${part.text}`);
  if (part.type === "file") return link(part.filename || part.mediaType, part.url.startsWith("data:") ? null : part.url);
  if (part.type === "data-file") return `[${part.data.filename ?? part.data.mediaType ?? t("A file")}]`;
  if (!part.toolCallId) return "";
  const values = [part.input, part.errorText ?? part.output].filter((value) => value !== undefined && value !== null);
  return [`**${part.toolName ?? part.type.slice("tool-".length)}**`, ...values.map(asCode)].join("\n\n");
}

const isSource = ({ type }) => type.startsWith("source-");

/** Return the sources as a list whose numbers are those in the text. */
const asList = (sources) =>
  sources.map(({ title, url }, place) => `${place + 1}. ${url ? link(title || url, url) : `[${title || t("A document")}]`}`).join("\n");

const quoted = (text) => text.replace(/^/gm, "> ");
const link = (name, address) => (address ? `[${name}](<${new URL(address, location.href)}>)` : `[${name}]`);

function asCode(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const fence = "`".repeat(Math.max(3, ...(text.match(/`+/g) ?? []).map((each) => each.length + 1)));
  return `${fence}\n${text}\n${fence}`;
}
