// The view of a message, with its buttons.

import { copyText } from "./clipboard.js";
import { arrange, element, iconButton } from "./dom.js";
import { Drafts } from "./drafts.js";
import { has } from "./features.js";
import { Parts } from "./parts.js";
import { locale, numbers, t } from "./texts.js";
import { later, toast } from "./toast.js";

const TIME = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
export const SPEAKERS = { user: t("You"), assistant: t("Assistant") };

/** Return whether the message is shown: the user or the assistant says something. */
export const isShown = ({ role, parts }) => role in SPEAKERS && parts.length > 0;

export const textParts = (text) => [{ type: "text", text }];

/** Return the text of a message, without reasoning, tools and files. */
export const textOf = ({ parts }) =>
  parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n");

/** Return the parts; those of reasoning with how long it took, which a stored message has in its metadata. */
export function timed({ parts, metadata }) {
  const seconds = [...(metadata?.reasoningSeconds ?? [])];
  return parts.map((part) => (part.type === "reasoning" && seconds.length ? { ...part, seconds: seconds.shift() } : part));
}

const UNDECIDED = "The call was not made: nobody decided about it."; // as the server says: see voltmem/parts/_front_ends.py

/** Return the parts of a message that does not ask: calls that wait for a decision have none. */
const unasked = (parts) =>
  parts.map((part) => (part.state === "approval-requested" || part.errorText === UNDECIDED ? { ...part, state: "undecided", errorText: null } : part));

const LONGEST = 100_000; // characters of a question, for the server

/** Return whether a question is too long, and say so. */
export function isTooLong(text) {
  if (text.length > LONGEST) toast(t("A question may have {count} characters.", { count: LONGEST }));
  return text.length > LONGEST;
}

export const edits = new Drafts("edits"); // by message id

export class MessageView {
  #body = element("div", { class: "body", dir: "auto" });
  #parts = new Parts();
  #actions = element("div", { class: "actions", role: "group", "aria-label": t("Message actions") });
  #rendered = null;
  #isEditing = false;

  /** Handlers: {regenerate, fork, rate, decide}, called with the message. choose is called with the id of the message
   * whose branch is wanted, and the button's name. */
  constructor(message, handlers) {
    this.handlers = handlers;
    this.element = element(
      "article",
      { class: `message message-${message.role}`, "aria-label": SPEAKERS[message.role], tabindex: "-1" },
      this.#body,
      this.#actions,
    );
    this.show(message);
    if (edits.get(message.id)) this.edit({ isAgain: true });
  }

