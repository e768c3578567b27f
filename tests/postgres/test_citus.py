"""A cluster of Citus: the tables are distributed, upgrades reach all shards, and a conversation is on one server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import pytest

from tests.citus import DSN, at, needs_citus, on
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from tests.roles import PREFIX, dropped, logins, new_names, run_script
from voltmem import (
    BoundStorage,
    ConnectionFailedError,
    Message,
    OutcomeUnknownError,
    PostgresStorage,
    Quotas,
    SchemaError,
)
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


@needs_citus
async def test_an_upgrade_lets_every_shard_be_replicated(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Tables that were distributed before the migration get their replica identity on all shards."""
    prefix = f"{schema}.voltagent_memory"
    await connection.execute(f"ALTER TABLE {prefix}_changed_lines REPLICA IDENTITY DEFAULT")
    await connection.execute(f"DELETE FROM {prefix}_migrations WHERE name = '0016_replica_identity'")

    await storage.upgrade_schema()

    shards = await connection.fetch(
        "SELECT result FROM run_command_on_shards($1::text::regclass, "
        "$$SELECT relreplident FROM pg_class WHERE oid = '%s'::regclass$$)",
        f"{prefix}_changed_lines",
    )
    assert {shard["result"] for shard in shards} == {"f"}


MOVE = """
    WITH shard AS (
        SELECT shardid, groupid FROM pg_dist_placement
        WHERE shardid = get_shard_id_for_distribution_column($1::text::regclass, $2::text)
    )
    SELECT citus_move_shard_placement(shardid, here.nodename, here.nodeport, there.nodename, there.nodeport)
    FROM shard JOIN pg_dist_node AS here USING (groupid)
        JOIN pg_dist_node AS there ON there.shouldhaveshards AND there.groupid <> here.groupid
    LIMIT 1"""


@needs_citus
async def test_a_shard_moves_while_messages_are_added(
    make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """A shard moves to another worker with those beside it, by logical replication, and no append fails or is lost."""
    storage, sent = make_storage(storage_limit=None), 0
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})

    moving = asyncio.create_task(connection.execute(MOVE, f"{migrated}.voltagent_memory_conversations", "c1"))
    while not moving.done():
        await storage.add_message({"role": "user", "content": str(sent)}, "ada", "c1")
        sent += 1

    assert await moving == "SELECT 1"
    assert [each.content for each in await storage.get_messages("ada", "c1")] == [str(each) for each in range(sent)]


# --- what each call is there ----------------------------------------------------------------------------------------


@needs_citus
async def test_get_usage_counts_on_all_servers(storage: PostgresStorage) -> None:
    """The conversations, messages and files of a user are counted wherever they are."""
    for number in range(8):
        await storage.add_message({"role": "user", "content": "one"}, "ada", f"c{number}", resource_id="r")
        await storage.put_file("ada", b"%d" % number)

    usage = await storage.get_usage("ada")

    assert (usage.conversations, usage.messages, usage.file_bytes) == (8, 8, 8)


@needs_citus
async def test_delete_user_deletes_on_all_servers(storage: PostgresStorage) -> None:
    """Conversations, messages, files and runs of the user are gone, and those of others stay."""
    for user in ("ada", "bob"):
        for number in range(8):
            await storage.add_message({"role": "user", "content": "one"}, user, f"{user}{number}", resource_id="r")
        await storage.put_file(user, b"one")
        await storage.add_history_entry(f"run of {user}", {"input": "x", "status": "done"}, "agent")
    await storage.add_history_entry("hers", {"input": "x", "status": "done", "userId": "ada"}, "agent")

    assert await storage.delete_user("ada") == 8 + 1

    left = [await storage.get_usage(user) for user in ("ada", "bob")]
    assert [(each.conversations, each.messages, each.file_bytes) for each in left] == [(0, 0, 0), (8, 8, 3)]
    assert await storage.get_history_entry("hers") is None
    assert await storage.get_history_entry("run of bob") is not None


