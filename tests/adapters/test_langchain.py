"""LangChain's agents and chains keep their conversations in voltmem."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, SummarizationMiddleware
from langchain_core.documents import Document
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tests.conftest import MakeStorage
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, Message, NativeMessage, PostgresStorage
from voltmem._parts import ToolCall, ToolResult, call_part, result_part, text_part, tool_calls, tool_results
from voltmem._values import from_stored_json, to_json
from voltmem.adapters.langchain import (
    FORMAT,
    VoltMemChatMessageHistory,
    VoltMemMiddleware,
    to_langchain,
    to_native,
)
from voltmem.errors import EventLoopError, MissingExtraError

ROOT = Path(__file__).parent.parent.parent
C1: RunnableConfig = {"configurable": {"thread_id": "c1"}}
OSLO = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "k1"}])


class Scripted(BaseChatModel):
    """A model that says what it is told to, and keeps what it was shown."""

    says: list[Any]
    """Messages, their texts, or errors."""
    shown: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[Any, AIMessage]:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.shown.append(messages)
        said = self.says.pop(0)
        if isinstance(said, BaseException):
            raise said
        message = AIMessage(said) if isinstance(said, str) else said.model_copy()
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)


def scripted(*says: AIMessage | str | BaseException) -> Scripted:
    return Scripted(says=list(says), shown=[])


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"4 °C in {city}\x00"


def said(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


def agent(model: Scripted, storage: PostgresStorage, *tools: Any, user_id: str = "ada", **options: Any) -> Any:
    middleware = [VoltMemMiddleware(storage, user_id=user_id), *options.pop("then", [])]
    return create_agent(model, tools, middleware=middleware, **options)


def texts(messages: Sequence[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages]


async def stored_texts(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.text for message in await storage.get_messages("ada", conversation_id, limit=None)]


def assert_valid(messages: Sequence[BaseMessage]) -> None:
    """Every result follows its call, and every call has its result."""
    open_calls: list[str | None] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in open_calls
            open_calls.remove(message.tool_call_id)
        else:
            assert open_calls == []
            open_calls = [call["id"] for call in message.tool_calls] if isinstance(message, AIMessage) else []
    assert open_calls == []


# --- the middleware: what is stored, and when --------------------------------------------------------------------


async def test_a_run_is_stored_as_plain_messages(storage: PostgresStorage) -> None:
    """Whoever reads the conversation sees what was said, asked of tools, and answered."""
    await agent(scripted(OSLO, "Take a coat."), storage, weather).ainvoke(said("Oslo?"), C1)

    question, call, result, answer = await storage.get_messages("ada", "c1")
    assert (question.role, question.type, question.content) == ("user", "text", "Oslo?")
    assert (call.role, call.type) == ("assistant", "tool-call")
    assert tool_calls(call) == [ToolCall("k1", "weather", {"city": "Oslo"})]
    assert (result.role, result.type) == ("tool", "tool-result")
    assert tool_results(result) == [ToolResult("k1", "weather", "4 °C in Oslo\x00")]
    assert (answer.role, answer.type, answer.content) == ("assistant", "text", "Take a coat.")


async def test_a_second_run_is_shown_the_first(storage: PostgresStorage) -> None:
    """An agent without a checkpointer goes on where the conversation was, with the very same messages."""
    first = await agent(scripted(OSLO, "4 °C"), storage, weather).ainvoke(said("Oslo?"), C1)
    model = scripted("You are welcome.")

    second = await agent(model, storage, weather).ainvoke(said("Thanks"), C1)

    assert model.shown == [[*first["messages"], second["messages"][-2]]]
    assert second["messages"][:-2] == first["messages"]
    assert len(await stored_texts(storage)) == 6


async def test_a_second_process_continues_what_the_first_began(storage: PostgresStorage, dsn: str, schema: str) -> None:
    """Two programs, one after the other: the second's model is shown what was said to the first."""
    program = """if True:
        import asyncio, sys
        from langchain.agents import create_agent
        from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
        from langchain_core.messages import AIMessage
        from voltmem import PostgresStorage
        from voltmem.adapters.langchain import VoltMemMiddleware

        async def main(dsn, schema, question, answer):
            async with PostgresStorage(dsn, schema=schema) as storage:
                model = GenericFakeChatModel(messages=iter([AIMessage(answer)]))
                agent = create_agent(model, middleware=[VoltMemMiddleware(storage, user_id="ada")])
                run = {"messages": [{"role": "user", "content": question}]}, {"configurable": {"thread_id": "c1"}}
                print([message.text for message in (await agent.ainvoke(*run))["messages"]])

        asyncio.run(main(*sys.argv[1:]))
        """

    async def run(question: str, answer: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program, dsn, schema, question, answer),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, problems = await process.communicate()
        assert process.returncode == 0, problems.decode()
        return printed.decode().strip()

    assert await run("Hi", "Ho") == "['Hi', 'Ho']"
    assert await run("Again", "Sure") == "['Hi', 'Ho', 'Again', 'Sure']"
    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]


