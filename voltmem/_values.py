"""Values: checks before any SQL runs, JSON encoding and decoding, and names in VoltAgent's spelling."""

from __future__ import annotations

import enum
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, Never, Self, TypeAlias, TypeVar, cast, overload

from pydantic import JsonValue
from pydantic.alias_generators import to_snake
from pydantic_core import from_json

from voltmem.errors import InvalidInputError, InvalidQueryError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


T = TypeVar("T")


class Unset(enum.Enum):
    """The type of UNSET: an argument that was not given, if None is a valid value."""

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

# pydantic_core's parser fails at 201 levels, Python's own at the recursion limit, which depends on the caller's depth.
# Stored values must be readable from anywhere. The fields of a step are one level below the stored value.
MAX_JSON_DEPTH = 200
_READABLE_DEPTH: Final = MAX_JSON_DEPTH + 2
# int <-> str conversion is limited to 4,300 digits (sys.set_int_max_str_digits); 14,000 bits are 4,215 digits.
MAX_INTEGER_BITS = 14_000
MAX_BIGINT = 2**63 - 1
# More than anybody waits. Clocks and timers of event loops fail with much larger numbers.
MAX_SECONDS = 10**9
# An index entry has at most 2,704 bytes, and may hold two ids.
MAX_ID_BYTES = 1000

# More errors than this in one value are not looked for.
MAX_ERRORS = 100

_FOR_PROGRAMS: Final = frozenset({"type", "id", "toolCallId", "tool_call_id", "callId", "call_id"})
_NOT_TEXT: Final = "a NUL character or a lone surrogate, which PostgreSQL cannot store: remove it"
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Matches one JSON escape at a time, so that the second backslash of an escaped backslash never begins an escape.
_ESCAPE = re.compile(r"\\(?:u(d[89a-f][0-9a-f]{2})|.)", re.IGNORECASE | re.DOTALL)
# Brackets, and strings, which may have some. Possessive, so that nothing is read twice.
_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{}]', re.DOTALL)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def now() -> datetime:
    """Return the current time by this machine's clock, in UTC."""
    return datetime.now(UTC)


def uuid7() -> str:
    """Return a new UUIDv7 (RFC 9562), which sorts by its time in milliseconds."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | random
    return _uuid(value, 7)


def derived_id(*texts: str) -> str:
    """Return a UUIDv8 (RFC 9562) derived from these texts: equal texts give equal ids, others different ones."""
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
    """Return the SQL expression of user_key() for the user id that the expression *user_id* yields."""
    return f"pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({user_id}, 'UTF8')), 'hex'), 8)"


# --- checks -----------------------------------------------------------------------------------------------------


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL's type text can store it: it has no NUL characters and no lone surrogates."""
    return (text.isascii() and "\x00" not in text) or _UNSTORABLE.search(text) is None


def strip_bom(text: str | bytes) -> str | bytes:
    """Return the text without the byte-order mark at its beginning, which some programs write."""
    return text.removeprefix("\ufeff") if isinstance(text, str) else text.removeprefix(b"\xef\xbb\xbf")


def check_text(**values: object) -> None:
    """Raise InvalidInputError unless every value is a string that PostgreSQL can store."""
    for name, value in values.items():
        if not isinstance(value, str):
            as_text = ": pass str() of it" if type(value).__name__ in ("int", "UUID") else ""
            raise InvalidInputError(f"{name} must be a string, not {short_repr(value)}{as_text}")
        if not is_storable(value):
            raise InvalidInputError(f"{name} {short_repr(value)} has {_NOT_TEXT}")


def check_key(**values: object) -> None:
    """Raise InvalidInputError unless every value is a string that fits into an index entry. It may be empty."""
    for name, value in values.items():
        if isinstance(value, str) and value.isascii() and len(value) <= MAX_ID_BYTES and "\x00" not in value:
            continue  # most ids, and every call checks some
        check_text(**{name: value})
        if len(str(value).encode()) > MAX_ID_BYTES:
            raise InvalidInputError(f"{name} {short_repr(value)} has more than {MAX_ID_BYTES} bytes: use a shorter one")


