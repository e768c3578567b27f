"""An upgrade that is killed, refused or delayed leaves only whole migrations, and holds only the documented locks."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import pytest

from tests import starts
from tests.catalog import catalog
from tests.properties import explores
from tests.starts import ADOPTED, UNRELEASED
from tests.watched import Side, WatchedConnection, killed, watched
from voltmem import MigrationError
from voltmem._postgres.migrations import conversation_schema, unreleased
from voltmem._postgres.migrations.apply import apply_missing
from voltmem._postgres.migrations.files import Migration, migrations
from voltmem._postgres.migrations.indexes import Index
from voltmem._postgres.schema import upgrade
from voltmem._tables import Tables
from voltmem.testing import drop_schema, temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection

KNOWN = migrations()
NAMES = [migration.name for migration in KNOWN]

pytestmark = pytest.mark.backend("upgrades run on connections whose processes are ended and whose locks are listed")

Picture: TypeAlias = tuple[list[str], list[str]]
TIMES: Final = re.compile(r'"(applied_at|read_at)":"[^"]+"')


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[Connection]:
    """A connection of another session."""
    connection: Connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
def tables(schema: str) -> Tables:
    return Tables(schema, "voltagent_memory")


# --- starts of upgrades, and their results -------------------------------------------------------------------------

STARTS: Final = [
    "empty",
    ADOPTED,
    pytest.param("0.1.0", id="VoltAgent 0.1.0"),
    pytest.param("2.1.2", id="VoltAgent 2.1.2"),
    UNRELEASED,
]


async def begin(start: str, connection: Connection, tables: Tables, before: str | None = None) -> None:
    """Create the tables of the start, and apply all migrations before this one."""
    await starts.begin(start, connection, tables)
    if before in NAMES[1:]:
        await apply_missing(connection, tables, KNOWN[: NAMES.index(before)])


async def picture(connection: Connection, tables: Tables) -> Picture:
    """Return everything in the schema, catalog and rows, except the times of migrations; nothing without a schema."""
    found = await connection.fetch(
        "SELECT relname::text AS name FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'",
        tables.schema,
    )
    # As text, not as jsonb, which cannot hold every value of a column of type json.
    parts = [f"SELECT '{each[0]} ' || to_json(row)::text FROM {tables.schema}.{each[0]} AS row" for each in found]
    parts.append(f"SELECT sequencename || ' ' || last_value FROM pg_sequences WHERE schemaname = '{tables.schema}'")
    rows = await connection.fetch(" UNION ALL ".join(parts))
    return await catalog(connection, tables), sorted(TIMES.sub(r'"\1":"then"', str(row[0])) for row in rows)


async def ledger(connection: Connection, tables: Tables) -> list[str]:
    """Return the names of the migrations that were applied."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", tables.migrations):
        return []
    return [row["name"] for row in await connection.fetch(f"SELECT name FROM {tables.migrations} ORDER BY name")]


BOUNDARIES: Final[dict[str, list[Picture]]] = {}
UPGRADED: Final[dict[str, Picture]] = {}


async def boundaries(start: str, connection: Connection, tables: Tables) -> list[Picture]:
    """Return the pictures before an undisturbed upgrade and after each of its steps, which are the same each time."""
    if start not in BOUNDARIES:
        BOUNDARIES[start] = [each async for each in take_boundaries(start, connection, tables)]
        await connection.execute(f"DROP SCHEMA {tables.schema} CASCADE")
    return BOUNDARIES[start]


async def take_boundaries(start: str, connection: Connection, tables: Tables) -> AsyncIterator[Picture]:
    await begin(start, connection, tables)
    yield await picture(connection, tables)
    if await unreleased.replace(connection, tables):
        yield await picture(connection, tables)
    if await conversation_schema.is_old(connection, tables):
        assert (await conversation_schema.migrate(connection, tables)).success
        yield await picture(connection, tables)
    # Where there are no tables all migrations are one step.
    for number in [len(KNOWN)] if start == "empty" else range(1, len(KNOWN) + 1):
        if await apply_missing(connection, tables, KNOWN[:number]):
            yield await picture(connection, tables)


