"""A conversation that one framework began is read and continued by every other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any, Final

import pytest
from agents import TResponseInputItem
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

import voltmem.sync
from tests.said import tool_calls, tool_results
from voltmem import InvalidOptionError, PostgresStorage, web
from voltmem._agents.native import NativeMemory
from voltmem.adapters.langchain import VoltMemChatMessageHistory, VoltMemMiddleware
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, load_history, save_history

Turn = list[tuple[str, str]]
"""The messages, calls and results in order: ("user", …), ("call", …), ("result", …), ("assistant", …)."""

QUESTION, CALL, RESULT, ANSWER = "A coat?", "weather", "rain", "Take one."
TURN: Final = [("user", QUESTION), ("call", CALL), ("result", RESULT), ("assistant", ANSWER)]


# --- each framework's own form --------------------------------------------------------------------------------------


async def write_plain(storage: PostgresStorage) -> None:
    call = {"type": "tool-call", "toolCallId": "k1", "toolName": CALL, "args": {"city": "Oslo"}}
    result = {"type": "tool-result", "toolCallId": "k1", "toolName": CALL, "result": RESULT}
    await storage.conversation("ada", "c1").add_turn(
        [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "type": "tool-call", "content": [call]},
            {"role": "tool", "type": "tool-result", "content": [result]},
            {"role": "assistant", "content": ANSWER},
        ]
    )


async def write_openai(storage: PostgresStorage) -> None:
    items: list[TResponseInputItem] = [
        {"role": "user", "content": QUESTION},
        {"type": "function_call", "call_id": "k1", "name": CALL, "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "k1", "output": RESULT},
        {"role": "assistant", "content": ANSWER},
    ]
    await VoltMemSession("c1", storage, user_id="ada").add_items(items)


async def write_pydantic_ai(storage: PostgresStorage) -> None:
    await save_history(
        storage.conversation("ada", "c1"),
        [
            ModelRequest([UserPromptPart(QUESTION)]),
            ModelResponse([ToolCallPart(CALL, {"city": "Oslo"}, tool_call_id="k1")]),
            ModelRequest([ToolReturnPart(CALL, RESULT, tool_call_id="k1")]),
            ModelResponse([TextPart(ANSWER)]),
        ],
    )


async def write_langchain(storage: PostgresStorage) -> None:
    await VoltMemChatMessageHistory(storage, "ada", "c1").aadd_messages(
        [
            HumanMessage(QUESTION),
            AIMessage("", tool_calls=[{"id": "k1", "name": CALL, "args": {"city": "Oslo"}}]),
            ToolMessage(RESULT, tool_call_id="k1", name=CALL),
            AIMessage(ANSWER),
        ]
    )


async def read_plain(storage: PostgresStorage) -> Turn:
    turn: Turn = []
    for message in await storage.conversation("ada", "c1").messages():
        calls, results = tool_calls(message), tool_results(message)
        turn += [("call", call.name) for call in calls] + [("result", str(result.value)) for result in results]
        turn += [] if calls or results else [(message.role, message.text)]
    return turn


async def read_openai(storage: PostgresStorage) -> Turn:
    turn: Turn = []
    for item in await VoltMemSession("c1", storage, user_id="ada").get_items():
        each = dict(item)
        if each.get("type") == "function_call":
            turn.append(("call", str(each["name"])))
        elif each.get("type") == "function_call_output":
            turn.append(("result", str(each["output"])))
        else:
            turn.append((str(each["role"]), str(each["content"])))
    return turn


async def read_pydantic_ai(storage: PostgresStorage) -> Turn:
    turn: Turn = []
    for message in await load_history(storage.conversation("ada", "c1")):
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                turn.append(("user", str(part.content)))
            elif isinstance(part, ToolCallPart):
                turn.append(("call", part.tool_name))
            elif isinstance(part, ToolReturnPart):
                turn.append(("result", str(part.content)))
            elif isinstance(part, TextPart):
                turn.append(("assistant", part.content))
    return turn


async def read_langchain(storage: PostgresStorage) -> Turn:
    return [
        entry
        for message in await VoltMemChatMessageHistory(storage, "ada", "c1").aget_messages()
        for entry in of(message)
    ]


def of(message: BaseMessage) -> Turn:
    if isinstance(message, AIMessage) and message.tool_calls:
        return [("call", call["name"]) for call in message.tool_calls]
    kind = {"human": "user", "ai": "assistant", "tool": "result"}[message.type]
    return [(kind, str(message.content))]


WRITERS: dict[str, Callable[[PostgresStorage], Awaitable[None]]] = {
    "plain": write_plain,
    "openai_agents": write_openai,
    "pydantic_ai": write_pydantic_ai,
    "langchain": write_langchain,
}
READERS: dict[str, Callable[[PostgresStorage], Awaitable[Turn]]] = {
    "plain": read_plain,
    "openai_agents": read_openai,
    "pydantic_ai": read_pydantic_ai,
    "langchain": read_langchain,
}


# --- every other framework ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
async def test_every_framework_reads_what_another_stores(writer: str, reader: str, storage: PostgresStorage) -> None:
    """Every framework reads the same texts, calls and results in the same order."""
    await WRITERS[writer](storage)

    assert await READERS[reader](storage) == TURN


async def test_frameworks_take_turns_in_one_conversation(storage: PostgresStorage) -> None:
    """Each framework continues after the others, and all of them read all messages."""
    for writer in WRITERS.values():
        await writer(storage)

    for reader in READERS.values():
        assert await reader(storage) == TURN * len(WRITERS)


@pytest.mark.parametrize(("writer", "limit"), [*product(WRITERS, range(1, 5))])
async def test_no_window_has_half_a_tool_turn(writer: str, limit: int, storage: PostgresStorage) -> None:
    """Whichever framework stored a call, no window has its result without it."""
    await WRITERS[writer](storage)

    window = await NativeMemory(storage, "ada", "c1").native_messages(limit=limit)

    called = {call.id for message in window for call in tool_calls(message)}
    answered = {result.call_id for message in window for result in tool_results(message)}
    assert called == answered
    assert len(window) == {1: 1, 2: 1, 3: 3, 4: 4}[limit]


# --- a wrong storage ------------------------------------------------------------------------------------------------

ASYNCHRONOUS_ONLY: Final[dict[str, Callable[[Any], object]]] = {
    "VoltMemSession": lambda storage: VoltMemSession("c1", storage, user_id="ada"),
    "VoltMemConversationStore": lambda storage: VoltMemConversationStore(storage, user_id="ada"),
    "NativeMemory": lambda storage: NativeMemory(storage, "ada", "c1"),
    "web.router": lambda storage: web.router(storage, user=lambda: "ada"),
    "web.app": lambda storage: web.app(storage, user=lambda _: "ada"),
}
EITHER: Final[dict[str, Callable[[Any], object]]] = {
    "VoltMemMiddleware": lambda storage: VoltMemMiddleware(storage, user_id="ada"),
    "VoltMemChatMessageHistory": lambda storage: VoltMemChatMessageHistory(storage, "ada", "c1"),
}


@pytest.mark.parametrize("name", ASYNCHRONOUS_ONLY | EITHER)
@pytest.mark.parametrize("given", ["view", "None", "string", "blocking"])
def test_a_wrong_storage_is_refused_when_it_is_given(name: str, given: str) -> None:
    """Each constructor refuses what is no storage for it; the error names its class, and the class to use."""
    asynchronous, blocking = PostgresStorage("postgresql://h/db"), voltmem.sync.PostgresStorage("postgresql://h/db")
    wrong: object = {
        "view": asynchronous.for_user("ada"),
        "None": None,
        "string": "postgresql://u:secret@h/db",
        "blocking": blocking.for_user("ada") if name in EITHER else blocking,
    }[given]
    cls = type(wrong)
    needed = "a voltmem.PostgresStorage" + (" or a voltmem.sync.PostgresStorage" if name in EITHER else "")
    package = {"view": "voltmem", "blocking": "voltmem.sync"}.get(given, "builtins")

    with pytest.raises(InvalidOptionError) as raised:
        (ASYNCHRONOUS_ONLY | EITHER)[name](wrong)

    assert "secret" not in str(raised.value)
    text = str(raised.value)
    assert text.startswith(f"storage must be {needed}, not ")
    assert text.endswith(f" a {package}.{cls.__name__}")


def test_a_wrong_dependency_for_the_user_is_refused() -> None:
    """web.router() and web.app() refuse a user that is not callable, instead of answering every request with 500."""
    for make in (web.router, web.app):
        with pytest.raises(InvalidOptionError, match=r"user must be a function that returns .* not None"):
            make(PostgresStorage("postgresql://h/db"), user=None)  # type: ignore[arg-type]
