"""A change of a working memory is reported to the watchers of its user, and to no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.areas.changes.watching import INTERVAL, SOON, watching
from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import PostgresStorage


@pytest.mark.parametrize("interval", [INTERVAL, SOON])
@pytest.mark.parametrize("conversation_id", [None, "c1"])
async def test_watch_yields_the_changes_of_a_working_memory(
    storage: PostgresStorage, other: PostgresStorage, conversation_id: str | None, interval: float
) -> None:
    """Each write in another process is a change with the memory as it is then; a deletion is one without a memory."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    memory = other.working_memory("ada", conversation_id, author="planner")
    await memory.set("known before")
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: memory.append("likes tea"),
        lambda: memory.set("likes coffee"),
        lambda: memory.delete(),
        lambda: memory.restore(1),
        lambda: memory.delete(history=True),
        lambda: memory.append("likes water"),
    ]

    async with watching(storage, poll_interval=interval) as recorder:
        for step in steps:
            await step()
            change = await recorder.next()

            assert (change.kind, change.conversation_id) == ("memory-changed", conversation_id)
            assert (change.memory, change.conversation) == (await memory.get(), None)


async def test_watch_yields_no_memory_of_another_user(storage: PostgresStorage, other: PostgresStorage) -> None:
    """The memories of others are not reported, and neither is what a refused or repeated write did not change."""
    for user, id in (("ada", "c1"), ("bob", "b1")):
        await other.create_conversation({"id": id, "user_id": user})
    memory = other.working_memory("ada")
    await memory.append("likes tea", operation_id="o1")

    async with watching(storage) as recorder:
        await other.working_memory("bob").set("bob's")
        await other.working_memory("bob", "b1").set("b1's")
        await memory.append("likes tea", operation_id="o1")
        await other.working_memory("ada", "c1").set("plans")

        assert await recorder.pair() == ("memory-changed", "c1")


async def test_watch_yields_a_memory_and_its_conversation_apart(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """A fork has its memory from the first; the changes of a memory do not stand in for those of its conversation."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.working_memory("ada", "c1").set("plans")

    async with watching(storage) as recorder:
        await other.fork_conversation("c1", id="c2")
        assert [await recorder.pair(), await recorder.pair()] == [("created", "c2"), ("memory-changed", "c2")]
        async with other.transaction() as tx:
            await tx.rename_conversation("c2", "Two")
            await tx.working_memory("ada", "c2").append("more")
        assert [await recorder.pair(), await recorder.pair()] == [("updated", "c2"), ("memory-changed", "c2")]
        await other.delete_conversation("c2")
        await other.create_conversation({"id": "c2", "user_id": "ada"})
        assert (await recorder.pair())[1] == "c2"


@pytest.mark.backend("without notifications, each poll looks at the memories")
async def test_writes_of_messages_make_a_watcher_look_at_no_memory(
    storage: PostgresStorage, proxy: Proxy, make_storage: MakeStorage
) -> None:
    """Only a change of a memory is a reason to read memories, and a write of a message reads no table of theirs."""
    watched = make_storage(proxy.dsn)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    async with watching(watched) as recorder:
        await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
        assert await recorder.pair() == ("message-added", "c1")
        for _ in range(2):
            before = proxy.round_trips
            await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
            assert await recorder.pair() == ("message-added", "c1")
            assert proxy.round_trips == before + 1
        await storage.working_memory("ada").set("likes tea")
        assert await recorder.pair() == ("memory-changed", None)
