// The content of a conversation without messages.

import { element } from "./dom.js";
import { settings } from "./settings.js";

export function welcome(ask) {
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, greeting(new Date().getHours())),
    element("p", {}, "Ask a question, or continue a conversation."),
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
  return element("button", { type: "button", onclick: () => ask(question) }, element("b", {}, first), element("span", {}, rest.trim()));
}

function greeting(hour) {
  if (hour < 5) return "Still up?";
  if (hour < 12) return "Good morning.";
  return hour < 18 ? "Good afternoon." : "Good evening.";
}
