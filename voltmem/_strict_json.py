"""JSON of callers: no name twice in an object, no NaN, no number out of range."""

from __future__ import annotations

import json
from collections import Counter

from pydantic import JsonValue

from voltmem._values import short_repr


def strict_json(text: str | bytes) -> JsonValue:
    """Return the value of a JSON text. ValueError if it is invalid, RecursionError if it is nested too deeply."""
    value: JsonValue = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"an object has the name {short_repr(twice)} twice")
    return found


def _constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not a JSON number")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number
