"""asyncpg's types, and the translation of its errors to voltmem's."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from voltmem._postgres.translation import STATEMENT_POOLING, ReadOnly, translated
from voltmem.errors import (
    DatabaseError,
    DatabaseTimeoutError,
    EventLoopError,
    OutcomeUnknownError,
    SchemaError,
    VoltMemError,
)

if TYPE_CHECKING:
    Record: TypeAlias = asyncpg.Record
    Pool: TypeAlias = asyncpg.Pool[Record]
    PooledConnection: TypeAlias = PoolConnectionProxy[Record]
    Connection: TypeAlias = asyncpg.Connection[Record] | PooledConnection
else:  # asyncpg's classes take no parameters; the name is in the signature of a public method
    Connection = asyncpg.Connection | PoolConnectionProxy

logger = logging.getLogger("voltmem")

SYNC_HINT: Final = (
    "For threads that block, as those of Flask, Django under WSGI or Celery, there is voltmem.sync.PostgresStorage: "
    "one for all of them."
)

# Errors of the driver and of the network (a TimeoutError is an OSError). Anything else is a bug and is not translated.
# InternalClientError is a plain Exception: asyncpg raises it on a connection whose backend was just terminated, even if
# the statement had succeeded and the connection is only released.
DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# PostgreSQL rolled the statement back, and a retry may succeed: serialization failure, deadlock, lock not available,
# read-only transaction (on a standby, after a failover).
READ_ONLY: Final = "25006"
_UNDONE: Final = frozenset({"40001", "40P01", "55P03", READ_ONLY})
# The server is starting or stopping, or has too many connections.
_STARTING: Final = frozenset({"57P03", "53300"})
# The server ended the connection: stopped, after a crash of another backend, or after a time-out of its own.
_BROKEN: Final = frozenset({"57P01", "57P02", "57P05", "25P03", "25P04"}) | _STARTING
_LOGIN_REFUSED: Final = frozenset({"28000", "28P01", "3D000", "08P01", "42704"})
# PgBouncer says everything with 08P01: also that it has no room, or cannot reach the server at the moment.
_POOLER_WAITS: Final = re.compile(
    r"no more connections|try again later|server_login_retry|server down|cannot connect|too many clients|shutting down|"
    r"starting up|(?:connect|wait)_timeout|connect timeout|max_(?:client_conn|db_connections|user_connections)"
)
_OUT_OF_RESOURCES: Final = "53"
_REFUSED: Final = re.compile(r"cannot switch to state 1[12];")
# What a coordinator of Citus says, with these codes, if it has lost a worker: its own words, or those of libpq, by
# which it is connected. Of a lone statement the worker may have committed what it did, and of a transaction, whose
# COMMIT it got last ("could not commit"). So whether a write happened is open.
_WORKER_LOST: Final = re.compile(
    r"failure on connection marked as essential|could not commit transaction for shard|failed to COPY to shard|"
    r"terminating connection|"
    r"server closed the connection|could not (?:receive data from|send data to) server|no connection to the server|"
    r"connection not open|SSL (?:connection has been closed|SYSCALL error)"
)
_OF_CITUS: Final = frozenset({"XX000", "58030"})
# Citus says this only when it looks at all workers that have written, which it does before it sends COMMIT, or COMMIT
# PREPARED, to the first of them. It then undoes the whole transaction, on all servers.
_UNDONE_ON_WORKERS: Final = "failure on connection marked as essential"

NO_QUOTAS: Final = "quotas work on one server only: leave out the option quotas"

FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
# Seconds to wait for a clean close.
CLOSE_TIMEOUT: Final = 2.0
# Seconds for which a cancelled call waits until its statement is cancelled, too.
CANCEL_TIMEOUT: Final = 0.1


def check_loop(of: Pool | Connection, message: str) -> None:
    """Raise EventLoopError with this message unless a pool or a connection belongs to the running event loop."""
    running = asyncio.get_running_loop()
    # asyncpg stores the loop in this private attribute only.
    if getattr(of, "_loop", running) is not running:
        raise EventLoopError(f"{message} {SYNC_HINT}")


@contextmanager
def translated_errors(connection: Connection) -> Iterator[None]:
    try:
        yield
    except VoltMemError:  # some are OSErrors: ConnectionFailedError, DatabaseTimeoutError
        raise
    except OverflowError as error:
        raise impossible_time() from error
    except DRIVER_ERRORS as error:
        raise translation(error, connection) from error


async def send(
    connection: Connection, method: str, sql: str, arguments: tuple[object, ...], timeout: float | None = None
) -> object:
    """
    Send a statement by a method of the driver. DatabaseError if it cannot read a time of the answer, and SchemaError if
    Citus refuses a statement because of its quotas: the tables were distributed after the storage was opened.
    """
    try:
        return await getattr(connection, method)(sql, *arguments, timeout=timeout)
    except asyncpg.InvalidCachedStatementError:  # a FeatureNotSupportedError, too
        raise
    except asyncpg.FeatureNotSupportedError as error:
        if "_require_room(" in sql:
            raise SchemaError(f"the tables are distributed by Citus, and {NO_QUOTAS}") from error
        raise
    except OverflowError as error:
        raise impossible_time() from error


def impossible_time() -> DatabaseError:
    """Return the error for a stored time that Python's datetime cannot have. The driver does not say which it is."""
    return DatabaseError(
        "a stored time is before the year 1 or after 9999, which Python cannot represent. 'python -m voltmem check' "
        "names the row: give it another time by SQL"
    )


