"""Shared by the tests of LangChain: a model with a script, agents, and their messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool

from voltmem import NativeMessage, PostgresStorage
from voltmem.adapters.langchain import VoltMemMiddleware

C1: RunnableConfig = {"configurable": {"thread_id": "c1"}}


class Scripted(BaseChatModel):
    """A model that answers by its script and records its requests."""

    answers: list[Any]
    """The answers: messages, texts, or errors to raise."""
    requests: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[Any, AIMessage]:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.requests.append(messages)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        message = AIMessage(answer) if isinstance(answer, str) else answer.model_copy()
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)


def scripted(*answers: AIMessage | str | BaseException) -> Scripted:
    return Scripted(answers=list(answers), requests=[])


@tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"4 °C in {city}\x00"


def user_input(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


def agent(model: Scripted, storage: PostgresStorage, *tools: Any, user_id: str = "ada", **options: Any) -> Any:
    middleware = [VoltMemMiddleware(storage, user_id=user_id), *options.pop("then", [])]
    return create_agent(model, tools, middleware=middleware, **options)


def texts(messages: Sequence[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages]


async def stored_texts(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.text for message in await storage.get_messages("ada", conversation_id, limit=None)]


def assert_valid(messages: Sequence[BaseMessage]) -> None:
    """Assert that every result follows its call, and every call has its result."""
    open_calls: list[str | None] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in open_calls
            open_calls.remove(message.tool_call_id)
        else:
            assert open_calls == []
            open_calls = [call["id"] for call in message.tool_calls] if isinstance(message, AIMessage) else []
    assert open_calls == []


async def native(storage: PostgresStorage) -> list[NativeMessage]:
    from voltmem._agents.native import NativeMemory

    return await NativeMemory(storage, "ada", "c1").newest_messages()
