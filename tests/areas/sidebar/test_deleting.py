"""A soft delete can be undone until the conversation is purged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest

from tests.areas.sidebar.lists import make, walk
from tests.calls import VERBS, call, parameters
from tests.conftest import Connection
from voltmem import ANY_USER, ConversationExistsError, ConversationNotFoundError, PostgresStorage
from voltmem._agents.native import NativeMemory


async def test_soft_delete_conversation_looks_absent_until_restored(storage: PostgresStorage) -> None:
    """After soft_delete_conversation() it looks absent to every reader and writer until it is restored, complete."""
    message = await storage.conversation("ada", "c1").add({"role": "user", "content": "Hello"})
    before = await storage.get_conversation("c1")
    gone = await storage.soft_delete_conversation("c1")

    assert gone.deleted_at is not None
    assert await storage.get_conversation("c1") is None
    assert await storage.get_user_conversation("c1", "ada") is None
    assert await storage.get_conversations("default") == []
    assert await storage.get_conversations_by_user_id("ada") == []
    assert await storage.query_conversations() == []
    assert await storage.count_conversations() == 0
    assert await storage.get_last_conversation("ada") is None
    assert await walk(storage, 5) == []
    assert await walk(storage, 5, archived=True) == []
    assert await storage.get_messages(ANY_USER, "c1") == []
    assert await storage.get_conversation_messages("c1") == []
    assert await storage.conversation("ada", "c1").messages() == []
    assert await storage.delete_messages([message.id], ANY_USER, "c1") == 0
    assert await storage.clear_messages(ANY_USER, "c1") == 0
    for attempt in (
        lambda: storage.add_message({"role": "user", "content": "?"}, ANY_USER, "c1"),
        lambda: storage.conversation("ada", "c1").add({"role": "user", "content": "?"}),
        lambda: storage.conversation("ada", "c1").title("?"),
        lambda: storage.ensure_conversation({"id": "c1", "user_id": "ada"}),
        lambda: storage.update_conversation("c1", title="?"),
        lambda: storage.pin_conversation("c1"),
        lambda: storage.fork_conversation("c1"),
        lambda: storage.share_conversation("c1"),
        lambda: storage.rewind_conversation("c1", message.id),
    ):
        with pytest.raises(ConversationNotFoundError):
            await attempt()
    with pytest.raises(ConversationExistsError):
        await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert (await storage.restore_conversation("c1")).deleted_at is None
    assert await storage.get_conversation("c1") == before
    assert await storage.get_messages("ada", "c1") == [message]


async def test_restore_conversation_brings_back_what_clear_messages_spared(storage: PostgresStorage) -> None:
    """restore_conversation() restores all messages, also if the user's messages were cleared meanwhile."""
    message = await storage.conversation("ada", "c1").add({"role": "user", "content": "Hello"})
    await storage.soft_delete_conversation("c1")

    assert await storage.clear_messages("ada") == 0

    await storage.restore_conversation("c1")
    assert await storage.get_messages("ada", "c1") == [message]


# Verbs for a conversation of a user who may know that it was deleted.
OTHER_OUTCOME = {
    "delete_conversation": "deletes it for good",
    "get_conversation_messages": "an empty list, as of a missing one",
    "list_branches": "an empty list, as of a missing one",
    "list_siblings": "an empty list, as of a missing one",
    "restore_conversation": "brings it back",
    "soft_delete_conversation": "leaves it deleted",
}


async def attempt(verb: str, storage: PostgresStorage, user: str) -> object:
    return await call(storage, verb, owner=user)


