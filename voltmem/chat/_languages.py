"""
The languages of the page: one file each, which maps the English texts to those of the language.

The page's HTML has the English texts as ``{{New chat}}``, its modules as ``t("New chat")``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from voltmem._values import is_storable, short_repr
from voltmem.errors import InvalidOptionError

Texts: TypeAlias = Mapping[str, str | Mapping[str, str]]
"""Texts of a language by the English ones; those about a number by the plural categories of the Unicode CLDR."""
Languages: TypeAlias = Mapping[str, Texts | str | PathLike[str] | None]
"""Languages by their tags: texts, or the path of a JSON file with them; None: the language is not offered."""

_FOLDER: Final = Path(__file__).parent / "languages"
_BUILT_IN: Final = ("en", "de", "fr", "es", "ja", "ar")
# A language, a script and a region. Whatever else a browser's tag has makes no difference to the page.
_TAG: Final = re.compile(r"([a-z]{2,3})(-[a-z]{4})?(-[a-z]{2}|-\d{3})?(?=-|$)", re.IGNORECASE)
_RIGHT_TO_LEFT: Final = frozenset({"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})
_CATEGORIES: Final = frozenset({"zero", "one", "two", "few", "many", "other"})
_PLACE: Final = re.compile(r"\{(\w+)\}")
_MOST_WANTED: Final = 20


@dataclass(frozen=True)
class Language:
    """A language, as the page is written in it."""

    tag: str
    """With the region of who asks, which dates and numbers follow."""
    texts: Texts

    @property
    def direction(self) -> str:
        return "rtl" if self.tag.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"

    def text(self, english: str) -> str:
        """Return a text; the English one, if the language lacks it."""
        found = self.texts.get(english, english)
        return found if isinstance(found, str) else english

    def block(self) -> str:
        """Return the texts as JSON that may stand in a ``<script>``."""
        return json.dumps(dict(self.texts), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


class Offered:
    """The languages that a chat offers. InvalidOptionError for texts that the page could not show."""

    def __init__(self, added: Languages | None) -> None:
        self._by_tag: dict[str, Texts] = {tag: _built_in(tag) for tag in _BUILT_IN}
        if not isinstance(added, Mapping | None):
            raise InvalidOptionError(f"languages {short_repr(added)}: use a mapping of tags to texts, or to files")
        for tag, given in (added or {}).items():
            self._add(tag, given)

    def _add(self, tag: object, given: object) -> None:
        found = _TAG.fullmatch(tag) if isinstance(tag, str) else None
        if found is None:
            raise InvalidOptionError(f"languages has {short_repr(tag)}: use a tag such as 'nl' or 'pt-BR'")
        name = _written(found)
        if given is None:
            self._by_tag.pop(name, None)
        else:
            # What a variety lacks is said as in its language, and otherwise in English.
            before = self._by_tag.get(name) or self._by_tag.get(found[1].lower(), {})
            self._by_tag[name] = {**before, **_checked(name, given)}

    def choose(self, header: str) -> Language:
        """Return the language that an Accept-Language header asks for; English, if none of its languages is here."""
        for found in _wanted(header):
            tag = _written(found)
            for name in (tag, tag.rpartition("-")[0], tag.partition("-")[0]):
                if name in self._by_tag:
                    return Language(tag, self._by_tag[name])
        return Language("en", self._by_tag.get("en", {}))


def _wanted(header: str) -> Iterator[re.Match[str]]:
    """Yield the tags of an Accept-Language header, the most wanted one first."""
    ranked: list[tuple[float, re.Match[str]]] = []
    for part in header.split(",")[:_MOST_WANTED]:
        tag, _, parameter = part.replace(" ", "").partition(";q=")
        found = _TAG.match(tag)
        try:
            quality = float(parameter or 1)
        except ValueError:
            continue
        if found is not None and quality > 0:
            ranked.append((quality, found))
    return (found for _, found in sorted(ranked, key=lambda each: -each[0]))


def _written(found: re.Match[str]) -> str:
    """Return a tag as it is usually written: zh-Hant-TW."""
    language, script, region = found.groups(default="")
    return language.lower() + script.title() + region.upper()


@cache
def _built_in(tag: str) -> Texts:
    """Read a file, once in a process. English needs none."""
    if tag == "en":
        return MappingProxyType({})
    texts: Texts = json.loads((_FOLDER / f"{tag}.json").read_text(encoding="utf-8"))
    return MappingProxyType(texts)


def _checked(tag: str, given: object) -> dict[str, str | Mapping[str, str]]:
    """Return the texts that the page has, from an application's mapping or file."""
    name, texts = f"languages[{tag!r}]", given
    if isinstance(given, str | PathLike):
        name, texts = f"languages[{tag!r}], the file {str(given)!r},", _read(tag, given)
    if not isinstance(texts, Mapping):
        raise InvalidOptionError(f"{name} is {short_repr(texts)}: use a mapping of English texts to others, or a file")
    known = _built_in("de")  # each file has all of them
    return {key: _checked_text(name, key, text, known[key]) for key, text in texts.items() if key in known}


def _read(tag: str, path: str | PathLike[str]) -> object:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidOptionError(f"languages[{tag!r}]: the file {str(path)!r} can't be read: {error}") from error


def _checked_text(name: str, key: str, text: object, like: str | Mapping[str, str]) -> str | Mapping[str, str]:
    """Return a text, of the same kind as another language's."""
    if isinstance(like, str):
        _check_places(name, key, text)
        assert isinstance(text, str)
        return text
    forms = {"other": text} if isinstance(text, str) else text
    if not isinstance(forms, Mapping) or not {"other"} <= forms.keys() <= _CATEGORIES:
        raise InvalidOptionError(
            f"{name} has {short_repr(text)} for {key!r}: use an object with the plural categories of the language, "
            "'other' among them"
        )
    for form in forms.values():
        _check_places(name, key, form)
    return dict(forms)


def _check_places(name: str, key: str, text: object) -> None:
    if not isinstance(text, str) or not text or not is_storable(text):
        raise InvalidOptionError(f"{name} has {short_repr(text)} for {key!r}: use a text")
    if more := set(_PLACE.findall(text)) - set(_PLACE.findall(key)):
        raise InvalidOptionError(f"{name} has {short_repr(text)} for {key!r}, which has no {{{min(more)}}}")
