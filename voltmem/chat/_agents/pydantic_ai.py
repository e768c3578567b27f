"""Pydantic AI's agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from pydantic import JsonValue
from pydantic_ai import (
    AgentRunResult,
    AgentRunResultEvent,
    DeferredToolRequests,
    DeferredToolResults,
    ToolApproved,
    ToolDenied,
)
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    FinalResultEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelMessagesTypeAdapter,
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
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
)
from typing_extensions import TypeIs

from voltmem.adapters.pydantic_ai import VoltMemWindow, to_model_messages
from voltmem.chat._agents import Ask
from voltmem.chat._agents._shared import as_text, conversation, denied, refuse
from voltmem.chat._context import Context
from voltmem.chat._parts import Decision, File, Part, Reasoning, Source, Text, ToolCall, ToolInput, ToolResult, Waiting
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

    async def ask(messages: Sequence[Message], context: Context) -> AsyncIterator[Part | Waiting]:
        history = await _history(agent, messages, context)
        begin = len(history)
        results: DeferredToolResults | None = None
        if context.decisions:
            history += ModelMessagesTypeAdapter.validate_python(context.state)
            results = DeferredToolResults(approvals={each.call.id: _approval(each) for each in context.decisions})
        has_text, written = False, _Arguments()
        async with agent.run_stream_events(
            message_history=history,
            deferred_tool_results=results,
            deps=context,
            conversation_id=context.conversation_id,
        ) as events:
            async for event in events:
                for piece in written.pieces(event):
                    yield piece
                for part in _end(event.result, begin, has_text) if is_end(event) else parts_of(event):
                    has_text = has_text or isinstance(part, Text)
                    yield part if isinstance(part, Waiting) else denied(part, context)

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
            yield _call(call)
        case FunctionToolResultEvent(part=result):
            yield from _returned(result)
        case PartEndEvent(part=NativeToolReturnPart() as result):
            yield from _returned(result)
        case _:
            pass


class _Arguments:
    """What a model writes as the arguments of its calls."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCallPart | NativeToolCallPart] = {}  # by the part's place in the response
        self._first: dict[int, str] = {}  # what a call has from the start

    def pieces(self, event: object) -> Iterator[ToolInput]:
        """Yield the piece that an event brings. Calls that only give the agent's output are left out."""
        match event:
            case PartStartEvent(index=index, part=ToolCallPart() | NativeToolCallPart() as call):
                self._calls[index] = call
                self._first[index] = call.args if isinstance(call.args, str) else ""
            case PartStartEvent(index=index):
                self._calls.pop(index, None)
            case FinalResultEvent(tool_call_id=str(id)):
                self._calls = {index: call for index, call in self._calls.items() if call.tool_call_id != id}
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=str(text))) if index in self._calls:
                call = self._calls[index]
                yield ToolInput(call.tool_call_id, call.tool_name, self._first.pop(index, "") + text)
            case _:
                pass


def _call(call: ToolCallPart | NativeToolCallPart) -> ToolCall:
    return ToolCall(call.tool_call_id, call.tool_name, arguments(cast(JsonValue, call.args or {})))


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


def is_end(event: object) -> TypeIs[AgentRunResultEvent[Any]]:
    """Return whether a run ends with this event."""
    return isinstance(event, AgentRunResultEvent)


def _end(result: AgentRunResult[Any], begin: int, has_text: bool) -> Iterator[Part | Waiting]:
    """Yield the output of a run, if it is no text that was streamed; or the calls that need approval."""
    output = result.output
    if isinstance(output, DeferredToolRequests):
        if output.approvals and not output.calls:  # nobody runs tools elsewhere
            yield from (replace(_call(each), needs_approval=True) for each in output.approvals)
            yield Waiting(ModelMessagesTypeAdapter.dump_python(result.all_messages()[begin:], mode="json"))
    elif isinstance(output, str):
        if not has_text:
            yield Text(output)
    elif output is not None and not isinstance(output, BinaryContent):  # a file has been streamed
        yield as_text(output)


def _approval(decision: Decision) -> ToolApproved | ToolDenied:
    if decision.is_approved:
        return ToolApproved()
    return ToolDenied(decision.reason) if decision.reason else ToolDenied()
