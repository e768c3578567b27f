"""Server-sent events report changes to each listener, over a real server, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import pytest
from sse_starlette import ServerSentEvent
from starlette.types import Message

from tests.conftest import MakeStorage
from tests.web.conftest import Connect, Serve, application
from voltmem import PostgresStorage, UserStorage
from voltmem._areas.changes import Change
from voltmem.web import _streams


@asynccontextmanager
async def listening(address: str, user: str = "ada") -> AsyncIterator[httpx2.Response]:
    async with (
        httpx2.AsyncClient(timeout=30, headers={"X-User": user}) as client,
        client.stream("GET", f"{address}/api/events") as response,
    ):
        yield response


async def lines(response: httpx2.Response) -> AsyncIterator[str]:
    """Yield the lines as EventSource divides them: separators other than newlines are text."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode().removesuffix("\r")


async def events(response: httpx2.Response) -> AsyncIterator[tuple[str, Any]]:
    """Yield the name and the data of each event, like a browser's EventSource."""
    name = ""
    async for line in lines(response):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


async def test_each_change_is_an_event(storage: PostgresStorage, serve: Serve) -> None:
    """
    The first event says that watching has begun.

    Then there is one for each change, with the conversation as listed.
    """
    async with serve(application(storage)) as address, listening(address) as response:
        stream = events(response)
        assert await anext(stream) == ("ready", {"conversationId": None, "conversation": None})

        await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Bread\nand \u2028 soup"})
        name, data = await anext(stream)
        assert (name, data["conversationId"]) == ("conversation.created", "c1")
        assert data["conversation"]["title"] == "Bread\nand \u2028 soup"

        await storage.add_message({"role": "assistant", "content": "Hi"}, "ada", "c1")
        name, data = await anext(stream)
        assert (name, data["conversation"]["preview"], data["conversation"]["unread"]) == ("message.added", "Hi", True)

        await storage.pin_conversation("c1")
        name, data = await anext(stream)
        assert (name, data["conversation"]["pinned"]) == ("conversation.updated", True)

        await storage.working_memory("ada", "c1", author="planner").set("likes tea")
        name, data = await anext(stream)
        assert (name, data["conversationId"], data["conversation"]) == ("memory.changed", "c1", None)
        async with httpx2.AsyncClient(headers={"X-User": "ada"}) as client:
            shown = await client.get(f"{address}/api/conversations/c1/memory")
        assert data["memory"] == shown.json()

        await storage.soft_delete_conversation("c1")
        assert await anext(stream) == ("conversation.deleted", {"conversationId": "c1", "conversation": None})


async def test_the_conversation_of_an_event_equals_the_lists(storage: PostgresStorage, serve: Serve) -> None:
    """The conversation in an event equals that of the list, so that a front end can replace its own with it."""
    async with serve(application(storage)) as address, listening(address) as response:
        stream = events(response)
        await anext(stream)
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        _, data = await anext(stream)

        async with httpx2.AsyncClient(headers={"X-User": "ada"}, timeout=30) as client:
            page = (await client.get(f"{address}/api/conversations")).json()

    assert page["items"] == [data["conversation"]]


async def test_a_user_gets_only_their_own_events(storage: PostgresStorage, serve: Serve) -> None:
    """A user gets events of their own conversations only."""
    async with serve(application(storage)) as address, listening(address, "mallory") as response:
        stream = events(response)
        await anext(stream)
        await storage.create_conversation({"id": "hers", "user_id": "ada"})
        await storage.create_conversation({"id": "his", "user_id": "mallory"})

        _, data = await anext(stream)

    assert data["conversationId"] == "his"


async def test_no_proxy_keeps_it_back(storage: PostgresStorage, serve: Serve) -> None:
    """The response is an event stream that proxies neither store nor buffer."""
    async with serve(application(storage)) as address, listening(address) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"


async def test_silence_is_kept_alive(storage: PostgresStorage, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, which EventSource ignores, keep a quiet stream alive."""
    monkeypatch.setattr(_streams, "KEEP_ALIVE_SECONDS", 0.05)

    async with serve(application(storage)) as address, listening(address) as response:
        stream = lines(response)
        comments = [await anext(stream) for _ in range(20)]

    assert comments.count(": keep-alive") > 3


async def test_a_client_that_goes_is_not_watched_for(
    storage: PostgresStorage, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a client disconnects, its watcher ends soon, even without a change."""
    ended = asyncio.Event()
    watch = UserStorage.watch

    async def watched(mine: UserStorage) -> AsyncGenerator[Change, None]:
        try:
            async with aclosing(watch(mine)) as changes:
                async for change in changes:
                    yield change
        finally:
            ended.set()

    monkeypatch.setattr(UserStorage, "watch", watched)

    async with serve(application(storage)) as address:
        async with listening(address) as response:
            await anext(events(response))
            assert not ended.is_set()
        async with asyncio.timeout(20):
            await ended.wait()


async def test_a_client_that_goes_before_the_answer_is_not_watched_for_either() -> None:
    """When a client disconnects before the response begins, its watcher ends without the garbage collector."""
    ended = asyncio.Event()

    async def changes() -> AsyncGenerator[ServerSentEvent, None]:
        try:
            yield ServerSentEvent("{}", event="ready")
        finally:
            ended.set()

    async def send(_: Message) -> None:
        await asyncio.Event().wait()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    watching = changes()
    await _streams.EventStream(await anext(watching), watching)({"type": "http", "method": "GET"}, receive, send)

    assert ended.is_set()


async def test_a_storage_that_closes_ends_it(make_storage: MakeStorage, serve: Serve) -> None:
    """Closing the storage ends the stream."""
    storage = make_storage()
    async with serve(application(storage)) as address, listening(address) as response:
        stream = events(response)
        await anext(stream)
        await storage.close()

        assert [each async for each in stream] == []


async def test_a_database_that_is_down_is_a_problem_document(make_storage: MakeStorage, connect: Connect) -> None:
    """An error before the first event is a problem document with its own status."""
    nowhere = make_storage("postgresql://ada:secret@127.0.0.1:1/none", retry_timeout=0.1, connect_timeout=1)

    answer = await connect(application(nowhere)).get("/events")

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
