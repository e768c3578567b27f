"""Agno's values as JSON documents, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from voltmem._values import JsonObject, json_value, short_repr, to_json
from voltmem.errors import InvalidInputError


def plain_json(value: object, where: str) -> JsonValue:
    """
    Return the value as JSON: tuples and sets become lists, keys strings, enums their values, dates ISO 8601 text.

    Raises:
        InvalidInputError: A value in it is none of these types, no pydantic model and no dataclass.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return json_value(value, where)
    if isinstance(value, Mapping):
        return {_key(key): plain_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(item, where) for item in value]
    try:
        return json_value(to_jsonable_python(value), where)
    except (PydanticSerializationError, UnicodeError) as error:
        raise InvalidInputError(
            f"{where} has {short_repr(value)}, which is not a JSON value: convert it first"
        ) from error


def _key(key: object) -> str:
    key = key.value if isinstance(key, Enum) else key
    return key if isinstance(key, str) else to_json(json_value(key, "a key"))


def document_of(value: object, where: str) -> JsonObject:
    """Return a session, a run or a message as JSON. Errors use ``where`` as its name."""
    document = plain_json(value if isinstance(value, Mapping) else value.to_dict(), where)  # type: ignore[attr-defined]
    assert isinstance(document, dict)
    return document


def objects_of(holder: JsonValue, key: str) -> list[JsonObject]:
    """Return the objects in the list under the key; an empty list if there is no such list."""
    listed = holder.get(key) if isinstance(holder, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def epoch_seconds(moment: datetime) -> int:
    """Return the time as Agno stores it: whole seconds since the epoch."""
    return int(moment.timestamp())
