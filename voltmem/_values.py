"""Values on their way into PostgreSQL and back: checked before any SQL runs, encoded, decoded."""

from __future__ import annotations

import enum
import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from pydantic import JsonValue
from pydantic_core import from_json

from voltmem.errors import InvalidInputError, InvalidQueryError


class Unset(enum.Enum):
    """The type of UNSET: an argument that was not given, where None means something."""

    UNSET = "not given"

    def __repr__(self) -> str:
        return "<not given>"


UNSET: Final = Unset.UNSET


class AnyUser(enum.Enum):
    """The type of ANY_USER."""

    ANY_USER = "any user"

    def __repr__(self) -> str:
        return "voltmem.ANY_USER"


ANY_USER: Final = AnyUser.ANY_USER
"""In place of a user's id: no check, and no filter. For trusted code, which may read and write every user's data."""

JsonObject: TypeAlias = dict[str, JsonValue]

# pydantic_core's parser stops at 201 levels, Python's own at the caller's stack depth. What is stored must be readable
# from anywhere, and a step's fields stand one level below the value that holds them.
MAX_JSON_DEPTH = 200
# int <-> str conversion is limited to 4,300 digits (sys.set_int_max_str_digits); 14,000 bits are 4,215 digits.
MAX_INTEGER_BITS = 14_000
MAX_BIGINT = 2**63 - 1
# An index entry has room for 2,704 bytes, and two ids stand in one.
MAX_ID_BYTES = 1000

