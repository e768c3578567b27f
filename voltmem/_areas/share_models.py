"""Links for strangers: what their owner knows of one, and what those see who have it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Self

from pydantic import JsonValue

from voltmem._values import plain_text
from voltmem.models import Id, Message, Model, Text, Time, stored

# Named, not what is left when tools are taken away: a stranger sees no thoughts, and no part that is new to us.
_SAID: Final = ("text", "input_text", "output_text")


class Share(Model):
    """A link to a conversation, as its owner sees it."""

    token: Text
    """Who knows it may read: 256 random bits, ready to stand in a URL."""
    conversation_id: Id
    """Which conversation."""
    up_to: Id | None
    """The last message that is shown, also when it was deleted; None: there was none."""
    created_at: Time
    """When it was made."""

    @property
    def conversationId(self) -> str:
        """conversation_id in VoltAgent's spelling."""
        return self.conversation_id

    @property
    def upTo(self) -> str | None:
        """up_to in VoltAgent's spelling."""
        return self.up_to

    @property
    def createdAt(self) -> datetime:
        """created_at in VoltAgent's spelling."""
        return self.created_at

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the link of a row, in the order of the fields."""
        return stored(cls, dict(zip(cls.model_fields, row, strict=True)))


class SharedConversation(Model):
    """What a link shows: what the user and the assistant said, and of nobody who they are."""

    title: Text | None
    """As it is now; None: it has none."""
    messages: list[Message]
    """The oldest first, each with its text and no more."""
    next_cursor: str | None
    """For after=: what follows; None where nothing does."""

    @property
    def nextCursor(self) -> str | None:
        """next_cursor in VoltAgent's spelling."""
        return self.next_cursor


def as_shared(message: Message) -> Message | None:
    """Return the message with what it says and no more, in a form that any page can show; None if it says nothing."""
    text = plain_text(_said(message.content))
    return stored(Message, {**message.__dict__, "content": text, "metadata": {}}) if text else None


def _said(content: JsonValue) -> str:
    """Return the text itself, or that of the parts that are text, a line each."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "\n".join(filter(None, map(_text_of, parts)))


def _text_of(part: JsonValue) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in _SAID or part.get("thought"):
        return ""
    text = part.get("text")
    return text if isinstance(text, str) else ""
