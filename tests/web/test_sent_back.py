"""A front end saves again what it has loaded: nothing that nobody edited in it changes."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx2
import pytest

from tests.web.test_frontends import get
from voltmem import NativeMemory, PostgresStorage
from voltmem._values import JsonObject
from voltmem.models import NativeMessage
from voltmem.parts._front_ends import ABANDONED
from voltmem.web._sent_back import is_copy

FORMATS: Final = ("ai-sdk/v6", "aui/v0")
JSON: Final = {"Content-Type": "application/json"}  # of json.dumps(), in which a lone surrogate stays an escape
CALL: Final[JsonObject] = {
    "id": "m2",
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "k", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}],
}
RESULT: Final[JsonObject] = {"id": "m3", "role": "tool", "tool_call_id": "k", "content": "RAIN-42"}


@pytest.fixture
async def conversation(storage: PostgresStorage) -> str:
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    item: JsonObject = {"type": "message", "id": "a", "role": "assistant", "status": "completed", "content": "A"}
    messages: list[Any] = [
        {"id": "q", "role": "user", "content": "Q"},
        NativeMessage(id="m1", role="assistant", content="A", format="openai-agents", payload=item),
    ]
    await storage.add_messages(messages, "ada", "c1")
    return "/conversations/c1"


async def stored(storage: PostgresStorage) -> list[NativeMessage]:
    return await NativeMemory(storage, "ada", "c1").newest_messages()


async def loaded(ada: httpx2.AsyncClient, conversation: str, format: str) -> dict[str, Any]:
    """Return the rows of the history by their ids."""
    rows = (await get(ada, f"{conversation}/history", format=format))["messages"]
    return {row["id"]: row for row in rows}


async def save(ada: httpx2.AsyncClient, conversation: str, row: dict[str, Any]) -> None:
    """Save a row as the front end of its format does."""
    if row["format"].startswith("ai-sdk/"):
        body = {"messages": [{"id": row["id"], **row["content"]}]}
        answer = await ada.post(f"{conversation}/ui-messages", content=json.dumps(body), headers=JSON)
    else:
        body = {name: value for name, value in row.items() if name != "id"}
        answer = await ada.put(f"{conversation}/history/{row['id']}", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 200, answer.text


def with_metadata(row: dict[str, Any], metadata: JsonObject) -> dict[str, Any]:
    given = {"custom": metadata} if row["format"] == "aui/v0" else metadata
    return {**row, "content": {**row["content"], "metadata": given}}


def edited(row: dict[str, Any]) -> dict[str, Any]:
    name = "content" if row["format"] == "aui/v0" else "parts"
    return {**row, "content": {**row["content"], name: [{"type": "text", "text": "Edited"}]}}


@pytest.mark.parametrize("format", FORMATS)
async def test_feedback_is_kept_when_the_front_end_saves_a_copy_from_before(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """What was merged into the metadata since, and the framework's form, stay; a second vote is not taken back."""
    for vote in ("positive", "negative"):
        row = (await loaded(ada, conversation, format))["m1"]
        await storage.merge_message_metadata({"feedback": {"type": vote}}, "ada", "c1", "m1")
        before = await stored(storage)

        await save(ada, conversation, row)

        assert await stored(storage) == before
        assert before[1].metadata == {"feedback": {"type": vote}}


