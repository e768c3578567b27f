"""Cursors: the place of a row in a list. It stays valid while rows are added and removed."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import Field
from pydantic_core import from_json, to_json

from voltmem._model import Key, Time
from voltmem._values import short_repr
from voltmem.errors import InvalidQueryError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class Cursor:
    """The sort key of a row, in the order of the fields. Its string form is safe in a URL."""

    def __str__(self) -> str:
        place = to_json([getattr(self, field.name) for field in fields(self)])
        return urlsafe_b64encode(place).decode().rstrip("=")

    @classmethod
    def of(cls, name: str, text: object) -> Self:
        """Parse a cursor. InvalidQueryError names the argument if it is malformed."""
        try:
            place = from_json(b64decode(f"{text}{'=' * (-len(str(text)) % 4)}", altchars="-_", validate=True))
            names = (field.name for field in fields(cls))
            cursor: Self = _adapter(cls).validate_python(dict(zip(names, place, strict=True)))
        except (ValueError, TypeError) as error:
            raise InvalidQueryError(f"{name} {short_repr(text)}: use the next_cursor of a page, as it is") from error
        return cursor


_adapters: Final[dict[type, TypeAdapter[Any]]] = {}


def _adapter(cls: type[Cursor]) -> TypeAdapter[Any]:
    if cls not in _adapters:  # made on first use: it takes a millisecond
        from pydantic import TypeAdapter  # here: importing it takes ten milliseconds

        _adapters[cls] = TypeAdapter(cls)
    return _adapters[cls]


@dataclass(frozen=True)
class HistoryCursor(Cursor):
    """The place of an agent's run."""

    timestamp: Time
    id: Key


@dataclass(frozen=True)
class SidebarCursor(Cursor):
    """The place of a conversation in a sidebar."""

    pinned: bool
    updated_at: Time
    id: Key


@dataclass(frozen=True)
class SearchCursor(Cursor):
    """The place of a conversation in the results of a search."""

    rank: float
    updated_at: Time
    id: Key


@dataclass(frozen=True)
class SharedCursor(Cursor):
    """
    The place of a message among those that a link shows.

    The order of equal times is a number that counts all messages of the storage, which readers of a link are not to
    know. So the cursor has the ids of the last messages of this time instead: if one is deleted, the one before it is
    the place.
    """

    created_at: Time
    ids: Annotated[tuple[Key, ...], Field(max_length=8)]

    def moved(self, ids: Sequence[str]) -> Self:
        """Return the place after more messages of the same time."""
        return replace(self, ids=(*self.ids, *ids)[-8:])
