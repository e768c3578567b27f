// Asks about the calls of an answer that wait for approval.

import { element } from "./dom.js";

/**
 * Return the element that asks, with two buttons for each call; nothing if none waits.
 *
 * When all are decided, decide is called with {callId, isApproved, reason} for each.
 */
export function approvals(parts, decide) {
  const waiting = parts.filter((part) => part.state === "approval-requested");
  const decisions = new Map();
  const rows = waiting.map((part) => row(part, (isApproved) => {
    decisions.set(part.toolCallId, { callId: part.toolCallId, isApproved });
    if (decisions.size === waiting.length) decide([...decisions.values()]);
  }));
  return rows.length ? [element("div", { class: "approvals", role: "group", "aria-label": "Approval" }, ...rows)] : [];
}

function row(part, onDecision) {
  const name = part.toolName ?? part.type.replace("tool-", "");
  const answer = element("span", { class: "approval-answer", role: "status" });
  const press = (isApproved) => () => {
    answer.textContent = isApproved ? "Allowed" : "Denied";
    made.querySelectorAll("button").forEach((button) => button.remove());
    made.parentElement.querySelector("button")?.focus();
    onDecision(isApproved);
  };
  const button = (label, kind, isApproved) =>
    element("button", { type: "button", class: kind, "aria-label": `${label} ${name}`, onclick: press(isApproved) }, label);
  const made = element(
    "p",
    { class: "approval" },
    element("span", {}, "Allow ", element("b", {}, name), "?"),
    element("code", { dir: "auto" }, JSON.stringify(part.input ?? {})),
    button("Allow", "button button-main", true),
    button("Deny", "button", false),
    answer,
  );
  return made;
}
