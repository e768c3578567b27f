"""A connection that reports each statement before it is sent, and upgrades that are killed at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import asyncpg

from voltmem import VoltMemError
from voltmem._postgres.driver import DRIVER_ERRORS
from voltmem._postgres.schema import upgrade
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection

    DriverConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    DriverConnection = asyncpg.Connection

Side = Literal["server", "client"]
Before: TypeAlias = Callable[["WatchedConnection", str], Awaitable[None]]


class WatchedConnection(DriverConnection):
    """Reports each statement before it is sent, those that begin and end transactions included."""

    before: Before

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        await self.before(self, query)
        return await super().execute(query, *args, **options)

    async def fetch(self, query: str, *args: object, **options: Any) -> Any:
        await self.before(self, query)
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: object, **options: Any) -> Any:
        await self.before(self, query)
        return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: object, **options: Any) -> Any:
        await self.before(self, query)
        return await super().fetchval(query, *args, **options)


@asynccontextmanager
async def watched(dsn: str, before: Before) -> AsyncIterator[WatchedConnection]:
    connection = await asyncpg.connect(dsn, connection_class=WatchedConnection)
    connection.before = before
    try:
        yield connection
    finally:
        connection.terminate()


async def killed(dsn: str, killer: Connection, tables: Tables, side: Side, number: int, *, only: str = "") -> bool:
    """
    Upgrade, and kill one side at the n-th statement, from 1. Returns whether there are that many.

    Args:
        only: How the statements begin that are counted.
    """
    sent = 0

    async def before(connection: WatchedConnection, statement: str) -> None:
        nonlocal sent
        if not statement.startswith(only):
            return
        sent += 1
        if sent == number and side == "server":
            await killer.execute("SELECT pg_terminate_backend($1::integer)", connection.get_server_pid())
            await gone(killer, connection.get_server_pid())
        elif sent == number:
            asyncio.get_running_loop().call_soon(connection.terminate)  # when the statement has been sent

    async with watched(dsn, before) as connection:
        process = connection.get_server_pid()
        try:
            await upgrade(connection, tables)
        except (VoltMemError, *DRIVER_ERRORS):
            if sent < number:
                raise
    await gone(killer, process)
    return sent >= number


async def gone(connection: Connection, process: int) -> None:
    """Return when the server's side of a connection, and its statement, has ended."""
    while await connection.fetchval("SELECT count(*) FROM pg_sleep(0.002), pg_stat_activity WHERE pid = $1", process):
        pass
