"""
The table of vectors, which only a storage with recall=Recall(…) creates, and only where the extension pgvector is.

It is not among the numbered files, because its column has a type of the extension. Where there is no extension, it is
no error: recall() goes by words then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import asyncpg

from voltmem._postgres.driver import logger
from voltmem._postgres.migrations import ledger
from voltmem._postgres.migrations.citus import is_distributed
from voltmem._tables import Tables, bare

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

NAME: Final = "vectors"
"""The name of the table in the result of upgrade_schema()."""

# A vector's sketch has three bits for each dimension: its sign, and whether it is beyond this part of a standard
# deviation above and below. docs/decisions/recall-by-meaning.md has what was measured.
_BEYOND: Final = 0.8
# Of longer vectors, the sketch has the first bits, which are the signs. So that with ids of any length it fits into an
# entry of the index, 2,704 bytes.
_LONGEST_SKETCH: Final = 4_800


class Sketch:
    """
    The SQL expression of the sketch of a vector: bits that differ in few places if the vectors are similar.

    Args:
        vector: The expression of the vector.
        schema: That of pgvector.
    """

    def __init__(self, vector: str, schema: str) -> None:
        count = f'"{schema}".vector_dims({vector})'
        beyond = f"({_BEYOND}::float8 / pg_catalog.sqrt({count}::float8))::real"
        self.direction = f'"{schema}".l2_normalize({vector})'
        self.beyond = f'pg_catalog.array_fill({beyond}, ARRAY[{count}])::"{schema}".halfvec'
        self._schema = schema

    def of(self, direction: str, beyond: str) -> str:
        """Return the expression, of those of the two attributes."""
        schema = self._schema
        above, below = (f'{direction} OPERATOR("{schema}".{sign}) {beyond}' for sign in "-+")
        bits = [f'"{schema}".binary_quantize({each})' for each in (direction, above, below)]
        return f"pg_catalog.substring({' OPERATOR(pg_catalog.||) '.join(bits)}, 1, {_LONGEST_SKETCH})"

    def __str__(self) -> str:
        return self.of(self.direction, self.beyond)


def owner_key(user_id: str, model: str) -> str:
    """
    Return the SQL expression by which the vectors of a user and a model are found: a hash of both.

    The function {prefix}_hand_over has the same.
    """
    both = f"pg_catalog.convert_to({user_id} || E'\\n' || {model}, 'UTF8')"
    return f"pg_catalog.left(pg_catalog.encode(pg_catalog.sha256({both}), 'hex'), 16)"


class VectorStatements:
    """The statements that look for the table and create it."""

    def __init__(self, tables: Tables) -> None:
        # "place" is the schema of pgvector, if it is installed and has halfvec (0.7.0).
        self.look = f"""
            SELECT EXISTS (
                    SELECT 1 FROM pg_catalog.pg_attribute
                    WHERE attrelid = pg_catalog.to_regclass('{tables.embeddings}') AND attname = 'sketch'
                ) AS exists, (
                    SELECT n.nspname::text FROM pg_catalog.pg_extension AS e
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
                    JOIN pg_catalog.pg_type AS t ON t.typnamespace = n.oid AND t.typname = 'halfvec'
                    WHERE e.extname = 'vector'
                ) AS place,
                EXISTS (SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'vector') AS installed,
                EXISTS (SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'vector') AS available,
                {is_distributed(tables.conversations)} AS distributed"""


def create_statements(tables: Tables) -> list[str]:
    """Return the statements that create the table, which can be run again. tables.vectors is the extension's schema."""
    assert tables.vectors is not None
    table, name = tables.embeddings, bare(tables.embeddings)
    sketch = Sketch("embedding", tables.vectors)
    # A row of piece 0 without a vector is a claim of a message that is being embedded. MAIN: up to 4,000 dimensions
    # are in the row itself, so that comparing many needs no other look-up for each.
    return [
        f"CREATE TABLE IF NOT EXISTS {table} (\n"
        "    conversation_id text NOT NULL,\n"
        "    message_id text NOT NULL,\n"
        "    model text NOT NULL,\n"
        "    piece integer NOT NULL,\n"
        "    text_hash text,\n"
        f'    embedding "{tables.vectors}".halfvec,\n'
        "    claim text,\n"
        "    claimed_until timestamptz,\n"
        "    PRIMARY KEY (conversation_id, message_id, model, piece),\n"
        f"    CONSTRAINT {name}_message FOREIGN KEY (conversation_id, message_id)\n"
        f"        REFERENCES {tables.messages} (conversation_id, message_id) ON DELETE CASCADE\n"
        ")",
        f"ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE MAIN",
        # Apart, for tables of unreleased versions.
        f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS owner_key text,\n"
        "    ADD COLUMN IF NOT EXISTS sketch bit varying\n"
        f"        GENERATED ALWAYS AS (CASE WHEN embedding IS NOT NULL THEN {sketch} END) STORED",
        f"UPDATE {table} AS e SET owner_key = {owner_key('c.user_id', 'e.model')}\n"
        f"    FROM {tables.conversations} AS c WHERE c.id = e.conversation_id AND e.embedding IS NOT NULL",
        # A user's vectors are read from the index alone, and in the table only the best of them.
        f"CREATE INDEX IF NOT EXISTS {name}_by_owner ON {table} (owner_key)\n"
        "    INCLUDE (conversation_id, message_id, piece, sketch) WHERE sketch IS NOT NULL",
        # An index alone serves for pages that were vacuumed. PostgreSQL 12 does not know the setting.
        "DO $$ BEGIN\n"
        f"    ALTER TABLE {table} SET (autovacuum_vacuum_insert_scale_factor = 0.01);\n"
        "EXCEPTION WHEN invalid_parameter_value THEN NULL;\n"
        "END $$",
    ]


async def create(connection: Connection, tables: Tables) -> list[str]:
    """Create the table if it is missing and can be. Returns its name if it was created."""
    row = await connection.fetchrow(VectorStatements(tables).look)
    if row is None or row["exists"] or row["distributed"] or not (row["place"] or row["available"]):
        return []
    try:
        async with ledger.schema_lock(connection, tables):
            return await _create(connection, tables)
    except asyncpg.UniqueViolationError:  # tables with another prefix have created the extension at the same time
        async with ledger.schema_lock(connection, tables):
            return await _create(connection, tables)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
        logger.warning("the table of vectors of %s could not be created: %s", tables, error)
        return []


async def _create(connection: Connection, tables: Tables) -> list[str]:
    look = VectorStatements(tables).look
    row = await connection.fetchrow(look)
    if row is not None and not row["installed"]:
        # In "public", as people do by hand: others of the database use it, too.
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        row = await connection.fetchrow(look)
    if row is None or row["exists"] or row["place"] is None:
        return []
    for statement in create_statements(replace(tables, vectors=row["place"])):
        await connection.execute(statement)
    return [NAME]


def why_missing(row: asyncpg.Record, tables: Tables) -> str:
    """Return what a database lacks, and what to do, for a row of VectorStatements.look."""
    if row["distributed"]:
        return f"the tables {tables} are distributed by Citus, and vectors work on one server only"
    if not row["installed"]:
        hint = "run CREATE EXTENSION vector" if row["available"] else "install pgvector on the server"
        return f"the database has no extension vector: {hint}, and open the storage again"
    if row["place"] is None:
        return "the extension vector is older than 0.7.0: install a newer one, and run ALTER EXTENSION vector UPDATE"
    return (
        f"there is no table {tables.embeddings}, or one of an unreleased version: open the storage with "
        'migrate="auto", or call its upgrade_schema(), with a role that may create tables'
    )
