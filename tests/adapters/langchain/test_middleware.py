"""The middleware of LangChain agents: what it stores, when, for which user, and with a checkpointer."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, SummarizationMiddleware
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tests.adapters.begun import begin_earlier
from tests.adapters.langchain.scripted import (
    C1,
    agent,
    assert_valid,
    native,
    scripted,
    stored_texts,
    texts,
    user_input,
    weather,
)
from tests.conftest import MakeStorage
from tests.programs import python
from tests.said import tool_calls, tool_results
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, PostgresStorage
from voltmem.adapters.langchain import VoltMemChatMessageHistory, VoltMemMiddleware, to_langchain
from voltmem.errors import EventLoopError
from voltmem.parts import ToolCall, ToolResult

OSLO = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "k1"}])


# --- the middleware: what is stored, and when ------------------------------------------------------------------------


async def test_a_run_is_stored_as_plain_messages(storage: PostgresStorage) -> None:
    """The stored conversation has the texts, the tool calls and the results."""
    await agent(scripted(OSLO, "Take a coat."), storage, weather).ainvoke(user_input("Oslo?"), C1)

    question, call, result, answer = await storage.get_messages("ada", "c1")
    assert (question.role, question.type, question.content) == ("user", "text", "Oslo?")
    assert (call.role, call.type) == ("assistant", "tool-call")
    assert tool_calls(call) == [ToolCall("k1", "weather", {"city": "Oslo"})]
    assert (result.role, result.type) == ("tool", "tool-result")
    assert tool_results(result) == [ToolResult("k1", "4 °C in Oslo\x00", "weather")]
    assert (answer.role, answer.type, answer.content) == ("assistant", "text", "Take a coat.")


async def test_a_second_run_receives_the_first_runs_messages(storage: PostgresStorage) -> None:
    """Without a checkpointer, the second run receives exactly the first run's messages."""
    first = await agent(scripted(OSLO, "4 °C"), storage, weather).ainvoke(user_input("Oslo?"), C1)
    model = scripted("You are welcome.")

    second = await agent(model, storage, weather).ainvoke(user_input("Thanks"), C1)

    assert model.requests == [[*first["messages"], second["messages"][-2]]]
    assert second["messages"][:-2] == first["messages"]
    assert len(await stored_texts(storage)) == 6


async def test_a_second_process_continues_what_the_first_began(storage: PostgresStorage, dsn: str, schema: str) -> None:
    """The second process's model receives the first process's messages."""
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
        return (await python("-W", "error", "-c", program, dsn, schema, question, answer)).strip()

    assert await run("Hi", "Ho") == "['Hi', 'Ho']"
    assert await run("Again", "Sure") == "['Hi', 'Ho', 'Again', 'Sure']"
    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]


async def test_the_users_message_is_stored_before_the_model_is_called(storage: PostgresStorage) -> None:
    """If the model fails, the question stays stored."""
    model = scripted(RuntimeError("no quota"), "Ho")
    with pytest.raises(RuntimeError, match="no quota"):
        await agent(model, storage).ainvoke(user_input("Hi"), C1)

    assert await stored_texts(storage) == ["Hi"]
    await agent(model, storage).ainvoke(user_input("Hello?"), C1)
    assert texts(model.requests[-1]) == ["Hi", "Hello?"]


@pytest.mark.parametrize("deletion", ["delete_conversation", "delete_user"])
@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
async def test_a_run_does_not_create_a_deleted_conversation_again(
    storage: PostgresStorage, deletion: str, checkpointer: InMemorySaver | None
) -> None:
    """If somebody deletes the conversation for good during a run, the run fails and stores nothing."""

    @tool
    async def forget() -> str:
        """Forget everything."""
        await (storage.delete_user("ada") if deletion == "delete_user" else storage.delete_conversation("c1"))
        return "done"

    model = scripted(AIMessage("", tool_calls=[{"name": "forget", "args": {}, "id": "k1"}]), "Forgotten.", "Again")
    forgetful = agent(model, storage, forget, checkpointer=checkpointer)
    thread: Any = {"configurable": {"thread_id": "c1"}}

    with pytest.raises(ConversationNotFoundError):
        await forgetful.ainvoke(user_input("Forget me"), thread)
    assert await storage.count_conversations() == 0

    if checkpointer is None:
        await forgetful.ainvoke(user_input("Hello"), thread)
        assert await stored_texts(storage) == ["Hello", "Forgotten."]
    else:
        with pytest.raises(ConversationNotFoundError):
            await forgetful.ainvoke(user_input("Hello"), thread)
        assert await storage.count_conversations() == 0
        await checkpointer.adelete_thread("c1")