# The calls that can be made for an existing conversation by its id.
ATTEMPTS: dict[str, Callable[[PostgresStorage, str], Awaitable[object]]] = {
    **{
        verb: partial(attempt, verb)
        for verb in VERBS
        if {"conversation_id", "owner"} <= parameters(PostgresStorage, verb) and verb not in OTHER_OUTCOME
    },
    "add_message": lambda storage, user: storage.add_message({"role": "user", "content": "?"}, user, "c1"),
    "add_message, making it": lambda storage, user: storage.conversation(user, "c1").add(
        {"role": "user", "content": "?"}
    ),
    "title": lambda storage, user: storage.conversation(user, "c1").title("?"),
    "save_payload": lambda storage, user: NativeMemory(storage, user, "c1").save_payload({}, "a framework"),
    "ensure_conversation": lambda storage, user: storage.ensure_conversation({"id": "c1", "user_id": user}),
    "giving away": lambda storage, user: storage.update_conversation("c1", user_id="eve", owner=user),
}
MAKINGS: dict[str, Callable[[PostgresStorage, str], Awaitable[object]]] = {
    "create_conversation": lambda storage, user: storage.create_conversation({"id": "c1", "user_id": user}),
    "fork_conversation": lambda storage, user: storage.fork_conversation(f"{user}'s other", id="c1"),
}
WAY_BACK = r"was deleted.*restore_conversation\(\).*delete_conversation\(\)"


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_restore_conversation_is_named_in_the_error_of_a_deleted_one(storage: PostgresStorage, name: str) -> None:
    """
    restore_conversation() is named in the error that the owner gets.

    To another user the conversation looks absent.
    """
    await storage.conversation("ada", "c1").add({"id": "m1", "role": "user", "content": "Hello"})
    await storage.soft_delete_conversation("c1")

    with pytest.raises(ConversationNotFoundError, match=WAY_BACK) as own:
        await ATTEMPTS[name](storage, "ada")
    with pytest.raises(ConversationNotFoundError) as others:
        await ATTEMPTS[name](storage, "bob")

    assert own.value.is_deleted
    assert ("foreign key" in str(own.value)) is ("add_message" in name)
    assert not others.value.is_deleted
    assert "deleted" not in str(others.value)
    assert "foreign key" not in str(others.value) or "add_message" in name


@pytest.mark.parametrize("name", MAKINGS)
async def test_soft_delete_conversation_keeps_its_id_taken(storage: PostgresStorage, name: str) -> None:
    """soft_delete_conversation() keeps the id taken until the conversation is deleted for good."""
    for user in ("ada", "bob"):
        await storage.create_conversation({"id": f"{user}'s other", "user_id": user})
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.soft_delete_conversation("c1")

    with pytest.raises(ConversationExistsError, match=WAY_BACK) as own:
        await MAKINGS[name](storage, "ada")
    with pytest.raises(ConversationExistsError, match="already exists") as others:
        await MAKINGS[name](storage, "bob")

    assert (own.value.is_deleted, others.value.is_deleted) == (True, False)
    assert not await storage.delete_conversation("c1", owner="bob")
    assert await storage.delete_conversation("c1", owner="ada")
    await MAKINGS[name](storage, "bob")


