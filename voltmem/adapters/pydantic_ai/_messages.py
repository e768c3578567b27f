"""Conversion between Pydantic AI's messages and voltmem's."""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Final, Literal, TypeAlias

from pydantic import ValidationError

from voltmem._areas.shown import is_shown
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.parts import File, Part, Reasoning, Text, ToolCall, ToolResult, anthropic, plain
from voltmem.parts import pydantic_ai as forms
from voltmem.parts._providers import arguments_object, named_file, references, result_parts, result_text
from voltmem.parts._settled import settle
from voltmem.parts._steps import Settled
from voltmem.parts._told import Piece, told
from voltmem.parts._types import string

try:
    from pydantic_ai.messages import (
        AudioUrl,
        BinaryContent,
        DocumentUrl,
        FilePart,
        ImageUrl,
        ModelMessage,
        ModelMessagesTypeAdapter,
        ModelRequest,
        ModelRequestPart,
        ModelResponse,
        ModelResponsePart,
        SystemPromptPart,
        TextPart,
        ThinkingPart,
        ToolCallPart,
        ToolReturnContent,
        ToolReturnPart,
        UserContent,
        UserPromptPart,
        VideoUrl,
    )
except ImportError as error:
    raise MissingExtraError("pydantic-ai-slim", "pydantic-ai") from error

FORMAT: Final = "pydantic-ai"

_log = logging.getLogger("voltmem")

_Outcome: TypeAlias = Literal["success", "failed", "denied"]
_OUTCOMES: Final[Mapping[str, _Outcome]] = {"answered": "success", "failed": "failed", "denied": "denied"}


def to_message(message: ModelMessage) -> NativeMessage:
    """
    Convert a message of Pydantic AI to the plain message together with Pydantic AI's own form.

    The plain message of a request is the tools' results together with the user's parts, or the user's prompt if there
    are no results, or the system prompt if there is neither. Instructions, thinking and the bytes of files are only in
    Pydantic AI's own form.

    Raises:
        InvalidInputError: The message has a value that Pydantic AI cannot write as JSON.
    """
    try:
        (payload,) = ModelMessagesTypeAdapter.dump_python([message], mode="json")
    except ValueError as error:
        raise InvalidInputError(
            f"a {type(message).__name__} cannot be stored, because it has a value that is not JSON: {error}"
        ) from error
    role = forms.role(payload)
    type_, content = plain.derive_beside(role, forms.read(payload))
    return NativeMessage(role=role, type=type_, content=content, format=FORMAT, payload=payload)


def said(message: ModelMessage) -> ModelMessage | None:
    """Return the message without what this process has only shown a model; None if it has nothing else."""
    if not isinstance(message, ModelRequest):
        return message
    kept = [part for part in message.parts if not _is_shown(part)]
    if len(kept) == len(message.parts):
        return message
    return replace(message, parts=kept) if kept else None


def beginning_with_shown(window: list[ModelMessage]) -> list[ModelMessage]:
    """
    Return the window with what this process shows a model within the request that follows it, where a run has made one.

    Pydantic AI would join them to a request that is of no run, and that save_history() could not know.
    """
    start = next((place for place, message in enumerate(window) if said(message) is not None), len(window))
    first = window[start] if start < len(window) else None
    if not start or not isinstance(first, ModelRequest) or not first.run_id:
        return window
    parts = [part for message in window[:start] if isinstance(message, ModelRequest) for part in message.parts]
    return [replace(first, parts=[*parts, *first.parts]), *window[start + 1 :]]


class _KeptPrompt(SystemPromptPart):
    """A system prompt of the conversation's first request, shown before a later one, with which it is not stored."""


def with_prompts(first: Sequence[ModelMessage], window: list[ModelMessage]) -> list[ModelMessage]:
    """Return the window with the system prompts of the conversation's first request, which it may be without."""
    there = {part.content for part in _prompts(window)}
    missing = [part for part in _prompts(first[:1]) if part.content not in there]
    kept = [
        _KeptPrompt(**{each.name: getattr(part, each.name) for each in fields(part) if each.init}) for part in missing
    ]
    if not kept:
        return window
    begin = window[0] if window else None
    if isinstance(begin, ModelRequest):
        return [replace(begin, parts=[*kept, *begin.parts]), *window[1:]]
    return [ModelRequest(kept), *window]


def _prompts(messages: Sequence[ModelMessage]) -> list[SystemPromptPart]:
    requests = [each for each in messages if isinstance(each, ModelRequest)]
    return [part for each in requests for part in each.parts if isinstance(part, SystemPromptPart)]


def _is_shown(part: ModelRequestPart) -> bool:
    if isinstance(part, _KeptPrompt):
        return True
    if not isinstance(part, SystemPromptPart | UserPromptPart) or not isinstance(part.content, str):
        return False
    return is_shown("user", part.content)