  show(message, { isStreaming = false, branch = null, asks = false } = {}) {
    this.message = message;
    this.branch = branch;
    if (this.#isEditing) return; // keep the edit box
    const state = JSON.stringify([message.parts, message.metadata, isStreaming, branch, asks]);
    if (state === this.#rendered) return;
    this.#rendered = state;
    this.element.dataset.id = message.id;
    this.element.classList.toggle("message-streaming", isStreaming);
    this.element.setAttribute("aria-busy", String(isStreaming));
    const said = timed(message);
    const parts = this.#parts.show(asks || isStreaming ? said : unasked(said), message.role, isStreaming);
    arrange(this.#body, [...parts, ...(isStreaming ? [] : this.#outcome())]);
    const focused = this.#actions.contains(document.activeElement) && document.activeElement.ariaLabel;
    this.#actions.replaceChildren(...(isStreaming ? [] : this.#buttons()));
    if (focused) this.focusButton(focused);
    if (asks) this.#ask(state);
  }

  /** Move the focus to one of the buttons; if that can't be pressed, to one beside it. */
  focusButton(label) {
    const button = this.#actions.querySelector(`[aria-label="${label}"]`);
    (button?.disabled ? button.parentElement.querySelector("button:enabled") : button)?.focus();
  }

  /** Ask about the calls that wait for approval, unless others are shown meanwhile. */
  #ask(state) {
    const { message } = this;
    const decide = (decisions) => this.handlers.decide(message, decisions);
    later(import("./approvals.js"), ({ approvals }) => state === this.#rendered && this.#body.append(...approvals(message.parts, decide)));
  }

  /** Return what became of the answer, if it is not complete. */
  #outcome() {
    const { metadata } = this.message;
    if (metadata?.stopped) return [element("p", { class: "stopped" }, t("Stopped"))];
    if (!metadata?.failed) return [];
    const again = element("button", { type: "button", class: "link-button" }, t("Ask again"));
    again.addEventListener("click", () => this.handlers.regenerate(this.message));
    return [element("p", { class: "failure", role: "note" }, t("The answer failed."), " ", again)];
  }

  /** Return the buttons that show the other branches which begin here. */
  #branches() {
    if (!this.branch) return [];
    const [ids, place] = [this.branch, this.branch.indexOf(this.message.id)];
    const where = { place: place + 1, count: ids.length };
    const button = (name, label, id) =>
      iconButton(name, label, () => this.handlers.choose(id, label), { disabled: id === undefined, class: "icon-button branch-button" });
    return [
      element(
        "span",
        { class: "branches", role: "group", "aria-label": t("Versions") },
        button("previous", t("Previous version"), ids[place - 1]),
        element("span", { "aria-label": t("Version {place} of {count}", where) }, `${numbers.format(place + 1)}/${numbers.format(ids.length)}`),
        button("next", t("Next version"), ids[place + 1]),
      ),
    ];
  }

  #rating(name, label, type) {
    const isGiven = this.message.metadata?.feedback?.type === type;
    return iconButton(name, label, () => this.handlers.rate(this.message, isGiven ? null : type), { "aria-pressed": String(isGiven) });
  }

  #buttons() {
    const copy = iconButton("copy", t("Copy"), () => copyText(copy, textOf(this.message)));
    const isQuestion = this.message.role === "user";
    // The second click of a double click would act on the page that the first one opened.
    const button = (name, label, act) => iconButton(name, label, (event) => event.detail < 2 && act(this.message));
    return [
      ...this.#branches(),
      ...(textOf(this.message) ? [copy] : []),
      has("branches") &&
        (isQuestion ? button("rename", t("Edit"), () => this.edit()) : button("regenerate", t("Answer again"), this.handlers.regenerate)),
      ...(isQuestion || !has("feedback") ? [] : [this.#rating("good", t("Good answer"), "positive"), this.#rating("bad", t("Bad answer"), "negative")]),
      has("forks") && button("fork", t("Fork from here"), this.handlers.fork),
      element("time", { datetime: this.message.createdAt }, TIME.format(new Date(this.message.createdAt))),
    ].filter(Boolean);
  }

  /** Show an edit box in place of the question. It gets the focus, unless an edit is only shown again. */
  edit({ isAgain = false } = {}) {
    return later(import("./edit.js"), ({ editBox }) => {
      if (this.#isEditing) return;
      this.#isEditing = true;
      this.element.classList.add("message-editing");
      const [box, buttons] = editBox(this.message, () => this.#end());
      this.#body.replaceChildren(box, buttons);
      this.#actions.replaceChildren();
      if (box.isConnected) fit(box);
      else requestAnimationFrame(() => fit(box)); // the view is not on the page yet
      if (isAgain) return;
      box.focus();
      this.element.scrollIntoView({ block: "nearest" });
    });
  }

  #end() {
    edits.put(this.message.id, "");
    this.#isEditing = false;
    this.element.classList.remove("message-editing");
    this.#rendered = null;
    this.show(this.message);
    this.#actions.querySelector(`[aria-label="${t("Edit")}"]`)?.focus();
  }
}

/** Set the height of a box to the height of its text. */
export function fit(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

// In another width the text has other lines.
addEventListener("resize", () => document.querySelectorAll("#composer-text, .edit-text").forEach(fit));
