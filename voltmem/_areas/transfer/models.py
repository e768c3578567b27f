"""What is imported, and what came of it: a conversation with its messages, as it was somewhere else; the result."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Literal, TypeAlias, TypeVar

from pydantic import Field

from voltmem._areas.sidebar import Marks
from voltmem.models import Content, Id, Message, Metadata, Model, NativeMessage, Text, Time

Kind: TypeAlias = Literal["conversation", "run"]
Lines: TypeAlias = Iterable[str | bytes] | AsyncIterable[str | bytes]


class ImportedMessage(NativeMessage):
    """A message with all that an export tells of it."""

    archived: bool = False
    """Whether the storage limit had put it aside."""
    in_parts: bool = False
    """Whether VoltAgent wrote the content, in its own column."""


class ImportedPayload(Model):
    """What a framework keeps of a conversation as a whole, beside the messages."""

    format: Id
    """Whose form it is."""
    payload: Content = None
    """Any JSON value."""
    revision: Text | None = None
    """The framework's name for this state of it."""
    updated_at: Time | None = None
    """When it was written; None: when it is imported."""


class ImportedConversation(Marks):
    """One conversation as it was somewhere else. It becomes that of the user for whom it is imported."""

    id: Id | None = None
    """Unique in its storage; None: one that is made of the user and of all that stands here."""
    resource_id: Id = "default"
    """The agent, assistant or project that it is with."""
    title: Text | None = None
    """What a sidebar shows."""
    metadata: Metadata = Field(default_factory=dict)
    """A JSON object of the application's own."""
    created_at: Time | None = None
    """When it was made; None: the time of its first message, or that of the import."""
    updated_at: Time | None = None
    """The time of the last activity; None: that of its last message, or of the import."""
    messages: list[Message] = Field(default_factory=list)
    """In their order. One without a time gets that of the one before it."""
    payloads: list[ImportedPayload] = Field(default_factory=list)
    """What frameworks keep of it as a whole."""


class Skipped(Model):
    """What was not imported."""

    kind: Kind
    """What it is."""
    id: Id
    """Which one: its id, or the one that it would have got."""
    reason: Text
    """Why."""


class Renamed(Model):
    """What was imported under another id, because its own is not free."""

    kind: Kind
    """What it is."""
    id: Id
    """The id that it had."""
    new_id: Id
    """The id that it has now: the same, each time it is imported for this user."""


class ImportResult(Model):
    """What came of an import."""

    conversations: int = 0
    """How many were stored."""
    messages: int = 0
    """How many messages are in them."""
    runs: int = 0
    """How many recorded runs of agents were stored."""
    skipped: list[Skipped] = Field(default_factory=list)
    """What was left out, and why: most often because it is there already."""
    renamed: list[Renamed] = Field(default_factory=list)
    """What has another id now."""


ImportedConversations: TypeAlias = Iterable[ImportedConversation] | AsyncIterable[ImportedConversation]
Value = TypeVar("Value")


async def all_of(values: Iterable[Value] | AsyncIterable[Value]) -> AsyncIterator[Value]:
    """Yield the values of either kind of iterable."""
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value
