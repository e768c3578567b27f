"""Whose a working memory is, and writers of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.agents.conftest import content
from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import (
    ConversationNotFoundError,
    MemoryConflictError,
    MemoryRefusedError,
    PostgresStorage,
    WorkingMemory,
    WorkingMemoryHandle,
)


async def test_working_memory_is_one_users_or_one_conversations(storage: PostgresStorage) -> None:
    """Each user has a memory, and so has each conversation; for_user() has those of its user."""
    for id, user in (("c1", "ada"), ("c2", "ada"), ("b1", "bob")):
        await storage.create_conversation({"id": id, "user_id": user})
    ada = storage.for_user("ada")
    handles = [
        storage.working_memory("ada"),
        storage.working_memory("bob"),
        ada.working_memory("c1"),
        ada.working_memory("c2"),
    ]
    for number, handle in enumerate(handles):
        await handle.set(str(number))

    assert [await content(handle) for handle in handles] == ["0", "1", "2", "3"]
    assert await content(ada.working_memory()) == "0"
    assert (ada.working_memory("c1").user_id, ada.working_memory("c1").conversation_id) == ("ada", "c1")


@pytest.mark.parametrize("conversation", ["b1", "deleted", "absent"])
async def test_another_users_conversation_is_like_an_absent_one(storage: PostgresStorage, conversation: str) -> None:
    """A conversation of another user, a deleted one and one that does not exist have no memory, and get none."""
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    await storage.working_memory("bob", "b1").set("bob's")
    await storage.create_conversation({"id": "deleted", "user_id": "ada"})
    await storage.working_memory("ada", "deleted").set("deleted")
    await storage.soft_delete_conversation("deleted", owner="ada")
    memory = storage.working_memory("ada", conversation)

    assert await memory.get() is None
    assert await memory.history() == []
    assert await memory.delete(history=True) is False
    for write in (memory.set("x"), memory.append("x"), memory.merge({"a": 1}), memory.restore(1)):
        with pytest.raises(ConversationNotFoundError) as caught:
            await write
        assert caught.value.is_deleted is (conversation == "deleted")
    assert await content(storage.working_memory("bob", "b1")) == "bob's"
    if conversation == "deleted":
        await storage.restore_conversation("deleted", owner="ada")
        assert await content(memory) == "deleted"


async def test_writers_at_once_lose_nothing(memory: WorkingMemoryHandle) -> None:
    """Of any number of concurrent appends, all are kept, each as a version of its own."""
    await asyncio.gather(*(memory.append(f"- {number}") for number in range(20)))

    found = await memory.get()

    assert found is not None
    assert sorted(found.content.split("\n\n")) == sorted(f"- {number}" for number in range(20))
    assert found.version == 20


async def test_of_writers_at_once_with_the_same_version_one_wins(memory: WorkingMemoryHandle) -> None:
    """Of concurrent writes with the same if_version, one is stored, and the others hear which version is."""
    results = await asyncio.gather(
        *(memory.set(str(number), if_version=0) for number in range(8)), return_exceptions=True
    )

    (stored,) = [each for each in results if isinstance(each, WorkingMemory)]
    assert [each.version for each in results if isinstance(each, MemoryConflictError)] == [1] * 7
    assert await memory.get() == stored


async def test_the_same_operation_at_once_is_made_once(memory: WorkingMemoryHandle) -> None:
    """Of concurrent calls with one operation id, all return the one result."""
    results = await asyncio.gather(*(memory.append("likes tea", operation_id="call-1") for _ in range(8)))

    assert set(map(repr, results)) == {repr(results[0])}
    assert await content(memory) == "likes tea"


async def test_a_writer_waits_for_a_transaction(memory: WorkingMemoryHandle, storage: PostgresStorage) -> None:
    """A write waits for the transaction of another writer, and loses nothing of what that stored."""
    other = storage.working_memory("ada", memory.conversation_id)
    async with storage.transaction() as tx:
        await tx.working_memory("ada", memory.conversation_id).append("first")
        waiting = asyncio.create_task(other.append("second"))
        await asyncio.sleep(0.2)
        assert not waiting.done()

    assert (await waiting).content == "first\n\nsecond"


async def test_messages_do_not_wait_for_a_memory(storage: PostgresStorage) -> None:
    """While a transaction has written the memory of a conversation, others add messages to it."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    async with storage.transaction() as tx:
        await tx.working_memory("ada", "c1").append("first")

        await asyncio.wait_for(storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1"), 5)


async def test_a_rolled_back_transaction_leaves_no_version(storage: PostgresStorage) -> None:
    """A version that was not committed is not there, and its number is used again."""
    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as tx:
            await tx.working_memory("ada").set("likes tea")
            raise ZeroDivisionError

    memory = storage.working_memory("ada")
    assert await memory.get() is None
    assert (await memory.set("likes coffee")).version == 1


async def test_each_method_is_one_round_trip(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Each method is one round trip, except for merge() and restore() with a schema."""
    storage = make_storage(proxy.dsn, max_connections=1)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    verbs: dict[str, Callable[[WorkingMemoryHandle], Awaitable[object]]] = {
        "set": lambda memory: memory.set({"a": 1}),
        "get": lambda memory: memory.get(),
        "merge": lambda memory: memory.merge({"b": 1}),
        "history": lambda memory: memory.history(),
        "restore": lambda memory: memory.restore(1),
        "delete": lambda memory: memory.delete(),
        "append": lambda memory: memory.append("likes tea"),
    }
    counted: dict[str, int] = {}
    for conversation in (None, "c1", None, "c1"):  # the first call prepares the statements
        for name, verb in verbs.items():
            before = proxy.round_trips
            await verb(storage.working_memory("ada", conversation))
            counted[name] = proxy.round_trips - before

    assert counted == dict.fromkeys(verbs, 1)


async def test_a_memory_is_not_written_after_its_user_was_deleted(storage: PostgresStorage) -> None:
    """delete_user() deletes the memories; a handle from before does not bring the user's back, a new one may."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    memory, of_conversation = storage.working_memory("ada"), storage.working_memory("ada", "c1")
    await memory.set("likes tea")
    await of_conversation.set("likes tea")

    await storage.delete_user("ada")

    assert await memory.get() is None
    assert await memory.history() == []
    with pytest.raises(MemoryRefusedError, match="was deleted while this run was under way"):
        await memory.append("likes coffee")
    with pytest.raises(ConversationNotFoundError):
        await of_conversation.append("likes coffee")
    assert (await storage.working_memory("ada").append("likes coffee")).version == 1