async def test_what_the_user_says_is_stored_before_the_model_is_called(storage: PostgresStorage) -> None:
    """A model that fails does not take the question with it."""
    model = scripted(RuntimeError("no quota"), "Ho")
    with pytest.raises(RuntimeError, match="no quota"):
        await agent(model, storage).ainvoke(said("Hi"), C1)

    assert await stored_texts(storage) == ["Hi"]
    await agent(model, storage).ainvoke(said("Hello?"), C1)
    assert texts(model.shown[-1]) == ["Hi", "Hello?"]


async def test_a_cancelled_run_keeps_what_was_said(storage: PostgresStorage) -> None:
    """A run that is cancelled while a tool works has stored the question, and no half of a tool turn."""
    working = asyncio.Event()

    @tool
    async def forever() -> str:
        """Never answer."""
        working.set()
        await asyncio.sleep(60)
        return ""

    call = AIMessage("", tool_calls=[{"name": "forever", "args": {}, "id": "k1"}])
    task = asyncio.create_task(agent(scripted(call), storage, forever).ainvoke(said("Hi"), C1))
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await stored_texts(storage) == ["Hi"]


async def test_a_tool_call_is_stored_with_its_results(storage: PostgresStorage) -> None:
    """While tools work there is no call without result in the conversation; before the model goes on, both are."""
    seen: list[list[str]] = []

    class Look(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            seen.append([message.type for message in await storage.get_messages("ada", "c1")])
            return await handler(request)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            seen.append([message.type for message in await storage.get_messages("ada", "c1")])
            return await handler(request)

    await agent(scripted(OSLO, "4 °C"), storage, weather, then=[Look()]).ainvoke(said("Oslo?"), C1)

    assert seen == [["text"], ["text"], ["text", "tool-call", "tool-result"]]


async def test_a_failed_tool_leaves_no_half_turn(storage: PostgresStorage) -> None:
    """A tool that raises ends the run; the conversation goes on from the question."""

    @tool("weather")
    def broken(city: str) -> str:
        """Fail."""
        raise OSError(city)

    with pytest.raises(OSError, match="Oslo"):
        await agent(scripted(OSLO), storage, broken).ainvoke(said("Oslo?"), C1)

    assert await stored_texts(storage) == ["Oslo?"]


async def test_sending_a_message_again_stores_it_once(storage: PostgresStorage) -> None:
    """A retry with the same message id adds nothing, and the model is shown it once."""
    question = {"messages": [HumanMessage("Hi", id="m1")]}
    model = scripted(RuntimeError("no quota"), "Ho")
    with pytest.raises(RuntimeError):
        await agent(model, storage).ainvoke(question, C1)

    await agent(model, storage).ainvoke(question, C1)

    assert texts(model.shown[-1]) == ["Hi"]
    assert await stored_texts(storage) == ["Hi", "Ho"]


async def test_a_client_that_sends_everything_back_repeats_nothing(storage: PostgresStorage) -> None:
    """All messages with their ids, and a new one: only that is stored, even if the others lie beyond the window."""
    one = await agent(scripted("Ho"), storage).ainvoke(said("Hi"), C1)
    two = await agent(scripted("Sure"), storage).ainvoke(said("Again"), C1)
    assert texts(two["messages"]) == ["Hi", "Ho", "Again", "Sure"]
    await storage.delete_messages([one["messages"][0].id], "ada", "c1")
    model = scripted("Bye")

    await agent(model, storage).ainvoke({"messages": [*two["messages"], HumanMessage("Well")]}, C1)

    assert texts(model.shown[0]) == ["Hi", "Ho", "Again", "Sure", "Well"]
    assert await stored_texts(storage) == ["Ho", "Again", "Sure", "Well", "Bye"]


async def test_history_is_not_streamed(storage: PostgresStorage) -> None:
    """stream_mode="messages" brings what is said now, not what was said before."""
    await agent(scripted("Ho"), storage).ainvoke(said("Hi"), C1)

    stream = agent(scripted("Sure"), storage).astream(said("Again"), C1, stream_mode="messages")

    assert [message.text async for message, _ in stream] == ["Sure"]


async def test_runs_at_once_in_one_conversation_all_are_stored(storage: PostgresStorage) -> None:
    """Eight runs with tools, at once: everything is there, and what a model is shown next is valid."""

    async def run(number: int) -> None:
        call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": f"k{number}"}])
        await agent(scripted(call, f"answer {number}"), storage, weather).ainvoke(said(f"question {number}"), C1)

    await asyncio.gather(*(run(number) for number in range(8)))

    assert len(await stored_texts(storage)) == 32
    model = scripted("Done")
    await agent(model, storage).ainvoke(said("And?"), C1)
    assert_valid(model.shown[0])
    assert len(model.shown[0]) == 33


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7])
async def test_what_a_storage_limit_leaves_is_valid(limit: int, make_storage: MakeStorage) -> None:
    """However few messages are kept, no model is shown half a tool turn."""
    storage = make_storage(storage_limit=limit)
    for number in range(3):
        calls = [{"name": "weather", "args": {"city": city}, "id": f"{city}{number}"} for city in ("Oslo", "Rome")]
        model = scripted(AIMessage("", tool_calls=calls), "Fine.")
        await agent(model, storage, weather).ainvoke(said(f"question {number}"), C1)
        for shown in model.shown:
            assert_valid(shown)
            assert f"question {number}" in texts(shown)

    assert len(await storage.get_messages("ada", "c1")) == limit
    for window in range(limit + 1):
        kept = await storage.conversation("ada", "c1").messages(limit=window)
        assert len(kept) <= window
        assert [result.id for message in kept for result in tool_results(message)] == [
            call.id for message in kept for call in tool_calls(message)
        ]


