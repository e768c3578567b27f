"""JSON of every shape: of the words that readers look for, of forms that programs store, and changes of these."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from pydantic import JsonValue

from tests.checkout import ROOT
from tests.values import any_texts, scalars, storable_texts

T = TypeVar("T")

# What a parser of JSON takes, and Python's json cannot write: numbers of any size, and escapes of no character.
_RAW: Final = ("1e999", "-1e999", "1E-999", "-0.0", "9" * 5000, "1e4000", "0." + "1" * 400, '"\\ud800"', '"\\u0000"')
_REFUSED: Final = re.compile(r"\\(?:u(0000|d[89a-f][0-9a-f]{2})|.)", re.IGNORECASE | re.DOTALL)
_MARK: Final = re.compile(r'"@@(\d)"')


def _literals() -> Iterator[str]:
    for folder in ("parts", "adapters", "web", "_areas/history"):
        for file in sorted((ROOT / "voltmem" / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


WORDS: Final = sorted({each for each in _literals() if re.fullmatch(r"[A-Za-z][\w/:.-]{0,30}", each)})
"""The names and values that a reader may look for: all short literals of its source."""

_PLACES: Final = st.sampled_from(
    [
        *(
            "data:image/png;base64,iVBORw0KGgo=",
            "data:,",
            "data:;base64,???",
            "voltmem:file/" + "0" * 64,
            "voltmem:file/",
        ),
        *(
            "https://example.com/cat.png",
            "https://[",
            "//",
            "file:///etc/passwd",
            "2026-01-01T00:00:00Z",
            "{",
            '{"a": 1}',
        ),
    ]
)


def one_of(values: Sequence[T]) -> st.SearchStrategy[T]:
    """Return a strategy for one of many values. st.sampled_from() would show all of them in its repr, and warn."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


words: Final = one_of(WORDS)
texts: Final = words | words | _PLACES | any_texts
marks: Final = st.sampled_from([f"@@{number}" for number in range(len(_RAW))])
leaves: Final[st.SearchStrategy[Any]] = texts | scalars | marks | st.just({}) | st.just([])
# A part, or a message: most readers look at "type" first.
typed: Final = st.builds(lambda kind, rest: {"type": kind, **rest}, words, st.dictionaries(words, leaves, max_size=5))
shapes: Final[st.SearchStrategy[Any]] = st.recursive(
    leaves | typed,
    lambda inner: st.lists(inner | typed, max_size=4) | st.dictionaries(words | any_texts, inner, max_size=6),
    max_leaves=12,
)


def as_text(value: JsonValue) -> str:
    """Return the text of a JSON value, its marks replaced. Some lists are nested beyond any limit."""
    return _MARK.sub(lambda found: _RAW[int(found[1])], json.dumps(value))


def for_jsonb(text: str) -> str:
    """Return JSON text without the escapes that jsonb refuses, and without numbers that it has no room for."""
    return _REFUSED.sub(lambda found: "?" if found[1] else found[0], text)


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _places(each, (*way, key))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Return a strategy for a JSON value with one to three changes."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from([*_places(value)]))
        if not way:
            value = draw(st.just(value) | shapes) if draw(st.integers(0, 9)) == 0 else value
            continue
        parent = value
        for key in way[:-1]:
            parent = parent[key]
        how = draw(st.sampled_from(["replace", "replace", "delete", "wrap", "rename"]))
        if how == "delete":
            del parent[way[-1]]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(words)] = parent.pop(way[-1])
        else:
            parent[way[-1]] = [parent[way[-1]]] if how == "wrap" else draw(shapes)
    return value


def bare(text: str) -> str:
    """Return a text that a column can have."""
    return text.encode(errors="replace").decode().replace("\x00", "")


names: Final = words | storable_texts.filter(bool)
deep: Final = st.integers(1, 6000).map(lambda depth: "[" * depth + "]" * depth)
