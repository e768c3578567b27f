"""After delete_user() a run that was under way does not create a conversation of the user, and a new run does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from tests.adapters.begun import begin_earlier
from tests.agents.talk import says
from tests.calls import PATIENCE, wait_until_blocked
from tests.conftest import Connection
from voltmem import ConversationNotFoundError, NativeMemory, PostgresStorage
from voltmem._areas.deleted_users import Elapsed, hash_of_user
from voltmem._tables import Tables

Write = Callable[[NativeMemory], Awaitable[object]]

REFUSED: Final = "user 'ada' was deleted while this run was under way"
WRITING: Final[dict[str, Write]] = {
    "add": lambda memory: memory.add(says("assistant", "Hi")),
    "add_turn": lambda memory: memory.add_turn([says("user", "Hello"), says("assistant", "Hi")]),
    "title": lambda memory: memory.title("Mine"),
    "title if_unset": lambda memory: memory.title("Mine", if_unset=True),
    "save_payload": lambda memory: memory.save_payload(1, "form"),
    "save_payload expecting none": lambda memory: memory.save_payload(1, "form", expected_revision=None),
}
writes = pytest.mark.parametrize("write", WRITING.values(), ids=WRITING)


@pytest.fixture
def memory(storage: PostgresStorage) -> NativeMemory:
    """Ada's conversation c1, which does not exist yet, in a run that began a minute ago."""
    return NativeMemory(storage, "ada", "c1").since(time.monotonic() - 60)


@pytest.fixture
def table(storage: PostgresStorage) -> str:
    """The name of the table of deleted users."""
    return storage._options.tables.deleted_users


@writes
@pytest.mark.parametrize("reads", [False, True])
async def test_delete_user_ends_the_first_run_of_a_handle(
    storage: PostgresStorage, memory: NativeMemory, write: Write, reads: bool
) -> None:
    """A handle that was made before, and has found nothing, does not create the conversation, however often called."""
    if reads:
        assert await memory.messages() == []
    await storage.delete_user("ada")

    for _ in range(2):
        with pytest.raises(ConversationNotFoundError, match=REFUSED):
            await write(memory)

    assert await storage.count_conversations() == 0
    assert [line async for line in storage.export_user("ada") if "conversation" in line] == []


@writes
async def test_delete_user_does_not_concern_runs_that_begin_afterwards(storage: PostgresStorage, write: Write) -> None:
    """A handle made right after the deletion creates the conversation at once: the user has come back."""
    await storage.delete_user("ada")

    await write(NativeMemory(storage, "ada", "c1"))

    assert await storage.count_conversations(user_id="ada") == 1


@writes
async def test_delete_user_does_not_concern_another_user(
    storage: PostgresStorage, memory: NativeMemory, write: Write
) -> None:
    """The first run of another user, who was not deleted, is stored."""
    await storage.delete_user("bob")
    await storage.delete_user("ada ")

    await write(memory)

    assert await storage.count_conversations(user_id="ada") == 1


async def test_an_answer_does_not_begin_to_grow_after_delete_user(
    storage: PostgresStorage, memory: NativeMemory
) -> None:
    """No part of an answer that grows is stored, the first and the later ones."""
    await storage.delete_user("ada")

    for text in ("Once", "Once upon", "Once upon a time"):
        with pytest.raises(ConversationNotFoundError, match=REFUSED):
            await memory.add(says("assistant", text, id="a"))

    assert await storage.count_conversations() == 0


@writes
async def test_a_handle_may_write_to_what_a_later_run_has_created(
    storage: PostgresStorage, memory: NativeMemory, write: Write
) -> None:
    """If the user has come back and made the conversation again, a handle from before writes to it."""
    await storage.delete_user("ada")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    await write(memory)

    assert await storage.count_conversations() == 1


async def test_add_message_without_a_handle_creates_as_before(storage: PostgresStorage) -> None:
    """add_message(resource_id=…) by the application creates the conversation of a user who was deleted."""
    await storage.delete_user("ada")

    await storage.add_message(says("user", "Hello"), "ada", "c1", resource_id="docs")

    assert await storage.count_conversations(user_id="ada") == 1


