"""What each framework's model is shown of a stored conversation when its own agent runs the next turn."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from agents import Runner
from agents.testing import ScriptedModel, assistant_message
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from pydantic_ai import Agent
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.across.said import Fact, result_of
from tests.across.writers import AgnoModel, client
from tests.adapters.agno.agno_3.sessions import agent as agno_agent
from tests.adapters.langchain.scripted import C1, assert_valid, scripted, user_input
from tests.adapters.langchain.scripted import agent as langchain_agent
from tests.adapters.openai_agents.runs import CONFIG
from tests.adapters.openai_agents.runs import agent as openai_agent
from voltmem import Message, PostgresStorage
from voltmem.adapters.agno import VoltMemDb
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, load_history
from voltmem.parts import Text, ToolCall, ToolResult, parts, to_anthropic, to_openai, to_responses

Shown: TypeAlias = tuple[list[Fact], str]
"""The facts in order, and all that was shown, as text."""
Read: TypeAlias = Callable[[PostgresStorage], Awaitable[Shown]]

NEXT: Final = "And now?"
ABANDONED: Final = "The call was abandoned: it has no result."


def shown(found: Iterable[Fact], everything: object) -> Shown:
    facts = [fact for fact in found if fact != ("user", NEXT)]
    return facts, str(everything)


def city(arguments: Any) -> str:
    """Return the city of a call's arguments, or the arguments of a call that has none."""
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        given = arguments
    return str(given["city"]) if isinstance(given, dict) and "city" in given else str(given)


def said(speaker: str, content: Any) -> list[Fact]:
    """Return the texts of a content: a string, or a list of blocks."""
    blocks = [content] if isinstance(content, str) else content or []
    texts = [block if isinstance(block, str) else block.get("text") for block in blocks]
    return [(speaker, text) for text in texts if text]


# --- frameworks ---------------------------------------------------------------------------------------------------


async def history(storage: PostgresStorage) -> list[Message]:
    """Return the history as an own loop reads it."""
    memory = storage.conversation("ada", "c1")
    return await memory.with_files(await memory.messages())


async def read_memory(storage: PostgresStorage) -> Shown:
    found: list[Fact] = []
    messages = await history(storage)
    for message in messages:
        for part in parts(message):
            if isinstance(part, Text):
                found.append((message.role.replace("model", "assistant"), part.text))
            elif isinstance(part, ToolCall):
                found.append(("call", part.name, city(part.arguments)))
            elif isinstance(part, ToolResult):
                found.append(("result", result_of(part.value)))
    return shown(found, [parts(message) for message in messages])


async def read_openai_agents(storage: PostgresStorage) -> Shown:
    model = ScriptedModel([[assistant_message("ok")]])
    session = VoltMemSession("c1", storage, user_id="ada")
    await Runner.run(openai_agent(model), NEXT, session=session, run_config=CONFIG)
    items: list[Any] = list(model.calls[-1].input)
    return shown(of_items(items), items)


def of_items(items: Sequence[Any]) -> Iterator[Fact]:
    for item in items:
        match item.get("type", "message"):
            case "function_call":
                yield "call", item["name"], city(item["arguments"])
            case "function_call_output":
                yield "result", result_of(item["output"])
            case "message":
                yield from said(item["role"], item["content"])
            case kind:
                assert kind == "reasoning"


async def read_pydantic_ai_store(storage: PostgresStorage) -> Shown:
    requests: list[list[ModelMessage]] = []
    store = VoltMemConversationStore(storage, user_id="ada")
    await store.save(await pydantic_ai_agent(requests).run(NEXT, conversation=await store.load("c1")))
    return shown(of_model_messages(requests[-1]), with_bytes(requests[-1]))


async def read_pydantic_ai_history(storage: PostgresStorage) -> Shown:
    requests: list[list[ModelMessage]] = []
    history = await load_history(storage.conversation("ada", "c1"))
    await pydantic_ai_agent(requests).run(NEXT, message_history=history)
    return shown(of_model_messages(requests[-1]), with_bytes(requests[-1]))


def with_bytes(messages: Sequence[ModelMessage]) -> str:
    """Return all that messages hold, with the bytes of files as base64."""
    files = [
        each.base64
        for message in messages
        for part in message.parts
        if isinstance(part, UserPromptPart) and not isinstance(part.content, str)
        for each in part.content
        if isinstance(each, BinaryContent)
    ]
    return f"{messages} {files}"


def pydantic_ai_agent(requests: list[list[ModelMessage]]) -> Agent[None, str]:
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        requests.append(messages)
        return ModelResponse([TextPart("ok")])

    return Agent(FunctionModel(answer))


def of_model_messages(messages: Sequence[ModelMessage]) -> Iterator[Fact]:
    parts = [part for message in messages for part in message.parts]
    # Pydantic AI itself answers its own calls that a user's prompt has passed over.
    unanswered = {
        part.tool_call_id for part in parts if isinstance(part, ToolReturnPart) and "interrupted" in str(part.content)
    }
    for part in parts:
        if getattr(part, "tool_call_id", None) not in unanswered:
            match part:
                case UserPromptPart(content=str(text)):
                    yield "user", text
                case UserPromptPart(content=content):
                    yield from (("user", each) for each in content if isinstance(each, str))
                case TextPart():
                    yield "assistant", part.content
                case ToolCallPart():
                    yield "call", part.tool_name, city(part.args)
                case ToolReturnPart():
                    yield "result", result_of(part.content)


