"""Streams that a slow or greedy client cannot turn against others: caps, a time-out for sending, and a spool file."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from tempfile import SpooledTemporaryFile
from typing import Final, TypeVar

from fastapi.responses import StreamingResponse
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")

# A client that reads nothing for so long is gone.
SEND_SECONDS: Final = 30
RETRY_SECONDS: Final = 30
# Proxies close a connection after 30 or 60 seconds of silence.
KEEP_ALIVE_SECONDS: Final = 15
_PIECE_BYTES: Final = 256 * 1024
_IN_MEMORY: Final = 2**20


class Cap:
    """How many streams of a kind, or imports, are under way at once: of each user, and of all in this process."""

    def __init__(self, of_user: int, of_all: int) -> None:
        self._of_user = of_user
        self._of_all = of_all
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, user_id: str) -> Iterator[None]:
        """Count one more within the context. Raises HTTPException 429 if there are too many."""
        retry = {"Retry-After": str(RETRY_SECONDS)}
        if self._open[user_id] >= self._of_user:
            raise HTTPException(
                429, f"You have {self._of_user} of these requests under way: wait for one, or end it.", retry
            )
        if self._open.total() >= self._of_all:
            raise HTTPException(429, "The server has too many of these requests under way. Try again later.", retry)
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            self._open += Counter()  # drops the users without any


class TimedStream(StreamingResponse):
    """A stream that ends if its client reads nothing for a while. It closes the iterator however it ends."""

    def __init__(
        self, first: bytes, pieces: AsyncGenerator[bytes, None], status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(_from_the_first(first, pieces), status, headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        async with aclosing(self._pieces):
            with suppress(TimeoutError):  # the server closes the connection, because the response is not complete
                await super().__call__(scope, receive, send_in_time)


class EventStream(EventSourceResponse):
    """The server-sent events for one client. It closes their iterator however it ends."""

    def __init__(
        self,
        first: ServerSentEvent,
        events: AsyncGenerator[ServerSentEvent, None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            _from_the_first(first, events),
            headers=headers,
            ping=KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive"),
            send_timeout=SEND_SECONDS,
        )
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _from_the_first(first: T, pieces: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for piece in pieces:
        yield piece


async def spooled(lines: AsyncGenerator[str, None]) -> AsyncGenerator[bytes, None]:
    """
    Yield the lines in pieces, from a temporary file into which they are written as fast as they come.

    So the lines are read to their end at the speed of the database, and not at that of the client.
    """
    with SpooledTemporaryFile(_IN_MEMORY) as file:
        spool = _Spool(file)
        writing = asyncio.create_task(spool.write_all(lines))
        try:
            while piece := await spool.read():
                yield piece
            await writing
        finally:
            writing.cancel()
            await asyncio.wait([writing])
            if not writing.cancelled():
                writing.exception()  # it was raised above, unless the client is gone


class _Spool:
    """A file that is read while it is written."""

    def __init__(self, file: SpooledTemporaryFile[bytes]) -> None:
        self._file = file
        self._lock = asyncio.Lock()
        self._more = asyncio.Event()
        self._ended = False
        self._written = self._read = 0

    async def write_all(self, lines: AsyncGenerator[str, None]) -> None:
        """Write all lines."""
        try:
            async with aclosing(lines):
                rest = b""
                async for line in lines:
                    rest += line.encode()
                    if len(rest) >= _PIECE_BYTES or not self._written:
                        await self._write(rest)
                        rest = b""
                await self._write(rest)
        finally:
            self._ended = True
            self._more.set()

    async def _write(self, piece: bytes) -> None:
        async with self._lock:
            await asyncio.to_thread(self._write_at, self._written, piece)
            self._written += len(piece)
        self._more.set()

    async def read(self) -> bytes:
        """Return what comes next; b"" at the end."""
        while self._read == self._written and not self._ended:
            self._more.clear()
            await self._more.wait()
        async with self._lock:
            piece = await asyncio.to_thread(self._read_at, self._read)
        self._read += len(piece)
        return piece

    def _write_at(self, place: int, piece: bytes) -> None:
        self._file.seek(place)
        self._file.write(piece)

    def _read_at(self, place: int) -> bytes:
        self._file.seek(place)
        return self._file.read(_PIECE_BYTES)