class Deleting(AgentMiddleware[Any, Any]):
    """Deletes a user between the load of the history and the first write."""

    def __init__(self, storage: PostgresStorage, user_id: str, keeping: VoltMemMiddleware) -> None:
        super().__init__()
        self._storage, self._user_id, self._keeping = storage, user_id, keeping

    async def abefore_agent(self, state: Any, runtime: Any) -> None:
        if self._user_id == "ada":
            begin_earlier(self._keeping._looks)
        await self._storage.delete_user(self._user_id)


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
async def test_a_first_run_does_not_create_the_conversation_of_a_deleted_user(
    storage: PostgresStorage, checkpointer: InMemorySaver | None
) -> None:
    """A run stores nothing of a user who was deleted since it looked for the history; the user's next run does."""
    keeping = VoltMemMiddleware(storage, user_id="ada")

    async def run(said: str, deleted: str) -> None:
        middleware = [keeping, Deleting(storage, deleted, keeping)]
        running: Any = create_agent(scripted("Hi"), middleware=middleware, checkpointer=checkpointer)
        await running.ainvoke(user_input(said), C1)

    with pytest.raises(ConversationNotFoundError, match="was deleted while this run was under way"):
        await run("Hello", "ada")
    assert await storage.count_conversations() == 0

    await run("Here again", "eve")
    assert (await stored_texts(storage))[-2:] == ["Here again", "Hi"]


async def test_a_cancelled_run_keeps_its_stored_messages(storage: PostgresStorage) -> None:
    """A run cancelled during a tool call has stored the question, and no call without its result."""
    working = asyncio.Event()

    @tool
    async def forever() -> str:
        """Never answer."""
        working.set()
        await asyncio.sleep(60)
        return ""

    call = AIMessage("", tool_calls=[{"name": "forever", "args": {}, "id": "k1"}])
    task = asyncio.create_task(agent(scripted(call), storage, forever).ainvoke(user_input("Hi"), C1))
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await stored_texts(storage) == ["Hi"]


async def test_a_tool_call_is_stored_with_its_results(storage: PostgresStorage) -> None:
    """While a tool runs, its call is not stored; before the model is called again, call and result are."""
    seen: list[list[str]] = []

    class Look(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            seen.append([message.type for message in await storage.get_messages("ada", "c1")])
            return await handler(request)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            seen.append([message.type for message in await storage.get_messages("ada", "c1")])
            return await handler(request)

    await agent(scripted(OSLO, "4 °C"), storage, weather, then=[Look()]).ainvoke(user_input("Oslo?"), C1)

    assert seen == [["text"], ["text"], ["text", "tool-call", "tool-result"]]


async def test_a_failed_tool_leaves_no_half_turn(storage: PostgresStorage) -> None:
    """If a tool raises, the run ends, and the conversation continues after the question."""

    @tool("weather")
    def broken(city: str) -> str:
        """Fail."""
        raise OSError(city)

    with pytest.raises(OSError, match="Oslo"):
        await agent(scripted(OSLO), storage, broken).ainvoke(user_input("Oslo?"), C1)

    assert await stored_texts(storage) == ["Oslo?"]


async def test_sending_a_message_again_stores_it_once(storage: PostgresStorage) -> None:
    """A retry with the same message id stores nothing new, and the model receives the message once."""
    question = {"messages": [HumanMessage("Hi", id="m1")]}
    model = scripted(RuntimeError("no quota"), "Ho")
    with pytest.raises(RuntimeError):
        await agent(model, storage).ainvoke(question, C1)

    await agent(model, storage).ainvoke(question, C1)

    assert texts(model.requests[-1]) == ["Hi"]
    assert await stored_texts(storage) == ["Hi", "Ho"]


async def test_a_client_that_sends_all_messages_again_stores_only_new_ones(storage: PostgresStorage) -> None:
    """If a client sends all messages again and a new one, only the new one is stored, whatever the window."""
    one = await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)
    two = await agent(scripted("Sure"), storage).ainvoke(user_input("Again"), C1)
    assert texts(two["messages"]) == ["Hi", "Ho", "Again", "Sure"]
    await storage.delete_messages([one["messages"][0].id], "ada", "c1")
    model = scripted("Bye")

    await agent(model, storage).ainvoke({"messages": [*two["messages"], HumanMessage("Well")]}, C1)

    assert texts(model.requests[0]) == ["Hi", "Ho", "Again", "Sure", "Well"]
    assert await stored_texts(storage) == ["Ho", "Again", "Sure", "Well", "Bye"]


