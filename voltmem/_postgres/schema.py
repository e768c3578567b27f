"""The status of the schema and its upgrade: older schemas first, then the files of migrations_sql/."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from textwrap import dedent
from typing import TYPE_CHECKING

from voltmem._postgres.migrations import citus, conversation_schema, unreleased, voltagent
from voltmem._postgres.migrations.apply import apply_missing, missing
from voltmem._postgres.migrations.citus import Distribution
from voltmem._postgres.migrations.files import FUNCTIONS, migrations
from voltmem._postgres.migrations.ledger import (
    PINNED_PATH,
    create_statements,
    entries,
    is_current,
    record_sql,
    refuse_edited_sql,
)
from voltmem.errors import SchemaNotReadyError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection
    from voltmem._tables import Tables


async def missing_migrations(connection: Connection, tables: Tables) -> list[str]:
    """Return the names of the missing migrations, in order; MigrationError for a file that was edited."""
    if await unreleased.is_there(connection, tables):
        return [unreleased.NAME]
    names = [each.name for each in missing(migrations(), await entries(connection, tables))]
    if await conversation_schema.is_old(connection, tables):
        return [conversation_schema.NAME, *names]
    return [*names, *await voltagent.missing(connection, tables)]


async def check(connection: Connection, tables: Tables, *, looks_for_pooler: bool) -> None:
    """Raise SchemaNotReadyError if a migration is missing. One round trip if none is. Looks as in upgrade()."""
    if not await is_current(
        connection, tables, migrations(), voltagent.unmet(tables), looks_for_pooler=looks_for_pooler
    ):
        raise SchemaNotReadyError(await missing_migrations(connection, tables), tables.schema, tables.prefix)


async def upgrade(connection: Connection, tables: Tables, *, looks_for_pooler: bool = False) -> list[str]:
    """
    Apply the missing migrations. Returns their names. One round trip if none is missing.

    If voltagent.MESSAGES is among them, the caller does that one: it reads messages.
    looks_for_pooler: Whether to raise PoolerNoticedError, before anything is done, if a pooler is in between.
    """
    known, unmet = migrations(), voltagent.unmet(tables, messages=True)
    if await is_current(connection, tables, known, unmet, looks_for_pooler=looks_for_pooler):
        return []
    done = [unreleased.NAME] if await unreleased.replace(connection, tables) else []
    if await conversation_schema.is_old(connection, tables):
        result = await conversation_schema.migrate(connection, tables)
        if result.error is not None:
            raise result.error
        done.append(conversation_schema.NAME)
    done += await apply_missing(connection, tables, known)
    return done + await voltagent.adapt(connection, tables)


@dataclass(frozen=True)
class MigrationStatus:
    """A migration, and whether it was applied to a database."""

    name: str
    """The path of its file in migrations_sql/, without .sql; "conversation_schema" for VoltAgent's first tables."""
    applied_at: datetime | None
    """When it was applied; None: it is missing."""


class SchemaStatus(list[MigrationStatus]):
    """Every migration, in order, and where the tables are."""

    citus: Distribution
    """
    - "absent": the database has no Citus.
    - "local": it has, and the tables are on this server alone. ``python -m voltmem migrate --citus`` distributes them.
    - "distributed": the rows are spread over the workers, by conversation.
    """

    def __init__(self, migrations: Iterable[MigrationStatus], citus: Distribution) -> None:
        super().__init__(migrations)
        self.citus = citus


async def status(connection: Connection, tables: Tables) -> SchemaStatus:
    """Return all applied and missing migrations, in order, including those of a newer release."""
    todo = await missing_migrations(connection, tables)
    has_ledger = await connection.fetchval("SELECT pg_catalog.to_regclass($1) IS NOT NULL", tables.migrations)
    rows = await connection.fetch(f"SELECT name, applied_at FROM {tables.migrations}") if has_ledger else []
    found = {row["name"]: MigrationStatus(**row) for row in rows}
    found |= {name: MigrationStatus(name, None) for name in todo}
    in_order = sorted(found.values(), key=lambda each: (_place(each.name), each.name))
    return SchemaStatus(in_order, await citus.found(connection, tables))


def _place(name: str) -> int:
    """Return the rank of a migration: older schemas, then functions, then numbered files, then VoltAgent's columns."""
    if name.startswith(FUNCTIONS):
        return 1
    if name in (voltagent.COLUMNS, voltagent.MESSAGES):
        return 3
    return 2 if name[0].isdigit() else 0


async def distribute(connection: Connection, tables: Tables) -> list[str]:
    """Distribute the tables on a cluster of Citus. Returns the names of those that were not distributed before."""
    return await citus.distribute(connection, tables)


def script(tables: Tables, *, distributed: bool = False) -> str:
    """
    Return an SQL script that creates or upgrades the tables. It can be run again, and after a part of it.

    Args:
        tables: The names of the tables.
        distributed: Whether it distributes the tables, on the coordinator of Citus.
    """
    create_schema, create_ledger = create_statements(tables)
    parts = [
        f"-- All statements that voltmem needs for {tables}. Those that were applied are skipped in another run.\n"
        "-- psql is to stop at the first error: psql --set ON_ERROR_STOP=1\n"
        f"{PINNED_PATH};",
        *([citus.require_cluster_script(tables)] if distributed else []),
        # Checked first, because IF NOT EXISTS needs the privilege even if the schema exists.
        _where(f"pg_catalog.to_regnamespace('\"{tables.schema}\"') IS NULL", create_schema),
        create_ledger,
        unreleased.script(tables),
        refuse_edited_sql(tables, migrations()),
    ]
    old = conversation_schema.MigrateStatements(tables)
    parts.append(_where(f"({dedent(old.is_old)})", ";\n\n".join(old.script()) + ";"))
    # No migration runs twice: some change rows, and would change rows that VoltAgent wrote since.
    for each in migrations():
        known = f"SELECT 1 FROM {tables.migrations} WHERE name = '{each.name}' AND version >= {each.version}"
        before = "SET LOCAL check_function_bodies = off;\n\n" if each.is_function else ""
        parts.append(_where(f"NOT EXISTS ({known})", f"{before}{tables.render(each.text)}\n{record_sql(tables, each)}"))
    parts.append(voltagent.script(tables))
    if distributed:
        parts.append(citus.script(tables))
    return "\n\n".join(parts) + "\n"


def _where(condition: str, statements: str) -> str:
    """Return one statement that runs these statements if the condition is true."""
    return f"DO $voltmem$\nBEGIN\nIF {condition} THEN\n\n{statements}\n\nEND IF;\nEND\n$voltmem$;"
