"""The bytes of stored files in the messages that a model reads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from voltmem._areas.files import FILE_URL, FileStatements
from voltmem._media_types import media_type_of
from voltmem.models import Message
from voltmem.parts import File, parts

if TYPE_CHECKING:
    from voltmem._postgres.connection import Executor

MessageT = TypeVar("MessageT", bound=Message)


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
    shown = [_files_of(message) for message in messages]
    wanted = {id: media_type for files in shown for id, media_type in files.items()}
    if not wanted:
        return list(messages)
    found: dict[str, str] = {}
    for id, content in await executor.fetch(sql.contents, conversation_id, owner, list(wanted)):
        media_type = wanted[id] if "/" in wanted[id] else media_type_of(content) or "application/octet-stream"
        found[FILE_URL + id] = f"data:{media_type};base64,{b64encode(content).decode()}"
    return [message.replacing(found) if files else message for message, files in zip(messages, shown, strict=True)]


def _files_of(message: Message) -> dict[str, str]:
    """Return the media types of the stored files that a message shows, by id."""
    if isinstance(message.content, str) and getattr(message, "payload", None) is None:
        return {}
    return {
        part.url.removeprefix(FILE_URL): part.media_type
        for part in parts(message)
        if isinstance(part, File) and part.url.startswith(FILE_URL)
    }
