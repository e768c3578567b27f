"""The title that a conversation gets at once: the beginning of its first question."""

from __future__ import annotations

import re
from typing import Final

_LENGTH: Final = 48


def shortened(text: str) -> str:
    """Return the first sentence of a text in one line, shortened at a word's end."""
    line = re.split(r"(?<=[.?!]) ", " ".join(text.split()))[0]
    if len(line) <= _LENGTH:
        return line.rstrip("?.! ") or line
    return line[:_LENGTH].rpartition(" ")[0].rstrip(",;:.?! ") or line[:_LENGTH]
