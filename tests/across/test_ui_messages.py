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
from voltmem import PostgresStorage
from voltmem._values import JsonObject


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
UNKNOWN_TO_5: Final = {"denied, 5", "denied, and not sent on, 5"}


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

    assert (await node("ui_messages.cjs", given)).keys() == UNKNOWN_TO_5
