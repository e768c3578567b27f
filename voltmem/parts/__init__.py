"""
What a message says, whoever wrote it: text, reasoning, tool calls and results, files, sources.

::

    from voltmem.parts import Text, ToolCall, parts

    for message in await storage.get_messages("ada", "c1"):
        for part in parts(message):
            match part:
                case Text(text):
                    print(text)
                case ToolCall(name=name, arguments=arguments):
                    print("calls", name, arguments)

There is one module for each form: ``openai_chat``, ``responses``, ``anthropic``, ``ai_sdk``, ``assistant_ui``,
``gemini``, ``langchain``, ``pydantic_ai``, ``agno``, and ``plain``. None of them imports a framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from voltmem.parts import _results as _results  # sets how blocks in tools' results are read
from voltmem.parts import ai_sdk, anthropic, openai_chat, responses
from voltmem.parts._given import readable
from voltmem.parts._read import parts
from voltmem.parts._settled import settle
from voltmem.parts._steps import SYSTEM_ROLES, Readable, steps
from voltmem.parts._types import (
    CallState,
    File,
    JsonObject,
    Origin,
    Other,
    Part,
    Reasoning,
    ResultState,
    Source,
    Text,
    ToolCall,
    ToolResult,
)

__all__ = [
    "SYSTEM_ROLES",
    "CallState",
    "File",
    "Origin",
    "Other",
    "Part",
    "Readable",
    "Reasoning",
    "ResultState",
    "Source",
    "Text",
    "ToolCall",
    "ToolResult",
    "parts",
    "system_prompt",
    "to_anthropic",
    "to_openai",
    "to_responses",
    "to_ui_messages",
]

Given: TypeAlias = Readable | Mapping[str, object]
"""A stored message, or a dict in one of the known forms."""


def to_openai(messages: Iterable[Given]) -> list[JsonObject]:
    """
    Return messages for OpenAI's Chat Completions, and for the many providers that accept the same.

    Each call is answered once, right after it; calls without a result and results without a call are left out. A
    denied or failed call is answered with what became of it. What was stored in this form is returned as it was, but
    for what the API refuses: calls of other servers are written as OpenAI demands them, and fields that only answers
    have are left out. A file is named in the text where the API takes none: in an answer, in a tool's result, an image
    or a sound of a form that it refuses, an address that it cannot fetch, another provider's id, and a stored file
    without its bytes, which memory.with_files() fills in. A message without words or files is left out.

    Args:
        messages: Stored messages, or dicts in any of the known forms.

    Raises:
        InvalidInputError: One of them is no message.
    """
    return openai_chat.write(steps(settle(readable(messages))))


def to_responses(messages: Iterable[Given]) -> list[JsonObject]:
    """
    Return items for OpenAI's Responses API, by the same rules as to_openai(). Tools' results have their files.

    A reasoning is returned if the item that followed it comes next, and only such an item has its id. A search or
    another call that must have its id is left out where its reasoning may be missing. Nulls, and what the package
    openai has parsed, are left out.
    """
    return responses.write(settle(readable(messages)))


def to_anthropic(messages: Iterable[Given]) -> list[JsonObject]:
    """
    Return messages for Anthropic's Messages API, by the same rules as to_openai().

    The roles alternate. The system's messages are left out: pass ``system=system_prompt(messages)``. What Anthropic
    made is returned as it came: signed thinking, its own tools, citations. Tools' results have their files.
    """
    return anthropic.write(steps(settle(readable(messages)), anthropic.is_inline))


def system_prompt(messages: Iterable[Given]) -> str:
    """Return the text of the system's messages, with an empty line between two; "" if there are none."""
    said = (
        part.text
        for each in readable(messages)
        if each.role in SYSTEM_ROLES
        for part in parts(each)
        if isinstance(part, Text)
    )
    return "\n\n".join(said)


def to_ui_messages(messages: Iterable[Given]) -> list[JsonObject]:
    """
    Return UIMessages for the AI SDK's useChat.

    A tool's result joins the part of its call. A call that later messages have passed over has failed. What a front end
    stored in this form is returned as it was.
    """
    return ai_sdk.write(settle(readable(messages)))
