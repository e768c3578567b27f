"""Agno's agents, of releases 1 to 3."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Sequence
from inspect import isawaitable, signature
from typing import Any, Final

from agno.agent import Agent
from agno.models.message import Message as AgnoMessage
from pydantic_core import from_json, to_json

from voltmem.adapters.agno import Formats
from voltmem.adapters.agno._runs import FORMAT, to_history
from voltmem.chat._agents import Ask
from voltmem.chat._agents._shared import as_text, conversation, refuse
from voltmem.chat._context import Context
from voltmem.chat._parts import File, Part, Reasoning, Source, Text, ToolCall, ToolResult, Waiting
from voltmem.models import Message, NativeMessage

# The first is the name of release 1.
_CONTENT: Final = frozenset({"RunResponseContent", "RunContent"})
_FAILED: Final = frozenset({"RunError", "RunCancelled"})
_REASONING: Final = frozenset({"ReasoningStep", "ReasoningContentDelta"})
_MEDIA: Final = ("images", "audio", "videos", "files")


def asking(agent: object) -> Ask | None:
    """Return the function that asks an agent; None if it is none."""
    if not isinstance(agent, Agent):
        return None
    for name in ("db", "storage"):  # the latter in release 1
        store = getattr(agent, name, None)
        if type(store).__module__.startswith("voltmem."):
            refuse(f"{name}={type(store).__name__}")

    async def ask(messages: Sequence[Message], context: Context) -> AsyncIterator[Part | Waiting]:
        run = _continued(agent, context) if context.decisions else None
        run = run or _run(agent, await conversation(messages, context), context)
        events = await run if isawaitable(run) else run
        for decision in context.decisions:
            if not decision.is_approved:  # there is no event for it
                yield ToolResult(decision.call.id, error=decision.reason or None, is_denied=True)
        try:
            async for event in events:
                for part in _parts(event):
                    yield part
        finally:
            await events.aclose()

    return ask


def _options(take: Any, context: Context) -> dict[str, Any]:
    """Return the options of a run that this release takes."""
    parameters = signature(take).parameters
    events = "stream_events" if "stream_events" in parameters else "stream_intermediate_steps"
    options: dict[str, Any] = {"stream": True, events: True, "user_id": context.user_id}
    whole = {name: True for name in ("yield_run_output", "yield_run_response") if name in parameters}
    return {**options, **whole, "session_id": context.conversation_id}


def _run(agent: Any, messages: list[NativeMessage], context: Context) -> Any:
    """Begin a run. One of release 1 keeps its state in the agent."""
    options = _options(agent.arun, context)
    is_1 = "input" not in signature(agent.arun).parameters
    given = [_message(each) for each in to_history(messages, Formats(f"{FORMAT}-1/agent" if is_1 else FORMAT))]
    if is_1:
        return agent.deep_copy().arun(messages=given, **options)
    return agent.arun(given, add_history_to_context=False, **options)


def _continued(agent: Any, context: Context) -> Any:
    """Continue a run with the user's decisions."""
    from agno.run.agent import RunOutput  # here: release 1 has none, and its runs do not wait

    assert isinstance(context.state, dict)
    run = RunOutput.from_dict(context.state)
    decisions = {each.call.id: each for each in context.decisions}
    for tool in _waiting(run):
        decision = decisions.get(tool.tool_call_id)
        tool.confirmed = decision is not None and decision.is_approved
        tool.confirmation_note = (decision.reason if decision else "") or None
    return agent.acontinue_run(run_response=run, updated_tools=run.tools, **_options(agent.acontinue_run, context))


def _waiting(run: Any) -> list[Any]:
    return [tool for tool in run.tools or [] if tool.requires_confirmation and tool.confirmed is None]


def _message(given: dict[str, Any]) -> AgnoMessage:
    if hasattr(AgnoMessage, "from_dict"):
        return AgnoMessage.from_dict(given)
    for name in _MEDIA:  # release 1 takes no base64
        for each in given.get(name, ()):
            each |= {"content": b64decode(each["content"])} if "content" in each else {}
    return AgnoMessage(**given)


def _parts(event: Any) -> Iterator[Part | Waiting]:
    kind = str(getattr(event, "event", ""))
    if kind in _CONTENT:
        if thought := event.reasoning_content or getattr(event, "thinking", None):
            yield Reasoning(thought)
        if isinstance(event.content, str):
            yield Text(event.content)
        yield from _cited(event.citations)
        yield from _files([event.image])
    elif kind in _REASONING:
        yield Reasoning(event.reasoning_content or "")
    elif kind == "ToolCallStarted":
        yield ToolCall(event.tool.tool_call_id, event.tool.tool_name, event.tool.tool_args or {})
    elif kind == "ToolCallCompleted":
        yield from _returned(event.tool)
        for name in _MEDIA:
            yield from _files(getattr(event, name, None))
    elif kind == "RunCompleted":
        if event.content is not None and not isinstance(event.content, str):
            yield as_text(event.content)
        yield from _cited(event.citations)
        for name in _MEDIA:
            yield from _files(getattr(event, name, None))
    elif not kind and event.is_paused:  # the whole run, at its end
        tools = _waiting(event)
        for tool in tools:
            yield ToolCall(tool.tool_call_id, tool.tool_name, tool.tool_args or {}, needs_approval=True)
        if tools and len(tools) == sum(tool.is_paused and tool.result is None for tool in event.tools):
            yield Waiting(from_json(to_json(event.to_dict())))
    elif kind in _FAILED:
        raise RuntimeError(getattr(event, "content", None) or kind)


def _returned(tool: Any) -> Iterator[Part]:
    failed = str(tool.result) if tool.tool_call_error else None
    yield ToolResult(tool.tool_call_id, tool.result, error=failed)


def _cited(citations: Any) -> Iterator[Part]:
    for each in getattr(citations, "urls", None) or []:
        if each.url:
            yield Source(each.url, each.title or "")


def _files(media: Any) -> Iterator[Part]:
    for each in media or []:
        url = getattr(each, "url", None) or ""
        content = b"" if url else getattr(each, "content", None)
        if url or (content and isinstance(content, bytes)):
            yield File(
                content or b"", getattr(each, "mime_type", None) or "", getattr(each, "filename", None) or "", url
            )