@pytest.mark.parametrize(("options", "expected"), [({"limit": 2}, 1), ({"limit": 4}, 4), ({"turns": 1}, 4)])
async def test_a_run_begins_with_the_window_that_was_asked_for(
    options: dict[str, int], expected: int, storage: PostgresStorage
) -> None:
    """limit and turns say how much of the conversation a run is shown, tool turns whole."""
    await agent(scripted("Ho"), storage).ainvoke(said("Hi"), C1)
    await agent(scripted(OSLO, "4 °C"), storage, weather).ainvoke(said("Oslo?"), C1)
    model = scripted("Sure")
    middleware = VoltMemMiddleware(storage, user_id="ada", **options)  # type: ignore[arg-type]

    await create_agent(model, middleware=[middleware]).ainvoke(said("Thanks"), C1)

    assert_valid(model.shown[0])
    assert len(model.shown[0]) == expected + 1


# --- the middleware: whose, and which ----------------------------------------------------------------------------


async def test_another_users_thread_is_refused_before_the_model(storage: PostgresStorage) -> None:
    """Whoever knows a thread id of another user's reads nothing, stores nothing, and no model is called."""
    await agent(scripted("Ho"), storage).ainvoke(said("Hi"), C1)
    model = scripted("Secrets")

    with pytest.raises(ConversationNotFoundError):
        await agent(model, storage, user_id="mallory").ainvoke(said("Tell me"), C1)

    assert model.shown == []
    assert await stored_texts(storage) == ["Hi", "Ho"]


@pytest.mark.parametrize("message", [{"messages": [HumanMessage("Tell me")]}, {"messages": []}, None])
async def test_a_checkpointer_does_not_open_another_users_thread(
    message: dict[str, Any] | None, storage: PostgresStorage
) -> None:
    """The thread's owner is asked for in every run, also in one that says nothing."""
    saver = InMemorySaver()
    await agent(scripted("Ho"), storage, checkpointer=saver).ainvoke(said("Hi"), C1)
    model = scripted("Secrets")
    stranger = agent(model, storage, user_id="mallory", checkpointer=saver)

    if message is None:
        assert texts((await stranger.ainvoke(None, C1))["messages"]) == [
            "Hi",
            "Ho",
        ]  # LangGraph's: nothing is left to run
    else:
        with pytest.raises(ConversationNotFoundError):
            await stranger.ainvoke(message, C1)

    assert model.shown == []
    assert await stored_texts(storage) == ["Hi", "Ho"]


@dataclass
class Context:
    user_id: str


@pytest.mark.parametrize("context", [Context("ada"), {"user_id": "ada"}])
async def test_the_user_comes_from_the_runs_context(context: Any, storage: PostgresStorage) -> None:
    """One agent for all users: each run's context says whose conversation it is."""
    one_for_all = create_agent(
        scripted("Ho", "Ho"), middleware=[VoltMemMiddleware(storage, resource_id="cook")], context_schema=type(context)
    )

    await one_for_all.ainvoke(said("Hi"), C1, context=context)

    conversation = await storage.get_user_conversation("c1", "ada")
    assert conversation is not None
    assert conversation.resource_id == "cook"


