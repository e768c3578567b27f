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
    Place("conversation_memory", "conversation_id", "conversations"),
    Place("summaries", "conversation_id", "conversations"),
    Place("leases", "conversation_id", "conversations"),
    Place("answers", "conversation_id", "conversations"),
    Place("answer_pieces", "conversation_id", "conversations"),
    Place("files", "user_id", None),
    Place("file_chunks", "user_id", "files"),
    Place("user_memory", "user_id", "files"),
    Place("user_items", "user_id", "files"),
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
    ("user_memory", "tell_of_memory"),
    ("conversation_memory", "tell_of_memory"),
    ("messages", "line_insert"),
    ("messages", "line_update"),
    ("messages", "line_delete"),
    ("messages", "line_truncate"),
    ("messages", "summary_update"),
    ("messages", "summary_delete"),
    ("messages", "summary_truncate"),
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
_IS_THERE: Final = "pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
_ALONE: Final = (
    "Citus has no workers yet, so the coordinator has all rows. Add workers later with citus_add_node(), and move rows "
    "to them with citus_rebalance_start()"
)


async def found(connection: Connection, tables: Tables) -> Distribution:
    """Return whether Citus is installed in the database, and whether the conversations are distributed."""
    found: Distribution = await connection.fetchval(f"""
        SELECT CASE WHEN {is_distributed(tables.conversations)} THEN 'distributed' WHEN {_IS_THERE} THEN 'local'
            ELSE 'absent' END""")
    return found


async def require_one_server(connection: Connection, tables: Tables, what: str) -> None:
    """Raise SchemaError if the tables are distributed. *what* does not work there."""
    if await found(connection, tables) == "distributed":
        raise one_server_only(tables, what)


def one_server_only(tables: Tables, what: str) -> SchemaError:
    """Return the error for what does not work on distributed tables."""
    return SchemaError(f"the tables {tables} are distributed by Citus, and {what}")


def _obstacles(tables: Tables) -> dict[str, str]:
    """
    Return why tables cannot be distributed, by its condition.

    A condition is valid SQL if those before it are false.
    """
    named = ", ".join(f"pg_catalog.to_regclass('{getattr(tables, each.table)}')::oid" for each in LAYOUT)
    options = f"--schema {tables.schema} --prefix {tables.prefix}"
    return {
        f"NOT {_IS_THERE}": "this database has no Citus, so the tables cannot be distributed. On the coordinator and "
        "on each worker, set shared_preload_libraries = 'citus' and run CREATE EXTENSION citus, then citus_add_node() "
        "on the coordinator; or leave out --citus",
        "(SELECT groupid <> 0 FROM pg_catalog.pg_dist_local_group)": "this server is a worker of Citus. Connect to the "
        "coordinator, which distributes the tables",
        # Without any node, Citus makes the coordinator the only one.
        "(SELECT pg_catalog.count(*) > 0 AND NOT pg_catalog.bool_or(isactive AND shouldhaveshards) "
        "FROM pg_catalog.pg_dist_node)": "no server of Citus may have rows. Add workers with citus_add_node(), or let "
        "the coordinator have them: citus_set_node_property(host, port, 'shouldhaveshards', true)",
        f"EXISTS (SELECT 1 FROM pg_catalog.pg_policy WHERE polrelid IN ({named}) AND "
        "pg_catalog.concat(polqual, polwithcheck) LIKE '%{SUBLINK %')": "the tables have policies that read other "
        "tables, which Citus refuses. First drop your own, and run the SQL that 'python -m voltmem sql --roles --citus "
        f"{options}' prints, which drops those of session()",
    }


async def require_cluster(connection: Connection, tables: Tables) -> None:
    """Raise SchemaError if the tables cannot be distributed here. Logs a warning if there are no workers."""
    for condition, why in _obstacles(tables).items():
        if await connection.fetchval(f"SELECT {condition}"):
            raise SchemaError(why)
    if not await connection.fetchval("SELECT pg_catalog.count(*) FROM pg_catalog.pg_dist_node WHERE groupid <> 0"):
        logger.warning(_ALONE)


async def distribute(connection: Connection, tables: Tables) -> list[str]:
    """Distribute the tables that are not yet, in one transaction. Returns their names."""
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
    return exists and not await connection.fetchval(f"SELECT {is_distributed(table)}")


def is_distributed(table: str) -> str:
    """Return the SQL condition that a table is distributed, which is false without Citus."""
    # By the trigger that Citus gives each such table: a server without Citus has no table pg_dist_partition.
    return f"""EXISTS (
            SELECT 1 FROM pg_catalog.pg_trigger
            WHERE tgrelid = pg_catalog.to_regclass('{table}')::oid
                AND tgfoid = pg_catalog.to_regproc('pg_catalog.citus_truncate_trigger')::oid
        )"""


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
        distributed = is_distributed(getattr(tables, each.table))
        blocks.append(
            f"-- {bare(getattr(tables, each.table))}: by {each.column or 'copy'}\n"
            f"DO $voltmem$\nBEGIN\nIF NOT {distributed} THEN\n{body}END IF;\nEND\n$voltmem$;"
        )
    return "\n\n".join(["-- Citus: distribute the tables. Run it on the coordinator.", *blocks]) + "\n"


def require_cluster_script(tables: Tables) -> str:
    """Return the statement that does as require_cluster(), for the beginning of a script."""
    checks = "ELS".join(
        f"IF {condition} THEN\n    RAISE EXCEPTION USING MESSAGE = {_literal(why)};\n"
        for condition, why in _obstacles(tables).items()
    )
    return f"DO $voltmem$\nBEGIN\n{checks}END IF;\nEND\n$voltmem$;"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
