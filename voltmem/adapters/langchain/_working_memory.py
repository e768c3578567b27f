"""The middleware by which an agent of LangChain keeps a working memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem.adapters._working_memory import KeptMemory, MemoryTool, after_system, operation_of
from voltmem.errors import EventLoopError, MissingExtraError
from voltmem.models import Message
from voltmem.sync import WorkingMemoryHandle as BlockingHandle

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain.tools import ToolRuntime
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
    from langchain_core.tools import StructuredTool
    from langgraph.runtime import Runtime
except ImportError as error:
    raise MissingExtraError("langchain", "langchain") from error

Handle: TypeAlias = WorkingMemoryHandle | BlockingHandle


class VoltMemWorkingMemory(AgentMiddleware[AgentState[Any], Any]):
    """
    Middleware: the agent keeps a working memory, which it is shown at the beginning of each request.

    ::

        agent = create_agent(model, middleware=[VoltMemWorkingMemory(storage.working_memory("ada"))])

        # Or for all users: the function gets the run's context, before each request and each call of a tool.
        kept = VoltMemWorkingMemory(lambda context: storage.working_memory(context.user_id))
        agent = create_agent(model, middleware=[VoltMemMiddleware(storage), kept], context_schema=SignedIn)

    The memory is before the messages of each request, after a summary, as quoted data in a message of the user's, and
    what to do with it is in the system message. Neither is in the agent's state, nor stored with the conversation. A
    tool call that a graph makes again, of the same message of the model's, changes nothing. What the model writes is
    from the last message of the user's, so that forget() finds it; VoltMemMiddleware stores that message with its id.

    Args:
        memory: The handle, or a function of the run's context that returns it. One of a PostgresStorage serves
            ainvoke() and astream(); one of a voltmem.sync.PostgresStorage also invoke() and stream().
        read_only: Whether the model may not write.
        may_clear: Whether the model may empty the memory; restore() still brings it back.

    One round trip before each request to the model.
    """

    def __init__(
        self, memory: Handle | Callable[[Any], Handle], *, read_only: bool = False, may_clear: bool = False
    ) -> None:
        super().__init__()
        kinds: tuple[type[Handle], ...] = (WorkingMemoryHandle, BlockingHandle)
        self._kept: KeptMemory[Handle] = KeptMemory(memory, read_only=read_only, may_clear=may_clear, kinds=kinds)
        self.tools = [self._tool(tool) for tool in self._kept.tools()]

    def before_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        """Remember that the run begins now: it does not write if its user is deleted afterwards."""
        self._kept.begin(runtime.context)

    async def abefore_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        """Remember that the run begins now."""
        self._kept.begin(runtime.context)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Put the memory before the messages of the request."""
        memory = self._blocking(request.runtime.context)
        return handler(self._shown(request, memory, memory.as_message()))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        """Put the memory before the messages of the request."""
        memory = self._kept.of(request.runtime.context)
        if isinstance(memory, BlockingHandle):
            message = await asyncio.to_thread(memory.as_message)
        else:
            message = await memory.as_message()
        return await handler(self._shown(request, memory, message))

    def _shown(self, request: ModelRequest[Any], memory: Handle, message: Message | None) -> ModelRequest[Any]:
        text = self._kept.instructions(memory)
        prompt = SystemMessage(text)
        if request.system_message is not None:
            blocks: list[Any] = [*request.system_message.content_blocks, {"type": "text", "text": f"\n\n{text}"}]
            prompt = SystemMessage(blocks)
        shown = [] if message is None else [HumanMessage(message.text)]
        start = after_system(request.messages, lambda each: each.type == "system")
        messages = [*request.messages[:start], *shown, *request.messages[start:]]
        return request.override(system_message=prompt, messages=messages)

    def _blocking(self, context: object) -> BlockingHandle:
        memory = self._kept.of(context)
        if not isinstance(memory, BlockingHandle):
            raise EventLoopError(
                "this memory is asynchronous: call ainvoke() or astream(), or give the handle of a "
                "voltmem.sync.PostgresStorage"
            )
        return memory

    def _tool(self, tool: MemoryTool) -> StructuredTool:
        def call(runtime: ToolRuntime[Any, Any], **arguments: Any) -> str:
            memory, marks = self._blocking(runtime.context), _marks(runtime, arguments)
            return memory.call_tool(tool.name, arguments, **marks, may_clear=True)

        async def acall(runtime: ToolRuntime[Any, Any], **arguments: Any) -> str:
            memory = self._kept.of(runtime.context)
            if isinstance(memory, BlockingHandle):
                return await asyncio.to_thread(call, runtime, **arguments)
            return await memory.call_tool(tool.name, arguments, **_marks(runtime, arguments), may_clear=True)

        return StructuredTool(
            name=tool.name, description=tool.description, args_schema=tool.parameters, func=call, coroutine=acall
        )


def _marks(runtime: ToolRuntime[Any, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return how a write is marked: with its operation, and with the message that the model is answering."""
    messages: Sequence[BaseMessage] = runtime.state["messages"]
    asked = [each.id for each in messages if each.type == "human" and each.id]
    operation = operation_of(_answer(messages, runtime.tool_call_id), runtime.tool_call_id, arguments)
    return {"operation_id": operation, "from_messages": asked[-1:] or None}


def _answer(messages: Sequence[BaseMessage], call_id: str | None) -> str | None:
    """Return the id of the model's message that has a call."""
    answers = (each for each in reversed(messages) if isinstance(each, AIMessage))
    return next((each.id for each in answers if any(call["id"] == call_id for call in each.tool_calls)), None)
