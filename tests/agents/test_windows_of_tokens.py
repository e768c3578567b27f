"""The windows of a memory that fit a model's context, and the results of tools made short for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.agents.talk import Fields, answers, asks, says
from tests.agents.test_memory_windows import any_conversation
from tests.conftest import Connection, MakeStorage
from tests.dialogues import Dialogues, with_dialogues
from tests.plans import assert_walks, plan
from tests.properties import examples
from tests.proxy import Proxy
from tests.said import tool_results, written
from voltmem import InvalidQueryError, Message, PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem._agents.short_results import shortened
from voltmem._agents.windows import tool_turns, window
from voltmem._areas.token_counts import TOKENS_OF_FILE, TOKENS_OF_MESSAGE, tokens_of
from voltmem._areas.window_query import WindowQuery
from voltmem._tables import Tables
from voltmem._values import to_json, uuid7
from voltmem.options import DEFAULT_TABLE_PREFIX
from voltmem.parts import ToolResult, parts
from voltmem.tokens import BYTES_A_TOKEN, CountTokens, Encoding, estimate_tokens


def weight(messages: Sequence[Message], count: CountTokens = estimate_tokens) -> int:
    return sum(tokens_of(message, count) for message in messages)


def expected(every: Sequence[Message], tokens: int, count: CountTokens = estimate_tokens) -> list[Message]:
    """Return the window over all messages, computed in Python."""
    if not tokens:
        return []
    system = [message for message in every[:1] if message.role == "system"]
    room = tokens - weight(system, count)
    return system + window(tool_turns(every[len(system) :]), room, lambda each: tokens_of(each, count))[0]


# --- the window ------------------------------------------------------------------------------------------------------

long_words = st.sampled_from(["words", "漢字" * 40, " " * 300, "=" * 500, "\n" * 90, "{" + "x" * 200, "a b " * 100, ""])


@given(any_conversation, st.lists(long_words, min_size=30, max_size=30), st.lists(st.integers(0, 600), min_size=4))
@examples(60)
async def test_memory_messages_of_tokens_are_the_longest_window_that_fits(
    unlimited: PostgresStorage, conversation: list[Fields], texts: list[str], budgets: list[int]
) -> None:
    """messages(tokens=…) equals the window that Python computes from the whole conversation, however it counts."""
    for message, text in zip(conversation, texts, strict=False):
        if isinstance(message["content"], str):
            message["content"] = text
    memory = unlimited.conversation("ada", uuid7())
    every = await memory.add_turn(conversation)

    for budget in budgets:
        found = await memory.messages(tokens=budget)
        assert found == expected(every, budget)
        assert weight(found) <= budget or found == every[:1]
        assert await memory.messages(tokens=budget, count=len) == expected(every, budget, len)
    assert await memory.messages(tokens=2**63 - 1) == await memory.messages(limit=None)


async def test_memory_messages_of_tokens_end_where_a_result_lacks_its_call(unlimited: PostgresStorage) -> None:
    """A result without its call takes no message with it, though the rows that are read first may not have the call."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn([says("user"), says("user"), answers("a")])

    assert await memory.messages(tokens=weight(every[1:2])) == every[1:2]


@with_dialogues
async def test_memory_messages_of_tokens_fit_for_dialogues(dialogues: Dialogues, unlimited: PostgresStorage) -> None:
    """messages(tokens=…) of dialogues equals Python's window, and the next older turn would not fit."""
    for dialogue in [*dialogues][:20]:
        memory = unlimited.conversation("ada", dialogue["id"])
        every = await memory.add_turn(dialogue["messages"])
        for budget in (10, 50, 100, 200, 400):
            assert await memory.messages(tokens=budget) == expected(every, budget)


async def test_memory_messages_of_tokens_keep_the_system_message(unlimited: PostgresStorage) -> None:
    """messages(tokens=…) keeps the system message, which counts, also if there is room for nothing else."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn([says("system", "Be kind. " * 20), says("user", "Hello"), says("assistant", "Hi")])
    system = weight(every[:1])

    assert await memory.messages(tokens=system + weight(every[1:])) == every
    assert await memory.messages(tokens=system + weight(every[1:]) - 1) == [every[0], every[2]]
    assert await memory.messages(tokens=1) == every[:1]
    assert await memory.messages(tokens=0) == []


async def test_memory_messages_of_tokens_have_whole_tool_turns(unlimited: PostgresStorage) -> None:
    """messages(tokens=…) has a call together with its result, or neither."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn([says("user"), asks("a"), answers("a"), says("assistant")])
    turn = weight(every[1:])

    assert await memory.messages(tokens=turn) == every[1:]
    assert await memory.messages(tokens=turn - 1) == every[3:]


