"""
Words for the search, in any language: the lexemes of a message, the terms of a query, and their places in a text.

A word is a run of letters, digits and combining marks, in lower case and without accents. Text in scripts without
spaces between words, and emoji, is cut into overlapping pairs of characters; a longer query is a phrase of such pairs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, islice
from typing import Final, NamedTuple

# Placeholder before each lexeme; the database replaces it with the user's hash. So each user has index entries of their
# own, and a search for a common word reads only what this user wrote.
USER: Final = "\x01"

# The limits of tsvector: 16,383 positions and 1,048,575 bytes. A stored lexeme takes up to eight bytes more than its
# text. A text with fewer characters than _SURELY_FITS fits even if each character takes four bytes in UTF-8.
_MOST_WORDS: Final = 16_000
_LONGEST_WORD: Final = 60
_MOST_BYTES: Final = 1_040_000
_MORE_PER_WORD: Final = 8
_SURELY_FITS: Final = (_MOST_BYTES - _MOST_WORDS * _MORE_PER_WORD) // 4

# Words of a query. PostgreSQL nests the words of a phrase, and its stack is limited.
_MOST_ASKED: Final = 64

# Character classes for the regular expressions of both Python and PostgreSQL.
_UNSPACED: Final = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and ideographs
    r"\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"  # emoji
    r"\U00020000-\U0003ffff"
)
_OTHER_PLANES: Final = r"\U00010000-\U0001efff"  # letters, except for a few signs of old scripts
# Accents of Latin, Greek and Cyrillic, points of Hebrew and Arabic, the Arabic tatweel, and variation selectors. The
# signs of Indic scripts are not accents but vowels, so they stay.
_MARKS: Final = (
    r"\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    r"\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\ufe00-\ufe0f"
)
_TERM: Final = re.compile(r'(?P<without>-)?(?:"(?P<phrase>[^"]*)"?|(?P<bare>[^\s"]+))')
_ASCII_WORD: Final = re.compile("[a-z0-9]+")
_MARK: Final = re.compile(f"[{_MARKS}]")
# Without accents, four to eighteen characters are made of each of these, such as the ligature of a blessing, U+FDFA.
_GROWING: Final = re.compile("[\u2057\u2152\u2167\u2177\u247d-\u2487\u2a0c\u320e-\u33ff\ufdf2-\ufdfc]")
# Words that are normalised in one call, which no other thread can interrupt.
_AT_ONCE: Final = 200


@cache
def _spaced() -> str:
    # On first use, not on import: it takes ten milliseconds. The re module has no class for combining marks.
    every = "".join(map(chr, range(0x10000)))
    kinds = "".join(map(unicodedata.category, re.sub(f"[{_UNSPACED}]", "\0", every)))
    letters = re.finditer("[LMN].(?:(?:Cn|[LMN].)*[LMN].)?", kinds)  # letters, marks, numbers; Cn: not assigned yet
    ranges = [f"\\u{found.start() // 2:04x}-\\u{found.end() // 2 - 1:04x}" for found in letters]
    return "".join(ranges) + _OTHER_PLANES


@cache
def _word() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]+|[{_spaced()}]+")


@cache
def title_expressions() -> tuple[str, str]:
    """Return the two patterns that ``{prefix}_plain()`` needs: of separators, and of runs in scripts without spaces."""
    return f"[^{_UNSPACED}{_spaced()}]+", f"([{_UNSPACED}]+)"


@cache
def _unspaced() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


class Word(NamedTuple):
    """A word of a text, or a pair of characters, and its position in the text."""

    text: str
    start: int
    end: int


def words(text: str, most: int | None = None) -> list[Word]:
    """Return the first *most* words of a text; None: all."""
    places = list(islice(_places(text), most))
    cut = _beginning if _GROWING.search(text) else _first_characters
    plainly: list[str] = []
    # Normalised together, which is faster, but not for so long that other threads wait. No word contains a line end.
    for first in range(0, len(places), _AT_ONCE):
        pieces = [cut(text, start, end) for start, end in places[first : first + _AT_ONCE]]
        plainly += plain("\n".join(pieces)).split("\n")
    found = zip(plainly, places, strict=True)
    return [Word(word.strip()[:_LONGEST_WORD], *place) for word, place in found if word and not word.isspace()]


def _first_characters(text: str, start: int, end: int) -> str:
    """Return enough of a word: four characters may become one."""
    return text[start : min(end, start + 4 * _LONGEST_WORD)]


def _beginning(text: str, start: int, end: int) -> str:
    """Return enough of a word of a text with characters that grow, and little more."""
    for length in (8, _LONGEST_WORD):
        piece = text[start : min(end, start + length)]
        if start + length >= end or len(plain(piece)) > _LONGEST_WORD + 4:  # the last few may change with what follows
            return piece
    return _first_characters(text, start, end)


def _places(text: str) -> Iterator[tuple[int, int]]:
    for found in _word().finditer(text):
        start, end = found.span()
        if _unspaced().match(text, start) is None:
            yield start, end
        else:
            yield from ((first, min(first + 2, end)) for first in range(start, end))


def plain(text: str) -> str:
    """Return a text in lower case and without accents, like ``{prefix}_plain()`` in the database."""
    if text.isascii():
        return text.lower()
    bare = _MARK.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFC", bare.lower().replace("ς", "σ").replace("ß", "ss"))


def vector(text: str) -> str:
    """Return the text form of a tsvector: the words of a text with their positions; "" for a text without words."""
    positions: dict[str, list[str]] = {}
    for position, word in enumerate(_indexed_words(text), start=1):
        positions.setdefault(word, []).append(str(position))
    entries = [f"'{USER}{word}':{','.join(places)}" for word, places in positions.items()]
    written = " ".join(entries)
    return written if len(written) <= _SURELY_FITS else " ".join(_fitting(entries))


def vectors(texts: Iterable[str]) -> list[str]:
    """Return the vector of each text."""
    return [vector(text) for text in texts]


def _indexed_words(text: str) -> Sequence[str]:
    """Return the first words of a text, without their places."""
    if text.isascii():  # three times as fast as words()
        return [word[:_LONGEST_WORD] for word in islice(_ASCII_WORD.findall(text.lower()), _MOST_WORDS)]
    return [word.text for word in words(text, _MOST_WORDS)]


def _fitting(entries: Sequence[str]) -> Iterator[str]:
    """Yield the entries that fit into a tsvector, in the order of the text."""
    sizes = accumulate(len(entry.encode()) + _MORE_PER_WORD for entry in entries)
    return (entry for entry, size in zip(entries, sizes, strict=True) if size <= _MOST_BYTES)


@dataclass(frozen=True)
class Term:
    """One term of a query: a word, or a phrase."""

    words: tuple[str, ...]
    typed: str
    """The text in the query."""
    without: bool = False
    """Whether it is an exclusion: a text must not contain it."""
    is_prefix: bool = False
    """Whether the last word is a prefix, because the user may still be typing it."""

    def tsquery(self) -> str:
        """Return the text form of the term's tsquery."""
        prefix = ":*" if self.is_prefix else ""
        phrase = " <-> ".join([*(f"'{USER}{word}'" for word in self.words[:-1]), f"'{USER}{self.words[-1]}'{prefix}"])
        return f"{'!' if self.without else ''}({phrase})"

    def title_pattern(self) -> str:
        """Return the LIKE pattern of titles that contain the term, in the form that ``{prefix}_plain()`` returns."""
        runs = _word().findall(plain(self.typed))
        begins = "%" if _unspaced().match(runs[0]) else "% "
        ends = "%" if self.is_prefix or _unspaced().match(runs[-1]) else " %"
        return begins + " ".join(runs) + ends

    def is_in(self, text: str) -> bool:
        """Return whether a text from plain() may contain the term. A quick test, with false positives."""
        return all(word in text for word in self.words)

    def occurs_at(self, first: int, found: Sequence[Word]) -> bool:
        """Return whether the term occurs in these words at index *first*."""
        texts = tuple([word.text for word in found[first : first + len(self.words)]])
        if self.is_prefix and len(texts) == len(self.words):
            texts = (*texts[:-1], texts[-1][: len(self.words[-1])])
        return texts == self.words


