"""The agents of OpenAI's Agents SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final, cast

from agents import Agent, RunContextWrapper, Runner, RunResultStreaming, RunState, TResponseInputItem

from voltmem._values import JsonObject
from voltmem.adapters.openai_agents import to_items
from voltmem.adapters.openai_agents._items import items_for_model
from voltmem.chat._agents import Ask
from voltmem.chat._agents._shared import conversation, denied, said
from voltmem.chat._context import Context
from voltmem.chat._parts import Part, Reasoning, Text, ToolCall, ToolInput, Waiting
from voltmem.models import Message
from voltmem.parts import responses
from voltmem.parts._types import arguments

_TEXT: Final = frozenset({"response.output_text.delta", "response.refusal.delta"})
_REASONING: Final = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})


def asking(agent: object) -> Ask | None:
    """Return the function that asks an agent; None if it is none. A session belongs to a run: an agent has none."""
    if not isinstance(agent, Agent):
        return None

    async def ask(messages: Sequence[Message], context: Context) -> AsyncIterator[Part | Waiting]:
        items = items_for_model([], to_items(await conversation(messages, context)), None)
        if context.decisions:
            run = Runner.run_streamed(agent, await _decided(agent, items, context))
        else:
            run = Runner.run_streamed(agent, items, context=context)
        reading = Reading()
        try:
            async for event in run.stream_events():
                for part in reading.parts(event):
                    yield denied(part, context)
            for item in run.interruptions:
                yield ToolCall(item.call_id or "", item.name or "", arguments(item.arguments), needs_approval=True)
            if run.interruptions:
                yield Waiting(_state(run))
        finally:
            if not run.is_complete:
                run.cancel()

    return ask


def _state(run: RunResultStreaming) -> JsonObject:
    """Return the run as JSON, without the conversation and the context, which the chat gives again."""
    state = cast(JsonObject, run.to_state().to_json(context_serializer=lambda _: {}))
    return {**state, "original_input": []}


async def _decided(agent: Agent[Any], items: list[TResponseInputItem], context: Context) -> RunState[Any, Any]:
    assert isinstance(context.state, dict)
    found = {**context.state, "original_input": items}
    state = await RunState.from_json(agent, found, context_override=RunContextWrapper(context))
    decisions = {each.call.id: each for each in context.decisions}
    for item in state.get_interruptions():
        decision = decisions.get(item.call_id or "")
        if decision is not None and decision.is_approved:
            state.approve(item)
        else:
            state.reject(item, rejection_message=(decision.reason if decision else "") or None)
    return state


class Reading:
    """Reads the events of a run: what a model says by its pieces, and as a whole where it streams none."""

    def __init__(self) -> None:
        self._streamed: set[type] = set()
        self._calls: dict[int, tuple[str, str]] = {}  # the id and the name of each call, by its place in the response

    def parts(self, event: Any) -> Iterator[Part]:
        """Yield the parts of an event."""
        if event.type == "raw_response_event":
            for part in self._raw(event.data):
                self._streamed.add(type(part))
                yield part
        elif event.type == "run_item_stream_event" and event.item.type != "tool_approval_item":
            item = cast(JsonObject, event.item.to_input_item())
            for part in said(responses.read(item)):
                if type(part) not in self._streamed or not isinstance(part, Text | Reasoning):
                    yield part

    def _raw(self, data: Any) -> Iterator[Part]:
        if data.type == "response.created":
            self._streamed.clear()
            self._calls.clear()
        elif data.type == "response.output_item.added" and data.item.type == "function_call":
            self._calls[data.output_index] = (data.item.call_id, data.item.name)
        elif data.type == "response.function_call_arguments.delta" and data.output_index in self._calls:
            yield ToolInput(*self._calls[data.output_index], data.delta)
        elif data.type in _TEXT:
            yield Text(data.delta)
        elif data.type in _REASONING:
            yield Reasoning(data.delta)
        elif data.type == "response.reasoning_summary_part.added" and data.summary_index:
            yield Reasoning("\n\n")
