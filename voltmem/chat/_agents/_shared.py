"""What asking the agents of all frameworks has in common."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Iterable, Iterator, Sequence
from typing import Never

from pydantic_core import to_json

from voltmem import parts
from voltmem.chat._context import Context
from voltmem.chat._parts import File, Part, Reasoning, Source, Text, ToolCall, ToolResult
from voltmem.errors import InvalidOptionError
from voltmem.models import Message, NativeMessage
from voltmem.parts._types import readable


async def conversation(messages: Sequence[Message], context: Context) -> list[NativeMessage]:
    """Return the messages as the adapters convert them, with the bytes of files."""
    return [NativeMessage.of(each) for each in await context.memory.with_files(messages)]


def refuse(what: str) -> Never:
    """Raise InvalidOptionError for an agent that reads or stores the conversation itself."""
    raise InvalidOptionError(
        f"answer is an agent with {what}: make it without. The chat stores the conversation, and shows it to the agent"
    )


def denied(part: Part, context: Context) -> Part:
    """Return the part; the result of a call that the user has denied says so, whatever the framework makes of it."""
    if isinstance(part, ToolResult):
        for decision in context.decisions:
            if decision.call.id == part.id and not decision.is_approved:
                return ToolResult(part.id, error=decision.reason or None, is_denied=True)
    return part


def as_text(output: object) -> Text:
    """Return a structured output as a block of JSON, which a page shows as code."""
    return Text(f"```json\n{to_json(output, indent=2, serialize_unknown=True).decode()}\n```")


def said(read: Iterable[parts.Part]) -> Iterator[Part]:
    """Yield what parts of voltmem's say, as parts of an answer."""
    for part in read:
        match part:
            case parts.Text(text):
                yield Text(text)
            case parts.Reasoning(text):
                yield Reasoning(text)
            case parts.ToolCall():
                yield ToolCall(part.id, part.name, part.arguments)
            case parts.ToolResult(state="answered"):
                yield ToolResult(part.call_id, part.value)
            case parts.ToolResult():
                yield ToolResult(part.call_id, error=readable(part.value))
            case parts.File():
                yield from file(part.media_type, part.name, part.url, part.data)
            case parts.Source() if part.url:
                yield Source(part.url, part.title)
            case _:
                pass


def file(media_type: str, name: str, url: str, base64: str) -> Iterator[File]:
    """Yield a file that has an address or bytes in base64."""
    try:
        content = b"" if url else b64decode(base64)
    except Error:
        return
    if url or content:
        yield File(content, media_type if "/" in media_type else "", name, url)
