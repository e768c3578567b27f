"""
The words of a text that recall() looks for, each with its inflections, in any language.

There is no stemmer: a word stands for all that begin with the first 70 % of its letters, which finds as much
(docs/decisions/recall-by-words.md), needs no index of its own, and not to know the language.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from voltmem._areas.words import USER, is_unspaced, words

# Words of a text that are looked at, and those of them that are sent. Stop words are among them.
_READ: Final = 2_000
_ASKED: Final = 32

_ROOT: Final = 0.7
_SHORTEST_ROOT: Final = 4
# A syllable of Korean is one character.
_SHORTEST_IN_SYLLABLES: Final = 2
_SYLLABLE: Final = re.compile("[\uac00-\ud7a3]")
_NUMBER: Final = re.compile(r"\d")
# Arabic and Hebrew leave vowels out.
_SHORTEST_IN_CONSONANTS: Final = 3
# What they write together with the word behind it: the article, "and", "in", "to", and more.
_ATTACHED: Final = re.compile("([وفبك]?ال|لل)(?=[\u0621-\u064a]{3})|([הובלמשכ])(?=[א-ת]{3})")
_ARABIC: Final = ("", "ال", "وال", "بال", "لل")
_HEBREW: Final = ("", *"הובלמשכ")
# What is left of "I'm", "we'll", "don't" and "Ada's" behind the apostrophe.
_CONTRACTED: Final = re.compile(r"(?<=\w)['’](?:m|ll|re|ve|s|d|t)\b", re.IGNORECASE)


class AskedWord(NamedTuple):
    """A word of a text."""

    tsquery: str
    """The text form of the query for it and its inflections."""
    typed: str
    """The word in lower case with its accents, by which PostgreSQL's dictionaries know stop words."""


def asked_words(text: str) -> list[AskedWord]:
    """Return the words of a text to look for, without repetitions, the longest first; at most 32."""
    asked = {each.tsquery: each for each in _asked(_CONTRACTED.sub(" ", text))}
    return sorted(asked.values(), key=lambda each: len(each.typed), reverse=True)[:_ASKED]


def _asked(text: str) -> Iterator[AskedWord]:
    before = 0
    for word in words(text, _READ):
        if word.end != before:  # else it is the last character of a run, which is part of the pair before
            typed = unicodedata.normalize("NFC", text[word.start : word.end]).lower()
            yield AskedWord(_query(word.text), typed)
        before = word.end


def _query(word: str) -> str:
    """Return the query for a word and its inflections."""
    if is_unspaced(word):
        return f"'{USER}{word}'" + (":*" if len(word) == 1 else "")
    if _NUMBER.search(word):
        return f"'{USER}{word}'"
    bare, before = _detached(word)
    singular = bare[:-1] if len(bare) > 3 and bare.endswith("s") and not bare.endswith("ss") else bare
    shortest = _SHORTEST_IN_SYLLABLES if _SYLLABLE.match(bare) else _SHORTEST_ROOT
    if len(before) > 1:
        shortest = _SHORTEST_IN_CONSONANTS
    if len(singular) < shortest:
        return f"('{USER}{singular}' | '{USER}{singular}s')"
    root = singular[: max(shortest, math.ceil(len(singular) * _ROOT))]
    found = [f"'{USER}{attached}{root}':*" for attached in before]
    return found[0] if len(found) == 1 else f"({' | '.join(found)})"


def _detached(word: str) -> tuple[str, Collection[str]]:
    """Return a word without what its script attaches to it, and all that may stand before it."""
    attached = _ATTACHED.match(word)
    bare = word[attached.end() :] if attached else word
    every = _ARABIC if "\u0621" <= word[0] <= "\u064a" else _HEBREW if "א" <= word[0] <= "ת" else ("",)
    return bare, dict.fromkeys([*every, attached[0]]) if attached else every
