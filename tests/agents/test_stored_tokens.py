"""The numbers of tokens that a storage with count_tokens=True keeps beside messages, and the windows of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.across.columns import CANNOT, WRITERS
from tests.across.said import CONVERSATIONS
from tests.agents.talk import Fields, asks, says
from tests.agents.test_memory_windows import any_conversation
from tests.agents.test_windows_of_tokens import expected, long_words
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from tests.voltagent import add_message, upgrade
from voltmem import PostgresStorage
from voltmem._areas.token_counts import tokens_of
from voltmem._areas.window_query import WindowQuery
from voltmem._values import uuid7
from voltmem.tokens import estimate_tokens

TEXT = "The quick brown fox jumps over the lazy dog. " * 20


@pytest.fixture
async def counting(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """An open storage that keeps all messages, and counts their tokens."""
    storage = make_storage(storage_limit=None, count_tokens=True)
    await storage.open()
    return storage


async def stored(storage: PostgresStorage, connection: Connection, conversation: str = "c1") -> dict[str, int | None]:
    """Return the stored numbers of tokens by message, in the order of adding."""
    rows = await connection.fetch(
        f"SELECT message_id, tokens FROM {storage._options.tables.messages} WHERE conversation_id = $1 ORDER BY seq",
        conversation,
    )
    return {row["message_id"]: row["tokens"] for row in rows}


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", [name for name in WRITERS if not name.startswith(("VoltAgent", "ChatGPT"))])
async def test_add_messages_counts_what_each_front_end_stores(
    writer: str, make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """Whoever stores a message with count_tokens=True, its number of tokens is what a window would count."""
    storage = make_storage(storage_limit=None, count_tokens=True, files="extract")
    for name, conversation in CONVERSATIONS.items():
        if name in CANNOT.get(writer, frozenset()):
            continue
        await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
        await WRITERS[writer](storage, conversation)
        counts = await stored(storage, connection)
        found = await storage.get_conversation_messages("c1", limit=None)
        assert counts
        assert counts == {message.id: tokens_of(message, estimate_tokens) for message in found}, name
        await storage.delete_conversation("c1")


async def test_add_message_counts_an_edited_message_again(
    counting: PostgresStorage, make_storage: MakeStorage, connection: Connection
) -> None:
    """An edit renews the number; one by a storage that does not count removes it, and a fork takes it along."""
    memory = counting.conversation("ada", "c1")
    await memory.add({"id": "m1", "role": "user", "content": "short"})
    await memory.add_turn([{"id": id, "role": "user", "content": TEXT} for id in ("m2", "m3")])
    first, second, _ = (await stored(counting, connection)).values()
    assert first is not None
    assert second is not None
    assert 5 <= first < 10 < 100 < second

    for message in (
        {"id": "m1", "role": "user", "content": TEXT},  # alone
        {"id": "m2", "role": "user", "content": "short", "created_at": datetime.now(UTC)},  # with a time
    ):
        await memory.add(message)
    await make_storage(storage_limit=None).add_message({"id": "m3", "role": "user", "content": "x"}, "ada", "c1")
    assert await stored(counting, connection) == {"m1": second, "m2": first, "m3": None}

    await counting.fork_conversation("c1", id="c2")
    assert await stored(counting, connection, "c2") == {"m1": second, "m2": first, "m3": None}


async def test_add_message_stores_no_tokens_unless_asked_to(storage: PostgresStorage, connection: Connection) -> None:
    """Without count_tokens, a storage neither counts nor stores numbers of tokens."""
    await storage.add_messages([says("user"), says("assistant")], "ada", "c1", resource_id="r")
    await storage.add_message(says("user"), "ada", "c1")
    assert set((await stored(storage, connection)).values()) == {None}


# --- windows ---------------------------------------------------------------------------------------------------------


@given(
    any_conversation,
    st.lists(long_words, min_size=30, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.lists(st.integers(0, 600), min_size=4),
)
@examples(40)
async def test_memory_messages_of_tokens_are_the_same_with_stored_counts(
    counting: PostgresStorage,
    unlimited: PostgresStorage,
    conversation: list[Fields],
    texts: list[str],
    are_counted: list[bool],
    budgets: list[int],
) -> None:
    """messages(tokens=…) is the same window whether the numbers of all, some or no messages are stored."""
    id = uuid7()
    for message, text, is_counted in zip(conversation, texts, are_counted, strict=False):
        if isinstance(message["content"], str):
            message["content"] = text
        await (counting if is_counted else unlimited).add_message(message, "ada", id, resource_id="r")
    every = await unlimited.get_conversation_messages(id, limit=None)

    for storage in (counting, unlimited):
        memory = storage.conversation("ada", id)
        for budget in budgets:
            assert await memory.messages(tokens=budget) == expected(every, budget)
            assert await memory.messages(tokens=budget, count=len) == expected(every, budget, len)
            short = await memory.messages(tokens=budget, shorten_results=100)
            assert len(short) >= len(expected(every, budget))


async def test_memory_messages_of_tokens_take_stored_counts(counting: PostgresStorage, connection: Connection) -> None:
    """A stored number is taken as it is, and no row is read beyond the budget; a result made short is counted anew."""
    memory = counting.conversation("ada", "c1")
    await memory.add_turn([{"id": f"m{number}", "role": "user", "content": "word"} for number in range(100)])
    tables = counting._options.tables
    await connection.execute(f"UPDATE {tables.messages} SET tokens = 30")

    assert len(await memory.messages(tokens=100)) == 3
    query = WindowQuery("c1", "ada", limit=25, tokens=100, tokens_of_message=4, bytes_a_token=20, are_counted=True)
    sql, arguments = query.sql(tables)
    assert len(await connection.fetch(sql, *arguments)) == 1 + 3  # the first message comes with each window
    assert len(await memory.messages(tokens=100, count=len)) == 12

    await memory.add_turn([asks("a"), {"role": "tool", "tool_call_id": "a", "content": TEXT * 10}])
    assert await memory.messages(tokens=300) == []
    assert len(await memory.messages(tokens=300, shorten_results=200)) > 2


async def test_memory_messages_of_tokens_count_what_voltagent_replaced(
    counting: PostgresStorage, connection: Connection, migrated: str
) -> None:
    """The number of a message that VoltAgent has replaced is not taken: VoltAgent does not renew it."""
    memory = counting.conversation("ada", "c1")
    await memory.add({"id": "m1", "role": "user", "content": "word"})
    await upgrade(connection, migrated)
    parts = [{"type": "text", "text": TEXT}]
    await add_message(connection, "2.1.2", migrated, "c1", "m1", "ada", parts, datetime.now(UTC))

    assert await memory.messages(tokens=50) == []
    (message,) = await memory.messages(tokens=500)
    assert message.text == TEXT
