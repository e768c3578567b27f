"""VoltAgent's document: the messages of a conversation, and the handling of errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypedDict

import pytest

from tests.conftest import MakeStorage, Numbered
from tests.document.spellings import hours, ids, in_both_spellings
from voltmem import Message, PostgresStorage, VoltMemError

# --- Getting Conversation Messages -----------------------------------------------------------------------------------


class Batches(TypedDict):
    """The results of the block's first three calls, by the block's names."""

    messages: list[Message]
    first_batch: list[Message]
    next_batch: list[Message]


async def camel_messages(storage: PostgresStorage) -> Batches:
    return {
        "messages": await storage.getConversationMessages("conversation-456"),
        "first_batch": await storage.getConversationMessages("conversation-456", limit=50, offset=0),
        "next_batch": await storage.getConversationMessages("conversation-456", limit=50, offset=50),
    }


async def snake_messages(storage: PostgresStorage) -> Batches:
    return {
        "messages": await storage.get_conversation_messages("conversation-456"),
        "first_batch": await storage.get_conversation_messages("conversation-456", limit=50, offset=0),
        "next_batch": await storage.get_conversation_messages("conversation-456", limit=50, offset=50),
    }


@pytest.fixture
def long_conversation(make_storage: MakeStorage, numbered: Numbered) -> Callable[[int], Awaitable[PostgresStorage]]:
    """Makes a storage without a limit, with a number of messages in conversation-456."""

    async def make(count: int) -> PostgresStorage:
        storage = make_storage(storage_limit=None)
        await storage.create_conversation({"id": "conversation-456", "user_id": "user-123"})
        await storage.add_messages([numbered(number) for number in range(count)], "user-123", "conversation-456")
        return storage

    return make


LongConversation = Callable[[int], Awaitable[PostgresStorage]]


@in_both_spellings(camel_messages, snake_messages)
async def test_getting_conversation_messages_returns_them_from_the_oldest_on(
    block: Callable[[PostgresStorage], Awaitable[Batches]], long_conversation: LongConversation
) -> None:
    """Without options the first 100 messages are returned, with limit and offset that part; always the oldest first."""
    storage = await long_conversation(101)

    batches = await block(storage)

    assert ids(batches["messages"]) == [f"m{number}" for number in range(100)]
    assert ids(batches["first_batch"]) == [f"m{number}" for number in range(50)]
    assert ids(batches["next_batch"]) == [f"m{number}" for number in range(50, 100)]


async def camel_batch_loop(storage: PostgresStorage, process_batch: Callable[[list[Message]], None]) -> None:
    batch_size = 100
    offset = 0
    has_more = True
    while has_more:
        batch = await storage.getConversationMessages("conversation-456", limit=batch_size, offset=offset)
        process_batch(batch)
        has_more = len(batch) == batch_size
        offset += batch_size


async def snake_batch_loop(storage: PostgresStorage, process_batch: Callable[[list[Message]], None]) -> None:
    batch_size = 100
    offset = 0
    has_more = True
    while has_more:
        batch = await storage.get_conversation_messages("conversation-456", limit=batch_size, offset=offset)
        process_batch(batch)
        has_more = len(batch) == batch_size
        offset += batch_size


@in_both_spellings(camel_batch_loop, snake_batch_loop)
@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (99, [99]), (100, [100, 0]), (250, [100, 100, 50])], ids=str)
async def test_getting_conversation_messages_in_batches_meets_each_once(
    block: Callable[..., Awaitable[None]], count: int, sizes: list[int], long_conversation: LongConversation
) -> None:
    """The loop that continues while a batch is full ends, and has processed every message once, in order."""
    storage = await long_conversation(count)
    batches: list[list[Message]] = []

    def process_batch(batch: list[Message]) -> None:
        batches.append(batch)
        assert len(batches) <= len(sizes), "the loop does not end"

    await block(storage, process_batch)

    assert [len(batch) for batch in batches] == sizes
    assert ids([message for batch in batches for message in batch]) == [f"m{number}" for number in range(count)]


async def test_getting_conversation_messages_is_chronological_whatever_the_order_of_adding(
    storage: PostgresStorage, numbered: Numbered
) -> None:
    """Messages are returned in chronological order (oldest first), in whatever order they were added."""
    await storage.create_conversation({"id": "conversation-456", "user_id": "user-123"})
    for number in (2, 0, 1):
        await storage.add_message({**numbered(number), "createdAt": hours(number)}, "user-123", "conversation-456")

    messages = await storage.get_conversation_messages("conversation-456")

    assert ids(messages) == ["m0", "m1", "m2"]


# --- Error Handling --------------------------------------------------------------------------------------------------


async def camel_error_handling(
    storage: PostgresStorage, message: Mapping[str, object], user_id: str, conversation_id: str
) -> str:
    try:
        await storage.addMessage(message, user_id, conversation_id)
    except VoltMemError as error:
        if "foreign key constraint" in str(error):
            return "Conversation does not exist"
        return f"Database error: {error}"
    return "stored"


async def snake_error_handling(
    storage: PostgresStorage, message: Mapping[str, object], user_id: str, conversation_id: str
) -> str:
    try:
        await storage.add_message(message, user_id, conversation_id)
    except VoltMemError as error:
        if "foreign key constraint" in str(error):
            return "Conversation does not exist"
        return f"Database error: {error}"
    return "stored"


ErrorHandling = Callable[[PostgresStorage, Mapping[str, object], str, str], Awaitable[str]]


@in_both_spellings(camel_error_handling, snake_error_handling)
@pytest.mark.parametrize(
    ("user_id", "conversation_id", "expected"),
    [
        ("ada", "c1", "stored"),
        ("ada", "c2", "Conversation does not exist"),
        ("grace", "c1", "Conversation does not exist"),
    ],
)
async def test_error_handling_recognises_a_missing_conversation(
    block: ErrorHandling,
    user_id: str,
    conversation_id: str,
    expected: str,
    storage: PostgresStorage,
    numbered: Numbered,
) -> None:
    """A handler that looks for "foreign key constraint" in the message recognises a missing conversation."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    answer = await block(storage, numbered(1), user_id, conversation_id)

    assert answer == expected
    assert len(await storage.get_conversation_messages("c1")) == (1 if expected == "stored" else 0)


@in_both_spellings(camel_error_handling, snake_error_handling)
async def test_error_handling_distinguishes_other_errors(
    block: ErrorHandling, make_storage: MakeStorage, numbered: Numbered
) -> None:
    """Other errors of the database do not have "foreign key constraint" in their text."""
    nowhere = make_storage("postgresql://ada@127.0.0.1:1/nowhere", retry_timeout=0.1)

    answer = await block(nowhere, numbered(1), "ada", "c1")

    assert answer.startswith("Database error: cannot reach PostgreSQL")