async def upgraded(start: str, connection: Connection, tables: Tables) -> Picture:
    """Return the picture after an undisturbed upgrade, which is the same each time."""
    if start not in UPGRADED:
        await begin(start, connection, tables)
        await upgrade(connection, tables)
        UPGRADED[start] = await picture(connection, tables)
        await connection.execute(f"DROP SCHEMA {tables.schema} CASCADE")
    return UPGRADED[start]


def make_all_tables_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build all indexes concurrently from now on, and check often for builds of other processes."""
    monkeypatch.setattr("voltmem._postgres.migrations.indexes.LARGE", 0)
    monkeypatch.setattr("voltmem._postgres.migrations.ledger.LONGEST_DELAY", 0.02)


# --- killed upgrades ----------------------------------------------------------------------------------------------


# For all releases it takes a quarter of an hour to kill at every statement, so only `make explore` does it. `make test`
# takes the commits of every seventh migration: what a transaction should not have kept is there when its last statement
# is not carried out.
STEP: Final = 1 if explores() else 7


async def kills(dsn: str, connection: Connection, tables: Tables, side: Side) -> AsyncIterator[int]:
    """
    Kill upgrade after upgrade, each of which starts from what the one before left, until one is done.

    While nothing is applied, the next is killed one statement later; after that, at the first one again.
    """
    only = "" if STEP == 1 else "COMMIT"
    applied, number = await ledger(connection, tables), 1
    while await killed(dsn, connection, tables, side, number, only=only):
        yield number
        before, applied = applied, await ledger(connection, tables)
        number = number + 1 if applied == before else 1
        if applied != before and STEP > 1:
            done = sum(name in NAMES for name in applied)  # the ledger has that of VoltAgent's first tables, too
            await apply_missing(connection, tables, KNOWN[: done + STEP - 1])
            applied = await ledger(connection, tables)


@pytest.mark.hypothesis
@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("start", STARTS)
async def test_an_upgrade_killed_at_any_statement_leaves_whole_migrations_and_the_next_goes_on(
    dsn: str, connection: Connection, tables: Tables, start: str, side: Side
) -> None:
    """Whatever statement the server or the client is killed at, a migration is there completely or not at all."""
    pictures = await boundaries(start, connection, tables)
    await begin(start, connection, tables)
    before = pictures[0]

    async for _ in kills(dsn, connection, tables, side):
        after = await picture(connection, tables)
        position = pictures.index(before)
        assert after in pictures[position : position + STEP + 1]
        before = after

    assert await picture(connection, tables) == pictures[-1]


@pytest.mark.hypothesis
@pytest.mark.parametrize("side", ["server", "client"])
async def test_an_upgrade_of_large_tables_killed_at_any_statement_is_finished_by_the_next(
    dsn: str, connection: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch, side: Side
) -> None:
    """
    An index build that was killed half-way is completed by the next upgrade, although it outlives its transaction.
    """
    after = await upgraded("0.1.7", connection, tables)
    await begin("0.1.7", connection, tables)
    make_all_tables_large(monkeypatch)

    async for _ in kills(dsn, connection, tables, side):
        pass

    assert await picture(connection, tables) == after


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def own_database(dsn: str) -> AsyncIterator[Connection]:
    """A connection to a database of the test's own, since an event trigger applies to the whole database."""
    name = temporary_schema_name()
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    connection: Connection = await asyncpg.connect(dsn, database=name)
    yield connection
    await connection.close()
    await admin.execute(f"DROP DATABASE {name}")
    await admin.close()


FULL_DISK: Final = """
    CREATE FUNCTION public.full_disk() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device';
    END
    $$"""


