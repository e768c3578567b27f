"""Tables are created, upgraded and checked, with any number of concurrent starts and any error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.calls import PATIENCE
from tests.catalog import ledger
from tests.checkout import ROOT
from tests.proxy import Proxy
from tests.tables import create_tables
from tests.watched import WatchedConnection, watched
from tests.worker import Worker, workers
from voltmem import (
    InvalidOptionError,
    MigrationError,
    PostgresStorage,
    SchemaError,
    SchemaNotReadyError,
)
from voltmem._postgres.migrations.files import Migration, migrations
from voltmem._postgres.migrations.ledger import schema_lock
from voltmem._postgres.schema import script, upgrade
from voltmem._tables import MAX_PREFIX_LENGTH, Tables
from voltmem.testing import drop_schema, temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

ROUNDS = 50
FOLDER = ROOT / "migrations_sql"
NAMES = [migration.name for migration in migrations()]
TABLES = Tables("app", "chat")


@pytest.fixture(scope="module")
def processes() -> Iterator[list[Worker]]:
    with workers(8) as processes:
        yield processes


# --- concurrent calls ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["open", "upgrade"])
def test_processes_that_start_together_all_succeed(dsn: str, processes: list[Worker], order: str) -> None:
    """Eight processes start on an empty schema: all succeed, and each migration is applied by one of them."""
    for _ in range(ROUNDS // 2):
        schema = temporary_schema_name()

        for process in processes:
            process.send(order, dsn, schema=schema)
        answers = [process.answer() for process in processes]

        asyncio.run(drop_schema(schema))
        if order == "open":
            assert answers == [0] * len(processes)
        else:
            assert sorted(chain.from_iterable(answers)) == sorted(NAMES)


async def test_prefixes_that_start_together_in_a_new_schema_all_succeed(dsn: str, connection: Connection) -> None:
    """Applications with different prefixes start on a schema that does not exist yet: all succeed."""
    for _ in range(10):
        schema = temporary_schema_name()
        storages = [PostgresStorage(dsn, schema=schema, table_prefix=f"app{n}", max_connections=1) for n in range(4)]

        outcomes = await asyncio.gather(*(storage.open() for storage in storages), return_exceptions=True)

        await asyncio.gather(*(storage.close() for storage in storages))
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
        assert outcomes == [None] * len(storages)


async def test_a_prefix_waits_for_another_that_is_making_the_schema(
    dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix waits as long as needed for another one that creates the schema; only waits for tables are short."""
    monkeypatch.setattr("voltmem._postgres.migrations.ledger.LOCK_TIMEOUT", 1)
    schema = temporary_schema_name()
    storage = PostgresStorage(dsn, schema=schema, max_connections=1)

    async with connection.transaction():  # holds the lock of a schema that is being created
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"voltmem:{schema}")
        opening = asyncio.create_task(storage.open())
        async with asyncio.timeout(PATIENCE):
            while not await connection.fetchval(IS_LOCKED, f"voltmem:{storage._options.tables}"):
                pass
        assert not opening.done()
    await opening

    await storage.close()
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def test_a_schema_that_another_process_creates_after_begin_is_used(backend: str, connection: Connection) -> None:
    """A backend that remembers that there is no schema meets one that was created before it had the lock."""

    async def before(_: WatchedConnection, statement: str) -> None:
        if "pg_try_advisory" in statement:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {tables.schema}")

    async with watched(backend, before) as locking:
        for _ in range(3):  # at first it has functions to look up, and so notices what has changed
            tables = Tables(temporary_schema_name(), "chat")
            assert await locking.fetchval("SELECT to_regnamespace($1) IS NULL", tables.schema)

            async with schema_lock(locking, tables):
                assert await locking.fetchval(f"SELECT count(*) FROM {tables.migrations}") == 0

            await connection.execute(f"DROP SCHEMA {tables.schema} CASCADE")


