"""Frameworks that know functions only are told calls that any provider accepts, whoever stored them."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeAlias

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages import ToolCall as LangChainCall
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from tests.across.readers import NEXT, pydantic_ai_agent
from tests.across.writers import AgnoModel
from tests.adapters.agno.agno_3.sessions import agent as agno_agent
from tests.adapters.langchain.scripted import C1, scripted, user_input
from tests.adapters.langchain.scripted import agent as langchain_agent
from voltmem import PostgresStorage
from voltmem._values import JsonObject
from voltmem.adapters.agno import VoltMemDb
from voltmem.adapters.langchain import to_langchain, to_native
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.adapters.pydantic_ai import load_history
from voltmem.models import NativeMessage

Told: TypeAlias = tuple[str, object]
"""("user" or "assistant", a text), ("calls", [(id, name, arguments), …]) or ("result", the id of the call)."""

LEGAL: Final = re.compile("[a-zA-Z0-9_-]{1,40}")


async def pydantic_ai(storage: PostgresStorage) -> list[Told]:
    requests: list[list[ModelMessage]] = []
    history = await load_history(storage.conversation("ada", "c1"))
    await pydantic_ai_agent(requests).run(NEXT, message_history=history)
    return [told for message in requests[-1] for told in of_pydantic_ai(message)]


def of_pydantic_ai(message: ModelMessage) -> Iterator[Told]:
    if isinstance(message, ModelRequest):
        yield from (("result", part.tool_call_id) for part in message.parts if isinstance(part, ToolReturnPart))
        yield from (("user", part.content) for part in message.parts if isinstance(part, UserPromptPart))
        return
    assert isinstance(message, ModelResponse)
    assert message.parts
    yield from (("assistant", part.content) for part in message.parts if isinstance(part, TextPart))
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    if calls:
        yield "calls", [(call.tool_call_id, call.tool_name, call.args_as_dict()) for call in calls]


async def langchain(storage: PostgresStorage) -> list[Told]:
    model = scripted("ok")
    await langchain_agent(model, storage).ainvoke(user_input(NEXT), C1)
    return [told for message in model.requests[-1] for told in of_langchain(message)]


def of_langchain(message: Any) -> Iterator[Told]:
    if message.type == "tool":
        yield "result", message.tool_call_id
        return
    calls = getattr(message, "tool_calls", [])
    assert message.content or calls
    if message.content:
        yield {"human": "user", "ai": "assistant"}[message.type], message.content
    if calls:
        yield "calls", [(call["id"], call["name"], call["args"]) for call in calls]


async def agno(storage: PostgresStorage) -> list[Told]:
    model = AgnoModel()
    await agno_agent(VoltMemDb(storage), model, session_id="c1").arun(NEXT)
    return [told for message in model.last if message.role != "system" for told in of_agno(message)]


def of_agno(message: Any) -> Iterator[Told]:
    if message.role == "tool":
        yield "result", message.tool_call_id
        return
    assert message.content or message.tool_calls
    if message.content:
        yield message.role, message.content
    if message.tool_calls:
        functions = [(call["id"], call["function"]) for call in message.tool_calls]
        yield "calls", [(id, called["name"], json.loads(called["arguments"])) for id, called in functions]


FRAMEWORKS: Final[dict[str, Callable[[PostgresStorage], Awaitable[list[Told]]]]] = {
    "Pydantic AI": pydantic_ai,
    "LangChain": langchain,
    "Agno": agno,
}


def call(id: str, **more: Any) -> JsonObject:
    """Return a call as an item of the Responses API."""
    return {"type": "function_call", "call_id": id, "name": "weather", "arguments": '{"city": "Oslo"}', **more}


def output(id: str) -> JsonObject:
    """Return its result."""
    return {"type": "function_call_output", "call_id": id, "output": "rain"}


def weather(*ids: str) -> Told:
    """Return the calls as a model is told them."""
    return "calls", [(id, "weather", {"city": "Oslo"}) for id in ids]


ASKED: Final[JsonObject] = {"role": "user", "content": "Rain?"}
MORE: Final[JsonObject] = {"role": "user", "content": "Well?"}
SAID: Final[JsonObject] = {"role": "assistant", "content": "Yes."}
RESULTS: Final[list[Told]] = [("result", "a"), ("result", "b")]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([call("a"), call("b"), output("a"), output("b")], [weather("a", "b"), *RESULTS]),
        ([call("a"), call("b"), output("b"), output("a")], [weather("a", "b"), *RESULTS]),
        ([call("a"), output("a"), call("b"), output("b")], [weather("a"), RESULTS[0], weather("b"), RESULTS[1]]),
        ([call("a"), SAID, call("b"), output("a"), output("b")],
         [weather("a", "b"), *RESULTS, ("assistant", "Yes.")]),
        ([SAID, call("a"), call("b"), output("a"), output("b")],
         [("assistant", "Yes."), weather("a", "b"), *RESULTS]),
        ([call("a"), call("b"), output("a"), MORE, output("b")], [weather("a", "b"), *RESULTS, ("user", "Well?")]),
        ([call("a"), MORE, output("a")], [weather("a"), RESULTS[0], ("user", "Well?")]),
    ],
)  # fmt: skip
async def test_calls_of_one_answer_are_told_at_once_and_answered_at_once(
    storage: PostgresStorage, framework: str, stored: list[JsonObject], expected: list[Told]
) -> None:
    """Calls that are rows of their own become one message, and their results follow it in the calls' order."""
    session = VoltMemSession("c1", storage, user_id="ada")
    items: list[Any] = [ASKED, *stored, SAID]
    await session.add_items(items)

    found = await FRAMEWORKS[framework](storage)

    assert found == [("user", "Rain?"), *expected, ("assistant", "Yes."), ("user", NEXT)]


