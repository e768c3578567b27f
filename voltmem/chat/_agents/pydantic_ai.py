"""Pydantic AI's agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from pydantic import JsonValue
from pydantic_ai import AgentRunResultEvent
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolReturnPart,
)

from voltmem.adapters.pydantic_ai import VoltMemWindow, to_model_messages
from voltmem.chat._agents import Ask
from voltmem.chat._agents._shared import as_text, conversation, refuse
from voltmem.chat._context import Context
from voltmem.chat._parts import File, Part, Reasoning, Source, Text, ToolCall, ToolResult
from voltmem.models import Message
from voltmem.parts._types import arguments


def asking(agent: object) -> Ask | None:
    """Return the function that asks an agent; None if it is none."""
    if not isinstance(agent, AbstractAgent):
        return None
    capabilities: list[AbstractCapability[Any]] = []
    agent.root_capability.apply(capabilities.append)
    if any(isinstance(each, VoltMemWindow) for each in capabilities):
        refuse("VoltMemWindow")

    async def ask(messages: Sequence[Message], context: Context) -> AsyncIterator[Part]:
        history = await _history(agent, messages, context)
        has_text = False
        async with agent.run_stream_events(
            message_history=history, deps=context, conversation_id=context.conversation_id
        ) as events:
            async for event in events:
                found = (
                    [*_result(event.result.output, has_text)]
                    if isinstance(event, AgentRunResultEvent)
                    else [*parts_of(event)]
                )
                for part in found:
                    has_text = has_text or isinstance(part, Text)
                    yield part

    return ask


async def _history(agent: AbstractAgent[Any, Any], messages: Sequence[Message], context: Context) -> list[ModelMessage]:
    """Return the messages, with the agent's system prompt before them, which a run with a history does not add."""
    history = to_model_messages(await conversation(messages, context))
    prompts = await agent.system_prompt_parts(deps=context, message_history=history)
    if prompts and history and isinstance(history[0], ModelRequest):
        return [replace(history[0], parts=[*prompts, *history[0].parts]), *history[1:]]
    return [ModelRequest(prompts), *history] if prompts else history


def parts_of(event: object) -> Iterator[Part]:
    """Yield what an event of a run says."""
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            yield Text(text)
        case PartStartEvent(part=ThinkingPart(content=text)):
            yield Reasoning(text)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(text))):
            yield Reasoning(text)
        case PartEndEvent(part=TextPart() as part):
            for cited in getattr(part, "citations", None) or []:  # releases before 2.67 have none
                yield from (Source(each.url, each.title or "") for each in cited.sources if each.kind == "web")
        case PartStartEvent(part=FilePart(content=content)):
            yield File(content.data, content.media_type)
        case FunctionToolCallEvent(part=call) | PartEndEvent(part=NativeToolCallPart() as call):
            yield ToolCall(call.tool_call_id, call.tool_name, arguments(cast(JsonValue, call.args or {})))
        case FunctionToolResultEvent(part=result):
            yield from _returned(result)
        case PartEndEvent(part=NativeToolReturnPart() as result):
            yield from _returned(result)
        case _:
            pass


def _returned(result: ToolReturnPart | NativeToolReturnPart) -> Iterator[Part]:
    if result.outcome != "success":
        yield ToolResult(result.tool_call_id, error=result.model_response_str(wrap_if_error=False))
        return
    files = result.files
    data = [each for each in result.content_items(mode="jsonable") if each not in files]
    output = data if isinstance(result.content, list) and not files else data[0] if len(data) == 1 else data or None
    yield ToolResult(result.tool_call_id, output)
    for each in files:
        if isinstance(each, BinaryContent):
            yield File(each.data, each.media_type)


def _result(output: object, has_text: bool) -> Iterator[Part]:
    """Yield the output of a run, if it is no text that was streamed."""
    if isinstance(output, str):
        if not has_text:
            yield Text(output)
    elif output is not None and not isinstance(output, BinaryContent):  # a file has been streamed
        yield as_text(output)
