"""A call that is cancelled at any await leaves the pool intact and no partial write."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.calls import CASES, Case, Rows, migrated_schema, no_connection_of, use_all_connections, with_parameters
from tests.moments import MOMENTS, Moment, cancelled_at, every_moment
from tests.properties import explores
from tests.proxy import Proxy
from voltmem import PostgresStorage, Storage, StorageClosedError
from voltmem._postgres.migrations.files import migrations
from voltmem.testing import temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

CONNECTIONS = 3


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    """No test leaves a task, an unclosed transport or a complaint of the event loop."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    yield

    async with asyncio.timeout(30):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
    gc.collect()
    assert complaints == []


@pytest.fixture(scope="module")
def schema() -> Iterator[str]:
    """One schema for all tests here."""
    with migrated_schema() as name:
        yield name


@pytest.fixture
def rows(connection: Connection, schema: str) -> Rows:
    return Rows(connection, schema)


async def in_one_transaction(storage: Storage) -> None:
    """Two writes in one transaction."""
    async with storage.transaction() as tx:
        await tx.create_conversation({"id": "new", "user_id": "ada"})
        await tx.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "new")


CALLS: dict[str, Case] = {**CASES, "transaction": in_one_transaction}


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_call_happens_or_does_not(make_storage: MakeStorage, rows: Rows, name: str) -> None:
    """A call that is cancelled at any await is done or undone, and all connections of the pool are usable."""
    storage = make_storage(max_connections=CONNECTIONS, storage_limit=10, search=True)

    await cancel_everywhere(storage, rows, CALLS[name])


@pytest.mark.parametrize("name", ["create_conversation", "delete_conversation", "add_messages", "transaction"])
async def test_a_call_cancelled_while_preparing_happens_or_does_not(
    make_storage: MakeStorage, dsn: str, rows: Rows, name: str
) -> None:
    """The same is true if each statement is prepared before it is executed, as behind a pooler."""
    storage = make_storage(with_parameters(dsn, statement_cache_size="0"), max_connections=CONNECTIONS)

    await cancel_everywhere(storage, rows, CALLS[name])


async def cancel_everywhere(storage: PostgresStorage, rows: Rows, call: Case) -> None:
    await storage.open()
    await rows.seed()
    before = await rows.all()
    await call(storage)
    after = await rows.all()

    for moment in MOMENTS:
        for suspension in count(1):
            await rows.seed()
            cancelled = await cancelled_at(partial(call, storage), suspension, moment)

            await use_all_connections(storage, CONNECTIONS)
            assert await rows.all() in ([before, after] if cancelled else [after])
            if not cancelled:
                break


@every_moment
@pytest.mark.parametrize("verb", ["open", "upgrade_schema", "get_conversation"])
async def test_an_opening_that_is_cancelled_leaves_nothing_and_can_be_done_again(
    dsn: str, schema: str, connection: Connection, verb: str, moment: Moment
) -> None:
    """If the first call is cancelled at any await, the next one opens the pool; no connection is lost."""
    marked = with_parameters(dsn, application_name=schema)

    for suspension in count(1):
        opened = PostgresStorage(marked, schema=schema, max_connections=CONNECTIONS)
        first_call = partial(opened.get_conversation, "c1") if verb == "get_conversation" else getattr(opened, verb)
        cancelled = await cancelled_at(first_call, suspension, moment)

        await use_all_connections(opened, CONNECTIONS)
        await opened.close()
        await no_connection_of(schema, connection)
        if not cancelled:
            break


# Beside the first, which is a function: tables and indexes, rows that change, and the last.
SOME: Final = {"0002_messages", "0003_order_of_adopted_messages", migrations()[-1].name}


