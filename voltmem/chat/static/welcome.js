// The content of a conversation without messages.

import { element } from "./dom.js";
import { settings } from "./settings.js";
import { t } from "./texts.js";

export function welcome(ask) {
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, greeting(new Date().getHours())),
    element("p", {}, t("Ask a question, or continue a conversation.")),
    element(
      "ul",
      { class: "suggestions" },
      settings.suggestions.map((question) => element("li", {}, suggestion(question, ask))),
    ),
  );
}

/** Return a button that asks a question, with its first sentence set off. */
function suggestion(question, ask) {
  const [, first, rest] = question.match(/^(.*?[.?!:](?=\s)|.*)(.*)$/s);
  return element("button", { type: "button", onclick: () => ask(question) }, element("b", { dir: "auto" }, first), element("span", { dir: "auto" }, rest.trim()));
}

function greeting(hour) {
  if (hour < 5) return t("Still up?");
  if (hour < 12) return t("Good morning.");
  return hour < 18 ? t("Good afternoon.") : t("Good evening.");
}
