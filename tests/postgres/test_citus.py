"""A cluster of Citus: the tables are distributed, upgrades reach all shards, and a conversation is on one server."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.citus import DSN, needs_citus
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import ConnectionFailedError, Message, OutcomeUnknownError, PostgresStorage, SchemaError
from voltmem._postgres.migrations import citus, files
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.schema import distribute, upgrade
from voltmem._tables import Tables

MORE = Migration(
    "9999_more",
    """
ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS more text;

CREATE INDEX IF NOT EXISTS {prefix}_messages_by_more ON {schema}.{prefix}_messages (conversation_id, more);
""",
)


async def test_without_citus_the_status_says_so(make_storage: MakeStorage) -> None:
    """schema_status().citus is "absent", and upgrade_schema(citus=True) says what to install."""
    if DSN is not None:
        pytest.skip("VOLTMEM_TEST_CITUS_DSN is set: there is a Citus here")
    storage = make_storage(migrate="off")

    assert (await storage.schema_status()).citus == "absent"
    with pytest.raises(SchemaError, match="CREATE EXTENSION citus"):
        await storage.upgrade_schema(citus=True)


@needs_citus
async def test_the_tables_are_distributed_once(connection: Connection, schema: str, make_storage: MakeStorage) -> None:
    """The distribution returns the tables that it has distributed, and does nothing another time."""
    tables = Tables(schema, "voltagent_memory")
    await upgrade(connection, tables)
    before = (await make_storage(migrate="off").schema_status()).citus

    done = await distribute(connection, tables)

    assert done == [getattr(tables, each.table) for each in citus.LAYOUT]
    assert (before, (await make_storage(migrate="off").schema_status()).citus) == ("local", "distributed")
    assert await make_storage(migrate="off").upgrade_schema(citus=True) == []


@needs_citus
async def test_an_upgrade_changes_every_shard(
    storage: PostgresStorage, connection: Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later migration adds a column and an index to all shards."""
    known = (*files.migrations(), MORE)
    monkeypatch.setattr("voltmem._postgres.schema.migrations", lambda: known)
    await storage.add_message({"role": "user", "content": "before"}, "ada", "c1", resource_id="r")

    assert await storage.upgrade_schema() == [MORE.name]

    shards = await connection.fetch(
        "SELECT success FROM run_command_on_shards($1::text::regclass, 'SELECT count(more) FROM %s')",
        f"{schema}.voltagent_memory_messages",
    )
    assert len(shards) > 1
    assert all(shard["success"] for shard in shards)
    await storage.add_message({"role": "user", "content": "after"}, "ada", "c1")
    assert await storage.count_messages("ada", "c1") == 2