CUSTOM: Final[list[JsonObject]] = [
    {"type": "custom_tool_call", "call_id": "a", "name": "weather", "input": "Oslo, please"},
    {"type": "custom_tool_call_output", "call_id": "a", "output": "rain"},
]
NO_ID: Final[list[JsonObject]] = [
    {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "rain"}}}]},
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("stored", "name", "arguments"),
    [
        (CUSTOM, "weather", {"arguments": "Oslo, please"}),
        (NO_ID, "weather", {"city": "Oslo"}),
        ([call("functions.weather:0"), output("functions.weather:0")], "weather", {"city": "Oslo"}),
        ([call("x" * 65), output("x" * 65)], "weather", {"city": "Oslo"}),
        ([call("a", name="sky.weather now"), output("a")], "sky_weather_now", {"city": "Oslo"}),
        ([call("a", arguments='{"city'), output("a")], "weather", {"arguments": '{"city'}),
        ([call("a", arguments="[1]"), output("a")], "weather", {"arguments": [1]}),
    ],
)
async def test_a_call_of_another_writer_is_one_that_every_provider_accepts(
    storage: PostgresStorage, framework: str, stored: list[JsonObject], name: str, arguments: object
) -> None:
    """A call's id and name are legal everywhere, and its arguments are an object."""
    await storage.conversation("ada", "c1").add_turn([ASKED, *stored, SAID])

    found = await FRAMEWORKS[framework](storage)

    (called,) = [told[1] for told in found if told[0] == "calls"]
    assert isinstance(called, list)
    ((id, *rest),) = called
    assert rest == [name, arguments]
    assert LEGAL.fullmatch(id)
    assert ("result", id) in found


SILENT: Final[list[JsonObject]] = [
    {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []},
    {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "weather", "arguments": "{}"},
    {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "abc"},
    {"role": "assistant", "content": ""},
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_message_that_says_nothing_is_left_out_for_frameworks(storage: PostgresStorage, framework: str) -> None:
    """What only its provider reads becomes no message without content."""
    await storage.conversation("ada", "c1").add_turn([ASKED, *SILENT, SAID])

    found = await FRAMEWORKS[framework](storage)

    assert found == [("user", "Rain?"), ("assistant", "Yes."), ("user", NEXT)]


def test_what_langchain_stored_itself_comes_back_as_its_own() -> None:
    """LangChain's message with its calls is unchanged; a result that another writer stored late follows it at once."""
    calls = [LangChainCall(id=id, name="sky.weather", args={}) for id in ("k:1", "k:2")]
    rows: list[dict[str, Any]] = [
        {"id": "m2", "role": "user", "content": "Well?"},
        {"id": "m3", "role": "tool", "content": "rain", "metadata": {"tool_call_id": "k:2"}},
        {"id": "m4", "role": "tool", "content": "snow", "metadata": {"tool_call_id": "k:1"}},
    ]

    found = to_langchain([to_native(AIMessage("", id="m1", tool_calls=calls)), *map(NativeMessage.of, rows)])

    assert [told for message in found for told in of_langchain(message)] == [
        ("calls", [("k:1", "sky.weather", {}), ("k:2", "sky.weather", {})]),
        ("result", "k:1"),
        ("result", "k:2"),
        ("user", "Well?"),
    ]
    assert len({message.id for message in found}) == len(found)


def test_a_call_of_another_writer_keeps_the_id_that_langchains_result_has() -> None:
    """A call that LangChain's own message answers keeps its id, since that message comes back as it was."""
    called = NativeMessage.of(
        {
            "id": "m1",
            "role": "assistant",
            "type": "tool-call",
            "content": [{"type": "tool-call", "toolCallId": "k:1", "toolName": "t", "args": {}}],
        }
    )

    found = to_langchain([called, to_native(ToolMessage("rain", id="m2", tool_call_id="k:1"))])

    assert [told for message in found for told in of_langchain(message)] == [
        ("calls", [("k:1", "t", {})]),
        ("result", "k:1"),
    ]