def asked_id(run_id: str) -> str:
    """Return the id under which save_history() stores the first question of a run."""
    return f"{run_id}:asked"


def to_model_messages(messages: Sequence[NativeMessage]) -> list[ModelMessage]:
    """Convert stored messages to Pydantic AI's. Its own are unchanged; others are converted."""
    return [each for several in model_messages_of(messages) for each in several]


def model_messages_of(messages: Sequence[NativeMessage]) -> list[list[ModelMessage]]:
    """
    Convert each message. Of another framework's it may be none, or several: a call, its result, what was said then.

    A message that this release of Pydantic AI cannot read is converted as well, and the logger "voltmem" warns.
    """
    settled = settle(messages)
    own = [_own(each.message) for each in settled]
    pieces = told(settled, list(map(bool, own)))
    return [[*as_stored, *_converted(each, said)] for each, as_stored, said in zip(settled, own, pieces, strict=True)]


def _own(message: NativeMessage) -> list[ModelMessage]:
    if message.format != FORMAT or message.payload is None or references(message.payload):
        return []  # a stored file that is not there is named
    try:
        return ModelMessagesTypeAdapter.validate_python([message.payload])
    except ValidationError as error:
        _log.warning("this Pydantic AI cannot read the message %s: %d errors", message.id, error.error_count())
        return []


def _converted(settled: Settled[NativeMessage], pieces: Sequence[Piece]) -> Iterator[ModelMessage]:
    """Convert a message piece by piece, with its time, so that it is the same whenever it is read."""
    moment = settled.message.created_at
    asked: list[ModelRequestPart] = []  # results, and what the user says then, in one request
    for piece in pieces:
        if settled.speaker == "assistant":
            if piece.said and asked:
                yield ModelRequest(asked)
                asked = []
            spoken = [part for each in piece.said if (part := _response_part(each)) is not None]
            if spoken:
                yield ModelResponse(spoken, timestamp=moment)
        else:
            asked += _request_parts(settled.speaker, piece.said, moment)
        asked += [_return(result, moment) for result in piece.results]
    if asked:
        yield ModelRequest(asked)


def _return(result: ToolResult, moment: datetime) -> ToolReturnPart:
    return ToolReturnPart(
        result.name,
        _returned(result),
        result.call_id,
        timestamp=moment,
        outcome=_OUTCOMES[result.state],
    )


def _returned(result: ToolResult) -> ToolReturnContent:
    if result.state == "denied":
        return result_text(result)
    shown = result_parts(result)
    if any(isinstance(part, File) for part in shown):
        return [content for part in shown if (content := _content(part))]
    return result_text(result) if references(result.value) else result.value


def _response_part(part: Part) -> ModelResponsePart | None:
    match part:
        case Text(text):
            return TextPart(text) if text else None
        case Reasoning():
            return _thinking(part)
        case ToolCall():
            return ToolCallPart(part.name, arguments_object(part), part.id)
        case File(data=str(data), media_type=media_type) if data and "/" in media_type:
            return FilePart(BinaryContent(b64decode(data), media_type=media_type))
        case File():
            return TextPart(named_file(part))
        case _:
            return None


def _thinking(part: Reasoning) -> ThinkingPart | None:
    """
    Convert a reasoning, with Anthropic's signature.

    OpenAI's is left out: Pydantic AI sends it with the id of its item, and the API then demands the item that followed.
    """
    signature = string(part.opaque, "signature", "data")
    if part.provider != anthropic.PROVIDER or not signature:
        return ThinkingPart(part.text) if part.text else None
    id = "redacted_thinking" if "data" in part.opaque else None
    return ThinkingPart(part.text, id=id, signature=signature, provider_name=anthropic.PROVIDER)


def _request_parts(speaker: str, said: Sequence[Part], moment: datetime) -> list[ModelRequestPart]:
    contents = [content for part in said if (content := _content(part))]
    if not contents:
        return []
    texts = [content for content in contents if isinstance(content, str)]
    if speaker == "system":
        return [SystemPromptPart("\n".join(texts), timestamp=moment)]
    return [UserPromptPart("\n".join(texts) if len(texts) == len(contents) else contents, timestamp=moment)]


def _content(part: Part) -> UserContent | None:
    if isinstance(part, Text):
        return part.text
    if not isinstance(part, File):
        return None
    kind, media_type = part.media_type.partition("/")[0], part.media_type if "/" in part.media_type else None
    if part.data:
        return BinaryContent(b64decode(part.data), media_type=media_type or "application/octet-stream")
    if not part.url.startswith(("http:", "https:")):
        return named_file(part)
    if kind == "image":
        return ImageUrl(part.url, media_type=media_type)
    if kind == "audio":
        return AudioUrl(part.url, media_type=media_type)
    return (
        VideoUrl(part.url, media_type=media_type) if kind == "video" else DocumentUrl(part.url, media_type=media_type)
    )