@needs_citus
async def test_a_table_of_an_upgrade_is_distributed(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """A table that a migration creates, with a foreign key to a distributed one, is distributed with it."""
    prefix = f"{schema}.voltagent_memory"
    await connection.execute(f"DROP TABLE {prefix}_payloads")
    await connection.execute(f"DELETE FROM {prefix}_migrations WHERE name = '0004_payloads'")

    await upgrade(connection, Tables(schema, "voltagent_memory"))

    column = await connection.fetchval(
        "SELECT distribution_column FROM citus_tables WHERE table_name = $1::text::regclass", f"{prefix}_payloads"
    )
    assert column == "conversation_id"


@needs_citus
async def test_watch_polls(storage: PostgresStorage) -> None:
    """Without the trigger, watch() sees a change at its next look."""
    changes = storage.watch("ada", poll_interval=0.1)
    kinds = [(await anext(changes)).kind]
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")

    async with asyncio.timeout(50):
        kinds.append((await anext(changes)).kind)
    await changes.aclose()

    assert kinds == ["ready", "created"]


@needs_citus
async def test_a_conversation_is_on_one_server(connection: Connection, migrated: str) -> None:
    """The tables of a conversation have the same shards in the same places."""
    found = await connection.fetch(
        "SELECT colocation_id FROM citus_tables WHERE table_name = ANY ($1::text[]::regclass[])",
        [f"{migrated}.voltagent_memory_{name}" for name in ("conversations", "messages", "payloads", "shares")],
    )

    assert len(found) == 4
    assert len({row["colocation_id"] for row in found}) == 1


# --- a worker that is down -------------------------------------------------------------------------------------------


def at(server: str, database: str) -> str:
    """Return the coordinator's connection string, with another server and database."""
    return re.sub(r"(//(?:[^@/]*@)?)[^/?]*/[^?]*", rf"\g<1>{server}/{database}", DSN or "")


@pytest.fixture
async def workers(connection: Connection) -> AsyncIterator[tuple[str, list[Proxy]]]:
    """A database on all servers of the cluster, which run on this machine, and a proxy in front of each worker."""
    name = f"voltmem_test_{secrets.token_hex(8)}"
    nodes = await connection.fetch(
        "SELECT groupid, nodename || ':' || nodeport AS server, nodename, nodeport FROM pg_dist_node ORDER BY groupid"
    )
    async with AsyncExitStack() as proxies:
        try:
            for node in nodes:
                await on(at(node["server"], "postgres"), f"CREATE DATABASE {name}")
                await on(at(node["server"], name), "CREATE EXTENSION citus")
            behind = [
                await proxies.enter_async_context(Proxy(at(node["server"], name))) for node in nodes if node["groupid"]
            ]
            await on(
                at(nodes[0]["server"], name),
                f"SELECT citus_set_coordinator_host('{nodes[0]['nodename']}', {nodes[0]['nodeport']})",
                *(f"SELECT citus_add_node('127.0.0.1', {urlsplit(each.dsn).port})" for each in behind),
                f"ALTER DATABASE {name} SET citus.shard_count = 4",
            )
            yield at(nodes[0]["server"], name), behind
        finally:
            for node in nodes:
                await on(at(node["server"], "postgres"), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def on(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def outcomes(call: Callable[[str], Awaitable[object]], ids: list[str]) -> dict[str, object]:
    """Return the result or the error of a call for each conversation, made at the same time."""
    async with asyncio.timeout(50):
        return dict(zip(ids, await asyncio.gather(*map(call, ids), return_exceptions=True), strict=True))


@needs_citus
async def test_a_worker_that_is_down_fails_only_its_own_conversations(
    workers: tuple[str, list[Proxy]], make_storage: MakeStorage
) -> None:
    """
    Calls for conversations on other workers succeed; reads of its own raise ConnectionFailedError, writes
    OutcomeUnknownError. A list needs all workers. When it is back, the same storage works, and nothing is there twice.
    """
    dsn, (down, *_) = workers
    storage = make_storage(dsn, retry_timeout=0.2)
    await storage.upgrade_schema(citus=True)
    ids = [f"c{number}" for number in range(16)]
    for id in ids:
        await storage.add_message({"id": "m0", "role": "user", "content": "before"}, "ada", id, resource_id="r")

    def add(id: str) -> Awaitable[Message]:
        return storage.add_message({"id": "m1", "role": "user", "content": "meanwhile"}, "ada", id)

    down.refusing = True
    down.cut()
    read = await outcomes(partial(storage.get_messages, "ada"), ids)
    lost = {id for id, outcome in read.items() if isinstance(outcome, Exception)}
    added = await outcomes(add, ids)

    assert 0 < len(lost) < len(ids)
    assert {type(read[id]) for id in lost} == {ConnectionFailedError}
    assert {id for id, outcome in added.items() if not isinstance(outcome, Message)} == lost
    assert {type(added[id]) for id in lost} == {OutcomeUnknownError}
    with pytest.raises(ConnectionFailedError):
        await storage.list_conversations("ada")
    down.refusing = False
    again = await outcomes(add, ids)
    assert {type(outcome) for outcome in again.values()} == {Message}
    assert len((await storage.list_conversations("ada")).items) == len(ids)
    for id in ids:
        assert [each.id for each in await storage.get_messages("ada", id)] == ["m0", "m1"]
