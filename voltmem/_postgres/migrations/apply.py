"""
Applies the files of migrations_sql/ that a database lacks, in their order, and records each in the ledger.

Each file is one transaction under the schema lock, together with its row in the ledger: any number of processes may
start at once, and one that is killed leaves nothing half-done. An index on a large table is built after that
transaction, CONCURRENTLY, and the row written when it is there. All that the file did before is done again by whoever
finds it unrecorded, so every statement of a file can be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from voltmem._postgres.driver import logger
from voltmem._postgres.migrations import ledger
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.migrations.indexes import Index, build_concurrently, is_being_indexed, is_large, is_valid
from voltmem._postgres.migrations.ledger import Entry
from voltmem._tables import Tables
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection


def missing(known: Sequence[Migration], applied: Mapping[str, Entry]) -> list[Migration]:
    """Return those that were not applied, or in a lower version; MigrationError for one that was edited."""
    for each in known:
        entry = applied.get(each.name)
        if entry is not None and entry.version == each.version and entry.checksum != each.checksum:
            raise MigrationError(each.name, _edited(each))
    return [each for each in known if each.name not in applied or applied[each.name].version < each.version]


def _edited(migration: Migration) -> str:
    if migration.is_function:
        return (
            f"this database has another text of its version {migration.version}. Whoever changes a function's text "
            f'raises the number in its first line, "-- version {migration.version}"'
        )
    return (
        "its file is not the one that was applied to this database. Released migrations are never edited: restore "
        "the file, and put the change into a new one"
    )


async def apply_missing(connection: Connection, tables: Tables, known: Sequence[Migration]) -> list[str]:
    """Apply what is missing. Returns the names of what this call applied."""
    done: list[str] = []
    while (name := await ledger.patiently(lambda: _apply_next(connection, tables, known))) is not None:
        if name:
            logger.debug("applied migration %s to %s", name, tables)
            done.append(name)
    return done


async def _apply_next(connection: Connection, tables: Tables, known: Sequence[Migration]) -> str | None:
    """Return the name of the migration applied; None: none is missing; "": another process is at it, or was faster."""
    if await is_being_indexed(connection, tables):
        await asyncio.sleep(ledger.LONGEST_DELAY)
        return ""
    async with ledger.schema_lock(connection, tables):
        todo = missing(known, await ledger.entries(connection, tables))
        if not todo:
            return None
        migration, *following = todo
        large = await _run(connection, tables, migration, following)
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
    Run a migration's statements. Returns the indexes that are to be built when others may work again.

    Not those that a following migration drops: a process that was overtaken would bring them back.
    """
    later: list[Index] = []
    if migration.is_function:
        # The tables that it names may not be there yet.
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
