"""Values of other programs as values of ours: ids, times, metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeAlias

from pydantic import JsonValue

from voltmem._areas.transfer.models import ImportedConversation
from voltmem._values import MAX_ID_BYTES, check_time, is_storable, json_value, jsonb_copy, short_repr, storable_text

Json: TypeAlias = Mapping[str, object]


def conversation(metadata: Json, title: object, **values: object) -> ImportedConversation:
    """Return a conversation; a title that is no text is left out, and so are fields without a value."""
    name = storable_text(title) if isinstance(title, str) else ""
    return ImportedConversation.of({**values, "title": name or None, "metadata": storable(metadata)})


def storable(values: Json) -> JsonValue:
    """Return metadata without None, in a form that jsonb can store."""
    return jsonb_copy(json_value({name: value for name, value in values.items() if value is not None}, "metadata"))


def object_in(values: Json, name: str) -> Json:
    """Return the object in this field; an empty one if there is none."""
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def objects_in(values: Json, name: str) -> list[Json]:
    """Return the objects of the list in this field."""
    value = values.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def string_in(values: Json, *names: str) -> str:
    """Return the first of these fields that is a string and not empty; "" if there is none."""
    found = (values.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), "")


def described(value: object) -> str:
    """Return what a value is, for an error: an object's fields without what they say."""
    if not isinstance(value, Mapping):
        return f"a {type(value).__name__}"
    return f"an object with {short_repr(', '.join(map(str, value))).strip(_QUOTES)}" if value else "an empty object"


_QUOTES: Final = "'\""


def id_of(value: object) -> str | None:
    """Return the value if it is a valid id, else None."""
    fits = isinstance(value, str) and value and is_storable(value) and len(value.encode()) <= MAX_ID_BYTES
    return str(value) if fits else None


def time_of(value: object) -> datetime | None:
    """Return the time for a number of seconds or a text; None if it is not a time."""
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        else:
            time = datetime.fromtimestamp(seconds(value), UTC)
        check_time("time", time)
        return time
    return None


def seconds(value: object) -> float:
    """Return the value as a number, for comparisons; -inf if it is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return -math.inf
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.copysign(math.inf, value > 0 or -1)
