"""
Apply the files of migrations_sql/ that a database lacks, in order, and record each in the ledger.

Each file is one transaction under the schema lock, together with its row in the ledger. So any number of processes may
start at the same time, and one that is killed leaves nothing half-done. An index on a large table is built
CONCURRENTLY after that transaction, and the row is written when the index is valid. If a process finds the row missing,
it runs the file again, so every statement of a file must be repeatable.

Where there are no tables yet, all files are one transaction: a round trip and a commit for each statement would take
longer than the statements.
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


async def _is_new(connection: Connection, tables: Tables) -> bool:
    """Return whether there is no table but the ledger, and no Citus, which refuses several statements at once."""
    is_new: bool = await connection.fetchval(
        """
        SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_class
            WHERE relnamespace = pg_catalog.to_regnamespace($1)::oid AND relkind IN ('r', 'p')
                AND pg_catalog.starts_with(relname::text, $2) AND oid <> pg_catalog.to_regclass($3)::oid
        )""",
        f'"{tables.schema}"',
        f"{tables.prefix}_",
        tables.migrations,
    )
    return is_new


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
    while (names := await ledger.retry_while_in_use(lambda: _apply_next(connection, tables, known))) is not None:
        for name in names:
            logger.debug("applied migration %s to %s", name, tables)
        done += names
    return done


async def _create_all(connection: Connection, tables: Tables, known: Sequence[Migration]) -> list[str]:
    """Apply all migrations, each in one round trip, where there are no tables. Returns their names."""
    # The tables in the functions' bodies may not exist yet.
    await connection.execute("SET LOCAL check_function_bodies = off")
    for each in known:
        text = f"{tables.render(each.text)}\n{ledger.record_sql(tables, each)}"
        await ledger.execute(connection, each.name, text)
    return [each.name for each in known]


async def _apply_next(connection: Connection, tables: Tables, known: Sequence[Migration]) -> list[str] | None:
    """Apply the next migration, or all. Returns the names; None: none is missing; []: another process does it."""
    if await is_being_indexed(connection, tables):
        await asyncio.sleep(ledger.LONGEST_DELAY)
        return []
    async with ledger.schema_lock(connection, tables):
        todo = missing(known, await ledger.entries(connection, tables))
        if not todo:
            return None
        if len(todo) == len(known) and await _is_new(connection, tables):
            return await _create_all(connection, tables, todo)
        migration, *following = todo
        is_distributed = await citus.prepare(connection, tables)
        large = await _run(connection, tables, migration, following)
        if is_distributed and not migration.is_function:
            await citus.follow(connection, tables)
        if not large:
            return [migration.name] if await ledger.record(connection, tables, migration) else []
    for index in large:
        await build_concurrently(connection, tables, migration, index)
    async with ledger.schema_lock(connection, tables):
        return [migration.name] if await ledger.record(connection, tables, migration) else []


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