# Whether a session holds the lock of a prefix. It acquires that of the schema next.
IS_LOCKED = """
    SELECT EXISTS (
        SELECT FROM pg_sleep(0.002), pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.granted
            AND l.classid::bigint = hashtextextended($1, 0) >> 32 & 4294967295
            AND l.objid::bigint = hashtextextended($1, 0) & 4294967295
    )"""


# --- steps and their preconditions --------------------------------------------------------------------------------


async def catalog(connection: Connection, schema: str) -> list[asyncpg.Record]:
    """Return everything in the schema with the transactions that last changed it, and the ledger."""
    ledger = f'"{schema}".voltagent_memory_migrations'
    return await connection.fetch(
        f"""
        SELECT relname::text AS name, xmin::text AS changed FROM pg_class WHERE relnamespace = $1::text::regnamespace
        UNION ALL
        SELECT proname, xmin::text FROM pg_proc WHERE pronamespace = $1::text::regnamespace
        UNION ALL
        SELECT name || checksum || applied_at, xmin::text FROM {ledger}
        ORDER BY 1""",
        schema,
    )


async def applied(connection: Connection, schema: str, prefix: str = "voltagent_memory") -> list[str]:
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", f"{schema}.{prefix}_migrations"):
        return []
    rows = await connection.fetch(f'SELECT name FROM "{schema}".{prefix}_migrations ORDER BY applied_at, name')
    return [row["name"] for row in rows]


async def exists(connection: Connection, schema: str) -> bool:
    return await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema) is True


async def test_opening_again_changes_nothing(make_storage: MakeStorage, connection: Connection, schema: str) -> None:
    """Opening a current schema changes nothing, not even a row of the catalog."""
    await make_storage().open()
    before = await catalog(connection, schema)

    await make_storage().open()

    assert await catalog(connection, schema) == before
    assert sorted(await applied(connection, schema)) == sorted(NAMES)


