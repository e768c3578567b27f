"""LangChain's agents: what create_agent() returns, or another graph of LangGraph whose state has messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from voltmem._postgres.driver import logger
from voltmem._values import JsonObject, short_repr, uuid7
from voltmem.adapters.langchain import VoltMemMiddleware, to_langchain
from voltmem.chat._agents import Ask
from voltmem.chat._agents._shared import as_text, conversation, denied, file, refuse
from voltmem.chat._context import Context
from voltmem.chat._parts import Decision, Part, Reasoning, Source, Text, ToolCall, ToolInput, ToolResult, Waiting
from voltmem.errors import InvalidInputError, InvalidOptionError
from voltmem.models import Message

_Graph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]
_DURABLE: Final = "use one that keeps threads in a database that all processes share, such as AsyncPostgresSaver"
_MODEL: Final = "model"
"""The node of create_agent() that calls the model. Middleware may call models of its own."""


def asking(agent: object) -> Ask | None:
    """Return the function that asks an agent; None if it is none."""
    if not isinstance(agent, CompiledStateGraph):
        return None
    kinds = {type(each) for each in _middleware(agent)}
    if any(issubclass(each, VoltMemMiddleware) for each in kinds):
        refuse("VoltMemMiddleware")
    if any(issubclass(each, HumanInTheLoopMiddleware) for each in kinds):
        _check_checkpointer(agent)

    async def ask(messages: Sequence[Message], context: Context) -> AsyncIterator[Part | Waiting]:
        reading = _Reading(agent, context.state if context.decisions else {})
        given: Any = {"messages": to_langchain(await conversation(messages, context))}
        config: RunnableConfig = {"configurable": {"thread_id": reading.thread_id}}
        if context.decisions:
            await _require_thread(agent, config)
            given = Command(resume={"decisions": reading.decisions(context.decisions)})
        stream = agent.astream(given, config, context=context, stream_mode=["messages", "updates"])
        try:
            async with aclosing(cast("Any", stream)) as events:
                async for mode, event in events:
                    for part in reading.piece(*event) if mode == "messages" else reading.update(event):
                        yield denied(part, context)
            if reading.asked:
                yield Waiting(reading.state())
        finally:
            if not reading.asked and isinstance(agent.checkpointer, BaseCheckpointSaver):
                await agent.checkpointer.adelete_thread(reading.thread_id)

    return ask


def _check_checkpointer(agent: _Graph) -> None:
    """Check that an agent that asks for approval can go on later; warn if it can do so in this process only."""
    if not isinstance(agent.checkpointer, BaseCheckpointSaver):
        raise InvalidOptionError(
            "answer is an agent with HumanInTheLoopMiddleware and without a checkpointer, so it could not go on after "
            f"an approval: pass create_agent() a checkpointer; {_DURABLE}"
        )
    if isinstance(agent.checkpointer, InMemorySaver):
        logger.warning(
            "answer= asks for approval, and its checkpointer keeps threads in memory: an approval fails after a "
            "restart, and in another process; %s",
            _DURABLE,
        )


async def _require_thread(agent: _Graph, config: RunnableConfig) -> None:
    """Raise InvalidOptionError if the agent's checkpointer lacks the thread: the agent would begin a new one, empty."""
    saver = agent.checkpointer
    if not isinstance(saver, BaseCheckpointSaver) or await saver.aget_tuple(config) is None:
        raise InvalidOptionError(
            f"{type(saver).__name__}, the checkpointer, has no thread of this answer, in which the agent asked for "
            f"approval: {_DURABLE}"
        )


def _decision(decision: Decision | None) -> dict[str, str]:
    if decision is not None and decision.is_approved:
        return {"type": "approve"}
    return {"type": "reject", **({"message": decision.reason} if decision and decision.reason else {})}


def _middleware(agent: _Graph) -> Iterator[object]:
    """Yield what the functions of the agent's nodes are methods of."""
    for node in agent.nodes.values():
        for name in ("func", "afunc"):
            function = getattr(node.bound, name, None)
            yield getattr(getattr(function, "func", function), "__self__", None)


