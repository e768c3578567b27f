"""
Finds the numbered SQL files, applies what a database lacks, and records it: name and checksum, a row a file.

Each file is one transaction in our turn at the tables, together with its row in the ledger: any number of processes
may start at once, and one that is killed leaves nothing half-done. An index on a large table is built after that
transaction, CONCURRENTLY, and the row written when it is there; all that the file did before is done again by
whoever finds it unrecorded, so every statement of a file bears being repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg

from voltmem._postgres.connection import transaction_on
from voltmem._postgres.driver import DRIVER_ERRORS, logger
from voltmem._tables import Tables
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from voltmem._postgres.driver import Connection

Result = TypeVar("Result")

_FILE_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_CREATE_INDEX = re.compile(r"^CREATE INDEX IF NOT EXISTS (?P<name>\S+)\s+ON (?P<table>\S+)", re.MULTILINE)

# Seconds. Rewriting or indexing a table may take longer than any call.
PATIENCE: Final = 3600.0
# Milliseconds for a lock on a table: whoever comes after us waits as long. Well below deadlock_timeout (a second),
# so that we give up, and not somebody who builds an index and waits for us.
_LOCK_TIMEOUT: Final = 400
# Seconds in which a table that is in use is asked for again and again.
_LOCK_PATIENCE: Final = 600.0
# Bytes from which on an index is built concurrently; below, it takes a fraction of a second.
_LARGE: Final = 8 * 1024 * 1024
_FIRST_DELAY, _LONGEST_DELAY = 0.02, 1.0

# Lock not available, deadlock: somebody is using the table.
_IN_USE: Final = frozenset({"55P03", "40P01"})


@dataclass(frozen=True)
class Index:
    """An index that a statement of a file makes."""

    name: str
    table: str
    statement: str

    @classmethod
    def made_by(cls, statement: str, tables: Tables) -> Index | None:
        """Return the index, or None where the statement makes none."""
        found = _CREATE_INDEX.search(statement)
        return found and cls(f'"{tables.schema}".{found["name"]}', found["table"], statement[found.start() :])

    @property
    def concurrent_statement(self) -> str:
        """The statement that builds it while others read and write; an error where it exists, valid or not."""
        return self.statement.replace("CREATE INDEX IF NOT EXISTS", "CREATE INDEX CONCURRENTLY", 1)


@dataclass(frozen=True)
class Migration:
    """One file of migrations_sql/."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text, which is never edited once it is released."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, tables: Tables) -> Iterator[str]:
        """
        Yield its statements, one at a time (Citus refuses several in one).

        A statement ends with a line that ends with a semicolon, outside of a dollar-quoted body.
        """
        lines: list[str] = []
        quoted = False
        for line in tables.render(self.text).splitlines():
            lines.append(line)
            code = line.partition("--")[0].rstrip()
            quoted ^= len(re.findall(r"\$\w*\$", code)) % 2 == 1
            if code.endswith(";") and not quoted:
                yield "\n".join(lines)
                lines = []
        if any(line.partition("--")[0].strip() for line in lines):
            yield "\n".join(lines)

    def drops(self, index: Index, tables: Tables) -> bool:
        """Return whether it drops the index."""
        return f"DROP INDEX IF EXISTS {index.name};" in tables.render(self.text)


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations in their order: from the installed package, or from beside it in a checkout."""
    from importlib import resources  # here: it brings zipfile, tempfile and email along

    folders: Sequence[Traversable] = (
        resources.files("voltmem") / "migrations_sql",
        Path(__file__).parents[2] / "migrations_sql",
    )
    folder = next(each for each in folders if each.is_dir())
    files = sorted((each for each in folder.iterdir() if _FILE_NAME.fullmatch(each.name)), key=lambda each: each.name)
    # Git may have turned the line ends into Windows'; the checksum must not care.
    return tuple(Migration(file.name[:-4], file.read_text(encoding="utf-8").replace("\r\n", "\n")) for file in files)


async def is_current(connection: Connection, tables: Tables, known: Sequence[Migration]) -> bool:
    """
    Return whether all known migrations are applied, unedited. One round trip: a simple query, whose tag counts.

    Migrations that only a newer release knows do not matter: they add, and take nothing away.
    """
    rows = ", ".join(f"('{each.name}', '{each.checksum}')" for each in known)
    try:
        tag = await connection.execute(f"SELECT FROM {tables.migrations} WHERE (name, checksum) IN ({rows})")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return False
    return tag == f"SELECT {len(known)}"


async def applied(connection: Connection, tables: Tables) -> dict[str, str]:
    """Return the checksums of the migrations that the ledger knows, by name; nothing where there is no ledger."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", tables.migrations):
        return {}
    rows = await connection.fetch(f"SELECT name, checksum FROM {tables.migrations}")
    return {row["name"]: row["checksum"] for row in rows}