@pytest.mark.parametrize("format", FORMATS)
async def test_metadata_of_the_front_end_is_added_to_a_frameworks_message(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """Fields that only the front end has are merged into the metadata; the framework's form stays."""
    await storage.merge_message_metadata({"feedback": 1}, "ada", "c1", "m1")
    before = await stored(storage)
    row = (await loaded(ada, conversation, format))["m1"]

    await save(ada, conversation, with_metadata(row, {"tokens": 7}))

    after = await stored(storage)
    assert after[1].metadata == {"feedback": 1, "tokens": 7}
    assert (after[1].format, after[1].payload) == (before[1].format, before[1].payload)


@pytest.mark.parametrize("format", FORMATS)
async def test_an_edited_message_keeps_the_metadata_that_the_front_end_does_not_send(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """The text is the front end's, and so are the metadata's fields that it sends."""
    row = (await loaded(ada, conversation, format))["m1"]
    await storage.merge_message_metadata({"feedback": 1, "tokens": 6}, "ada", "c1", "m1")

    await save(ada, conversation, with_metadata(edited(row), {"tokens": 7}))

    after = (await stored(storage))[1]
    assert (after.content, after.metadata) == ("Edited", {"feedback": 1, "tokens": 7})


@pytest.mark.parametrize("format", FORMATS)
async def test_a_message_of_the_front_end_has_the_metadata_that_it_changes(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """Its own message comes back with new metadata, and keeps the feedback that was merged."""
    row = with_metadata(edited((await loaded(ada, conversation, format))["m1"]), {"tokens": 7})
    await save(ada, conversation, row)
    await storage.merge_message_metadata({"feedback": 1}, "ada", "c1", "m1")

    await save(ada, conversation, row)
    assert (await stored(storage))[1].metadata == {"feedback": 1, "tokens": 7}
    await save(ada, conversation, with_metadata(row, {"tokens": 8}))

    assert (await stored(storage))[1].metadata == {"feedback": 1, "tokens": 8}
    shown = (await loaded(ada, conversation, format))["m1"]["content"]["metadata"]
    assert (shown["custom"] if format == "aui/v0" else shown)["tokens"] == 8


@pytest.mark.parametrize("format", FORMATS)
async def test_a_call_that_still_runs_in_the_front_end_is_an_old_copy(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """The result has arrived since: what the framework has stored stays. A call of something else is an edit."""
    await storage.add_message(CALL, "ada", "c1")
    row = (await loaded(ada, conversation, format))["m2"]
    await storage.add_message(RESULT, "ada", "c1")
    await storage.add_message({"role": "assistant", "content": "It rains."}, "ada", "c1")
    before = await stored(storage)

    await save(ada, conversation, row)
    assert await stored(storage) == before

    row["content"]["content" if format == "aui/v0" else "parts"][0]["toolName"] = "another"
    await save(ada, conversation, row)
    assert (await stored(storage))[2].format == ("aui/v0" if format == "aui/v0" else "ai-sdk/v7")


async def test_an_answer_to_an_abandoned_call_is_saved(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """A person's approval is an edit, also of a call that was passed over."""
    part = {"type": "tool-t", "toolCallId": "k", "input": {}, "state": "approval-requested", "approval": {"id": "x"}}
    asked: dict[str, Any] = {"id": "m2", "role": "assistant", "parts": [part]}
    later = {"id": "m3", "role": "user", "parts": [{"type": "text", "text": "Later."}]}
    await ada.post(f"{conversation}/ui-messages", json={"messages": [asked, later]})
    answered = {**part, "state": "approval-responded", "approval": {"id": "x", "approved": True}}

    await ada.post(f"{conversation}/ui-messages", json={**asked, "parts": [answered]})

    payload = (await stored(storage))[2].payload
    assert isinstance(payload, dict)
    assert payload["parts"] == [answered]


async def test_a_call_whose_id_was_used_before_has_its_own_in_ui_messages(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """useChat knows calls by their ids. Saved again, the whole list or its end, nothing changes."""
    for turn in range(3):
        for message in (CALL, RESULT):
            await storage.add_message({**message, "id": f"{message['id']}-{turn}"}, "ada", "c1")
    before = await stored(storage)
    messages = await get(ada, f"{conversation}/ui-messages")
    end = await get(ada, f"{conversation}/ui-messages", limit=2)  # where the id is used once

    await ada.post(f"{conversation}/ui-messages", json={"messages": messages})
    await ada.post(f"{conversation}/ui-messages", json={"messages": end, "rewind": True})

    calls = [part for message in messages for part in message["parts"] if "toolCallId" in part]
    assert [(part["toolCallId"], part["output"]) for part in calls] == [(id, "RAIN-42") for id in ("k", "k_2", "k_3")]
    assert end[0]["parts"][0]["toolCallId"] == "k"
    assert await stored(storage) == before


async def test_what_a_tab_has_not_seen_stays_when_it_saves_its_list(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """Two tabs go on from the same message, and an agent adds one: each is a branch, and a tab goes on with its own."""

    def said(id: str) -> JsonObject:
        return {"id": id, "role": "user", "parts": [{"type": "text", "text": id}]}

    async def save(*ids: str) -> None:
        messages = [(await get(ada, f"{conversation}/ui-messages"))[0], *map(said, ids)]
        await ada.post(f"{conversation}/ui-messages", json={"messages": messages, "rewind": True})

    await save("a1")
    await storage.add_message({"id": "job", "role": "assistant", "content": "Done."}, "ada", "c1")
    await save("b1")
    await save("a1", "a2")

    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["q", "a1", "a2"]
    points = [(point.parent_id, point.message_ids) for point in await storage.list_branches("c1")]
    assert points == [("q", ["m1", "a1", "b1"]), ("a1", ["job", "a2"])]


@pytest.mark.parametrize("format", FORMATS)
async def test_a_call_has_an_id_of_its_own_in_every_branch(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """A branch follows messages of the line, which may have used the id. Saved again, nothing changes."""
    await storage.add_messages([CALL, RESULT, {**CALL, "id": "m4"}, {**RESULT, "id": "m5"}], "ada", "c1")
    await storage.branch_conversation("c1", "m3")
    await storage.add_messages([{**CALL, "id": "m6"}, {**RESULT, "id": "m7"}], "ada", "c1")
    before = await stored(storage)

    rows = await loaded(ada, conversation, format)
    for row in rows.values():
        body = {name: value for name, value in row.items() if name != "id"}
        await ada.put(f"{conversation}/history/{row['id']}", json=body)

    name = "content" if format == "aui/v0" else "parts"
    ids = [part["toolCallId"] for row in rows.values() for part in row["content"][name] if "toolCallId" in part]
    assert len(set(ids)) == len(ids) == 3
    assert await stored(storage) == before


async def test_assistant_uis_own_messages_are_guarded_as_ui_messages_are(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """An id that is used again, a call that was passed over, and feedback since: shown, and no edit if saved again."""
    call: JsonObject = {"type": "tool-call", "toolCallId": "k", "toolName": "t", "args": {}, "argsText": "{}"}
    given: dict[str, JsonObject] = {"a1": {**call, "result": 1}, "a2": call, "a3": {"type": "text", "text": "Well."}}
    for id, part in given.items():
        content: JsonObject = {"role": "assistant", "content": [part], "metadata": {"custom": {}}}
        await save(ada, conversation, {"id": id, "format": "aui/v0", "content": content})
    await storage.merge_message_metadata({"feedback": 1}, "ada", "c1", "a3")
    before = await stored(storage)

    rows = await loaded(ada, conversation, "aui/v0")
    for row in rows.values():
        await save(ada, conversation, row)

    assert [rows[id]["content"]["content"][0] for id in ("a1", "a2")] == [
        {**call, "result": 1},
        {**call, "toolCallId": "k_2", "result": ABANDONED, "isError": True},
    ]
    assert rows["a3"]["content"]["metadata"] == {"custom": {"feedback": 1}}
    assert await stored(storage) == before


@pytest.mark.parametrize("format", FORMATS)
async def test_a_message_with_lone_surrogates_can_be_saved_again(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, format: str
) -> None:
    """Whatever string of a message has one, and whatever name: what is given is accepted, and changes nothing."""
    odd = "\ud800"
    call = {"id": f"k{odd}", "type": "function", "function": {"name": f"t{odd}", "arguments": "{}"}}
    data = {"type": f"data-{odd}", "data": {odd: odd}, odd: odd}
    attached = {"type": "file", "content": [{"type": "text", "text": odd, odd: odd}]}
    messages: list[Any] = [
        {"id": "s1", "role": "assistant", "content": odd, "tool_calls": [call]},
        {"id": "s2", "role": "tool", "tool_call_id": f"k{odd}", "content": odd},
        {"id": "s3", "role": "assistant", "parts": [data, {"type": "text", "text": odd}], odd: [odd]},
        {"id": "s4", "role": "user", "content": [{"type": "text", "text": odd}], "attachments": [attached], odd: 1},
    ]
    for message in messages:
        answer = await ada.post(f"{conversation}/messages", content=json.dumps(message), headers=JSON)
        assert answer.status_code == 201, answer.text
    before = await stored(storage)
    assert [each.payload for each in before][-2:] == [
        {name: value for name, value in each.items() if name != "id"} for each in messages[2:]
    ]

    for row in (await loaded(ada, conversation, format)).values():
        await save(ada, conversation, row)

    assert await stored(storage) == before


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("id", ["x" * 1000, "é" * 500])
async def test_a_message_with_the_longest_id_can_be_saved_again(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient, id: str, format: str
) -> None:
    """An id may have 1,000 bytes in the storage, so it may in what a front end sends; a longer one is refused."""
    await storage.add_message({"id": id, "role": "user", "content": "Q"}, "ada", "c1")
    before = await stored(storage)

    await save(ada, conversation, (await loaded(ada, conversation, format))[id])

    assert await stored(storage) == before
    for refused in (f"{id}x", ".", ".."):  # the latter disappear from the address of the message
        message: JsonObject = {"id": refused, "role": "user", "parts": [{"type": "text", "text": "Q"}]}
        for path in ("ui-messages", "messages"):
            assert (await ada.post(f"{conversation}/{path}", json={"messages": [message]})).status_code == 422


async def test_a_message_without_parts_is_given_so_that_the_ai_sdk_accepts_it(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """A user's has an empty text. Both what was stored and what is shown come back as the same message."""
    empty: list[Any] = [{"id": role, "role": role, "parts": []} for role in ("user", "assistant")]
    await ada.post(f"{conversation}/ui-messages", json={"messages": empty})
    before = await stored(storage)
    messages = (await get(ada, f"{conversation}/ui-messages"))[2:]

    for given in (messages, empty):
        await ada.post(f"{conversation}/ui-messages", json={"messages": given})

    assert messages == [{**empty[0], "parts": [{"type": "text", "text": ""}]}, empty[1]]
    assert await stored(storage) == before


@pytest.mark.parametrize(
    ("given", "known", "same"),
    [("k", "k_2", True), ("k_2", "k_2_3", True), ("k_a", "k_b", False), ("k2", "k3", False), ("a_1", "b_1", False)],
)
def test_ids_that_differ_by_their_use_are_one(given: str, known: str, same: bool) -> None:
    """A call's id that is used again has a number at its end, which depends on the list that it is in."""
    parts: list[JsonObject] = [
        {"type": "tool-x", "toolCallId": id, "state": "input-available", "input": {}} for id in (given, known)
    ]

    assert is_copy({"parts": [parts[0]]}, {"parts": [parts[1]]}) is same


def test_an_id_of_a_stranger_is_compared_in_one_pass() -> None:
    """With an id of half a million numbers, an expression that tries each beginning would not end."""
    long = "k" + "_1" * 500_000
    parts: list[JsonObject] = [
        {"type": "tool-x", "toolCallId": id, "state": "input-available", "input": {}} for id in (long + "x", long)
    ]

    assert not is_copy({"parts": [parts[0]]}, {"parts": [parts[1]]})
