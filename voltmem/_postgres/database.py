"""
The connection pool of a storage: opened on first use, with retries where they are safe.

A call acquires a connection, sends one statement and releases the connection: one round trip. Connecting is retried,
and so is a statement that PostgreSQL rolled back. A statement that may have been executed is sent again only if it is
repeatable. One deadline applies to all tries.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import asyncpg

from voltmem._postgres.connecting import (
    Connector,
    NotConnectedError,
    PoolerNoticedError,
    Returns,
    answers,
    default_target,
    has_timed_out,
)
from voltmem._postgres.connection import BoundConnection, Method, Snapshot, changed_rows
from voltmem._postgres.driver import (
    CLOSE_TIMEOUT,
    DRIVER_ERRORS,
    FIRST_DELAY,
    LONGEST_DELAY,
    READ_ONLY,
    SYNC_HINT,
    check_encoding,
    check_loop,
    check_workers,
    is_gone,
    is_lost,
    is_passing,
    is_undone,
    is_unsent,
    jittered,
    keeps_statements,
    logger,
    no_connection,
    quotes_settings,
    send,
    translated_errors,
    translation,
    unknown_outcome,
    writes,
)
from voltmem._postgres.forking import forget_in_children
from voltmem._postgres.translation import translated
from voltmem.errors import (
    ConnectionFailedError,
    DatabaseError,
    DatabaseTimeoutError,
    EventLoopError,
    OutcomeUnknownError,
    StorageClosedError,
    VoltMemError,
    twin,
)
from voltmem.options import StorageOptions

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Pool, PooledConnection
    from voltmem._postgres.embedded import EmbeddedPostgres

    _Opening: TypeAlias = Callable[[BoundConnection], AbstractAsyncContextManager["Bound"]]
    Prepare: TypeAlias = Callable[[Connection, bool], Awaitable[object]]

Result = TypeVar("Result")
Bound = TypeVar("Bound", bound=BoundConnection)


class Database:
    """The connection pool of a storage, opened once, on first use, in the event loop of that use."""

    def __init__(self, options: StorageOptions, pool: Pool | None, prepare: Prepare | None) -> None:
        self._options = options
        self._given = pool
        self._prepare = prepare
        self._pool: Pool | None = None
        self._connector: Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._claiming = threading.Lock()
        self._opening = asyncio.Lock()
        self._refusing = self._closed = False
        self._embedded: EmbeddedPostgres | None = None
        self._returns = Returns(options.connect_timeout)
        # When opening failed last, with what, and whether another try would fail as well.
        self._failure: tuple[float, VoltMemError | None, bool] = (0.0, None, False)
        forget_in_children(self)

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
    async def connection(self, patience: float | None = None) -> AsyncIterator[PooledConnection]:
        """
        Yield a connection without preparing the schema. DRIVER_ERRORS of the body become voltmem's errors.

        patience: Seconds for which connecting is retried; None: retry_timeout.
        """
        async with self._unprepared_pool() as pool:
            began = time.monotonic()
            deadline = began + (self._options.retry_timeout if patience is None else patience)
            connection = await self._acquire(pool, deadline, began=began, says_so=patience is None)
            try:
                check_encoding(connection)  # of the caller's pool; ours does it when it connects
                with translated_errors(connection):
                    yield connection
            finally:
                await self._returns.give_back(pool, connection)

    @asynccontextmanager
    async def _unprepared_pool(self) -> AsyncIterator[Pool]:
        """Yield the pool, and without one a new one that ends with the block. The schema is not prepared."""
        if self._closed:
            raise StorageClosedError
        self._check_loop()
        kept = self._pool or self._given
        pool = kept or await self._new_pool()
        try:
            yield pool
        finally:
            if pool is not kept:
                pool.terminate()

    def connections(self) -> tuple[str, int, int, int]:
        """Return the name of the server, and the numbers of open, idle and possible connections of the pool."""
        target = self._options.target if self._connector is None else self._connector.target
        pool = self._pool or self._given
        name = "the pool that was given" if self._given is not None else "" if target is None else target.name
        if pool is None:
            return name, 0, 0, self._options.max_connections
        return name, pool.get_size(), pool.get_idle_size(), pool.get_max_size()

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
                await self._returns.give_back(pool, lent)
            return
        assert self._connector is not None  # set when the pool was opened
        if self._connector.target.statement_cache_size == 0:
            raise DatabaseError("no notification arrives behind a pooler in transaction mode: watch() polls")
        try:
            connection = await self._connector.connect({})
        except NotConnectedError as error:
            cause = error.__cause__ or error
            raise translated(cause, server=self._connector.target.name) from cause
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
        await self._returns.wait()
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

    async def _ready_pool(self, deadline: float | None = None) -> Pool:
        if self._closed:
            raise StorageClosedError
        if self._pool is not None and self._loop is asyncio.get_running_loop():
            return self._pool
        self._check_loop()
        arrived, deadline = time.monotonic(), deadline or self._deadline()
        # The first task opens the pool for all. If it is cancelled, the next one that waits opens it.
        async with self._opening:
            if self._closed:
                raise StorageClosedError
            if self._pool is None:
                failed_at, failure, is_final = self._failure
                if failure is not None and failed_at >= arrived and (is_final or failed_at >= deadline):
                    raise twin(failure)  # otherwise the tasks that wait would fail one after the other
                try:
                    self._pool = await self._opened_pool(deadline)
                except VoltMemError as error:
                    now = time.monotonic()
                    self._failure = (now, error, now + LONGEST_DELAY < deadline)
                    raise
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

    def forget(self) -> object:
        """Forget the event loop and its connections in a forked child, because they belong to the parent."""
        inherited = self._loop, self._pool
        self._loop = self._pool = self._embedded = None
        self._claiming, self._opening = threading.Lock(), asyncio.Lock()
        self._returns = Returns(self._options.connect_timeout)
        return inherited

    async def _opened_pool(self, deadline: float) -> Pool:
        pool = self._given if self._given is not None else await self._new_pool(looks=self._prepare is None)
        try:
            if self._prepare is not None:
                await self._prepare_on(pool, self._prepare, deadline)
        except BaseException:
            if pool is not self._given:
                pool.terminate()
            raise
        return pool

    async def _prepare_on(self, pool: Pool, prepare: Prepare, deadline: float) -> None:
        """Prepare the schema. Notices a pooler that nobody declared, and uses it as one; a given pool is left alone."""
        connector = self._connector

        async def look_and_prepare(connection: Connection) -> None:
            await prepare(connection, keeps_statements(connection) if connector is None else connector.is_unsure)

        async def prepare_only(connection: Connection) -> None:
            await prepare(connection, False)

        try:
            await self._repeated(pool, look_and_prepare, deadline)
        except PoolerNoticedError:
            if connector is None:
                logger.warning("the pool that was given leads to a pooler: pass statement_cache_size=0 to it")
            else:
                connector.use_pooler()
                await pool.expire_connections()
            await self._repeated(pool, prepare_only, deadline)

    async def run(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """
        Run *work* on a connection, without preparing the schema, and again if the connection is lost.

        It must bear being repeated. DRIVER_ERRORS of it become voltmem's errors.
        """
        async with self._unprepared_pool() as pool:
            return await self._repeated(pool, work, self._deadline())

    async def _repeated(self, pool: Pool, work: Callable[[Connection], Awaitable[Result]], deadline: float) -> Result:
        delay = FIRST_DELAY
        while True:
            connection = await self._acquire(pool, deadline, says_so=True)
            try:
                check_encoding(connection)  # of the caller's pool; ours does it when it connects
                with translated_errors(connection):
                    return await work(connection)
            except (ConnectionFailedError, OutcomeUnknownError) as error:
                pause = jittered(delay)
                if time.monotonic() + pause > deadline:
                    if isinstance(error, ConnectionFailedError):
                        raise
                    raise ConnectionFailedError("the connection was lost. Repeat the call") from error.__cause__
                logger.warning("the connection was lost while the tables were prepared; trying again (%s)", error)
            finally:
                await self._returns.give_back(pool, connection)
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _new_pool(self, *, looks: bool = True) -> Pool:
        target = self._options.target
        if target is None:
            before, (target, self._embedded) = self._embedded, await default_target()
            if before is not None:
                await asyncio.to_thread(before.stop)
        self._connector = Connector(target, self._options, looks=looks)
        logger.debug("connecting to %s", target.name)
        return await self._connector.new_pool()

    async def fetch(self, sql: str, *arguments: object, all_workers: bool = False) -> list[asyncpg.Record]:
        """all_workers: raise WorkerLostError, without another try, if a worker of Citus cannot be reached."""
        found = await self._run("fetch", sql, arguments, repeatable=True, all_workers=all_workers)
        return cast("list[asyncpg.Record]", found)

    async def fetchrow(self, sql: str, *arguments: object, repeatable: bool = True) -> asyncpg.Record | None:
        return cast("asyncpg.Record | None", await self._run("fetchrow", sql, arguments, repeatable=repeatable))

    async def execute(self, sql: str, *arguments: object) -> int:
        return changed_rows(cast(str, await self._run("execute", sql, arguments, repeatable=False)))

    async def _run(
        self, method: Method, sql: str, arguments: tuple[object, ...], *, repeatable: bool, all_workers: bool = False
    ) -> object:
        deadline = self._deadline()
        delay = FIRST_DELAY
        is_open = False  # whether a write was sent, and its answer was lost
        while True:
            try:
                pool = await self._ready_pool(deadline)
                connection = await self._acquire(pool, deadline)
            except VoltMemError as error:
                if is_open:
                    raise unknown_outcome(error) from error.__cause__
                raise
            sent_at = time.monotonic()
            try:
                return await self._send(connection, method, sql, arguments)
            except DRIVER_ERRORS as error:
                if all_workers:
                    check_workers(error, connection)
                lost, undone = is_lost(error, connection), is_undone(error, connection)
                if is_unsent(error):
                    connection.terminate()  # otherwise the pool would keep it
                elif has_timed_out(error):
                    await self._suspect(pool, connection, sent_at)
                is_open = is_open or (lost and not undone and writes(sql))
                pause = jittered(delay)
                if not (undone or (lost and repeatable)) or time.monotonic() + pause > deadline:
                    raise (unknown_outcome(error) if is_open else translation(error, connection)) from error
                if getattr(error, "sqlstate", None) == READ_ONLY:
                    await pool.expire_connections()
            finally:
                await self._returns.give_back(pool, connection)
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _send(
        self, connection: PooledConnection, method: Method, sql: str, arguments: tuple[object, ...]
    ) -> object:
        started = time.perf_counter()
        try:
            return await send(connection, method, sql, arguments)
        finally:
            if self._options.debug:  # never the arguments, which are users' data
                logger.debug("%.1f ms: %s", (time.perf_counter() - started) * 1000, " ".join(sql.split()))

    async def _suspect(self, pool: Pool, connection: PooledConnection, sent_at: float) -> None:
        """Replace all connections before their next use, if the one with a statement that timed out is silent."""
        if not await answers(connection, min(CLOSE_TIMEOUT, self._options.command_timeout)):
            if pool is self._given:
                await pool.expire_connections()
            elif self._connector is not None:
                self._connector.suspect(sent_at)

    def _deadline(self) -> float:
        return time.monotonic() + self._options.retry_timeout

    async def _acquire(
        self, pool: Pool, deadline: float, *, began: float | None = None, says_so: bool = False
    ) -> PooledConnection:
        """Acquire a connection, with retries until the deadline, which are safe because nothing was sent yet.

        began: When the call began; None: retry_timeout before it. says_so: Whether to log that it waits.
        """
        delay = FIRST_DELAY
        began = deadline - self._options.retry_timeout if began is None else began
        while True:
            # Those that hold the connections may be waiting for a server that hangs.
            wait = max(self._options.command_timeout, deadline - time.monotonic())
            try:
                async with asyncio.timeout(wait):
                    connection = await pool.acquire()
            except TimeoutError as error:
                raise no_connection(pool, time.monotonic() - began) from error
            except (NotConnectedError, ValueError, *DRIVER_ERRORS) as error:
                cause = error.__cause__ if isinstance(error, NotConnectedError) and error.__cause__ else error
                if quotes_settings(cause):
                    break
                pause = jittered(delay)
                if self._closed and pool is not self._given:
                    raise StorageClosedError from cause
                if not is_passing(cause) or pool.is_closing() or time.monotonic() + pause > deadline:
                    connector = self._connector if isinstance(error, NotConnectedError) else None
                    server = None if connector is None else connector.target.name
                    raise translated(cause, server=server, lost=is_passing(cause)) from cause
                if says_so and deadline - time.monotonic() > LONGEST_DELAY:
                    logger.warning("no connection to the database yet; trying for retry_timeout (%s)", cause)
                    says_so = False
            else:
                if self._connector is not None and self._connector.is_suspect(connection):
                    connection.terminate()  # not closed, which would wait for the server
                    continue
                if not self._closed or pool is self._given:
                    return connection
                # It waited for the connection when close() was called. The pool closes now, and a statement would fail.
                await self._returns.give_back(pool, connection)
                raise StorageClosedError
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_DELAY)
        # Outside of the handler: the driver's error is neither the cause nor the context.
        raise DatabaseError(
            "the driver cannot read where to connect. Check PGHOST, PGPORT and the password file, or the "
            "connection string of the pool that was given: percent-encode special characters in the user name and "
            "password (urllib.parse.quote)"
        )

    def transaction(self) -> AbstractAsyncContextManager[BoundConnection]:
        return self._transaction(BoundConnection.transaction)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return self._transaction(BoundConnection.snapshot)

    @asynccontextmanager
    async def _transaction(self, opening: _Opening[Bound]) -> AsyncIterator[Bound]:
        pool, connection, bound, begun = await self._begun(opening)
        began = time.monotonic()
        try:
            async with begun:
                yield bound
        except Exception as error:
            if has_timed_out(error):
                await self._suspect(pool, connection, began)
            raise
        finally:
            bound.has_ended = True
            if not is_gone(connection) and connection.is_in_transaction():  # a call of another task is under way
                connection.terminate()
            await self._returns.give_back(pool, connection)

    async def _begun(self, opening: _Opening[Bound]) -> tuple[Pool, PooledConnection, Bound, AsyncExitStack]:
        """Begin a transaction, on another connection if that one is lost. Returns also the stack that ends it."""
        deadline, delay = self._deadline(), FIRST_DELAY
        while True:
            pool = await self._ready_pool(deadline)
            connection = await self._acquire(pool, deadline)
            sent_at, begun = time.monotonic(), AsyncExitStack()
            try:
                bound = await begun.enter_async_context(opening(BoundConnection(connection)))
            except BaseException as error:
                if has_timed_out(error):
                    await self._suspect(pool, connection, sent_at)
                if not is_gone(connection):
                    connection.terminate()  # it may be of no use, and the pool would lend it again
                await self._returns.give_back(pool, connection)
                pause = jittered(delay)
                can_pass = isinstance(error, ConnectionFailedError | DatabaseTimeoutError)
                if not can_pass or time.monotonic() + pause > deadline:
                    raise
            else:
                return pool, connection, bound, begun
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_DELAY)
