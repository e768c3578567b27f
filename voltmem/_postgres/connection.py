"""Statements on one connection, and transactions on it; what the areas need of either (Executor)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from voltmem._postgres.driver import DRIVER_ERRORS, errors_as_ours, final_error, is_lost, logger

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Record

Method: TypeAlias = Literal["fetch", "fetchrow", "execute"]


class Executor(Protocol):
    """What the areas need: a statement sent, an answer back. Database and BoundConnection are the two."""

    async def fetch(self, sql: str, *arguments: object) -> list[Record]:
        """Return the rows of a statement that does no harm when it is sent twice."""
        ...

    async def fetchrow(self, sql: str, *arguments: object, repeatable: bool = True) -> Record | None:
        """Return the first row, or None. repeatable: whether sending it twice has the effect and answer of once."""
        ...

    async def execute(self, sql: str, *arguments: object) -> int:
        """Return how many rows the statement changed. Never sent twice: the second count would be another."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[BoundConnection]:
        """Return a context in which all statements of what it yields are one transaction."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[BoundConnection]:
        """Return a context in which all statements of what it yields see the rows of one moment, and change none."""
        ...


class BoundConnection:
    """Statements on one connection of the caller's, in whatever transaction it is in. Nothing is retried."""

    def __init__(self, connection: Connection, ready: Callable[[], Awaitable[object]] | None = None) -> None:
        self.connection = connection
        self._ready = ready

    async def fetch(self, sql: str, *arguments: object) -> list[Record]:
        return cast("list[Record]", await self._run("fetch", sql, arguments))

    async def fetchrow(self, sql: str, *arguments: object, repeatable: bool = True) -> Record | None:
        return cast("Record | None", await self._run("fetchrow", sql, arguments))

    async def execute(self, sql: str, *arguments: object) -> int:
        return changed_rows(cast(str, await self._run("execute", sql, arguments)))

    async def _run(self, method: Method, sql: str, arguments: tuple[object, ...]) -> object:
        if self._ready is not None:
            await self._ready()
        with errors_as_ours():
            return await getattr(self.connection, method)(sql, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[BoundConnection]:
        """A savepoint, when the connection is in a transaction already."""
        async with transaction_on(self.connection):
            yield BoundConnection(self.connection, self._ready)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[BoundConnection]:
        """A savepoint, when the connection is in a transaction already: it sees what that one sees."""
        async with snapshot_on(self.connection):
            yield BoundConnection(self.connection, self._ready)

    async def rows(self, sql: str, *arguments: object, at_once: int = 100) -> AsyncIterator[Record]:
        """Yield the rows of a statement by a cursor of the transaction: no more than so many are in memory at once."""
        if self._ready is not None:
            await self._ready()
        with errors_as_ours():
            async for row in self.connection.cursor(sql, *arguments, prefetch=at_once):
                yield row


def snapshot_on(connection: Connection) -> AbstractAsyncContextManager[None]:
    """Like transaction_on, for reading the rows of one moment."""
    if connection.is_in_transaction():
        return transaction_on(connection)
    return transaction_on(connection, isolation="repeatable_read", readonly=True)


@asynccontextmanager
async def transaction_on(
    connection: Connection, *, isolation: Literal["repeatable_read"] | None = None, readonly: bool = False
) -> AsyncIterator[None]:
    """
    Like asyncpg's own, with errors of ours; what the body raises stays what it is.

    Entered and left as a context by hand: a transaction that was begun with start() and cancelled there would be
    reported to the loop's exception handler when its connection is put back.
    """
    outermost = not connection.is_in_transaction()
    transaction = connection.transaction(isolation=isolation, readonly=readonly)
    with errors_as_ours():
        await transaction.__aenter__()
    try:
        yield
    except BaseException as error:
        try:
            await transaction.__aexit__(type(error), error, error.__traceback__)
        except DRIVER_ERRORS as broken:  # the connection is gone, and the transaction with it
            logger.debug("a transaction ended with its connection: %s", broken)
        raise
    try:
        await transaction.__aexit__(None, None, None)
    except DRIVER_ERRORS as error:
        raise final_error(error, is_lost(error) or connection.is_closed()) from error
    except asyncio.CancelledError:
        if outermost:  # whether it was committed or not, nothing stays open
            with suppress(*DRIVER_ERRORS):
                await connection.execute("ROLLBACK")
        raise


def changed_rows(status: str) -> int:
    """Return the number at the end of a command tag, such as DELETE 3."""
    return int(status.rpartition(" ")[2])