def check_id(**values: object) -> None:
    """Raise InvalidInputError unless every value is an id: a non-empty string that fits into an index entry."""
    for name, value in values.items():
        if value is None or value == "":
            raise InvalidInputError(f"{name} is {'None' if value is None else 'an empty string'}: pass an id")
    check_key(**values)


def check_key_or_none(**values: object) -> None:
    """Like check_key(), but None is allowed."""
    check_key(**{name: value for name, value in values.items() if value is not None})


def check_id_or_none(**values: object) -> None:
    """Like check_id(), but None is allowed."""
    check_id(**{name: value for name, value in values.items() if value is not None})


def check_user(name: str, value: object, why: str = "this call works for one user") -> str:
    """
    Return the id of one user.

    Raises InvalidInputError for anything else. None is refused because it may be a forgotten user; *why* is the reason
    for refusing ANY_USER.
    """
    if value is ANY_USER:
        raise InvalidInputError(f"{name} is {value!r}, but {why}: pass that user's id")
    if value is None or value == "":
        raise InvalidInputError(f"{name} is {value!r}: pass the signed-in user's id")
    check_id(**{name: value})
    return cast(str, value)


def check_owner(name: str, value: str | AnyUser) -> str | None:
    """
    Return the owner as an argument of a statement, in which NULL means no check.

    Raises InvalidInputError unless it is a user's id or ANY_USER. None is refused because it may be a forgotten user.
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
    """Return the strings of an iterable as a list. InvalidInputError for a single string."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{name} must be a list of strings, not {short_repr(values)}")
    texts = list(values)
    for text in texts:
        check_text(**{name: text})
    return texts


def check_ids(name: str, values: object) -> list[str]:
    """Return the ids of an iterable as a list."""
    ids = check_texts(name, values)
    if "" in ids:
        raise InvalidInputError(f"{name} contains an empty string: pass ids only")
    for id in ids:
        check_key(**{name: id})
    return ids


def check_count(name: str, value: object, *, minimum: int = 0, maximum: int = MAX_BIGINT) -> None:
    """Raise InvalidQueryError unless the value is an integer in the range; without a maximum, of bigint."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidQueryError(f"{name} must be a whole number, not {short_repr(value)}")
    if not minimum <= value <= maximum:
        below = "below 2**63" if maximum == MAX_BIGINT else f"at most {maximum:,}"
        raise InvalidQueryError(f"{name} must be {minimum} or more, and {below}, not {short_repr(value)}")


def check_flag(name: str, value: object) -> None:
    """Raise InvalidInputError unless the value is True or False. Other truthy values are probably mistakes."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be True or False, not {short_repr(value)}")


def check_seconds(name: str, value: object) -> None:
    """Raise InvalidInputError unless the value is a number of seconds above 0, up to some 30 years."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_SECONDS:
        raise InvalidInputError(
            f"{name} must be a number of seconds above 0, and at most {MAX_SECONDS:,}, not {short_repr(value)}"
        )


def check_time(name: str, value: object) -> None:
    """Raise InvalidInputError unless the value is a datetime with a time zone that PostgreSQL can store."""
    if not isinstance(value, datetime):
        raise InvalidInputError(f"{name} must be a datetime, not {short_repr(value)}")
    if value.utcoffset() is None:
        raise InvalidInputError(f"{name} {value} has no time zone: add one, as in datetime.now(timezone.utc)")
    try:
        moment = value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise InvalidInputError(f"{name} {value} must be in the years 1 to 9999 in UTC") from error
    if moment in (datetime.min, datetime.max):
        raise InvalidInputError(f"{name} {value} means infinity to PostgreSQL's driver: use another time")


def check_not_ahead(name: str, time: datetime | None) -> None:
    """Raise InvalidInputError if the time is more than a day ahead of this machine's clock."""
    if time is not None and time > (clock := now()) + timedelta(days=1):
        raise InvalidInputError(f"{name} is {time}, more than a day ahead of this machine's clock, {clock}: correct it")


def without_flood(given: dict[str, T], known: Collection[str]) -> dict[str, T]:
    """Return the known fields of a value, and the first hundred others, each of which becomes an error."""
    if len(given) <= len(known) + MAX_ERRORS:
        return given
    unknown = set(islice((name for name in given if name not in known), MAX_ERRORS))
    return {name: value for name, value in given.items() if name in known or name in unknown}


