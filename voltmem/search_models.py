"""What a search finds: conversations, each with the message that fits best, and where the words stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from voltmem._words import Term, Word, words
from voltmem.models import Conversation, Id, Model, Text, Time

# Characters: of a snippet, of what stands in it before the first match, and of what is looked through for one.
_SNIPPET: Final = 200
_BEFORE: Final = 40
_LONGEST_READ: Final = 20_000


class Highlight(NamedTuple):
    """A piece of a text, in a row of pieces that are the whole of it."""

    text: str
    is_match: bool
    """Whether it is what was searched for."""


class SearchHit(Model):
    """A conversation that was found."""

    conversation: Conversation
    """Which one."""
    title: list[Highlight]
    """Its title, in pieces; empty where it has none."""
    message_id: Id | None
    """The message that fits best; None: only the title has the words."""
    role: Text | None
    """Who said it."""
    created_at: Time | None
    """When."""
    snippet: list[Highlight]
    """The place in the message, in pieces: at most 200 characters. Empty where there is no message."""

    @property
    def messageId(self) -> str | None:
        """message_id in VoltAgent's spelling."""
        return self.message_id

    @property
    def createdAt(self) -> datetime | None:
        """created_at in VoltAgent's spelling."""
        return self.created_at


class SearchResults(Model):
    """A stretch of what was found, best first."""

    hits: list[SearchHit]
    """At most as many as were asked for."""
    next_cursor: str | None
    """For after=: what follows; None where nothing does."""

    @property
    def nextCursor(self) -> str | None:
        """next_cursor in VoltAgent's spelling."""
        return self.next_cursor


def as_html(pieces: Iterable[Highlight], tag: str = "mark") -> str:
    """Return the pieces as HTML that is safe to show: what was searched for within a tag, everything escaped."""
    from html import escape  # here: it brings a table of all entities along

    return "".join(f"<{tag}>{escape(each.text)}</{tag}>" if each.is_match else escape(each.text) for each in pieces)


def highlighted(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return a text in pieces, with every place where it has a term."""
    return _pieces(text, list(words(text)), terms)


def snippet(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return the surroundings of the first place where a text has a term, in pieces, with "…" where it is cut."""
    text = " ".join(text[:_LONGEST_READ].split())
    start = _beginning(text, terms)
    end = len(text) if len(text) - start <= _SNIPPET else start + _SNIPPET
    cut = text[start:end]
    pieces = _pieces(cut, list(words(cut)), terms)
    dots = Highlight("…", False)
    return [*([dots] if start else []), *pieces, *([dots] if end < len(text) else [])]


def _beginning(text: str, terms: Sequence[Term]) -> int:
    found: list[Word] = []
    longest = max((len(term.words) for term in terms), default=1)
    for word in words(text):
        found = [*found, word][-longest:]
        places = [start for term in terms if not term.without for start, _ in term.places(found)]
        if places:
            first = max(min(places) - _BEFORE, 0)
            return text.find(" ", first, min(places)) + 1 if first else 0
    return 0


def _pieces(text: str, found: Sequence[Word], terms: Sequence[Term]) -> list[Highlight]:
    places = sorted(place for term in terms if not term.without for place in term.places(found))
    pieces: list[Highlight] = []
    shown = 0
    for start, end in places:
        if end <= shown:
            continue
        start = max(start, shown)
        pieces += [Highlight(text[shown:start], False)] if start > shown else []
        pieces.append(Highlight(text[start:end], True))
        shown = end
    return [*pieces, *([Highlight(text[shown:], False)] if shown < len(text) else [])]
