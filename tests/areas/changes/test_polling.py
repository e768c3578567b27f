"""Where no notification arrives, a watcher polls."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import asyncpg
import pytest

from tests.areas.changes.watching import SOON, is_polling, watching
from tests.calls import with_parameters, with_settings
from tests.conftest import Connection, MakeStorage
from tests.pgbouncer import PROGRAM, PgBouncer
from tests.proxy import Proxy
from voltmem import PostgresStorage
from voltmem._postgres.migrations.conversation_schema import MigrateStatements


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="voltmem")
    return caplog


async def assert_polls(storage: PostgresStorage, other: PostgresStorage) -> None:
    """Check that watching polls, and reports the changes of another storage."""
    async with watching(storage, poll_interval=SOON) as recorder:
        assert is_polling(storage)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")


async def test_where_notifications_do_not_arrive_it_polls(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """A missing notification is detected at the start, and logged once for any number of watchers."""
    proxy.muffling = True
    storage = make_storage(proxy.dsn)

    async with watching(storage, poll_interval=SOON) as recorder, watching(storage, "bob", SOON):
        assert is_polling(storage)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")
        await other.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
        assert await recorder.pair() == ("message-added", "c1")

    assert [record.levelname for record in log.records] == ["INFO"]
    assert "no notification arrives" in log.text


async def test_with_pgbouncer_in_the_connection_string_it_does_not_even_try(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """With pgbouncer=true in the connection string, no connection but the pool's is opened."""
    storage = make_storage(with_parameters(proxy.dsn, pgbouncer="true"), max_connections=1)

    async with watching(storage, poll_interval=SOON) as recorder:
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")

    assert proxy.connections == 1
    assert [record.levelname for record in log.records] == ["INFO"]


@pytest.fixture
def pgbouncer(backend: str) -> Iterator[str]:
    """A PgBouncer in transaction mode in front of the server."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed")
    with PgBouncer(backend) as pooler:
        yield pooler.dsn


async def test_behind_a_pgbouncer_it_polls(
    pgbouncer: str, schema: str, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """Behind a real PgBouncer in transaction mode, without pgbouncer=true: LISTEN is accepted, and nothing arrives."""
    async with asyncpg.create_pool(pgbouncer, min_size=0, max_size=3, statement_cache_size=0) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)

        await assert_polls(storage, other)
        await storage.close()

    assert "no notification arrives" in log.text


async def test_a_server_that_may_not_be_written_to_is_polled(
    dsn: str, make_storage: MakeStorage, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """On a standby, where watchers cannot be registered, watch() polls."""
    await other.open()
    storage = make_storage(with_settings(dsn, default_transaction_read_only="on"), retry_timeout=0.1)

    async with watching(storage, poll_interval=SOON) as recorder:
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")

    assert "read-only" in log.text


@pytest.mark.parametrize("missing", ["TRIGGER {prefix}_tell_watchers ON {schema}.{prefix}_conversations", "TABLE {w}"])
async def test_tables_without_what_notifies_are_polled(
    missing: str, make_storage: MakeStorage, storage: PostgresStorage, other: PostgresStorage, connection: Connection
) -> None:
    """
    Tables without the trigger are polled, as with Citus, or with migrate="off" on the tables of an earlier release.
    """
    tables = storage._options.tables
    await connection.execute(f"DROP TRIGGER {tables.prefix}_tell_watchers ON {tables.conversations}")
    if "TABLE" in missing:
        await connection.execute(f"DROP TABLE {tables.watchers}")
    late = make_storage(migrate="off")

    async with watching(late, poll_interval=SOON) as recorder:
        assert is_polling(late)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")


@pytest.mark.backend("LISTEN")
async def test_a_pool_that_was_given_lends_a_connection(dsn: str, schema: str, other: PostgresStorage) -> None:
    """A caller's pool lends a connection while there is a watcher, and gets it back unchanged."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        async with watching(storage) as recorder:
            assert not is_polling(storage)
            await other.create_conversation({"id": "c1", "user_id": "ada"})
            assert await recorder.pair() == ("created", "c1")
            assert pool.get_size() - pool.get_idle_size() == 1

        assert pool.get_size() == pool.get_idle_size()
        assert await pool.fetch("SELECT * FROM pg_listening_channels()") == []
        await storage.close()


async def test_a_pool_of_one_connection_is_polled(dsn: str, schema: str, other: PostgresStorage) -> None:
    """A caller's pool with one connection has none to lend, so watch() polls."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        await assert_polls(storage, other)
        await storage.close()


@pytest.mark.backend("LISTEN")
async def test_tables_that_were_restored_notify_again(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """A restored backup replaces the table that had the trigger; the next opening creates the trigger again."""
    storage = make_storage()
    await connection.execute(f"CREATE SCHEMA {schema}")
    for statement in MigrateStatements(storage._options.tables).make_missing_tables:
        await connection.execute(statement)
    await storage.open()
    assert (await storage.migrate_conversation_schema(restore_from_backup=True)).success
    await storage.close()
    await storage.open()

    async with watching(storage) as recorder:
        assert not is_polling(storage)
        await make_storage().create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")
