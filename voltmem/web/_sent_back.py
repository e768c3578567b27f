"""What a front end sends back, compared with what it was given: a copy from before is not an edited message."""

from __future__ import annotations

from typing import Final

from pydantic import JsonValue

from voltmem._values import JsonObject
from voltmem.parts._front_ends import ABANDONED, UNDECIDED
from voltmem.parts._types import object_of, string

_LARGEST_EXACT: Final = 2**53
_INFINITE: Final = 2**1023  # which JavaScript writes as null

# What the part of a call gets after the model has written it, in the AI SDK's form and in assistant-ui's.
_LATER: Final = frozenset({"state", "output", "errorText", "approval", "preliminary", "result", "isError", "artifact"})
# How far a call is. Any other state is an end.
_STATES: Final = {"input-streaming": 0, "input-available": 1, "approval-requested": 2, "approval-responded": 3}
_ENDED: Final = 4


def is_copy(given: JsonObject, known: JsonObject) -> bool:
    """Return whether a message is this one, or a copy of it from before one of its calls went on."""
    return given.keys() == known.keys() and all(_is_same(given[name], known[name]) for name in given)


def as_in_javascript(value: JsonObject) -> JsonObject:
    """Return JSON as JavaScript reads it, which has large integers rounded."""
    return {key: _rounded(each) for key, each in value.items()}


def _rounded(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return as_in_javascript(value)
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, int) and abs(value) > _LARGEST_EXACT:
        return float(value) if abs(value) < _INFINITE else None
    return value


def _is_same(given: JsonValue, known: JsonValue) -> bool:
    if not isinstance(given, list) or not isinstance(known, list) or given == known:
        return given == known
    return len(given) == len(known) and all(map(_is_same_part, given, known))


def _is_same_part(given: JsonValue, known: JsonValue) -> bool:
    if not (isinstance(given, dict) and isinstance(known, dict)) or given == known:
        return given == known
    given_id, known_id = string(given, "toolCallId"), string(known, "toolCallId")
    if not given_id or not _is_same_id(given_id, known_id):
        return False
    given, known = {**given, "toolCallId": ""}, {**known, "toolCallId": ""}
    return given == known or (_progress(given) < _progress(known) and _call_of(given) == _call_of(known))


def _is_same_id(given: str, known: str) -> bool:
    """Return whether two ids are one: whether an id is used again depends on how many messages a list has."""
    return given == known or _first_use(given) == _first_use(known)


def _first_use(id: str) -> str:
    """Return the id without the numbers at its end. Not with an expression, whose time grows with the square."""
    begin = len(id.rstrip("_0123456789"))
    return id[:begin] + id[begin:].partition("_")[0]


def _call_of(part: JsonObject) -> JsonObject:
    return {name: value for name, value in part.items() if name not in _LATER}


def _progress(part: JsonObject) -> int:
    """Return how far a call is."""
    if any(part.get(name) in (ABANDONED, UNDECIDED) for name in ("errorText", "result")):
        return _STATES["approval-responded"]  # a person's answer to it is not older
    if "state" in part:
        return _STATES.get(string(part, "state"), _ENDED)
    if "result" in part:
        return _ENDED
    approval = object_of(part, "approval")
    waits = _STATES["approval-responded" if "approved" in approval else "approval-requested"]
    return waits if approval else _STATES["input-available"]
