"""Indexes on large tables: built CONCURRENTLY, after the transaction of the file that creates them, by one process."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from voltmem._postgres.connection import transaction_on
from voltmem._postgres.driver import DRIVER_ERRORS, denied_role, is_gone, is_lost, logger, translation
from voltmem._postgres.migrations import ledger
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.translation import describe
from voltmem._tables import Tables
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

_CREATE_INDEX = re.compile(r"^CREATE INDEX IF NOT EXISTS (?P<name>\S+)\s+ON (?P<table>\S+)", re.MULTILINE)

# The size in bytes from which an index is built concurrently. On a smaller table, it takes a fraction of a second.
LARGE: int = 8 * 1024 * 1024


@dataclass(frozen=True)
class Index:
    """An index that a statement of a migration creates."""

    name: str
    table: str
    statement: str

    @classmethod
    def made_by(cls, statement: str, tables: Tables) -> Index | None:
        """Return the index that the statement creates, or None."""
        found = _CREATE_INDEX.search(statement)
        return found and cls(f'"{tables.schema}".{found["name"]}', found["table"], statement[found.start() :])

    @property
    def concurrent_statement(self) -> str:
        """The statement that builds it while others read and write. It fails if the index exists, valid or not."""
        return self.statement.replace("CREATE INDEX IF NOT EXISTS", "CREATE INDEX CONCURRENTLY", 1)

    def is_dropped_by(self, migration: Migration, tables: Tables) -> bool:
        """Return whether the migration drops the index."""
        return f"DROP INDEX IF EXISTS {self.name};" in tables.render(migration.text)


async def is_large(connection: Connection, table: str) -> bool:
    """Return whether the table is so large that its indexes must be built concurrently."""
    size = await connection.fetchval("SELECT pg_catalog.pg_relation_size(pg_catalog.to_regclass($1))", table)
    return size is not None and size >= LARGE


async def is_valid(connection: Connection, index: Index) -> bool | None:
    """Return whether the index is valid. False: it is being built, or building it failed; None: it does not exist."""
    sql = "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass($1)::oid"
    valid: bool | None = await connection.fetchval(sql, index.name)
    return valid


async def is_being_indexed(connection: Connection, tables: Tables) -> bool:
    """Return whether another process is building an index on one of these tables concurrently, by its lock."""
    building: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT 1 FROM pg_catalog.pg_index AS i
            JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid JOIN pg_catalog.pg_locks AS l ON l.relation = c.oid
            WHERE NOT i.indisvalid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
                AND l.pid <> pg_catalog.pg_backend_pid()
                AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
                AND c.relnamespace = pg_catalog.to_regnamespace($1)::oid
                AND pg_catalog.starts_with(c.relname::text, $2))""",
        f'"{tables.schema}"',
        f"{tables.prefix}_",
    )
    return building


async def build_concurrently(connection: Connection, tables: Tables, migration: Migration, index: Index) -> None:
    """Build the index, or wait until another process has built it."""
    while not (valid := await is_valid(connection, index)):
        if await is_being_indexed(connection, tables):
            await asyncio.sleep(ledger.LONGEST_DELAY)
        elif valid is False:
            await _drop_invalid(connection, index)
        else:
            await _create_concurrently(connection, migration, index)


async def _create_concurrently(connection: Connection, migration: Migration, index: Index) -> None:
    try:
        await connection.execute(index.concurrent_statement, timeout=ledger.PATIENCE)
    except (asyncpg.DuplicateTableError, asyncpg.UniqueViolationError):
        logger.debug("the index %s is being built by another process", index.name)
    except DRIVER_ERRORS as error:
        if not is_gone(connection):
            await _drop_invalid(connection, index)
        if is_lost(error, connection) and not isinstance(error, TimeoutError):
            raise translation(error, connection) from error
        reason = describe(error, denied_role(error, connection)).rstrip(".")
        raise MigrationError(migration.name, f"{reason}. The index {index.name} was not kept") from error


async def _drop_invalid(connection: Connection, index: Index) -> None:
    """
    Drop an index whose build failed. Does nothing while another process is building it, which holds the lock.

    At the end of a build, the lock is released a moment before "valid" is committed. In that moment, PostgreSQL refuses
    to drop the index with "tuple concurrently updated" (XX000).
    """
    try:
        async with transaction_on(connection):
            await connection.execute(f"SET LOCAL lock_timeout = {ledger.LOCK_TIMEOUT}")
            await connection.execute(f"LOCK TABLE {index.table} IN SHARE UPDATE EXCLUSIVE MODE")
            if await is_valid(connection, index) is False:
                await connection.execute(f"DROP INDEX {index.name}")
    except (asyncpg.LockNotAvailableError, asyncpg.InternalServerError) as error:
        logger.debug("the index %s is being built by another process: %s", index.name, error)
