// The parts of a message, as the AI SDK's UIMessages have them: text, reasoning, tools, files, sources.

import { element, icon } from "./dom.js";
import { linkTo, markdown } from "./markdown.js";

const STATES = {
  "input-streaming": "Calling",
  "input-available": "Calling",
  "approval-requested": "Asks to call",
  "approval-responded": "Calling",
  "output-available": "Called",
  "output-error": "Failed to call",
  "output-denied": "Was not allowed to call",
};

/** Return the elements that show a part; none for one without a meaning for people, or one that is broken. */
export function shown(part, role) {
  try {
    return elements(part, role);
  } catch {
    return [];
  }
}

function elements(part, role) {
  switch (part.type) {
    case "text":
      return [role === "user" ? element("div", {}, part.text) : rendered(part.text)];
    case "reasoning":
      return part.text ? [folded("reasoning", ["Reasoning"], rendered(part.text))] : [];
    case "file":
      return [file(part)];
    case "data-file":
      return [chip(part.data.filename ?? part.data.mediaType ?? "A file")];
    case "source-url":
      return [chip(part.title ?? part.url, part.url)];
    case "source-document":
      return [chip(part.title || "A document")];
    default:
      return part.toolCallId ? [tool(part)] : [];
  }
}

/** Render the text as Markdown, or as plain text if that fails. */
function rendered(text) {
  try {
    return markdown(text);
  } catch {
    return element("p", { dir: "auto" }, text);
  }
}

const folded = (kind, summary, ...children) => element("details", { class: kind }, element("summary", {}, ...summary), ...children);

function tool(part) {
  const name = element("b", {}, part.toolName ?? part.type.slice("tool-".length));
  const outcome = part.errorText ?? part.approval?.reason ?? part.output;
  const values = [part.input, outcome].filter((value) => value !== undefined && value !== null);
  const summary = element("span", {}, `${STATES[part.state] ?? "Calling"} `, name);
  return folded("tool", [icon("tool"), summary], ...values.map(asCode));
}

function asCode(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return element("pre", { tabindex: "0" }, element("code", {}, text));
}

/** Show a picture, or a link to another file. Pictures of other sites are links: the page loads nothing from elsewhere. */
function file({ mediaType, url, filename }) {
  const isHere = url.startsWith("data:image/") || new URL(url, location).origin === location.origin;
  if (!mediaType.startsWith("image") || !isHere) return chip(filename ?? mediaType, url);
  return element("img", { class: "picture", src: url, alt: filename ?? "Picture" });
}

const chip = (name, address) => element("span", { class: "chip", dir: "auto" }, (address && linkTo(address, [name])) || name);