@pytest.mark.parametrize("context", [None, {}, {"user_id": ""}, {"user_id": 7}])
async def test_a_run_needs_a_user(context: Any, storage: PostgresStorage) -> None:
    """Without a user no model is called; the error says what to give."""
    model = scripted("Ho")
    one_for_all = create_agent(model, middleware=[VoltMemMiddleware(storage)], context_schema=dict)
    with pytest.raises(InvalidInputError, match="user_id"):
        await one_for_all.ainvoke(said("Hi"), C1, context=context)

    assert model.shown == []


async def test_a_run_needs_a_thread(storage: PostgresStorage) -> None:
    """Without a thread_id no model is called; the error says how to give one."""
    model = scripted("Ho")
    with pytest.raises(InvalidInputError, match=r'"configurable": {"thread_id"'):
        await agent(model, storage).ainvoke(said("Hi"))

    assert model.shown == []


async def test_a_thread_id_may_be_a_uuid(storage: PostgresStorage) -> None:
    """LangGraph takes thread ids that are no strings; the conversation has their text."""
    thread_id = uuid.uuid4()
    await agent(scripted("Ho"), storage).ainvoke(said("Hi"), {"configurable": {"thread_id": thread_id}})

    assert await stored_texts(storage, str(thread_id)) == ["Hi", "Ho"]


@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_a_synchronous_run_is_refused(way: str, storage: PostgresStorage) -> None:
    """invoke() and stream() say which methods to call instead."""
    with pytest.raises(EventLoopError, match=r"ainvoke\(\) or astream\(\)"):
        list(getattr(agent(scripted("Ho"), storage), way)(said("Hi"), C1))


@pytest.mark.parametrize("options", [{"limit": -1}, {"turns": -1}, {"limit": 2, "turns": 2}])
async def test_a_window_that_cannot_be_is_refused_before_the_model(
    options: dict[str, int], storage: PostgresStorage
) -> None:
    """A mistake in the options is our error, and no model is called."""
    model = scripted("Ho")
    middleware = VoltMemMiddleware(storage, user_id="ada", **options)  # type: ignore[arg-type]

    with pytest.raises(InvalidInputError, match=r"limit|turns"):
        await create_agent(model, middleware=[middleware]).ainvoke(said("Hi"), C1)

    assert model.shown == []


@pytest.mark.parametrize("user", [7, None, "", ANY_USER])
async def test_a_user_id_is_checked_when_the_middleware_is_made(user: Any, storage: PostgresStorage) -> None:
    """What can be no user id is an error before anything runs: a forgotten user is not taken from the context."""
    with pytest.raises(InvalidInputError, match="user_id"):
        VoltMemMiddleware(storage, user_id=user)
    with pytest.raises(InvalidInputError, match="user_id"):
        VoltMemChatMessageHistory(storage, user, "c1")


# --- beside a checkpointer and other middleware ------------------------------------------------------------------


async def test_beside_a_checkpointer_everything_is_stored_once(storage: PostgresStorage) -> None:
    """Three runs of one thread: neither the model nor the conversation sees anything twice."""
    model = scripted(OSLO, "4 °C", "You are welcome.", "Bye.")
    one = agent(model, storage, weather, checkpointer=InMemorySaver())

    for text in ("Oslo?", "Thanks", "Bye"):
        result = await one.ainvoke(said(text), C1)

    assert texts(model.shown[-1]) == ["Oslo?", "", "4 °C in Oslo\x00", "4 °C", "Thanks", "You are welcome.", "Bye"]
    assert to_langchain(await native(storage)) == result["messages"]
    assert set(result) == {"messages"}  # what the middleware remembers is its own


async def test_a_thread_that_is_new_to_the_checkpointer_begins_with_the_history(storage: PostgresStorage) -> None:
    """A checkpointer that is added later, or has lost its threads, is filled from the conversation."""
    await agent(scripted("Ho"), storage).ainvoke(said("Hi"), C1)
    model = scripted("Sure", "Bye")
    one = agent(model, storage, checkpointer=InMemorySaver())

    for text in ("Again", "Well"):
        await one.ainvoke(said(text), C1)

    assert texts(model.shown[-1]) == ["Hi", "Ho", "Again", "Sure", "Well"]
    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure", "Well", "Bye"]


async def test_what_the_checkpointer_had_before_is_stored(storage: PostgresStorage) -> None:
    """The middleware is added to an agent with a checkpointer: its threads become whole conversations."""
    saver = InMemorySaver()
    await create_agent(scripted("Ho"), checkpointer=saver).ainvoke(said("Hi"), C1)

    await agent(scripted("Sure"), storage, checkpointer=saver).ainvoke(said("Again"), C1)

    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]