async def test_calls_in_one_statement_each_get_their_own_error(storage: PostgresStorage) -> None:
    """Concurrent calls for stored, deleted, missing and another user's conversations each get the right result."""
    for conversation_id, user in (("here", "ada"), ("gone", "ada"), ("bob's", "bob")):
        await storage.create_conversation({"id": conversation_id, "user_id": user})
    await storage.soft_delete_conversation("gone")
    await storage.soft_delete_conversation("bob's")

    names = ["gone", "here", "bob's", "nowhere", "gone", "here"]
    texts = [{"role": "user", "content": name} for name in names]
    calls = [storage.add_messages([text, text], "ada", name) for name, text in zip(names, texts, strict=True)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    results = [each.is_deleted if isinstance(each, ConversationNotFoundError) else each for each in outcomes]
    assert [results[0], results[2], results[3], results[4]] == [True, False, False, True]
    assert [len(each) for each in (outcomes[1], outcomes[5]) if isinstance(each, list)] == [2, 2]


async def test_list_deleted_conversations_begins_with_the_last_deleted(storage: PostgresStorage) -> None:
    """list_deleted_conversations() lists the user's restorable conversations, the last deleted first."""
    await make(storage, 3)
    await make(storage, 1, "bob", "b")
    for conversation_id in ("c1", "c0", "b0"):
        await storage.soft_delete_conversation(conversation_id)

    assert [item.id for item in await storage.list_deleted_conversations("ada")] == ["c0", "c1"]
    assert [item.id for item in await storage.list_deleted_conversations("ada", limit=1)] == ["c0"]


async def test_purge_deleted_conversations_deletes_what_is_old_enough(
    storage: PostgresStorage, connection: Connection
) -> None:
    """
    purge_deleted_conversations() deletes the old enough ones of one user or of all.

    What is not soft-deleted stays.
    """
    await make(storage, 3)
    await make(storage, 1, "bob", "b")
    for conversation_id in ("c0", "c1", "b0"):
        await storage.soft_delete_conversation(conversation_id)
    table = storage._options.tables.conversations
    await connection.execute(
        f"UPDATE {table} SET deleted_at = statement_timestamp() - interval '8 days' WHERE id = 'c0'"
    )

    assert await storage.purge_deleted_conversations(older_than=timedelta(days=7)) == 1
    assert [item.id for item in await storage.list_deleted_conversations("ada")] == ["c1"]
    assert await storage.purge_deleted_conversations("ada") == 1
    assert await storage.purge_deleted_conversations("ada") == 0
    assert await storage.purge_deleted_conversations() == 1
    assert await walk(storage, 5) == ["c2"]


@pytest.mark.parametrize(("age", "purged"), [(timedelta.max, 0), (timedelta.min, 1)])
async def test_purge_deleted_conversations_takes_any_age(storage: PostgresStorage, age: timedelta, purged: int) -> None:
    """purge_deleted_conversations() takes any age, also one before the earliest time."""
    await make(storage, 1)
    await storage.soft_delete_conversation("c0")

    assert await storage.purge_deleted_conversations(older_than=age) == purged


async def test_delete_user_leaves_nothing_behind(storage: PostgresStorage, connection: Connection, schema: str) -> None:
    """delete_user() leaves no row with the user or the user's data in any table."""
    for user in ("ophelia", "horatio"):
        memory = storage.conversation(user, f"{user}-1")
        await memory.add({"role": "user", "content": f"{user} was here"})
        await storage.share_conversation(f"{user}-1")
        await storage.soft_delete_conversation((await storage.fork_conversation(f"{user}-1")).id)
        async with storage.record_run("agent", user_id=user, input=f"{user} asks") as run:
            await run.add_step("text", content=f"{user} thinks")
            async with run.event(f"event of {user}"):
                pass
    await NativeMemory(storage, "ophelia", "ophelia-1").save_payload("ophelia's", "a framework")
    await storage.fork_conversation("ophelia-1", id="given away")
    await storage.update_conversation("given away", user_id="horatio", title="ours")
    await storage.clear_messages("horatio", "given away")
    await storage.add_history_entry("nobody's", {"conversationId": "ophelia-1", "input": "ophelia asks"}, "agent")
    await storage.add_history_entry("horatio's", {"conversationId": "ophelia-1", "userId": "horatio"}, "agent")

    assert await storage.delete_user("ophelia") == 4

    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema):
        found = await connection.fetch(f'SELECT t::text FROM "{schema}"."{table}" AS t')
        assert not [row for (row,) in found if "ophelia" in row], table
    assert await storage.count_conversations(user_id="horatio") == 2
    assert await storage.get_history_entry("horatio's") is not None
    assert await storage.delete_user("ophelia") == 0


@pytest.mark.parametrize("verb", ["delete_user", "clear_messages"])
async def test_the_copy_of_a_fork_that_is_waited_for_is_deleted_too(verb: str, storage: PostgresStorage) -> None:
    """Deleting all of a user waits for forks, and forks of them, that are not committed yet, and deletes the copies."""
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1", resource_id="docs")
    async with storage.transaction() as tx:
        await tx.fork_conversation("c1", id="a copy")
        await tx.fork_conversation("a copy", id="z copy of the copy")
        deleting = asyncio.create_task(getattr(storage, verb)("ada"))
        await asyncio.sleep(0.3)
        assert not deleting.done()

    assert await deleting == 3
    for each in ("c1", "a copy", "z copy of the copy"):
        assert await storage.count_messages("ada", each) == 0
