"""The ledger of a prefix, with one row for each applied file, and the lock for changes of the schema."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import asyncpg

from voltmem._postgres.connecting import PoolerNoticedError, is_pooled_sql
from voltmem._postgres.connection import changed_rows, transaction_on
from voltmem._postgres.driver import DRIVER_ERRORS, denied_role, is_lost, logger, translation
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.translation import describe
from voltmem._tables import Tables
from voltmem.errors import DatabaseError, DatabaseTimeoutError, MigrationError, SchemaError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

Result = TypeVar("Result")

# Seconds. Rewriting or indexing a table may take longer than any call.
PATIENCE: Final = 3600.0
# Milliseconds to wait for a lock on a table, since all later statements on it wait as long. Well below deadlock_timeout
# (a second), so that in a deadlock with a process that builds an index, this process gives up.
LOCK_TIMEOUT: int = 400
# The files of migrations_sql/ name PostgreSQL's functions and types without their schema.
PINNED_PATH: Final = "SET search_path = pg_catalog, pg_temp"
# Whether operators and types of another schema come before PostgreSQL's own: the path names pg_catalog, and not first.
# Operators and types are qualified here, because such a path may have others. PostgreSQL takes neither functions nor
# operators from pg_temp.
IS_PATH_HOSTILE: Final = """EXISTS (
            SELECT 1 FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS path (name, place)
            WHERE name OPERATOR(pg_catalog.!~~) 'pg\\_temp\\_%'::pg_catalog.text
                AND place OPERATOR(pg_catalog.<) pg_catalog.array_position(
                    pg_catalog.current_schemas(true), 'pg_catalog'::pg_catalog.name
                )
        )"""
# A statement that fails where the path is hostile, with the path between < and > in the error's text. CASE, and a value
# that the planner does not know: otherwise the cast would be evaluated, and fail, at once.
_REFUSE_PATH: Final = f"""
            SELECT CASE WHEN {IS_PATH_HOSTILE}
                THEN pg_catalog.concat('<', pg_catalog.current_setting('search_path'), '>')::pg_catalog.int4 END;"""
# The maximum of seconds between two checks of what another process is doing.
LONGEST_DELAY: float = 1.0
_FIRST_DELAY: Final = 0.02
# Seconds for which locking a table that is in use is retried.
_LOCK_PATIENCE: Final = 600.0

# Seconds without a statement after which the process that holds the schema lock is taken to hang. It sends its
# statements one after the other; each may take long, but a pause between them does not.
HUNG_AFTER: float = 30.0
# Seconds between two lines in the log about waiting for another process.
_SAYS_SO_EVERY: Final = 60.0

# Rows that mean a pooler: more than there are migrations.
_POOLED: Final = 10_000

# Lock not available, deadlock: the table is in use.
_IN_USE: Final = frozenset({"55P03", "40P01"})

EDITED: Final = (
    "this database has another text of the same version. Install the release of voltmem that upgraded the database, or "
    "a later one. If you edited the file: raise the number in the first line of a function, or restore a numbered file "
    "and put the change into a new one"
)
"""The error for a file that differs from the applied one."""


class Entry(NamedTuple):
    """A row of the ledger."""

    version: int
    checksum: str


def create_statements(tables: Tables) -> list[str]:
    """Return the statements that create the schema and the ledger."""
    return [
        f'CREATE SCHEMA IF NOT EXISTS "{tables.schema}";',
        f"CREATE TABLE IF NOT EXISTS {tables.migrations} (\n"
        "    name text PRIMARY KEY,\n"
        "    checksum text NOT NULL,\n"
        "    applied_at timestamptz NOT NULL DEFAULT pg_catalog.now(),\n"
        "    version integer NOT NULL DEFAULT 1\n"
        ");",
    ]


async def is_current(
    connection: Connection, tables: Tables, known: Sequence[Migration], unmet: str, *, looks_for_pooler: bool
) -> bool:
    """
    Return whether all known migrations are applied and unedited. One round trip: the count is in a tag.

    DatabaseError if the search_path is hostile. A statement of its own looks before the others are resolved.

    *unmet* is a SELECT with a row for each other thing that is missing.
    PoolerNoticedError if a pooler is in between, and is looked for. That is in the same tag, as thousands of rows,
    because a statement with a result would be prepared.
    Migrations of a newer release are ignored: its files only add, and its functions can still be called.
    """
    pooled = is_pooled_sql(connection) if looks_for_pooler else "false"
    try:
        tag = await connection.execute(f"""{_REFUSE_PATH}
            SELECT 1 FROM pg_catalog.generate_series(1, {_POOLED}) WHERE {pooled} UNION ALL
            SELECT 1 FROM {tables.migrations} AS l JOIN {_values(known)} ON l.name = known.name
                AND (l.version > known.version OR l.version = known.version AND l.checksum = known.checksum)
            WHERE NOT EXISTS ({unmet})""")
    except asyncpg.InvalidTextRepresentationError as error:
        path = str(error).partition("<")[2].rpartition(">")[0]
        raise DatabaseError(hostile_path(path)) from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError):
        if not looks_for_pooler:
            return False
        tag = await connection.execute(f"SELECT 1 FROM pg_catalog.generate_series(1, {_POOLED}) WHERE {pooled}")
    rows = changed_rows(tag)
    if rows >= _POOLED:
        raise PoolerNoticedError
    return rows == len(known)


def hostile_path(path: str) -> str:
    """Return what is wrong with a search_path that names another schema before pg_catalog, and what to do."""
    return (
        f"search_path {path!r}: operators and types of a schema before pg_catalog would be used in place of "
        "PostgreSQL's. Leave pg_catalog out, so that it comes first, or name it first; reset the setting for the role, "
        "the database, the server or the connection"
    )


def missing_sql(tables: Tables, known: Sequence[Migration]) -> str:
    """Return the SELECT of the names of the known migrations that are not applied, or in another text."""
    return f"""
            SELECT known.name FROM {_values(known)} WHERE NOT EXISTS (
                SELECT 1 FROM {tables.migrations} AS l WHERE l.name = known.name
                    AND (l.version > known.version OR l.version = known.version AND l.checksum = known.checksum)
            )"""


def refuse_edited_sql(tables: Tables, known: Sequence[Migration]) -> str:
    """Return the statement that raises an error if the ledger has another text of a known version."""
    return f"""DO $voltmem$
