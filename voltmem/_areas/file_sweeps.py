"""The sweep of files to which no message refers, and of uploads that were cut off."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from voltmem._postgres.connection import Executor
from voltmem._tables import Tables

# Rows that a sweep deletes in one statement.
_AT_ONCE: Final = 1000


def has_triggers(tables: Tables) -> str:
    """Return the condition that triggers keep the references; there are none on Citus."""
    return f"""EXISTS (
                        SELECT 1 FROM pg_catalog.pg_trigger
                        WHERE tgrelid = '{tables.messages}'::regclass::oid
                            AND tgfoid = '{tables.refer_to_files}'::regproc
                    )"""


def sweep(tables: Tables, user: str) -> str:
    """
    Return the WITH items that sweep locked rows of files, "old": "deleted" has those without a reference.

    The others, "used", wait for no message any more. *user* is $1, the user of all rows, so that Citus asks one server,
    or old.user_id.
    """
    there = f"f.user_id = {user} AND f.upload = old.upload"
    has_reference = (
        f"EXISTS (SELECT 1 FROM {tables.file_references} AS r WHERE r.user_id = f.user_id AND r.file_id = f.id)"
    )
    return f"""deleted AS (
                DELETE FROM {tables.files} AS f USING old
                WHERE {there} AND NOT {has_reference}
                RETURNING f.upload
            ), used AS (
                UPDATE {tables.files} AS f SET pending_since = NULL FROM old
                WHERE {there} AND {has_reference}
                RETURNING f.upload
            )"""


def may_go(tables: Tables) -> str:
    """Return the condition that a file may be swept. Without the triggers, a complete one may be in use."""
    return f"(id IS NULL OR {has_triggers(tables)})"


class SweepStatements:
    """The statements of purge(): for one user, or for all from one on."""

    def __init__(self, tables: Tables) -> None:
        # A row that another session has locked is in use. One that gets its reference after the snapshot was taken is
        # looked at again when it is locked, and left out.
        is_old = f"""pending_since IS NOT NULL AND pg_catalog.statement_timestamp() - pending_since >= $2::interval
                    AND {may_go(tables)}"""

        def purged(users: str, user: str) -> str:
            return f"""
            WITH old AS (
                SELECT user_id, upload FROM {tables.files}
                WHERE {users} AND {is_old}
                ORDER BY user_id, pending_since LIMIT {_AT_ONCE} FOR UPDATE SKIP LOCKED
            ), {sweep(tables, user)}
            SELECT (SELECT pg_catalog.count(*) FROM deleted) AS deleted,
                (SELECT pg_catalog.count(*) FROM old) AS done,
                (SELECT pg_catalog.max(user_id) FROM old) AS last"""

        self.of_user = purged("user_id = $1", "$1")
        self.from_user = purged("user_id >= $1", "old.user_id")
        # Citus locks rows only of a user that it knows.
        self.has_citus = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL AS has_citus"
        self.users = f"""
            SELECT DISTINCT user_id FROM {tables.files}
            WHERE user_id > $1 AND {is_old}
            ORDER BY user_id LIMIT {_AT_ONCE}"""


async def purge(executor: Executor, sql: SweepStatements, user_id: str | None, older_than: timedelta) -> int:
    """Delete the old files of a user, or of all (None). Returns how many."""
    if user_id is not None:
        return await _purge(executor, sql.of_user, user_id, older_than)
    row = await executor.fetchrow(sql.has_citus)
    if row is None or not row["has_citus"]:
        return await _purge(executor, sql.from_user, "", older_than)
    deleted, last = 0, ""
    while rows := await executor.fetch(sql.users, last, older_than):
        for row in rows:
            last = row["user_id"]
            deleted += await _purge(executor, sql.of_user, last, older_than)
    return deleted


async def _purge(executor: Executor, statement: str, user_id: str, older_than: timedelta) -> int:
    """Delete old files, from this user on, until a statement finds fewer than it may delete. Returns how many."""
    deleted = 0
    while True:
        row = await executor.fetchrow(statement, user_id, older_than, repeatable=False)
        deleted += 0 if row is None else row["deleted"]
        if row is None or row["done"] < _AT_ONCE:
            return deleted
        user_id = row["last"]
