"""What a search finds: conversations, each with the message that fits best, and where the words stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from voltmem._areas.words import Term, places, plain, words
from voltmem.models import Conversation, Id, Model, Text, Time

# Characters: of a snippet, and of what stands in it before the first match.
_SNIPPET: Final = 200
_BEFORE: Final = 40
# Of a text, what is looked through for a match; and what is looked at at once, which ends where a word does, with what
# a phrase that begins there may reach into.
LONGEST_READ: Final = 20_000
_STRETCH: Final = re.compile(".{1,2000}(?: |$)|[^ ]+ ?")
_LONGEST_PHRASE: Final = 1_000


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
    return _pieces(text, places(words(text), _shown(terms)))


def snippet(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return the surroundings of the first place where a text has a term, in pieces, with "…" where it is cut."""
    text, shown = " ".join(text[:LONGEST_READ].split()), _shown(terms)
    start = _beginning(text, shown)
    end = len(text) if len(text) - start <= _SNIPPET else start + _SNIPPET
    pieces = _pieces(text[start:end], places(words(text[start : end + _LONGEST_PHRASE]), shown))
    dots = Highlight("…", False)
    return [*([dots] if start else []), *pieces, *([dots] if end < len(text) else [])]


def _shown(terms: Sequence[Term]) -> list[Term]:
    return [term for term in terms if not term.without]


def _beginning(text: str, shown: Sequence[Term]) -> int:
    found = _first_place(text, shown)
    first = max(found - _BEFORE, 0)
    # Between words, where there is a space at all: some scripts and addresses have none.
    return text.find(" ", first, found) + 1 or first if first else 0


def _first_place(text: str, shown: Sequence[Term]) -> int:
    """Return where a text first has a term, or 0."""
    for stretch in _STRETCH.finditer(text):
        read = text[stretch.start() : stretch.end() + _LONGEST_PHRASE]
        plainly = plain(read)  # to look for letters in it costs far less than to take it apart
        likely = [term for term in shown if term.is_in(plainly)]
        first, _ = next(places(words(read), likely), (len(read), 0)) if likely else (len(read), 0)
        if first < len(stretch[0]):
            return stretch.start() + first
    return 0


def _pieces(text: str, places: Iterable[tuple[int, int]]) -> list[Highlight]:
    pieces: list[Highlight] = []
    shown = 0
    for start, end in places:
        start, end = max(start, shown), min(end, len(text))
        if start < end:
            pieces += [Highlight(text[shown:start], False)] if start > shown else []
            pieces.append(Highlight(text[start:end], True))
            shown = end
    return [*pieces, *([Highlight(text[shown:], False)] if shown < len(text) else [])]