def translation(error: BaseException, connection: Connection) -> VoltMemError:
    """Return voltmem's error for an error of a statement on this connection. Raise it with ``from error``."""
    return translated(
        error,
        role=denied_role(error, connection),
        read_only=why_read_only(error, connection),
        lost=is_lost(error, connection),
    )


def denied_role(error: BaseException, connection: Connection) -> str | None:
    """Return the role that logged in, as the server reported it, if the error is a missing privilege of it."""
    is_denied = isinstance(error, asyncpg.InsufficientPrivilegeError)
    return _reported(connection, "session_authorization") if is_denied else None


def why_read_only(error: BaseException, connection: Connection) -> ReadOnly | None:
    """Return why a write was refused with 25006, if the server reports it, as it does from PostgreSQL 14 on."""
    if getattr(error, "sqlstate", None) != READ_ONLY:
        return None
    if _reported(connection, "in_hot_standby") == "on":
        return "standby"
    by_default = _reported(connection, "default_transaction_read_only")
    return None if by_default is None else "default" if by_default == "on" else "transaction"


def _reported(connection: Connection, setting: str) -> str | None:
    """Return a setting that the server has reported. No round trip."""
    return None if is_gone(connection) else getattr(connection.get_settings(), setting, None)


def jittered(delay: float) -> float:
    """Return a random part of the delay, so that calls that failed together are not retried together."""
    return random.uniform(0, delay)  # noqa: S311  # not for a secret


def is_passing(error: BaseException) -> bool:
    """Return whether an error of connecting may be over a little later: no server, a starting one, a failover."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        if sqlstate == "08P01" and _POOLER_WAITS.search(str(error)):
            return True
        return (is_lost(error) or sqlstate.startswith(_OUT_OF_RESOURCES)) and sqlstate not in _LOGIN_REFUSED
    # A certificate that could not be verified is a ValueError. A server without TLS has none a moment later.
    return not isinstance(error, asyncpg.InterfaceError | ValueError) and "rejected SSL upgrade" not in str(error)


def check_encoding(connection: Connection) -> None:
    """Raise DatabaseError if the database cannot store all characters. The server has reported it: no round trip."""
    encoding = _reported(connection, "server_encoding")
    if encoding not in (None, "UTF8"):
        raise DatabaseError(
            f"the database has the encoding {encoding}, in which most characters cannot be stored: it was not opened. "
            "Create one with ENCODING 'UTF8' (createdb --encoding UTF8 --template template0), and move the tables with "
            "pg_dump"
        )


def is_gone(connection: Connection) -> bool:
    """Return whether the connection is closed, also if its pool has taken it back because it broke."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def keeps_statements(connection: Connection) -> bool:
    """Return whether the driver keeps prepared statements on it, which a pooler in transaction mode would mix up."""
    # asyncpg stores the setting in this private attribute only.
    return getattr(getattr(connection, "_config", None), "statement_cache_size", 0) > 0


