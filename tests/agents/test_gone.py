"""What was deleted for good is not created again by a handle that has seen it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from tests.agents.talk import says
from tests.calls import PATIENCE, wait_until_blocked
from tests.conftest import Connection, MakeStorage
from voltmem import (
    ConversationMemory,
    ConversationNotFoundError,
    MessageNotFoundError,
    NativeMemory,
    PostgresStorage,
    RevisionConflictError,
)

Delete = Callable[[PostgresStorage], Awaitable[object]]
See = Callable[[NativeMemory], Awaitable[object]]
Write = Callable[[NativeMemory], Awaitable[object]]


async def purge(storage: PostgresStorage) -> None:
    await storage.soft_delete_conversation("c1")
    await storage.purge_deleted_conversations()


DELETIONS: Final[dict[str, Delete]] = {
    "delete_conversation": lambda storage: storage.delete_conversation("c1"),
    "delete_user": lambda storage: storage.delete_user("ada"),
    "purge_deleted_conversations": purge,
}
SEEING: Final[dict[str, See]] = {
    "add": lambda memory: memory.add(says("user", "Hello")),
    "add_turn": lambda memory: memory.add_turn([says("user", "Hello")]),
    "title": lambda memory: memory.title("Mine"),
    "clear": lambda memory: memory.clear(),
    "save_payload": lambda memory: memory.save_payload(1, "form"),
    "messages": lambda memory: memory.messages(),
    "exchanges": lambda memory: memory.exchanges(),
    "newest_messages": lambda memory: memory.newest_messages(),
    "messages_since": lambda memory: memory.messages_since("form", 1),
    "payload": lambda memory: memory.payload("form"),
    "pop": lambda memory: memory.pop(),
    "lock": lambda memory: memory.lock(),
}
WRITING: Final[dict[str, Write]] = {
    "add": lambda memory: memory.add(says("assistant", "Hi")),
    "add_turn": lambda memory: memory.add_turn([says("assistant", "Hi")]),
    "title": lambda memory: memory.title("Mine"),
    "title if_unset": lambda memory: memory.title("Mine", if_unset=True),
    "save_payload": lambda memory: memory.save_payload(1, "form"),
    "save_payload expecting none": lambda memory: memory.save_payload(1, "form", expected_revision=None),
}


@pytest.fixture
def memory(storage: PostgresStorage) -> NativeMemory:
    """Ada's conversation c1, which does not exist yet."""
    return NativeMemory(storage, "ada", "c1")