async def test_what_falls_out_of_the_storage_does_not_come_back(make_storage: MakeStorage) -> None:
    """A checkpointer remembers more than the storage keeps; what is kept are the newest, in their order."""
    storage = make_storage(storage_limit=3)
    one = agent(scripted("a0", "a1", "a2", "a3"), storage, checkpointer=InMemorySaver())

    for number in range(4):
        await one.ainvoke(said(f"q{number}"), C1)

    assert await stored_texts(storage) == ["a2", "q3", "a3"]


async def test_a_run_that_waits_for_a_person_is_stored_once(storage: PostgresStorage) -> None:
    """Interrupted for an approval, which changes the call, and resumed by another agent: all is stored, once."""
    saver = InMemorySaver()
    ask = HumanInTheLoopMiddleware(interrupt_on={"weather": {"allowed_decisions": ["edit"]}})
    await agent(scripted(OSLO), storage, weather, checkpointer=saver, then=[ask]).ainvoke(said("Oslo?"), C1)
    assert await stored_texts(storage) == ["Oslo?"]

    edit = {"type": "edit", "edited_action": {"name": "weather", "args": {"city": "Rome"}}}
    model = scripted("4 °C")
    resumed = agent(model, storage, weather, checkpointer=saver, then=[ask])
    result = await resumed.ainvoke(Command(resume={"decisions": [edit]}), C1)

    messages = await native(storage)
    assert to_langchain(messages) == result["messages"]
    assert "in Rome" in messages[2].text
    assert len(messages) == 4


@pytest.mark.parametrize("summary_first", [False, True])
async def test_a_summary_is_not_stored(summary_first: bool, storage: PostgresStorage) -> None:
    """What a SummarizationMiddleware puts into the state nobody said; all that was said stays stored."""
    model = scripted("a0", "a1", "a2")
    shorten = SummarizationMiddleware(scripted(*["in short"] * 3), trigger=("messages", 3), keep=("messages", 1))
    middleware: list[Any] = [VoltMemMiddleware(storage, user_id="ada"), shorten]
    order = middleware[::-1] if summary_first else middleware
    one = create_agent(model, middleware=order, checkpointer=InMemorySaver())

    for number in range(3):
        await one.ainvoke(said(f"q{number}"), C1)

    assert "in short" in model.shown[-1][0].text
    assert await stored_texts(storage) == ["q0", "a0", "q1", "a1", "q2", "a2"]


async def test_what_is_removed_from_the_state_stays_stored(storage: PostgresStorage) -> None:
    """A RemoveMessage is about an agent's state; the conversation is what was said."""
    one = agent(scripted("Ho", "Sure"), storage, checkpointer=InMemorySaver())
    first = await one.ainvoke(said("Hi"), C1)

    remove = [RemoveMessage(id=message.id) for message in first["messages"]]
    await one.ainvoke({"messages": [*remove, HumanMessage("Again")]}, C1)

    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]


# --- conversations that others began -----------------------------------------------------------------------------


ELSEWHERE = [
    Message(role="system", content="Be brief."),
    Message(role="user", content=[text_part("Oslo"), {"type": "image", "url": "https://example.org/oslo.png"}]),
    Message(role="assistant", content=[{"type": "reasoning", "text": "Hm."}], type="reasoning"),
    Message(
        role="assistant",
        type="tool-call",
        content=[text_part("Let me see."), call_part(ToolCall("k1", "weather", {"city": "Oslo"}))],
    ),
    Message(role="tool", type="tool-result", content=[result_part(ToolResult("k1", "weather", {"celsius": 4}))]),
    Message(role="assistant", content="4 °C"),
    Message(role="narrator", content="It rains."),
]
TRANSLATED: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage([text_part("Oslo"), {"type": "image", "url": "https://example.org/oslo.png"}]),
    AIMessage("Let me see.", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "k1"}]),
    ToolMessage('{"celsius":4}', tool_call_id="k1", name="weather"),
    AIMessage("4 °C"),
    ChatMessage(content="It rains.", role="narrator"),
]


@pytest.mark.parametrize("format", [None, "another"])
async def test_a_conversation_that_was_begun_elsewhere_goes_on(format: str | None, storage: PostgresStorage) -> None:
    """Plain messages, an application's or another framework's: texts, tool calls and results reach the model."""
    payload = None if format is None else {"its": "own"}
    begun = [
        NativeMessage.of({**message.model_dump(exclude={"created_at"}), "format": format, "payload": payload})
        for message in ELSEWHERE
    ]
    await storage.conversation("ada", "c1").add_turn(begun)
    model = scripted("You are welcome.")

    await agent(model, storage).ainvoke(said("Thanks"), C1)

    assert [without_id(message) for message in model.shown[0][:-1]] == TRANSLATED
    assert len(await stored_texts(storage)) == len(ELSEWHERE) + 2