def missing(known: Sequence[Migration], applied: dict[str, str]) -> list[Migration]:
    """Return those that were not applied; MigrationError for one whose file is not the one that was."""
    for each in known:
        if applied.get(each.name, each.checksum) != each.checksum:
            raise MigrationError(
                each.name,
                "its file is not the one that was applied to this database. Released migrations are never edited: "
                "restore the file, and put the change into a new one",
            )
    return [each for each in known if each.name not in applied]


async def apply_missing(connection: Connection, tables: Tables, known: Sequence[Migration]) -> list[str]:
    """Apply what is missing and return the names of those that this call applied."""
    done: list[str] = []
    while (name := await patiently(lambda: _apply_next(connection, tables, known))) is not None:
        if name:
            logger.debug("applied migration %s to %s", name, tables)
            done.append(name)
    return done


async def _apply_next(connection: Connection, tables: Tables, known: Sequence[Migration]) -> str | None:
    """Return the name of the migration applied; None: none is missing; "": another process is at it, or was faster."""
    if await _is_being_indexed(connection, tables):
        await asyncio.sleep(_LONGEST_DELAY)
        return ""
    async with turn(connection, tables):
        todo = missing(known, await applied(connection, tables))
        if not todo:
            return None
        migration, *following = todo
        large = await _run(connection, tables, migration, following)
        if not large:
            return migration.name if await record(connection, tables, migration.name, migration.checksum) else ""
    for index in large:
        await _build_concurrently(connection, tables, migration, index)
    async with turn(connection, tables):
        return migration.name if await record(connection, tables, migration.name, migration.checksum) else ""


async def _run(
    connection: Connection, tables: Tables, migration: Migration, following: Sequence[Migration]
) -> list[Index]:
    """
    Run a migration's statements, and return the indexes that are to be built when others may work again.

    Not those that a following migration drops: a process that was overtaken would bring them back.
    """
    later: list[Index] = []
    for statement in migration.statements(tables):
        index = Index.made_by(statement, tables)
        valid = None if index is None else await _is_valid(connection, index)
        if valid:
            continue
        if index is not None and (valid is False or await _is_large(connection, index.table)):
            if not any(each.drops(index, tables) for each in following):
                later.append(index)
            continue
        await execute(connection, migration.name, statement)
    return later


# --- one at a time ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def turn(connection: Connection, tables: Tables) -> AsyncIterator[None]:
    """
    A transaction in which nobody else changes the schema of these tables; there is a ledger in it.

    Its lock is the transaction's, which poolers respect. It is waited for by asking again: who waited inside of a
    statement would hold a snapshot, for which an index that is built concurrently waits in turn, and they deadlock.
    """
    delay = _FIRST_DELAY
    while True:
        async with transaction_on(connection):
            key = f"voltmem:{tables}"
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", key):
                await _make_room(connection, tables)
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT}")
                yield
                return
        await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311  # no secret is made of it
        delay = min(2 * delay, _LONGEST_DELAY)


def room(tables: Tables) -> list[str]:
    """Return the statements that make the schema and the ledger."""
    return [
        f'CREATE SCHEMA IF NOT EXISTS "{tables.schema}";',
        f"CREATE TABLE IF NOT EXISTS {tables.migrations} (\n"
        "    name text PRIMARY KEY,\n"
        "    checksum text NOT NULL,\n"
        "    applied_at timestamptz NOT NULL DEFAULT now()\n"
        ");",
    ]


