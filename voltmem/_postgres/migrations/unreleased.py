"""
Databases of unreleased versions of voltmem: the fourteen rows of their ledger are replaced by those of today's files.

Today's files create the same tables as those fourteen did, so only the functions change. Delete this module, with its
tests and fixture, when no such database is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from voltmem._postgres.migrations.conversation_schema import NAME as CONVERSATION_SCHEMA
from voltmem._postgres.migrations.files import migrations
from voltmem._postgres.migrations.ledger import execute, foreign_refused, record_sql, retry_while_in_use, schema_lock
from voltmem._tables import Tables
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

NAME: Final = "unreleased_ledger"
"""The name of this step in lists of migrations and in errors."""

# The SHA-256 of the fourteen rows, and the last of the numbered files that replace them.
_COMPLETE: Final = "9b55f986a3418af358484e94c43d6d5e3ba188debd22e35a7150c5821240d217"
LAST_FILE: Final = "0007_agent_history"
_INCOMPLETE: Final = (
    "an unreleased version of voltmem created this database, and it was not upgraded to the last of them. Open it once "
    "with commit f020f2e of voltmem, and then with this version; or drop its tables, if you need nothing in them"
)


def _is_there(tables: Tables) -> str:
    """Return the condition that the ledger is one of an unreleased version, which had no column version."""
    return f"""pg_catalog.to_regclass('{tables.migrations}') IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute
        WHERE attrelid = pg_catalog.to_regclass('{tables.migrations}')::oid AND attname = 'version' AND NOT attisdropped
    )"""


def _rows(tables: Tables) -> str:
    return f"FROM {tables.migrations} WHERE name <> '{CONVERSATION_SCHEMA}'"


def _is_incomplete(tables: Tables) -> str:
    """Return the condition that the ledger has other rows than the fourteen; NULL if it has no rows."""
    listed = """pg_catalog.string_agg(name || ' ' || checksum, ',' ORDER BY name COLLATE "C")"""
    digest = f"pg_catalog.sha256(pg_catalog.convert_to({listed}, 'UTF8'))"
    return f"(SELECT pg_catalog.encode({digest}, 'hex') {_rows(tables)}) <> '{_COMPLETE}'"


def _drop_unused(tables: Tables) -> list[str]:
    """Return the statements that drop the functions that nothing calls any more, by their arguments."""
    booleans = "bigint, boolean, boolean"
    return [
        f"DROP FUNCTION IF EXISTS {tables.append}({'text[], ' * 8}timestamptz[], bigint, boolean);",
        *(f"DROP FUNCTION IF EXISTS {tables.add_messages}({'text[], ' * texts}{booleans});" for texts in (10, 14, 15)),
    ]


def script(tables: Tables) -> str:
    """Return the statement that replaces the ledger of an unreleased version, or does nothing."""
    functions = [each for each in migrations() if each.is_function]
    numbered = [each for each in migrations() if not each.is_function and each.name <= LAST_FILE]
    return "\n".join([
        f"DO $voltmem$\nBEGIN\nIF {_is_there(tables)} THEN\n",
        f"IF {_is_incomplete(tables)} THEN RAISE EXCEPTION USING MESSAGE = '{_INCOMPLETE}'; END IF;\n",
        f"ALTER TABLE {tables.migrations} ADD COLUMN version integer NOT NULL DEFAULT 1;\n",
        *_drop_unused(tables),
        f"\nIF EXISTS (SELECT 1 {_rows(tables)}) THEN\n",
        f"DELETE {_rows(tables)};\n",
        *(tables.render(each.text) for each in functions),
        *(record_sql(tables, each) for each in (*functions, *numbered)),
        "\nEND IF;\nEND IF;\nEND\n$voltmem$;",
    ])  # fmt: skip


async def is_there(connection: Connection, tables: Tables) -> bool:
    """Return whether the ledger is one of an unreleased version; MigrationError if it is not of the last one."""
    if not await connection.fetchval(f"SELECT {_is_there(tables)}"):
        return False
    # Both conditions in one snapshot: another process may be replacing the ledger.
    with foreign_refused(tables):
        is_incomplete = await connection.fetchval(f"SELECT {_is_there(tables)} AND {_is_incomplete(tables)}")
    if is_incomplete:
        raise MigrationError(NAME, _INCOMPLETE)
    return True


async def replace(connection: Connection, tables: Tables) -> bool:
    """Replace the ledger of an unreleased version, and the functions. Returns whether there was one."""

    async def step() -> bool:
        async with schema_lock(connection, tables):
            if not await is_there(connection, tables):
                return False
            await execute(connection, NAME, script(tables))
            return True

    return await is_there(connection, tables) and await retry_while_in_use(step)
