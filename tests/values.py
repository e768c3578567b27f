"""Values of every kind for a message, its metadata or a name, valid and invalid."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st
from pydantic import JsonValue

# A high and a low surrogate as two characters of Python, not as the one character that they encode in UTF-16.
SURROGATE_PAIR: Final = "\ud83d\ude00"
DEPTH: Final = 200
NOT_JSON: Final[list[Any]] = [
    (1, 2),
    float("nan"),
    float("-inf"),
    {1: "a number as key"},
    {None: "no key"},
    b"bytes",
    {"a set"},
    datetime(2026, 1, 1, tzinfo=UTC),
    object(),
    1 << 14_000,
]

any_characters = st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"])
tricky_texts = st.sampled_from(["\x00", "\ud83d", "\ude00", SURROGATE_PAIR, "\\", '"', "\\ud83d", "\\u0000", "\\\\"])
any_texts = st.lists(any_characters | tricky_texts).map("".join)
storable_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
storable_ids = storable_texts.filter(bool)  # an empty one is an error
unstorable_texts = st.builds(
    "{}{}{}".format, storable_texts, st.just("\x00") | st.characters(categories=["Cs"]), storable_texts
)
big_integers = st.builds(
    lambda sign, digits, rest: sign * (10**digits + rest),
    st.sampled_from([1, -1]),
    st.integers(0, 4000),
    st.integers(0, 10**50),
)
scalars = st.none() | st.booleans() | st.integers() | big_integers | st.floats(allow_nan=False, allow_infinity=False)


def json_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[JsonValue]:
    """Return a strategy for JSON values with such strings and keys."""
    return st.recursive(
        scalars | texts,
        lambda values: st.lists(values, max_size=5) | st.dictionaries(texts, values, max_size=5),
        max_leaves=10,
    )


any_json = json_of(any_texts)
json_texts = json_of(storable_texts).map(json.dumps)
contents: st.SearchStrategy[JsonValue] = any_json | any_texts | json_texts
metadatas = st.dictionaries(storable_texts, json_of(storable_texts), max_size=5)


def nested(kinds: list[bool]) -> JsonValue:
    """Return lists (True) and dicts (False) nested within each other."""
    value: JsonValue = None
    for is_list in kinds:
        value = [value] if is_list else {"": value}
    return value


def planted(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for JSON values that contain such a value."""
    return st.recursive(
        values,
        lambda inner: (
            st.builds(lambda before, it, after: [*before, it, *after], some_json, inner, some_json)
            | st.builds(lambda rest, key, it: {**rest, key: it}, st.dictionaries(st.text(), scalars), st.text(), inner)
        ),
        max_leaves=3,
    )


some_json = st.lists(scalars, max_size=2)


def alike(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two JSON values are equal, without regard to the order of keys; True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
