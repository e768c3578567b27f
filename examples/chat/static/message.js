// A message as it is shown, and the buttons beneath it.

import { element, icon, iconButton } from "./dom.js";
import { copyText, markdown } from "./markdown.js";

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const SPEAKERS = { user: "You", assistant: "Assistant", system: "System", tool: "Tool" };

/** What a person could read in the content: a text itself, the text parts of a list. */
export function textOf({ content }) {
  if (typeof content === "string") return content;
  const parts = Array.isArray(content) ? content : [content];
  return parts.map((part) => (typeof part === "string" ? part : (part?.text ?? ""))).join("");
}

export class MessageView {
  #body = element("div", { class: "body" });
  #actions = element("div", { class: "actions", role: "group", "aria-label": "Message actions" });
  #drawn = null;

  /** Does: {copy, edit, regenerate, fork}, each called with the message. */
  constructor(message, does) {
    this.does = does;
    const kind = isTool(message) ? "tool" : message.role === "user" ? "user" : "assistant";
    this.element = element(
      "article",
      { class: `message message-${kind}`, "aria-label": SPEAKERS[message.role] ?? message.role, tabindex: "-1" },
      this.#body,
      this.#actions,
    );
    this.show(message);
  }

  show(message, { isStreaming = false } = {}) {
    const state = JSON.stringify([message.content, message.metadata, isStreaming]);
    if (state === this.#drawn) return;
    this.#drawn = state;
    this.message = message;
    this.element.dataset.id = message.id;
    this.element.classList.toggle("message-streaming", isStreaming);
    this.element.setAttribute("aria-busy", String(isStreaming));
    if (isTool(message)) this.#body.replaceChildren(...toolParts(message));
    else if (message.role === "user") this.#body.replaceChildren(textOf(message));
    else this.#body.replaceChildren(markdown(textOf(message)));
    if (message.metadata?.stopped && !isStreaming) this.#body.append(element("p", { class: "stopped" }, "Stopped"));
    this.#actions.replaceChildren(...(isStreaming || isTool(message) ? [] : this.#buttons()));
  }

  #buttons() {
    const copy = iconButton("copy", "Copy", () => copyText(copy, textOf(this.message)));
    const button = (name, label, does) => iconButton(name, label, () => does(this.message));
    return [
      copy,
      this.message.role === "user"
        ? button("rename", "Edit", () => this.#edit())
        : button("regenerate", "Answer again", this.does.regenerate),
      button("fork", "Fork from here", this.does.fork),
      element("time", { datetime: this.message.createdAt }, TIME.format(new Date(this.message.createdAt))),
    ];
  }

  /** A box in place of the question: Enter asks it anew, Escape leaves it as it was. */
  #edit() {
    const before = textOf(this.message);
    const box = element("textarea", { class: "edit-text", "aria-label": "Edit the message", rows: "1" });
    const end = () => {
      this.element.classList.remove("message-editing");
      this.#drawn = null;
      this.show(this.message);
      this.#actions.querySelector("[aria-label=Edit]")?.focus();
    };
    const save = () => {
      const text = box.value.trim();
      end();
      if (text && text !== before) this.does.edit(this.message, text);
    };
    box.value = before;
    box.addEventListener("input", () => fit(box));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end();
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      save();
    });
    this.element.classList.add("message-editing");
    this.#body.replaceChildren(
      box,
      element(
        "div",
        { class: "edit-buttons" },
        element("button", { type: "button", class: "button", onclick: end }, "Cancel"),
        element("button", { type: "button", class: "button button-main", onclick: save }, "Ask"),
      ),
    );
    this.#actions.replaceChildren();
    fit(box);
    box.focus();
    box.setSelectionRange(before.length, before.length);
    this.element.scrollIntoView({ block: "nearest" });
  }
}

/** Make a box as high as its text. */
export function fit(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

// --- tools ------------------------------------------------------------------------------------------------------

const isTool = (message) => message.role === "tool" || ["tool-call", "tool-result"].includes(message.type);

function toolParts(message) {
  const parts = Array.isArray(message.content) ? message.content : [message.content];
  return parts.map((part) => {
    const isCall = part?.type === "tool-call";
    const told = isCall ? (part.args ?? part.input) : (part?.result ?? part?.output ?? part);
    const name = part?.toolName ?? "tool";
    return element(
      "details",
      { class: "tool" },
      element("summary", {}, icon("tool"), element("span", {}, isCall ? "Called " : "Result of "), element("b", {}, name)),
      element("pre", { tabindex: "0" }, element("code", {}, JSON.stringify(told, null, 2))),
    );
  });
}
