"""Where tables can be distributed: everywhere else, upgrade_schema(citus=True) says what to do, and changes nothing."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.citus import DSN, at, needs_citus, on
from tests.conftest import Connection, MakeStorage
from voltmem import Quotas, SchemaError
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.schema import script
from voltmem._tables import Tables

no_citus = pytest.mark.skipif(DSN is not None, reason="VOLTMEM_TEST_CITUS_DSN is set: there is a Citus here")


async def has_nothing(connection: Connection, schema: str) -> bool:
    return await connection.fetchval("SELECT to_regnamespace($1) IS NULL", schema) is True


@no_citus
async def test_without_citus_the_status_says_so(make_storage: MakeStorage, connection: Connection, schema: str) -> None:
    """schema_status().citus is "absent", and upgrade_schema(citus=True) says what to install, before it changes any."""
    storage = make_storage(migrate="off")

    assert (await storage.schema_status()).citus == "absent"
    with pytest.raises(SchemaError, match="CREATE EXTENSION citus"):
        await storage.upgrade_schema(citus=True)
    assert await has_nothing(connection, schema)


@no_citus
async def test_without_citus_the_script_changes_nothing(connection: Connection, schema: str) -> None:
    """The script of "sql --citus" fails before it creates anything, and says what to install."""
    text = script(Tables(schema, "voltagent_memory"), distributed=True)

    with pytest.raises(asyncpg.RaiseError, match="CREATE EXTENSION citus"):
        for statement in Migration("script", text).statements(Tables(schema, "voltagent_memory")):
            await connection.execute(statement)

    assert await has_nothing(connection, schema)


async def test_a_storage_with_quotas_distributes_nothing(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """upgrade_schema(citus=True) of a storage with quotas is an error before anything is changed."""
    storage = make_storage(quotas=Quotas(conversations=1))

    with pytest.raises(SchemaError, match="not distributed: quotas work on one server only"):
        await storage.upgrade_schema(citus=True)

    assert await has_nothing(connection, schema)


@needs_citus
async def test_a_worker_distributes_nothing(make_storage: MakeStorage, connection: Connection, schema: str) -> None:
    """On a worker, upgrade_schema(citus=True) says to connect to the coordinator, and changes nothing."""
    worker = await connection.fetchval(
        "SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE groupid <> 0 LIMIT 1"
    )

    with pytest.raises(SchemaError, match="worker of Citus"):
        await make_storage(at(worker, "postgres")).upgrade_schema(citus=True)

    assert await has_nothing(connection, schema)


@pytest.fixture
async def alone(connection: Connection) -> AsyncIterator[str]:
    """The connection string of a database of the coordinator to which no worker was added."""
    name = f"voltmem_test_{secrets.token_hex(8)}"
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", DSN or "")
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@needs_citus
async def test_without_workers_the_coordinator_has_all_rows(
    alone: str, make_storage: MakeStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables can be distributed before there are workers; a line in the log says that there are none."""
    await on(alone, "CREATE EXTENSION citus")
    storage = make_storage(alone)

    await storage.upgrade_schema(citus=True)

    assert "Citus has no workers yet" in caplog.text
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")
    assert (await storage.schema_status()).citus == "distributed"


@needs_citus
async def test_without_a_server_for_rows_nothing_is_changed(alone: str, make_storage: MakeStorage, schema: str) -> None:
    """If the coordinator may have no rows, and there are no workers, the error comes before anything is changed."""
    await on(alone, "CREATE EXTENSION citus", "SELECT citus_set_coordinator_host('127.0.0.1', 1)")
    storage = make_storage(alone)

    with pytest.raises(SchemaError, match="Add workers with citus_add_node"):
        await storage.upgrade_schema(citus=True)

    assert [each.applied_at for each in await storage.schema_status() if each.applied_at is not None] == []
