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


class VectorStatements:
    """The statements that look for the table and create it."""

    def __init__(self, tables: Tables) -> None:
        # "place" is the schema of pgvector, if it is installed and has halfvec (0.7.0).
        self.look = f"""
            SELECT pg_catalog.to_regclass('{tables.embeddings}') IS NOT NULL AS exists, (
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
    table, name = tables.embeddings, bare(tables.embeddings)
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
        f'there is no table {tables.embeddings}: open the storage with migrate="auto", or call its upgrade_schema(), '
        "with a role that may create tables"
    )
