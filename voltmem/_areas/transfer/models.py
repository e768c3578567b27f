"""What an import takes and returns: conversations with their messages, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Final, Literal, Self, TypeAlias, TypeVar

from pydantic import Field, model_validator

from voltmem._areas.sidebar import Marks
from voltmem._areas.working_memory import MemoryChange
from voltmem._model import Content, Id, Metadata, Model, String, Time
from voltmem._values import short_repr
from voltmem.errors import InvalidInputError
from voltmem.models import Message, NativeMessage

Kind: TypeAlias = Literal["conversation", "run", "voltagent", "memory", "item"]
# A version that is stored later gets the next number, a bigint.
_MOST_VERSIONS: Final = 2**62
Lines: TypeAlias = Iterable[str | bytes] | AsyncIterable[str | bytes]


class ImportedMessage(NativeMessage):
    """A message with everything that an export has of it."""

    archived: bool = False
    """Whether the storage limit had archived it."""
    aside: bool = False
    """Whether it was in a branch that was not chosen."""
    in_parts: bool = False
    """Whether VoltAgent wrote the content, in its column parts."""
    inlined: bool = False
    """Whether the payload has "voltmem:inlined/<id>" in place of the base64 of files, which have lines of their own."""


class ImportedPayload(Model):
    """A framework's own data about a whole conversation, in addition to the messages."""

    format: Id
    """The framework's name for its form."""
    payload: Content = None
    """Any JSON value."""
    revision: String | None = None
    """The framework's name for this state of it."""
    updated_at: Time | None = None
    """When it was written; None: the time of the import."""


class ImportedMemory(Model):
    """A version of a working memory."""

    version: int = Field(ge=1, le=_MOST_VERSIONS)
    """Its number, higher than that of the one before."""
    content: String | None = None
    """The text; None: it was deleted."""
    change: MemoryChange = "set"
    """What made it, as in MemoryVersion."""
    author: String | None = None
    """Who wrote it."""
    created_at: Time | None = None
    """When it was written; None: the time of the import."""
    from_messages: list[Id] = Field(default_factory=list, max_length=1_000)
    """The ids of the messages that its content came from."""


class ImportedSummary(Model):
    """A summary of the older messages of a conversation."""

    id: Id
    """Its id."""
    content: String
    """The text."""
    first_at: Time
    """The time of the first message that it stands for."""
    last_at: Time
    """
    The time of the last one. Later than now, and than all messages, it is stored as the last of these times: what is
    added afterwards is not summarised.
    """
    hash: String = ""
    """The hash of what it was made of."""
    usage: Content = None
    """What making it has used."""
    format: String | None = None
    """The framework whose own form it is; None: it is text."""
    payload: Content = None
    """The framework's form, a JSON object; with a format only."""
    created_at: Time | None = None
    """When it was made; None: the time of the import."""

    @model_validator(mode="after")
    def _stands_for_something(self) -> Self:
        if not self.content.strip():
            raise InvalidInputError(f"summary {short_repr(self.id)} has no text: give it one, or leave it out")
        if self.format is not None and not isinstance(self.payload, dict):
            raise InvalidInputError(
                f"summary {short_repr(self.id)} has the format {short_repr(self.format)} and no object as its payload: "
                "give both, or leave the format out for one that is text"
            )
        if self.first_at > self.last_at:
            raise InvalidInputError(
                f"summary {short_repr(self.id)} has a first_at, {self.first_at}, after its last_at, {self.last_at}: "
                "give the times of the first and the last message that it stands for"
            )
        return self


class ImportedConversation(Marks):
    """A conversation to import. It will belong to the user for whom it is imported."""

    id: Id | None = None
    """Unique in its storage; None: derived from the user and the content."""
    resource_id: Id = "default"
    """The agent, assistant or project that it is with."""
    title: String | None = None
    """What a sidebar shows."""
    metadata: Metadata = Field(default_factory=dict)
    """A JSON object of the application's own."""
    created_at: Time | None = None
    """When it was created; None: the time of its first message, or of the import."""
    updated_at: Time | None = None
    """The time of the last activity; None: the time of its last message, or of the import."""
    messages: list[Message] = Field(default_factory=list)
    """In order. A message without a time gets one a microsecond after the one before it."""
    payloads: list[ImportedPayload] = Field(default_factory=list)
    """Frameworks' own data about the whole conversation."""
    memory: list[ImportedMemory] = Field(default_factory=list)
    """The versions of its working memory, oldest first."""
    summaries: list[ImportedSummary] = Field(default_factory=list)
    """The summaries of its older messages. The one with the latest last_at is in use."""
    left_out: dict[String, int] = Field(default_factory=dict)
    """What an importer left out of it, and how much, such as ``{"system messages": 1}``. It is counted, not stored."""


class Skipped(Model):
    """Something that was not imported."""

    kind: Kind
    """A conversation, a run, a row of a table of VoltAgent's own, the user's working memory, or an item."""
    id: Id
    """
    Its id, or the id that it would have got; of an entry of a file without one, its place, such as "entry 3"; of a row
    of VoltAgent's, the name of the table; of the working memory, the user's; of an item, its key.
    """
    reason: String
    """Why."""


class Renamed(Model):
    """Something that was imported under another id, because its own was taken."""

    kind: Kind
    """A conversation or a run."""
    id: Id
    """Its id in the import."""
    new_id: Id
    """Its id in the storage: the same in each import for this user."""


class ImportResult(Model):
    """Summary of an import."""

    conversations: int = 0
    """How many conversations were stored."""
    updated: int = 0
    """How many conversations that were there already got new messages, or another branch of theirs was chosen."""
    messages: int = 0
    """How many messages were stored."""
    runs: int = 0
    """How many recorded runs of agents were stored."""
    memory: int = 0
    """How many versions of working memories were stored."""
    items: int = 0
    """How many items of the user's were stored."""
    files: int = 0
    """How many files the import has; those that the user had already are among them."""
    skipped: list[Skipped] = Field(default_factory=list)
    """What was skipped and why, most often because it is there already."""
    left_out: dict[String, int] = Field(default_factory=dict)
    """What importers left out of the conversations that were stored, and how much."""
    renamed: list[Renamed] = Field(default_factory=list)
    """What was stored under another id."""


ImportedConversations: TypeAlias = (
    Iterable[ImportedConversation | Skipped] | AsyncIterable[ImportedConversation | Skipped]
)
Value = TypeVar("Value")


async def all_of(values: Iterable[Value] | AsyncIterable[Value]) -> AsyncGenerator[Value]:
    """Yield the values of either kind of iterable. What asynchronous iteration makes is closed at the end."""
    if isinstance(values, AsyncIterable):
        iterator = aiter(values)
        try:
            async for value in iterator:
                yield value
        finally:
            if iterator is not values and isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
    else:
        for value in values:
            yield value


def check_ids(conversation: ImportedConversation) -> None:
    """Raise InvalidInputError for messages or payloads with the same key."""
    for kind, ids in (
        ("message", [message.id for message in conversation.messages]),
        ("payload", [payload.format for payload in conversation.payloads]),
        ("summary", [summary.id for summary in conversation.summaries]),
        ("version of the memory", [version.version for version in conversation.memory]),
    ):
        twice = next((id for id, times in Counter(ids).items() if times > 1), None)
        if twice is not None:
            raise InvalidInputError(
                f"conversation {short_repr(conversation.id)} has the {kind} {short_repr(twice)} twice: leave one out"
            )