def places(found: Sequence[Word], wanted: Sequence[Term]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each occurrence of a term among these words, in order."""
    beginning: dict[str, list[Term]] = {}
    for term in wanted:
        beginning.setdefault(term.words[0], []).append(term)
    lengths = {len(term.words[0]) for term in wanted if term.is_prefix and len(term.words) == 1}
    for first, word in enumerate(found):
        for text in {word.text, *(word.text[:length] for length in lengths)}:
            for term in beginning.get(text, ()):
                if term.occurs_at(first, found):
                    yield word.start, found[first + len(term.words) - 1].end


def terms(query: str) -> list[Term]:
    """
    Return the terms of a query: words, "phrases" and -exclusions, as in a web search.

    The last word is a prefix, because the user may still be typing it, unless a space or a quotation mark follows it.
    Only the first 64 words or pairs of characters of a long query count.
    """
    found: list[Term] = []
    left = _MOST_ASKED
    for each in _TERM.finditer(query):
        if not left:
            break
        text = each["phrase"] if each["phrase"] is not None else each["bare"]
        wanted, typed = _wanted(text, left)
        if wanted:
            left -= len(wanted)
            typing = each["bare"] is not None and each.end() == len(query) and not each["without"]
            typing = typing and typed == text
            found.append(Term(wanted, typed, each["without"] is not None, typing or _is_lone_character(wanted)))
    return found


def _wanted(text: str, most: int) -> tuple[tuple[str, ...], str]:
    """Return the first *most* words of a query, and the text up to them."""
    found = words(text, most + 1)
    if len(found) > 1 and found[-1].end == found[-2].end:
        found.pop()  # the last single character of a run; in a longer text it is part of a pair
    asked = found[:most]
    return tuple(word.text for word in asked), text if asked == found else text[: asked[-1].end]


def _is_lone_character(wanted: Sequence[str]) -> bool:
    """Whether it is a single character of a script without spaces, that is, the beginning of a pair."""
    return len(wanted) == 1 and len(wanted[0]) == 1 and is_unspaced(wanted[0])


def is_unspaced(word: str) -> bool:
    """Return whether a word is of a script without spaces, or of emoji: a pair of characters, or a single one."""
    return _unspaced().match(word) is not None