def test_tools_without_ids_or_objects_get_what_langchain_wants() -> None:
    """Calls without ids are named, results without ids answer the oldest call, arguments become an object."""
    messages: list[dict[str, Any]] = [
        {
            "role": "assistant",
            "type": "tool-call",
            "content": [call_part(ToolCall("", "one", None)), {"type": "tool_use"}],
        },
        {"role": "tool", "content": "first"},
        {"role": "user", "content": [{"type": "tool_result", "content": ["second"]}, "and this"]},
        {"role": "assistant", "content": {"tool_calls": [{"id": "k", "function": {"name": "f", "arguments": "[1]"}}]}},
        {"role": "tool", "content": "third", "metadata": {"tool_call_id": "k"}},
        {
            "role": "assistant",
            "content": [call_part(ToolCall("j", "g", {})), result_part(ToolResult("j", "g", "fourth"))],
        },
    ]

    found = to_langchain(NativeMessage.of({"id": f"m{n}", **message}) for n, message in enumerate(messages))

    assert_valid(found)
    assert [without_id(message) for message in found[1:4]] == [
        ToolMessage("first", tool_call_id="m0:0"),
        ToolMessage('["second"]', tool_call_id="m0:1"),
        HumanMessage("and this"),
    ]
    assert isinstance(found[0], AIMessage)
    assert [call["args"] for call in found[0].tool_calls] == [{}, {}]
    assert isinstance(found[4], AIMessage)
    assert found[4].tool_calls[0]["args"] == {"input": [1]}
    assert len({message.id for message in found}) == len(found) == 8


# --- every message of LangChain's --------------------------------------------------------------------------------


MESSAGES: list[BaseMessage] = [
    HumanMessage("\x00 and \ud800"),
    HumanMessage("Hi", name="Ada", additional_kwargs={"a": [1, None, {"b": 1e300}]}),
    HumanMessage([{"type": "image", "base64": "aGk=", "mime_type": "image/png"}, "and", {"type": "text", "text": ""}]),
    SystemMessage("Be brief.", additional_kwargs={"__openai_role__": "developer"}),
    AIMessage(
        [
            {"type": "thinking", "thinking": "Hm", "signature": "x"},
            {"type": "tool_use", "id": "k1", "name": "f", "input": {}},
        ],
        tool_calls=[{"name": "f", "args": {"deep": {"\x00": "\ud800", "n": 10**30}}, "id": "k1"}],
        invalid_tool_calls=[{"name": None, "args": "{", "id": "k2", "error": "no JSON", "type": "invalid_tool_call"}],
        usage_metadata={
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "input_token_details": {"cache_read": 1},
        },
        response_metadata={"model_name": "scripted", "logprobs": None},
    ),
    AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": None}]),
    AIMessage("", additional_kwargs={"tool_calls": [{"id": "k", "function": {"name": "f", "arguments": "{}"}}]}),
    AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
    ToolMessage("4 °C\x00", tool_call_id="k1", name="f", artifact={"rows": [[1, "a"]]}, status="error"),
    ToolMessage([{"type": "text", "text": "a"}, "b"], tool_call_id="k2"),
    ChatMessage(content="It rains.", role="narrator"),
    FunctionMessage(content="4 °C", name="f"),
    HumanMessageChunk(content="Hi"),
    AIMessageChunk(
        content="",
        tool_call_chunks=[{"name": "f", "args": "{}", "id": "k", "index": 0, "type": "tool_call_chunk"}],
        chunk_position="last",
    ),
]


async def test_every_message_comes_back_equal(storage: PostgresStorage) -> None:
    """All kinds of messages, with all that they have, are read as they were stored, in another process's eyes, too."""
    await storage.conversation("ada", "c1").add_turn(to_native(message) for message in MESSAGES)

    found = to_langchain(await native(storage))

    assert found == MESSAGES
    assert [type(message) for message in found] == [type(message) for message in MESSAGES]


TEXTS = st.text()  # NUL and lone surrogates, too
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
CONTENT = TEXTS | st.lists(TEXTS | OBJECTS, max_size=3)
CALLS = st.lists(
    st.fixed_dictionaries({"name": TEXTS, "args": OBJECTS, "id": st.none() | TEXTS, "type": st.just("tool_call")}),
    max_size=2,
)


@given(content=CONTENT, calls=CALLS, more=OBJECTS)
def test_any_answer_comes_back_equal(content: Any, calls: Any, more: dict[str, Any]) -> None:
    """Whatever a model says, LangChain's own form of it survives what the database does to it."""
    message = AIMessage(content=content, tool_calls=calls, response_metadata=more)

    assert reread(message) == message


