"""Several calls as one: in a transaction of the storage, or in one of the caller's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Connection
from voltmem import ConversationNotFoundError, DatabaseError, PostgresStorage


class UndoneError(Exception):
    """Raised to roll back a transaction."""


async def test_transaction_commits_all_or_nothing(storage: PostgresStorage) -> None:
    """transaction() commits its calls at the end of the block, and rolls them back if the block raises."""
    async with storage.transaction() as tx:
        await tx.create_conversation({"id": "c1", "user_id": "ada"})
        await tx.add_message({"id": "m1", "role": "user", "content": "words"}, "ada", "c1")
        assert await storage.get_conversation("c1") is None
    with pytest.raises(UndoneError):
        async with storage.transaction() as tx:
            await tx.add_message({"id": "m2", "role": "user", "content": "words"}, "ada", "c1")
            await tx.create_conversation({"id": "c2", "user_id": "ada"})
            raise UndoneError

    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["m1"]
    assert await storage.get_conversation("c2") is None


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
async def test_transaction_that_was_ended_within_its_block_is_an_error(ending: str, storage: PostgresStorage) -> None:
    """Statements after a COMMIT of the caller's are in no transaction; the end of the block says so."""
    with pytest.raises(DatabaseError, match="ended within its block"):
        async with storage.transaction() as tx:
            await tx.connection.execute(ending)
            await tx.create_conversation({"id": "c1", "user_id": "ada"})

    assert await storage.get_conversation("c1") is not None
    async with storage.transaction() as tx:
        await tx.create_conversation({"id": "c2", "user_id": "ada"})


async def test_transaction_within_a_transaction_is_a_savepoint(storage: PostgresStorage) -> None:
    """A nested transaction() rolls back only its own calls, and the outer one continues."""
    async with storage.transaction() as outer:
        await outer.create_conversation({"id": "c1", "user_id": "ada"})
        with pytest.raises(ConversationNotFoundError):
            async with outer.transaction() as inner:
                await inner.create_conversation({"id": "c2", "user_id": "ada"})
                await inner.add_message({"role": "user", "content": "words"}, "ada", "nowhere")
        await outer.create_conversation({"id": "c3", "user_id": "ada"})

    assert {each.id for each in await storage.query_conversations()} == {"c1", "c3"}


async def test_bind_joins_the_callers_own_transaction(storage: PostgresStorage, connection: Connection) -> None:
    """bind() runs calls on the caller's connection, in its transaction, which the caller ends."""
    bound = storage.bind(connection)
    for id, ends in (("kept", True), ("undone", False)):
        transaction = connection.transaction()
        await transaction.start()
        await bound.create_conversation({"id": id, "user_id": "ada"})
        assert await bound.get_conversation(id) is not None
        assert await storage.get_conversation(id) is None
        await (transaction.commit() if ends else transaction.rollback())

    assert {each.id for each in await storage.query_conversations()} == {"kept"}
    await bound.create_conversation({"id": "at once", "user_id": "ada"})
    assert await storage.get_conversation("at once") is not None


@pytest.mark.parametrize(
    "opened",
    [
        lambda storage: storage.transaction(),
        lambda storage: storage.for_user("ada").transaction(),
        lambda storage: storage.record_run("cook"),
        lambda storage: storage.lifespan(None),
    ],
    ids=["transaction", "view", "run", "lifespan"],
)
async def test_a_plain_with_is_refused(opened: Any, storage: PostgresStorage) -> None:
    """``with`` on a context manager of the asynchronous storage says what to use."""
    way_out = r"use 'async with', or 'with' and voltmem\.sync\.PostgresStorage"
    with pytest.raises(TypeError, match=way_out), opened(storage):
        pass