@pytest.mark.parametrize(
    ("content", "at_least", "at_most"),
    [
        ("hi", 5, 5),
        ([written(ToolResult("a", "found " * 100, "search"))], 100, 150),
        ([{"type": "tool-call", "toolCallId": "a", "toolName": "search", "args": {"query": "sun " * 100}}], 100, 160),
        ([{"type": "reasoning", "text": "hmm " * 100}], 100, 150),
        (
            [{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64," + "iVBORw0K" * 10_000}],
            1004,
            1004,
        ),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0K" * 10_000}}], 1004, 1004),
        (
            [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [
                        {"type": "text", "text": "a picture"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iV" * 9000}},
                    ],
                }
            ],
            TOKENS_OF_FILE,
            TOKENS_OF_FILE + 60,
        ),
    ],
)
def test_the_tokens_of_a_message_are_of_every_part(content: JsonValue, at_least: int, at_most: int) -> None:
    """Calls, results, reasoning and text count; a picture has a fixed price, whatever its bytes."""
    for message in (Message(role="user", content=content), Message.of({"role": "assistant", "content": content})):
        assert at_least <= tokens_of(message, estimate_tokens) <= at_most


@pytest.mark.parametrize("count", ["o200k", "cl100k"])
async def test_memory_messages_of_tokens_count_as_they_are_told(count: Encoding, unlimited: PostgresStorage) -> None:
    """messages(tokens=…, count=…) counts by the estimate of that tokenizer: Hindi has more in cl100k."""
    memory = unlimited.conversation("ada", "c1")
    await memory.add_turn([says("user", "नमस्ते, आप कैसे हैं? " * 3)] * 20)

    found = await memory.messages(tokens=300, count=count)

    assert len(found) == {"o200k": 10, "cl100k": 4}[count]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": -1}, "tokens must be 0 or more"),
        ({"tokens": True}, "tokens must be a whole number"),
        ({"tokens": 10, "limit": 5}, "limit, which counts messages, turns and tokens: pass one of them"),
        ({"tokens": 10, "limit": None}, "limit, which counts messages, turns and tokens: pass one of them"),
        ({"tokens": 10, "turns": 1}, "limit, which counts messages, turns and tokens: pass one of them"),
        ({"tokens": 10, "count": "gpt2"}, "encoding must be one of o200k, cl100k, not 'gpt2'"),
        ({"tokens": 10, "count": asyncio.sleep}, "count is an async function"),
        ({"tokens": 10, "count": 4}, "encoding must be one of o200k, cl100k, not 4"),
        ({"shorten_results": 99}, "shorten_results must be 100 or more"),
        ({"limit": 5, "count": "gpt2"}, "encoding must be one of o200k, cl100k, not 'gpt2'"),
        ({"tokens": "8000", "recall": "ferry"}, "tokens must be a whole number"),
        ({"limit": 5, "turns": 5, "recall": "ferry"}, "limit, which counts messages, turns and tokens"),
    ],
)
async def test_memory_messages_refuse_what_is_no_budget(
    arguments: dict[str, Any], message: str, storage: PostgresStorage
) -> None:
    """messages() raises InvalidQueryError for wrong tokens, count and shorten_results, before SQL runs."""
    with pytest.raises(InvalidQueryError, match=re.escape(message)):
        await storage.conversation("ada", "c1").messages(**arguments)


@pytest.mark.parametrize("counted", [None, -1, True, "4", 4.0])
async def test_memory_messages_refuse_a_count_that_is_no_number(counted: Any, storage: PostgresStorage) -> None:
    """A function that counts something else than tokens is an error that shows what it returned."""
    memory = storage.conversation("ada", "c1")
    await memory.add({"role": "user", "content": "hello"})

    with pytest.raises(InvalidQueryError, match=f"count returned {counted!r}, which is no number of tokens"):
        await memory.messages(tokens=50, count=lambda _: counted)


