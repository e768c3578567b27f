"""
The distribution of the tables on a cluster of Citus: the messages of a conversation are on one server, with the row of
the conversation. A user's files are on one server, too. Runs, watchers and the ledger stay on the coordinator.

A migration that creates a table adds it to LAYOUT: where the conversations are distributed, the table is distributed in
the transaction that creates it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from voltmem._postgres.driver import logger
from voltmem._postgres.migrations import ledger
from voltmem._tables import Tables, bare
from voltmem.errors import SchemaError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

Distribution: TypeAlias = Literal["absent", "local", "distributed"]


class Place(NamedTuple):
    """How the rows of a table are spread."""

    table: str
    column: str | None
    """Rows with an equal value in this column are on the same server. None: all rows are on each."""
    beside: str | None
    """The table whose rows with the same value are there, too."""


LAYOUT: Final = (
    Place("conversations", "id", None),
    Place("messages", "conversation_id", "conversations"),
    Place("changed_lines", "conversation_id", "conversations"),
    Place("payloads", "conversation_id", "conversations"),
    Place("shares", "conversation_id", "conversations"),
    Place("files", "user_id", None),
    Place("file_chunks", "user_id", "files"),
    # Without the triggers it has no rows. Each server has it, so that it can be joined with the files.
    Place("file_references", None, None),
)
"""The distributed tables, each after those that its foreign keys reference."""

LOCAL: Final = (
    *("watchers", "agent_history", "agent_history_steps", "agent_history_timeline_events", "migrations"),
    *("deleted_users", "quota_counts"),
)
"""The tables on the coordinator. VoltAgent's keys of steps and events do not contain their run."""

# Citus allows no triggers on distributed tables.
_TRIGGERS: Final = (
    ("conversations", "tell_watchers"),
    ("conversations", "tell_watchers_of_update"),
    ("messages", "line_insert"),
    ("messages", "line_update"),
    ("messages", "line_delete"),
    ("messages", "line_truncate"),
    ("messages", "files_insert"),
    ("messages", "files_update"),
    ("messages", "files_delete"),
    ("file_references", "files_unused"),
)
ONE_BY_ONE: Final = "SET LOCAL citus.multi_shard_modify_mode = 'sequential'"
"""
For transactions that change several tables. Otherwise Citus changes the shards of a table in parallel, over several
connections, and the transaction cannot change a table with a foreign key to it afterwards, nor a function.
"""
_MISSING: Final = (
    "this database has no Citus, so the tables cannot be distributed. On the coordinator and on each worker, set "
    "shared_preload_libraries = 'citus' and run CREATE EXTENSION citus, then citus_add_node() on the coordinator; or "
    "leave out --citus"
)


async def found(connection: Connection, tables: Tables) -> Distribution:
    """Return whether Citus is installed in the database, and whether the conversations are distributed."""
    if await connection.fetchval("SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NULL"):
        return "absent"
    distributed = await connection.fetchval(_is_distributed(tables.conversations))
    return "distributed" if distributed else "local"


async def require_one_server(connection: Connection, tables: Tables, what: str) -> None:
    """Raise SchemaError if the tables are distributed. *what* does not work there."""
    if await found(connection, tables) == "distributed":
        raise SchemaError(f"the tables {tables} are distributed by Citus, and {what}")


async def distribute(connection: Connection, tables: Tables) -> list[str]:
    """Distribute the tables that are not yet, in one transaction. Returns their names; SchemaError without Citus."""
    if await found(connection, tables) == "absent":
        raise SchemaError(_MISSING)
    async with ledger.schema_lock(connection, tables):
        return await _distribute(connection, tables)


async def prepare(connection: Connection, tables: Tables) -> bool:
    """Return whether the conversations are distributed; if so, prepare the transaction for changes of tables."""
    if await found(connection, tables) != "distributed":
        return False
    await connection.execute(ONE_BY_ONE)
    return True


async def follow(connection: Connection, tables: Tables) -> None:
    """Distribute the tables that a migration has created, in its transaction."""
    if done := await _distribute(connection, tables):
        logger.debug("distributed %s", ", ".join(done))


async def _distribute(connection: Connection, tables: Tables) -> list[str]:
    local = [each for each in LAYOUT if await _is_local(connection, getattr(tables, each.table))]
    for statement in _statements(tables, local):
        await connection.execute(statement, timeout=ledger.PATIENCE)
    return [getattr(tables, each.table) for each in local]


async def _is_local(connection: Connection, table: str) -> bool:
    exists = await connection.fetchval("SELECT pg_catalog.to_regclass($1) IS NOT NULL", table)
    return exists and not await connection.fetchval(_is_distributed(table))


def _is_distributed(table: str) -> str:
    there = f"logicalrelid = pg_catalog.to_regclass('{table}')"
    return f"SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_dist_partition WHERE {there})"


def _statements(tables: Tables, places: tuple[Place, ...] | list[Place]) -> list[str]:
    """Return the statements that distribute these tables, for one transaction."""
    return [
        *([ONE_BY_ONE] if places else []),
        *(
            f"DROP TRIGGER IF EXISTS {tables.prefix}_{name} ON {getattr(tables, table)}"
            for table, name in _TRIGGERS
            if any(each.table == table for each in places)
        ),
        *(_distributing(tables, each) for each in places),
    ]


def _distributing(tables: Tables, place: Place) -> str:
    if place.column is None:
        return f"SELECT pg_catalog.create_reference_table('{getattr(tables, place.table)}')"
    # 'none': a group of its own, so that the shards of other applications do not move with these.
    beside = "none" if place.beside is None else getattr(tables, place.beside)
    table = getattr(tables, place.table)
    return f"SELECT pg_catalog.create_distributed_table('{table}', '{place.column}', colocate_with => '{beside}')"


def script(tables: Tables) -> str:
    """Return the SQL that distributes the tables that are not yet, for the end of the script of the migrations."""
    blocks = []
    for each in LAYOUT:
        statements = [statement.replace("SELECT", "PERFORM", 1) for statement in _statements(tables, [each])]
        body = "".join(f"    {statement};\n" for statement in statements)
        distributed = _is_distributed(getattr(tables, each.table)).removeprefix("SELECT ")
        blocks.append(
            f"-- {bare(getattr(tables, each.table))}: by {each.column or 'copy'}\n"
            f"DO $voltmem$\nBEGIN\nIF NOT {distributed} THEN\n{body}END IF;\nEND\n$voltmem$;"
        )
    return "\n\n".join(["-- Citus: distribute the tables. Run it on the coordinator.", *blocks]) + "\n"