class _Reading:
    """Reads the events of a run: what a model says by its pieces, and as a whole where it streams none."""

    def __init__(self, agent: _Graph, state: Any) -> None:
        self._node = _MODEL if _MODEL in agent.nodes else None
        self._streamed: set[str | None] = {*state.get("streamed", ())}
        self._called: set[str] = {*state.get("called", ())}
        self._open: dict[str, ToolCall] = {}
        # The id and the name of each call that is written, by its message and its place there.
        self._written: dict[tuple[str | None, int | None], tuple[str, str]] = {}
        # A thread of its own: a checkpointer would add the whole conversation to that of the answer before.
        self.thread_id: str = state.get("thread", None) or uuid7()
        self._answers: list[str] = state.get("asked", [])
        self.asked: list[str] = []
        """The ids of the calls that need approval, in the order in which the agent asks for it."""

    def state(self) -> JsonObject:
        """Return what another reading needs to go on: the rest is in the checkpointer."""
        streamed = [id for id in self._streamed if id]
        known: JsonObject = {"streamed": [*streamed], "called": [*self._called], "asked": [*self.asked]}
        return {"thread": self.thread_id, **known}

    def decisions(self, given: Sequence[Decision]) -> list[dict[str, str]]:
        """Return the decisions as the agent wants them: in the order in which it has asked."""
        by_id = {each.call.id: each for each in given}
        return [_decision(by_id.get(id)) for id in self._answers]

    def piece(self, message: BaseMessage, metadata: Mapping[str, Any]) -> Iterator[Part]:
        """Yield what a model says, as it says it."""
        if isinstance(message, AIMessage) and self._node in (None, metadata.get("langgraph_node")):
            if not isinstance(message, AIMessageChunk) and message.id in self._streamed:
                return
            self._streamed.add(message.id)
            yield from _said(message)
            if isinstance(message, AIMessageChunk):
                yield from self._writing(message)

    def _writing(self, message: AIMessageChunk) -> Iterator[ToolInput]:
        """Yield the pieces of arguments. Only the first of a call has its id and the tool's name."""
        for each in message.tool_call_chunks:
            place = (message.id, each["index"])
            if each["id"] and each["name"]:
                self._written[place] = each["id"], each["name"]
            if each["args"] and place in self._written:
                yield ToolInput(*self._written[place], each["args"])

    def update(self, event: Any) -> Iterator[Part]:
        """Yield what a node has done: calls and results, and a message that no model has streamed."""
        for node, changed in event.items():
            if node == "__interrupt__":
                yield from self._interrupted(changed)
            elif isinstance(changed, Mapping):
                messages = changed.get("messages")
                for message in messages if isinstance(messages, list) else []:
                    yield from self._whole(message)
                if changed.get("structured_response") is not None:
                    yield as_text(changed["structured_response"])

    def _whole(self, message: object) -> Iterator[Part]:
        if isinstance(message, ToolMessage) and message.tool_call_id in self._called:
            self._open.pop(message.tool_call_id, None)
            yield from _returned(message)
        elif isinstance(message, AIMessage):
            if message.id not in self._streamed:
                yield from _said(message)
            self._streamed.add(message.id)
            for call in message.tool_calls:
                if call["id"] and call["id"] not in self._called:
                    self._called.add(call["id"])
                    self._open[call["id"]] = ToolCall(call["id"], call["name"], call["args"])
                    yield self._open[call["id"]]

    def _interrupted(self, interrupts: Any) -> Iterator[Part]:
        """Yield the calls that HumanInTheLoopMiddleware asks about, which it names without their ids, in order."""
        asked = [each for one in interrupts if isinstance(one.value, Mapping) for each in one.value["action_requests"]]
        calls = [*self._open.values()]
        for each in asked:
            call = next((call for call in calls if (call.name, call.input) == (each["name"], each["args"])), None)
            if call is None:
                raise InvalidInputError(
                    f"the agent asks for approval of {short_repr(each['name'])}, which it has not called: no open call "
                    f"of the answer has the arguments {short_repr(each['args'])}"
                )
            calls.remove(call)
            self.asked.append(call.id)
            yield replace(call, needs_approval=True)


def _said(message: AIMessage) -> Iterator[Part]:
    for block in cast("list[Mapping[str, Any]]", message.content_blocks):
        match block.get("type"):
            case "text":
                yield Text(block.get("text") or "")
                for each in block.get("annotations") or []:
                    if each.get("type") == "citation" and each.get("url"):
                        yield Source(each["url"], each.get("title") or "")
            case "reasoning":
                yield Reasoning(block.get("reasoning") or "")
            case "refusal":
                yield Text(block.get("refusal") or "")
            case "server_tool_call":
                yield ToolCall(block["id"], block["name"], block.get("args"))
            case "server_tool_result":
                yield ToolResult(block["tool_call_id"], block.get("output"))
            case "image" | "audio" | "video" | "file":
                yield from _file(block)
            case _:
                pass


def _file(block: Mapping[str, Any]) -> Iterator[Part]:
    name = block.get("filename") or ""
    return file(block.get("mime_type") or "", name, block.get("url") or "", block.get("base64") or "")


def _returned(message: ToolMessage) -> Iterator[Part]:
    blocks = cast("list[Mapping[str, Any]]", message.content_blocks) if isinstance(message.content, list) else []
    text = str(message.text)
    yield ToolResult(message.tool_call_id, text, error=text if message.status == "error" else None)
    for block in blocks:
        if block.get("type") in ("image", "audio", "video", "file"):
            yield from _file(block)
