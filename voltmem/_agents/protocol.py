"""The protocol of an agent's memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from voltmem._agents.compaction import Summarize
from voltmem._areas.summaries import Summary
from voltmem.models import Conversation, Message, MessageLike
from voltmem.tokens import CountTokens, Encoding

MessageT = TypeVar("MessageT", bound=Message)


@runtime_checkable
class Memory(Protocol):
    """
    The memory that an agent calls, with all methods of a ConversationMemory.

    Annotate ``memory: Memory``, so that tests can pass another one. ``storage.conversation("ada", "c1")`` returns one.
    """

    @property
    def conversation_id(self) -> str:
        """The id of the conversation."""
        ...

    @property
    def user_id(self) -> str:
        """The owner of the conversation."""
        ...

    @property
    def resource_id(self) -> str:
        """The agent or project."""
        ...

    async def messages(
        self,
        *,
        limit: int | None = ...,
        turns: int | None = None,
        tokens: int | None = None,
        count: Encoding | CountTokens = "o200k",
        shorten_results: int | None = None,
        recall: str | None = None,
    ) -> list[Message]:
        """Return the newest messages, oldest first, in a form that models accept."""
        ...

    async def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        """Return pairs of a user's message and its answer, newest last."""
        ...

    async def with_files(self, messages: Sequence[MessageT]) -> list[MessageT]:
        """Return the messages with the bytes of stored files in them, for a model."""
        ...

    async def add(self, message: MessageLike) -> Message:
        """Add a message. Returns it as stored."""
        ...

    async def add_turn(self, messages: Iterable[MessageLike]) -> list[Message]:
        """Add messages: all, or none and an error. Returns them as stored."""
        ...

    async def compact(self, summarize: Summarize, *, keep_turns: int = ...) -> Summary | None:
        """Summarise what is older than the last turns. Returns the summary with which windows begin from now on."""
        ...

    async def clear(self) -> int:
        """Delete all messages. Returns how many."""
        ...

    async def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        """Set the title of the conversation. Returns the conversation."""
        ...
