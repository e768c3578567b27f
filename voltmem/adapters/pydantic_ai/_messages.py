"""Conversion between Pydantic AI's messages and voltmem's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias, cast

from pydantic import JsonValue
from pydantic_core import from_json

from voltmem._parts import (
    TOOL_CALL,
    TOOL_RESULT,
    ToolCall,
    ToolResult,
    call_part,
    result_part,
    text_part,
    tool_calls,
    tool_results,
)
from voltmem._values import JsonObject, plain_text, to_json
from voltmem.errors import (
    InvalidInputError,
    MissingExtraError,
)
from voltmem.models import Message, NativeMessage

try:
    from pydantic_ai.messages import (
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
        ToolReturnPart,
        UserPromptPart,
    )
except ImportError as error:
    raise MissingExtraError("pydantic-ai-slim", "pydantic-ai") from error

FORMAT: Final = "pydantic-ai"


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
    parts = cast("list[JsonObject]", payload["parts"])
    role, type_, content = _plain_request(parts) if payload["kind"] == "request" else _plain_response(parts)
    return NativeMessage(role=role, type=type_, content=content, format=FORMAT, payload=payload)


def to_model_messages(messages: Sequence[NativeMessage]) -> list[ModelMessage]:
    """Convert messages to Pydantic AI's. Its own are unchanged; others are converted from their plain form."""
    answered = {result.id for message in messages for result in tool_results(message)}
    own = iter(ModelMessagesTypeAdapter.validate_python([each.payload for each in messages if _is_own(each)]))
    return [next(own) if _is_own(message) else _from_plain(message, answered) for message in messages]


def _is_own(message: NativeMessage) -> bool:
    return message.format == FORMAT and message.payload is not None


_Plain: TypeAlias = tuple[str, str, JsonValue]  # role, type, content


def _plain_request(parts: list[JsonObject]) -> _Plain:
    results: list[JsonValue] = []
    plain: list[JsonObject] = []
    prompts: list[str] = []
    for part in parts:
        match part:
            case {
                "part_kind": "tool-return" | "retry-prompt",  # retry-prompt: until 2.0; a tool has a name
                "tool_call_id": str(id),
                "tool_name": str(name),
                "content": result,
            }:
                results.append(result_part(ToolResult(id, name, result)))
            case {"part_kind": "user-prompt", "content": content}:
                plain += [_plain_part(item) for item in (content if isinstance(content, list) else [content])]
            case {"part_kind": "system-prompt", "content": str(prompt)}:
                prompts.append(prompt)
            case _:
                pass
    if results:
        return "tool", TOOL_RESULT, [*results, *plain]
    if plain:
        return "user", "text", _text_or_parts(plain)
    if prompts:
        return "system", "text", "\n\n".join(prompts)
    return "system", _kind_of(parts), list(parts)  # feedback to the model on its output


def _plain_response(parts: list[JsonObject]) -> _Plain:
    plain: list[JsonObject] = []
    has_calls = False
    for part in parts:
        match part:
            case {"part_kind": "text", "content": str(text)} | {"part_kind": "speech", "transcript": str(text)}:
                plain.append(text_part(text))
            case {"part_kind": "tool-call", "tool_call_id": str(id), "tool_name": str(name), "args": args}:
                plain.append(call_part(ToolCall(id, name, _arguments(args))))
                has_calls = True
            case {"part_kind": "file", "content": content}:
                plain.append(_plain_part(content))
            case _:
                pass
    if has_calls:
        return "assistant", TOOL_CALL, list(plain)
    if plain or not parts:
        return "assistant", "text", _text_or_parts(plain)
    return "assistant", _kind_of(parts), list(parts)


def _plain_part(item: JsonValue) -> JsonObject:
    """Return the plain form of a content part, without a file's bytes: those are in Pydantic AI's own form."""
    if isinstance(item, str):
        return text_part(item)
    if not isinstance(item, dict):
        return {"type": "unknown"}
    if isinstance(text := item.get("content"), str):
        return text_part(text)
    return {"type": item.get("kind"), **{name: value for name, value in item.items() if name not in ("kind", "data")}}


def _text_or_parts(parts: Sequence[JsonObject]) -> JsonValue:
    match parts:
        case []:
            return ""
        case [{"type": "text", "text": text}]:
            return text
        case _:
            return list(parts)


def _kind_of(parts: Sequence[JsonObject]) -> str:
    return str(parts[0]["part_kind"]) if parts else "text"


def _arguments(args: JsonValue) -> JsonValue:
    """Return a call's arguments as JSON; as text if the model wrote no JSON object."""
    if not isinstance(args, str):
        return args
    try:
        read = from_json(args)
    except (ValueError, TypeError):  # TypeError: the text has a lone surrogate
        return args
    return cast(JsonValue, read) if isinstance(read, dict) else args


def _from_plain(message: Message, answered: set[str]) -> ModelMessage:
    """Convert a plain message. Its parts have the message's time, so that every read gives an equal result."""
    moment = message.created_at
    results = [
        ToolReturnPart(result.name or "tool", result.result, result.id or "call", timestamp=moment)
        for result in tool_results(message)
    ]
    text = _text(message.content) if not results or isinstance(message.content, list) else ""
    if message.role == "assistant":
        content_part = ThinkingPart(text) if message.type in ("reasoning", "thinking") else TextPart(text)
        # Pydantic AI refuses a prompt after a call without a result. "": a result does not say which call it answers.
        calls = [
            ToolCallPart(call.name or "tool", _as_arguments(call.args), call.id or "call")
            for call in tool_calls(message)
            if call.id in answered or "" in answered
        ]
        parts: list[ModelResponsePart] = [*([content_part] if text else []), *calls]
        return ModelResponse(parts, timestamp=moment)
    request: list[ModelRequestPart] = [*results]
    if message.role in ("system", "developer"):
        request.append(SystemPromptPart(text, timestamp=moment))
    elif text or not results:
        request.append(UserPromptPart(text, timestamp=moment))
    return ModelRequest(request)


def _as_arguments(args: JsonValue) -> dict[str, JsonValue] | str | None:
    return args if args is None or isinstance(args, dict | str) else to_json(args)


def _text(content: JsonValue) -> str:
    if not isinstance(content, list):
        return plain_text(content) if not isinstance(content, str) else content
    return "\n".join(filter(None, map(_text_of_part, content)))


def _text_of_part(part: JsonValue) -> str:
    """Return a part's text; a placeholder for an image or file; "" for tool parts, which are converted separately."""
    match part:
        case {"text": str(text)}:
            return text
        case {"type": str(kind)}:
            return "" if kind.startswith(("tool", "function_call")) else f"[{kind}]"
        case _:
            return plain_text(part)
