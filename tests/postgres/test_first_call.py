"""The first call waits for the database like any other, and says so in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.calls import drop_database, with_parameters
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import ConnectionFailedError, DatabaseError, DatabaseTimeoutError, PostgresStorage
from voltmem._postgres.migrations import ledger
from voltmem._tables import Tables
from voltmem.options import Migrate
from voltmem.testing import temporary_schema_name

# Longer than anything here takes: what ends earlier, did not wait for it.
FOR_EVER = 3600


async def logged(log: pytest.LogCaptureFixture, text: str) -> None:
    """Return when a line with this text is in the log."""
    while text not in log.text:  # noqa: ASYNC110  # logging has no event for it
        await asyncio.sleep(0.01)


async def test_a_server_that_is_not_there_yet_is_waited_for(
    proxy: Proxy, make_storage: MakeStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call waits for a server at whose address nothing answers, with one line in the log."""
    proxy.refusing = True
    storage = make_storage(proxy.dsn, retry_timeout=FOR_EVER)

    first = asyncio.create_task(storage.count_conversations())
    await logged(caplog, "no connection to the database yet; trying for retry_timeout")
    proxy.refusing = False

    assert await first == 0
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1


async def test_an_address_without_a_server_is_an_error_in_the_end(make_storage: MakeStorage) -> None:
    """If nothing answers within retry_timeout, all tasks that waited hear it, not one after the other."""
    storage = make_storage("postgresql://127.0.0.1:1/postgres", retry_timeout=0.1)

    results = await asyncio.gather(*(storage.count_conversations() for _ in range(9)), return_exceptions=True)

    assert {type(each) for each in results} == {ConnectionFailedError}
    assert len({id(each) for each in results}) == 9


