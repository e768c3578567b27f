"""What the lists of messages for front ends have in common: the AI SDK's, and assistant-ui's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pydantic import JsonValue

from voltmem.parts._steps import ReadableT, Settled
from voltmem.parts._types import JsonObject, ToolCall, ToolResult, object_of, string

ABANDONED: Final = "The call was abandoned: it has no result."
UNDECIDED: Final = "The call was not made: nobody decided about it."


def why_abandoned(settled: Settled[ReadableT], place: int) -> str:
    """Return why the abandoned call at this place has no result."""
    return UNDECIDED if place in settled.undecided else ABANDONED


def late_outcomes(
    settled: Settled[ReadableT], outcome: Callable[[ToolResult], JsonObject], abandoned: Callable[[str], JsonObject]
) -> dict[str, JsonObject]:
    """
    Return what became of the message's calls elsewhere, by their ids.

    Args:
        settled: The message, stored in the front end's form.
        outcome: Returns the fields that a call's part gets with its result.
        abandoned: Returns those of a call that will never have a result, which say why.
    """
    last: dict[str, int] = {}
    answered: set[int] = set()  # the places of the calls whose results are in the message
    for place, part in enumerate(settled.parts):
        if isinstance(part, ToolCall):
            last[part.id] = place
        elif isinstance(part, ToolResult) and part.call_id in last:
            answered.add(last[part.call_id])
    found: dict[str, JsonObject] = {}
    for place, part in enumerate(settled.parts):
        if isinstance(part, ToolCall) and part.state == "abandoned":
            found[part.id] = abandoned(why_abandoned(settled, place))
        elif isinstance(part, ToolCall) and place in settled.results and place not in answered:
            found[part.id] = outcome(settled.results[place])
    return found


def with_own_ids(messages: Sequence[JsonObject], within: str) -> list[JsonObject]:
    """
    Return messages in which each call has an id of its own: some models count theirs from 1 in every answer.

    A front end takes calls with one id for one call; assistant-ui fails to render the list.

    Args:
        messages: The messages in the front end's form.
        within: The name of the field that has the parts.
    """
    used: dict[str, int] = {}
    found: list[JsonObject] = []
    for message in messages:
        parts = message.get(within)
        shown = [_with_own_id(part, used) for part in parts] if isinstance(parts, list) else parts
        found.append(message if shown == parts else {**message, within: shown})
    return found


def _with_own_id(part: JsonValue, used: dict[str, int]) -> JsonValue:
    id = string(part, "toolCallId") if isinstance(part, dict) else ""
    if not isinstance(part, dict) or not id:
        return part
    own, number = id, used.get(id, 0) + 1
    while own in used:
        own, number = f"{id}_{number}", number + 1
    used[own] = max(used.get(own, 0), 1)
    used[id] = max(number - 1, 1)
    if own == id:
        return part
    approval = object_of(part, "approval")
    asked: JsonObject = {"approval": {**approval, "id": own}} if approval.get("id") == id else {}
    return {**part, "toolCallId": own, **asked}
