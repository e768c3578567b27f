"""Leases: one process at a time does a kind of work on a conversation, and what a stale one writes changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tests.calls import PATIENCE, wait_until_blocked
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import (
    ConversationNotFoundError,
    HeldLease,
    InvalidInputError,
    Lease,
    LeaseHeldError,
    LeaseLostError,
    PostgresStorage,
)
from voltmem._tables import Tables
from voltmem.sync import PostgresStorage as BlockingStorage

SOON: Final = 0.3
"""Seconds that a lease lasts whose end is waited for."""
WHILE: Final = 3.0
"""Seconds that a lease lasts whose renewal is waited for; more than a busy machine delays it."""


@pytest.fixture
async def talk(storage: PostgresStorage) -> PostgresStorage:
    """A storage with a conversation of ada's."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return storage


@pytest.fixture
def tables(storage: PostgresStorage) -> Tables:
    return storage._options.tables


@asynccontextmanager
async def dead(storage: PostgresStorage, connection: Connection, tables: Tables) -> AsyncIterator[HeldLease]:
    """Hold a lease as a process does that has stopped, and let its time pass."""
    async with storage.lease("ada", "c1", "answer", seconds=3600) as lease:
        await connection.execute(f"UPDATE {tables.leases} SET until = now()")
        yield lease


async def test_lease_lets_one_in_at_a_time(talk: PostgresStorage, make_storage: MakeStorage) -> None:
    """Of many processes one holds a lease; the others are told who, and until when."""
    storages = [talk, *(make_storage() for _ in range(3))]
    inside, refused = 0, []
    everyone_asked = asyncio.Barrier(4)

    async def work(storage: PostgresStorage) -> None:
        nonlocal inside
        try:
            async with storage.lease("ada", "c1", "answer"):
                inside += 1
                await everyone_asked.wait()
        except LeaseHeldError as error:
            refused.append(error)
            await everyone_asked.wait()

    await asyncio.gather(*map(work, storages))

    assert inside == 1
    assert len(refused) == 3
    assert len({error.holder for error in refused}) == 1
    assert timedelta(0) < refused[0].until - datetime.now(UTC) < timedelta(seconds=20)


async def test_lease_ends_with_its_block_and_the_next_has_a_greater_token(talk: PostgresStorage) -> None:
    """When a block ends, or raises, its lease can be taken at once, under a greater token."""
    tokens = []
    for _ in range(3):
        with suppress(KeyError):
            async with talk.lease("ada", "c1", "answer") as lease:
                tokens.append(lease.fencing_token)
                raise KeyError
    assert tokens == [tokens[0], tokens[0] + 1, tokens[0] + 2]
    assert await talk.get_lease("ada", "c1", "answer") is None


async def test_lease_for_another_purpose_or_conversation_is_independent(talk: PostgresStorage) -> None:
    """A lease keeps nobody from one for another purpose, or of another conversation."""
    await talk.create_conversation({"id": "c2", "user_id": "ada"})

    async with (
        talk.lease("ada", "c1", "answer"),
        talk.lease("ada", "c1", "title"),
        talk.lease("ada", "c2", "answer"),
    ):
        pass


async def test_lease_takes_one_round_trip_to_begin_and_one_to_end(
    talk: PostgresStorage, make_storage: MakeStorage, proxy: Proxy
) -> None:
    """A block costs two round trips, and one at each renewal."""
    storage = make_storage(proxy.dsn)
    async with storage.lease("ada", "c1", "answer"):
        pass
    sent = proxy.round_trips

    async with storage.lease("ada", "c1", "answer"):
        assert proxy.round_trips == sent + 1
    assert proxy.round_trips == sent + 2


async def test_lease_is_renewed_while_its_block_runs(talk: PostgresStorage) -> None:
    """A block may take longer than the lease lasts."""
    async with talk.lease("ada", "c1", "answer", seconds=WHILE) as lease:
        first = await talk.get_lease("ada", "c1", "answer")
        assert first is not None
        renewed = await changed(talk, first)
        assert renewed.until > first.until
        assert (renewed.fencing_token, renewed.holder) == (lease.fencing_token, first.holder)


async def changed(storage: PostgresStorage, lease: Lease) -> Lease:
    """Return the lease when it has another end."""
    async with asyncio.timeout(PATIENCE):
        while True:
            now = await storage.get_lease("ada", "c1", "answer")
            assert now is not None
            if now.until != lease.until:
                return now


# --- lost leases ----------------------------------------------------------------------------------------------------