async def _make_room(connection: Connection, tables: Tables) -> None:
    """Make the schema and the ledger where they are missing; asked first, for IF NOT EXISTS needs the right to."""
    make_schema, make_ledger = room(tables)
    if await connection.fetchval("SELECT to_regnamespace($1) IS NULL", f'"{tables.schema}"'):
        # Other prefixes may be making it, too, with their first tables: that takes as long as it takes, on a busy
        # machine. A statement of its own, for a snapshot that is taken after the wait.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"voltmem:{tables.schema}", timeout=PATIENCE
        )
        await connection.execute(make_schema)
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", tables.migrations):
        await connection.execute(make_ledger)


async def record(connection: Connection, tables: Tables, name: str, checksum: str) -> bool:
    """Write a migration into the ledger; return whether it was not there."""
    tag = await connection.execute(
        f"INSERT INTO {tables.migrations} (name, checksum) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        name,
        checksum,
    )
    return tag == "INSERT 0 1"


async def execute(connection: Connection, migration: str, statement: str) -> str:
    """Run one statement of a migration, however long it takes, and return its tag; MigrationError if it fails."""
    try:
        return await connection.execute(statement, timeout=PATIENCE)
    except DRIVER_ERRORS as error:
        raise MigrationError(migration, f"{error}. Nothing of it was kept") from error


async def patiently(step: Callable[[], Awaitable[Result]]) -> Result:
    """
    Return what the step returns. One that meets a table in use is undone and tried again, after others had a go.

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
        await asyncio.sleep(random.uniform(0.5, 1.5) * _LONGEST_DELAY)  # noqa: S311  # no secret is made of it


# --- indexes on large tables --------------------------------------------------------------------------------------


async def _is_large(connection: Connection, table: str) -> bool:
    size = await connection.fetchval("SELECT pg_relation_size(to_regclass($1))", table)
    return size is not None and size >= _LARGE


async def _is_valid(connection: Connection, index: Index) -> bool | None:
    """Return whether the index can be used; False while it is being built, or when that has failed; None: absent."""
    sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
    valid: bool | None = await connection.fetchval(sql, index.name)
    return valid


async def _is_being_indexed(connection: Connection, tables: Tables) -> bool:
    """Return whether another process builds an index on one of these tables concurrently: its lock tells."""
    building: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_locks AS l ON l.relation = c.oid
            WHERE NOT i.indisvalid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND c.relnamespace = to_regnamespace($1) AND starts_with(c.relname::text, $2))""",
        f'"{tables.schema}"',
        f"{tables.prefix}_",
    )
    return building


async def _build_concurrently(connection: Connection, tables: Tables, migration: Migration, index: Index) -> None:
    """Build the index, or wait until another process that has begun to is done."""
    while not (valid := await _is_valid(connection, index)):
        if await _is_being_indexed(connection, tables):
            await asyncio.sleep(_LONGEST_DELAY)
        elif valid is False:
            await _drop_invalid(connection, index)
        else:
            await _create_concurrently(connection, migration, index)


async def _create_concurrently(connection: Connection, migration: Migration, index: Index) -> None:
    try:
        await connection.execute(index.concurrent_statement, timeout=PATIENCE)
    except (asyncpg.DuplicateTableError, asyncpg.UniqueViolationError):
        logger.debug("the index %s is being built by another process", index.name)
    except DRIVER_ERRORS as error:
        if not connection.is_closed():
            await _drop_invalid(connection, index)
        raise MigrationError(migration.name, f"{error}. The index {index.name} was not kept") from error


async def _drop_invalid(connection: Connection, index: Index) -> None:
    """
    Drop what is left of a build that failed. Nothing happens while it is being built: its builder has the lock.

    But for a moment at its end, when the lock is gone and "valid" not committed: there PostgreSQL refuses to drop it,
    "tuple concurrently updated" (XX000).
    """
    try:
        async with transaction_on(connection):
            await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT}")
            await connection.execute(f"LOCK TABLE {index.table} IN SHARE UPDATE EXCLUSIVE MODE")
            if await _is_valid(connection, index) is False:
                await connection.execute(f"DROP INDEX {index.name}")
    except (asyncpg.LockNotAvailableError, asyncpg.InternalServerError) as error:
        logger.debug("the index %s is being built by another process: %s", index.name, error)
