"""What ui-messages gives, the AI SDK's own functions accept, whoever stored it: versions 5 to 7, in Node."""

from __future__ import annotations

from typing import Final, cast

import pytest
from pydantic import JsonValue

from tests.across.columns import CANNOT, WRITERS
from tests.across.said import CONVERSATIONS
from tests.across.test_matrix import ODD
from tests.across.writers import client
from tests.node import node
from voltmem import NativeMemory, PostgresStorage
from voltmem._values import JsonObject
from voltmem.parts._front_ends import ABANDONED


async def ui_messages(storage: PostgresStorage) -> JsonValue:
    async with client(storage) as http:
        return cast(JsonValue, (await http.get("/ui-messages")).json())


async def anew(storage: PostgresStorage) -> None:
    await storage.delete_conversation("c1")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})


@pytest.mark.parametrize("writer", WRITERS)
async def test_the_ai_sdk_accepts_what_every_writer_stores(storage: PostgresStorage, writer: str) -> None:
    """validateUIMessages() and convertToModelMessages() accept it, and no call goes to a model without its result."""
    given: dict[str, JsonValue] = {}
    for name, conversation in CONVERSATIONS.items():
        if name not in CANNOT.get(writer, ()):
            await anew(storage)
            await WRITERS[writer](storage, conversation)
            given[name] = await ui_messages(storage)

    assert await node("ui_messages.cjs", given) == {}


# Version 5 has no approvals: it takes a denied call for one that is still open.
UNKNOWN_TO_5: Final = {f"{name}, 5" for name in ODD if name.startswith("denied")}


async def test_the_ai_sdk_accepts_whatever_is_stored(storage: PostgresStorage) -> None:
    """The same for messages that say nothing, are broken, or wait for somebody, once the user has gone on."""
    given: dict[str, JsonValue] = {}
    for name, messages in ODD.items():
        await anew(storage)
        await storage.add_messages([*messages, {"role": "user", "content": "Go on."}], "ada", "c1")
        given[name] = await ui_messages(storage)

    await anew(storage)
    async with client(storage) as http:
        for role in ("system", "user", "assistant"):
            empty: JsonObject = {"id": role, "role": role, "parts": []}
            assert (await http.post("/ui-messages", json=empty)).status_code == 200
    given["no parts"] = await ui_messages(storage)

    refused = await node("ui_messages.cjs", given)
    assert refused.keys() == UNKNOWN_TO_5
    assert all("calls without a result" in reason for reason in refused.values())


OF_VERSION_4: Final[list[JsonObject]] = [
    {
        "id": "u1",
        "role": "user",
        "content": "Look.",
        "parts": [{"type": "text", "text": "Look."}],
        "experimental_attachments": [
            {"name": "c.png", "contentType": "image/png", "url": "data:image/png;base64,aGk="}
        ],
    },
    {
        "id": "a1",
        "role": "assistant",
        "content": "Rain.",
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "reasoning": "Hm.", "details": [{"type": "text", "text": "Hm."}]},
            {
                "type": "tool-invocation",
                "toolInvocation": {
                    **{"state": "result", "step": 0, "toolCallId": "k", "toolName": "weather"},
                    **{"args": {"city": "Oslo"}, "result": "rain"},
                },
            },
            {
                "type": "tool-invocation",
                "toolInvocation": {"state": "call", "toolCallId": "k2", "toolName": "weather", "args": {}},
            },
            {"type": "source", "source": {"sourceType": "url", "id": "s", "url": "https://a.example/", "title": "A"}},
            {"type": "file", "mimeType": "image/png", "data": "aGk="},
            {"type": "text", "text": "Rain."},
        ],
    },
    {"id": "u2", "role": "user", "content": "Go on.", "parts": [{"type": "text", "text": "Go on."}]},
]


async def test_to_ui_messages_gives_parts_of_version_4_as_version_5_has_them(storage: PostgresStorage) -> None:
    """What an old front end stored, versions 5 to 7 accept. It stays as it was stored, also if it is saved again."""
    await anew(storage)
    await storage.add_messages(OF_VERSION_4, "ada", "c1")
    memory = NativeMemory(storage, "ada", "c1")
    before = await memory.newest_messages()
    assert [each.payload for each in before] == [
        {name: value for name, value in each.items() if name != "id"} for each in OF_VERSION_4
    ]

    given = await ui_messages(storage)

    assert await node("ui_messages.cjs", {"version 4": given}) == {}
    assert isinstance(given, list)
    asked, answer = given[0], given[1]
    assert isinstance(asked, dict)
    assert isinstance(answer, dict)
    picture: JsonObject = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,aGk="}
    assert asked["parts"] == [{"type": "text", "text": "Look."}, {**picture, "filename": "c.png"}]
    call: JsonObject = {"type": "tool-weather", "toolCallId": "k", "input": {"city": "Oslo"}}
    abandoned: JsonObject = {"type": "tool-weather", "toolCallId": "k2", "input": {}}
    assert answer["parts"] == [
        {"type": "step-start"},
        {"type": "reasoning", "text": "Hm."},
        {**call, "state": "output-available", "output": "rain"},
        {**abandoned, "state": "output-error", "errorText": ABANDONED},
        {"type": "source-url", "sourceId": "s", "url": "https://a.example/", "title": "A"},
        picture,
        {"type": "text", "text": "Rain."},
    ]
    async with client(storage) as http:
        assert (await http.post("/ui-messages", json={"messages": given})).status_code == 200
    assert await memory.newest_messages() == before