async def test_lease_of_a_process_that_died_is_taken_when_its_time_has_passed(
    talk: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A lease that nobody renews ends at its time; who takes it has a greater token."""
    async with dead(talk, connection, tables) as lost:
        assert await talk.get_lease("ada", "c1", "answer") is None
        async with talk.lease("ada", "c1", "answer") as lease:
            assert lease.fencing_token == lost.fencing_token + 1


async def test_confirm_lease_lets_a_stale_holder_store_nothing(
    talk: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A transaction that confirms a lease that ended, or that another has by now, stores nothing."""
    async with dead(talk, connection, tables) as lost:
        for _ in range(2):
            with pytest.raises(LeaseLostError):
                async with talk.transaction() as tx:
                    await tx.add_message({"role": "user", "content": "stale"}, "ada", "c1")
                    await tx.confirm_lease("ada", "c1", "answer", lost.fencing_token)
            async with talk.lease("ada", "c1", "answer"):
                pass
    assert await talk.get_messages("ada", "c1") == []


async def test_confirm_lease_refuses_the_token_of_a_conversation_that_was_deleted(talk: PostgresStorage) -> None:
    """A conversation that is created again under its id has greater tokens: what was held before is stale."""
    async with talk.lease("ada", "c1", "answer") as stale:
        await talk.delete_conversation("c1")
        await talk.create_conversation({"id": "c1", "user_id": "ada"})
        async with talk.lease("ada", "c1", "answer") as lease:
            assert lease.fencing_token > stale.fencing_token
            with pytest.raises(LeaseLostError):
                async with talk.transaction() as tx:
                    await tx.confirm_lease("ada", "c1", "answer", stale.fencing_token)


async def test_confirm_lease_is_refused_where_it_protects_nothing(talk: PostgresStorage) -> None:
    """Outside of a transaction, confirm_lease() raises InvalidInputError."""
    async with talk.lease("ada", "c1", "answer") as lease:
        with pytest.raises(InvalidInputError, match=r"storage\.transaction"):
            await talk.confirm_lease("ada", "c1", "answer", lease.fencing_token)


async def test_confirm_lease_keeps_others_out_until_the_transaction_ends(
    talk: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """Who takes a lease after its time waits for the transaction that confirmed it; its renewal does not wait."""
    async with talk.lease("ada", "c1", "answer", seconds=WHILE) as lease, talk.transaction() as tx:
        await tx.confirm_lease("ada", "c1", "answer", lease.fencing_token)
        first = await talk.get_lease("ada", "c1", "answer")
        assert first is not None
        await changed(talk, first)
    async with dead(talk, connection, tables) as lease:
        await connection.execute(f"UPDATE {tables.leases} SET until = now() + interval '1 hour'")
        async with talk.transaction() as tx:
            await tx.confirm_lease("ada", "c1", "answer", lease.fencing_token)
            await connection.execute(f"UPDATE {tables.leases} SET until = now()")

            async def take() -> int:
                async with talk.lease("ada", "c1", "answer") as taken:
                    return taken.fencing_token

            taking = asyncio.create_task(take())
            await wait_until_blocked(connection, tx.connection)
            assert not taking.done()
        assert await taking == lease.fencing_token + 1


@pytest.mark.parametrize(
    "loss",
    [
        "UPDATE {leases} SET until = now()",
        "UPDATE {leases} SET token = token + 1, holder = 'another'",
        "UPDATE {conversations} SET deleted_at = now()",
        "DELETE FROM {conversations}",
    ],
    ids=["ended", "taken", "trashed", "deleted"],
)
async def test_lease_that_is_lost_cancels_its_block(
    talk: PostgresStorage, connection: Connection, tables: Tables, loss: str
) -> None:
    """A block whose lease was lost is cancelled at the next renewal, and raises LeaseLostError."""
    cancelled = False
    with pytest.raises(LeaseLostError, match="'answer' of conversation 'c1'"):
        async with asyncio.timeout(PATIENCE), talk.lease("ada", "c1", "answer", seconds=WHILE):
            await connection.execute(loss.format(leases=tables.leases, conversations=tables.conversations))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise
    assert cancelled
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_lease_cancels_its_block_when_the_network_is_silent(
    talk: PostgresStorage, make_storage: MakeStorage, proxy: Proxy
) -> None:
    """A block that cannot renew its lease in time is cancelled, even without an answer; another takes the lease."""
    storage = make_storage(proxy.dsn, command_timeout=1, connect_timeout=1, retry_timeout=0.1)
    with pytest.raises(LeaseLostError):
        async with asyncio.timeout(PATIENCE), storage.lease("ada", "c1", "answer", seconds=SOON):
            proxy.hang()
            await asyncio.Event().wait()
    async with asyncio.timeout(PATIENCE):
        while await talk.get_lease("ada", "c1", "answer"):
            pass


async def test_lease_leaves_the_error_of_its_block(
    talk: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """An error of the block is raised as it is, also when the lease was lost meanwhile."""
    with pytest.raises(KeyError):
        async with asyncio.timeout(PATIENCE), talk.lease("ada", "c1", "answer", seconds=WHILE):
            await connection.execute(f"UPDATE {tables.leases} SET until = now()")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise KeyError from None


async def test_lease_of_a_cancelled_caller_is_released(talk: PostgresStorage) -> None:
    """A caller who is cancelled gets CancelledError, and the lease is free."""
    inside = asyncio.Event()

    async def work() -> None:
        async with talk.lease("ada", "c1", "answer"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await talk.get_lease("ada", "c1", "answer") is None


async def test_get_lease_finds_none_after_the_clock_was_set_back(
    talk: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """If the clock of the database is set back by more than a lease lasts, nobody waits until it is there again."""
    await connection.execute(
        f"INSERT INTO {tables.leases} (conversation_id, purpose, holder, token, until, lasts) "
        "VALUES ('c1', 'answer', 'dead', 5, now() + interval '1 day', '15 s')"
    )
    assert await talk.get_lease("ada", "c1", "answer") is None
    async with talk.lease("ada", "c1", "answer") as lease:
        assert lease.fencing_token == 6


# --- asking to stop -------------------------------------------------------------------------------------------------


async def test_stop_lease_tells_the_holder_and_no_later_one(talk: PostgresStorage, make_storage: MakeStorage) -> None:
    """Any process can ask the holder to end, who is told at the next renewal; the next holder is not."""
    assert not await talk.stop_lease("ada", "c1", "answer")
    async with talk.lease("ada", "c1", "answer", seconds=WHILE) as lease:
        assert not lease.stop_requested
        assert await make_storage().stop_lease("ada", "c1", "answer")
        async with asyncio.timeout(PATIENCE):
            await lease.wait_for_stop()
        assert lease.stop_requested
        found = await talk.get_lease("ada", "c1", "answer")
        assert found is not None
        assert found.stop_requested
    async with talk.lease("ada", "c1", "answer") as lease:
        found = await talk.get_lease("ada", "c1", "answer")
        assert found is not None
        assert not found.stop_requested


# --- scope, and what is refused -------------------------------------------------------------------------------------


async def test_lease_of_another_users_conversation_does_not_exist(talk: PostgresStorage) -> None:
    """Another user can take, see, stop and confirm no lease of a conversation."""
    mallory = talk.for_user("mallory")
    with pytest.raises(ConversationNotFoundError):
        async with mallory.lease("c1", "answer"):
            pass
    async with talk.for_user("ada").lease("c1", "answer") as lease:
        assert await mallory.get_lease("c1", "answer") is None
        assert not await mallory.stop_lease("c1", "answer")
        with pytest.raises(LeaseLostError):
            async with mallory.transaction() as tx:
                await tx.confirm_lease("c1", "answer", lease.fencing_token)
        found = await talk.get_lease("ada", "c1", "answer")
        assert found is not None
        assert not found.stop_requested


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 3601, "15", None, True])
async def test_lease_refuses_a_length_that_is_no_length(talk: PostgresStorage, seconds: float) -> None:
    """A lease lasts more than 0 and at most 3,600 seconds."""
    with pytest.raises(InvalidInputError, match="seconds"):
        talk.lease("ada", "c1", "answer", seconds=seconds)
    assert await talk.get_lease("ada", "c1", "answer") is None


async def test_lease_in_a_transaction_is_refused(talk: PostgresStorage) -> None:
    """A transaction has one connection, which cannot renew a lease."""
    async with talk.transaction() as tx:
        with pytest.raises(InvalidInputError, match="on the PostgresStorage"):
            tx.lease("ada", "c1", "answer")


async def test_lease_that_is_lost_raises_at_the_end_of_a_block_that_blocks(
    talk: PostgresStorage, dsn: str, schema: str, connection: Connection, tables: Tables
) -> None:
    """In voltmem.sync a block cannot be cancelled: it raises LeaseLostError at its end."""

    def work() -> None:
        with BlockingStorage(dsn, schema=schema) as storage:
            with storage.lease("ada", "c1", "answer") as lease:
                assert lease.fencing_token > 0
            with pytest.raises(LeaseLostError), storage.lease("ada", "c1", "answer", seconds=SOON) as lease:
                storage.run(lambda it: it.delete_conversation("c1"))
                while not lost(storage):
                    pass

    def lost(storage: BlockingStorage) -> bool:
        return not any("_Keeper._run" in repr(task) for task in storage.run(tasks))

    async def tasks(_: object) -> set[asyncio.Task[object]]:
        return asyncio.all_tasks()

    await asyncio.to_thread(work)