@needs_citus
async def test_purge_unused_files_deletes_only_uploads_that_were_cut_off(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """A complete file may be in a message, because no trigger keeps the references."""
    kept = await storage.put_file("ada", b"kept")
    files = f"{schema}.voltagent_memory_files"
    await connection.execute(f"INSERT INTO {files} (user_id, upload, pending_since) VALUES ('bob', 'cut off', now())")

    assert await storage.purge_unused_files(older_than=timedelta(0)) == 1

    assert await storage.get_file("ada", kept.id) is not None


@needs_citus
async def test_index_messages_indexes_on_all_servers(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """Messages that were stored without the search are found afterwards, on whatever server they are."""
    for number in range(8):
        await storage.add_message({"role": "user", "content": "wanted"}, "ada", f"c{number}", resource_id="r")
    searching = make_storage(search=True)

    assert await searching.index_messages() == 8

    assert len((await searching.search("ada", "wanted")).hits) == 8


@needs_citus
async def test_quotas_are_refused_at_opening(migrated: str, make_storage: MakeStorage) -> None:
    """A storage with quotas does not open, and its error says what to do."""
    with pytest.raises(SchemaError, match=r"quotas work on one server only: leave out the option quotas"):
        await make_storage(quotas=Quotas(conversations=1)).open()


CALLS_WITH_QUOTAS: dict[str, Callable[[PostgresStorage], Awaitable[object]]] = {
    "create": lambda storage: storage.create_conversation({"id": "c2", "user_id": "ada"}),
    "ensure": lambda storage: storage.ensure_conversation({"id": "c2", "user_id": "ada"}),
    "fork": lambda storage: storage.fork_conversation("c1"),
    "give": lambda storage: storage.update_conversation("c1", user_id="bob"),
    "add": lambda storage: storage.add_message({"role": "user", "content": "one"}, "ada", "c1"),
    "put_file": lambda storage: storage.put_file("ada", b"one"),
}


@needs_citus
async def test_quotas_are_refused_by_a_storage_that_is_open(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """While the tables are distributed under an open storage with quotas, its calls that store raise the same error."""
    tables = Tables(schema, "voltagent_memory")
    await upgrade(connection, tables)
    storage = make_storage(quotas=Quotas(conversations=10, messages=10, file_bytes=10))
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")

    await distribute(connection, tables)

    for call in CALLS_WITH_QUOTAS.values():
        with pytest.raises(SchemaError, match="distributed by Citus, and quotas work on one server only"):
            await call(storage)
    with pytest.raises(SchemaError, match="quotas work on one server only"):
        async with storage.transaction() as tx:
            await tx.create_conversation({"id": "c2", "user_id": "ada"})
    assert await storage.count_messages("ada", "c1") == 1


@needs_citus
async def test_quotas_are_refused_without_a_look_at_opening(migrated: str, make_storage: MakeStorage) -> None:
    """With migrate="off", calls that store raise the error, and health() names it."""
    storage = make_storage(quotas=Quotas(conversations=1), migrate="off")

    with pytest.raises(SchemaError, match="quotas work on one server only: leave out the option quotas"):
        await storage.create_conversation({"id": "c1", "user_id": "ada"})

    health = await storage.health()
    assert (health.can_read, health.can_write) == (True, False)
    assert len(health.problems) == 1
    assert "quotas work on one server only" in health.problems[0]
    assert (await make_storage().health()).problems == ()


@needs_citus
async def test_check_is_refused(storage: PostgresStorage) -> None:
    """check() raises an error that says why."""
    with pytest.raises(SchemaError, match=r"distributed by Citus, and check\(\) works on one server only"):
        await storage.check()


@needs_citus
async def test_session_is_refused(connection: Connection, schema: str, make_storage: MakeStorage) -> None:
    """After the script of the roles, the application role adds messages, and session() says that it is not on Citus."""
    async with logins(connection, DSN or "", schema) as given:
        application = make_storage(given.application, migrate="check")
        await application.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")
        with pytest.raises(SchemaError, match=r"distributed by Citus, and session\(\) works on one server only"):
            async with application.for_user("ada").session():
                raise AssertionError("a session without protection")
        await application.close()


@needs_citus
async def test_policies_of_sessions_are_dropped_before_the_tables_are_distributed(
    connection: Connection, schema: str, make_storage: MakeStorage
) -> None:
    """Policies that read other tables are refused before anything moves; sql --roles --citus drops session()'s."""
    tables, names = Tables(schema, PREFIX), new_names()
    await upgrade(connection, tables)
    async with dropped(connection, names):
        await run_script(connection, tables, names, distributed=False)
        storage = make_storage(migrate="off")

        with pytest.raises(SchemaError, match="sql --roles --citus"):
            await storage.upgrade_schema(citus=True)
        assert (await storage.schema_status()).citus == "local"

        await run_script(connection, tables, names)
        await storage.upgrade_schema(citus=True)
        assert (await storage.schema_status()).citus == "distributed"


@needs_citus
async def test_sql_roles_can_be_run_again(connection: Connection, schema: str) -> None:
    """The script of the roles, run a second time on distributed tables, succeeds."""
    async with logins(connection, DSN or "", schema) as given:
        await run_script(connection, Tables(schema, PREFIX), given.names)


# --- a worker that is down -------------------------------------------------------------------------------------------


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


@needs_citus
@pytest.mark.parametrize("at_commit", [False, True])
async def test_a_transaction_that_loses_a_worker_is_undone(
    at_commit: bool, workers: tuple[str, list[Proxy]], make_storage: MakeStorage
) -> None:
    """It raises ConnectionFailedError, or while it commits perhaps OutcomeUnknownError, and no worker has its rows."""
    dsn, (lost, *_) = workers
    storage = make_storage(dsn)
    await storage.upgrade_schema(citus=True)
    ids = [f"c{number}" for number in range(8)]

    async def add_to_all(tx: BoundStorage) -> None:
        for id in ids:
            await tx.add_message({"role": "user", "content": "one"}, "ada", id, resource_id="r")

    with pytest.raises((ConnectionFailedError, OutcomeUnknownError) if at_commit else ConnectionFailedError):
        async with storage.transaction() as tx:
            await add_to_all(tx)
            lost.cut()
            if not at_commit:
                await add_to_all(tx)

    assert await storage.count_conversations() == 0
    async with storage.transaction() as tx:
        await add_to_all(tx)
    assert await storage.count_conversations() == len(ids)


@needs_citus
async def test_calls_for_all_servers_need_every_worker(
    workers: tuple[str, list[Proxy]], make_storage: MakeStorage
) -> None:
    """
    While a worker is down, lists, the search and counts raise ConnectionFailedError, and delete_user() deletes nothing.

    When it is back, the same storage does them.
    """
    dsn, (down, *_) = workers
    storage = make_storage(dsn, retry_timeout=0.2, search=True)
    await storage.upgrade_schema(citus=True)
    for number in range(8):
        await storage.add_message({"role": "user", "content": "wanted"}, "ada", f"c{number}", resource_id="r")
    reads: list[Callable[[], Awaitable[object]]] = [
        lambda: storage.list_conversations("ada"),
        lambda: storage.search("ada", "wanted"),
        lambda: storage.count_conversations(user_id="ada"),
        lambda: storage.get_usage("ada"),
    ]

    down.refusing = True
    down.cut()
    for read in reads:
        with pytest.raises(ConnectionFailedError):
            await read()
    with pytest.raises(OutcomeUnknownError):
        await storage.delete_user("ada")

    down.refusing = False
    for read in reads:
        await read()
    assert await storage.delete_user("ada") == 8
