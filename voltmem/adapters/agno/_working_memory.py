"""The toolkit by which an agent of Agno keeps a working memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem._values import uuid7
from voltmem.adapters._working_memory import KeptMemory, operation_of
from voltmem.adapters.agno._installed import IS_AGNO_1, check_agno
from voltmem.adapters.agno._runs import row_id
from voltmem.errors import EventLoopError
from voltmem.parts import SYSTEM_ROLES
from voltmem.sync import WorkingMemoryHandle as BlockingHandle

if TYPE_CHECKING or not IS_AGNO_1:
    from agno.tools import Function, Toolkit
else:
    Toolkit = object

Handle: TypeAlias = WorkingMemoryHandle | BlockingHandle
_CALL: Final = "voltmem_call"
_KINDS: Final[tuple[type[Handle], ...]] = (WorkingMemoryHandle, BlockingHandle)


class VoltMemWorkingMemory(Toolkit):
    """
    A toolkit for Agno 2 and later: the agent keeps a working memory, which it reads by a tool.

    ::

        agent = Agent(model=model, db=db, tools=[VoltMemWorkingMemory(storage.working_memory("ada"))])

        # Or for all users: the function gets Agno's run context at each call of a tool.
        kept = VoltMemWorkingMemory(lambda run: storage.working_memory(run.user_id))
        agent = Agent(model=model, db=db, tools=[kept])
        await agent.arun("Hello", user_id="ada", session_id="c1")

    The model is told to read the memory before it answers, and gets it as quoted data in the tool's result: Agno has
    no place for a message that is shown to a model and not stored. Agno's own user memories are something else, and
    stay as they are. A tool call of an answer that is made again changes nothing; in releases whose run context has
    no messages, it is made anew.

    Args:
        memory: The handle, or a function of the run context that returns it. One of a PostgresStorage serves arun();
            one of a voltmem.sync.PostgresStorage also run().
        read_only: Whether the model may not write.
        may_clear: Whether the model may empty the memory; restore() still brings it back.

    One round trip for each call of a tool.
    """

    def __init__(
        self, memory: Handle | Callable[[Any], Handle], *, read_only: bool = False, may_clear: bool = False
    ) -> None:
        check_agno(type(self).__name__, "memory.tools() and memory.call_tool()", is_supported=not IS_AGNO_1)
        kept: KeptMemory[Handle] = KeptMemory(memory, read_only=read_only, may_clear=may_clear, kinds=_KINDS)
        super().__init__(name="voltmem_working_memory", instructions=kept.instructions_to_read(), add_instructions=True)
        self._kept = kept
        for tool in kept.tools():
            ways = ((self.functions, self._call(tool.name)), (self.async_functions, self._acall(tool.name)))
            for functions, entrypoint in ways:
                functions[tool.name] = Function(
                    name=tool.name,
                    description=tool.description,
                    parameters=tool.parameters,
                    entrypoint=entrypoint,
                    skip_entrypoint_processing=True,
                )

    def _call(self, name: str) -> Callable[..., str]:
        def call(fc: Any, run_context: Any = None, **arguments: Any) -> str:
            memory = self._kept.of(run_context, _began_at(run_context))
            if not isinstance(memory, BlockingHandle):
                raise EventLoopError(
                    "this memory is asynchronous: call arun(), or give the handle of a voltmem.sync.PostgresStorage"
                )
            return memory.call_tool(name, arguments, **_marks(fc, run_context, arguments), may_clear=True)

        return call

    def _acall(self, name: str) -> Callable[..., Awaitable[str]]:
        call = self._call(name)

        async def acall(fc: Any, run_context: Any = None, **arguments: Any) -> str:
            memory = self._kept.of(run_context, _began_at(run_context))
            if isinstance(memory, BlockingHandle):
                return await asyncio.to_thread(call, fc, run_context, **arguments)
            return await memory.call_tool(name, arguments, **_marks(fc, run_context, arguments), may_clear=True)

        return acall


def _messages(run_context: Any) -> list[Any]:
    """Return the messages of the run, as far as it has gone; none in releases whose run context has none."""
    return [each for each in getattr(run_context, "messages", None) or [] if not each.from_history]


def _began_at(run_context: Any) -> float | None:
    """Return when the run began, by time.monotonic(); None where Agno does not say so."""
    begun = [each.created_at for each in _messages(run_context) if each.created_at]
    # Whole seconds: it may have begun a little later.
    return time.monotonic() - max(time.time() - begun[0], 0) if begun else None


def _marks(fc: Any, run_context: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return how a write is marked: with its operation, and with the message that the model is answering."""
    messages = [each for each in _messages(run_context) if each.role not in SYSTEM_ROLES]
    asked = [place for place, each in enumerate(messages) if each.role == "user"]
    sources = [row_id(run_context.run_id, asked[-1])] if asked else None
    operation = operation_of(_answer(fc, messages) or _call_of(fc), fc.call_id, arguments)
    return {"operation_id": operation, "from_messages": sources}


def _answer(fc: Any, messages: list[Any]) -> str | None:
    """Return the id of the model's message that has a call."""
    for message in reversed(messages):
        if any(call.get("id") == fc.call_id for call in message.tool_calls or []):
            return str(message.id)
    return None


def _call_of(fc: Any) -> str:
    """Return an id of the object of a call, which Agno makes once for an answer, and keeps when it calls again."""
    return str(vars(fc).setdefault(_CALL, uuid7()))