DECLARE
    edited text := (
        SELECT pg_catalog.string_agg(l.name, ', ' ORDER BY l.name) FROM {tables.migrations} AS l JOIN {_values(known)}
        ON l.name = known.name AND l.version = known.version AND l.checksum <> known.checksum
    );
BEGIN
IF edited IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE = 'migration ' || edited || ': {EDITED}';
END IF;
END
$voltmem$;"""


def _values(known: Sequence[Migration]) -> str:
    rows = ", ".join(f"('{each.name}', {each.version}, '{each.checksum}')" for each in known)
    return f"(VALUES {rows}) AS known (name, version, checksum)"


@contextmanager
def foreign_refused(tables: Tables) -> Iterator[None]:
    """Raise SchemaError if the block reads name and checksum, and the ledger's table does not have them."""
    try:
        yield
    except asyncpg.UndefinedColumnError as error:
        raise SchemaError(
            f"the table {tables.migrations} is not voltmem's list of migrations but another program's: {error}. Choose "
            "another table_prefix or schema."
        ) from error


async def entries(connection: Connection, tables: Tables) -> dict[str, Entry]:
    """Return the rows of the ledger by name; empty if there is no ledger. SchemaError if the table is not voltmem's."""
    if await connection.fetchval("SELECT pg_catalog.to_regclass($1) IS NULL", tables.migrations):
        return {}
    with foreign_refused(tables):
        rows = await connection.fetch(f"SELECT name, checksum, version FROM {tables.migrations}")
    return {row["name"]: Entry(row["version"], row["checksum"]) for row in rows}


def record_sql(tables: Tables, migration: Migration) -> str:
    """Return the statement that records a migration in the ledger, unless it is recorded."""
    return (
        f"INSERT INTO {tables.migrations} AS l (name, version, checksum)\n"
        f"VALUES ('{migration.name}', {migration.version}, '{migration.checksum}')\n"
        "ON CONFLICT (name) DO UPDATE\n"
        "SET version = excluded.version, checksum = excluded.checksum, applied_at = excluded.applied_at\n"
        "WHERE l.version < excluded.version;"
    )


async def record(connection: Connection, tables: Tables, migration: Migration) -> bool:
    """Record a migration in the ledger. Returns whether it was not recorded yet."""
    return await connection.execute(record_sql(tables, migration)) == "INSERT 0 1"


# --- one at a time ------------------------------------------------------------------------------------------------


_TRY_LOCK: Final = "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))"


@asynccontextmanager
async def schema_lock(connection: Connection, tables: Tables) -> AsyncIterator[None]:
    """
    Open a transaction with the lock for changes of the schema of these tables. Creates the ledger if it is missing.

    The lock is a transaction-level advisory lock, which works behind poolers. It is acquired by polling: a statement
    that waits for it would hold a snapshot, and CREATE INDEX CONCURRENTLY waits for snapshots, a deadlock.
    """
    key = f"voltmem:{tables}"
    turn = _Turn(connection, tables, key)
    while True:
        with suppress(_OvertakenError):
            async with transaction_on(connection):
                if await connection.fetchval(_TRY_LOCK, key):
                    await connection.execute(PINNED_PATH.replace("SET", "SET LOCAL"))
                    await _create_missing(connection, tables)
                    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
                    yield
                    return
        await turn.wait()


