"""asyncpg's types, and the translation of its errors to voltmem's."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from voltmem.errors import (
    EventLoopError,
    OutcomeUnknownError,
    VoltMemError,
    translated,
)

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Record: TypeAlias = asyncpg.Record
    Pool: TypeAlias = asyncpg.Pool[Record]
    PooledConnection: TypeAlias = PoolConnectionProxy[Record]
    Connection: TypeAlias = asyncpg.Connection[Record] | PooledConnection

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
UNDONE: Final = frozenset({"40001", "40P01", "55P03", READ_ONLY})
# The server is starting or stopping, or has too many connections.
STARTING: Final = frozenset({"57P03", "53300"})
_BROKEN: Final = frozenset({"57P01", "57P02"}) | STARTING
LOGIN_REFUSED: Final = frozenset({"28000", "28P01", "3D000", "08P01", "42704"})

FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
# Seconds to wait for a clean close.
CLOSE_TIMEOUT: Final = 2.0


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
    except DRIVER_ERRORS as error:
        raise translated(error, role=denied_role(error, connection)) from error


def denied_role(error: BaseException, connection: Connection) -> str | None:
    """Return the role that logged in, as the server reported it, if the error is a missing privilege of it."""
    if not isinstance(error, asyncpg.InsufficientPrivilegeError):
        return None
    role: str | None = getattr(connection.get_settings(), "session_authorization", None)  # no round trip
    return role


def jittered(delay: float) -> float:
    """Return a random part of the delay, so that calls that failed together are not retried together."""
    return random.uniform(0, delay)  # noqa: S311  # not for a secret


def is_lost(error: BaseException) -> bool:
    sqlstate = getattr(error, "sqlstate", None) or ""
    return isinstance(error, OSError) or sqlstate in _BROKEN or sqlstate.startswith("08")


def quotes_settings(error: BaseException) -> bool:
    """Return whether the driver's error quotes a part of a connection string that it could not read: a password?"""
    if isinstance(error, asyncpg.InterfaceError):
        return "connection URI" in str(error)
    is_name = isinstance(error, UnicodeError) and not isinstance(error, UnicodeDecodeError)  # a host name, in IDNA
    return isinstance(error, ValueError) and not isinstance(error, OSError) and not is_name


def final_error(error: BaseException, unknown: bool, connection: Connection) -> VoltMemError:
    if unknown:
        return OutcomeUnknownError(
            f"the connection failed after the statement was sent and before its answer came ({error!r}), so it may or "
            "may not have happened. Read what is stored before you repeat it"
        )
    return translated(error, role=denied_role(error, connection))
