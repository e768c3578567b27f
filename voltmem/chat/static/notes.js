// What stands below a question that has no answer, with a button that asks again.

import { element } from "./dom.js";
import { t } from "./texts.js";

const TEXTS = {
  failed: t("The answer failed."),
  stopped: t("Stopped before there was an answer."),
  none: t("This question has no answer."),
};

/** Return why a question has no answer: "failed", "stopped", "none"; null if it has one, or one may come. */
export function noteOf(message, next, { statuses, hasNewer }) {
  if (message.role !== "user" || (next && next.role !== "user") || (!next && hasNewer)) return null;
  const status = statuses.get(message.id) ?? "none";
  return status in TEXTS ? status : null;
}

export class Note {
  constructor(askAgain) {
    this.text = element("span");
    const button = element("button", { type: "button", class: "link-button", onclick: askAgain }, t("Ask again"));
    this.element = element("p", { class: "failure no-answer", role: "note" }, this.text, " ", button);
  }

  show(status) {
    if (this.text.textContent !== TEXTS[status]) this.text.textContent = TEXTS[status];
  }
}
