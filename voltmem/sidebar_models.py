"""What a sidebar shows: a conversation with its place, its marks and its last words; a stretch of the list."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import Field
from pydantic_core import from_json

from voltmem._values import check_flag, check_id, check_time, shown, to_json
from voltmem.errors import InvalidInputError, InvalidQueryError
from voltmem.models import Conversation, Id, Model, Text, Time, stored


class ConversationItem(Conversation):
    """A conversation as a sidebar shows it."""

    pinned: bool = False
    """Whether it stands before those that are not."""
    archived: bool = False
    """Whether it was put away; the list shows it only if asked to."""
    tags: list[Text] = Field(default_factory=list)
    """In the order in which they were given."""
    read_at: Time | None = None
    """When its user last read it; None: never marked."""
    deleted_at: Time | None = None
    """When it was deleted, with a way back; None: it is not."""
    title_is_automatic: bool = False
    """Whether a model made the title: only such a one may be replaced by another automatic one."""
    forked_from: Id | None = None
    """The conversation that it is a copy of, up to one of its messages."""
    forked_up_to: Id | None = None
    """The last message of the copy."""
    preview: str | None = None
    """How the last thing begins that the user or the assistant said; None: nothing was said, or not asked for."""
    unread: bool = False
    """Whether the last thing was said by another than the user, since the user last read it."""

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

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the item of a row, in the order of ITEM_COLUMNS."""
        columns = tuple(row)
        marks = dict(zip(_MARKS, columns[7:], strict=True))
        return stored(cls, {**super().from_row(columns[:7]).__dict__, **marks})


_MARKS = (
    "pinned",
    "archived",
    "tags",
    "read_at",
    "deleted_at",
    "title_is_automatic",
    "forked_from",
    "forked_up_to",
    "preview",
    "unread",
)


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


@dataclass(frozen=True)
class SidebarCursor:
    """The place of a conversation in the list, whatever becomes of it; as a string it can stand in a URL."""

    pinned: bool
    updated_at: datetime
    id: str

    @classmethod
    def at(cls, item: ConversationItem) -> Self:
        """Return where the item stands."""
        return cls(item.pinned, item.updated_at, item.id)

    def __str__(self) -> str:
        place = to_json([self.pinned, self.updated_at.isoformat(), self.id])
        return urlsafe_b64encode(place.encode()).decode().rstrip("=")

    @classmethod
    def of(cls, name: str, text: object) -> Self:
        """Return the cursor that this string stands for; InvalidQueryError where it is none of ours."""
        try:
            if not isinstance(text, str):
                raise InvalidInputError("not a string")
            place = from_json(b64decode(f"{text}{'=' * (-len(text) % 4)}", altchars="-_", validate=True))
            pinned, updated_at, id = place
            cursor = cls(pinned, datetime.fromisoformat(updated_at), id)
            check_flag("pinned", cursor.pinned)
            check_time("updated_at", cursor.updated_at)
            check_id(id=cursor.id)
        except (ValueError, TypeError) as error:
            raise InvalidQueryError(f"{name} {shown(text)}: use the next_cursor of a list, as it is") from error
        return cursor
