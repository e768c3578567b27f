"""LangChain's agents: what create_agent() returns, or another graph of LangGraph whose state has messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from voltmem._values import uuid7
from voltmem.adapters.langchain import VoltMemMiddleware, to_langchain
from voltmem.chat._agents import Ask
from voltmem.chat._agents._shared import as_text, conversation, file, refuse
from voltmem.chat._context import Context
from voltmem.chat._parts import Part, Reasoning, Source, Text, ToolCall, ToolResult
from voltmem.models import Message

_MODEL: Final = "model"
"""The node of create_agent() that calls the model. Middleware may call models of its own."""


def asking(agent: object) -> Ask | None:
    """Return the function that asks an agent; None if it is none."""
    if not isinstance(agent, CompiledStateGraph):
        return None
    if any(isinstance(each, VoltMemMiddleware) for each in _middleware(agent)):
        refuse("VoltMemMiddleware")

    async def ask(messages: Sequence[Message], context: Context) -> AsyncIterator[Part]:
        given = {"messages": to_langchain(await conversation(messages, context))}
        # A thread of its own: a checkpointer would add the whole conversation to that of the answer before.
        thread_id = uuid7()
        config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
        reading = _Reading(agent)
        stream = agent.astream(given, config, context=context, stream_mode=["messages", "updates"])
        try:
            async with aclosing(cast("Any", stream)) as events:
                async for mode, event in events:
                    for part in reading.piece(*event) if mode == "messages" else reading.update(event):
                        yield part
        finally:
            if isinstance(agent.checkpointer, BaseCheckpointSaver):
                await agent.checkpointer.adelete_thread(thread_id)

    return ask


def _middleware(agent: CompiledStateGraph[Any, Any, Any, Any]) -> Iterator[object]:
    """Yield what the functions of the agent's nodes are methods of."""
    for node in agent.nodes.values():
        for name in ("func", "afunc"):
            function = getattr(node.bound, name, None)
            yield getattr(getattr(function, "func", function), "__self__", None)


class _Reading:
    """Reads the events of a run: what a model says by its pieces, and as a whole where it streams none."""

    def __init__(self, agent: CompiledStateGraph[Any, Any, Any, Any]) -> None:
        self._node = _MODEL if _MODEL in agent.nodes else None
        self._streamed: set[str | None] = set()
        self._called: set[str] = set()

    def piece(self, message: BaseMessage, metadata: Mapping[str, Any]) -> Iterator[Part]:
        """Yield what a model says, as it says it."""
        if isinstance(message, AIMessage) and self._node in (None, metadata.get("langgraph_node")):
            if not isinstance(message, AIMessageChunk) and message.id in self._streamed:
                return
            self._streamed.add(message.id)
            yield from _said(message)

    def update(self, event: Any) -> Iterator[Part]:
        """Yield what a node has done: calls and results, and a message that no model has streamed."""
        for node, changed in event.items():
            if isinstance(changed, Mapping) and node != "__interrupt__":
                messages = changed.get("messages")
                for message in messages if isinstance(messages, list) else []:
                    yield from self._whole(message)
                if changed.get("structured_response") is not None:
                    yield as_text(changed["structured_response"])

    def _whole(self, message: object) -> Iterator[Part]:
        if isinstance(message, ToolMessage) and message.tool_call_id in self._called:
            yield from _returned(message)
        elif isinstance(message, AIMessage):
            if message.id not in self._streamed:
                yield from _said(message)
            self._streamed.add(message.id)
            for call in message.tool_calls:
                if call["id"] and call["id"] not in self._called:
                    self._called.add(call["id"])
                    yield ToolCall(call["id"], call["name"], call["args"])


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
