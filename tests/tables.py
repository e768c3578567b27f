"""The tables of a test: created by one script, or those of a test before, empty again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from tests import citus
from voltmem._postgres.migrations.files import migrations
from voltmem._postgres.migrations.ledger import create_statements, record_sql
from voltmem._tables import Tables
from voltmem.testing import server, temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection

_PREFIX: Final = "voltagent_memory"
_LARGE: Final = 2**20  # bytes of rows, after which a schema costs less to drop than to clean

# Whatever a test changes of a schema changes rows of a catalog; ANALYZE and VACUUM change the numbers of pg_class.
_PICTURE: Final = f"""
    WITH relations AS (SELECT *, xmin AS changed FROM pg_class WHERE relnamespace = to_regnamespace($1)), rows AS (
        SELECT concat_ws(' ', oid, changed, relfilenode, relpages, reltuples) AS text FROM relations
        UNION ALL SELECT concat_ws(' ', attrelid, attnum, xmin) FROM pg_attribute
            WHERE attrelid IN (SELECT oid FROM relations)
        UNION ALL SELECT concat_ws(' ', indexrelid, xmin) FROM pg_index WHERE indrelid IN (SELECT oid FROM relations)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_constraint WHERE conrelid IN (SELECT oid FROM relations)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relations)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_policy WHERE polrelid IN (SELECT oid FROM relations)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_proc WHERE pronamespace = to_regnamespace($1)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_type WHERE typnamespace = to_regnamespace($1)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_statistic_ext WHERE stxnamespace = to_regnamespace($1)
        UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_namespace WHERE oid = to_regnamespace($1)
        UNION ALL SELECT migrations::text FROM {{schema}}.{_PREFIX}_migrations AS migrations
    )
    SELECT md5(string_agg(text, ',' ORDER BY text)) FROM rows"""

_RESET: Final = """
    SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence JOIN pg_class ON oid = seqrelid
    WHERE relnamespace = to_regnamespace('{schema}')"""

_ROWS: Final = """
    SELECT format('%I.%I', $1::text, relname) AS name, pg_table_size(oid) AS bytes FROM pg_class
    WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND NOT relname LIKE '%\\_migrations'
    ORDER BY relname NOT LIKE '%conversations'"""


class _UncleanError(Exception):
    """A test has changed the schema, or stored so much that dropping it costs less."""


class Reused:
    """
    The schemas of this process that have all tables and no rows. To create one takes 50 ms, to clean one 5.

    All is done on one connection, since a new one reads the catalog anew. It has an event loop of its own, because
    each test has another.
    """

    def __init__(self) -> None:
        self._pictures: dict[str, str] = {}  # of the schemas that were created here, as they were then
        self._clean: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._kept: Connection | None = None

    def take(self) -> str:
        """Return a schema with all tables and no rows."""
        return self._clean.pop() if self._clean else self._loop.run_until_complete(self._create())

    def give_back(self, schema: str) -> None:
        """Keep the schema for another test, without its rows. If more than rows has changed in it, it is dropped."""
        self._loop.run_until_complete(self._keep_or_drop(schema))

    def drop(self, schema: str) -> None:
        """Drop a schema that a test may have created."""
        self._loop.run_until_complete(self._drop(schema))

    def close(self) -> None:
        """Drop the schemas, and disconnect."""
        for schema in self._clean:
            self.drop(schema)
        if self._kept is not None:
            self._loop.run_until_complete(self._kept.close())
        self._loop.close()

    async def _create(self) -> str:
        schema = temporary_schema_name()
        await create_tables(schema)
        self._pictures[schema] = await _picture(await self._connection(), schema)
        return schema

    async def _keep_or_drop(self, schema: str) -> None:
        picture = self._pictures.pop(schema)
        try:
            await _clean(await self._connection(), schema, picture)
        except (_UncleanError, asyncpg.PostgresError):
            await self._drop(schema)
        else:
            self._pictures[schema] = picture
            self._clean.append(schema)

    async def _drop(self, schema: str) -> None:
        await (await self._connection()).execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    async def _connection(self) -> Connection:
        """Return the connection. A test may have ended it, with all others, or stopped the server."""
        if self._kept is None or not await _answers(self._kept):
            settings = {"client_min_messages": "warning"}
            self._kept = await asyncpg.connect(server().dsn, server_settings=settings, command_timeout=60)
        return self._kept


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()
        return False
    return True


@asynccontextmanager
async def _connected() -> AsyncIterator[Connection]:
    connection: Connection = await asyncpg.connect(server().dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _picture(connection: Connection, schema: str) -> str:
    return str(await connection.fetchval(_PICTURE.format(schema=schema), schema))


async def _clean(connection: Connection, schema: str, picture: str) -> None:
    tables = await connection.fetch(_ROWS, schema)
    if sum(table["bytes"] for table in tables) > _LARGE or await _picture(connection, schema) != picture:
        raise _UncleanError
    deletions = [f"DELETE FROM {table['name']}" for table in tables]
    await connection.execute(";\n".join(["SET LOCAL lock_timeout = '2s'", *deletions, _RESET.format(schema=schema)]))


async def create_tables(schema: str) -> None:
    """
    Create a schema with all tables of a storage, the ledger of migrations included.

    In one round trip and one transaction, a fifth of the time of upgrade_schema(), which every test would spend.
    """
    async with _connected() as connection:
        await connection.execute(script(Tables(schema, _PREFIX)))


def script(tables: Tables) -> str:
    """Return the statements of all migrations, for an empty schema."""
    files = (f"{tables.render(each.text)}\n{record_sql(tables, each)}" for each in migrations())
    # The tables that a function names do not exist yet.
    return "\n".join(
        ["SET LOCAL check_function_bodies = off;", *create_statements(tables), *files, citus.script(tables)]
    )


async def move_times(
    connection: Connection, table: str, key: tuple[str, ...], columns: tuple[str, ...], by: timedelta
) -> None:
    """Add a time span to these columns of all rows. The key is the primary key of the table."""
    # Row by row, because Citus refuses the addition in an UPDATE.
    moved = ", ".join(f"{column} + $1::interval" for column in columns)
    rows = await connection.fetch(f"SELECT {', '.join(key)}, {moved} FROM {table}", by)
    changes = ", ".join(f"{column} = ${len(key) + n}" for n, column in enumerate(columns, 1))
    found = " AND ".join(f"{column} = ${n}" for n, column in enumerate(key, 1))
    await connection.executemany(f"UPDATE {table} SET {changes} WHERE {found}", [tuple(row) for row in rows])