@given(content=CONTENT, artifact=JSON, name=st.none() | TEXTS, status=st.sampled_from(["success", "error"]))
def test_any_result_comes_back_equal(
    content: Any, artifact: Any, name: str | None, status: Literal["success", "error"]
) -> None:
    """Whatever a tool answers, LangChain's own form of it survives what the database does to it."""
    message = ToolMessage(content=content, tool_call_id="k1", artifact=artifact, name=name, status=status)

    assert reread(message) == message


def test_blocks_that_repeat_a_call_are_not_counted_twice() -> None:
    """Providers have a call in the content and in tool_calls; the plain message has it once."""
    plain = to_native(MESSAGES[4])

    assert [call.id for call in tool_calls(plain)] == ["k1", "k2"]
    assert plain.content[0] == {"type": "thinking", "thinking": "Hm", "signature": "x"}  # type: ignore[index]


def test_parts_of_no_known_type_do_no_harm() -> None:
    """What stands where a type should, is not trusted to be one."""
    odd: list[Any] = [
        {"type": ["tool_use"]},
        {"type": None, "text": "Hi"},
        {"text": "Ho"},
        {"type": "image", "url": "u"},
    ]
    answer = AIMessage(odd, tool_calls=[{"name": "f", "args": {}, "id": "k1"}])

    assert to_native(answer).content == [*odd, call_part(ToolCall("k1", "f", {}))]
    (found,) = to_langchain([NativeMessage(role="user", content=odd)])
    assert found.content == [text_part("Hi"), text_part("Ho"), {"type": "image", "url": "u"}]


async def test_a_replaced_message_is_read_as_it_is_now(storage: PostgresStorage) -> None:
    """An application that edits a message by its id edits what the agent is shown."""
    first = await agent(scripted("Ho"), storage).ainvoke(said("Hi"), C1)
    edited = {"id": first["messages"][1].id, "role": "assistant", "content": "Ho ho"}
    await storage.add_message(edited, "ada", "c1")
    model = scripted("Sure")

    await agent(model, storage).ainvoke(said("Again"), C1)

    assert texts(model.shown[0]) == ["Hi", "Ho ho", "Again"]


async def test_an_artifact_that_is_no_json_is_left_out(
    storage: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """A tool may return any object for the program: the run goes on, the message is stored without it, a log tells."""

    @tool(response_format="content_and_artifact")
    def search(q: str) -> tuple[str, list[Document]]:
        """Find documents."""
        return q, [Document("text")]

    call = AIMessage("", tool_calls=[{"name": "search", "args": {"q": "leeks"}, "id": "k1"}])
    result = await agent(scripted(call, "Found."), storage, search).ainvoke(said("Find"), C1)

    assert result["messages"][2].artifact == [Document("text")]
    stored = to_langchain(await native(storage))[2]
    assert isinstance(stored, ToolMessage)
    assert (stored.text, stored.artifact) == ("leeks", None)
    assert [record.name for record in caplog.records if "artifact" in record.message] == ["voltmem"]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (RemoveMessage(id="m1"), "RemoveMessage"),
        (BaseMessage(content="", type="mine"), "'mine'"),
        (HumanMessage("Hi", additional_kwargs={"at": object()}), "object"),
        (AIMessage("Hi", response_metadata={"logprob": float("-inf")}), "inf"),
        (HumanMessage("Hi", id="\x00"), "id"),
    ],
    ids=["remove", "unknown", "object", "infinity", "id"],
)
def test_what_cannot_be_stored_is_our_error(message: BaseMessage, why: str) -> None:
    """A message that could not be read again is refused, and the error says why."""
    with pytest.raises(InvalidInputError, match=why):
        to_native(message)


# --- RunnableWithMessageHistory ----------------------------------------------------------------------------------


def chain(model: Scripted, storage: PostgresStorage, user_id: str = "ada", **options: Any) -> Any:
    with warnings.catch_warnings():
        # LangChain's own class says that it is deprecated; ours says nothing.
        warnings.filterwarnings("ignore", "RunnableWithMessageHistory is deprecated", DeprecationWarning)
        return RunnableWithMessageHistory(
            model, lambda session_id: VoltMemChatMessageHistory(storage, user_id, session_id, **options)
        )


S1: RunnableConfig = {"configurable": {"session_id": "c1"}}


async def test_a_chain_goes_on_where_it_was(storage: PostgresStorage) -> None:
    """Two runs of a RunnableWithMessageHistory: the second is shown the first, and all is stored once."""
    model = scripted("Ho", "Sure", "Bye")

    for text in ("Hi", "Again", "Well"):
        await chain(model, storage).ainvoke(text, S1)

    assert texts(model.shown[-1]) == ["Hi", "Ho", "Again", "Sure", "Well"]
    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure", "Well", "Bye"]