async def test_a_refused_login_is_not_waited_for(dsn: str, make_storage: MakeStorage) -> None:
    """A database that does not exist is an error at once, for all tasks that waited."""
    nowhere = urlunsplit(urlsplit(dsn)._replace(path="/no_such_database"))
    storage = make_storage(nowhere, retry_timeout=FOR_EVER)

    results = await asyncio.gather(*(storage.count_conversations() for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in results] == [ConnectionFailedError] * 3


async def test_a_failover_is_waited_for(proxy: Proxy, make_storage: MakeStorage) -> None:
    """While no host has the asked role, the first call waits, and its error is ConnectionFailedError."""
    with pytest.raises(ConnectionFailedError, match="None of the hosts match"):
        await make_storage(with_parameters(proxy.dsn, target_session_attrs="standby"), retry_timeout=0.1).open()
    storage = make_storage(with_parameters(proxy.dsn, target_session_attrs="standby"), retry_timeout=FOR_EVER)

    first = asyncio.create_task(storage.count_conversations())
    while proxy.connections < 4:  # noqa: ASYNC110  # tried again
        await asyncio.sleep(0.01)
    assert not first.done()
    assert storage._options.target is not None
    object.__setattr__(storage._options.target, "session", "primary")  # as if the standby was promoted

    assert await first == 0


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_a_connection_that_is_lost_while_the_schema_is_looked_at_is_replaced(
    migrate: Migrate, proxy: Proxy, make_storage: MakeStorage, migrated: str
) -> None:
    """A connection that breaks while opening is replaced, and opening goes on."""
    proxy.cut_when = lambda answer: b"SELECT" in answer  # the tag of the only statement

    await make_storage(proxy.dsn, migrate=migrate, retry_timeout=FOR_EVER).open()

    assert proxy.cut_when is None
    assert proxy.connections == 2


@pytest.mark.parametrize("answers", [1, 3, 20, 60])
async def test_a_backend_that_is_lost_while_the_tables_are_created_is_replaced(
    answers: int, proxy: Proxy, make_storage: MakeStorage
) -> None:
    """Wherever the connection breaks while the tables are created, opening goes on where it was."""
    left = answers

    def cut(answer: bytes) -> bool:
        nonlocal left
        left -= answer.count(b"Z\0\0\0\5")  # ReadyForQuery
        return left < 0

    proxy.cut_when = cut
    storage = make_storage(proxy.dsn, retry_timeout=FOR_EVER)

    assert await storage.count_conversations() == 0
    assert proxy.cut_when is None
    assert proxy.connections == 2


async def test_upgrade_schema_whose_connection_is_lost_goes_on(proxy: Proxy, make_storage: MakeStorage) -> None:
    """upgrade_schema() is repeated if its connection breaks, and is ConnectionFailedError in the end."""
    storage = make_storage(proxy.dsn, migrate="off", retry_timeout=FOR_EVER)
    proxy.cut_when = lambda answer: b"CREATE TABLE" in answer

    assert await storage.upgrade_schema() != []
    assert await storage.upgrade_schema() == []

    impatient = make_storage(proxy.dsn, migrate="off", retry_timeout=0.01)

    def cut_and_stay_away(_: bytes) -> bool:
        proxy.refusing = True
        return True

    await impatient.schema_status()
    proxy.cut_when = cut_and_stay_away
    with pytest.raises(ConnectionFailedError):
        await impatient.schema_status()


@pytest.fixture
async def migrator(backend: str, schema: str) -> AsyncIterator[Connection]:
    """A process that holds the lock for changes of the schema, and does nothing."""
    own: Connection = await asyncpg.connect(backend)
    await own.execute("BEGIN")
    lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
    await own.execute(lock, f"voltmem:{Tables(schema, 'voltagent_memory')}")
    yield own
    await own.close()


async def test_a_migrator_that_works_is_waited_for_with_a_line_in_the_log(
    make_storage: MakeStorage, migrator: Connection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process upgrades the tables, the first call waits, and the log names its backend."""
    monkeypatch.setattr(ledger, "LONGEST_DELAY", 0.02)
    first = asyncio.create_task(make_storage().count_conversations())

    await logged(caplog, f"waiting for its backend {migrator.get_server_pid()}")
    await migrator.execute("COMMIT")

    assert await first == 0


async def test_a_migrator_that_hangs_is_an_error_that_names_it(
    make_storage: MakeStorage, migrator: Connection, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that holds the lock and sends nothing ends the wait; the way out in the error works."""
    monkeypatch.setattr(ledger, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(ledger, "HUNG_AFTER", 0.0)
    storage = make_storage()

    with pytest.raises(DatabaseTimeoutError, match=r"another process is upgrading the tables .* and hangs") as failed:
        await storage.count_conversations()
    await connection.execute(str(failed.value).rpartition(": ")[2])

    assert await storage.count_conversations() == 0


# --- encodings ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def latin1(connection: Connection, dsn: str) -> AsyncIterator[str]:
    """The connection string of a database with the encoding LATIN1."""
    name = temporary_schema_name()
    options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    if connection.get_server_version().major >= 15:
        options += " LOCALE_PROVIDER libc"
    await connection.execute(f"CREATE DATABASE {name} {options}")
    yield urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
    await drop_database(name, connection)


@pytest.mark.parametrize("migrate", ["auto", "check", "off"])
async def test_a_database_that_is_not_utf8_is_refused(migrate: Migrate, latin1: str, make_storage: MakeStorage) -> None:
    """A database with another encoding than UTF8 is refused by the first call, before anything is created."""
    storage = make_storage(latin1, migrate=migrate, retry_timeout=FOR_EVER)

    with pytest.raises(DatabaseError, match=r"has the encoding LATIN1, .*ENCODING 'UTF8'") as failed:
        await storage.count_conversations()

    assert not isinstance(failed.value, ConnectionFailedError)
    own = await asyncpg.connect(latin1)
    try:
        assert await own.fetchval("SELECT to_regnamespace($1)", storage._options.tables.schema) is None
    finally:
        await own.close()


async def test_a_pool_of_a_database_that_is_not_utf8_is_refused(latin1: str) -> None:
    """The caller's pool is looked at as well."""
    async with asyncpg.create_pool(latin1, min_size=0) as pool:
        with pytest.raises(DatabaseError, match="has the encoding LATIN1"):
            await PostgresStorage(pool=pool).open()
