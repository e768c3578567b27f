"""The real VoltAgent, its memory and an agent of its core, on the same tables, while both write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue

from tests.node import NodeProgram, node_program
from tests.voltagent import RELEASES, load
from voltmem import PostgresStorage

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.conftest import Connection, MakeStorage

NEW: dict[str, JsonValue] = {"id": "c", "resourceId": "agent", "userId": "ada", "title": "Of VoltAgent", "metadata": {}}


def ui(id: str, said: str, role: str = "user") -> dict[str, JsonValue]:
    return {"id": id, "role": role, "parts": [{"type": "text", "text": said}]}


def voltagent_in(dsn: str, schema: str) -> AbstractAsyncContextManager[NodeProgram]:
    return node_program("voltagent.cjs", dsn, schema)


@pytest.fixture
async def voltagent(dsn: str, schema: str) -> AsyncIterator[NodeProgram]:
    """VoltAgent in the test's schema, which it has made, with an empty conversation "c" of ada's."""
    async with voltagent_in(dsn, schema) as program:
        await program.call("createConversation", NEW)
        yield program


async def read_by(voltagent: NodeProgram, user: str = "ada", conversation: str = "c") -> list[str]:
    """Return the texts that VoltAgent reads, in its order; of other parts their type."""
    return [
        " ".join(part.get("text", part["type"]) for part in message["parts"])
        for message in await voltagent.call("getMessages", user, conversation)
    ]


async def read_by_us(storage: PostgresStorage, user: str = "ada", conversation: str = "c") -> list[str]:
    return [message.text for message in await storage.get_messages(user, conversation, limit=None)]


@pytest.mark.parametrize("first", ["voltmem", "VoltAgent", *RELEASES])
async def test_both_write_and_read_whoever_came_first(
    first: str, make_storage: MakeStorage, connection: Connection, dsn: str, schema: str
) -> None:
    """On an empty database and on tables of each release, both write at once, and read all in the same order."""
    storage = make_storage()
    if first in RELEASES:
        await load(connection, first, schema)
        if first == "0.1.0":  # a schema that VoltAgent 2 itself cannot use
            await storage.open()
    if first == "voltmem":
        await storage.open()
    async with voltagent_in(dsn, schema) as voltagent:
        await voltagent.call("createConversation", NEW)
        await storage.add_message({"role": "user", "content": "42"}, "ada", "c")
        await voltagent.call("addMessage", ui("v1", "from VoltAgent"), "ada", "c")
        await storage.add_messages([{"role": "assistant", "content": f"[{each}]"} for each in range(5)], "ada", "c")
        await voltagent.call("addMessages", [ui("v2", "second"), ui("v3", "third", "assistant")], "ada", "c")
        await storage.conversation("ada", "made on write").add({"role": "user", "content": "hello"})

        ours = await read_by_us(storage)

        assert ours[:3] == ["42", "from VoltAgent", "[0]"]
        assert sorted(ours[-2:]) == ["second", "third"]
        assert (await read_by(voltagent))[:-2] == ours[:-2]
        assert await read_by(voltagent, "ada", "made on write") == ["hello"]
        listed = {each["id"] for each in await voltagent.call("getConversationsByUserId", "ada")}
        assert {"c", "made on write"} <= listed
        await voltagent.call("clearMessages", "ada", "c")
        assert await read_by_us(storage) == []


async def test_what_was_stored_before_voltagent_came_is_shown_to_it(
    make_storage: MakeStorage, connection: Connection, dsn: str, schema: str
) -> None:
    """What voltmem stored before VoltAgent came is shown to it, once a storage was opened."""
    storage = make_storage()
    await storage.create_conversation({"id": "c", "user_id": "ada"})
    await storage.add_messages([{"role": "developer", "content": "43"}, {"role": "user", "content": "42"}], "ada", "c")

    async with voltagent_in(dsn, schema) as voltagent:
        await voltagent.call("getConversation", "c")  # it has upgraded the tables
        await make_storage().open()

        assert await read_by(voltagent) == ["43", "42"]
        assert [message.role for message in await storage.get_messages("ada", "c")] == ["developer", "user"]


SAID: list[tuple[list[dict[str, Any]], list[Any]]] = [
    ([{"role": "assistant", "content": "fine"}], ["fine"]),
    ([{"role": "user", "content": "42"}], ["42"]),
    ([{"role": "user", "content": "[1]"}], ["[1]"]),
    ([{"role": "developer", "content": "be nice"}], ["be nice"]),
    ([{"role": "assistant", "content": {"answer": 7}}], ["7"]),
    ([{"role": "tool", "content": {"alone": True}}], []),
    (
        [
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "t", "type": "function", "function": {"name": "w", "arguments": '{"c": "Oslo"}'}}
                ],
                "content": "Let me see.",
            },
            {"role": "tool", "tool_call_id": "t", "content": "rain"},
        ],
        ["Let me see.", {"c": "Oslo"}, "rain"],
    ),
    (
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "w", "input": {"c": "Oslo"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "rain"}]},
        ],
        [{"c": "Oslo"}, "rain"],
    ),
    ([{"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "t", "toolName": "w", "args": {}}]}], []),
    ([{"role": "critic", "content": "too long"}], ["[critic]: too long"]),
]


@pytest.mark.parametrize(("messages", "shown"), SAID)
async def test_the_agents_next_turn_is_shown_what_we_stored(
    voltagent: NodeProgram, make_storage: MakeStorage, messages: list[dict[str, Any]], shown: list[Any]
) -> None:
    """After any message of ours, the agent of VoltAgent answers, and its model is shown what was said and called."""
    storage = make_storage()
    await voltagent.call("ask", "first question", "ada", "c")

    for message in messages:  # not as a batch: the results come later than their calls
        await storage.add_message(message, "ada", "c")
    answer = await voltagent.call("ask", "next question", "ada", "c")

    assert answer["text"] == "answer 2"
    told = list(leaves([content for _, content in answer["prompt"]]))
    assert [each for each in told if each in shown] == shown
    assert "next question" in (await read_by_us(storage))[-2:]


def leaves(value: JsonValue) -> list[Any]:
    """Return the texts of a prompt, the inputs of calls and the values of results, in order."""
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    if isinstance(value, dict):
        if "input" in value:
            return [value["input"]]
        inner = value.get("output", value.get("text", value.get("value", value.get("content"))))
        return leaves(inner)
    return [] if value is None else [value]


async def test_a_replacement_by_voltagent_is_shown_found_and_previewed(
    voltagent: NodeProgram, make_storage: MakeStorage
) -> None:
    """What VoltAgent stores under the id of our message is read, found and previewed instead of ours."""
    storage = make_storage(search=True)
    await storage.add_message({"id": "m", "role": "assistant", "content": "giraffe"}, "ada", "c")

    await voltagent.call("addMessage", ui("m", "lion", "assistant"), "ada", "c")
    await storage.index_messages()

    assert await read_by_us(storage) == ["lion"]
    assert (await storage.list_conversations("ada")).items[0].preview == "lion"
    assert (await storage.search("ada", "giraffe")).hits == []
    assert [hit.message_id for hit in (await storage.search("ada", "lion")).hits] == ["m"]
    await storage.add_message({"id": "m", "role": "assistant", "content": "tiger"}, "ada", "c")
    assert await read_by(voltagent) == ["tiger"]


async def test_each_user_reads_their_own_words(voltagent: NodeProgram, make_storage: MakeStorage) -> None:
    """Two users in one conversation: each reads their own messages, in VoltAgent and here."""
    storage = make_storage()
    await voltagent.call("addMessage", ui("b", "of bob"), "bob", "c")
    await voltagent.call("addMessage", ui("a", "of ada"), "ada", "c")
    await storage.add_message({"role": "assistant", "content": "for ada"}, "ada", "c")

    for user, said in (("ada", ["of ada", "for ada"]), ("bob", ["of bob"])):
        assert await read_by(voltagent, user) == await read_by_us(storage, user) == said


async def test_delete_user_deletes_what_voltagent_knows_of_a_user(
    voltagent: NodeProgram, make_storage: MakeStorage
) -> None:
    """Working memory, steps and workflows are in the export, and gone after delete_user()."""
    at = "2030-01-01T00:00:00.000Z"
    state: dict[str, JsonValue] = {"id": "w", "workflowId": "w", "workflowName": "w", "status": "completed"}
    step: dict[str, JsonValue] = {
        "id": "s",
        "conversationId": "c",
        "userId": "ada",
        "agentId": "a",
        "stepIndex": 0,
        "type": "text",
    }
    await voltagent.call("setWorkingMemory", {"userId": "ada", "content": "lives in Oslo", "scope": "user"})
    await voltagent.call("setWorkingMemory", {"conversationId": "c", "content": "plans", "scope": "conversation"})
    await voltagent.call("saveConversationSteps", [{**step, "type": "text", "role": "assistant", "content": "a step"}])
    await voltagent.call(
        "setWorkflowState", "w", {**state, "input": "for ada", "userId": "ada", "createdAt": at, "updatedAt": at}
    )
    storage = make_storage()

    exported = "".join([line async for line in storage.export_user("ada")])
    await storage.delete_user("ada")

    assert [each in exported for each in ("lives in Oslo", "plans", "a step", "for ada")] == [True] * 4
    assert await voltagent.call("getWorkingMemory", {"userId": "ada", "scope": "user"}) is None
    assert await voltagent.call("getConversation", "c") is None
    assert await voltagent.call("getConversationSteps", "ada", "c") == []
    assert await voltagent.call("getWorkflowState", "w") is None


async def test_a_deadlock_ends_on_our_side(voltagent: NodeProgram, make_storage: MakeStorage) -> None:
    """While both replace the same messages in opposite orders, VoltAgent never gets an error, and neither do we."""
    storage = make_storage()
    ids = [f"m{number}" for number in range(40)]

    async def write_ours() -> None:
        for _ in range(4):
            await storage.add_messages([{"id": id, "role": "user", "content": "ours"} for id in ids], "ada", "c")
            await storage.delete_messages(ids[10:20], "ada", "c")

    async def write_theirs() -> list[str | None]:
        messages: list[JsonValue] = [ui(id, "theirs") for id in reversed(ids)]
        calls: list[JsonValue] = [["addMessages", messages, "ada", "c"]] * 4
        return [error for _ in range(4) for error in await voltagent.call("together", calls[:1])]

    _, errors = await asyncio.gather(write_ours(), write_theirs())

    assert errors == [None] * 4
    assert {message.id for message in await storage.get_messages("ada", "c", limit=None)} <= set(ids)
