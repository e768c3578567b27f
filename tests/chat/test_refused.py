"""What the chat's routes refuse: decisions that contradict each other, and ratings of what is no answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from voltmem import PostgresStorage, chat
from voltmem.chat import Context, Part, ToolCall


async def answer(context: Context) -> AsyncIterator[Part]:
    for decision in context.decisions:
        yield f"{decision.is_approved}"
    if not context.decisions:
        yield ToolCall("k1", "delete", needs_approval=True)


@pytest.fixture
async def asking(storage: PostgresStorage) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the chat, which has asked the question q1 in the conversation c1."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    app = chat.app(storage, answer=answer, user=lambda: "ada")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api") as client:
        await client.post("/chat", json={"conversationId": "c1", "messageId": "q1", "text": "Delete it."})
        yield client


async def test_a_call_is_decided_once(asking: httpx2.AsyncClient) -> None:
    """Two decisions about one call are refused, and the answer still waits."""
    (waiting,) = (await asking.get("/chat/c1/answers")).json()["items"]
    path = f"/chat/c1/answers/{waiting['id']}/decisions"
    twice = {"decisions": [{"callId": "k1", "isApproved": is_approved} for is_approved in (True, False)]}

    refused = await asking.post(path, json=twice)

    assert refused.status_code == 422
    assert "callId twice" in refused.text
    assert (await asking.post(path, json={"decisions": twice["decisions"][1:]})).status_code == 200


async def test_only_an_answer_is_rated(asking: httpx2.AsyncClient, storage: PostgresStorage) -> None:
    """A question, and a message that is not there, are not found when they are rated; an answer is."""
    answered = (await storage.get_messages("ada", "c1"))[-1]
    found = [
        (await asking.put(f"/chat/c1/answers/{id}/feedback", json={"type": "positive"})).status_code
        for id in ("q1", "none", answered.id)
    ]

    assert found == [404, 404, 204]
    assert [each.metadata for each in await storage.get_messages("ada", "c1")] == [
        {},
        {"feedback": {"type": "positive"}},
    ]
