"""
Agents of frameworks as answer=: each is shown the conversation in its framework's own form, and streams parts.

A framework is known by the module of the agent's class, and imported only for such an agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias

from voltmem.chat._context import Context
from voltmem.chat._parts import Part, Waiting
from voltmem.models import Message


class _Agno(Protocol):
    @property
    def arun(self) -> Callable[..., Any]: ...


class _LangChain(Protocol):
    @property
    def astream(self) -> Callable[..., Any]: ...


class _OpenAI(Protocol):
    @property
    def handoffs(self) -> Any: ...


class _PydanticAI(Protocol):
    @property
    def run_stream_events(self) -> Callable[..., Any]: ...


Agent: TypeAlias = _Agno | _LangChain | _OpenAI | _PydanticAI
"""An agent of Agno, LangChain (what create_agent() returns), the OpenAI Agents SDK or Pydantic AI."""
Ask: TypeAlias = Callable[[Sequence[Message], Context], AsyncIterator[Part | Waiting]]
"""Asks an agent the last of the messages, or tells it the decisions for which it waits. Returns its answer."""

# By the package of the agent's class. LangChain's agents are graphs of LangGraph.
_MODULES: Final = {
    "agents": "openai_agents",
    "agno": "agno",
    "langgraph": "langchain",
    "pydantic_ai": "pydantic_ai",
}


def asking(agent: object) -> Ask | None:
    """
    Return the function that asks an agent; None if it is none.

    Raises:
        InvalidOptionError: The agent stores the conversation itself.
    """
    for each in type(agent).__mro__:
        if name := _MODULES.get(each.__module__.partition(".")[0]):
            ask: Ask | None = import_module(f"{__name__}.{name}").asking(agent)
            return ask
    return None
