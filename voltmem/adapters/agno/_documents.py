"""Agno's values as JSON documents, and how to read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import TypeVar

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from voltmem._values import JsonObject, json_value, short_repr, to_json
from voltmem.errors import InvalidInputError, UnreadableError

_Session = TypeVar("_Session")

_log = logging.getLogger("voltmem")


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


def read_by_agno(from_dict: Callable[[JsonObject], _Session], document: JsonObject, session_id: str) -> _Session:
    """
    Return Agno's session of a stored document.

    Raises:
        UnreadableError: Agno cannot read it. A session without it would replace it when the session is saved again.
    """
    try:
        return from_dict(document)
    except Exception as error:  # whatever Agno stumbles over
        why = f"{type(error).__name__}: {error}"
        raise UnreadableError(session_id, "Agno", "the session", why) from error


@contextmanager
def left_out_if_unreadable() -> Iterator[None]:
    """Leave one session out of a list, with a warning, if Agno cannot read it: one must not hide all others."""
    try:
        yield
    except UnreadableError as error:
        _log.warning("left out of the list of sessions: %s", error)


def objects_of(holder: JsonValue, key: str) -> list[JsonObject]:
    """Return the objects in the list under the key; an empty list if there is no such list."""
    listed = holder.get(key) if isinstance(holder, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def epoch_seconds(moment: datetime) -> int:
    """Return the time as Agno stores it: whole seconds since the epoch."""
    return int(moment.timestamp())
