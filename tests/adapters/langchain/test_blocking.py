"""LangChain's invoke() and stream() on the blocking storage."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.checkpoint.memory import InMemorySaver

from tests.adapters.langchain.scripted import C1, assert_valid, scripted, texts, user_input, weather
from voltmem import ConversationNotFoundError, EventLoopError
from voltmem.adapters.langchain import VoltMemChatMessageHistory, VoltMemMiddleware
from voltmem.sync import PostgresStorage

OSLO = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "k1"}])


@pytest.fixture
def storage(dsn: str, migrated: str) -> Iterator[PostgresStorage]:
    with PostgresStorage(dsn, schema=migrated) as storage:
        yield storage


def agent(model: Any, storage: PostgresStorage, *tools: Any, user_id: str = "ada", **options: Any) -> Any:
    return create_agent(model, tools, middleware=[VoltMemMiddleware(storage, user_id=user_id)], **options)


def stored_texts(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.text for message in storage.get_messages("ada", conversation_id)]


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_blocking_run_continues_the_conversation(way: str, storage: PostgresStorage) -> None:
    """Tool turns are stored whole, and the second run's model receives the first run's messages."""
    first, second = scripted(OSLO, "4 °C"), scripted("You are welcome.")

    for model, text in ((first, "Oslo?"), (second, "Thanks")):
        run = getattr(agent(model, storage, weather), way)(user_input(text), C1)
        assert list(run)

    assert_valid(second.requests[0])
    assert [message.type for message in second.requests[0]] == ["human", "ai", "tool", "ai", "human"]
    assert [message.type for message in storage.get_messages("ada", "c1")] == [
        *("text", "tool-call", "tool-result", "text"),
        *("text", "text"),
    ]


def test_blocking_runs_of_many_threads_are_all_stored(storage: PostgresStorage) -> None:
    """One middleware serves the runs of many threads of a web application."""

    def run(number: int) -> str:
        config: RunnableConfig = {"configurable": {"thread_id": f"c{number % 5}"}}
        state = agent(scripted(f"a{number}"), storage).invoke(user_input(f"q{number}"), config)
        return str(state["messages"][-1].text)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(20))) == [f"a{number}" for number in range(20)]

    stored = [text for number in range(5) for text in stored_texts(storage, f"c{number}")]
    assert sorted(stored) == sorted(f"{kind}{number}" for kind in "qa" for number in range(20))


def test_with_a_checkpointer_a_blocking_run_stores_every_message_once(storage: PostgresStorage) -> None:
    """Neither the model nor the conversation gets a message twice."""
    model, saver = scripted("a", "b"), InMemorySaver()

    for text in ("one", "two"):
        agent(model, storage, checkpointer=saver).invoke(user_input(text), C1)

    assert texts(model.requests[-1]) == ["one", "a", "two"]
    assert stored_texts(storage) == ["one", "a", "two", "b"]


def test_another_users_thread_is_refused_in_a_blocking_run(storage: PostgresStorage) -> None:
    """A run in another user's thread calls no model and stores nothing."""
    agent(scripted("Ho"), storage).invoke(user_input("Hi"), C1)
    model = scripted("No")

    with pytest.raises(ConversationNotFoundError):
        agent(model, storage, user_id="eve").invoke(user_input("What?"), C1)

    assert model.requests == []
    assert stored_texts(storage) == ["Hi", "Ho"]


async def test_the_blocking_storage_serves_awaited_runs_too(storage: PostgresStorage) -> None:
    """ainvoke() does not block the event loop; invoke() on an event loop raises, and the error names ainvoke()."""
    await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)
    with pytest.raises(EventLoopError, match=r"runs an event loop.*ainvoke\(\)"):
        agent(scripted("Ho"), storage).invoke(user_input("Again"), C1)

    history = VoltMemChatMessageHistory(storage, "ada", "c1")
    assert texts(await history.aget_messages()) == ["Hi", "Ho"]
    await history.aadd_messages([HumanMessage("Bye")])
    assert texts(await history.aget_messages()) == ["Hi", "Ho", "Bye"]


def test_a_blocking_chain_continues_its_conversation(storage: PostgresStorage) -> None:
    """A RunnableWithMessageHistory reads, writes and clears by invoke()."""
    model = scripted("Ho", "Sure")
    config: RunnableConfig = {"configurable": {"session_id": "c1"}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RunnableWithMessageHistory is deprecated", DeprecationWarning)
        chain = RunnableWithMessageHistory(model, lambda session: VoltMemChatMessageHistory(storage, "ada", session))

    for text in ("Hi", "Again"):
        chain.invoke(text, config)

    assert texts(model.requests[-1]) == ["Hi", "Ho", "Again"]
    assert stored_texts(storage) == ["Hi", "Ho", "Again", "Sure"]
    history = VoltMemChatMessageHistory(storage, "ada", "c1")
    history.clear()
    assert history.messages == []