async def test_history_is_not_streamed(storage: PostgresStorage) -> None:
    """stream_mode="messages" streams new messages only."""
    await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)

    stream = agent(scripted("Sure"), storage).astream(user_input("Again"), C1, stream_mode="messages")

    assert [message.text async for message, _ in stream] == ["Sure"]


async def test_runs_at_once_in_one_conversation_all_are_stored(storage: PostgresStorage) -> None:
    """Eight concurrent runs with tools: all messages are stored, and the next model receives a valid history."""

    async def run(number: int) -> None:
        call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": f"k{number}"}])
        await agent(scripted(call, f"answer {number}"), storage, weather).ainvoke(user_input(f"question {number}"), C1)

    await asyncio.gather(*(run(number) for number in range(8)))

    assert len(await stored_texts(storage)) == 32
    model = scripted("Done")
    await agent(model, storage).ainvoke(user_input("And?"), C1)
    assert_valid(model.requests[0])
    assert len(model.requests[0]) == 33


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7])
async def test_a_history_within_a_storage_limit_is_valid(limit: int, make_storage: MakeStorage) -> None:
    """With any storage_limit, no model receives a tool call without its result."""
    storage = make_storage(storage_limit=limit)
    for number in range(3):
        calls = [{"name": "weather", "args": {"city": city}, "id": f"{city}{number}"} for city in ("Oslo", "Rome")]
        model = scripted(AIMessage("", tool_calls=calls), "Fine.")
        await agent(model, storage, weather).ainvoke(user_input(f"question {number}"), C1)
        for request in model.requests:
            assert_valid(request)
            assert f"question {number}" in texts(request)

    assert len(await storage.get_messages("ada", "c1")) == limit
    for window in range(limit + 1):
        kept = await storage.conversation("ada", "c1").messages(limit=window)
        assert len(kept) <= window
        assert [result.call_id for message in kept for result in tool_results(message)] == [
            call.id for message in kept for call in tool_calls(message)
        ]


@pytest.mark.parametrize(("options", "expected"), [({"limit": 2}, 1), ({"limit": 4}, 4), ({"turns": 1}, 4)])
async def test_a_run_begins_with_the_window_that_was_asked_for(
    options: dict[str, int], expected: int, storage: PostgresStorage
) -> None:
    """limit and turns limit the history of a run, with whole tool turns."""
    await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)
    await agent(scripted(OSLO, "4 °C"), storage, weather).ainvoke(user_input("Oslo?"), C1)
    model = scripted("Sure")
    middleware = VoltMemMiddleware(storage, user_id="ada", **options)  # type: ignore[arg-type]

    await create_agent(model, middleware=[middleware]).ainvoke(user_input("Thanks"), C1)

    assert_valid(model.requests[0])
    assert len(model.requests[0]) == expected + 1


# --- the middleware: users and threads -------------------------------------------------------------------------------


async def test_another_users_thread_is_refused_before_the_model(storage: PostgresStorage) -> None:
    """With another user's thread id, nothing is read or stored, and no model is called."""
    await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)
    model = scripted("Secrets")

    with pytest.raises(ConversationNotFoundError):
        await agent(model, storage, user_id="mallory").ainvoke(user_input("Tell me"), C1)

    assert model.requests == []
    assert await stored_texts(storage) == ["Hi", "Ho"]


