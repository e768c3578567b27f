"""The repr of objects whose constructor raised."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

ObjectT = TypeVar("ObjectT")


def safe_repr(shown: Callable[[ObjectT], str]) -> Callable[[ObjectT], str]:
    """Make a __repr__ work for an object whose constructor raised: debuggers and error reports show that, too."""

    @wraps(shown)
    def shown_or_named(self: ObjectT) -> str:
        try:
            return shown(self)
        except AttributeError:
            return f"<{type(self).__name__}, whose constructor failed>"

    return shown_or_named
