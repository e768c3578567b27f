"""The tools and the filter by which an agent of OpenAI's Agents SDK keeps a working memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import Any

from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem.adapters._working_memory import KeptMemory, after_system
from voltmem.adapters.openai_agents._items import begins_run, is_of_system
from voltmem.adapters.openai_agents._session import asked_of
from voltmem.errors import MissingExtraError

try:
    from agents import FunctionTool, TResponseInputItem
    from agents.run_config import CallModelData, ModelInputData
    from agents.tool_context import ToolContext
except ImportError as error:
    raise MissingExtraError("openai-agents", "openai-agents") from error


class VoltMemWorkingMemory:
    """
    A working memory that an agent of the OpenAI Agents SDK keeps, and is shown at the beginning of each request.

    ::

        memory = VoltMemWorkingMemory(storage.working_memory("ada"))
        agent = Agent(name="guide", tools=memory.tools)
        await Runner.run(agent, "Hello", session=session, run_config=RunConfig(call_model_input_filter=memory))

        # Or for all users: the function gets the run's context, before each request and each call of a tool.
        memory = VoltMemWorkingMemory(lambda context: storage.working_memory(context.user_id))

    As the run's filter, it puts the memory before the items of each request, after a summary, as quoted data in a
    message of the user's, and adds to the instructions what the model is to do with it. A session stores nothing of
    that. Agents without the tools, to which a run hands over, are not shown the memory. Within a run, the SDK makes no
    call twice; in another run, each call is a write of its own. What the model writes is from the user's messages that
    a VoltMemSession of the run has stored last, so that forget() finds it.

    A conversation that OpenAI's server keeps (conversation_id, previous_response_id) gets the memory anew with each
    request.

    Args:
        memory: The handle; or a function of the run's context that returns it.
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
        self._kept = KeptMemory(memory, read_only=read_only, may_clear=may_clear, kinds=(WorkingMemoryHandle,))
        self.tools: list[Any] = [
            FunctionTool(
                tool.name, tool.description, tool.parameters, partial(self._call, tool.name), strict_json_schema=False
            )
            for tool in self._kept.tools()
        ]
        """The tools by which the model reads and writes the memory, for ``Agent(tools=…)``."""

    async def __call__(self, data: CallModelData[Any]) -> ModelInputData:
        """Return a request with the memory, for ``RunConfig(call_model_input_filter=…)``."""
        if not any(tool in self.tools for tool in data.agent.tools):
            return data.model_data
        items = data.model_data.input
        memory = self._kept.begin(data.context) if begins_run(items) else self._kept.of(data.context)
        message = await memory.as_message()
        shown: list[TResponseInputItem] = [] if message is None else [{"role": "user", "content": message.text}]
        said = (data.model_data.instructions, self._kept.instructions(memory))
        start = after_system(items, is_of_system)
        return ModelInputData(
            input=[*items[:start], *shown, *items[start:]], instructions="\n\n".join(text for text in said if text)
        )

    def after(
        self, first: Callable[[CallModelData[Any]], Awaitable[ModelInputData] | ModelInputData]
    ) -> Callable[[CallModelData[Any]], Awaitable[ModelInputData]]:
        """
        Return a filter that does this after another one, because a run takes one only.

        ::

            config = RunConfig(call_model_input_filter=memory.after(session.recalled))
        """

        async def both(data: CallModelData[Any]) -> ModelInputData:
            made = first(data)
            given = await made if isawaitable(made) else made
            return await self(CallModelData(given, data.agent, data.context))

        return both

    async def _call(self, name: str, context: ToolContext[Any], arguments: str) -> str:
        memory = self._kept.of(context.context)
        return await memory.call_tool(name, arguments, from_messages=asked_of(context), may_clear=True)