@pytest.mark.parametrize(
    ("start", "command", "name"),
    [
        (ADOPTED, "CREATE FUNCTION", "functions/add_messages"),
        (ADOPTED, "ALTER TABLE", "0001_conversations"),
        (ADOPTED, "CREATE SEQUENCE", "0002_messages"),
        (ADOPTED, "CREATE INDEX", "0002_messages"),
        (ADOPTED, "CREATE TABLE", "0004_payloads"),
        (ADOPTED, "CREATE TRIGGER", "0006_watchers"),
        (UNRELEASED, "DROP FUNCTION", unreleased.NAME),
        (UNRELEASED, "CREATE FUNCTION", unreleased.NAME),
        ("2.1.2", "CREATE TABLE", "0005_shares"),
        ("0.1.0", "CREATE TABLE AS", conversation_schema.NAME),
        ("0.1.0", "CREATE INDEX", conversation_schema.NAME),
    ],
)
async def test_a_migration_that_meets_a_full_disk_leaves_nothing_of_itself(
    own_database: Connection, tables: Tables, start: str, command: str, name: str
) -> None:
    """
    A full disk is a MigrationError with the server's message.

    Earlier migrations stay, and with space the rest follows.
    """
    after = await upgraded(start, own_database, tables)
    await begin(start, own_database, tables, name)
    before = await picture(own_database, tables)
    await own_database.execute(FULL_DISK)
    await own_database.execute(
        f"CREATE EVENT TRIGGER full_disk ON ddl_command_end WHEN TAG IN ('{command}') "
        "EXECUTE FUNCTION public.full_disk()"
    )

    with pytest.raises(MigrationError, match="No space left on device") as caught:
        await upgrade(own_database, tables)

    assert isinstance(caught.value.__cause__, asyncpg.DiskFullError)
    assert caught.value.name == name
    assert await picture(own_database, tables) == before
    await own_database.execute("DROP EVENT TRIGGER full_disk")
    await upgrade(own_database, tables)
    assert await picture(own_database, tables) == after


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (ADOPTED, "0003_order_of_adopted_messages"),
        ("0.1.0", conversation_schema.NAME),
    ],
)
async def test_a_migration_that_meets_a_statement_timeout_leaves_nothing_of_itself(
    connection: Connection,
    other: Connection,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    start: str,
    name: str,
) -> None:
    """A statement timeout is a MigrationError and changes nothing; when the rows are free, the upgrade succeeds."""
    after = await upgraded(start, connection, tables)
    await begin(start, connection, tables, name)
    before = await picture(connection, tables)
    monkeypatch.setattr("voltmem._postgres.migrations.ledger.LOCK_TIMEOUT", 0)  # the statement_timeout is first

    async with other.transaction():
        await other.execute(f"SELECT FROM {tables.messages} FOR UPDATE")
        await connection.execute("SET statement_timeout = '2s'")
        with pytest.raises(MigrationError, match="statement timeout") as caught:
            await upgrade(connection, tables)
        await connection.execute("SET statement_timeout = 0")

    assert caught.value.name == name
    assert await picture(connection, tables) == before
    await upgrade(connection, tables)
    assert await picture(connection, tables) == after


# --- locks --------------------------------------------------------------------------------------------------------

# The longest first, since one name is a part of another.
MODES: Final = re.compile(
    "ACCESS EXCLUSIVE|SHARE ROW EXCLUSIVE|SHARE UPDATE EXCLUSIVE|ROW EXCLUSIVE|ROW SHARE|EXCLUSIVE|SHARE"
)
LOCK_PARAGRAPH: Final = re.compile(r"^-- Lock:.*(?:\n--  .*)*", re.MULTILINE)
HARMLESS: Final = {"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE"}


def declared_locks(text: str) -> set[str]:
    """Return the locks above ROW EXCLUSIVE that the header of a migration names."""
    paragraph = LOCK_PARAGRAPH.search(text)
    assert paragraph is not None, "every numbered file says what it locks"
    return set(MODES.findall(" ".join(paragraph[0].replace("--", "").split()))) - HARMLESS


async def held_locks(watcher: Connection, holder: WatchedConnection, existing: list[int]) -> set[str]:
    """Return the locks above ROW EXCLUSIVE that a connection holds on tables."""
    rows = await watcher.fetch(
        "SELECT DISTINCT mode FROM pg_locks WHERE pid = $1 AND granted AND relation = ANY($2)",
        holder.get_server_pid(),
        existing,
    )
    modes = (re.sub(r"(?<!^)(?=[A-Z])", " ", row["mode"].removesuffix("Lock")).upper() for row in rows)
    return set(modes) - HARMLESS


async def existing_tables(connection: Connection, tables: Tables) -> list[int]:
    rows = await connection.fetch(
        "SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'", tables.schema
    )
    return [row["oid"] for row in rows]


async def locks_of(dsn: str, watcher: Connection, tables: Tables, known: tuple[Migration, ...]) -> set[str]:
    """Apply the last of these migrations. Returns the locks that it holds on tables that existed before."""
    existing = await existing_tables(watcher, tables)
    held: set[str] = set()

    async def before(connection: WatchedConnection, statement: str) -> None:
        held.update(await held_locks(watcher, connection, existing))

    async with watched(dsn, before) as connection:
        assert await apply_missing(connection, tables, known) == [known[-1].name]
    return held


