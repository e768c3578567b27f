"""How many answers a user may begin in a minute: those that begin are counted, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Header

from voltmem import InvalidOptionError, Message, PostgresStorage, chat
from voltmem.chat import Context, Part, ToolCall, ToolResult

MINE = {"X-User": "ada"}
LONG_ID = "c" * 20


class Clock:
    """The seconds that the pace is told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("voltmem.chat._pace.monotonic", made)
    return made


class Model:
    """Answers at once; asked to wait, never; asked to delete, after a decision."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()

    async def answer(self, message: Message, context: Context) -> AsyncIterator[Part]:
        if "delete" in message.text and not context.decisions:
            yield ToolCall("k1", "delete", needs_approval=True)
            return
        for decision in context.decisions:
            yield ToolResult(decision.call.id, "gone")
        yield "Yes."
        if "wait" in message.text:
            self.waits.set()
            await asyncio.Event().wait()


@pytest.fixture
def model() -> Model:
    return Model()


def who(x_user: Annotated[str, Header()]) -> str:
    return x_user


@asynccontextmanager
async def asking(storage: PostgresStorage, model: Model, most: int) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of a chat with this pace, and of Ada's conversations c1 to c3."""
    for id in ("c1", "c2", "c3"):
        await storage.ensure_conversation({"id": id, "user_id": "ada"})
    app = chat.app(storage, answer=model.answer, user=who, answers_per_minute=most, uploads=["image/*"])
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test/api", headers=MINE) as client:
        yield client


def question(conversation_id: str, id: str, text: str = "Is it?", **more: Any) -> dict[str, Any]:
    return {"json": {"conversationId": conversation_id, "messageId": id, "text": text, **more}}


async def begin(client: httpx2.AsyncClient, **question: Any) -> str:
    """Ask, and wait for the end of the answer. Returns its id."""
    response = await client.post("/chat", **question)
    assert response.status_code == 200, response.text
    return response.text.partition('"id":"')[2].partition('"')[0]


async def is_over(client: httpx2.AsyncClient) -> bool:
    """Return whether another question is refused for the pace."""
    response = await client.post("/chat", **question("c3", "last", "Is it over?"))
    return response.status_code == 429


async def test_a_user_begins_so_many_answers_in_a_minute(storage: PostgresStorage, model: Model, clock: Clock) -> None:
    """One more is refused with 429 and the seconds to wait; after these it begins. Each user is counted alone."""
    await storage.ensure_conversation({"id": "e1", "user_id": "eve"})
    async with asking(storage, model, 2) as client:
        await begin(client, **question("c1", "q1"))
        clock.now += 20.5
        await begin(client, **question("c1", "q2"))

        refused = await client.post("/chat", **question("c1", "q3"))
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "40")
        await begin(client, headers={"X-User": "eve"}, **question("e1", "q1"))
        clock.now += 39.5
        await begin(client, **question("c1", "q3"))
        assert await is_over(client)

    assert [each.text for each in await storage.get_messages("ada", "c1") if each.role == "user"] == ["Is it?"] * 3


async def test_a_question_that_is_refused_does_not_count(storage: PostgresStorage, model: Model) -> None:
    """What no answer begins for is not counted: a bad body, no conversation, a file, a conversation that is busy."""
    refused: list[tuple[int, dict[str, Any]]] = [
        (422, {"json": {"conversationId": "c2"}}),
        (422, question("c2", "q1", "")),
        (422, question("c2", "q1", model="another")),
        (422, question("c2", "q1", files=[{"url": "https://x.test/a", "mediaType": "text/plain"}])),
        (422, question("c2", "q1", files=[{"url": "https://x.test/a.png", "mediaType": "image/png"}])),
        (404, question("nowhere", "q1")),
        (404, question("c2", "q1", parentId="nowhere")),
        (404, {"json": {"conversationId": "c2", "messageId": "nowhere"}}),
        (409, question("c1", "q2")),
        (422, question("c1", "q1", "Another text")),
    ]
    async with asking(storage, model, 2) as client, asyncio.TaskGroup() as group:
        running = group.create_task(begin(client, **question("c1", "q1", "Please wait")))
        await model.waits.wait()
        for status, given in refused:
            assert (await client.post("/chat", **given)).status_code == status, given

        assert not await is_over(client)
        assert (await client.post("/chat", **question("c2", "q1"))).status_code == 429
        await client.post("/chat/c1/stop")
        await running


async def test_a_question_that_is_sent_again_counts_once(storage: PostgresStorage, model: Model) -> None:
    """It joins its answer, also for who has to wait for another one."""
    async with asking(storage, model, 1) as client:
        first = await begin(client, **question("c1", "q1"))
        assert await begin(client, **question("c1", "q1")) == first
        assert await is_over(client)


async def test_a_decision_counts_as_an_answer(storage: PostgresStorage, model: Model, clock: Clock) -> None:
    """An answer that goes on starts the model again: it counts, and waits if it is one too many."""

    async def decide(answer_id: str, call_id: str = "k1") -> int:
        decided = {"decisions": [{"callId": call_id, "isApproved": True}]}
        return (await client.post(f"/chat/c1/answers/{answer_id}/decisions", json=decided)).status_code

    async with asking(storage, model, 2) as client:
        first = await begin(client, **question("c1", "q1", "Please delete it"))
        assert [await decide(first, "k2"), await decide(first), await decide(first)] == [422, 200, 409]
        assert await is_over(client)

        clock.now += 60
        second = await begin(client, **question("c1", "q2", "Please delete it"))
        await begin(client, **question("c2", "q1"))
        assert await decide(second) == 429
        clock.now += 60
        assert await decide(second) == 200


async def test_use_chat_makes_no_conversation_for_what_has_to_wait(storage: PostgresStorage, model: Model) -> None:
    """A question of useChat is counted as one of the page; one too many leaves nothing."""
    asked = [{"id": "q1", "role": "user", "parts": [{"type": "text", "text": "Hello?"}]}]
    async with asking(storage, model, 1) as client:
        for id, status in (("team", 422), ("c1", 200), (LONG_ID, 429)):
            assert (await client.post("/ai/chat", json={"id": id, "messages": asked})).status_code == status
    assert await storage.get_conversation(LONG_ID) is None


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "10"])
async def test_a_pace_that_is_no_number_is_refused(storage: PostgresStorage, model: Model, most: Any) -> None:
    """Zero, a text or a fraction is refused when the chat is made."""
    with pytest.raises(InvalidOptionError, match="answers_per_minute"):
        chat.app(storage, answer=model.answer, user=who, answers_per_minute=most)
