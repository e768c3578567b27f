"""
Apply the files of migrations_sql/ that a database lacks, in order, and record each in the ledger.

Each file is one transaction under the schema lock, together with its row in the ledger. So any number of processes may
start at the same time, and one that is killed leaves nothing half-done. An index on a large table is built
CONCURRENTLY after that transaction, and the row is written when the index is valid. If a process finds the row missing,
it runs the file again, so every statement of a file must be repeatable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from voltmem._postgres.driver import logger
from voltmem._postgres.migrations import citus, ledger
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.migrations.indexes import Index, build_concurrently, is_being_indexed, is_large, is_valid
from voltmem._postgres.migrations.ledger import Entry
from voltmem._tables import Tables
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection


def missing(known: Sequence[Migration], applied: Mapping[str, Entry]) -> list[Migration]:
    """Return the files that were not applied, or in a lower version; MigrationError for one that was edited."""
    for each in known:
        entry = applied.get(each.name)
        if entry is not None and entry.version == each.version and entry.checksum != each.checksum:
            raise MigrationError(each.name, ledger.EDITED)
    return [each for each in known if each.name not in applied or applied[each.name].version < each.version]


async def apply_missing(connection: Connection, tables: Tables, known: Sequence[Migration]) -> list[str]:
    """Apply the missing migrations. Returns the names of those that this call applied."""
    done: list[str] = []
    while (name := await ledger.retry_while_in_use(lambda: _apply_next(connection, tables, known))) is not None:
        if name:
            logger.debug("applied migration %s to %s", name, tables)
            done.append(name)
    return done


async def _apply_next(connection: Connection, tables: Tables, known: Sequence[Migration]) -> str | None:
    """Apply the next migration. Returns its name; None: none is missing; "": another process is applying or did it."""
    if await is_being_indexed(connection, tables):
        await asyncio.sleep(ledger.LONGEST_DELAY)
        return ""
    async with ledger.schema_lock(connection, tables):
        todo = missing(known, await ledger.entries(connection, tables))
        if not todo:
            return None
        migration, *following = todo
        is_distributed = await citus.prepare(connection, tables)
        large = await _run(connection, tables, migration, following)
        if is_distributed and not migration.is_function:
            await citus.follow(connection, tables)
        if not large:
            return migration.name if await ledger.record(connection, tables, migration) else ""
    for index in large:
        await build_concurrently(connection, tables, migration, index)
    async with ledger.schema_lock(connection, tables):
        return migration.name if await ledger.record(connection, tables, migration) else ""


async def _run(
    connection: Connection, tables: Tables, migration: Migration, following: Sequence[Migration]
) -> list[Index]:
    """
    Run the statements of a migration. Returns the indexes to build after the transaction.

    Indexes that a later migration drops are not built: a slow process would create them again after they were dropped.
    """
    later: list[Index] = []
    if migration.is_function:
        # The tables in its body may not exist yet.
        await connection.execute("SET LOCAL check_function_bodies = off")
    for statement in migration.statements(tables):
        index = Index.made_by(statement, tables)
        valid = None if index is None else await is_valid(connection, index)
        if valid:
            continue
        if index is not None and (valid is False or await is_large(connection, index.table)):
            if not any(index.is_dropped_by(each, tables) for each in following):
                later.append(index)
            continue
        await ledger.execute(connection, migration.name, statement)
    return later
