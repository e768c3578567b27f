"""The routes of answers over HTTP: events with ids, from which a client goes on; and the AI SDK's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.node import node
from tests.web.conftest import serving, signed_in
from voltmem import PostgresStorage, chat
from voltmem.chat import Reasoning, ToolCall, ToolResult

pytestmark = pytest.mark.usefixtures("conversation")


class Model:
    """Says a first word at once, and more when it may."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()

    async def answer(self, message: object) -> AsyncIterator[chat.Part]:
        yield Reasoning("Hm.")
        yield "One"
        yield ToolCall("k1", "weather", {"city": "Oslo"})
        await self.may_go_on.wait()
        yield ToolResult("k1", "rain")
        yield "Two"


@pytest.fixture
async def conversation(storage: PostgresStorage) -> None:
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})


@pytest.fixture
def model() -> Model:
    return Model()


@asynccontextmanager
async def client(storage: PostgresStorage, model: Model) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of two servers' worth of routes: those below /other know of no answer that the first ones write."""
    app = FastAPI()
    for path in ("/other", ""):
        app.mount(path, chat.app(storage, answer=model.answer, user=signed_in))
    async with (
        serving(app) as address,
        httpx2.AsyncClient(base_url=address, headers={"X-User": "ada"}, timeout=30) as made,
    ):
        yield made


QUESTION = {"conversationId": "c1", "messageId": "q1", "text": "What did you say?"}


async def lines(given: AsyncIterator[str], until: str) -> list[str]:
    """Read lines up to one with this text."""
    found: list[str] = []
    async for line in given:
        found.append(line)
        if until in line:
            return found
    raise AssertionError(found)


async def test_a_client_goes_on_after_the_last_event(storage: PostgresStorage, model: Model) -> None:
    """Last-Event-ID gives what came after it, from any process; when nothing is under way, the answer is 204."""
    async with client(storage, model) as http:
        assert (await http.get("/api/chat/c1/stream")).status_code == 204
        async with http.stream("POST", "/api/chat", json=QUESTION) as asked:
            first = await lines(asked.aiter_lines(), "input-available")
        (last,) = [line.removeprefix("id: ") for line in first if line.startswith("id: ")][-1:]
        refused = await http.post("/api/chat", json={**QUESTION, "messageId": "q2", "text": "And this?"})
        assert refused.status_code == 409
        assert "under way" in refused.json()["detail"]

        here, there = "/api/chat/c1/stream", "/other/api/chat/c1/stream"
        place = {"Last-Event-ID": last}
        async with http.stream("GET", here, headers=place) as one, http.stream("GET", there, headers=place) as other:
            model.may_go_on.set()
            joined = await asyncio.gather(*(lines(response.aiter_lines(), '"status"') for response in (one, other)))
        for found in joined:
            text = "\n".join(found)
            assert "Hm." not in text
            assert "One" not in text
            assert '"output":"rain"' in text
            assert '"delta":"Two"' in text
            assert '"status":"complete"' in text
        assert '"status":"complete"' in (await http.get(there, headers=place)).text
        assert (await http.get("/api/chat/c1/stream")).status_code == 204
        assert (await http.get("/api/answers")).json() == {"items": []}


async def test_stop_over_http_stores_what_was_said(storage: PostgresStorage, model: Model) -> None:
    """A stopped answer ends with its status for who follows it, and is listed as stopped."""
    async with client(storage, model) as http:
        async with http.stream("POST", "/api/chat", json=QUESTION) as asked:
            said = asked.aiter_lines()
            await lines(said, "input-available")
            (running,) = (await http.get("/other/api/answers")).json()["items"]
            assert (running["questionId"], running["status"]) == ("q1", "streaming")
            assert (await http.post("/other/api/chat/c1/stop")).status_code == 204
            await lines(said, '"status":"stopped"')
        (stopped,) = (await http.get("/api/chat/c1/answers")).json()["items"]
    assert (stopped["questionId"], stopped["status"]) == ("q1", "stopped")
    assert (await storage.get_messages("ada", "c1"))[-1].metadata["stopped"] is True


async def test_use_chat_asks_resumes_and_asks_again(storage: PostgresStorage, model: Model) -> None:
    """The AI SDK's own transport asks, resumes from another process, and finds nothing to resume at the end."""
    model.may_go_on.set()
    async with client(storage, model) as http:
        found: dict[str, Any] = await node("chat_transport.cjs", {"address": str(http.base_url), "id": "c" * 20})

    assert found["resumed"] is None
    assert [part["type"] for part in found["asked"]["parts"]] == ["reasoning", "text", "tool-weather", "text"]
    assert found["asked"]["parts"][2]["output"] == "rain"
    assert found["again"]["id"] != found["asked"]["id"]
    stored = await storage.get_messages("ada", "c" * 20)
    assert [each.role for each in stored] == ["user", "assistant"]
    assert stored[-1].id == found["again"]["id"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "url": "https://x.test/a.exe", "mediaType": "application/x-msdownload"},
        {"type": "file", "url": "https://x.test/a.png", "mediaType": "image/png"},
        {"type": "file", "url": "file:///etc/a.png", "mediaType": "image/png"},
        {"type": "text", "text": "a" * 100_001},
        {"type": "text", "text": ""},
        {"type": "tool-weather", "toolCallId": "k1", "state": "output-available", "input": {}, "output": "rain"},
    ],
    ids=["type", "address", "path", "long", "empty", "tool"],
)
async def test_use_chat_asks_what_the_page_could_ask(storage: PostgresStorage, model: Model, part: Any) -> None:
    """A file of another type or from elsewhere, a text that is too long or empty, and what is no question: refused."""
    async with client(storage, model) as http:
        refused = await http.post(
            "/api/ai/chat", json={"id": "c1", "messages": [{"id": "q1", "role": "user", "parts": [part]}]}
        )
    assert refused.status_code == 422, refused.text
    assert await storage.get_messages("ada", "c1") == []


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ({"type": "image", "source_type": "id", "id": "f", "mime_type": "image/png"}, 422),
        ({"type": "file", "mediaType": "text/plain", "url": "data:text/plain,hello"}, 200),
        ({"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}, 200),
    ],
    ids=["provider", "text", "bytes"],
)
async def test_a_question_has_the_bytes_of_its_files(
    storage: PostgresStorage, model: Model, file: Any, status: int
) -> None:
    """A question may have a file's bytes in its address; the id of a file that a provider has is refused."""
    model.may_go_on.set()
    asked = {"id": "c1", "messages": [{"id": "q1", "role": "user", "content": [file]}]}
    async with client(storage, model) as http:
        assert (await http.post("/api/ai/chat", json=asked)).status_code == status


async def test_use_chat_takes_no_id_that_others_guess(storage: PostgresStorage, model: Model) -> None:
    """A conversation that useChat begins needs an id that nobody guesses; one that is there may have any."""
    model.may_go_on.set()
    asked = [{"id": "q1", "role": "user", "parts": [{"type": "text", "text": "Hello?"}]}]
    async with client(storage, model) as http:
        refused = await http.post("/api/ai/chat", json={"id": "team", "messages": asked})
        taken = await http.post("/api/ai/chat", json={"id": "c1", "messages": asked})
    assert (refused.status_code, taken.status_code) == (422, 200)
    assert await storage.get_conversation("team") is None
