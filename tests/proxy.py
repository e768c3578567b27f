"""A TCP proxy in front of PostgreSQL: counts round trips, hangs, cuts. For plain connections (sslmode=disable)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

# The messages that end a round trip on the client's side: Sync (extended protocol) and Query (simple protocol).
_SYNC = b"S\x00\x00\x00\x04"
_NOTIFICATION = b"A"
# The beginning of the answer to a statement that is executed; what is answered to its preparation has none.
_BOUND = b"2\x00\x00\x00\x04"
# The end of a login: the server's process id, and the key to cancel its statements, of four bytes in protocol 3.0.
_KEY = b"K\x00\x00\x00\x0c"


class Proxy:
    """``async with Proxy(dsn) as proxy``: connect to ``proxy.dsn``."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._clients: list[asyncio.StreamWriter] = []
        self.dsn = ""
        self.round_trips = 0
        self.connections = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._held = asyncio.Event()
        self._starting_up = 0
        self._silent = 0
        self.refusing = False
        self.muffling = False
        """Drop all notifications, like a pooler in transaction mode."""
        self.pooling = False
        """Name another process in each login than the server's, like a pooler."""
        self.cut_when: Callable[[bytes], bool] | None = None
        """Cut the connection instead of forwarding an answer of the server for which this is true."""
        self.cut_after: int | None = None
        """Cut all connections after so many more bytes in both directions, also in the middle of a message."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = self._target.netloc.rpartition("@")[0]
        netloc = f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"
        query = "&".join(filter(None, [self._target.query, "sslmode=disable"]))
        self.dsn = urlunsplit(self._target._replace(netloc=netloc, query=query))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break all connections at once, like a server that crashes."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    def lead_to(self, dsn: str) -> None:
        """Forward new connections to another server, and break those that are open."""
        self._target = urlsplit(dsn)
        self.cut()

    def hang(self) -> None:
        """Forward nothing in either direction, like a server that hangs or a broken network."""
        self._flowing.clear()
        self._held.clear()

    def flow(self) -> None:
        """Forward the held messages, and all later ones."""
        self._flowing.set()

    def silence(self) -> None:
        """Drop all that the present connections send and receive, like a NAT that forgot its flows. New ones work."""
        self._silent = self.connections

    def complain(self) -> None:
        """Send each client an error that answers nothing, and keep its connection open."""
        for client in self._clients:
            client.write(_error("57P01", "terminating connection due to administrator command"))

    def start_up(self, times: int) -> None:
        """Answer the next *count* connections like a server that is starting up (57P03)."""
        self._starting_up = times

    async def something_held(self) -> None:
        """Return when a message is held, after hang()."""
        await self._held.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        if self._starting_up:
            self._starting_up -= 1
            await reader.read(65536)
            writer.write(_error("57P03", "the database system is starting up"))
            writer.close()
            return
        try:
            there = await asyncio.open_connection(self._target.hostname, self._target.port or 5432)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        there_reader, there_writer = there
        self._writers |= {writer, there_writer}
        self._clients.append(writer)
        number = self.connections
        for pump in (self._pump(number, reader, there_writer, True), self._pump(number, there_reader, writer, False)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outgoing: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if number <= self._silent:
                    continue
                if not self._flowing.is_set():
                    self._held.set()
                await self._flowing.wait()
                if not outgoing and self.pooling and (place := data.find(_KEY)) >= 0:
                    data = data[: place + len(_KEY)] + b"\x7f\xff\xff\xff" + data[place + len(_KEY) + 4 :]
                if not outgoing and self.muffling and data[:1] == _NOTIFICATION:  # comes alone, between two answers
                    continue
                if outgoing:
                    self.round_trips += data.count(_SYNC) + (data[:1] == b"Q")
                elif self.cut_when is not None and self.cut_when(data):
                    self.cut_when = None
                    self.cut()
                    return
                if self.cut_after is not None:
                    data, self.cut_after = data[: self.cut_after], self.cut_after - len(data)
                writer.write(data)
                await writer.drain()
                if self.cut_after is not None and self.cut_after <= 0:
                    self.cut_after = None
                    self.cut()
                    return
        except OSError:
            pass  # one side is closed, so the other is closed, too
        finally:
            writer.transport.abort()


def is_result(answer: bytes) -> bool:
    """Return whether it is the answer to a statement itself, which was executed. For cut_when."""
    return _BOUND in answer


def _error(sqlstate: str, text: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0M{text}\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