def describe_unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the text of an error about an unknown name: the most similar known name, and all of them."""
    from difflib import get_close_matches  # here: only errors need it

    similar = get_close_matches(name[:80], known, 1)
    question = f"did you mean {similar[0]}? The" if similar else "the"
    return f"unknown {kind} {short_repr(name)}: {question} {kind}s are {', '.join(known)}"


def describe_field_error(fields: Iterable[str], error: ErrorDetails) -> str:
    """Return what is wrong with a field of a model that has these fields, and what to do."""
    steps = [to_snake(step).strip("_") if isinstance(step, str) else str(step) for step in error["loc"]]
    where, kind, value = ".".join(steps), error["type"], error["input"]
    if kind == "missing":
        return f"{where} is missing: add {'the id of the signed-in user' if where == 'user_id' else 'it'}"
    if kind == "extra_forbidden":
        if len(steps) > 1:
            return f"{where} is an unknown field: leave it out"
        known = list(fields)
        rest = "; put other values into metadata" if "metadata" in known else ""
        return describe_unknown("field", str(error["loc"][0]), known) + rest
    try:  # the same text as for an argument
        if steps[-1:] == ["user_id"]:
            check_user(where, value, "it must be one user's")
        if kind == "string_type":
            check_text(**{where: value})
    except InvalidInputError as refused:
        return str(refused)
    if kind == "value_error":
        # Messages from our own checks already begin with the field's name.
        text = str(error.get("ctx", {}).get("error", error["msg"]))
        return text if text.startswith(where) else f"{where}: {text}"
    return f"{where} {short_repr(value)}: {error['msg']}"


def short_repr(value: object) -> str:
    """Return the repr of a value, cut at 80 characters, for an error message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4,300 digits, also in lists and dicts
        text = f"<{type(value).__name__} with an integer of too many digits>"
    return text if len(text) <= 80 else f"{text[:77]}…"


# --- JSON -------------------------------------------------------------------------------------------------------


def json_value(value: object, where: str, *, for_jsonb: bool = False) -> JsonValue:
    """
    Return a deep copy of a JSON value; InvalidInputError if it is not plain JSON.

    Strict, because the value must be equal when it is read: a tuple would be read as a list, a key 1 as "1", and NaN
    could not be read. With for_jsonb, strings that jsonb cannot store (NUL, lone surrogates) are refused, too.
    """
    return _json_value(value, where, 0, for_jsonb)


def _json_value(value: object, where: str, depth: int, for_jsonb: bool) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if for_jsonb and not is_storable(value):
            raise InvalidInputError(f"{where} has {short_repr(value)}, with {_NOT_TEXT}")
        return value
    if isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise InvalidInputError(
                f"{where} has an integer of {value.bit_length()} bits: pass at most {MAX_INTEGER_BITS}, or a string"
            )
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"{where} has {value}, which is not a JSON value: pass None or a string")
        # jsonb stores numbers as decimals: 1e23 would be read as the integer 10**23, which is not equal to it.
        return int(value) if for_jsonb and abs(value) >= 1e16 else value
    if depth >= MAX_JSON_DEPTH:
        raise InvalidInputError(
            f"{where} is nested deeper than {MAX_JSON_DEPTH} levels: pass a flatter value, or a string"
        )
    if isinstance(value, list):
        return [_json_value(item, where, depth + 1, for_jsonb) for item in value]
    if isinstance(value, dict):
        return {
            _json_key(key, where, for_jsonb): _json_value(item, where, depth + 1, for_jsonb)
            for key, item in value.items()
        }
    raise InvalidInputError(
        f"{where} has {short_repr(value)}, a {type(value).__name__}: pass JSON values only, which are None, booleans, "
        "numbers, strings, lists and dicts with string keys"
    )


def _json_key(key: object, where: str, for_jsonb: bool) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"{where} has the key {short_repr(key)}: pass strings as keys")
    if for_jsonb and not is_storable(key):
        raise InvalidInputError(f"{where} has the key {short_repr(key)}, with {_NOT_TEXT}")
    return key


