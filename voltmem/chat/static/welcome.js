// The content of a conversation without messages.

import { element } from "./dom.js";

const SUGGESTIONS = [
  ["Why won’t my sourdough rise?", "A loaf that stays flat"],
  ["Plan a weekend in Lisbon, on foot", "Three days, one hill a day"],
  ["Show me a small asyncio program", "In Python, with a memory"],
  ["Help me find a name for a small tool", "One syllable, if possible"],
];

export function welcome(ask) {
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, greeting(new Date().getHours())),
    element("p", {}, "Ask a question, or continue a conversation."),
    element(
      "ul",
      { class: "suggestions" },
      SUGGESTIONS.map(([question, hint]) =>
        element(
          "li",
          {},
          element("button", { type: "button", onclick: () => ask(question) }, element("b", {}, question), element("span", {}, hint)),
        ),
      ),
    ),
  );
}

function greeting(hour) {
  if (hour < 5) return "Still up?";
  if (hour < 12) return "Good morning.";
  return hour < 18 ? "Good afternoon." : "Good evening.";
}
