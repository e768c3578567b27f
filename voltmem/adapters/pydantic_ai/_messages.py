"""What Pydantic AI stores, as our messages and back."""

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
    Return what people read of a message, and the message itself.

    Of a request that is what the user said, or else what the tools returned, with what was said beside it. A system
    prompt is shown where it stands alone; instructions, thoughts and files are in the framework's own form only.

    Raises:
        InvalidInputError: It has something that Pydantic AI's own JSON has no word for.
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
    """Return the framework's messages: as they were stored, or what another's plain messages say."""
    answered = {result.id for message in messages for result in tool_results(message)}
    own = iter(ModelMessagesTypeAdapter.validate_python([each.payload for each in messages if _is_own(each)]))
    return [next(own) if _is_own(message) else _translated(message, answered) for message in messages]


def _is_own(message: NativeMessage) -> bool:
    return message.format == FORMAT and message.payload is not None


_Plain: TypeAlias = tuple[str, str, JsonValue]  # role, type, content


def _plain_request(parts: list[JsonObject]) -> _Plain:
    results: list[JsonValue] = []
    said: list[JsonObject] = []
    prompts: list[str] = []
    for part in parts:
        match part:
            case {
                "part_kind": "tool-return" | "retry-prompt",  # the latter until 2.0, and without a tool's name feedback
                "tool_call_id": str(id),
                "tool_name": str(name),
                "content": result,
            }:
                results.append(result_part(ToolResult(id, name, result)))
            case {"part_kind": "user-prompt", "content": content}:
                said += [_said(item) for item in (content if isinstance(content, list) else [content])]
            case {"part_kind": "system-prompt", "content": str(prompt)}:
                prompts.append(prompt)
            case _:
                pass
    if results:
        return "tool", TOOL_RESULT, [*results, *said]
    if said:
        return "user", "text", _text_or_parts(said)
    if prompts:
        return "system", "text", "\n\n".join(prompts)
    return "system", _kind_of(parts), list(parts)  # to the model, and no conversation: feedback on its output


def _plain_response(parts: list[JsonObject]) -> _Plain:
    said: list[JsonObject] = []
    has_calls = False
    for part in parts:
        match part:
            case {"part_kind": "text", "content": str(text)} | {"part_kind": "speech", "transcript": str(text)}:
                said.append(text_part(text))
            case {"part_kind": "tool-call", "tool_call_id": str(id), "tool_name": str(name), "args": args}:
                said.append(call_part(ToolCall(id, name, _arguments(args))))
                has_calls = True
            case {"part_kind": "file", "content": content}:
                said.append(_said(content))
            case _:
                pass
    if has_calls:
        return "assistant", TOOL_CALL, list(said)
    if said or not parts:
        return "assistant", "text", _text_or_parts(said)
    return "assistant", _kind_of(parts), list(parts)


def _said(item: JsonValue) -> JsonObject:
    """Return a part of what a user said. The bytes of a file are kept once, in the framework's form."""
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
    """Return a call's arguments as JSON; as text where the model wrote none."""
    if not isinstance(args, str):
        return args
    try:
        read = from_json(args)
    except (ValueError, TypeError):  # the latter where it has a lone surrogate
        return args
    return cast(JsonValue, read) if isinstance(read, dict) else args


def _translated(message: Message, answered: set[str]) -> ModelMessage:
    """Return what a plain message says, with its time, so that it is the same whenever it is read."""
    moment = message.created_at
    results = [
        ToolReturnPart(result.name or "tool", result.result, result.id or "call", timestamp=moment)
        for result in tool_results(message)
    ]
    text = _text(message.content) if not results or isinstance(message.content, list) else ""
    if message.role == "assistant":
        spoken = ThinkingPart(text) if message.type in ("reasoning", "thinking") else TextPart(text)
        # A call that was never answered would keep the user from saying anything. "": which one, nobody has said.
        calls = [
            ToolCallPart(call.name or "tool", _as_arguments(call.args), call.id or "call")
            for call in tool_calls(message)
            if call.id in answered or "" in answered
        ]
        parts: list[ModelResponsePart] = [*([spoken] if text else []), *calls]
        return ModelResponse(parts, timestamp=moment)
    asked: list[ModelRequestPart] = [*results]
    if message.role in ("system", "developer"):
        asked.append(SystemPromptPart(text, timestamp=moment))
    elif text or not results:
        asked.append(UserPromptPart(text, timestamp=moment))
    return ModelRequest(asked)


def _as_arguments(args: JsonValue) -> dict[str, JsonValue] | str | None:
    return args if args is None or isinstance(args, dict | str) else to_json(args)


def _text(content: JsonValue) -> str:
    if not isinstance(content, list):
        return plain_text(content) if not isinstance(content, str) else content
    return "\n".join(filter(None, map(_text_of_part, content)))


def _text_of_part(part: JsonValue) -> str:
    """Return what a part says; of a picture or a file, that there is one; nothing of tools, which have their own."""
    match part:
        case {"text": str(text)}:
            return text
        case {"type": str(kind)}:
            return "" if kind.startswith(("tool", "function_call")) else f"[{kind}]"
        case _:
            return plain_text(part)
