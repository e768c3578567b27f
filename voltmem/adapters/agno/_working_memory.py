"""The toolkit by which an agent of Agno keeps a working memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem.adapters._working_memory import KeptMemory, operation_of
from voltmem.adapters.agno._installed import IS_AGNO_1, check_agno
from voltmem.errors import EventLoopError
from voltmem.sync import WorkingMemoryHandle as BlockingHandle

if TYPE_CHECKING or not IS_AGNO_1:
    from agno.tools import Function, Toolkit
else:
    Toolkit = object

Handle: TypeAlias = WorkingMemoryHandle | BlockingHandle
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
        def call(fc: Any, run_context: Any, **arguments: Any) -> str:
            memory = self._kept.of(run_context)
            if not isinstance(memory, BlockingHandle):
                raise EventLoopError(
                    "this memory is asynchronous: call arun(), or give the handle of a voltmem.sync.PostgresStorage"
                )
            operation = operation_of(_answer(fc, run_context), fc.call_id, arguments)
            return memory.call_tool(name, arguments, operation_id=operation)

        return call

    def _acall(self, name: str) -> Callable[..., Awaitable[str]]:
        call = self._call(name)

        async def acall(fc: Any, run_context: Any, **arguments: Any) -> str:
            memory = self._kept.of(run_context)
            if isinstance(memory, BlockingHandle):
                return await asyncio.to_thread(call, fc, run_context, **arguments)
            operation = operation_of(_answer(fc, run_context), fc.call_id, arguments)
            return await memory.call_tool(name, arguments, operation_id=operation)

        return acall


def _answer(fc: Any, run_context: Any) -> str | None:
    """Return the id of the model's message that has a call."""
    for message in reversed(getattr(run_context, "messages", None) or []):
        if any(call.get("id") == fc.call_id for call in message.tool_calls or []):
            return str(message.id)
    return None