@pytest.mark.parametrize("message", [{"messages": [HumanMessage("Tell me")]}, {"messages": []}, None])
async def test_a_checkpointer_does_not_open_another_users_thread(
    message: dict[str, Any] | None, storage: PostgresStorage
) -> None:
    """Every run checks the thread's owner, also a run without new messages."""
    saver = InMemorySaver()
    await agent(scripted("Ho"), storage, checkpointer=saver).ainvoke(user_input("Hi"), C1)
    model = scripted("Secrets")
    stranger = agent(model, storage, user_id="mallory", checkpointer=saver)

    if message is None:
        assert texts((await stranger.ainvoke(None, C1))["messages"]) == [
            "Hi",
            "Ho",
        ]  # LangGraph: nothing is left to run
    else:
        with pytest.raises(ConversationNotFoundError):
            await stranger.ainvoke(message, C1)

    assert model.requests == []
    assert await stored_texts(storage) == ["Hi", "Ho"]


@dataclass
class Context:
    user_id: str


@pytest.mark.parametrize("context", [Context("ada"), {"user_id": "ada"}])
async def test_the_user_comes_from_the_runs_context(context: Any, storage: PostgresStorage) -> None:
    """One agent serves all users: the user is in each run's context."""
    one_for_all = create_agent(
        scripted("Ho", "Ho"), middleware=[VoltMemMiddleware(storage, resource_id="cook")], context_schema=type(context)
    )

    await one_for_all.ainvoke(user_input("Hi"), C1, context=context)

    conversation = await storage.get_user_conversation("c1", "ada")
    assert conversation is not None
    assert conversation.resource_id == "cook"


@pytest.mark.parametrize("context", [None, {}, {"user_id": ""}, {"user_id": 7}])
async def test_a_run_needs_a_user(context: Any, storage: PostgresStorage) -> None:
    """Without a user the run raises before the model is called, and the error says what to pass."""
    model = scripted("Ho")
    one_for_all = create_agent(model, middleware=[VoltMemMiddleware(storage)], context_schema=dict)
    with pytest.raises(InvalidInputError, match="user_id"):
        await one_for_all.ainvoke(user_input("Hi"), C1, context=context)

    assert model.requests == []


async def test_a_run_needs_a_thread(storage: PostgresStorage) -> None:
    """Without a thread_id the run raises before the model is called, and the error says how to pass one."""
    model = scripted("Ho")
    with pytest.raises(InvalidInputError, match=r'"configurable": {"thread_id"'):
        await agent(model, storage).ainvoke(user_input("Hi"))

    assert model.requests == []


async def test_a_thread_id_may_be_a_uuid(storage: PostgresStorage) -> None:
    """LangGraph accepts thread ids that are not strings; the conversation's id is their text."""
    thread_id = uuid.uuid4()
    await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), {"configurable": {"thread_id": thread_id}})

    assert await stored_texts(storage, str(thread_id)) == ["Hi", "Ho"]


@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_a_synchronous_run_is_refused(way: str, storage: PostgresStorage) -> None:
    """With the asynchronous storage, invoke() and stream() raise, and the error names the alternatives."""
    with pytest.raises(EventLoopError, match=r"ainvoke\(\) or astream\(\), or give a voltmem\.sync"):
        list(getattr(agent(scripted("Ho"), storage), way)(user_input("Hi"), C1))


@pytest.mark.parametrize("options", [{"limit": -1}, {"turns": -1}, {"limit": 2, "turns": 2}, {"limits": 2}])
async def test_a_window_is_checked_when_the_middleware_is_made(options: Any, storage: PostgresStorage) -> None:
    """An invalid or mistyped argument of the window raises in the constructor, before a model is called."""
    with pytest.raises(InvalidInputError, match=r"limit|turns"):
        VoltMemMiddleware(storage, user_id="ada", **options)
    with pytest.raises(InvalidInputError, match=r"limit|turns"):
        VoltMemChatMessageHistory(storage, "ada", "c1", **options)


@pytest.mark.parametrize("user", [7, None, "", ANY_USER])
async def test_a_user_id_is_checked_when_the_middleware_is_made(user: Any, storage: PostgresStorage) -> None:
    """An invalid user id raises in the constructor: the user of the context does not replace it."""
    with pytest.raises(InvalidInputError, match="user_id"):
        VoltMemMiddleware(storage, user_id=user)
    with pytest.raises(InvalidInputError, match="user_id"):
        VoltMemChatMessageHistory(storage, user, "c1")