# --- conversations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
@pytest.mark.parametrize("write", WRITING.values(), ids=WRITING)
async def test_a_conversation_that_was_seen_is_not_created_again(
    storage: PostgresStorage, memory: NativeMemory, delete: Delete, write: Write
) -> None:
    """After the first write of a handle, its later writes raise if the conversation was deleted for good."""
    await memory.add(says("user", "Hello"))
    await delete(storage)

    with pytest.raises(ConversationNotFoundError):
        await write(memory)

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize("see", SEEING.values(), ids=SEEING)
async def test_every_method_sees_the_conversation(storage: PostgresStorage, memory: NativeMemory, see: See) -> None:
    """A handle has seen a conversation that one of its methods has read or written."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await see(memory)
    await storage.delete_conversation("c1")

    with pytest.raises(ConversationNotFoundError):
        await memory.add(says("assistant", "Hi"))

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize("see", [SEEING[name] for name in ("messages", "exchanges", "clear", "payload", "pop", "lock")])
async def test_a_missing_conversation_is_created_after_a_read(
    storage: PostgresStorage, memory: NativeMemory, see: See
) -> None:
    """A handle that has read an empty, missing conversation creates it with its first write."""
    await see(memory)
    await memory.add(says("user", "Hello"))

    assert await storage.get_user_conversation("c1", "ada") is not None


async def test_a_handle_may_continue_a_conversation_that_others_created_again(
    storage: PostgresStorage, memory: NativeMemory
) -> None:
    """If somebody creates the conversation again, a handle that has seen the first one writes to it."""
    await memory.add(says("user", "Hello"))
    await storage.delete_conversation("c1")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    await memory.add(says("assistant", "Hi"))

    assert [each.text for each in await storage.get_messages("ada", "c1")] == ["Hi"]


async def test_a_deletion_that_a_write_waits_for_counts(
    storage: PostgresStorage, memory: NativeMemory, connection: Connection
) -> None:
    """A write that waits for the lock of a deletion that is then committed raises, too."""
    await memory.add(says("user", "Hello"))
    for write in WRITING.values():
        await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
        async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
            await tx.delete_conversation("c1")
            writing = asyncio.create_task(_outcome(write(memory)))
            await wait_until_blocked(connection, tx.connection)

        assert isinstance(await writing, ConversationNotFoundError)
        assert await storage.count_conversations() == 0


async def _outcome(called: Awaitable[object]) -> object:
    try:
        return await called
    except ConversationNotFoundError as error:
        return error


async def test_memories_of_one_conversation_see_together(storage: PostgresStorage, memory: NativeMemory) -> None:
    """of() returns a memory that has seen what the other has, also for a transaction; expect_existing() needs none."""
    plain = ConversationMemory.of(memory)
    await plain.add(says("user", "Hello"))
    await storage.delete_conversation("c1")

    with pytest.raises(ConversationNotFoundError):
        await memory.add(says("assistant", "Hi"))
    with pytest.raises(ConversationNotFoundError):
        async with storage.transaction() as tx:
            await NativeMemory.of(memory, tx).add(says("assistant", "Hi"))
    with pytest.raises(ConversationNotFoundError):
        await NativeMemory(storage, "ada", "c1").expect_existing().add(says("assistant", "Hi"))


async def test_an_expected_revision_of_a_deleted_conversation_is_an_error(
    storage: PostgresStorage, memory: NativeMemory
) -> None:
    """save_payload() with a revision raises for a deleted conversation, whoever has seen it."""
    await memory.save_payload(1, "form", revision="1")
    await storage.delete_conversation("c1")

    with pytest.raises(ConversationNotFoundError):
        await memory.save_payload(2, "form", revision="2", expected_revision="1")
    with pytest.raises(RevisionConflictError):
        await NativeMemory(storage, "ada", "c1").save_payload(2, "form", revision="2", expected_revision="1")


# --- messages --------------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_deleted_does_not_grow_on(storage: PostgresStorage, memory: NativeMemory) -> None:
    """add() of a memory replaces the message that it has added; if it was deleted meanwhile, it raises."""
    await memory.add(says("user", "?", id="q"))
    await memory.add(says("assistant", "On", id="a"))
    await memory.add(says("assistant", "Once", id="a"))
    await storage.delete_messages(["a"], "ada", "c1")

    with pytest.raises(MessageNotFoundError, match="'a'"):
        await memory.add(says("assistant", "Once upon", id="a"))
    with pytest.raises(MessageNotFoundError, match="'a'"):
        await memory.add_turn([says("assistant", "new", id="b"), says("assistant", "Once upon", id="a")])

    assert [each.id for each in await storage.get_messages("ada", "c1")] == ["q"]


async def test_another_handle_may_add_a_message_again(storage: PostgresStorage, memory: NativeMemory) -> None:
    """A handle that has not added the message, or has cleared the conversation since, adds it."""
    await memory.add(says("assistant", "On", id="a"))
    await storage.delete_messages(["a"], "ada", "c1")
    await storage.conversation("ada", "c1").add(says("assistant", "On", id="a"))

    await memory.clear()
    await memory.add(says("assistant", "Once", id="a"))
    assert await memory.pop() is not None
    await memory.add(says("assistant", "Once", id="a"))

    assert [each.text for each in await storage.get_messages("ada", "c1")] == ["Once"]


@pytest.mark.parametrize("limit", [0, 2])
async def test_a_message_that_the_limit_deleted_may_be_added_again(make_storage: MakeStorage, limit: int) -> None:
    """A handle does not count what storage_limit deletes after its own writes as deleted by somebody."""
    storage = make_storage(storage_limit=limit)
    memory = storage.conversation("ada", "c1")
    for id in ("a", "b", "c", "a"):
        await memory.add(says("assistant", id, id=id))

    assert [each.id for each in await storage.get_messages("ada", "c1", limit=None)] == ["c", "a"][:limit]


async def test_add_message_replaces_known_messages_only(storage: PostgresStorage) -> None:
    """add_messages(known=…) stores nothing if one of the known messages is missing; others are added."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message(says("user", "one", id="m1"), "ada", "c1")

    await storage.add_messages([says("user", "1", id="m1"), says("user", "2", id="m2")], "ada", "c1", known={"m1", "x"})
    with pytest.raises(MessageNotFoundError, match="'m3'"):
        await storage.add_messages(
            [says("user", "4", id="m4"), says("user", "3", id="m3")], "ada", "c1", known=["m3", "m1"]
        )
    with pytest.raises(ConversationNotFoundError):
        await storage.add_message(says("user", "1", id="m1"), "eve", "c1", known=["m1"])

    assert [(each.id, each.text) for each in await storage.get_messages("ada", "c1")] == [("m1", "1"), ("m2", "2")]


async def test_calls_in_one_batch_have_their_own_outcomes(storage: PostgresStorage) -> None:
    """A call with a known message that is missing fails alone, wherever it stands in the batch."""
    for id in ("c1", "c2"):
        await storage.ensure_conversation({"id": id, "user_id": "ada"})
    ids = [(conversation, f"m{number}") for conversation in ("c1", "c2", "c3") for number in range(6)]

    outcomes = await asyncio.gather(
        *(
            storage.add_message(says("user", id, id=id), "ada", conversation, known=[id] if int(id[1:]) % 2 else [])
            for conversation, id in ids
        ),
        return_exceptions=True,
    )

    for (conversation, id), outcome in zip(ids, outcomes, strict=True):
        if conversation == "c3":
            assert isinstance(outcome, ConversationNotFoundError)
        elif int(id[1:]) % 2:
            assert isinstance(outcome, MessageNotFoundError)
            assert f"{id!r}" in str(outcome)
        else:
            assert not isinstance(outcome, BaseException)
    for conversation in ("c1", "c2"):
        assert [each.id for each in await storage.get_messages("ada", conversation)] == ["m0", "m2", "m4"]


async def test_a_known_message_in_a_locked_conversation_waits(storage: PostgresStorage, connection: Connection) -> None:
    """A call for a locked conversation waits, and then sees what the holder of the lock has deleted."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message(says("user", "one", id="m1"), "ada", "c1")
    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await tx.delete_messages(["m1"], "ada", "c1")
        growing = asyncio.create_task(storage.add_message(says("user", "1", id="m1"), "ada", "c1", known=["m1"]))
        await wait_until_blocked(connection, tx.connection)

    with pytest.raises(MessageNotFoundError):
        await growing