async def test_native_messages_refuse_an_argument_that_they_do_not_know(storage: PostgresStorage) -> None:
    """A mistyped argument of an adapter's window is an error, not the whole conversation."""
    memory = NativeMemory.of(storage.conversation("ada", "c1"))
    with pytest.raises(InvalidQueryError, match="unknown argument 'turn': did you mean turns"):
        await memory.native_messages(turn=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_short_text_says_exactly_how_much_was_left_out() -> None:
    """What is kept and what is said to be left out are the whole text, and the result is not too long."""
    for length in (101, 1000, 10**6):
        for most in (100, 400, 999):
            short = shortened("x" * length, most)
            left_out = re.search(r"\n\[… ([\d,]+) characters left out …\]\n", short)
            assert len(short) <= most or short == "x" * length
            if left_out is not None:
                assert short.count("x") + int(left_out[1].replace(",", "")) == length


# --- its cost --------------------------------------------------------------------------------------------------------


async def test_memory_messages_of_tokens_take_one_round_trip(proxy: Proxy, make_storage: MakeStorage) -> None:
    """messages(tokens=…) is one round trip, also where the rows that are read begin within a tool turn."""
    storage = make_storage(proxy.dsn, max_connections=1, storage_limit=None)
    memory = storage.conversation("ada", "c1")
    turns = [[says("user"), asks(f"{n}a", f"{n}b"), answers(f"{n}a"), answers(f"{n}b")] for n in range(100)]
    await memory.add_turn([message for turn in turns for message in turn])
    await memory.messages(tokens=500)

    for budget in (50, 500, 50_000):
        before = proxy.round_trips
        await memory.messages(tokens=budget)
        assert proxy.round_trips - before == 1


@pytest.mark.parametrize("analysed", [False, True])
async def test_memory_messages_of_tokens_read_a_part_of_a_long_conversation(
    analysed: bool, connection: Connection, migrated: str
) -> None:
    """The statement reads a quarter as many rows as tokens at most, by the index, and returns what may fit."""
    tables = Tables(migrated, DEFAULT_TABLE_PREFIX)
    await connection.execute(f"""
        INSERT INTO {tables.conversations} (id, user_id, resource_id)
        SELECT 'c' || n, 'u' || n, 'r' FROM generate_series(1, 2000) AS n""")
    await connection.execute(f"""
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type)
        SELECT 'c1', 'm' || n, 'user', repeat('words ', 40), 'text' FROM generate_series(1, 8000) AS n""")
    if analysed:
        await connection.execute(f"ANALYZE {tables.conversations}, {tables.messages}")
    query = WindowQuery("c1", "u1", limit=1000, tokens=4000, tokens_of_message=4, bytes_a_token=BYTES_A_TOKEN)
    sql, arguments = query.sql(tables)

    shown = await plan(connection, sql, list(arguments))

    assert_walks("messages_in_line", shown)
    scans = [line for line in shown.splitlines() if "_messages_in_line" in line and "actual" in line]
    assert all(float(line.partition("rows=")[2].split()[0]) <= 1001 for line in scans), shown
    assert len(await connection.fetch(sql, *arguments)) == 1 + 4000 // (4 + 240 // BYTES_A_TOKEN)


# --- results of tools ------------------------------------------------------------------------------------------------

LONG = "".join(f"line {number}\n" for number in range(2000))
RESULTS: list[Fields] = [
    {"role": "tool", "content": [written(ToolResult("a", LONG, "search"))], "type": "tool-result"},
    {"role": "tool", "tool_call_id": "a", "content": LONG},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": LONG}]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": LONG}]}],
    },
    {"type": "function_call_output", "call_id": "a", "output": LONG},
    {
        "role": "tool",
        "content": [written(ToolResult("a", {"page": LONG, "ok": True}, "search"))],
        "type": "tool-result",
    },
    {"role": "tool", "content": [written(ToolResult("a", [*range(3000)], "search"))], "type": "tool-result"},
]


@pytest.mark.parametrize("result", RESULTS)
async def test_memory_messages_shorten_results_where_they_are_long(result: Fields, unlimited: PostgresStorage) -> None:
    """messages(shorten_results=…) says what it left out of a long result, in any form; what is stored stays whole."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn([says("user", LONG), asks("a"), result])

    for found in (
        await memory.messages(shorten_results=400),
        await memory.messages(tokens=99_999, shorten_results=400),
    ):
        (short,) = [part for message in found for part in tool_results(message)]
        text = short.value if isinstance(short.value, str) else to_json(short.value)
        assert 300 <= len(text) <= 800
        assert re.search(r"\[… [\d,]+ characters left out …\]", text)
        assert short.call_id == "a"
        assert found[0] == every[0], "what people say is never shortened"
    assert await memory.messages() == every
    assert await memory.messages(shorten_results=99_999) == every


@pytest.mark.parametrize("result", RESULTS)
async def test_native_messages_shorten_results_in_their_own_form(result: Fields, unlimited: PostgresStorage) -> None:
    """The framework's form of a message has the short result, too, so that its agent gets it."""
    memory = NativeMemory.of(unlimited.conversation("ada", "c1"))
    await memory.add_turn([says("user"), asks("a"), result])

    (*_, found) = await memory.native_messages(shorten_results=400)

    assert len(to_json(found.content)) < 1000
    assert len(to_json(found.payload)) < 1000
    (short,) = [part for part in parts(found) if isinstance(part, ToolResult)]
    assert "left out" in to_json(short.value)


async def test_memory_messages_of_tokens_have_room_for_what_is_short(unlimited: PostgresStorage) -> None:
    """messages(tokens=…, shorten_results=…) counts the short result, so that older turns fit as well."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn([says("user", "Hello"), asks("a"), RESULTS[0], says("assistant", "Found.")])

    assert await memory.messages(tokens=1000) == every[3:]
    found = await memory.messages(tokens=1000, shorten_results=400)
    assert [message.id for message in found] == [message.id for message in every]
    assert TOKENS_OF_MESSAGE * 4 < weight(found) <= 1000