async def test_calls_in_one_batch_are_refused_on_their_own(storage: PostgresStorage) -> None:
    """Of the first writes that share a statement, only those of the deleted user's handles fail."""
    users = ["ada", "bob", "carol"] * 4
    memories = [storage.conversation(user, f"c{number}") for number, user in enumerate(users)]
    for memory in memories:
        begin_earlier(memory)
    await storage.delete_user("ada")
    memories += [storage.conversation(user, f"c{number}") for number, user in enumerate(users, len(users))]

    outcomes = await asyncio.gather(*(memory.add(says("user", "Hello")) for memory in memories), return_exceptions=True)

    for number, outcome in enumerate(outcomes):
        is_refused = number < len(users) and users[number] == "ada"
        assert isinstance(outcome, ConversationNotFoundError) is is_refused, outcome
    assert await storage.count_conversations() == 2 * len(users) - 4


async def test_since_counts_the_run_from_an_earlier_moment(storage: PostgresStorage) -> None:
    """A memory made after the deletion, for a run that began before it, does not create; None changes nothing."""
    began_at = time.monotonic() - 60
    await storage.delete_user("ada")

    with pytest.raises(ConversationNotFoundError, match=REFUSED):
        await NativeMemory(storage, "ada", "c1").since(began_at).add(says("user", "Hello"))
    await NativeMemory(storage, "ada", "c1").since(None).add(says("user", "Hello"))

    assert await storage.count_conversations() == 1


# --- at the same time ------------------------------------------------------------------------------------------------


@writes
async def test_delete_user_waits_for_a_conversation_that_is_being_created(
    storage: PostgresStorage, connection: Connection, write: Write
) -> None:
    """What a transaction has created and not committed when the deletion begins is deleted, too."""
    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await write(NativeMemory(tx, "ada", "c1"))
        deleting = asyncio.create_task(storage.delete_user("ada"))
        await wait_until_blocked(connection, tx.connection)

    assert await deleting == 1
    assert await storage.count_conversations() == 0


@writes
async def test_a_write_that_waits_for_delete_user_is_refused(
    storage: PostgresStorage, memory: NativeMemory, connection: Connection, write: Write
) -> None:
    """A first write during a deletion in a transaction waits for its end, and is then refused."""
    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await tx.delete_user("ada")
        writing = asyncio.create_task(_outcome(write(memory)))
        await wait_until_blocked(connection, tx.connection)

    assert REFUSED in str(await writing)
    assert await storage.count_conversations() == 0


async def _outcome(called: Awaitable[object]) -> object:
    try:
        return await called
    except ConversationNotFoundError as error:
        return error


def test_elapsed_counts_until_it_is_sent() -> None:
    """The seconds are those at the moment when the driver asks for them."""
    elapsed = Elapsed(time.monotonic() - 100)

    first = float(elapsed)

    assert 100 <= first <= float(elapsed) < float(Elapsed())


# --- the record ------------------------------------------------------------------------------------------------------


async def test_delete_user_records_a_hash(storage: PostgresStorage, connection: Connection, table: str) -> None:
    """The record has a hash that depends on the prefix, one row for a user, with the last deletion's time."""
    await storage.delete_user("ada")
    (first,) = await connection.fetch(f"SELECT user_hash, deleted_at FROM {table}")
    await storage.delete_user("ada")
    (second,) = await connection.fetch(f"SELECT user_hash, deleted_at FROM {table}")

    assert first["user_hash"] == second["user_hash"] == hash_of_user(storage._options.tables, "ada")
    assert first["deleted_at"] < second["deleted_at"]
    assert hash_of_user(Tables("s", "other"), "ada") != first["user_hash"]


async def test_delete_user_sweeps_what_is_older_than_a_day(
    storage: PostgresStorage, connection: Connection, table: str
) -> None:
    """The next deletion removes older records; before that, they count for no run, however long it takes."""
    await storage.delete_user("ada")
    await storage.delete_user("bob")
    await connection.execute(f"UPDATE {table} SET deleted_at = deleted_at - interval '25 hours'")

    await NativeMemory(storage, "ada", "c1").since(time.monotonic() - 30 * 3600).add(says("user", "Hello"))
    await storage.delete_user("bob")

    assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1
