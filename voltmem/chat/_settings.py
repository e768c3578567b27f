"""How the chat looks, and what it offers, as the application chooses it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from pydantic import JsonValue

from voltmem._values import JsonObject, short_repr
from voltmem.errors import InvalidOptionError

_COLOUR: Final = re.compile(r"#([\da-fA-F]{2})([\da-fA-F]{2})([\da-fA-F]{2})")
_LOGO: Final = re.compile(r"/(?!/)[^\s\"'<>]*|data:image/[^\s\"'<>]*")
# The light theme's paper, on which the colour is text: see tokens.css.
_PAPER: Final = 0.965
_LEAST_CONTRAST: Final = 4.5


@dataclass(frozen=True)
class Settings:
    """What the page is told. InvalidOptionError for what it could not show."""

    title: str = "voltmem"
    logo: str | None = None
    accent: str | None = None
    suggestions: Sequence[str] = ()
    models: Sequence[str] = ()
    uploads: Sequence[str] = ()
    max_file_bytes: int = 0
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _check_text("title", self.title)
        _check_texts("suggestions", self.suggestions)
        _check_texts("models", self.models)
        _check_texts("uploads", self.uploads)
        _check_types(self.uploads)
        if len({*self.models}) < len(self.models):
            raise InvalidOptionError(f"models {short_repr(self.models)}: two have the same name")
        if self.logo is not None:
            _check_logo(self.logo)
        if self.accent is not None:
            _check_accent(self.accent)

    def check_model(self, name: str | None) -> str:
        """Return the model that is asked: the first one unless another is chosen."""
        if name is None:
            return self.models[0] if self.models else ""
        if name not in self.models:
            raise InvalidOptionError(f"model {short_repr(name)} is not among the models of this chat")
        return name

    def takes(self, media_type: str) -> bool:
        """Return whether a question may have a file of this type."""
        return any(fnmatchcase(media_type.lower(), each.lower()) for each in self.uploads)

    def shown(self) -> JsonObject:
        """Return the settings for the page."""
        suggestions: list[JsonValue] = [*self.suggestions]
        models: list[JsonValue] = [*self.models]
        uploads: list[JsonValue] = [*self.uploads]
        without: list[JsonValue] = [*sorted(self.without)]
        return {
            "title": self.title,
            "logo": self.logo,
            "accent": self.accent,
            "suggestions": suggestions,
            "models": models,
            "uploads": uploads,
            "maxFileBytes": self.max_file_bytes,
            "without": without,
        }


def check_callback(name: str, function: object) -> None:
    """InvalidOptionError for what can't be called; None is no function at all."""
    if function is not None and not callable(function):
        raise InvalidOptionError(f"{name} {short_repr(function)}: use a function, or None")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InvalidOptionError(f"{name} {short_repr(value)}: use a text that is not empty")


def _check_texts(name: str, values: object) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidOptionError(f"{name} {short_repr(values)}: use a list of texts")
    for value in values:
        _check_text(name, value)


def _check_types(patterns: Sequence[str]) -> None:
    for each in patterns:
        if "/" not in each:
            raise InvalidOptionError(f"uploads has {each!r}: use media types, such as 'image/png' or 'image/*'")


def _check_logo(address: object) -> None:
    if not isinstance(address, str) or not _LOGO.fullmatch(address):
        raise InvalidOptionError(
            f"logo {short_repr(address)}: use a path of this server, such as '/static/logo.svg', or a data: URL"
        )


def _check_accent(colour: object) -> None:
    found = _COLOUR.fullmatch(colour) if isinstance(colour, str) else None
    if found is None:
        raise InvalidOptionError(f"accent {short_repr(colour)}: use a colour such as '#0f6a4c'")
    contrast = (_PAPER + 0.05) / (_luminance(*(int(part, 16) / 255 for part in found.groups())) + 0.05)
    if contrast < _LEAST_CONTRAST:
        raise InvalidOptionError(
            f"accent {colour!r} has a contrast of {contrast:.1f} with the page, and text needs {_LEAST_CONTRAST}: "
            "use a darker colour; the dark theme gets a lighter one of it"
        )


def _luminance(red: float, green: float, blue: float) -> float:
    """
    Return the relative luminance of a colour.

    https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
    """
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
