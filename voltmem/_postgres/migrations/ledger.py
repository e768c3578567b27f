"""The ledger of a prefix, with one row for each file that was applied, and the lock under which the schema changes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import asyncpg

from voltmem._postgres.connection import transaction_on
from voltmem._postgres.driver import DRIVER_ERRORS, logger
from voltmem._postgres.migrations.files import Migration
from voltmem._tables import Tables
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

Result = TypeVar("Result")

# Seconds. Rewriting or indexing a table may take longer than any call.
PATIENCE: Final = 3600.0
# Milliseconds to wait for a lock on a table: whoever comes after us waits as long. Well below deadlock_timeout (a
# second), so that we give up, and not somebody who builds an index and waits for us.
LOCK_TIMEOUT: int = 400
# Seconds between two looks at what another process is doing, at most.
LONGEST_DELAY: float = 1.0
_FIRST_DELAY: Final = 0.02
# Seconds in which a table that is in use is asked for again and again.
_LOCK_PATIENCE: Final = 600.0

# Lock not available, deadlock: somebody is using the table.
_IN_USE: Final = frozenset({"55P03", "40P01"})


class Entry(NamedTuple):
    """A row of the ledger."""

    version: int
    checksum: str


def room(tables: Tables) -> list[str]:
    """Return the statements that create the schema and the ledger."""
    return [
        f'CREATE SCHEMA IF NOT EXISTS "{tables.schema}";',
        f"CREATE TABLE IF NOT EXISTS {tables.migrations} (\n"
        "    name text PRIMARY KEY,\n"
        "    checksum text NOT NULL,\n"
        "    applied_at timestamptz NOT NULL DEFAULT now(),\n"
        "    version integer NOT NULL DEFAULT 1\n"
        ");",
    ]


async def is_current(connection: Connection, tables: Tables, known: Sequence[Migration]) -> bool:
    """
    Return whether all known migrations are applied, unedited. One round trip: a simple query, whose tag counts.

    What only a newer release knows does not matter: its files add, and its functions can still be called.
    """
    rows = ", ".join(f"('{each.name}', {each.version}, '{each.checksum}')" for each in known)
    try:
        tag = await connection.execute(f"""
            SELECT 1 FROM {tables.migrations} AS l JOIN (VALUES {rows}) AS known (name, version, checksum)
            ON l.name = known.name
                AND (l.version > known.version OR l.version = known.version AND l.checksum = known.checksum)""")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError):
        return False
    return tag == f"SELECT {len(known)}"


async def entries(connection: Connection, tables: Tables) -> dict[str, Entry]:
    """Return the rows of the ledger by name; nothing where there is no ledger."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", tables.migrations):
        return {}
    rows = await connection.fetch(f"SELECT name, version, checksum FROM {tables.migrations}")
    return {row["name"]: Entry(row["version"], row["checksum"]) for row in rows}


def record_sql(tables: Tables, migration: Migration) -> str:
    """Return the statement that writes a migration into the ledger, unless it is there."""
    return (
        f"INSERT INTO {tables.migrations} AS l (name, version, checksum)\n"
        f"VALUES ('{migration.name}', {migration.version}, '{migration.checksum}')\n"
        "ON CONFLICT (name) DO UPDATE\n"
        "SET version = excluded.version, checksum = excluded.checksum, applied_at = excluded.applied_at\n"
        "WHERE l.version < excluded.version;"
    )


async def record(connection: Connection, tables: Tables, migration: Migration) -> bool:
    """Write a migration into the ledger. Returns whether it was not there."""
    return await connection.execute(record_sql(tables, migration)) == "INSERT 0 1"


# --- one at a time ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def schema_lock(connection: Connection, tables: Tables) -> AsyncIterator[None]:
    """
    A transaction in which nobody else changes the schema of these tables; there is a ledger in it.

    Its lock is the transaction's, which poolers respect. It is acquired by asking again: whoever waited inside of a
    statement would hold a snapshot, for which an index that is built concurrently waits in turn: a deadlock.
    """
    delay = _FIRST_DELAY
    while True:
        async with transaction_on(connection):
            key = f"voltmem:{tables}"
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", key):
                await _make_room(connection, tables)
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
                yield
                return
        await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311  # no secret is made of it
        delay = min(2 * delay, LONGEST_DELAY)


async def _make_room(connection: Connection, tables: Tables) -> None:
    """Create the schema and the ledger where they are missing; asked first, for IF NOT EXISTS needs the right to."""
    make_schema, make_ledger = room(tables)
    if await connection.fetchval("SELECT to_regnamespace($1) IS NULL", f'"{tables.schema}"'):
        # Other prefixes may be creating it, too, with their first tables: that takes as long as it takes, on a busy
        # machine. A statement of its own, for a snapshot that is taken after the wait.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"voltmem:{tables.schema}", timeout=PATIENCE
        )
        await connection.execute(make_schema)
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", tables.migrations):
        await connection.execute(make_ledger)


async def execute(connection: Connection, migration: str, statement: str) -> str:
    """Run one statement of a migration, however long it takes. Returns its tag; MigrationError if it fails."""
    try:
        return await connection.execute(statement, timeout=PATIENCE)
    except DRIVER_ERRORS as error:
        raise MigrationError(migration, f"{str(error).rstrip('.')}. Nothing of it was kept") from error


async def patiently(step: Callable[[], Awaitable[Result]]) -> Result:
    """
    Run a step until it meets no table in use. Each try that does is undone, and others have a go before the next.

    A lock that is waited for holds up all who come later, so each wait is short, and there are many.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return await step()
        except MigrationError as error:
            if getattr(error.__cause__, "sqlstate", None) not in _IN_USE or time.monotonic() > deadline:
                raise
            logger.warning("%s. A table is in use; trying again", error)
        await asyncio.sleep(random.uniform(0.5, 1.5) * LONGEST_DELAY)  # noqa: S311  # no secret is made of it
