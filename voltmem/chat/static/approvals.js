// Asks about the calls of an answer that wait for approval.

import { element } from "./dom.js";
import { pieces, t } from "./texts.js";

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
  return rows.length ? [element("div", { class: "approvals", role: "group", "aria-label": t("Approval") }, ...rows)] : [];
}

function row(part, onDecision) {
  const name = part.toolName ?? part.type.replace("tool-", "");
  const answer = element("span", { class: "approval-answer", role: "status" });
  const press = (isApproved) => () => {
    answer.textContent = isApproved ? t("Allowed") : t("Denied");
    made.querySelectorAll("button").forEach((button) => button.remove());
    made.parentElement.querySelector("button")?.focus();
    onDecision(isApproved);
  };
  const button = (label, full, kind, isApproved) =>
    element("button", { type: "button", class: kind, "aria-label": full, onclick: press(isApproved) }, label);
  const made = element(
    "p",
    { class: "approval" },
    element("span", {}, ...pieces("Allow {name}?", { name: element("b", {}, name) })),
    element("code", { dir: "auto" }, JSON.stringify(part.input ?? {})),
    button(t("Allow"), t("Allow {name}", { name }), "button button-main", true),
    button(t("Deny"), t("Deny {name}", { name }), "button", false),
    answer,
  );
  return made;
}
