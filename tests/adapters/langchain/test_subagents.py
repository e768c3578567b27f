"""Several agents in one thread: those that a tool calls keep to themselves, those in one graph share it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from tests.adapters.langchain.scripted import (
    C1,
    Scripted,
    agent,
    assert_valid,
    scripted,
    stored_texts,
    texts,
    user_input,
    weather,
)
from voltmem import PostgresStorage
from voltmem.adapters.langchain import VoltMemMiddleware

ASK = AIMessage("", tool_calls=[{"name": "ask", "args": {"question": "internal"}, "id": "k1"}])
OSLO = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "k2"}])


def asking(inner: Any, config: RunnableConfig | None = None) -> Any:
    @tool
    async def ask(question: str) -> str:
        """Ask another agent."""
        return str((await inner.ainvoke(user_input(question), config))["messages"][-1].content)

    return ask


@pytest.mark.parametrize("with_checkpointer", [False, True])
async def test_an_agent_that_a_tool_calls_keeps_to_itself(storage: PostgresStorage, with_checkpointer: bool) -> None:
    """An agent that a tool calls receives only what it is asked, and nothing of it is stored but the tool's result."""
    saver = InMemorySaver() if with_checkpointer else None
    model, inner_model = scripted("Ho", ASK, "outer"), scripted(OSLO, "inner says")
    outer = agent(model, storage, asking(agent(inner_model, storage, weather)), checkpointer=saver)
    await outer.ainvoke(user_input("Hi"), C1)

    result = await outer.ainvoke(user_input("hello"), C1)

    assert texts(inner_model.requests[0]) == ["internal"]
    assert texts(inner_model.requests[1])[1:] == ["", "4 °C in Oslo\x00"]
    assert await stored_texts(storage) == ["Hi", "Ho", "hello", "", "inner says", "outer"]
    assert_valid(result["messages"])
    found = await storage.conversation("ada", "c1").exchanges()
    assert [(question.text, answer.text) for question, answer in found] == [("Hi", "Ho"), ("hello", "outer")]


async def test_an_agent_that_a_tool_of_any_agent_calls_keeps_to_itself(storage: PostgresStorage) -> None:
    """The calling agent need not have the middleware, and the called one may itself call agents."""
    innermost_model = scripted("innermost")
    innermost = agent(innermost_model, storage)
    inner = agent(scripted(ASK, "inner says"), storage, asking(innermost))
    outer = create_agent(scripted(ASK, "outer"), [asking(inner)])

    await outer.ainvoke(user_input("hello"), C1)

    assert texts(innermost_model.requests[0]) == ["internal"]
    assert await storage.count_conversations() == 0


async def test_an_agent_that_a_tool_calls_needs_no_user(storage: PostgresStorage) -> None:
    """The called agent is not asked for the user of the conversation, because it has none."""
    inner = create_agent(scripted("inner says"), middleware=[VoltMemMiddleware(storage)], context_schema=dict)

    await agent(scripted(ASK, "outer"), storage, asking(inner)).ainvoke(user_input("hello"), C1)

    assert await stored_texts(storage) == ["hello", "", "inner says", "outer"]


async def test_an_agent_with_a_thread_of_its_own_has_a_conversation(storage: PostgresStorage) -> None:
    """An agent that a tool calls with another thread_id keeps its own conversation, and continues it."""
    inner_model = scripted("first", "second")
    inner = agent(inner_model, storage)
    outer = agent(scripted(ASK, ASK, "outer"), storage, asking(inner, {"configurable": {"thread_id": "c2"}}))

    await outer.ainvoke(user_input("hello"), C1)

    assert texts(inner_model.requests[1]) == ["internal", "first", "internal"]
    assert await stored_texts(storage, "c2") == ["internal", "first", "internal", "second"]
    assert await stored_texts(storage) == ["hello", "", "first", "", "second", "outer"]


def graph_of(first: Scripted, second: Scripted, storage: PostgresStorage, *tools: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("a", agent(first, storage, *tools, name="a"))
    graph.add_node("b", agent(second, storage, name="b"))
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    graph.add_edge("b", END)
    return graph.compile()


async def test_agents_of_one_graph_share_the_conversation(storage: PostgresStorage) -> None:
    """Two agents that are nodes of a graph store their answers once, in order, and read each other's."""
    first, second = scripted(OSLO, "from a", "a again"), scripted("from b", "b again")
    graph = graph_of(first, second, storage, weather)

    await graph.ainvoke(user_input("hi"), C1)
    assert texts(second.requests[0]) == ["hi", "", "4 °C in Oslo\x00", "from a"]
    assert await stored_texts(storage) == ["hi", "", "4 °C in Oslo", "from a", "from b"]

    await graph.ainvoke(user_input("more"), C1)
    assert texts(first.requests[-1]) == ["hi", "", "4 °C in Oslo\x00", "from a", "from b", "more"]
    assert (await stored_texts(storage))[-3:] == ["more", "a again", "b again"]
