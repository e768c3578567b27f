"""A page of messages for a front end, over HTTP, against a route that has its bytes ready."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Response

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound
from tests.web.conftest import application, serving, signed_in

MESSAGES: Final = 50
OURS: Final = f"/api/conversations/c0/messages?uiMessages=true&limit={MESSAGES}"
READY: Final = "/ready"


class Client:
    """
    A client that does the least: it sends a request on an open connection, and reads the body.

    Server and client share the interpreter, so that a full client would take more time than either route.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str) -> bytes:
        """Return the body of a response, which has to say its length."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-User: ada\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\A\S+ 200 .*content-length: (\d+)", head, re.IGNORECASE | re.DOTALL)
        assert length, head
        return await self._reader.readexactly(int(length[1]))


async def run(bench: Bench) -> None:
    """Measure a page of ui-messages."""
    await bench.start_anew(MESSAGES)
    ready = b""
    app = application(bench.storage())

    @app.get(READY)
    async def get_ready(user: Annotated[str | None, Depends(signed_in)]) -> Response:
        return Response(ready, media_type="application/json")

    async with serving(app) as address, connected(address) as client:
        ready = await client.get(OURS)

        def page(_: int) -> Awaitable[object]:
            return client.get(OURS)

        def page_ready(_: int) -> Awaitable[object]:
            return client.get(READY)

        await bench.compare(
            f"a page of {MESSAGES} ui-messages over HTTP",
            "a FastAPI route that has its bytes ready",
            "ms",
            bench.latency(page, 300),
            bench.latency(page_ready, 300),
            bound=Bound("at most", 2.5),
        )


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """Yield a client with a connection to the server."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**24)
    yield Client(reader, writer)
    writer.close()
    await writer.wait_closed()
