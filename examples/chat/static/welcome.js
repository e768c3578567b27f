// What stands where nothing was said yet.

import { element } from "./dom.js";

const SUGGESTIONS = [
  ["Why won’t my sourdough rise?", "A loaf that sulks"],
  ["Plan a weekend in Lisbon, on foot", "Three days, one hill each"],
  ["Show me a small asyncio program", "In Python, with a memory"],
  ["Help me to find a name for a small tool", "One syllable, if you can"],
];

export function welcome(ask) {
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, greeting(new Date().getHours())),
    element("p", {}, "Ask something, or go on where you left off."),
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
