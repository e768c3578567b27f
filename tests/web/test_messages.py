"""The routes for one message: reading it, feedback on it, and counting messages."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from voltmem import PostgresStorage

M1 = "/conversations/c1/messages/m1"


@pytest.fixture(autouse=True)
async def conversation(storage: PostgresStorage) -> None:
    """Ada's conversation c1, with a question and its answer m1."""
    mine = storage.for_user("ada")
    await mine.create_conversation({"id": "c1", "title": "Bread", "metadata": {"model": "fast"}})
    await mine.add_message({"id": "m0", "role": "user", "content": "Why won't it rise?"}, "c1")
    await mine.add_message({"id": "m1", "role": "assistant", "content": "Time.", "metadata": {"tokens": 7}}, "c1")


async def test_a_message_is_read_by_its_id(ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient) -> None:
    """GET of a message returns it as the list does; a missing one is 404, and another user's conversation, too."""
    listed = (await ada.get("/conversations/c1/messages")).json()["items"]

    assert (await ada.get(M1)).json() == listed[1]
    for client, path in ((ada, "/conversations/c1/messages/m9"), (ada, "/conversations/c9/messages/m1"), (mallory, M1)):
        missing = await client.get(path)
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


async def test_feedback_is_merged_into_the_metadata(
    storage: PostgresStorage, ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient
) -> None:
    """PATCH of a message merges metadata; the message and the conversation's place stay as they are."""
    before = await storage.get_conversation_item("c1")

    liked = await ada.patch(M1, json={"mergeMetadata": {"feedback": {"type": "positive"}}})
    commented = await ada.patch(M1, json={"mergeMetadata": {"feedback": {"comment": "Short"}}})

    assert liked.json()["metadata"] == {"tokens": 7, "feedback": {"type": "positive"}}
    assert commented.json() == (await ada.get(M1)).json()
    assert commented.json()["metadata"] == {"tokens": 7, "feedback": {"type": "positive", "comment": "Short"}}
    withdrawn = await ada.patch(M1, json={"mergeMetadata": {"feedback": None}})
    assert withdrawn.json()["metadata"] == {"tokens": 7}
    assert await storage.get_conversation_item("c1") == before
    assert (await mallory.patch(M1, json={"mergeMetadata": {"tokens": 0}})).status_code == 404
    assert (await ada.patch("/conversations/c1/messages/m9", json={"mergeMetadata": {}})).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"mergeMetadata": None}, {"mergeMetadata": []}, {"mergeMetadata": {"a": "\x00"}}, {"content": "Hi"}],
    ids=str,
)
async def test_an_invalid_change_of_a_message_is_refused(body: Any, ada: httpx2.AsyncClient) -> None:
    """A change that is no patch of metadata is 422, and changes nothing."""
    assert (await ada.patch(M1, json=body)).status_code == 422
    assert (await ada.get(M1)).json()["metadata"] == {"tokens": 7}


async def test_a_conversations_metadata_is_merged_or_replaced(ada: httpx2.AsyncClient) -> None:
    """PATCH of a conversation merges mergeMetadata, replaces metadata, and takes one of them."""
    merged = await ada.patch("/conversations/c1", json={"mergeMetadata": {"draft": "No"}, "title": "Dough"})
    assert (merged.json()["metadata"], merged.json()["title"]) == ({"model": "fast", "draft": "No"}, "Dough")

    both = await ada.patch("/conversations/c1", json={"mergeMetadata": {"a": 1}, "metadata": {"b": 2}})
    assert both.status_code == 422
    assert (await ada.patch("/conversations/c1", json={"metadata": {"b": 2}})).json()["metadata"] == {"b": 2}


async def test_messages_are_counted(ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient) -> None:
    """The count has all messages, or those of the given roles and types; it is 404 without the conversation."""
    await ada.post("/conversations/c1/messages", json={"role": "tool", "content": [], "type": "tool-result"})

    async def count(**query: Any) -> int:
        return int((await ada.get("/conversations/c1/count", params=query)).json()["count"])

    assert await count() == 3
    assert await count(role="user") == 1
    assert await count(role=["user", "assistant"], type="text") == 2
    assert await count(type="other") == 0
    assert (await mallory.get("/conversations/c1/count")).status_code == 404
