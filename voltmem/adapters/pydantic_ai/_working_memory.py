"""The capability by which an agent of Pydantic AI keeps a working memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem.adapters._working_memory import KeptMemory, operation_of
from voltmem.adapters.pydantic_ai._messages import asked_id
from voltmem.errors import MissingExtraError

if TYPE_CHECKING or find_spec("pydantic_ai.capabilities"):
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.messages import ModelMessage, ModelRequest, SystemPromptPart, UserPromptPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.tools import RunContext, Tool
    from pydantic_ai.toolsets import FunctionToolset
else:  # an old release; load_history() and save_history() work with it

    class AbstractCapability:
        def __class_getitem__(cls, _: object) -> type:
            return cls

        def __init__(self) -> NoReturn:
            raise MissingExtraError("pydantic-ai-slim 2.66, or a later one,", "pydantic-ai")


class VoltMemWorkingMemory(AbstractCapability[Any]):
    """
    A capability: the agent keeps a working memory, which it is shown at the beginning of each request.

    ::

        agent = Agent(model, capabilities=[VoltMemWorkingMemory(storage.working_memory("ada"))])

        # Or for all users: the function gets the run's deps, at the beginning of each run.
        agent = Agent(model, capabilities=[VoltMemWorkingMemory(lambda deps: storage.working_memory(deps.user_id))])

    The memory is in a user's part, as quoted data, after the system prompt. It is in no message of the run's result,
    so it is not stored with the conversation. A tool call that durable execution makes again, in the same step of the
    same run, changes nothing. What the model writes is from the run's first question, as save_history() stores it, so
    that forget() finds it; a conversation store gives the question another id afterwards.

    Args:
        memory: The handle; or a function of the run's deps that returns it.
        read_only: Whether the model may not write.
        may_clear: Whether the model may empty the memory; restore() still brings it back.

    One round trip before each request to the model.
    """

    def __init__(
        self,
        memory: WorkingMemoryHandle | Callable[[Any], WorkingMemoryHandle],
        *,
        read_only: bool = False,
        may_clear: bool = False,
    ) -> None:
        super().__init__()
        self.id = "voltmem_working_memory"
        self._kept = KeptMemory(memory, read_only=read_only, may_clear=may_clear, kinds=(WorkingMemoryHandle,))
        self._read_only = read_only
        self._may_clear = may_clear
        self._of_run: WorkingMemoryHandle | None = None

    async def for_run(self, ctx: RunContext[Any]) -> VoltMemWorkingMemory:
        """Return the capability with the memory of the run."""
        memory = self._kept.of(ctx.deps)
        found = VoltMemWorkingMemory(memory, read_only=self._read_only, may_clear=self._may_clear)
        found.id, found._of_run = self.id, memory
        return found

    def get_instructions(self) -> str | None:
        """Return what the model is to do with the memory."""
        return None if self._of_run is None else self._kept.instructions(self._of_run)

    def get_toolset(self) -> FunctionToolset[Any] | None:
        """Return the tools of the memory."""
        if self._of_run is None:  # known once a run begins
            return None
        tools: list[Tool[Any]] = [
            Tool.from_schema(
                partial(_call, self._of_run, tool.name), tool.name, tool.description, tool.parameters, takes_ctx=True
            )
            for tool in self._kept.tools()
        ]
        return FunctionToolset(tools, id=self.id)

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Put the memory before the messages of the request, and after the system's."""
        message = None if self._of_run is None else await self._of_run.as_message()
        if message is None:
            return request_context
        return replace(request_context, messages=_beginning_with(message.text, request_context.messages))


async def _call(memory: WorkingMemoryHandle, name: str, ctx: RunContext[Any], **arguments: Any) -> str:
    step = ctx.run_id and f"{ctx.run_id}:{ctx.run_step}"  # a workflow engine has these, and not the messages
    operation = operation_of(step, ctx.tool_call_id, arguments)
    sources = [asked_id(ctx.run_id)] if ctx.run_id else None
    return await memory.call_tool(name, arguments, operation_id=operation, from_messages=sources, may_clear=True)


def _beginning_with(text: str, messages: list[ModelMessage]) -> list[ModelMessage]:
    """Return the messages with the text as what the user says first. System prompts and a summary stay before it."""
    part = UserPromptPart(text)
    first = messages[0] if messages else None  # Pydantic AI has made one of several requests in a row
    if not isinstance(first, ModelRequest):
        return [ModelRequest([part]), *messages]
    prompts = [each for each in first.parts if isinstance(each, SystemPromptPart)]
    others = [each for each in first.parts if not isinstance(each, SystemPromptPart)]
    return [replace(first, parts=[*prompts, part, *others]), *messages[1:]]