def metadata_text(metadata: object) -> str:
    """Return metadata as JSON text for a jsonb column; InvalidInputError unless it is a dict of JSON values."""
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(f"metadata must be a dict, not {short_repr(metadata)}")
    return to_json(json_value(dict(metadata), "metadata", for_jsonb=True))


def jsonb_copy(value: JsonValue) -> JsonValue:
    """Return a copy that jsonb can store: U+FFFD for invalid characters, integers for large floats, no -0.0."""
    if isinstance(value, str):
        return value if is_storable(value) else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, float):
        return int(value) if abs(value) >= 1e16 else value + 0.0
    if isinstance(value, list):
        return [jsonb_copy(item) for item in value]
    if isinstance(value, dict):
        return {str(jsonb_copy(key)): jsonb_copy(item) for key, item in value.items()}
    return value


def with_strings(value: JsonValue, rewrite: Callable[[str], str]) -> JsonValue:
    """Return JSON with the strings that the function returns for its own; the names of objects stay."""
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, list):
        return [with_strings(each, rewrite) for each in value]
    if isinstance(value, dict):
        return {name: with_strings(each, rewrite) for name, each in value.items()}
    return value


def to_json(value: JsonValue) -> str:
    """Return JSON text that from_stored_json() decodes to an equal value, lone surrogates included."""
    try:
        text = _encode(value)
    except ValueError:  # 1e999, which another program stored
        text = _encode(_finite(value))
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def from_stored_json(text: str) -> JsonValue:
    """
    Return the value of JSON text that to_json(), or PostgreSQL's jsonb, wrote.

    JSON parsers join an escaped high and low surrogate into one character. to_json() escapes only surrogates that were
    single characters of a Python string, so each is unescaped by itself before parsing.

    Another program may have stored what voltmem refuses: a value that is nested too deeply is returned as its JSON
    text, and an integer of too many digits as a string of them, so that one value makes nothing else unreadable.
    """
    if "\\ud" in text:
        return _any_json(unescape_surrogates(text))
    try:
        return cast(JsonValue, from_json(text))
    except ValueError:  # perhaps nested too deeply: a field of 200 levels in a step, or another program's value
        return _any_json(text)


def unescape_surrogates(text: str) -> str:
    """Return JSON text of to_json() with the surrogates that it has escaped."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[0], text)


def stored_metadata(text: str | None) -> JsonObject:
    """Return the metadata of a column. None, and what is no object, which only another program stores, are {}."""
    value = None if text is None else from_stored_json(text)
    return value if isinstance(value, dict) else {}


def _any_json(text: str) -> JsonValue:
    if is_too_deep(text):
        return text
    return cast(JsonValue, json.loads(text, parse_int=_integer))


def is_too_deep(text: str) -> bool:
    """Return whether JSON text has more levels than any that voltmem stores."""
    if text.count("[") + text.count("{") <= _READABLE_DEPTH:
        return False
    depth = deepest = 0
    for found in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest > _READABLE_DEPTH


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= sys.int_info.default_max_str_digits else digits


def _finite(value: JsonValue) -> JsonValue:
    """Return JSON with integers beyond all floats for infinite floats, and None for NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else int(math.copysign(1, value)) * 10**309
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return value


def storable_text(text: str) -> str:
    """Return the text in a form that PostgreSQL's type text can store: without NUL and lone surrogates."""
    return text if is_storable(text) else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\x00", ""))


class spelled(Generic[T]):  # noqa: N801  # reads as a declaration: createdAt = spelled[datetime]("created_at")
    """A read-only attribute with VoltAgent's name for a field of a model."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.__doc__ = f"VoltAgent's name for {name}."

    @overload
    def __get__(self, model: None, kind: type, /) -> Self: ...
    @overload
    def __get__(self, model: object, kind: type, /) -> T: ...
    def __get__(self, model: object | None, kind: type, /) -> Self | T:
        return self if model is None else cast(T, getattr(model, self._name))

    if TYPE_CHECKING:  # models are frozen; without this, type checkers would allow to set fields by these names

        def __set__(self, model: object, value: Never, /) -> None: ...
