"""
Renders migrations_sql/schema.sql: what a new database holds, from its catalog.

    python -m tests.schema_sql      writes the file anew
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import asyncpg

from tests.checkout import ROOT
from voltmem import PostgresStorage
from voltmem.testing import server, temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection

FILE: Final = ROOT / "migrations_sql" / "schema.sql"

_HEADER: Final = """\
-- What a new database holds, with the default schema and prefix: to be read, and compared. Nothing applies this file.
-- Written by "python -m tests.schema_sql" from what the migrations make; a test compares the two.
"""

# Tables in the order in which they were created: what a foreign key points at comes first.
_TABLES: Final = """
    SELECT oid, format('CREATE %sTABLE %s', CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, oid::regclass)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY oid"""
_COLUMNS: Final = """
    SELECT concat_ws(' ', quote_ident(attname), format_type(atttypid, atttypmod),
        'DEFAULT ' || pg_get_expr(adbin, adrelid), CASE WHEN attnotnull THEN 'NOT NULL' END)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_CONSTRAINTS: Final = """
    SELECT format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid = $1 AND contype <> 'n' ORDER BY contype DESC, conname"""
_SEQUENCES: Final = """
    SELECT objid::regclass::text, format('%s.%I', refobjid::regclass, attname)
    FROM pg_depend JOIN pg_sequence ON seqrelid = objid
        JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE classid = 'pg_class'::regclass AND refobjid = $1 AND deptype = 'a' ORDER BY 1"""
_INDEXES: Final = """
    SELECT pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = $1 AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND conrelid = $1)
    ORDER BY indexrelid"""
_FUNCTIONS: Final = """
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname"""
_TRIGGERS: Final = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"


async def rendered(dsn: str) -> str:
    """Open a storage in a database that is empty, and return what it then holds, as a script that makes the same."""
    async with PostgresStorage(dsn, max_connections=1):
        pass
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET search_path = ''")  # all that is shown is qualified
        statements = [
            *[each for table in await connection.fetch(_TABLES) for each in await _table(connection, *table)],
            *await _texts(connection, _FUNCTIONS),
            *await _texts(connection, _TRIGGERS),
        ]
    finally:
        await connection.close()
    return "\n".join([_HEADER, *(f"{statement.strip()};\n" for statement in statements)])


async def _table(connection: Connection, table: int, create: str) -> list[str]:
    sequences = await connection.fetch(_SEQUENCES, table)
    lines = [*await _texts(connection, _COLUMNS, table), *await _texts(connection, _CONSTRAINTS, table)]
    columns = ",\n".join(f"    {line}" for line in lines)
    return [
        *(f"CREATE SEQUENCE {sequence}" for sequence, _ in sequences),
        f"{create} (\n{columns}\n)",
        *(f"ALTER SEQUENCE {sequence} OWNED BY {column}" for sequence, column in sequences),
        *await _texts(connection, _INDEXES, table),
    ]


async def _texts(connection: Connection, sql: str, *arguments: object) -> list[str]:
    return [row[0] for row in await connection.fetch(sql, *arguments)]


async def _write() -> None:
    name = temporary_schema_name()
    admin = await asyncpg.connect(server().dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        FILE.write_text(await rendered(re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", server().dsn)))
    finally:
        await admin.execute(f"DROP DATABASE {name}")
        await admin.close()


if __name__ == "__main__":
    asyncio.run(_write())