async def read_langchain(storage: PostgresStorage) -> Shown:
    model = scripted("ok")
    await langchain_agent(model, storage).ainvoke(user_input(NEXT), C1)
    assert_valid(model.requests[-1])
    return shown(of_langchain(model.requests[-1]), model.requests[-1])


def of_langchain(messages: Sequence[BaseMessage]) -> Iterator[Fact]:
    for message in messages:
        if isinstance(message, ToolMessage):
            yield "result", result_of(message.content)
        elif isinstance(message, HumanMessage):
            yield from said("user", message.content)
        elif isinstance(message, AIMessage):
            yield from said("assistant", message.content)
            yield from (("call", call["name"], city(call["args"])) for call in message.tool_calls)


async def read_agno(storage: PostgresStorage) -> Shown:
    model = AgnoModel()
    await agno_agent(VoltMemDb(storage), model, session_id="c1").arun(NEXT)
    assert_answered_at_once(model.last)
    return shown(of_agno(model.last), [message.to_dict() for message in model.last])


def assert_answered_at_once(messages: Sequence[Any]) -> None:
    waiting: set[str] = set()
    for message in messages:
        if message.role == "tool":
            waiting.remove(message.tool_call_id)
        else:
            assert not waiting
            waiting = {call["id"] for call in message.tool_calls or []}
    assert not waiting


def of_agno(messages: Sequence[Any]) -> Iterator[Fact]:
    for message in messages:
        if message.role == "tool":
            yield "result", result_of(message.content)
        elif message.role in ("user", "assistant"):
            yield from said(message.role, message.content)
            for call in message.tool_calls or []:
                yield "call", call["function"]["name"], city(call["function"]["arguments"])


# --- an own loop, in a provider's form ------------------------------------------------------------------------------


async def read_chat_completions(storage: PostgresStorage) -> Shown:
    found: list[Fact] = []
    messages: list[Any] = to_openai(await history(storage))
    for message in messages:
        if message["role"] == "tool":
            found.append(("result", result_of(message["content"])))
            continue
        found += said(message["role"], message.get("content"))
        for call in message.get("tool_calls", []):
            found.append(("call", call["function"]["name"], city(call["function"]["arguments"])))
    return shown(found, messages)


async def read_responses(storage: PostgresStorage) -> Shown:
    items: list[Any] = to_responses(await history(storage))
    return shown(of_items(items), items)


async def read_anthropic(storage: PostgresStorage) -> Shown:
    found: list[Fact] = []
    messages: list[Any] = to_anthropic(await history(storage))
    for message in messages:
        blocks = message["content"]
        for block in [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks:
            if block["type"] == "text":
                found.append((message["role"], block["text"]))
            elif block["type"] == "tool_use":
                found.append(("call", block["name"], city(block["input"])))
            elif block["type"] == "tool_result":
                found.append(("result", result_of(block["content"])))
    return shown(found, messages)


# --- front ends ---------------------------------------------------------------------------------------------------


async def read_ui_messages(storage: PostgresStorage) -> Shown:
    found: list[Fact] = []
    async with client(storage) as http:
        messages = (await http.get("/ui-messages")).json()
    for message in messages:
        for part in message["parts"]:
            if part["type"] == "text":
                found.append((message["role"], part["text"]))
            elif "toolCallId" in part and part.get("errorText") != ABANDONED:
                name = part.get("toolName") or part["type"].removeprefix("tool-")
                found.append(("call", name, city(part["input"])))
                found.append(("result", result_of(part.get("output", part.get("errorText")))))
    return shown(found, messages)


async def read_assistant_ui(storage: PostgresStorage) -> Shown:
    found: list[Fact] = []
    async with client(storage) as http:
        history = (await http.get("/history", params={"format": "aui/v0"})).json()
    rows = line_of(history)
    for message in (row["content"] for row in rows):
        for part in message["content"]:
            if part["type"] == "text":
                found.append((message["role"], part["text"]))
            elif part["type"] == "tool-call" and part.get("result", ABANDONED) != ABANDONED:
                found.append(("call", part["toolName"], city(part.get("args", part["argsText"]))))
                found.append(("result", result_of(part["result"])))
    return shown(found, rows)


def line_of(history: Any) -> list[Any]:
    """Return the rows of the chosen branch, as assistant-ui shows them: those from the head up, oldest first."""
    rows = {row["id"]: row for row in history["messages"]}
    line: list[Any] = []
    place = history["headId"]
    while place in rows:
        line.insert(0, rows[place])
        place = rows[place]["parent_id"]
    return line


READERS: Final[dict[str, Read]] = {
    "a memory": read_memory,
    "OpenAI Agents": read_openai_agents,
    "Pydantic AI's store": read_pydantic_ai_store,
    "Pydantic AI's history": read_pydantic_ai_history,
    "LangChain": read_langchain,
    "Agno": read_agno,
    "Chat Completions": read_chat_completions,
    "Responses": read_responses,
    "Anthropic": read_anthropic,
    "ui-messages": read_ui_messages,
    "assistant-ui": read_assistant_ui,
}
