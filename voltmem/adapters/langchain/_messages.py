"""Conversion between LangChain's messages and voltmem's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

from voltmem._values import JsonObject, json_value, uuid7
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.parts import File, Part, Text, ToolCall, plain
from voltmem.parts import langchain as forms
from voltmem.parts._providers import (
    arguments_object,
    is_named_only,
    named_file,
    references,
    result_parts,
    result_text,
    spoken,
)
from voltmem.parts._settled import settle
from voltmem.parts._shapes import read_block
from voltmem.parts._steps import Settled
from voltmem.parts._told import Piece, told

try:
    from langchain_core.messages import (
        AIMessage,
        BaseMessage,
        ChatMessage,
        HumanMessage,
        SystemMessage,
        ToolMessage,
        message_to_dict,
        messages_from_dict,
    )
    from langchain_core.messages import ToolCall as LangChainCall
except ImportError as error:
    raise MissingExtraError("langchain", "langchain") from error

FORMAT: Final = "langchain"

_log = logging.getLogger("voltmem")

_ROLES: Final = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"}
Content: TypeAlias = str | list[str | dict[Any, Any]]
"""The content of a LangChain message."""


def to_native(message: BaseMessage) -> NativeMessage:
    """
    Convert a LangChain message to the plain message together with LangChain's own form.

    A message without an id is given one. A tool's artifact can be any object, and no model reads it: it is kept if it
    is JSON; if not, it is left out, and the logger "voltmem" logs a warning.

    Raises:
        InvalidInputError: Another value in it is not JSON, or LangChain cannot read this kind of message again.
    """
    message.id = message.id or uuid7()
    role = _role(message)
    payload = cast(JsonObject, json_value(message_to_dict(_without_foreign_artifact(message)), "message"))
    type, content = plain.derive(role, forms.read(payload, read_block))
    return NativeMessage.of(
        {"id": message.id, "role": role, "content": content, "type": type, "format": FORMAT, "payload": payload}
    )


def to_langchain(messages: Iterable[NativeMessage]) -> list[BaseMessage]:
    """
    Convert stored messages to LangChain's. Its own are unchanged; others are converted.

    A message with tool results, or with a call and what was said after its result, becomes several messages. Calls that
    are stored one by one, with no result in between, become one message, as providers want them. Parts that only the
    framework that stored them can read, such as reasoning, are left out.
    """
    settled = settle(list(messages))
    own = [_own(each.message) for each in settled]
    pieces = told(settled, list(map(bool, own)))
    return [
        message
        for each, as_stored, said in zip(settled, own, pieces, strict=True)
        for message in (*as_stored, *_converted(each, said, len(as_stored)))
    ]


def _role(message: BaseMessage) -> str:
    kind = message.type.removesuffix("MessageChunk").lower()
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(kind)
    if role is None:
        raise InvalidInputError(f"a {type(message).__name__} of type {message.type!r} cannot be stored: leave it out")
    return role


def _without_foreign_artifact(message: BaseMessage) -> BaseMessage:
    """Return the message; if its artifact is not JSON, a copy without the artifact."""
    if not isinstance(message, ToolMessage):
        return message
    try:
        json_value(message.artifact, "artifact")
    except InvalidInputError as error:
        _log.warning("the artifact of the tool message %s is not kept: %s", message.id, error)
        return message.model_copy(update={"artifact": None})
    return message


def _own(message: NativeMessage) -> list[BaseMessage]:
    """Return the message that LangChain stored, unchanged; none if another framework stored it."""
    if message.format != FORMAT or not isinstance(message.payload, dict) or references(message.payload):
        return []  # a stored file that is not there is named
    try:
        return messages_from_dict([cast("dict[str, Any]", message.payload)])
    except Exception as error:  # whatever LangChain stumbles over
        _log.warning("this LangChain cannot read the message %s: its plain form is read (%s)", message.id, type(error))
        return []


def _converted(settled: Settled[NativeMessage], pieces: Iterable[Piece], begin: int) -> list[BaseMessage]:
    """Convert what a message says that LangChain did not store. The ids are numbered from *begin* on."""
    converted: list[BaseMessage] = []
    for piece in pieces:
        converted += _with_content(settled, piece.said)
        converted += [
            ToolMessage(
                _content(result_parts(result)) if result.state == "answered" else result_text(result),
                tool_call_id=result.call_id,
                name=result.name or None,
                status="success" if result.state == "answered" else "error",
            )
            for result in piece.results
        ]
    for number, each in enumerate(converted, begin):
        each.id = f"{settled.message.id}:{number}" if number else settled.message.id
    return converted


def _with_content(settled: Settled[NativeMessage], said: Sequence[Part]) -> list[BaseMessage]:
    # Providers refuse files in what a model says.
    content = spoken(said) if settled.speaker in ("assistant", "system") else _content(said)
    calls = [_langchain_call(part) for part in said if isinstance(part, ToolCall)]
    if not content and not calls:
        return []
    if settled.speaker == "assistant":
        return [AIMessage(content, tool_calls=calls)]
    return [SystemMessage(content) if settled.speaker == "system" else HumanMessage(content)]


def _langchain_call(call: ToolCall) -> LangChainCall:
    return LangChainCall(id=call.id, name=call.name, args=arguments_object(call))


def _content(said: Sequence[Part]) -> Content:
    """Return the text; a list of content blocks if there are files."""
    blocks = [block for part in said if (block := _block(part)) is not None]
    if all(block["type"] == "text" for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return [*blocks]


def _block(part: Part) -> dict[Any, Any] | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} if part.text else None
    if not isinstance(part, File):
        return None
    if is_named_only(part):
        return {"type": "text", "text": named_file(part)}
    kind = part.media_type.partition("/")[0]
    where = {"base64": part.data} if part.data else {"url": part.url} if part.url else {"file_id": part.id}
    named = {"mime_type": part.media_type if "/" in part.media_type else "", "filename": part.name}
    type = kind if kind in ("image", "audio", "video") else "file"
    return {"type": type, **where, **{name: value for name, value in named.items() if value}}
