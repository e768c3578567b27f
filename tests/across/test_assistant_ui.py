"""assistant-ui's own decoder accepts what the history gives, whoever stored it, and saving it changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

import pytest

from tests.across.columns import CANNOT, WRITERS
from tests.across.said import CONVERSATIONS
from tests.across.test_matrix import ODD
from tests.across.writers import client
from tests.node import NodeProgram, node_program
from voltmem import PostgresStorage

FORMAT: Final = "aui/v0"


@pytest.fixture(params=["newest", "before"])
async def assistant_ui(request: pytest.FixtureRequest) -> AsyncIterator[NodeProgram]:
    """assistant-ui's own decoder, of two versions."""
    packages = f"front_ends/{request.param}"
    async with node_program("front_ends/aui_messages.cjs", packages=packages) as program:
        yield program


async def anew(storage: PostgresStorage) -> None:
    await storage.delete_conversation("c1")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})


async def lines(storage: PostgresStorage) -> list[str]:
    return [line async for line in storage.export_user("ada")][1:]  # without the header, which has the time


async def check(storage: PostgresStorage, assistant_ui: NodeProgram, name: str) -> None:
    """Let assistant-ui load the conversation and store it."""
    before = await lines(storage)
    async with client(storage) as http:
        rows = (await http.get("/history", params={"format": FORMAT})).json()["messages"]
        answer = await assistant_ui.call("decode", rows)
        assert answer["refused"] == [], name
        for row in answer["stored"]:
            body = {"parent_id": row["parent_id"], "format": FORMAT, "content": row["content"]}
            path, json_body = f"/history/{quote(row['id'], safe='')}", json.dumps(body)  # a surrogate stays an escape
            answered = await http.put(path, content=json_body, headers={"Content-Type": "application/json"})
            assert answered.status_code == 200, (name, answered.text)
    assert await lines(storage) == before, name


@pytest.mark.parametrize("writer", WRITERS)
async def test_assistant_ui_accepts_what_every_writer_stores(
    storage: PostgresStorage, assistant_ui: NodeProgram, writer: str
) -> None:
    """Its decoder drops no part of any message, and storing what it has decoded changes no row."""
    for name, conversation in CONVERSATIONS.items():
        if name not in CANNOT.get(writer, ()):
            await anew(storage)
            await WRITERS[writer](storage, conversation)
            await check(storage, assistant_ui, name)


async def test_assistant_ui_accepts_whatever_is_stored(storage: PostgresStorage, assistant_ui: NodeProgram) -> None:
    """The same for messages that say nothing, are broken, or wait for somebody."""
    for name, messages in ODD.items():
        await anew(storage)
        await storage.add_messages(messages, "ada", "c1")
        await check(storage, assistant_ui, name)
