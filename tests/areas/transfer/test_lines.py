"""An import takes any iterable of lines, and refuses malformed ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.areas.transfer.exported import END, conversation, exported, header, line
from tests.values import any_json
from voltmem import InvalidLineError, PostgresStorage


async def in_lines(lines: Iterable[str | bytes]) -> AsyncIterator[str | bytes]:
    for each in lines:
        await asyncio.sleep(0)
        yield each


async def test_import_user_takes_lines_from_any_iterable(storage: PostgresStorage, tmp_path: Path) -> None:
    """import_user() takes text or bytes from lists, files and generators, with newlines or without."""
    lines = [header(user_id="bob", more="later"), "", *conversation("c1", "h\N{GRINNING FACE}"), "  ", END]
    file = tmp_path / "lines.jsonl"

    for given_as in (lines, iter(lines), [each.encode() for each in lines], in_lines(lines)):
        assert (await storage.import_user("ada", given_as)).messages == 1
        assert (await storage.get_messages("ada", "c1"))[0].content == "h\N{GRINNING FACE}"
        await storage.delete_conversation("c1")
    for encoding in ("utf-8", "utf-8-sig"):  # with a byte-order mark, which some editors write
        file.write_text("\n".join(lines), encoding=encoding)
        for mode in ("r", "rb"):
            with file.open(mode, encoding="utf-8" if mode == "r" else None) as opened:
                assert (await storage.import_user("ada", opened)).conversations == 1
            await storage.delete_conversation("c1")


MESSAGE = line("message", id="m1", role="user", content="words")
BEGIN = line("conversation", id="bad")

WRONG: dict[str, list[Any]] = {
    "no JSON": ["{"],
    "truncated": [BEGIN, MESSAGE[:-5]],
    "no object": ["[]"],
    "no kind": ["{}"],
    "unknown kind": [line("secret")],
    "kind of another type": ['{"kind": ["end"]}'],
    "no text": [7],
    "no UTF-8": [b"\xff"],
    "lone surrogates": ["\ud800"],
    "not a number": ['{"kind": "message", "id": "m", "role": "r", "content": NaN}'],
    "too deep": [BEGIN, f'{{"kind":"message","id":"m","role":"r","content":{"[" * 500}{"]" * 500}}}'],
    "second header": [header()],
    "payload of a run": [line("run", id="h", agent_id="a"), line("payload", format="f", payload=1)],
    "step of a conversation": [BEGIN, line("step", id="s", agent_id="a", value={})],
    "message of a run": [line("run", id="h", agent_id="a"), MESSAGE],
    "unknown field": [line("conversation", id="bad", colour="red")],
    "conversation without an id": [line("conversation")],
    "messages within": [line("conversation", id="bad", messages=[{"role": "user", "content": "x"}])],
    "steps within": [line("run", id="h", agent_id="a", steps=[{"content": "x"}])],
    "id too long": [line("conversation", id="x" * 1001)],
    "id of another type": [line("conversation", id=7)],
    "NUL in a title": [line("conversation", id="bad", title="\x00")],
    "NUL in metadata": [line("conversation", id="bad", metadata={"a": "\x00"})],
    "NUL in parts": [BEGIN, line("message", id="m", role="user", content=["\x00"], in_parts=True)],
    "no time zone": [line("conversation", id="bad", created_at="2024-01-01T00:00:00")],
    "a mark that is none": [line("conversation", id="bad", pinned="perhaps")],
    "no role": [BEGIN, line("message", id="m", content="x")],
    "no content": [BEGIN, line("message", id="m", role="user")],
    "a message twice": [BEGIN, MESSAGE, MESSAGE],
    "a payload twice": [BEGIN, *[line("payload", format="f", payload=1)] * 2],
    "no value": [line("run", id="h", agent_id="a"), line("step", id="s", agent_id="a", value=7)],
    "an event without a name": [line("run", id="h", agent_id="a"), line("event", id="e", agent_id="a", type="t")],
    "exact that is none": [line("conversation", id="bad", exact=[1])],
    "exact text that is none": [line("conversation", id="bad", exact={"title": "{"})],
    "exact of too many levels": [line("conversation", id="bad", exact={"metadata": "[" * 300 + "]" * 300})],
    "exact with a name twice": [line("conversation", id="bad", exact={"metadata": '{"a": 1, "a": 2}'})],
    "exact with a number of too many digits": [
        line("conversation", id="bad", exact={"metadata": f'{{"a": {"1" * 5000}}}'})
    ],
    "exact with NaN": [line("conversation", id="bad", exact={"metadata": '{"a": NaN}'})],
    "exact of a text": [line("conversation", id="bad", exact={"title": '"\\ud800"'})],
    "after the end": [END, BEGIN],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_import_user_names_a_malformed_line_by_its_number(wrong: list[Any], storage: PostgresStorage) -> None:
    """import_user() names a malformed line by its number; what came before it is stored."""
    lines = [header(), *conversation("c1", "first"), *wrong]

    with pytest.raises(InvalidLineError, match=f"^line {len(lines)}: ") as refused:
        await storage.import_user("ada", [*lines, *([] if END in wrong else [END])])

    assert refused.value.line == len(lines)
    stored = [json.loads(each)["id"] for each in (await exported(storage))[:-1]]
    assert stored in (["c1", "m0"], []), "what is not finished is not stored"
    assert "bad" not in stored
    result = await storage.import_user("ada", [*lines[:3], *conversation("bad", "mended"), END])
    assert result.conversations + len(result.skipped) == 2


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([], "line 1: the end line is missing"),
        ([""], "line 2: the end line is missing"),
        ([END], "line 1: the header"),
        ([*conversation("c1"), END], "line 1: the header"),
        ([header(voltmem=2), END], "line 1: the export has version 2"),
        ([header(voltmem=True), END], "line 1: the export has version True"),
        ([line("header"), END], "line 1: the export has version None"),
        ([header(), *conversation("c1", "words")], "line 4: the end line is missing"),
        ([header(), MESSAGE, END], "line 2: the message must follow"),
        ([header(), line("step", id="s", agent_id="a", value={}), END], "line 2: the step must follow"),
    ],
)
async def test_lines_that_are_no_export_import_nothing(lines: list[str], what: str, storage: PostgresStorage) -> None:
    """Lines of another version, without a header or without an end are refused, since other lines may be missing."""
    with pytest.raises(InvalidLineError, match=what):
        await storage.import_user("ada", lines)

    assert await storage.count_conversations() == 0


@given(st.lists(st.text(max_size=20) | any_json.map(json.dumps), max_size=3))
async def test_any_malformed_line_is_an_invalid_line_error(lines: list[str]) -> None:
    """Any malformed line raises an InvalidLineError, and nothing of it is sent."""
    with pytest.raises(InvalidLineError):
        await PostgresStorage("postgresql://127.0.0.1:1/nowhere").import_user("ada", [header(), *lines, "{"])


async def test_the_user_of_a_line_is_ignored(storage: PostgresStorage) -> None:
    """The user in a line is ignored: the argument decides."""
    lines = [
        header(user_id="bob"),
        line("conversation", id="c1", user_id="bob"),
        line("run", id="h1", agent_id="a", userId="bob"),
        END,
    ]

    await storage.import_user("ada", lines)

    assert await storage.count_conversations(user_id="ada") == 1
    assert [entry.user_id for entry in (await storage.list_history_entries()).entries] == ["ada"]
