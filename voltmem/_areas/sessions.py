"""Sessions: transactions in which the application's own SQL sees one user's rows only, by row-level security."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from voltmem._areas.area import Access
from voltmem._postgres.connection import BoundConnection
from voltmem._postgres.migrations.citus import is_distributed, one_server_only
from voltmem._postgres.roles import POLICY, SETTING, protected
from voltmem._tables import Tables
from voltmem.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection


_INSUFFICIENT_PRIVILEGE: Final = "42501"


class SessionStatements:
    """The statement that begins a session."""

    def __init__(self, tables: Tables) -> None:
        names = ", ".join(f"('{each}', {str(each in protected(tables)).lower()})" for each in tables.all_tables())
        # A table without its policy is harmless if the role may not use it: one that a migration has just created.
        self.begin = f"""
            WITH session AS (
                SELECT r.oid, r.rolname::text AS name, r.rolbypassrls
                FROM pg_catalog.pg_policy AS p JOIN pg_catalog.pg_roles AS r ON p.polroles = ARRAY[r.oid]
                WHERE p.polrelid = pg_catalog.to_regclass('{tables.conversations}') AND p.polname = '{POLICY}'
            ), open AS (
                SELECT c.oid::regclass::text AS name
                FROM (VALUES {names}) AS t (name, has_policy)
                    JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(t.name) CROSS JOIN session AS s
                WHERE (
                        pg_catalog.has_any_column_privilege(s.oid, c.oid, 'SELECT, INSERT, UPDATE')
                        OR pg_catalog.has_table_privilege(s.oid, c.oid, 'DELETE, TRUNCATE')
                    ) AND NOT (
                        c.relrowsecurity AND NOT s.rolbypassrls
                        AND NOT pg_catalog.pg_has_role(s.oid, c.relowner, 'USAGE')
                        AND EXISTS (
                            SELECT 1 FROM pg_catalog.pg_policy AS p
                            WHERE p.polrelid = c.oid AND p.polname = '{POLICY}' AND NOT p.polpermissive
                                AND p.polcmd = '*' AND p.polroles = ARRAY[s.oid]
                        )
                    )
            )
            SELECT s.name AS role, ARRAY(SELECT open.name FROM open ORDER BY open.name) AS open_tables,
                pg_catalog.set_config('{SETTING}', $1, true) AS of_user,
                CASE WHEN s.name IS NOT NULL AND NOT here.is_distributed AND NOT EXISTS (SELECT 1 FROM open)
                    THEN pg_catalog.set_config('role', s.name, true) END AS taken, here.is_distributed
            FROM (SELECT {is_distributed(tables.conversations)} AS is_distributed) AS here
                LEFT JOIN session AS s ON true"""


@asynccontextmanager
async def open_session(access: Access, user_id: str) -> AsyncIterator[Connection]:
    """Open a transaction that is under the policies, on a connection of the pool. Yields the connection."""
    if isinstance(access.executor, BoundConnection):
        raise DatabaseError(
            "session() is a transaction of its own: call it on the storage's for_user(), outside of transaction(). In "
            "a transaction, its role would stay until the end"
        )
    tables = access.options.tables
    # The role and the setting end with the transaction, however it ends.
    async with access.executor.transaction() as bound:
        try:
            row = await bound.fetchrow(access.sql(SessionStatements).begin, user_id)
        except DatabaseError as error:
            if error.sqlstate != _INSUFFICIENT_PRIVILEGE:
                raise
            raise DatabaseError(
                f"{error.__cause__!s}: session() needs that role. GRANT the login the application role of 'python -m "
                "voltmem sql --roles', which may take it",
                error.sqlstate,
            ) from error.__cause__
        options = f"--schema {tables.schema} --prefix {tables.prefix}"
        script = f"Run the SQL that 'python -m voltmem sql --roles {options}' prints"
        assert row is not None  # the statement has one row always
        if row["is_distributed"]:
            raise one_server_only(tables, "session() works on one server only")
        if row["role"] is None:
            raise SchemaError(
                f"the tables {tables} have no policies for session(), which would protect nothing. {script}"
            )
        if row["open_tables"]:
            raise SchemaError(
                f"session() would not protect {', '.join(row['open_tables'])}: the role {row['role']!r} has privileges "
                f"there, and no policy limits them. {script} again"
            )
        yield bound.connection
        if bound.connection.is_in_transaction():
            # A temporary table would stay on the connection of the pool, where the next user's session sees it.
            with suppress(DatabaseError):  # a statement has failed: nothing of the transaction stays
                await bound.fetch("DISCARD TEMP")
