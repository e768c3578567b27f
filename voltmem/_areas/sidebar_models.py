"""What a sidebar shows: a conversation with its place, its marks and its last words; a stretch of the list."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Self

from pydantic import Field

from voltmem.models import Conversation, Id, Model, Time, stored


class Marks(Model):
    """What a person has done to a conversation in a sidebar, and where it comes from."""

    pinned: bool = False
    """Whether it stands before those that are not."""
    archived: bool = False
    """Whether it was put away; the list shows it only if asked to."""
    tags: list[Id] = Field(default_factory=list)
    """In the order in which they were given."""
    read_at: Time | None = None
    """The time of the last thing that its user has read; None: never marked."""
    deleted_at: Time | None = None
    """When it was deleted, with a way back; None: it is not."""
    title_is_automatic: bool = False
    """Whether a model made the title: only such a one may be replaced by another automatic one."""
    forked_from: Id | None = None
    """The conversation that it is a copy of, up to one of its messages."""
    forked_up_to: Id | None = None
    """The last message of the copy."""

    @property
    def readAt(self) -> datetime | None:
        """read_at in VoltAgent's spelling."""
        return self.read_at

    @property
    def deletedAt(self) -> datetime | None:
        """deleted_at in VoltAgent's spelling."""
        return self.deleted_at

    @property
    def titleIsAutomatic(self) -> bool:
        """title_is_automatic in VoltAgent's spelling."""
        return self.title_is_automatic

    @property
    def forkedFrom(self) -> str | None:
        """forked_from in VoltAgent's spelling."""
        return self.forked_from

    @property
    def forkedUpTo(self) -> str | None:
        """forked_up_to in VoltAgent's spelling."""
        return self.forked_up_to


MARKS: Final = tuple(Marks.model_fields)
"""Their names, as columns have them."""


class ConversationItem(Marks, Conversation):
    """A conversation as a sidebar shows it."""

    preview: str | None = None
    """How the last thing begins that the user or the assistant said; None: nothing was said, or not asked for."""
    unread: bool = False
    """Whether the last thing was said by another than the user, and bears a later time than what the user has read."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the item of a row, in the order of ITEM_COLUMNS."""
        columns = tuple(row)
        marks = dict(zip((*MARKS, "preview", "unread"), columns[7:], strict=True))
        return stored(cls, {**super().from_row(columns[:7]).__dict__, **marks})


class ConversationList(Model):
    """A stretch of a user's sidebar."""

    items: list[ConversationItem]
    """The conversations, in the list's order, at most as many as were asked for."""
    next_cursor: str | None
    """For after=: what follows. None where the list ends, unless it was walked backwards."""
    has_more: bool
    """Whether more follows in the direction of the walk."""

    @property
    def nextCursor(self) -> str | None:
        """next_cursor in VoltAgent's spelling."""
        return self.next_cursor

    @property
    def hasMore(self) -> bool:
        """has_more in VoltAgent's spelling."""
        return self.has_more
