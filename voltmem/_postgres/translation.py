"""Translate errors of the driver and of the network into voltmem's."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from voltmem.errors import (
    ConnectionFailedError,
    DatabaseError,
    DatabaseTimeoutError,
    QuotaExceededError,
    SchemaError,
    VoltMemError,
)

_NO_ROOM: Final = "Lower max_connections of the storages, or raise max_client_conn of the pooler"
_POOLER: Final = "Is there a pooler in transaction mode? Add pgbouncer=true to the connection string"
# What to do about errors by SQLSTATE (PostgreSQL's manual, appendix A), where PostgreSQL's text does not say it.
_HINTS: Final[Mapping[str, str]] = {
    "08P01": "A pooler may refuse a startup parameter of the connection string: leave out all but application_name",
    "25P03": "The server's idle_in_transaction_session_timeout ended the connection: do nothing long in a transaction",
    "25P04": "The server's transaction_timeout ended the connection: use shorter transactions",
    "25P02": "An earlier statement of the transaction failed: end the transaction. Put what may fail into a savepoint, "
    "with the transaction's own transaction()",
    "26000": _POOLER,
    "28000": "Check the user, the password and the server's pg_hba.conf",
    "28P01": "Check the user and the password",
    "3D000": "Create the database, or correct its name in the connection string",
    "40001": "Repeat the call or the whole transaction",
    "40P01": "Repeat the call or the whole transaction",
    "42501": "voltmem needs USAGE on the schema, SELECT, INSERT, UPDATE and DELETE on its tables and EXECUTE on its "
    "functions; migrations also need CREATE on the schema and a role that owns the tables. GRANT what is missing "
    "('python -m voltmem sql --roles' prints roles that have it), or run 'python -m voltmem migrate' as the owner and "
    'open the storage with migrate="check"',
    "42704": "Check the parameters of the connection string",
    "42P05": _POOLER,
    "53300": "Lower max_connections of the storages, raise it on the server, or put a pooler in between",
    "55P03": "Another transaction holds the lock: repeat the call, or look for that transaction in pg_stat_activity",
    "57014": "The server's statement_timeout ended it, or an administrator: raise statement_timeout for the role",
    "57P03": "Repeat the call when the server has started, or raise retry_timeout",
}

ReadOnly: TypeAlias = Literal["standby", "default", "transaction"]
"""Why a connection is read-only: its server is a standby, default_transaction_read_only, or its transaction is."""

_TO_STANDBY: Final = "This server is a standby: add target_session_attrs=read-write to the connection string"
_READ_ONLY_BY_DEFAULT: Final = (
    "default_transaction_read_only is on for this server, database or role: reset it (ALTER ROLE … RESET "
    "default_transaction_read_only). Some providers set it when the disk is full"
)
_READ_ONLY_HINTS: Final[Mapping[ReadOnly | None, str]] = {
    "standby": _TO_STANDBY,
    "default": _READ_ONLY_BY_DEFAULT,
    "transaction": "The transaction was made read-only: write in another",
    # Servers before 14 do not report it.
    None: f"{_TO_STANDBY}. Otherwise: {_READ_ONLY_BY_DEFAULT}".replace("This", "If this").replace("by: add", "by, add"),
}

_NO_SUCH_OBJECT: Final = frozenset({"42P01", "42703", "42883", "3F000"})
# The login was refused, there is no such database, there are too many connections, or the server is stopping or
# starting, or ended the connection after a time-out of its own.
_NOT_CONNECTED: Final = frozenset(
    {"28000", "28P01", "3D000", "53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}
)
_CANCELED: Final = "57014"
# PgBouncer in statement mode says so at each BEGIN, with the SQLSTATE of a lost connection. It will not pass.
STATEMENT_POOLING: Final = "statement pooling mode"
_OVER_QUOTA: Final = "VM001"  # of our function require_room


def translated(
    error: BaseException,
    *,
    server: str | None = None,
    role: str | None = None,
    read_only: ReadOnly | None = None,
    lost: bool = False,
) -> VoltMemError:
    """
    Return voltmem's error for an error of the driver or of the network. Raise it with ``from error``.

    Depends only on the SQLSTATE and on built-in types, so that it works with every version of the driver, and with
    Citus, whose errors have no constraint names.

    Args:
        error: The driver's.
        server: Host, port and database, if it was raised while connecting.
        role: The role that lacks a privilege, if it is known.
        read_only: Why the connection is read-only, if it is known.
        lost: Whether there is no connection, which some of the driver's errors do not say.
    """
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate == _OVER_QUOTA:
        quota, limit, needed, user_id = str(getattr(error, "detail", "")).split(" ", 3)
        return QuotaExceededError(quota, int(limit), int(needed), user_id)
    if sqlstate in _NO_SUCH_OBJECT:
        return SchemaError(
            f"{error} [{sqlstate}]. The tables are missing or older than this release: check schema and table_prefix, "
            'open the storage with migrate="auto", call upgrade_schema() or run \'python -m voltmem '
            "migrate'."
        )
    message = describe(error, role, read_only)
    is_refused = STATEMENT_POOLING in message
    if not is_refused and (sqlstate in _NOT_CONNECTED or (sqlstate or "").startswith("08")):
        return ConnectionFailedError(f"{_refusal(server)}{message}", sqlstate)
    if sqlstate == _CANCELED:
        return DatabaseTimeoutError(message, sqlstate)
    if isinstance(error, TimeoutError):
        return DatabaseTimeoutError(_silence(server))
    if isinstance(error, OSError):
        return ConnectionFailedError(f"cannot reach PostgreSQL{_at(server)}: {message}. {_way_to(error)}")
    if server is not None and sqlstate is None:  # the driver refused, not the server
        kind = ConnectionFailedError if lost else DatabaseError
        return kind(f"cannot connect to PostgreSQL at {server}: {message}")
    if lost:
        what = "the connection to PostgreSQL was lost" if sqlstate is None else message
        return ConnectionFailedError(f"{_refusal(server)}{what}. Repeat the call, or the whole transaction", sqlstate)
    return DatabaseError(f"{_refusal(server)}{message}", sqlstate)


def describe(error: BaseException, role: str | None = None, read_only: ReadOnly | None = None) -> str:
    """Return the text of a driver's error, and what to do, if that is known."""
    message = str(error) or type(error).__name__
    sqlstate = getattr(error, "sqlstate", None) or ""
    hint = _READ_ONLY_HINTS[read_only] if sqlstate == "25006" else _HINTS.get(sqlstate)
    if sqlstate == "08P01" and "startup parameter" not in message:  # PgBouncer says everything with it
        hint = _NO_ROOM if "no more connections" in message else None
    if STATEMENT_POOLING in message:
        hint = "Migrations and transactions need more than single statements: set pool_mode = transaction in PgBouncer"
    if "another operation is in progress" in message:
        hint = (
            "A connection runs one statement at a time: wait for the end of each call on it, or in its transaction, "
            "before the next"
        )
    if hint is None:
        return message
    who = "" if role is None else f", logged in as {role!r}"
    # Only the first line: the driver's own hints, on the lines after it, name options of the driver.
    return f"{message.partition(chr(10))[0]}{who}. {hint}"


def _at(server: str | None) -> str:
    return "" if server is None else f" at {server}"


def _refusal(server: str | None) -> str:
    return "" if server is None else f"PostgreSQL at {server} refused the connection: "


def _silence(server: str | None) -> str:
    if server is None:
        return (
            "PostgreSQL did not answer within command_timeout. Raise it, or look in pg_stat_activity for what the "
            "statement waits for"
        )
    return f"PostgreSQL at {server} did not answer in time. Check host, port and firewall, or raise connect_timeout"


def _way_to(error: OSError) -> str:
    """Return what to check when there is no connection."""
    if isinstance(error, socket.gaierror):
        return "The host name is unknown: check its spelling and the DNS"
    if isinstance(error, ssl.SSLError) or "SSL" in str(error):
        return "Check sslmode and sslrootcert in the connection string, and that the server has TLS and a certificate"
    if isinstance(error, FileNotFoundError):
        return "Check the path of the server's socket, and of sslrootcert, sslcert and sslkey"
    return "Check that the server is running, and that host and port are right"
