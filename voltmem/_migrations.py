"""
Finds the numbered SQL files, applies what a database lacks, and records it: name and checksum, a row a file.

Each file is one transaction under one advisory lock, together with its row in the ledger, so any number of
processes may start at once, and one that is killed leaves nothing half-done.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from voltmem._database import DRIVER_ERRORS, logger, transaction_on
from voltmem._tables import Tables
from voltmem.errors import MigrationError, SchemaNotReadyError

if TYPE_CHECKING:
    from voltmem._database import Connection

_FILE_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
# Waiting for another process's migration, and running ours, may take longer than any call.
_PATIENCE: Final = 3600.0


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


def migrations() -> list[Migration]:
    """Return all migrations in their order: from the installed package, or from beside it in a checkout."""
    folders: Sequence[Traversable] = (
        resources.files("voltmem") / "migrations_sql",
        Path(__file__).parent.parent / "migrations_sql",
    )
    folder = next(each for each in folders if each.is_dir())
    files = sorted((each for each in folder.iterdir() if _FILE_NAME.fullmatch(each.name)), key=lambda each: each.name)
    # Git may have turned the line ends into Windows'; the checksum must not care.
    return [Migration(file.name[:-4], file.read_text(encoding="utf-8").replace("\r\n", "\n")) for file in files]


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


async def check(connection: Connection, tables: Tables, known: Sequence[Migration]) -> None:
    """Raise SchemaNotReadyError naming the migrations that are missing, MigrationError for one that was edited."""
    if not await is_current(connection, tables, known):
        missing = _missing(known, await _applied(connection, tables))
        raise SchemaNotReadyError([each.name for each in missing], str(tables))


async def upgrade(connection: Connection, tables: Tables, known: Sequence[Migration]) -> list[str]:
    """Apply what is missing and return its names; nothing where the schema is current."""
    done: list[str] = []
    if await is_current(connection, tables, known):
        return done
    await _make_room(connection, tables)
    while name := await _apply_next(connection, tables, known):
        logger.debug("applied migration %s to %s", name, tables)
        done.append(name)
    return done


async def _applied(connection: Connection, tables: Tables) -> dict[str, str]:
    try:
        rows = await connection.fetch(f"SELECT name, checksum FROM {tables.migrations}")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return {}
    return {row["name"]: row["checksum"] for row in rows}


def _missing(known: Sequence[Migration], applied: dict[str, str]) -> list[Migration]:
    for each in known:
        if applied.get(each.name, each.checksum) != each.checksum:
            raise MigrationError(
                each.name,
                "its file is not the one that was applied to this database. Released migrations are never edited: "
                "restore the file, and put the change into a new one",
            )
    return [each for each in known if each.name not in applied]


async def _lock(connection: Connection, what: object) -> None:
    """Wait for our turn at a schema or its tables; held until the end of the transaction, which poolers respect."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"voltmem:{what}", timeout=_PATIENCE
    )


async def _make_room(connection: Connection, tables: Tables) -> None:
    """Make the schema and the ledger, where they are missing (CREATE … IF NOT EXISTS alone is no protection)."""
    async with transaction_on(connection):
        await _lock(connection, tables.schema)  # other prefixes may be making it, too
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", tables.schema):
            await connection.execute(f'CREATE SCHEMA "{tables.schema}"')
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {tables.migrations} ("
            "name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )


async def _apply_next(connection: Connection, tables: Tables, known: Sequence[Migration]) -> str | None:
    async with transaction_on(connection):
        await _lock(connection, tables)
        missing = _missing(known, await _applied(connection, tables))
        if not missing:
            return None
        migration = missing[0]
        for statement in migration.statements(tables):
            try:
                await connection.execute(statement, timeout=_PATIENCE)
            except DRIVER_ERRORS as error:
                raise MigrationError(migration.name, f"{error}. Nothing of it was kept") from error
        await connection.execute(
            f"INSERT INTO {tables.migrations} (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
        )
        return migration.name