async def test_a_migration_locks_what_its_header_says(dsn: str, connection: Connection, tables: Tables) -> None:
    """On existing tables a migration takes exactly the locks that the header of its file names."""
    declared = {each.name: set[str]() if each.is_function else declared_locks(each.text) for each in KNOWN}
    taken = {name: set[str]() for name in NAMES}

    for start in ("empty", ADOPTED, "0.1.7", "2.1.2"):
        await begin(start, connection, tables)
        for number, name in enumerate(NAMES, 1):
            taken[name] |= await locks_of(dsn, connection, tables, KNOWN[:number])
        await drop_schema(tables.schema)

    assert taken == declared


# --- large tables -------------------------------------------------------------------------------------------------


async def files(connection: Connection, existing: list[int]) -> list[int]:
    """Return the files of the tables on disk; a rewritten table has another file."""
    rows = await connection.fetch("SELECT pg_relation_filenode(oid) FROM unnest($1::oid[]) AS oid", existing)
    return [row[0] for row in rows]


@pytest.mark.parametrize("release", ["0.1.7", "1.0.0", "2.1.2"])
async def test_nothing_scans_a_large_table_under_a_lock_that_keeps_others_out(
    dsn: str, connection: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    """
    On large tables every index is built concurrently, every UPDATE is alone in its migration, and no table is
    rewritten.
    """
    after = await upgraded(release, connection, tables)
    await begin(release, connection, tables)
    make_all_tables_large(monkeypatch)
    existing = await existing_tables(connection, tables)
    files_before = await files(connection, existing)
    scans: list[tuple[str, set[str]]] = []

    async def before(holder: WatchedConnection, statement: str) -> None:
        if found := re.search(r"^(CREATE INDEX(?: CONCURRENTLY)?|UPDATE)", statement, re.MULTILINE):
            scans.append((found[1], await held_locks(connection, holder, await existing_tables(connection, tables))))

    async with watched(dsn, before) as upgrading:
        assert (await upgrade(upgrading, tables))[: len(NAMES)] == NAMES

    assert {kind for kind, _ in scans} == {"CREATE INDEX CONCURRENTLY", "UPDATE"}
    assert [kind for kind, held in scans if held] == []
    assert await files(connection, existing) == files_before
    assert await picture(connection, tables) == after


async def test_an_index_whose_build_was_killed_is_built_again(
    dsn: str, connection: Connection, other: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invalid index that a killed CREATE INDEX CONCURRENTLY leaves is built again."""
    monkeypatch.setattr("voltmem._postgres.migrations.ledger.LONGEST_DELAY", 0.02)
    after = await upgraded("0.1.7", connection, tables)
    await begin("0.1.7", connection, tables)
    statements = itertools.chain.from_iterable(each.statements(tables) for each in KNOWN)
    indexes = (Index.made_by(statement, tables) for statement in statements)
    index = next(each for each in indexes if each is not None)
    invalid = "SELECT count(*) FROM pg_sleep(0.002), pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid"
    builder = await asyncpg.connect(dsn)

    async with other.transaction():
        await other.execute(f"LOCK TABLE {index.table} IN ROW EXCLUSIVE MODE")  # a writer that the build waits for
        building = asyncio.create_task(builder.execute(index.concurrent_statement))
        while not await connection.fetchval(invalid, index.name):
            assert not building.done()
        await connection.execute("SELECT pg_cancel_backend($1)", builder.get_server_pid())
        with pytest.raises(asyncpg.QueryCanceledError):
            await building
    await builder.close()
    assert await connection.fetchval(invalid, index.name) == 1

    assert await upgrade(connection, tables) == NAMES

    assert await picture(connection, tables) == after


async def test_upgrades_of_large_tables_that_start_together_all_succeed(
    connection: Connection, other: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Two upgrades that build the same indexes concurrently wait for each other, and one of them applies each migration.
    """
    after = await upgraded("0.1.7", connection, tables)
    make_all_tables_large(monkeypatch)
    for _ in range(3):
        await begin("0.1.7", connection, tables)

        one, two = await asyncio.gather(upgrade(connection, tables), upgrade(other, tables))

        assert sorted([*one, *two]) == sorted(NAMES)
        assert await picture(connection, tables) == after
        await drop_schema(tables.schema)


INDEX = "CREATE INDEX IF NOT EXISTS {prefix}_by_role ON {schema}.{prefix}_messages (role);\n"
DROPPED_LATER: Final = (
    Migration("0008_made_up", INDEX),
    Migration("0009_made_up", "DROP INDEX IF EXISTS {schema}.{prefix}_by_role;\n"),
)


@pytest.mark.hypothesis
async def test_an_upgrade_of_large_tables_that_is_overtaken_undoes_nothing(
    dsn: str, connection: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another process completes the upgrade between any two transactions of this one, the tables end up right."""
    after = await upgraded("0.1.7", connection, tables)
    make_all_tables_large(monkeypatch)
    for number in itertools.count(1, STEP):
        await begin("0.1.7", connection, tables)

        slow, fast = await overtaken(dsn, connection, tables, number)

        assert sorted([*slow, *fast]) == sorted(NAMES)
        assert await picture(connection, tables) == after
        await drop_schema(tables.schema)
        if not fast:
            break


async def test_an_overtaken_upgrade_does_not_rebuild_a_dropped_index(
    dsn: str, connection: Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that was overtaken does not build an index on a large table again that a later migration drops."""
    monkeypatch.setattr("voltmem._postgres.schema.migrations", lambda: (*KNOWN, *DROPPED_LATER))
    for number in itertools.count(1):
        await begin(ADOPTED, connection, tables)
        await apply_missing(connection, tables, KNOWN)

        with monkeypatch.context() as patched:
            make_all_tables_large(patched)
            _, fast = await overtaken(dsn, connection, tables, number)

        lines = await catalog(connection, tables)
        assert [line for line in lines if "_by_role" in line] == []
        await drop_schema(tables.schema)
        if not fast:
            break


async def overtaken(dsn: str, fast: Connection, tables: Tables, number: int) -> tuple[list[str], list[str]]:
    """
    Upgrade, and run another upgrade before the n-th transaction or concurrent build, counted from 1.

    Returns the names that each of the two applied; nothing for the other one if there are fewer than n.
    """
    sent, done = 0, list[str]()

    async def before(slow: WatchedConnection, statement: str) -> None:
        nonlocal sent
        if not slow.is_in_transaction() and statement.startswith(("BEGIN", "CREATE INDEX CONCURRENTLY")):
            sent += 1
            if sent == number:
                done.extend(await upgrade(fast, tables))

    async with watched(dsn, before) as slow:
        return await upgrade(slow, tables), done


@pytest.mark.parametrize("release", ["0.1.0", "0.1.7"])
async def test_a_table_in_use_is_waited_for_without_keeping_others_out(
    dsn: str,
    connection: Connection,
    other: Connection,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    release: str,
) -> None:
    """While another transaction reads a table, reads of others succeed between the upgrade's tries for the lock."""
    monkeypatch.setattr("voltmem._postgres.migrations.ledger.LOCK_TIMEOUT", 20)
    monkeypatch.setattr("voltmem._postgres.migrations.ledger.LONGEST_DELAY", 0.02)
    monkeypatch.setattr("voltmem._postgres.migrations.conversation_schema._TRIES_FOR_LOCK", 2)
    monkeypatch.setattr("voltmem._postgres.migrations.conversation_schema._PAUSE_FOR_OTHERS", 0.02)
    after = await upgraded(release, connection, tables)
    await begin(release, connection, tables)
    waiting = (
        "SELECT count(*) FROM pg_sleep(0.002), pg_locks "
        "WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = to_regclass($1)"
    )
    reader: Connection = await asyncpg.connect(dsn)

    async with other.transaction():
        await other.execute(f"LOCK TABLE {tables.messages} IN ACCESS SHARE MODE")
        upgrading = asyncio.create_task(upgrade(connection, tables))
        for _ in range(5):
            while not await reader.fetchval(waiting, tables.messages):
                assert not upgrading.done()
            assert await reader.fetchval(f"SELECT count(*) FROM {tables.messages}", timeout=30)
        assert not upgrading.done()
    await reader.close()

    await upgrading
    assert await picture(connection, tables) == after