class _Turn:
    """Waits for the process that holds an advisory lock. Logs that, and ends with an error if that process hangs."""

    def __init__(self, connection: Connection, tables: Tables, key: str) -> None:
        self._connection = connection
        self._tables = tables
        self._key = key
        self._delay = _FIRST_DELAY
        self._began = time.monotonic()
        self._said = float("-inf")

    async def wait(self) -> None:
        """Wait a little, longer each time. DatabaseTimeoutError if the other process hangs, or takes too long."""
        await asyncio.sleep(random.uniform(self._delay / 2, self._delay))  # noqa: S311  # not for a secret
        if self._delay < LONGEST_DELAY:
            self._delay = min(2 * self._delay, LONGEST_DELAY)
            return
        # A transaction reads pg_stat_activity once, and again only after this.
        await self._connection.execute("SELECT pg_catalog.pg_stat_clear_snapshot()")
        holder = await self._connection.fetchrow(_HOLDER, self._key, HUNG_AFTER)
        if holder is None:
            return
        who = f"backend {holder['pid']}" + (f" ({holder['what']})" if holder["what"] else "")
        if holder["hangs"] or time.monotonic() - self._began > PATIENCE:
            raise DatabaseTimeoutError(
                f"another process is upgrading the tables {self._tables}, and hangs: its {who} holds the lock and has "
                f"sent nothing for {HUNG_AFTER:g} seconds. Stop that process, or end its transaction, which undoes its "
                f"step: SELECT pg_catalog.pg_terminate_backend({holder['pid']})"
            )
        if time.monotonic() - self._said > _SAYS_SO_EVERY:
            self._said = time.monotonic()
            logger.warning("another process is upgrading the tables %s: waiting for its %s", self._tables, who)


# Another role sees neither the state nor the address, so that the wait ends with PATIENCE only.
_HOLDER: Final = """
    WITH wanted AS (SELECT pg_catalog.hashtextextended($1, 0) AS key)
    SELECT l.pid, pg_catalog.concat_ws(', ', nullif(a.application_name, ''), pg_catalog.host(a.client_addr)) AS what,
        coalesce(
            a.state LIKE 'idle in transaction%'
                AND pg_catalog.clock_timestamp() - a.state_change > pg_catalog.make_interval(secs => $2), false
        ) AS hangs
    FROM wanted JOIN pg_catalog.pg_locks AS l ON l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.classid::bigint = wanted.key >> 32 & 4294967295 AND l.objid::bigint = wanted.key & 4294967295
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    LIMIT 1"""


class _OvertakenError(Exception):
    """
    Another process has created the schema, and this transaction cannot know it.

    A backend may have remembered that there is no such schema, for itself or, behind a pooler, for another client. It
    looks again when a transaction begins, which was before the lock was acquired.
    """


async def _create_missing(connection: Connection, tables: Tables) -> None:
    """Create the schema and the ledger if they are missing. Checked first: IF NOT EXISTS always needs the privilege."""
    create_schema, create_ledger = create_statements(tables)
    if await connection.fetchval("SELECT pg_catalog.to_regnamespace($1) IS NULL", f'"{tables.schema}"'):
        # Another prefix may be creating it with its first tables, which may take long on a busy machine. Each try is a
        # statement of its own, so that the next statement's snapshot is taken after the wait.
        key = f"voltmem:{tables.schema}"
        turn = _Turn(connection, tables, key)
        while not await connection.fetchval(_TRY_LOCK, key):
            await turn.wait()
        try:
            await connection.execute(create_schema)
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateSchemaError) as error:
            raise _OvertakenError from error
    if await connection.fetchval("SELECT pg_catalog.to_regclass($1) IS NULL", tables.migrations):
        await connection.execute(create_ledger)


async def execute(connection: Connection, migration: str, statement: str) -> str:
    """Run one statement of a migration, which may take an hour. Returns its tag; MigrationError if it fails."""
    try:
        return await connection.execute(statement, timeout=PATIENCE)
    except DRIVER_ERRORS as error:
        if is_lost(error, connection) and not isinstance(error, TimeoutError):
            raise translation(error, connection) from error
        reason = describe(error, denied_role(error, connection)).rstrip(".")
        raise MigrationError(migration, f"{reason}. Nothing of it was kept") from error


async def retry_while_in_use(step: Callable[[], Awaitable[Result]]) -> Result:
    """
    Run a step, and retry it while a table is in use. A failed try is rolled back.

    A waiting lock request blocks all later ones, so each wait is short, with pauses in between for other sessions.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return await step()
        except MigrationError as error:
            if getattr(error.__cause__, "sqlstate", None) not in _IN_USE or time.monotonic() > deadline:
                raise
            logger.warning("%s. A table is in use; trying again", error)
        await asyncio.sleep(random.uniform(0.5, 1.5) * LONGEST_DELAY)  # noqa: S311  # not for a secret
