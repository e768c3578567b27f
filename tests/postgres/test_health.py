"""health() says what works, and raises no error of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests import citus
from tests.calls import with_settings
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import Health, InvalidInputError, PostgresStorage
from voltmem._postgres.migrations.files import migrations
from voltmem.testing import temporary_schema_name

# Longer than anything here takes.
PATIENT = 60.0


async def test_health_of_an_open_storage_is_one_round_trip(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Where everything works, health() says so, in one round trip."""
    storage = make_storage(proxy.dsn, max_connections=3)
    await storage.open()
    await storage.health(timeout=PATIENT)  # prepared
    before = proxy.round_trips

    health = await storage.health(timeout=PATIENT)

    assert proxy.round_trips == before + 1
    assert (health.can_read, health.can_write, health.problems) == (True, True, ())
    assert (health.missing_migrations, health.is_standby) == ((), False)
    assert health.has_notifications is (citus.DSN is None)
    assert (health.open_connections, health.idle_connections, health.max_connections) == (1, 1, 3)
    assert [each.name for each in fields(Health) if getattr(health, each.name) is None] == []
    assert health.latency is not None
    assert health.clock_offset is not None
    assert abs(health.clock_offset) < PATIENT


async def test_health_before_the_first_call_changes_nothing(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """health() of a storage that is not open lists the missing migrations, and creates no table."""
    health = await make_storage().health(timeout=PATIENT)

    assert (health.can_read, health.can_write) == (False, False)
    assert health.missing_migrations == tuple(each.name for each in migrations())
    assert "python -m voltmem migrate" in health.problems[0]
    assert await connection.fetchval("SELECT to_regnamespace($1)", schema) is None


async def test_health_names_the_migration_that_is_missing(
    make_storage: MakeStorage, connection: Connection, migrated: str
) -> None:
    """A migration that is missing is named, and the tables are not taken for current."""
    storage = make_storage()
    await connection.execute(f"DELETE FROM {storage._options.tables.migrations} WHERE name = $1", migrations()[-1].name)

    health = await storage.health(timeout=PATIENT)

    assert (health.can_read, health.missing_migrations) == (False, (migrations()[-1].name,))


@pytest.fixture
async def reader(connection: Connection, migrated: str, schema: str) -> AsyncIterator[str]:
    """A role that may only read, by its name."""
    name = temporary_schema_name()
    await connection.execute(f'CREATE ROLE {name}; GRANT USAGE ON SCHEMA "{schema}" TO {name}')
    await connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO {name}')
    yield name
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_health_lists_the_privileges_that_are_lacking(reader: str, dsn: str, make_storage: MakeStorage) -> None:
    """For a role that may only read, health() says so and lists what to grant."""
    storage = make_storage(with_settings(dsn, role=reader))

    health = await storage.health(timeout=PATIENT)

    assert (health.can_read, health.can_write, health.role) == (True, False, reader)
    assert [privilege for privilege in ("INSERT", "UPDATE", "DELETE") if privilege not in health.problems[0]] == []
    assert "SELECT" not in health.problems[0]


async def test_health_of_a_read_only_database_can_read(dsn: str, make_storage: MakeStorage, migrated: str) -> None:
    """With default_transaction_read_only the storage can read, and the problem names the setting."""
    health = await make_storage(with_settings(dsn, default_transaction_read_only="on")).health(timeout=PATIENT)

    assert (health.can_read, health.can_write, health.is_standby) == (True, False, False)
    assert health.problems[0].startswith("default_transaction_read_only is on")


async def test_health_of_a_server_that_is_away_is_said_at_once(proxy: Proxy, make_storage: MakeStorage) -> None:
    """A server that refuses or hangs is a problem, and not waited for as a call would be."""
    storage = make_storage(proxy.dsn, retry_timeout=3600)
    await storage.open()
    proxy.refusing = True
    proxy.cut()
    health = await storage.health(timeout=PATIENT)
    while not health.problems:  # the driver had not noticed yet
        health = await storage.health(timeout=PATIENT)
    assert (health.can_read, health.server_version) == (False, None)

    proxy.refusing = False
    proxy.hang()
    health = await storage.health(timeout=0.1)
    assert health.problems == ("no answer within 0.1 seconds. Check the server, the network and the pool",)
    proxy.flow()
    assert (await storage.health(timeout=PATIENT)).can_write


async def test_health_says_that_the_pool_is_used_up(make_storage: MakeStorage) -> None:
    """If all connections are in use, the numbers of the pool show it."""
    storage = make_storage(max_connections=1)

    async with storage.transaction():
        health = await storage.health(timeout=0.1)

    assert (health.open_connections, health.idle_connections, health.max_connections) == (1, 0, 1)
    assert not health.can_read


async def test_health_shows_no_password(dsn: str, make_storage: MakeStorage) -> None:
    """The result can be sent to strangers who help: the password is not in it."""
    nowhere = urlunsplit(urlsplit(dsn)._replace(netloc="ada:S3cret@127.0.0.1:1"))

    health = await make_storage(nowhere, retry_timeout=3600).health(timeout=PATIENT)

    assert "127.0.0.1:1" in health.server
    assert "S3cret" not in repr(health)
    assert "cannot reach PostgreSQL" in health.problems[0]  # and it was not tried until the timeout


async def test_health_of_a_closed_storage_is_a_problem(make_storage: MakeStorage) -> None:
    """A storage that is closed is not ready, which is what a probe has to hear at the end."""
    storage = make_storage()
    await storage.close()

    assert (await storage.health()).problems == ("this storage is closed. Its open() opens it again.",)


async def test_health_of_a_given_pool(dsn: str, make_storage: MakeStorage, migrated: str) -> None:
    """The caller's pool is looked at in the same way."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool:
        health = await PostgresStorage(pool=pool, schema=make_storage()._options.tables.schema).health(timeout=PATIENT)

    assert (health.can_write, health.max_connections) == (True, 2)


@pytest.mark.parametrize("timeout", [0, -1, "1", None, float("inf")])
async def test_health_refuses_a_timeout_that_is_none(timeout: float, make_storage: MakeStorage) -> None:
    """A timeout is a number of seconds."""
    with pytest.raises(InvalidInputError, match="timeout"):
        await make_storage().health(timeout=timeout)


async def test_health_leaves_no_connection_behind(make_storage: MakeStorage) -> None:
    """Probes that are cut off, and many at once, leave the pool as it was."""
    storage = make_storage(max_connections=2)
    await storage.open()

    await asyncio.gather(*(storage.health(timeout=0.001) for _ in range(20)))

    assert (await storage.health(timeout=PATIENT)).can_write
