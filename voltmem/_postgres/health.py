"""What a database and voltmem's tables can do now, in one round trip."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from voltmem._postgres.driver import NO_QUOTAS
from voltmem._postgres.migrations import voltagent
from voltmem._postgres.migrations.citus import is_distributed, one_server_only
from voltmem._postgres.migrations.files import migrations
from voltmem._postgres.migrations.ledger import IS_PATH_HOSTILE, hostile_path, missing_sql
from voltmem._tables import Tables, bare
from voltmem.errors import DatabaseError, SchemaError, StorageClosedError

if TYPE_CHECKING:
    from voltmem._postgres.database import Database
    from voltmem._postgres.driver import Connection, Record


@dataclass(frozen=True)
class Health:
    """
    What works now, for a readiness probe and for a support request. It contains no password.

    Fields about the server are None if it did not answer.
    """

    can_read: bool
    """Whether the server answers, the tables are current and the role may read them."""
    can_write: bool
    """Whether it may also write, on a server that accepts writes. False on a standby."""
    problems: tuple[str, ...]
    """What does not work, and what to do about it; empty if everything does."""
    server: str
    """Host, port and database of the connection string."""
    open_connections: int
    """How many connections of the pool are open. Those that are idle are included."""
    idle_connections: int
    max_connections: int
    latency: float | None = None
    """Seconds for the round trip, with the wait for a connection."""
    server_version: str | None = None
    role: str | None = None
    """The role whose privileges count."""
    is_standby: bool | None = None
    missing_migrations: tuple[str, ...] | None = None
    """What upgrade_schema() would apply."""
    has_notifications: bool | None = None
    """Whether the tables send notifications to watch(); otherwise it polls."""
    clock_offset: float | None = None
    """How many seconds the server's clock is ahead of this process's, to within *latency*."""


class HealthStatements:
    """The statements of health()."""

    def __init__(self, tables: Tables) -> None:
        unmet = f"CASE WHEN EXISTS ({voltagent.unmet(tables)}) THEN ARRAY['{voltagent.COLUMNS}'] ELSE '{{}}' END"
        self.look = self._look(tables, f"ARRAY({missing_sql(tables, migrations())}) || {unmet}")
        # Where there is no ledger, no statement can name it.
        self.look_without_ledger = self._look(tables, "NULL::text[]")

    @staticmethod
    def _look(tables: Tables, missing: str) -> str:
        quotas_fail = "false" if tables.quotas is None else is_distributed(tables.conversations)
        names = ", ".join(f"'{each}'" for each in (tables.conversations, tables.messages))
        return f"""
            SELECT pg_catalog.pg_is_in_recovery() AS is_standby,
                pg_catalog.current_setting('transaction_read_only') = 'on' AS is_read_only,
                pg_catalog.current_setting('server_version') AS server_version, current_user::text AS role,
                pg_catalog.clock_timestamp() AS now, {missing} AS missing,
                {quotas_fail} AS quotas_fail,
                CASE WHEN {IS_PATH_HOSTILE} THEN pg_catalog.current_setting('search_path') END AS hostile_path,
                ARRAY(
                    SELECT privilege || ' on ' || name
                    FROM pg_catalog.unnest(ARRAY[{names}]) AS name,
                        pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
                    WHERE NOT pg_catalog.has_table_privilege(pg_catalog.to_regclass(name), privilege)
                    UNION ALL
                    SELECT 'EXECUTE on ' || p.oid::regprocedure FROM pg_catalog.pg_proc AS p
                    WHERE p.pronamespace = pg_catalog.to_regnamespace('"{tables.schema}"')::oid
                        AND p.proname = '{bare(tables.add_messages)}'
                        AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
                ) AS lacking,
                EXISTS (
                    SELECT 1 FROM pg_catalog.pg_trigger
                    WHERE tgrelid = pg_catalog.to_regclass('{tables.conversations}')::oid
                        AND tgname = '{bare(tables.tell_watchers)}'
                        AND tgenabled IN ('O', 'A')
                ) AS has_notifications"""


async def look(database: Database, tables: Tables, timeout: float) -> Health:  # in the result
    """Return what works. Errors of the database are problems of the result."""
    started = time.monotonic()
    row: Record | None = None
    failure: Exception | None = None
    try:
        async with asyncio.timeout(timeout), database.connection(patience=0) as connection:
            row = await _look(connection, HealthStatements(tables))
    except (DatabaseError, SchemaError, StorageClosedError) as error:
        failure = error
    except TimeoutError:
        failure = DatabaseError(f"no answer within {timeout:g} seconds. Check the server, the network and the pool")
    latency, here = time.monotonic() - started, datetime.now(UTC)
    server, open_, idle, most = database.connections()
    if row is None:
        return Health(False, False, (str(failure),), server, open_, idle, most)
    missing = [each.name for each in migrations()] if row["missing"] is None else row["missing"]
    lacking = row["lacking"]
    can_read = not missing and not any(each.startswith("SELECT") for each in lacking)
    return Health(
        can_read=can_read,
        can_write=can_read and not lacking and not row["is_read_only"] and not row["quotas_fail"],
        problems=tuple(_problems(row, missing, tables)),
        server=server,
        open_connections=open_,
        idle_connections=idle,
        max_connections=most,
        latency=latency,
        server_version=row["server_version"],
        role=row["role"],
        is_standby=row["is_standby"],
        missing_migrations=tuple(missing),
        has_notifications=row["has_notifications"],
        clock_offset=(row["now"] - here).total_seconds() + latency / 2,
    )


async def _look(connection: Connection, sql: HealthStatements) -> Record | None:
    try:
        return await connection.fetchrow(sql.look)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return await connection.fetchrow(sql.look_without_ledger)


def _problems(row: Record, missing: list[str], tables: Tables) -> list[str]:
    found = []
    if missing:
        options = f"--schema {tables.schema} --prefix {tables.prefix}"
        found.append(
            f"{len(missing)} migrations are missing: {', '.join(missing)}. Run "
            f"'python -m voltmem migrate {options}', or call upgrade_schema()"
        )
    if row["lacking"]:
        lacking = ", ".join(row["lacking"])
        found.append(f"the role {row['role']!r} lacks {lacking}: GRANT it, as the owner of the tables")
    if row["is_standby"]:
        found.append("the server is a standby, which accepts no writes: add target_session_attrs=read-write")
    elif row["is_read_only"]:
        found.append("default_transaction_read_only is on: reset it for the role, the database or the server")
    if row["quotas_fail"]:
        found.append(str(one_server_only(tables, NO_QUOTAS)))
    if row["hostile_path"] is not None:
        found.append(hostile_path(row["hostile_path"]))
    return found
