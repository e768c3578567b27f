"""The routes for one message: reading it, feedback on it, and counting messages."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.across.said import CONVERSATIONS
from tests.across.writers import anthropic, chat_completions, gemini, response_items, ui_messages
from voltmem import PostgresStorage
from voltmem.parts import parts, to_openai

MESSAGES = "/conversations/c1/messages"
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


async def test_a_page_of_messages_says_what_each_message_says(
    storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """With uiMessages each message has its UIMessage: a call has its result, and the result's own message has none."""
    call = {"type": "tool-call", "toolCallId": "k1", "toolName": "look", "args": {}}
    messages: list[Any] = [
        {"id": "m2", "role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "I look."}]},
        {"id": "m3", "role": "assistant", "type": "tool-call", "content": [call]},
        {"id": "m4", "role": "tool", "content": "seen", "type": "tool-result", "metadata": {"toolCallId": "k1"}},
    ]
    await storage.add_messages(messages, "ada", "c1")

    plain = (await ada.get("/conversations/c1/messages")).json()["items"]
    page = (await ada.get("/conversations/c1/messages", params={"uiMessages": True, "before": "m4"})).json()
    items = (await ada.get("/conversations/c1/messages", params={"uiMessages": True})).json()["items"]

    assert all("uiMessage" not in each for each in plain)
    assert [{**each, "uiMessage": None} for each in plain] == [{**each, "uiMessage": None} for each in items]
    said = {each["id"]: each["uiMessage"] for each in items}
    assert said["m1"] == {
        "id": "m1",
        "role": "assistant",
        "metadata": {"tokens": 7},
        "parts": [{"type": "text", "text": "Time."}],
    }
    assert (said["m2"]["role"], [part["type"] for part in said["m2"]["parts"]]) == ("assistant", ["reasoning", "text"])
    assert [(part["state"], part["output"]) for part in said["m3"]["parts"]] == [("output-available", "seen")]
    assert said["m4"] is None
    assert page["items"][-1]["uiMessage"]["parts"][0]["state"] == "input-available"


# --- messages in forms of their own -------------------------------------------------------------------------------

CALL: dict[str, Any] = {"id": "k1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}
OF_ANTHROPIC = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": None}
FORMS: dict[str, dict[str, Any]] = {
    "Chat Completions": CALLED,
    "a result of Chat Completions": {"role": "tool", "tool_call_id": "k1", "content": "rain"},
    "Responses, a call": {"type": "function_call", "call_id": "k1", "name": "weather", "arguments": "{}"},
    "Responses, an item of fields that plain messages have": {"type": "item_reference", "id": "rs_1"},
    "Responses, a message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "rain", "annotations": []}],
    },
    "Anthropic": {**OF_ANTHROPIC, "content": [{"type": "text", "text": "rain"}]},
    "UIMessage": {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "rain"}]},
    "assistant-ui": {
        "id": "u1",
        "role": "assistant",
        "content": [{"type": "text", "text": "rain"}],
        "status": {"type": "complete", "reason": "stop"},
        "metadata": {"custom": {}},
        "createdAt": "2026-01-01T00:00:00Z",
    },
    "assistant-ui, with attachments": {
        "role": "user",
        "content": [],
        "attachments": [{"id": "f", "type": "file", "content": [{"type": "text", "text": "rain"}]}],
    },
    "Gemini": {"role": "model", "parts": [{"functionCall": {"id": "k1", "name": "weather", "args": {}}}]},
    "LangChain": {"type": "human", "data": {"content": "rain", "type": "human"}},
    "Pydantic AI": {"kind": "response", "parts": [{"part_kind": "text", "content": "rain"}]},
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_message_of_any_form_is_stored_as_by_add_message(
    form: str, ada: httpx2.AsyncClient, storage: PostgresStorage
) -> None:
    """POST of messages takes each form that add_message() takes, and stores the same."""
    given = FORMS[form]
    await storage.create_conversation({"id": "c2", "user_id": "ada"})
    expected = await storage.add_message(given, "ada", "c2")

    answer = await ada.post(MESSAGES, json=given)

    assert answer.status_code == 201, answer.json()
    (shown,) = answer.json()["items"]
    assert (shown["role"], shown["type"], shown["content"]) == (expected.role, expected.type, expected.content)
    own, there = [(await storage.get_messages("ada", id))[-1] for id in ("c1", "c2")]
    assert parts(own) == parts(there) == parts(given)
    assert to_openai([own]) == to_openai([there])


@pytest.mark.parametrize("form", [chat_completions, response_items, anthropic, gemini, ui_messages])
async def test_a_whole_conversation_of_a_form_is_stored(
    form: Any, ada: httpx2.AsyncClient, storage: PostgresStorage
) -> None:
    """POST of messages takes the lists that models and front ends have, plain messages among them."""
    for name, conversation in CONVERSATIONS.items():
        await storage.clear_messages("ada", "c1")
        given = list(form(conversation))

        answer = await ada.post(MESSAGES, json={"messages": given})

        assert answer.status_code == 201, (name, answer.json())
        assert len(answer.json()["items"]) == len(given)


async def test_a_message_of_a_form_has_an_id_of_ours(ada: httpx2.AsyncClient) -> None:
    """Its own id is the message's where the form has one; otherwise an Idempotency-Key stores it once."""
    named = (await ada.post(MESSAGES, json={**CALLED, "id": "mine", "metadata": {"n": 1}})).json()["items"][0]
    assert (named["id"], named["metadata"]) == ("mine", {"n": 1})

    item = FORMS["Responses, a message"]
    ids = set()
    for _ in range(2):
        answer = await ada.post(MESSAGES, json=item, headers={"Idempotency-Key": "k"})
        ids |= {each["id"] for each in answer.json()["items"]}
    assert len(ids) == 1
    assert ids.isdisjoint({"msg_1"})


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"role": "assistant", "tool_calls": "none"}, "/body/tool_calls"),
        ({"role": "assistant", "tool_calls": [7]}, "/body/tool_calls/0"),
        ({**CALLED, "id": ""}, "/body/id"),
        ({**CALLED, "metadata": [1]}, "/body/metadata"),
        ({**CALLED, "created_at": "2026-01-01T00:00:00Z"}, "/body"),
        ({"messages": [CALLED, {"role": "user", "parts": [{"type": ""}], "id": "u"}]}, "/body/messages/1/parts/0/type"),
        ({"role": "user", "unknown": 1}, "/body/content"),
        ({"role": "assistant", "content": "x", "tool_calls": None}, "/body/tool_calls"),
        ({"type": "human", "data": 7}, "/body/role"),
    ],
    ids=str,
)
async def test_a_malformed_message_of_a_form_is_refused(body: Any, pointer: str, ada: httpx2.AsyncClient) -> None:
    """A message that no form describes, or with an invalid field of ours, is 422 and says where; none is stored."""
    answer = await ada.post(MESSAGES, json=body)

    assert answer.status_code == 422
    assert pointer in [each["pointer"] for each in answer.json()["errors"]]
    assert len((await ada.get(MESSAGES)).json()["items"]) == 2
