"""Reads a block whose form nobody has named, by its type and its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from voltmem.parts import ai_sdk, anthropic, assistant_ui, langchain, openai_chat, responses
from voltmem.parts._types import JSON, BlockReader, JsonObject, Other, Part, Reasoning, Text, ToolResult, string


def _call(block: JsonObject) -> list[Part] | None:
    """Read a call in the short form of many applications: an id, a name, arguments."""
    return [openai_chat.call({**block, "name": string(block, "name", "toolName")})]


def _result(block: JsonObject) -> list[Part] | None:
    """Read a result in the short form of many applications: the call's id and a value."""
    if "tool_use_id" in block:
        return None
    value = next((block[key] for key in ("result", "output", "content") if key in block), None)
    failed = block.get("is_error") is True or block.get("isError") is True
    call_id, name = string(block, "tool_call_id", "toolCallId", "call_id"), string(block, "name", "toolName")
    return [ToolResult(call_id, value, name, "failed" if failed else "answered")]


def _thought(block: JsonObject) -> list[Part] | None:
    """Read the Responses API's reasoning, which has a summary."""
    return responses.read(block) if isinstance(block.get("summary"), list) else None


# Forms that use the same type are asked in this order. The first that knows the block's fields reads it.
_FORMS: Final[Sequence[Mapping[str, BlockReader]]] = (
    anthropic.BLOCKS,
    openai_chat.BLOCKS,
    {"tool_call": _call, "tool_result": _result, "reasoning": _thought},
    langchain.BLOCKS,
    assistant_ui.BLOCKS,
    ai_sdk.BLOCKS,
    responses.BLOCKS,
    responses.ITEM_BLOCKS,
)
_READERS: Final[Mapping[str, Sequence[BlockReader]]] = {
    type: [form[type] for form in _FORMS if type in form] for form in _FORMS for type in form
}


def read_block(block: JsonObject) -> list[Part]:
    """Return the parts of a block; one that no form knows is Other."""
    type = string(block, "type")
    if block.get("type") is None and isinstance(block.get("text"), str):
        text = string(block, "text")
        return [Reasoning(text) if block.get("thought") is True else Text(text)]
    for reader in _READERS.get(type, ()):
        found = reader(block)
        if found is not None:
            return found
    if ai_sdk.is_tool(block):
        return ai_sdk.read_tool(block)
    return [Other(type or JSON, block)]