async def test_a_chain_with_a_window_stores_everything(make_storage: MakeStorage) -> None:
    """With fewer messages shown, or kept, than were said, what is new is still recognised."""
    storage = make_storage(storage_limit=3)
    model = scripted("a0", "a1", "a2")

    for number in range(3):
        await chain(model, storage, limit=2).ainvoke(f"q{number}", S1)

    assert texts(model.shown[-1]) == ["q1", "a1", "q2"]
    assert await stored_texts(storage) == ["a1", "q2", "a2"]


async def test_chains_at_once_lose_nothing(storage: PostgresStorage) -> None:
    """Runs in one conversation, each begun before another has ended: all questions and answers are stored."""
    all_read = asyncio.Barrier(4)
    ended = [asyncio.Event() for _ in range(5)]
    ended[0].set()

    class Slow(Scripted):
        async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
            await all_read.wait()
            await ended[int(messages[-1].text)].wait()
            return self._generate(messages)

    async def run(number: int) -> None:
        await chain(Slow(says=[f"answer {number}"], shown=[]), storage).ainvoke(str(number), S1)
        ended[number + 1].set()

    await asyncio.gather(*(run(number) for number in range(4)))

    assert await stored_texts(storage) == ["0", "answer 0", "1", "answer 1", "2", "answer 2", "3", "answer 3"]


async def test_a_chain_refuses_another_users_session_before_the_model(storage: PostgresStorage) -> None:
    """Whoever knows a session id of another user's reads nothing, and no model is called."""
    await chain(scripted("Ho"), storage).ainvoke("Hi", S1)
    model = scripted("Secrets")

    with pytest.raises(ConversationNotFoundError):
        await chain(model, storage, user_id="mallory").ainvoke("Tell me", S1)

    assert model.shown == []
    with pytest.raises(ConversationNotFoundError):
        await VoltMemChatMessageHistory(storage, "mallory", "c1").aadd_messages([HumanMessage("Hi")])


async def test_a_history_is_read_written_and_cleared(storage: PostgresStorage) -> None:
    """Messages get ids and keep them: adding one again replaces it. A history reads anew after it has written."""
    history = VoltMemChatMessageHistory(storage, "ada", "c1", turns=1)
    assert await history.aget_messages() == []
    question, answer = HumanMessage("Hi"), AIMessage("Ho")

    await history.aadd_messages([question, answer])
    await history.aadd_messages([question])

    assert question.id is not None
    assert await history.aget_messages() == [question, answer]
    assert str(history) == "<VoltMemChatMessageHistory 'c1' of 'ada'>"
    await history.aclear()
    assert await history.aget_messages() == []
    assert await storage.get_user_conversation("c1", "ada") is not None


async def test_a_history_stores_all_or_nothing(storage: PostgresStorage) -> None:
    """One message that cannot be stored, and none is."""
    history = VoltMemChatMessageHistory(storage, "ada", "c1")

    with pytest.raises(InvalidInputError, match="RemoveMessage"):
        await history.aadd_messages([HumanMessage("Hi"), RemoveMessage(id="m1")])

    assert await history.aget_messages() == []


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda history: history.messages, "aget_messages()"),
        (lambda history: history.add_messages([]), "aadd_messages()"),
        (lambda history: history.add_user_message("Hi"), "aadd_messages()"),
        (lambda history: history.clear(), "aclear()"),
    ],
)
async def test_synchronous_methods_name_the_async_ones(call: Any, instead: str, storage: PostgresStorage) -> None:
    """What LangChain would call in invoke() says what to call instead."""
    with pytest.raises(EventLoopError, match=re.escape(instead)):
        call(VoltMemChatMessageHistory(storage, "ada", "c1"))


# --- the package -------------------------------------------------------------------------------------------------


def test_without_langchain_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the adapter where LangChain is missing names the extra."""
    monkeypatch.delitem(sys.modules, "voltmem.adapters.langchain")
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)

    with pytest.raises(MissingExtraError, match=r"'\.\[langchain\]'"):
        importlib.import_module("voltmem.adapters.langchain")


async def native(storage: PostgresStorage) -> list[NativeMessage]:
    from voltmem._agents.native import NativeMemory

    return await NativeMemory(storage, "ada", "c1").newest_messages()


def reread(message: BaseMessage) -> BaseMessage:
    (found,) = to_langchain([NativeMessage.of({**dict(to_native(message)), "payload": stored_payload(message)})])
    return found


def stored_payload(message: BaseMessage) -> Any:
    assert to_native(message).format == FORMAT
    return from_stored_json(to_json(to_native(message).payload))


def without_id(message: BaseMessage) -> BaseMessage:
    return message.model_copy(update={"id": None})
