"""A slow or greedy client holds nothing that others need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import httpx2
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import Message

from tests.conftest import MakeStorage
from tests.web.conftest import Serve, application, signed_in
from tests.web.test_cost import request
from tests.web.test_events import events, listening
from tests.web.test_problems import problem
from voltmem import InvalidOptionError, PostgresStorage, web
from voltmem.web import _bodies, _streams


async def numbers(ended: asyncio.Event, count: int = 3) -> AsyncGenerator[bytes, None]:
    try:
        for number in range(count):
            yield str(number).encode()
    finally:
        ended.set()


async def test_a_slow_export_holds_no_connection(make_storage: MakeStorage, serve: Serve) -> None:
    """While a client does not read its export, the only connection of the pool serves others."""
    storage = make_storage(max_connections=1)
    await storage.create_conversation({"id": "c0", "user_id": "ada"})
    for _ in range(8):
        await storage.add_messages([{"role": "user", "content": "x" * 1_000_000} for _ in range(4)], "ada", "c0")

    async with (
        serve(application(storage)) as address,
        httpx2.AsyncClient(headers={"X-User": "ada"}, timeout=30) as client,
        client.stream("GET", f"{address}/api/export") as response,
    ):
        pieces = response.aiter_bytes()
        read = await anext(pieces)
        async with asyncio.timeout(20):
            assert await storage.count_conversations() == 1
        read += b"".join([piece async for piece in pieces])

    lines = [json.loads(line) for line in read.splitlines()]
    assert [line["kind"] for line in lines] == ["header", "conversation", *(["message"] * 32), "end"]


async def test_an_export_that_fails_on_the_way_is_not_whole() -> None:
    """An error of the database after the first line is raised to the server, which cuts the response off."""

    async def lines() -> AsyncGenerator[str, None]:
        yield "first\n"
        raise ConnectionError("the server is gone")

    read = b""
    with pytest.raises(ConnectionError):
        async for piece in _streams.spooled(lines()):
            read += piece

    assert read == b"first\n"


async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose client reads nothing ends after a while, and closes what it reads from."""
    monkeypatch.setattr(_streams, "SEND_SECONDS", 0.01)
    ended = asyncio.Event()
    pieces = numbers(ended)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    await _streams.TimedStream(await anext(pieces), pieces, 200, {})({"type": "http"}, receive, send)

    assert ended.is_set()


async def test_a_user_has_so_many_event_streams(storage: PostgresStorage, serve: Serve) -> None:
    """429 for one more event stream than a user, or all users, may have; a stream that ends makes room."""
    app = FastAPI()
    routes = web.router(storage, user=signed_in, max_event_streams=2, max_all_event_streams=3, chosen_ids="any")
    app.include_router(routes, prefix="/api")

    async with serve(app) as address, AsyncExitStack() as open_streams:
        read = []  # a stream is closed with the iterator over it
        for user in ("ada", "mallory", "mallory"):
            read.append(events(await open_streams.enter_async_context(listening(address, user))))
            assert (await anext(read[-1]))[0] == "ready"
        for user, why in (("mallory", "You have 2"), ("bob", "The server has too many")):
            async with listening(address, user) as refused:
                await refused.aread()
                assert problem(refused, 429)["detail"].startswith(why)
                assert int(refused.headers["retry-after"]) > 0

        await open_streams.aclose()
        async with asyncio.timeout(20):
            while True:
                async with listening(address, "bob") as stream:
                    if stream.status_code == 200:
                        break


def test_a_user_has_two_exports_at_once() -> None:
    """429 for a third export of a user at the same time, before it reads anything."""
    cap = _streams.Cap(2, 20)

    with (
        cap.one_more("ada"),
        cap.one_more("ada"),
        cap.one_more("bob"),
        pytest.raises(HTTPException, match="You have 2"),
        cap.one_more("ada"),
    ):
        pass
    with cap.one_more("ada"), cap.one_more("ada"):
        pass

    assert not cap._open


class Silent:
    """A client that sends the beginning of a body, and then nothing."""

    def __init__(self, begin: bytes) -> None:
        self.waits = asyncio.Event()
        self.sent: list[Message] = []
        self._begin: bytes | None = begin

    async def receive(self) -> Message:
        if self._begin is None:
            self.waits.set()
            await asyncio.Event().wait()
        begin, self._begin = self._begin, None
        return {"type": "http.request", "body": begin, "more_body": True}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def test_a_user_has_two_imports_at_once(storage: PostgresStorage) -> None:
    """429 for a third import of a user at the same time, before its body is read; one that ends makes room."""
    app = application(storage)
    clients = [Silent(b'{"voltmem":1,"kind":"header"}\n') for _ in range(4)]
    users = ("ada", "ada", "mallory", "ada")
    given = [request("POST", "/api/import", "x-ndjson", x_user=user) for user in users]
    running = [
        asyncio.create_task(app(each, it.receive, it.send)) for each, it in zip(given[:3], clients, strict=False)
    ]
    async with asyncio.timeout(20):
        for client in clients[:3]:
            await client.waits.wait()

    await app(given[3], clients[3].receive, clients[3].send)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as http:
        lines = b'{"voltmem":1,"kind":"header"}\n{"kind":"end"}\n'
        headers = {"X-User": "ada", "Content-Type": "application/x-ndjson"}
        again = await http.post("/api/import", content=lines, headers=headers)

    assert (clients[3].sent[0]["status"], clients[3].waits.is_set()) == (429, False)
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("path", "kind"), [("conversations", "json"), ("import", "x-ndjson"), ("files", "octet-stream")]
)
async def test_a_client_that_sends_nothing_is_cut_off(
    path: str, kind: str, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 for a body of which nothing more comes, as an upload, an import or JSON."""
    monkeypatch.setattr(_bodies, "SILENT_SECONDS", 0.01)
    client = Silent(b'{"voltmem":1,')

    async with asyncio.timeout(20):
        await application(storage)(request("POST", f"/api/{path}", kind, x_user="ada"), client.receive, client.send)

    assert client.sent[0]["status"] == 408


@pytest.mark.parametrize("option", ["max_event_streams", "max_all_event_streams"])
@pytest.mark.parametrize("value", [-1, 1.5, "9", True, None])
def test_a_limit_is_a_number(option: str, value: object) -> None:
    """A limit that is no number is an error that names it."""
    options: dict[str, object] = {option: value}

    with pytest.raises(InvalidOptionError, match=option):
        web.router(PostgresStorage("postgresql://h/d"), user=signed_in, **options)  # type: ignore[arg-type]