def is_lost(error: BaseException, connection: Connection | None = None) -> bool:
    """Return whether the error means that the connection is lost. What the server answered with is no such error."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        if STATEMENT_POOLING in str(error):
            return False
        return sqlstate in _BROKEN or sqlstate.startswith("08") or _has_lost_worker(error)
    if isinstance(error, asyncpg.InternalClientError) and "cannot switch to state" in str(error):
        return True  # an error that answers no statement came before: see is_unsent()
    return isinstance(error, OSError) or (connection is not None and is_gone(connection))


def _has_lost_worker(error: BaseException) -> bool:
    """Return whether a coordinator of Citus says, with the SQLSTATE of an internal error, that it has lost a worker."""
    return getattr(error, "sqlstate", None) in _OF_CITUS and _WORKER_LOST.search(str(error)) is not None


def is_unsent(error: BaseException) -> bool:
    """
    Return whether the driver refused to send a statement, because the connection is of no use.

    It has got an error that answers no statement, such as that of a backend that is ended, and may be open still: the
    driver then refuses all statements, before it sends anything. The states are those of preparing and of executing.
    """
    return isinstance(error, asyncpg.InternalClientError) and _REFUSED.match(str(error)) is not None


class WorkerLostError(Exception):
    """A coordinator of Citus cannot reach one of its workers, so a statement for several was undone. Internal."""


def check_workers(error: BaseException, connection: Connection) -> None:
    """Raise WorkerLostError if the error is the answer of a coordinator of Citus that cannot reach a worker."""
    is_lost_there = isinstance(error, asyncpg.ConnectionFailureError) or _has_lost_worker(error)
    if is_lost_there and not is_gone(connection):
        raise WorkerLostError from error


def quotes_settings(error: BaseException) -> bool:
    """Return whether the driver's error quotes a part of a connection string that it could not read: a password?"""
    if isinstance(error, asyncpg.InterfaceError):
        return "connection URI" in str(error)
    is_name = isinstance(error, UnicodeError) and not isinstance(error, UnicodeDecodeError)  # a host name, in IDNA
    return isinstance(error, ValueError) and not isinstance(error, OSError) and not is_name


def is_undone(error: BaseException, connection: Connection) -> bool:
    """Return whether the server rolled the statement back or never got it, and it may succeed a little later."""
    if is_unsent(error) or (_has_lost_worker(error) and _UNDONE_ON_WORKERS in str(error)):
        return True
    is_here_to_stay = why_read_only(error, connection) in ("default", "transaction")
    return getattr(error, "sqlstate", None) in _UNDONE and not is_here_to_stay


# The functions of migrations_sql/functions that write. Statements that write call one, or have one of these words.
WRITING_FUNCTIONS: Final = (
    *("add_message", "add_messages", "add_plain_messages", "answer_calls", "change_items", "change_memory"),
    *("choose_branch", "copy_files", "count_line", "drop_messages", "drop_messages_of_user", "ensure_conversation"),
    *("forget_derived", "forget_in_voltagent", "forget_messages", "fork_conversation", "give_conversation"),
    *("hand_over", "index_words", "keep_file", "keep_lease", "leave_summaries", "lock_memory", "move_head"),
    *("prune_conversation", "put_file"),
    *("release_files", "remove_oldest", "require_room", "restore_archived", "save_payload", "show_memory"),
    *("store_summary", "take_lease", "unlink_messages"),
)
_WRITES: Final = re.compile(rf"\b(?:INSERT INTO|UPDATE|DELETE FROM|\w+_(?:{'|'.join(WRITING_FUNCTIONS)}))\b")


def writes(sql: str) -> bool:
    """Return whether a statement of voltmem may change rows."""
    return _WRITES.search(sql.replace('"', "")) is not None


def unknown_outcome(error: BaseException) -> OutcomeUnknownError:
    """Return the error for a write whose answer was lost. *error* is the last one. Raise it with ``from error``."""
    return OutcomeUnknownError(
        f"a write was sent, and the connection failed before its answer came ({error!r}), so it may or may not have "
        "happened. Read what is stored before you repeat it"
    )


def no_connection(pool: Pool, seconds: float) -> DatabaseTimeoutError:
    """Return the error for a call that has waited so long for a connection of the pool."""
    waited = f"no connection within {seconds:.3g} seconds (retry_timeout and command_timeout bound the wait)"
    if pool.get_size() < pool.get_max_size():
        return DatabaseTimeoutError(f"{waited}: the server does not answer. Check that it runs, and the network")
    return DatabaseTimeoutError(
        f"{waited}: all {pool.get_max_size()} are in use. Raise max_connections, or look for transactions and "
        "iterators that hold one"
    )
