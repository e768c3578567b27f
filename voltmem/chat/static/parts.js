// The parts of a message, as the AI SDK's UIMessages have them: text, reasoning, tools, files, sources.

import { element, icon } from "./dom.js";
import { linkTo } from "./links.js";
import { Markdown, loadMarkdown } from "./markdown.js";
import { pieces, t } from "./texts.js";

const STATES = {
  "approval-requested": (values) => pieces("Asks to call {name}", values),
  "output-available": (values) => pieces("Called {name}", values),
  "output-error": (values) => pieces("Failed to call {name}", values),
  "output-denied": (values) => pieces("Was not allowed to call {name}", values),
  undecided: (values) => pieces("Did not call {name}: nobody decided", values), // see message.js
};
const calling = (values) => pieces("Calling {name}", values); // in all other states

/** Shows the parts of a message. Texts that grow keep their elements, and what is folded stays as it is. */
export class Parts {
  #texts = []; // by the part's place: { type, made: Markdown, shown }
  #tools = []; // by the part's place: { said, shown }
  #section = null; // the list of the sources
  #sources = null; // what writes it, once that is loaded

  /** Return the elements that show the parts. A part without a meaning for people has none, nor one that is broken. */
  show(parts, role, isGrowing) {
    const shown = parts.flatMap((part, place) => {
      try {
        return this.#elements(part, role, place, isGrowing && place === parts.length - 1);
      } catch {
        return [];
      }
    });
    const sources = parts.filter(({ type }) => type.startsWith("source-"));
    return sources.length ? [...shown, this.#list(sources)] : shown;
  }

  /** Return the list of the sources. What writes it, and the links to it in the texts, is loaded with the first one. */
  #list(sources) {
    this.#section ??= element("section", { class: "sources", role: "doc-endnotes", "aria-label": t("Sources") });
    const texts = this.#texts.flatMap(({ type, made }) => (type === "text" ? [made.element] : []));
    if (this.#sources) this.#sources.show(sources, texts);
    else
      Promise.all([import("./sources.js"), loadMarkdown()]).then(([{ Sources }]) => {
        this.#sources ??= new Sources(this.#section);
        this.#sources.show(sources, texts);
      }, () => {});
    return this.#section;
  }

  #elements(part, role, place, isGrowing) {
    switch (part.type) {
      case "text":
        return [role === "user" ? element("div", {}, part.text) : this.#text(part, place, isGrowing)];
      case "reasoning":
        return part.text ? [this.#text(part, place, isGrowing)] : [];
      case "file":
        return [file(part)];
      case "data-file":
        return [chip(part.data.filename ?? part.data.mediaType ?? t("A file"))];
      default:
        return part.toolCallId ? [this.#tool(part, place)] : [];
    }
  }

  #text({ type, text, seconds }, place, isGrowing) {
    if (this.#texts[place]?.type !== type) {
      const made = new Markdown();
      this.#texts[place] = { type, made, shown: type === "reasoning" ? folded("reasoning", [icon("thought"), element("span")], made.element) : made.element };
    }
    const { made, shown } = this.#texts[place];
    if (type === "reasoning") shown.firstChild.lastChild.textContent = thought(seconds, isGrowing);
    made.show(text, { isGrowing });
    return shown;
  }

  #tool(part, place) {
    const [before, said] = [this.#tools[place], JSON.stringify(part)];
    if (before?.said === said) return before.shown;
    const shown = tool(part);
    shown.open = before?.shown.open ?? false;
    this.#tools[place] = { said, shown };
    return shown;
  }
}

function thought(seconds, isGrowing) {
  if (isGrowing) return t("Thinking …");
  if (typeof seconds !== "number") return t("Reasoning");
  if (seconds < 1) return t("Thought for a moment");
  const values = { minutes: Math.floor(seconds / 60), seconds: Math.round(seconds % 60) };
  return values.minutes ? t("Thought for {minutes} min {seconds} s", values) : t("Thought for {seconds} s", values);
}

const folded = (kind, summary, ...children) => element("details", { class: kind }, element("summary", {}, ...summary), ...children);

function tool(part) {
  const name = element("b", {}, part.toolName ?? part.type.slice("tool-".length));
  const outcome = part.errorText ?? part.approval?.reason ?? part.output;
  const values = [part.input, outcome].filter((value) => value !== undefined && value !== null);
  const summary = element("span", {}, ...(STATES[part.state] ?? calling)({ name }));
  return folded("tool", [icon("tool"), summary], ...values.map(asCode));
}

function asCode(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return element("pre", { tabindex: "0", dir: "ltr" }, element("code", {}, text));
}

/** Show a picture, or a link to another file. Pictures of other sites are links: the page loads nothing from elsewhere. */
function file({ mediaType, url, filename }) {
  const isHere = url.startsWith("data:image/") || new URL(url, location.href).origin === location.origin;
  const isPicture = mediaType.startsWith("image") && mediaType !== "image/svg+xml"; // which the server does not let be shown
  if (!isPicture || !isHere) return chip(filename ?? mediaType, url, isHere ? { download: filename ?? "" } : {});
  return element("img", { class: "picture", src: url, alt: filename ?? t("Picture") });
}

const chip = (name, address, properties) =>
  element("span", { class: "chip", dir: "auto" }, (address && linkTo(new URL(address, location.href).href, [name], properties)) || name);
