"""The bytes of stored files in the messages that a model reads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from pydantic import JsonValue

from voltmem._areas.files import FileStatements
from voltmem._media_types import media_type_of
from voltmem._values import JsonObject
from voltmem.models import Message, messages_of
from voltmem.parts import File, ToolResult, parts
from voltmem.parts._providers import references, result_parts
from voltmem.parts._steps import native_of
from voltmem.parts._types import FILE_URL

if TYPE_CHECKING:
    from voltmem._postgres.connection import Executor

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class _Content:
    media_type: str
    base64: str


async def with_files(
    executor: Executor, sql: FileStatements, owner: str | None, conversation_id: str, messages: Sequence[MessageT]
) -> list[MessageT]:
    """
    Return the messages with data: URLs in place of the addresses of files. An address without a file stays.

    Args:
        executor: The executor.
        sql: The statements.
        owner: Only files of this user's; None: no check.
        conversation_id: The conversation of the messages. The files are those of its owner.
        messages: The messages.
    """
    given = cast("list[MessageT]", messages_of(messages))
    referring = [_references(message) for message in given]
    wanted = set().union(*referring)
    if not wanted:
        return given
    types = {
        file.url: file.media_type
        for message, urls in zip(given, referring, strict=True)
        for file in (_files(message) if urls else ())
        if "/" in file.media_type
    }
    found: dict[str, _Content] = {}
    ids = [url.removeprefix(FILE_URL) for url in wanted]
    for id, content in await executor.fetch(sql.contents, conversation_id, owner, ids):
        media_type = types.get(FILE_URL + id) or media_type_of(content) or "application/octet-stream"
        found[FILE_URL + id] = _Content(media_type, b64encode(content).decode())
    return [
        message.rewritten(lambda value: _filled(value, found)) if urls else message
        for message, urls in zip(given, referring, strict=True)
    ]


def _references(message: Message) -> set[str]:
    _, payload = native_of(message)
    if isinstance(message.content, str) and payload is None and message.role != "tool":
        return set()  # text, as nearly every message
    return references([message.content, payload])


def _files(message: Message) -> Iterator[File]:
    """Yield the files that a message shows, those in tools' results included."""
    for part in parts(message):
        for shown in result_parts(part) if isinstance(part, ToolResult) else [part]:
            if isinstance(shown, File):
                yield shown


# What says the type of bare base64 beside it, in the forms of OpenAI, Anthropic, Gemini, LangChain and Pydantic AI.
_TYPES: Final = frozenset({"format", "media_type", "mime_type", "mimeType", "mediaType"})


def _filled(value: JsonValue, found: Mapping[str, _Content]) -> JsonValue:
    """Return JSON with the bytes in place of addresses: as a data: URL, or where a form has bare base64, as that."""
    if isinstance(value, str):
        content = found.get(value)
        return value if content is None else f"data:{content.media_type};base64,{content.base64}"
    if isinstance(value, list):
        return [_filled(each, found) for each in value]
    if isinstance(value, dict):
        return {
            name: found[each].base64
            if isinstance(each, str) and each in found and _is_base64(value, name)
            else _filled(each, found)
            for name, each in value.items()
        }
    return value


def _is_base64(block: JsonObject, name: str) -> bool:
    return name == "base64" or (name == "data" and not _TYPES.isdisjoint(block))
