"""A message without some of its calls and results, in the form that it has."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from pydantic import JsonValue

from voltmem.parts import plain
from voltmem.parts._types import JsonObject, Part, ToolCall, ToolResult, string

# The fields with a message's parts, in any form, and those around them.
_LISTS: Final = frozenset({"parts", "content", "tool_calls", "toolInvocations"})
_AROUND: Final = frozenset({"data", "message", "additional_kwargs"})
_IDS: Final = ("toolCallId", "tool_use_id", "tool_call_id", "call_id", "id")


def without(value: JsonValue, ids: Set[str]) -> JsonValue:
    """Return a message's content, payload or metadata without the blocks of the calls with these ids."""
    if isinstance(value, list):
        return [each for each in value if not (isinstance(each, dict) and _is_of(each, ids))]
    if isinstance(value, dict):
        rest = {
            name: without(field, ids) if name in _AROUND or (name in _LISTS and isinstance(field, list)) else field
            for name, field in value.items()
        }
        if value.get("tool_calls") and not rest["tool_calls"]:  # OpenAI refuses an empty list
            del rest["tool_calls"]
        return rest
    return value


def _is_of(block: JsonObject, ids: Set[str]) -> bool:
    inner = (value for value in block.values() if isinstance(value, dict))  # {"functionCall": {"id": …}}
    return any(string(each, *_IDS) in ids for each in (block, *inner))


def says_the_same(found: Sequence[Part], wanted: Sequence[Part]) -> bool:
    """Return whether the parts are the same, but for what other messages make of a call."""
    return [_outline(part) for part in found] == [_outline(part) for part in wanted]


def _outline(part: Part) -> object:
    if isinstance(part, ToolCall):
        return "call", part.id
    return ("result", part.call_id) if isinstance(part, ToolResult) else plain.as_text(part)