# --- with a checkpointer and other middleware ------------------------------------------------------------------------


async def test_with_a_checkpointer_every_message_is_stored_once(storage: PostgresStorage) -> None:
    """In three runs of one thread, neither the model nor the conversation gets a message twice."""
    model = scripted(OSLO, "4 °C", "You are welcome.", "Bye.")
    one = agent(model, storage, weather, checkpointer=InMemorySaver())

    for text in ("Oslo?", "Thanks", "Bye"):
        result = await one.ainvoke(user_input(text), C1)

    assert texts(model.requests[-1]) == ["Oslo?", "", "4 °C in Oslo\x00", "4 °C", "Thanks", "You are welcome.", "Bye"]
    assert to_langchain(await native(storage)) == result["messages"]
    assert set(result) == {"messages"}  # the middleware's own state is private


async def test_a_thread_that_is_new_to_the_checkpointer_begins_with_the_history(storage: PostgresStorage) -> None:
    """A checkpointer that is added later, or has lost its threads, gets the conversation's history."""
    await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)
    model = scripted("Sure", "Bye")
    one = agent(model, storage, checkpointer=InMemorySaver())

    for text in ("Again", "Well"):
        await one.ainvoke(user_input(text), C1)

    assert texts(model.requests[-1]) == ["Hi", "Ho", "Again", "Sure", "Well"]
    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure", "Well", "Bye"]


async def test_earlier_messages_of_a_checkpointer_are_stored(storage: PostgresStorage) -> None:
    """If the middleware is added to an agent with a checkpointer, its threads are stored as whole conversations."""
    saver = InMemorySaver()
    await create_agent(scripted("Ho"), checkpointer=saver).ainvoke(user_input("Hi"), C1)

    await agent(scripted("Sure"), storage, checkpointer=saver).ainvoke(user_input("Again"), C1)

    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]


async def test_messages_beyond_the_storage_limit_are_not_stored_again(make_storage: MakeStorage) -> None:
    """If a checkpointer has more messages than the storage keeps, the storage keeps the newest, in order."""
    storage = make_storage(storage_limit=3)
    one = agent(scripted("a0", "a1", "a2", "a3"), storage, checkpointer=InMemorySaver())

    for number in range(4):
        await one.ainvoke(user_input(f"q{number}"), C1)

    assert await stored_texts(storage) == ["a2", "q3", "a3"]


async def test_a_run_that_waits_for_a_person_is_stored_once(storage: PostgresStorage) -> None:
    """A run that is interrupted for an approval and resumed by another agent stores each message once."""
    saver = InMemorySaver()
    ask = HumanInTheLoopMiddleware(interrupt_on={"weather": {"allowed_decisions": ["edit"]}})
    await agent(scripted(OSLO), storage, weather, checkpointer=saver, then=[ask]).ainvoke(user_input("Oslo?"), C1)
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
    """The summary of a SummarizationMiddleware is not stored, and the summarized messages stay stored."""
    model = scripted("a0", "a1", "a2")
    shorten = SummarizationMiddleware(scripted(*["in short"] * 3), trigger=("messages", 3), keep=("messages", 1))
    middleware: list[Any] = [VoltMemMiddleware(storage, user_id="ada"), shorten]
    order = middleware[::-1] if summary_first else middleware
    one = create_agent(model, middleware=order, checkpointer=InMemorySaver())

    for number in range(3):
        await one.ainvoke(user_input(f"q{number}"), C1)

    assert "in short" in model.requests[-1][0].text
    assert await stored_texts(storage) == ["q0", "a0", "q1", "a1", "q2", "a2"]


async def test_messages_removed_from_the_state_stay_stored(storage: PostgresStorage) -> None:
    """A RemoveMessage changes only the agent's state, not the stored conversation."""
    one = agent(scripted("Ho", "Sure"), storage, checkpointer=InMemorySaver())
    first = await one.ainvoke(user_input("Hi"), C1)

    remove = [RemoveMessage(id=message.id) for message in first["messages"]]
    await one.ainvoke({"messages": [*remove, HumanMessage("Again")]}, C1)

    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]