async def test_check_names_all_that_is_missing_and_creates_nothing(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """With migrate="check" an empty database is an error that names every migration, and stays empty."""
    storage = make_storage(migrate="check")

    with pytest.raises(SchemaNotReadyError) as caught:
        await storage.get_conversation("c1")

    assert caught.value.missing == NAMES
    assert all(name in str(caught.value) for name in NAMES)
    assert not await exists(connection, schema)


async def test_check_names_only_what_is_missing(
    make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    """With migrate="check" a database of an older release is an error that names only the newer migrations."""
    await make_storage().open()
    monkeypatch.setattr(
        "voltmem._postgres.schema.migrations", lambda: [*migrations(), Migration("9999_new", "SELECT 1;")]
    )

    with pytest.raises(SchemaNotReadyError) as caught:
        await make_storage(migrate="check").open()

    assert caught.value.missing == ["9999_new"]


async def test_check_opens_what_upgrade_schema_made(make_storage: MakeStorage) -> None:
    """The advice of the error of migrate="check" works: upgrade_schema() on the same storage."""
    storage = make_storage(migrate="check")

    done = await storage.upgrade_schema()

    assert done == NAMES
    assert await storage.count_conversations() == 0


async def test_upgrade_schema_returns_what_it_applied(make_storage: MakeStorage) -> None:
    """upgrade_schema() returns the names of the migrations that it applied; the second time none."""
    storage = make_storage(migrate="off")

    assert await storage.upgrade_schema() == NAMES
    assert await storage.upgrade_schema() == []


async def test_an_upgrade_makes_new_tables_in_one_transaction(dsn: str, connection: Connection, schema: str) -> None:
    """Where there are no tables all migrations are one transaction, and each of them is one round trip."""
    tables, sent = Tables(schema, "voltagent_memory"), list[str]()

    async def before(_: WatchedConnection, statement: str) -> None:
        sent.append(statement)

    async with watched(dsn, before) as fresh:
        assert await upgrade(fresh, tables) == NAMES

    times = await connection.fetchval(f"SELECT count(DISTINCT applied_at) FROM {tables.migrations}")
    assert (times, sum(f"INSERT INTO {tables.migrations} " in each for each in sent)) == (1, len(NAMES))
    assert len(sent) < 2 * len(NAMES)


async def test_off_sends_nothing_at_opening(make_storage: MakeStorage, proxy: Proxy) -> None:
    """With migrate="off" opening does not even connect."""
    storage = make_storage(proxy.dsn, migrate="off")

    await storage.open()

    assert (proxy.connections, proxy.round_trips) == (0, 0)


async def test_off_meets_missing_tables_with_the_first_call(make_storage: MakeStorage) -> None:
    """With migrate="off" missing tables are a SchemaError that says how to create them."""
    storage = make_storage(migrate="off")

    with pytest.raises(SchemaError, match="upgrade_schema"):
        await storage.get_conversation("c1")


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_opening_a_current_schema_is_one_round_trip_more_than_connecting(
    make_storage: MakeStorage, proxy: Proxy, migrate: str
) -> None:
    """Opening a current schema checks all migrations in one round trip, over the one connection that it opens."""
    await make_storage().open()
    connection = await asyncpg.connect(proxy.dsn)
    await connection.close()
    connecting, proxy.round_trips, proxy.connections = proxy.round_trips, 0, 0

    await make_storage(proxy.dsn, migrate="auto" if migrate == "auto" else "check").open()

    assert (proxy.round_trips, proxy.connections) == (connecting + 1, 1)


async def test_workers_that_come_and_go_queue_on_no_lock(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """
    A thousand storages open a current schema while another session holds every lock that migrations need.
    """
    await make_storage().open()
    tables = Tables(schema, "voltagent_memory")

    async def one_after_the_other() -> None:
        for _ in range(50):
            storage = make_storage(max_connections=1)
            await storage.open()
            await storage.close()

    async with schema_lock(connection, tables):
        await connection.execute(f"LOCK TABLE {tables.migrations} IN EXCLUSIVE MODE")
        await asyncio.gather(*(one_after_the_other() for _ in range(20)))


# --- files that changed, files that fail --------------------------------------------------------------------------


@pytest.mark.parametrize("edited", NAMES)
@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_an_edited_migration_is_an_error_that_names_it(
    make_storage: MakeStorage, connection: Connection, schema: str, edited: str, migrate: str
) -> None:
    """A file that differs from the applied one is an error that names it, whatever else is missing."""
    await create_tables(schema)
    await connection.execute(
        f"UPDATE {schema}.voltagent_memory_migrations SET checksum = 'another' WHERE name = $1", edited
    )
    storage = make_storage(migrate="auto" if migrate == "auto" else "check")

    with pytest.raises(MigrationError, match=edited) as caught:
        await storage.open()

    assert caught.value.name == edited
    with pytest.raises(MigrationError, match=edited):
        await storage.upgrade_schema()


@pytest.mark.parametrize("edited", NAMES)
async def test_the_script_refuses_an_edited_migration(connection: Connection, schema: str, edited: str) -> None:
    """The script raises the same error for a file that differs from the applied one, and leaves the ledger."""
    tables = Tables(schema, "voltagent_memory")
    await create_tables(schema)
    await connection.execute(f"UPDATE {tables.migrations} SET checksum = 'another' WHERE name = $1", edited)
    before = await ledger(connection, tables)

    with pytest.raises(asyncpg.RaiseError, match=f"{edited}: .*Install the release"):
        await connection.execute(script(tables))

    assert await ledger(connection, tables) == before


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_a_database_that_knows_a_newer_migration_opens(
    make_storage: MakeStorage, connection: Connection, schema: str, migrate: str
) -> None:
    """An older release works on a database with newer migrations, since migrations only add."""
    await make_storage().open()
    await connection.execute(f"INSERT INTO {schema}.voltagent_memory_migrations VALUES ('9999_newer', 'unknown')")
    storage = make_storage(migrate="auto" if migrate == "auto" else "check")

    await storage.open()

    assert await storage.upgrade_schema() == []
    assert await storage.count_conversations() == 0


@pytest.mark.parametrize("position", range(len(NAMES) + 1))
async def test_a_migration_that_fails_leaves_nothing_of_itself_and_the_next_start_goes_on(
    make_storage: MakeStorage, connection: Connection, schema: str, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    """
    When a migration fails, earlier ones stay and later ones wait; after the fix the next start applies the rest.

    A table makes the database one that is upgraded, not a new one.
    """
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(f"CREATE TABLE {schema}.voltagent_memory_kept (id int)")
    half = "CREATE TABLE {schema}.{prefix}_half (id int);\n"
    broken = Migration("0000_broken", half + "SELECT * FROM {schema}.{prefix}_nothing;\n" + half)
    known = list(migrations())
    known.insert(position, broken)
    storage = make_storage()
    monkeypatch.setattr("voltmem._postgres.schema.migrations", lambda: known)

    with pytest.raises(MigrationError, match=r"0000_broken.*voltagent_memory_nothing") as caught:
        await storage.open()

    assert caught.value.name == "0000_broken"
    assert isinstance(caught.value.__cause__, asyncpg.UndefinedTableError)
    assert await applied(connection, schema) == NAMES[:position]
    assert await connection.fetchval("SELECT to_regclass($1)", f"{schema}.voltagent_memory_half") is None

    known[position] = Migration("0000_broken", half)
    await storage.open()

    assert sorted(await applied(connection, schema)) == sorted(["0000_broken", *NAMES])
    assert await storage.count_conversations() == 0


async def test_a_migration_that_fails_in_a_new_database_leaves_nothing(
    make_storage: MakeStorage, connection: Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a migration fails in a new database, nothing of the others stays; after the fix all are applied."""
    known = [*migrations(), Migration("9999_broken", "SELECT * FROM {schema}.{prefix}_nothing;\n")]
    storage = make_storage()
    monkeypatch.setattr("voltmem._postgres.schema.migrations", lambda: known)

    with pytest.raises(MigrationError, match=r"9999_broken.*voltagent_memory_nothing"):
        await storage.open()

    assert await connection.fetchval("SELECT to_regnamespace($1)", schema) is None
    known.pop()
    await storage.open()
    assert sorted(await applied(connection, schema)) == sorted(NAMES)


# --- names --------------------------------------------------------------------------------------------------------


async def test_two_prefixes_in_one_schema_do_not_meet(make_storage: MakeStorage) -> None:
    """Applications that share a schema, each with a prefix, see only their own rows."""
    one, other = make_storage(table_prefix="one"), make_storage(table_prefix="other")

    await one.create_conversation({"id": "c1", "user_id": "ada"})
    await one.add_message({"role": "user", "content": "hello"}, "ada", "c1")

    assert await other.query_conversations() == []
    await other.create_conversation({"id": "c1", "user_id": "bob"})
    assert await other.get_messages("bob", "c1") == []
    assert await other.delete_conversation("c1")
    assert len(await one.get_messages("ada", "c1")) == 1


async def test_one_prefix_in_two_schemas_does_not_meet(make_storage: MakeStorage, dsn: str) -> None:
    """The same prefix in another schema has its own tables and its own ledger."""
    storage, elsewhere = make_storage(), temporary_schema_name()
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    async with PostgresStorage(dsn, schema=elsewhere) as other:
        found, upgraded = await other.get_conversation("c1"), await other.upgrade_schema()
    await drop_schema(elsewhere)

    assert (found, upgraded) == (None, [])
    assert await storage.get_conversation("c1") is not None


async def test_the_longest_prefix_works(make_storage: MakeStorage, connection: Connection, schema: str) -> None:
    """With the longest prefix no name is cut: tables and indexes have the same names as with a short one."""
    short, long = "p", "p" * MAX_PREFIX_LENGTH
    for prefix in (short, long):
        storage = make_storage(table_prefix=prefix)
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await storage.add_message({"role": "user", "content": "hello"}, "ada", "c1")
        assert len(await storage.get_messages("ada", "c1")) == 1

    # PostgreSQL generates and shortens the names of primary keys.
    names = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relname NOT LIKE '%pkey'", schema
    )
    suffixes = {prefix: {row[0] for row in names if row[0].startswith(f"{prefix}_")} for prefix in (short, long)}
    assert {name.removeprefix(short) for name in suffixes[short]} == {
        name.removeprefix(long) for name in suffixes[long]
    }


def test_a_prefix_that_is_too_long_is_refused() -> None:
    """One more character is refused: PostgreSQL would cut it silently, and two prefixes would share a table."""
    with pytest.raises(InvalidOptionError, match=f"{MAX_PREFIX_LENGTH + 1} characters"):
        PostgresStorage(table_prefix="p" * (MAX_PREFIX_LENGTH + 1))


# --- files --------------------------------------------------------------------------------------------------------


def test_migrations_are_found_in_the_checkout_in_their_order() -> None:
    """Every file of migrations_sql/ is found by its path without .sql, functions first, then by number."""
    functions = sorted(f"functions/{path.stem}" for path in FOLDER.glob("functions/*"))
    numbered = sorted(path.stem for path in FOLDER.glob("0*"))

    assert [*functions, *numbered] == NAMES
    assert [name[:4] for name in numbered] == [f"{number:04}" for number in range(1, len(numbered) + 1)]


def test_the_ends_of_lines_do_not_change_a_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with Windows line ends, as Git may check them out, have the same checksums."""
    folder = tmp_path / "migrations_sql"
    (folder / "functions").mkdir(parents=True)
    for migration in migrations():
        (folder / f"{migration.name}.sql").write_bytes(migration.text.replace("\n", "\r\n").encode())
    expected = [(migration.name, migration.checksum) for migration in migrations()]

    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    read_again = migrations.__wrapped__()

    assert b"\r\n" in (folder / f"{NAMES[0]}.sql").read_bytes()
    assert [(migration.name, migration.checksum) for migration in read_again] == expected


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1;\nSELECT 2;\n", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT\n    1;\n\nSELECT 2;\n", ["SELECT\n    1;", "\nSELECT 2;"]),
        ("SELECT ';' AS a,\n    2;\n", ["SELECT ';' AS a,\n    2;"]),
        ("-- one; two;\nSELECT 1; -- three;\nSELECT 2;", ["-- one; two;\nSELECT 1; -- three;", "SELECT 2;"]),
        ("DO $$\nBEGIN\n    PERFORM 1;\nEND\n$$;\nSELECT 2;", ["DO $$\nBEGIN\n    PERFORM 1;\nEND\n$$;", "SELECT 2;"]),
        ("DO $a$\nx;\n-- $a$;\n$a$;\nSELECT 2;", ["DO $a$\nx;\n-- $a$;\n$a$;", "SELECT 2;"]),
        ("DO $$ x; $$;\nSELECT 2;", ["DO $$ x; $$;", "SELECT 2;"]),
        ("SELECT 1;\r\nSELECT 2;\r\n", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT 1;\n-- the end;\n", ["SELECT 1;"]),
    ],
    ids=["two", "lines", "in quotes", "comments", "body", "tagged body", "body in a line", "windows", "last words"],
)
def test_a_file_is_split_into_its_statements(text: str, statements: list[str]) -> None:
    """A statement ends with a semicolon at the end of a line, but not in a comment or in a function's body."""
    assert list(Migration("0001_test", text).statements(TABLES)) == statements


def test_a_last_statement_without_a_semicolon_is_not_lost() -> None:
    """A last statement without a semicolon is still executed."""
    assert list(Migration("0001_test", "SELECT 1;\nSELECT 2\n").statements(TABLES)) == ["SELECT 1;", "SELECT 2"]


@pytest.mark.parametrize("migration", migrations(), ids=NAMES)
def test_every_statement_names_schema_and_prefix(migration: Migration) -> None:
    """Every created or altered object is qualified with schema and prefix, and no placeholder is left."""
    for statement in migration.statements(TABLES):
        assert '"app".chat_' in statement
        assert "{schema}" not in statement
        assert "{prefix}" not in statement
