"""
The words of a text, in any language: what is indexed of a message, what a query asks for, and where a text has it.

A word is a run of letters and digits, in lower case and without accents. Scripts that put no spaces between words are
cut into pairs of characters, each beginning at every character: a query of several is a phrase of pairs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, islice
from typing import Final

# Stands before each word in what is sent; the database puts the user in its place, so that a word of one user's is
# another entry of the index than the same of somebody else's: a common word costs a user only what the user wrote.
USER: Final = "\x01"

# tsvector's: positions up to 16,383, a vector up to 1,048,575 bytes. There a word takes up to eight bytes more than as
# it is written, and what is written in fewer characters than fit surely fits, in UTF-8 too.
_MOST_WORDS: Final = 16_000
_LONGEST_WORD: Final = 60
_MOST_BYTES: Final = 1_040_000
_MORE_PER_WORD: Final = 8
_SURELY_FITS: Final = (_MOST_BYTES - _MOST_WORDS * _MORE_PER_WORD) // 4

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and ideographs
    "\U00020000-\U0003ffff"
)
_TERM: Final = re.compile(r'(?P<without>-)?(?:"(?P<phrase>[^"]*)"?|(?P<bare>[^\s"]+))')
_ASCII_WORD: Final = re.compile("[a-z0-9]+")
_MARK: Final = re.compile(r"[\u0300-\u036f]")


@cache
def _word() -> re.Pattern[str]:
    # Not on import: it takes five milliseconds, and not every program searches.
    return re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|(?:(?![{_UNSPACED}])[^\W_])+")


def user_key(user_id: str) -> str:
    """Return what stands before each word of a user's in the database."""
    from hashlib import sha256  # here: it loads OpenSSL

    return sha256(user_id.encode()).hexdigest()[:8]


def user_key_sql(user_id: str) -> str:
    """Return SQL for the key of the user that this SQL stands for."""
    return f"left(encode(sha256(convert_to({user_id}, 'UTF8')), 'hex'), 8)"


@dataclass(frozen=True)
class Word:
    """A word of a text, or a pair of characters, and where it stands there."""

    text: str
    start: int
    end: int


def words(text: str) -> Iterator[Word]:
    """Yield the words of a text, in its order."""
    for found in _word().finditer(text):
        if found["unspaced"] is None:
            yield Word(plain(found[0])[:_LONGEST_WORD], found.start(), found.end())
        else:
            for start in range(found.start(), found.end()):
                yield Word(plain(text[start : min(start + 2, found.end())]), start, min(start + 2, found.end()))


def plain(text: str) -> str:
    """Return a text in lower case and without accents, as ``{prefix}_plain()`` does it with titles in the database."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _MARK.sub("", decomposed))


def vector(text: str) -> str:
    """Return the words of a text with their positions, as a tsvector is written; "" where it has none."""
    positions: dict[str, list[str]] = {}
    for position, word in enumerate(islice(_plain_words(text), _MOST_WORDS), start=1):
        if word:
            positions.setdefault(word, []).append(str(position))
    entries = [f"'{USER}{word}':{','.join(places)}" for word, places in positions.items()]
    written = " ".join(entries)
    return written if len(written) <= _SURELY_FITS else " ".join(_fitting(entries))


def _plain_words(text: str) -> Iterator[str]:
    """Yield the words of a text without their places."""
    if text.isascii():  # three times as fast as words(), which nobody notices but who adds thousands a second
        return (word[:_LONGEST_WORD] for word in _ASCII_WORD.findall(text.lower()))
    return (word.text for word in words(text))


def _fitting(entries: Sequence[str]) -> Iterator[str]:
    """Yield the entries of a tsvector, first those that a text has first, until it is full."""
    sizes = accumulate(len(entry.encode()) + _MORE_PER_WORD for entry in entries)
    return (entry for entry, size in zip(entries, sizes, strict=True) if size <= _MOST_BYTES)


@dataclass(frozen=True)
class Term:
    """What a query asks for: a word, or words side by side."""

    words: tuple[str, ...]
    typed: str
    """As it was typed."""
    without: bool = False
    """Whether a text must not have it."""
    is_prefix: bool = False
    """Whether the last word may go on: it is still being typed."""

    def tsquery(self) -> str:
        """Return the term as a tsquery is written."""
        prefix = ":*" if self.is_prefix else ""
        phrase = " <-> ".join([*(f"'{USER}{word}'" for word in self.words[:-1]), f"'{USER}{self.words[-1]}'{prefix}"])
        return f"{'!' if self.without else ''}({phrase})"

    def places(self, found: Sequence[Word]) -> Iterator[tuple[int, int]]:
        """Yield where a text of these words has it, from start to end."""
        for first in range(len(found) - len(self.words) + 1):
            run = found[first : first + len(self.words)]
            exact = all(word.text == wanted for word, wanted in zip(run[:-1], self.words[:-1], strict=True))
            last, wanted = run[-1].text, self.words[-1]
            if exact and (last.startswith(wanted) if self.is_prefix else last == wanted):
                yield run[0].start, run[-1].end


def terms(query: str) -> list[Term]:
    """
    Return what a query asks for: words, "phrases" and -exclusions, as a search on the web has them.

    The last word goes on while it is typed: a prefix, unless a space or a quotation mark ends it.
    """
    found: list[Term] = []
    for each in _TERM.finditer(query):
        text = each["phrase"] if each["phrase"] is not None else each["bare"]
        wanted = _wanted(text)
        if wanted:
            typing = each["bare"] is not None and each.end() == len(query) and not each["without"]
            found.append(Term(wanted, text, each["without"] is not None, typing or _is_lone_character(wanted)))
    return found


def _wanted(text: str) -> tuple[str, ...]:
    found = list(words(text))
    if len(found) > 1 and found[-1].end == found[-2].end:
        found.pop()  # the last character of a run, which a longer text would have in a pair
    return tuple(word.text for word in found if word.text)


def _is_lone_character(wanted: Sequence[str]) -> bool:
    """Whether it is one character of a script without spaces: the first of pairs."""
    return len(wanted) == 1 and re.fullmatch(f"[{_UNSPACED}]", wanted[0]) is not None
