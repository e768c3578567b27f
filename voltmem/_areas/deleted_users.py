"""
The record of deleted users: what a run under way then wants to create is refused.

delete_user() writes a hash of the user's id and the time. A write that may create a conversation says for how long its
run has been under way, and the statement that creates it compares. Seconds of this machine's monotonic clock are sent,
not times, so the clocks of the two machines need not agree.
"""

from __future__ import annotations

import time
from hashlib import sha256

from voltmem._tables import Tables


def hash_of_user(tables: Tables, user_id: str) -> str:
    """Return what the table of deleted users has instead of the user's id."""
    return sha256(f"{tables.prefix} {user_id}".encode()).hexdigest()


class Elapsed:
    """
    The seconds since a moment of time.monotonic(), as an argument of a statement.

    asyncpg calls __float__() when it sends the statement, so a wait for a connection, or a retry, counts.
    """

    def __init__(self, moment: float = 0.0) -> None:
        self._moment = moment

    def __float__(self) -> float:
        return time.monotonic() - self._moment


def with_gone(tables: Tables, user_hash: str, seconds: str, condition: str = "true") -> str:
    """
    Return the WITH items that end with "gone": when the user was deleted during the run, "at".

    No row if the conversation $1 exists, or the condition is not met. The conversation is looked for in an item of its
    own: otherwise a worker of Citus would call the function, and only the coordinator has the record.
    """
    since = f"{tables.deleted_since}({user_hash}, {seconds}::double precision)"
    return f"""there AS MATERIALIZED (SELECT 1 FROM {tables.conversations} WHERE id = $1),
            gone AS (SELECT {since} AS at WHERE NOT EXISTS (SELECT 1 FROM there) AND {condition})"""


class DeletedUserStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        table = tables.deleted_users
        # Waits for transactions that are creating a conversation of the user. The deletion, a later statement, sees it.
        # A row that another session has locked is its to sweep.
        self.record = f"""
            WITH locked AS (
                SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))::text AS done
            ), old AS (
                SELECT user_hash FROM {table}
                WHERE deleted_at < pg_catalog.statement_timestamp() - interval '1 day' AND user_hash <> $1
                FOR UPDATE SKIP LOCKED
            ), swept AS (
                DELETE FROM {table} WHERE user_hash IN (SELECT user_hash FROM old)
            )
            INSERT INTO {table} (user_hash, deleted_at) SELECT $1, pg_catalog.clock_timestamp() FROM locked
            ON CONFLICT (user_hash) DO UPDATE SET deleted_at = excluded.deleted_at
            RETURNING 1"""
