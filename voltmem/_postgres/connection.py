"""Executor, the protocol by which the areas send statements, and statements and transactions on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias, cast

from voltmem._postgres.connecting import answers, has_timed_out
from voltmem._postgres.driver import (
    DRIVER_ERRORS,
    check_loop,
    is_gone,
    is_lost,
    is_undone,
    logger,
    send,
    translated_errors,
    translation,
    unknown_outcome,
    writes,
)
from voltmem.errors import DatabaseError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Record

Method: TypeAlias = Literal["fetch", "fetchrow", "execute"]


class Executor(Protocol):
    """Sends statements of the areas. Database and BoundConnection implement it."""

    async def fetch(self, sql: str, *arguments: object) -> list[Record]:
        """Return the rows of a statement, which must be safe to send twice."""
        ...

    async def fetchrow(self, sql: str, *arguments: object, repeatable: bool = True) -> Record | None:
        """Return the first row, or None. repeatable: whether sending it twice has the effect and result of once."""
        ...

    async def execute(self, sql: str, *arguments: object) -> int:
        """Run a statement. Returns how many rows it changed. Never sent twice, as the second count would differ."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[BoundConnection]:
        """Return a context that yields an executor whose statements are one transaction."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Return a context that yields an executor of a read-only transaction, whose one snapshot is taken already."""
        ...


class BoundConnection:
    """
    Statements on the caller's connection, or one of the pool, within its current transaction. Nothing is retried.

    Args:
        ready: Called before each statement, on a caller's connection.
        timeout: Seconds for each statement; None: the connection's command_timeout.
    """

    def __init__(
        self,
        connection: Connection,
        ready: Callable[[], Awaitable[object]] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        self.connection = connection
        self.has_ended = False
        """Whether the connection was given back to its pool."""
        self._ready = ready
        self._timeout = timeout

    async def fetch(self, sql: str, *arguments: object) -> list[Record]:
        return cast("list[Record]", await self._run("fetch", sql, arguments))

    async def fetchrow(self, sql: str, *arguments: object, repeatable: bool = True) -> Record | None:
        return cast("Record | None", await self._run("fetchrow", sql, arguments))

    async def execute(self, sql: str, *arguments: object) -> int:
        return changed_rows(cast(str, await self._run("execute", sql, arguments)))

    async def _run(self, method: Method, sql: str, arguments: tuple[object, ...]) -> object:
        await self._begin()
        with translated_errors(self.connection):
            commits = not self.connection.is_in_transaction()
            try:
                return await send(self.connection, method, sql, arguments, self._timeout)
            except DRIVER_ERRORS as error:
                if self._ready is None and has_timed_out(error):
                    await answers(self.connection)  # closes it if not: otherwise ROLLBACK would wait for as long
                if commits and _is_open(error, self.connection) and writes(sql):
                    raise unknown_outcome(error) from error
                raise

    async def _begin(self) -> None:
        if self.has_ended:
            raise DatabaseError("this transaction has ended: make the call within its block, or on the storage itself")
        self._check_loop()
        if self._ready is not None:
            await self._ready()

    def _check_loop(self) -> None:
        check_loop(
            self.connection,
            "this storage is bound to a connection of another event loop: use it in the task that opened the "
            "transaction, or bound the connection.",
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[BoundConnection]:
        """Open a transaction, or a savepoint if the connection is in a transaction."""
        self._check_loop()
        async with transaction_on(self.connection):
            yield BoundConnection(self.connection, self._ready, timeout=self._timeout)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Open a snapshot, or a savepoint if the connection is in a transaction, with that transaction's snapshots."""
        self._check_loop()
        async with snapshot_on(self.connection):
            yield await Snapshot(self.connection, self._ready, timeout=self._timeout).take()

    async def rows(self, sql: str, *arguments: object, at_once: int = 100) -> AsyncIterator[Record]:
        """Yield the rows of a statement from a cursor, which fetches *at_once* rows at a time."""
        await self._begin()
        with translated_errors(self.connection):
            async for row in self.connection.cursor(sql, *arguments, prefetch=at_once):
                yield row

    async def pages(self, sql: str, *arguments: object, at_once: int) -> AsyncIterator[list[Record]]:
        """Yield the rows of a statement from a cursor, in lists of *at_once* rows."""
        await self._begin()
        with translated_errors(self.connection):
            cursor = await self.connection.cursor(sql, *arguments)
            while page := await cursor.fetch(at_once):
                yield page
                if len(page) < at_once:
                    break


class Snapshot(BoundConnection):
    """Statements in a snapshot."""

    moment: datetime
    """When it was taken."""

    async def take(self) -> Self:
        """Take the snapshot, which PostgreSQL does for the first statement of its transaction. Returns this object."""
        (row,) = await self.fetch("SELECT pg_catalog.statement_timestamp()")
        self.moment = row[0]
        return self


def snapshot_on(connection: Connection) -> AbstractAsyncContextManager[None]:
    """Like transaction_on(), but read-only and with one snapshot, unless the connection is in a transaction."""
    if connection.is_in_transaction():
        return transaction_on(connection)
    return transaction_on(connection, isolation="repeatable_read", readonly=True)


@asynccontextmanager
async def transaction_on(
    connection: Connection, *, isolation: Literal["repeatable_read"] | None = None, readonly: bool = False
) -> AsyncIterator[None]:
    """
    Open a transaction like asyncpg's, with voltmem's errors. Exceptions of the body are not translated.

    Calls __aenter__ and __aexit__, not start(): if start() were cancelled, the event loop's exception handler would get
    an error when the connection is released.
    """
    with translated_errors(connection):
        outermost = not connection.is_in_transaction()
        transaction = connection.transaction(isolation=isolation, readonly=readonly)
        await transaction.__aenter__()
    try:
        yield
    except BaseException as error:
        try:
            await transaction.__aexit__(type(error), error, error.__traceback__)
        except DRIVER_ERRORS as broken:  # the connection is gone, and the transaction with it
            logger.debug("a transaction ended with its connection: %s", broken)
        raise
    is_sent = not is_gone(connection)
    was_ended = is_sent and not connection.is_in_transaction()
    try:
        await transaction.__aexit__(None, None, None)
    except DRIVER_ERRORS as error:
        if not (outermost and is_sent and _is_open(error, connection)):
            raise translation(error, connection) from error
        if not readonly:
            raise unknown_outcome(error) from error
        logger.debug("a read-only transaction ended with its connection: %s", error)
    except asyncio.CancelledError:
        if outermost:  # whether it was committed or not, no transaction stays open
            with suppress(*DRIVER_ERRORS):
                await connection.execute("ROLLBACK")
        raise
    if was_ended:
        raise DatabaseError(
            "the transaction was ended within its block, by COMMIT or ROLLBACK: each statement after that was a "
            "transaction of its own, and in session() it saw every user's rows. Leave them out: the end of the block "
            "commits, and an exception rolls back"
        )


def _is_open(error: BaseException, connection: Connection) -> bool:
    """Return whether the answer is lost, and with it whether what was sent has happened."""
    return is_lost(error, connection) and not is_undone(error, connection)


def changed_rows(status: str) -> int:
    """Return the number at the end of a command tag, such as DELETE 3."""
    return int(status.rpartition(" ")[2])