_FOR_PROGRAMS: Final = frozenset({"type", "id", "toolCallId", "tool_call_id", "callId", "call_id"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# One JSON escape at a time, so that a backslash that is itself escaped never starts another.
_ESCAPE = re.compile(r"\\(?:u(d[89a-f][0-9a-f]{2})|.)", re.IGNORECASE | re.DOTALL)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def now() -> datetime:
    """Return the time by this machine's clock, aware."""
    return datetime.now(UTC)


def uuid7() -> str:
    """Return a new UUIDv7 (RFC 9562): unique anywhere, and later ones sort after earlier ones by the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | random
    return _uuid(value, 7)


def derived_id(*texts: str) -> str:
    """Return a UUIDv8 (RFC 9562) that is made of these texts: the same each time, and another for all others."""
    from hashlib import sha256  # here: it loads OpenSSL

    digest = sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest()
    return _uuid(int.from_bytes(digest[:16], "big"), 8)


def _uuid(value: int, version: int) -> str:
    value = value & ~(0xF << 76) | version << 76
    value = value & ~(0x3 << 62) | 2 << 62  # variant
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def user_key(user_id: str) -> str:
    """Return a short hash of a user's id: the prefix of the user's lexemes, and the payload of notifications."""
    from hashlib import sha256  # here: it loads OpenSSL

    return sha256(user_id.encode()).hexdigest()[:8]


def user_key_sql(user_id: str) -> str:
    """Return the SQL expression of user_key() for the user id that an expression stands for."""
    return f"left(encode(sha256(convert_to({user_id}, 'UTF8')), 'hex'), 8)"


# --- checks -----------------------------------------------------------------------------------------------------


def is_storable(text: str) -> bool:
    """Whether PostgreSQL's text type can hold it: NUL characters and lone surrogates have no place there."""
    return (text.isascii() and "\x00" not in text) or _UNSTORABLE.search(text) is None


def strip_bom(text: str | bytes) -> str | bytes:
    """Return the text without the byte-order mark that some programs begin a file with."""
    return text.removeprefix("\ufeff") if isinstance(text, str) else text.removeprefix(b"\xef\xbb\xbf")


def check_text(**values: object) -> None:
    """Raise InvalidInputError unless every value is a string that PostgreSQL can hold."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise InvalidInputError(f"{name} must be a string, not {short_repr(value)}")
        if not is_storable(value):
            raise InvalidInputError(f"{name} {short_repr(value)} has a NUL character or a lone surrogate")


def check_key(**values: object) -> None:
    """Raise InvalidInputError unless every value is a string that fits into PostgreSQL's indexes. It may be empty."""
    check_text(**values)
    for name, value in values.items():
        if len(str(value).encode()) > MAX_ID_BYTES:
            raise InvalidInputError(
                f"{name} {short_repr(value)} is longer than {MAX_ID_BYTES} bytes; use a shorter one"
            )


def check_id(**values: object) -> None:
    """Raise InvalidInputError unless every value is an id: a string that is not empty and fits into an index."""
    check_key(**values)
    for name, value in values.items():
        if value == "":
            raise InvalidInputError(f"{name} is an empty string: pass an id")


def check_key_or_none(**values: object) -> None:
    """Like check_key, and None is allowed."""
    check_key(**{name: value for name, value in values.items() if value is not None})


def check_id_or_none(**values: object) -> None:
    """Like check_id, and None is allowed."""
    check_id(**{name: value for name, value in values.items() if value is not None})


def check_user(name: str, value: object, why: str = "this call works for one user") -> str:
    """
    Return the id of one user.

    InvalidInputError for anything else: None is what a forgotten user looks like, and *why* is the reason for refusing
    ANY_USER.
    """
    if value is ANY_USER:
        raise InvalidInputError(f"{name} is {value!r}, but {why}: pass that user's id")
    if value is None or value == "":
        raise InvalidInputError(f"{name} is {value!r}: pass the signed-in user's id")
    check_id(**{name: value})
    return cast(str, value)


def check_owner(name: str, value: str | AnyUser) -> str | None:
    """
    Return the owner as an argument of a statement, where NULL means no check.

    InvalidInputError unless it is the id of a user or ANY_USER: None is what a forgotten user looks like.
    """
    if value is ANY_USER:
        return None
    if cast(object, value) in (None, ""):
        raise InvalidInputError(
            f"{name} is {value!r}: pass the signed-in user's id, or {ANY_USER!r} in trusted code that may see every "
            "user's data"
        )
    check_id(**{name: value})
    return value


def check_texts(name: str, values: object) -> list[str]:
    """Return the strings of an iterable as a list; a single string is a mistake, not a list of its letters."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{name} must be a list of strings, not {short_repr(values)}")
    texts = list(values)
    for text in texts:
        check_text(**{name: text})
    return texts


def check_ids(name: str, values: object) -> list[str]:
    """Return the ids of an iterable as a list."""
    ids = check_texts(name, values)
    for id in ids:
        check_id(**{name: id})
    return ids


def check_count(name: str, value: object, *, minimum: int = 0) -> None:
    """Raise InvalidQueryError unless the value is a whole number of rows or pages that PostgreSQL can count to."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidQueryError(f"{name} must be a whole number, not {short_repr(value)}")
    if not minimum <= value <= MAX_BIGINT:
        raise InvalidQueryError(f"{name} must be {minimum} or more, and below 2**63, not {short_repr(value)}")


def check_flag(name: str, value: object) -> None:
    """Raise InvalidInputError unless the value is True or False: what is only true-ish was meant otherwise."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be True or False, not {short_repr(value)}")


def check_seconds(name: str, value: object) -> None:
    """Raise InvalidInputError unless the value is a number of seconds that one can wait for."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise InvalidInputError(f"{name} must be a number of seconds above 0, not {short_repr(value)}")


def check_time(name: str, value: object) -> None:
    """Raise InvalidInputError unless the value is a datetime that knows its time zone."""
    if not isinstance(value, datetime):
        raise InvalidInputError(f"{name} must be a datetime, not {short_repr(value)}")
    if value.utcoffset() is None:
        raise InvalidInputError(f"{name} {value} has no time zone; add one, as in datetime.now(timezone.utc)")
    try:
        moment = value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise InvalidInputError(f"{name} {value} lies outside the years 1 to 9999 in UTC") from error
    if moment in (datetime.min, datetime.max):
        raise InvalidInputError(f"{name} {value} stands for infinity in PostgreSQL's driver")


def short_repr(value: object) -> str:
    """Return the value as an error message may show it: its repr, cut at 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


# --- JSON -------------------------------------------------------------------------------------------------------


def json_value(value: object, where: str, *, for_jsonb: bool = False) -> JsonValue:
    """
    Return a copy of the value that shares nothing with it; InvalidInputError where it is not plain JSON.

    Strict, because what comes back must equal what went in: a tuple would return as a list, a key 1 as "1",
    NaN not at all. With for_jsonb, strings that jsonb cannot hold (NUL, lone surrogates) are refused too.
    """
    return _json_value(value, where, 0, for_jsonb)


def _json_value(value: object, where: str, depth: int, for_jsonb: bool) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if for_jsonb and not is_storable(value):
            raise InvalidInputError(f"{where} has {short_repr(value)}, with a NUL character or a lone surrogate")
        return value
    if isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise InvalidInputError(f"{where} has an integer of more than {MAX_INTEGER_BITS} bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"{where} has {value}, which JSON has no word for")
        # jsonb keeps decimals: 1e23 would come back as 10**23, which it is not.
        return int(value) if for_jsonb and abs(value) >= 1e16 else value
    if depth >= MAX_JSON_DEPTH:
        raise InvalidInputError(f"{where} is nested deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(value, list):
        return [_json_value(item, where, depth + 1, for_jsonb) for item in value]
    if isinstance(value, dict):
        return {
            _json_key(key, where, for_jsonb): _json_value(item, where, depth + 1, for_jsonb)
            for key, item in value.items()
        }
    raise InvalidInputError(
        f"{where} has {short_repr(value)}, a {type(value).__name__}: JSON has None, booleans, numbers, strings, "
        "lists and dicts with string keys"
    )


def _json_key(key: object, where: str, for_jsonb: bool) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"{where} has the key {short_repr(key)}; JSON's keys are strings")
    if for_jsonb and not is_storable(key):
        raise InvalidInputError(f"{where} has the key {short_repr(key)}, with a NUL character or a lone surrogate")
    return key


def jsonb_copy(value: JsonValue) -> JsonValue:
    """Return the value as jsonb can hold it: U+FFFD for what it cannot store, large floats as integers, no -0.0."""
    if isinstance(value, str):
        return value if is_storable(value) else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, float):
        return int(value) if abs(value) >= 1e16 else value + 0.0
    if isinstance(value, list):
        return [jsonb_copy(item) for item in value]
    if isinstance(value, dict):
        return {str(jsonb_copy(key)): jsonb_copy(item) for key, item in value.items()}
    return value


def to_json(value: JsonValue) -> str:
    """Return JSON text that from_stored_json turns back into an equal value, surrogates included."""
    text = _encode(value)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def from_stored_json(text: str) -> JsonValue:
    """
    Return the value of JSON text that to_json (or PostgreSQL's jsonb) wrote.

    A JSON parser joins an escaped high and low surrogate into one character; to_json escapes surrogates only
    where they stood alone in Python, so they are put back one by one before parsing.
    """
    if "\\ud" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[0], text)
        return cast(JsonValue, json.loads(text))
    try:
        return cast(JsonValue, from_json(text))
    except ValueError:  # too deep, perhaps: a field of 200 levels within a step, or what others wrote
        return cast(JsonValue, json.loads(text))


def plain_text(content: JsonValue) -> str:
    """
    Return what a person could read in a message's content, in a form that PostgreSQL's text type can hold.

    A string is itself; of a list of parts, the "text" of those that have one, a line each; of anything else, its
    strings and numbers, a line each, without what only programs read (types and ids).
    """
    text = content if isinstance(content, str) else "\n".join(_texts_of_parts(content) or _leaves(content))
    return text if is_storable(text) else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\x00", ""))


def _texts_of_parts(content: JsonValue) -> list[str]:
    parts: Sequence[JsonValue] = content if isinstance(content, list) else [content]
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return [text for text in texts if isinstance(text, str)]


def _leaves(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key not in _FOR_PROGRAMS]
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