@pytest.mark.hypothesis
@every_moment
@pytest.mark.parametrize("is_new", [True, False], ids=["a new schema", "a schema with a table"])
async def test_migrations_that_are_cancelled_are_all_there_or_not_at_all(
    dsn: str, connection: Connection, moment: Moment, is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    If upgrade_schema() is cancelled at any await, whole migrations are applied, and the next call applies the rest.

    In a new schema all migrations are one step. For each migration that takes minutes, so only `make explore` does it;
    `make test` takes a few, of each kind.
    """
    empty = temporary_schema_name()

    async def begin() -> None:
        await connection.execute(f"DROP SCHEMA IF EXISTS {empty} CASCADE")
        if not is_new:
            await connection.execute(f"CREATE SCHEMA {empty}")
            await connection.execute(f"CREATE TABLE {empty}.voltagent_memory_kept (id int)")

    await begin()
    known, states = migrations(), [await objects(connection, empty)]
    storage = PostgresStorage(dsn, schema=empty, migrate="off", max_connections=1)

    async def upgrade_to(number: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("voltmem._postgres.schema.migrations", lambda: known[:number])
            await storage.upgrade_schema()

    for number in range(1, len(known) + 1):
        await upgrade_to(number)
        states.append(await objects(connection, empty))

    await begin()
    done, suspension = 0, 1
    # Each call starts from the state that the last one left: it is cancelled one suspension later, and again at every
    # suspension from the next migration on.
    while await cancelled_at(storage.upgrade_schema, suspension, moment):
        before, done = done, await recorded(connection, empty)
        assert done in ({before, len(known)} if is_new else {before, before + 1})
        assert await objects(connection, empty) == states[done]
        suspension = suspension + 1 if done == before else 1
        if done > before and not explores():
            done = next((n for n, each in enumerate(known) if n >= done and each.name in SOME), len(known))
            await upgrade_to(done)
    assert await objects(connection, empty) == states[-1]

    await connection.execute(f"DROP SCHEMA {empty} CASCADE")
    await storage.close()


async def objects(connection: Connection, schema: str) -> set[str]:
    """Return the columns and functions in a schema, except the ledger's."""
    rows = await connection.fetch(
        """
        SELECT relname || '.' || attname AS name FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = to_regnamespace($1) AND relname NOT LIKE '%_migrations%'
        UNION ALL SELECT proname || md5(prosrc) FROM pg_proc WHERE pronamespace = to_regnamespace($1)""",
        schema,
    )
    return {row["name"] for row in rows}


async def recorded(connection: Connection, schema: str) -> int:
    """Return the number of migrations in the ledger."""
    ledger = f'"{schema}".voltagent_memory_migrations'
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", ledger):
        return 0
    return int(await connection.fetchval(f"SELECT count(*) FROM {ledger}"))


@every_moment
async def test_tasks_that_wait_for_a_cancelled_opening_succeed(dsn: str, schema: str, moment: Moment) -> None:
    """If the task that opens the pool is cancelled, the next waiting task opens it, and all others succeed."""
    for suspension in count(1):
        opened = PostgresStorage(dsn, schema=schema, max_connections=CONNECTIONS)
        waiting: list[asyncio.Task[object]] = []

        cancelled = await cancelled_at(partial(first_of_many, opened, waiting), suspension, moment)

        assert await asyncio.gather(*waiting) == [None, None, None]
        await opened.close()
        if not cancelled:
            break


async def first_of_many(storage: PostgresStorage, others: list[asyncio.Task[object]]) -> None:
    others.extend(asyncio.create_task(storage.get_conversation("none")) for _ in range(3))
    await storage.open()


@every_moment
async def test_a_close_that_is_cancelled_can_be_repeated(
    dsn: str, schema: str, connection: Connection, moment: Moment
) -> None:
    """If close() is cancelled at any await, the storage is closed, and has no connection."""
    marked = with_parameters(dsn, application_name=schema)
    for suspension in count(1):
        closed = PostgresStorage(marked, schema=schema, max_connections=CONNECTIONS)
        await closed.open()
        cancelled = await cancelled_at(closed.close, suspension, moment)

        await closed.close()
        with pytest.raises(StorageClosedError):
            await closed.get_conversation("c1")
        await no_connection_of(schema, connection)
        if not cancelled:
            break


@pytest.mark.parametrize("name", ["add_message", "create_conversation", "delete_conversation", "transaction"])
async def test_a_call_cancelled_while_the_server_hangs_happens_or_does_not(
    make_storage: MakeStorage, proxy: Proxy, rows: Rows, name: str
) -> None:
    """If a call is cancelled while its statement hangs in the network, it is done or undone afterwards."""
    storage = make_storage(proxy.dsn, max_connections=CONNECTIONS)
    await storage.open()
    await rows.seed()
    before = await rows.all()
    await CALLS[name](storage)
    after = await rows.all()
    await rows.seed()

    proxy.hang()
    task = asyncio.ensure_future(CALLS[name](storage))
    await proxy.something_held()
    task.cancel()
    proxy.flow()
    await asyncio.wait([task])

    await use_all_connections(storage, CONNECTIONS)
    assert await rows.all() in (before, after)


async def test_a_call_cancelled_while_it_connects_leaves_the_pool_whole(
    make_storage: MakeStorage, proxy: Proxy, rows: Rows
) -> None:
    """If a call is cancelled while it connects to a silent server, its place in the pool is free again."""
    storage = make_storage(proxy.dsn, max_connections=1)
    proxy.hang()
    task = asyncio.create_task(storage.get_conversation("c1"))
    await proxy.something_held()
    task.cancel()
    await asyncio.wait([task])
    proxy.flow()

    await use_all_connections(storage, 1)
    assert task.cancelled()


async def test_a_commit_cancelled_on_a_connection_that_breaks_ends_as_cancelled(
    make_storage: MakeStorage, proxy: Proxy, rows: Rows
) -> None:
    """If a call is cancelled during COMMIT and the connection breaks, it raises CancelledError only."""
    storage = make_storage(proxy.dsn, max_connections=1)
    await rows.seed()
    before = await rows.all()

    async def commit() -> None:
        async with storage.transaction() as tx:
            await tx.delete_conversation("c1")
            proxy.hang()

    task = asyncio.create_task(commit())
    await proxy.something_held()
    task.cancel()
    await asyncio.sleep(0)
    proxy.cut()
    proxy.flow()
    await asyncio.wait([task])

    assert task.cancelled()
    await use_all_connections(storage, 1)
    assert await rows.all() == before
