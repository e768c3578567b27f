"""Where a database stands, what it lacks, and the way there: the old schema first, then the numbered files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from textwrap import dedent
from typing import TYPE_CHECKING

from voltmem._postgres import conversation_schema
from voltmem._postgres.migrations import applied, apply_missing, is_current, migrations, missing, room
from voltmem.errors import SchemaNotReadyError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection
    from voltmem._tables import Tables


async def missing_migrations(connection: Connection, tables: Tables) -> list[str]:
    """Return the names of what is to be done, in its order; MigrationError for a file that was edited."""
    names = [each.name for each in missing(migrations(), await applied(connection, tables))]
    return [conversation_schema.NAME, *names] if await conversation_schema.is_old(connection, tables) else names


async def check(connection: Connection, tables: Tables) -> None:
    """Raise SchemaNotReadyError if anything is missing. One round trip where nothing is."""
    if not await is_current(connection, tables, migrations()):
        raise SchemaNotReadyError(await missing_migrations(connection, tables), tables.schema, tables.prefix)


async def upgrade(connection: Connection, tables: Tables) -> list[str]:
    """Do all that is missing and return its names. One round trip where nothing is."""
    known = migrations()
    if await is_current(connection, tables, known):
        return []
    done = []
    if await conversation_schema.is_old(connection, tables):
        result = await conversation_schema.migrate(connection, tables)
        if result.error is not None:
            raise result.error
        done.append(conversation_schema.NAME)
    return done + await apply_missing(connection, tables, known)


@dataclass(frozen=True)
class MigrationStatus:
    """Where a database stands with one migration."""

    name: str
    """Its file's name without .sql; "conversation_schema" is the way from VoltAgent's first tables."""
    applied_at: datetime | None
    """When it was applied; None: it is missing."""


async def status(connection: Connection, tables: Tables) -> list[MigrationStatus]:
    """Return all that was applied or is missing, in its order, that of a newer release included."""
    todo = await missing_migrations(connection, tables)
    done = await applied(connection, tables)
    rows = await connection.fetch(f"SELECT name, applied_at FROM {tables.migrations}") if done else []
    return sorted(
        [*(MigrationStatus(**row) for row in rows), *(MigrationStatus(name, None) for name in todo)],
        key=lambda each: (each.name != conversation_schema.NAME, each.name),
    )


def script(tables: Tables) -> str:
    """Return all that makes the tables, as one SQL script; it may be run again, and where some of it was applied."""
    make_schema, make_ledger = room(tables)
    parts = [
        f"-- All that voltmem needs for {tables}. What was applied is left out when it is run again.\n"
        "-- psql is to stop at the first error: psql --set ON_ERROR_STOP=1",
        # Asked first, for IF NOT EXISTS needs the right to.
        _where(f"to_regnamespace('\"{tables.schema}\"') IS NULL", make_schema),
        make_ledger,
    ]
    old = conversation_schema.MigrateStatements(tables)
    parts.append(_where(f"({dedent(old.is_old)})", ";\n\n".join(old.script()) + ";"))
    # Never twice: some change rows, and would take what VoltAgent wrote since for what they were made for.
    for each in migrations():
        entry = f"INSERT INTO {tables.migrations} (name, checksum) VALUES ('{each.name}', '{each.checksum}');"
        unknown = f"NOT EXISTS (SELECT FROM {tables.migrations} WHERE name = '{each.name}')"
        parts.append(_where(unknown, f"{tables.render(each.text)}\n{entry}"))
    return "\n\n".join(parts) + "\n"


def _where(condition: str, statements: str) -> str:
    """Return one statement that runs all of these where the condition holds, or nothing."""
    return f"DO $voltmem$\nBEGIN\nIF {condition} THEN\n\n{statements}\n\nEND IF;\nEND\n$voltmem$;"
