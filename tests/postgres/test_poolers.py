"""Poolers: one that nobody declared is noticed when a storage is opened; PgBouncer's own errors are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from tests.calls import PATIENCE, with_parameters
from tests.pgbouncer import PROGRAM, PgBouncer
from tests.proxy import Proxy
from voltmem import ConnectionFailedError, DatabaseError, PostgresStorage
from voltmem._postgres.driver import is_passing, keeps_statements
from voltmem.options import Migrate

if TYPE_CHECKING:
    from tests.conftest import MakeStorage

pytestmark = pytest.mark.backend("poolers of these tests lead to it")

FOR_EVER: Final = 3600.0
NOTICED: Final = "is a pooler: the server's process is not the one that the login named"


async def keeps(storage: PostgresStorage) -> bool:
    """Return whether the pool's connections keep prepared statements, after a call that would have left some."""
    await storage.count_conversations()
    async with storage.transaction() as tx:
        await tx.count_conversations()
        kept = await tx.connection.fetchval("SELECT count(*) FROM pg_prepared_statements")
        assert (kept > 0) is keeps_statements(tx.connection)
        return keeps_statements(tx.connection)


# --- one that nobody declared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("migrate", ["auto", "check", "off"])
async def test_a_pooler_that_nobody_declared_is_noticed(
    make_storage: MakeStorage, migrated: str, proxy: Proxy, migrate: Migrate, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening a storage behind a pooler logs a warning, and no statements are prepared."""
    proxy.pooling = True
    storage = make_storage(proxy.dsn, migrate=migrate)

    assert not await keeps(storage)

    assert caplog.text.count(NOTICED) == 1


async def test_a_pooler_is_noticed_before_tables_are_created(
    make_storage: MakeStorage, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """On an empty database, too, nothing is prepared; upgrade_schema() looks as well."""
    proxy.pooling = True

    assert await make_storage(proxy.dsn, migrate="off").upgrade_schema()
    assert not await keeps(make_storage(proxy.dsn))

    assert caplog.text.count(NOTICED) == 2


async def test_a_direct_connection_keeps_its_statements(
    make_storage: MakeStorage, migrated: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a pooler, statements are prepared, and opening costs no round trip more."""
    await make_storage(proxy.dsn).open()
    with_look = proxy.round_trips
    declared = make_storage(with_parameters(proxy.dsn, pgbouncer="false"))
    await declared.open()

    assert proxy.round_trips == 2 * with_look
    assert await keeps(declared)
    assert await keeps(make_storage(proxy.dsn))
    assert NOTICED not in caplog.text


@pytest.mark.parametrize("parameter", [{"pgbouncer": "false"}, {"statement_cache_size": "50"}], ids=str)
async def test_a_pooler_in_session_mode_can_be_declared(
    make_storage: MakeStorage, migrated: str, proxy: Proxy, parameter: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """With pgbouncer=false, or a size for the cache, statements are prepared behind a pooler, without a warning."""
    proxy.pooling = True

    assert await keeps(make_storage(with_parameters(proxy.dsn, **parameter)))

    assert NOTICED not in caplog.text


@pytest.mark.parametrize("size", [0, 100])
async def test_a_given_pool_behind_a_pooler_is_warned_of(
    migrated: str, proxy: Proxy, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A pool of the caller's is used as it is; a warning says to turn off its statement cache, unless that is done."""
    proxy.pooling = True
    async with asyncpg.create_pool(proxy.dsn, min_size=0, max_size=2, statement_cache_size=size) as pool:
        storage = PostgresStorage(pool=pool, schema=migrated)

        assert await storage.count_conversations() == 0

        await storage.close()
    assert ("pass statement_cache_size=0 to it" in caplog.text) is (size > 0)


# --- PgBouncer --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pgbouncer(backend: str) -> Iterator[str]:
    """A connection string of a PgBouncer in transaction mode, which lets four clients in."""
    with PgBouncer(backend, max_client_conn=4, default_pool_size=2) as pooler:
        yield pooler.dsn


async def connected(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    """Connect to PgBouncer, which may just be starting."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):
                return await asyncpg.connect(dsn, statement_cache_size=0)


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
async def test_pgbouncer_that_nobody_declared_is_noticed(
    make_storage: MakeStorage, pgbouncer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The real PgBouncer names another process than the server's in its login: no statements are prepared."""
    await (await connected(pgbouncer)).close()

    assert not await keeps(make_storage(pgbouncer, max_connections=1))

    assert caplog.text.count(NOTICED) == 1


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
async def test_pgbouncer_without_room_is_waited_for(make_storage: MakeStorage, migrated: str, pgbouncer: str) -> None:
    """While PgBouncer has no room for a client (08P01), a call waits for retry_timeout, and then says so."""
    others = [await connected(pgbouncer) for _ in range(4)]
    with pytest.raises(ConnectionFailedError, match=r"no more connections allowed.*raise max_client_conn of"):
        await make_storage(pgbouncer, retry_timeout=0.1).open()

    waiting = asyncio.create_task(make_storage(pgbouncer, retry_timeout=FOR_EVER).count_conversations())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    for other in others:
        await other.close()

    async with asyncio.timeout(PATIENCE):
        assert await waiting == 0


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
async def test_pgbouncer_in_statement_mode_is_an_error_at_once(
    make_storage: MakeStorage, migrated: str, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without transactions nothing will pass by waiting: the first one is an error that names the setting."""
    with PgBouncer(backend, pool_mode="statement") as pooler:
        await (await connected(pooler.dsn)).close()
        dsn = with_parameters(pooler.dsn, pgbouncer="true")
        storage = make_storage(dsn, retry_timeout=FOR_EVER, migrate="off")

        async with asyncio.timeout(PATIENCE):
            for begin in (storage.transaction, storage._database.snapshot):
                with pytest.raises(DatabaseError, match="set pool_mode = transaction") as failed:
                    async with begin():
                        pass
                assert not isinstance(failed.value, ConnectionFailedError)
            with pytest.raises(DatabaseError, match="set pool_mode = transaction"):
                await make_storage(dsn, retry_timeout=FOR_EVER, table_prefix="other").open()

    assert "connection was lost" not in caplog.text


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("no more connections allowed (max_client_conn)", True),
        ("server login has been failing, try again later (server_login_retry)", True),
        ("pgbouncer cannot connect to server", True),
        ("client_login_timeout (server down)", True),
        ("pgbouncer is shutting down", True),
        ("unsupported startup parameter: statement_timeout", False),
        ("no such user: app", False),
        ("SASL authentication failed", False),
        ("no such database: nowhere", False),
    ],
)
def test_what_pgbouncer_says_is_told_apart(text: str, passes: bool) -> None:
    """PgBouncer says everything with one SQLSTATE. What may be over a little later is waited for, by its text."""
    assert is_passing(asyncpg.ProtocolViolationError(text)) is passes
