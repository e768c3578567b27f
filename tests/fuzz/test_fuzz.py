"""Whatever is stored or asked, only voltmem's own errors come out. `python -m tests.fuzz MINUTES` runs for longer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.asked import Asked
from tests.fuzz.grounds import Grounds, grounds, mutated
from tests.properties import examples
from voltmem import PostgresStorage
from voltmem._values import from_stored_json, to_json
from voltmem.adapters.pydantic_ai import VoltMemConversationStore
from voltmem.parts import to_openai

# The repr of a strategy with all words of the sources has pages; hypothesis makes it, and nobody reads it.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


@pytest.fixture
async def ground() -> AsyncIterator[Grounds]:
    async with grounds(count=0) as made:
        yield made


@pytest.fixture
async def sampled() -> AsyncIterator[Grounds]:
    async with grounds(count=1) as made:
        yield made


def raise_first(failed: dict[str, BaseException]) -> None:
    for where, error in failed.items():
        error.add_note(f"reader: {where}")
        raise error


@examples(8)
@given(data=st.data())
async def test_readers_of_any_rows_raise_our_errors_only(data: st.DataObject, sampled: Grounds) -> None:
    """Every reader of rows of any shape, the adapters' and the web's too, returns or raises an error of voltmem's."""
    raise_first(await sampled.read(data.draw(sampled.rows)))


@examples(100)
@given(data=st.data())
async def test_no_request_is_an_error_of_the_server(data: st.DataObject, ground: Grounds) -> None:
    """Any method, path, query, header and body has an answer below 500, and nothing is logged as an error."""
    await ground.ask(data.draw(ground.requests))


@examples(40)
@given(data=st.data())
async def test_any_cursor_and_token_is_read_or_refused(data: st.DataObject, ground: Grounds) -> None:
    """Changed cursors, tokens and ids of files are places, nothing, or an error of voltmem's."""
    token = data.draw(st.sampled_from(ground.known.ids).flatmap(mutated))
    raise_first(await ground.list_after(data.draw(ground.cursors), token))


# --- what was found -----------------------------------------------------------------------------------------------

Row = dict[str, Any]
DEEP = "[" * 5000 + "]" * 5000


def row(*messages: Row, **others: Any) -> Row:
    """Return the rows of a conversation with these messages."""
    plain: Row = {"title": None, "metadata": None, "tags": [], "payloads": [], "revision": None, "step_exact": None}
    said = [{"role": "user", "type": "text", "content": "words", **each} for each in messages or ({},)]
    return plain | {"messages": said, "run": [None] * 5, "step": "{}", "event": [None] * 6} | others


@pytest.mark.parametrize("stored", ['"text"', "[1]", "7", "null", "[" * 500 + "]" * 500, '{"n": 1e999, "m": [-1e999]}'])
async def test_metadata_of_any_shape_is_read(stored: str, ground: Grounds) -> None:
    """Metadata that is no object, which only another program stores, is read as empty everywhere."""
    raise_first(await ground.read(row({"metadata": stored}, metadata=stored)))

    for found in (await ground.storage.get_conversation("c1"), await ground.storage.get_message("ada", "c1", "m0")):
        assert found is not None
        assert isinstance(found.metadata, dict)


@pytest.mark.parametrize(
    "stored", [DEEP, f'{{"a": {DEEP}}}', "9" * 5000, f'["{DEEP}", {"9" * 5000}]', '"\\ud800"', "1e999"]
)
async def test_content_of_any_size_is_read(stored: str, ground: Grounds) -> None:
    """Content and payloads that are too deep, or have too many digits, make nothing else unreadable."""
    message = {"content_json": stored, "payload": stored, "format": "langchain"}
    raise_first(await ground.read(row(message, {"format": "openai-chat", "payload": stored}, {"content": stored})))

    assert [each.role for each in await ground.storage.get_messages("ada", "c1")] == ["user"] * 3


def test_json_that_python_cannot_hold_is_text() -> None:
    """A value of too many levels is its JSON text, an integer of too many digits a string, and all can be written."""
    assert from_stored_json(DEEP) == DEEP
    assert from_stored_json('{"n": -' + "9" * 5000 + "}") == {"n": "-" + "9" * 5000}
    assert from_stored_json("[" * 202 + "]" * 202) == json.loads("[" * 202 + "]" * 202)
    assert from_stored_json('"' + "[" * 300 + '"') == "[" * 300
    assert json.loads(to_json(from_stored_json("[1e999, -1e999, 1e2]"))) == [10**309, -(10**309), 100.0]


async def test_a_result_with_a_lone_surrogate_is_converted(storage: PostgresStorage) -> None:
    """A tool's result with a lone surrogate is JSON in every provider's form."""
    call = {"type": "tool-call", "toolCallId": "k", "toolName": "f", "args": {}}
    result = {"type": "tool-result", "toolCallId": "k", "toolName": "f", "result": {"text": "\ud83d"}}
    memory = storage.conversation("ada", "c1")
    await memory.add({"role": "assistant", "type": "tool-call", "content": [call]})
    await memory.add({"role": "tool", "type": "tool-result", "content": [result]})

    assert json.loads(str(to_openai(await memory.messages())[-1]["content"])) == {"text": "\ud83d"}


async def test_the_exact_text_of_a_field_may_be_no_json(ground: Grounds) -> None:
    """A step whose exact texts another program has written is read without them."""
    raise_first(await ground.read(row(step='{"content": 1}', step_exact='{"content": "{", "name": ""}')))

    step = await ground.storage.get_history_step("s1")
    assert step is not None
    assert step.content == 1


@pytest.mark.parametrize("stored", ['"application"', "[]", "{}", '{"branches": 7}'])
async def test_a_record_that_pydantic_ai_cannot_read_is_made_anew(stored: str, ground: Grounds) -> None:
    """A conversation whose record is none is loaded from its messages."""
    raise_first(await ground.read(row(payloads=[("pydantic-ai", stored)], revision="r1")))

    loaded = await VoltMemConversationStore(ground.storage, user_id="ada").load("c1")
    assert loaded is not None
    assert len(loaded.messages) == 1


@pytest.mark.parametrize("query", [b"\x91", b"q=\xff&limit=1", "q=é".encode("latin-1"), b"%ff=%ff"])
async def test_a_query_may_have_any_bytes(query: bytes, ground: Grounds) -> None:
    """A query that is no UTF-8 is read as far as it goes, or refused."""
    headers = [(b"x-user", b"ada"), (b"host", b"test")]
    for path in (b"/api/threads", b"/api/conversations", b"/api/search", b"/api/conversations/c1/messages"):
        assert await ground.ask(Asked("GET", path, query, headers, [b""], is_cut_off=False)) in (200, 422)
