"""The title that a conversation gets at once: the beginning of its first question."""

from __future__ import annotations

import re
from typing import Final

from voltmem.models import Message
from voltmem.parts import File, parts

_LENGTH: Final = 48


def title_of(question: Message) -> str:
    """Return the title that a question gives: of its text, or the name of its first file; "" if it has neither."""
    names = (part.name for part in parts(question) if isinstance(part, File))
    return shortened(question.text) or shortened(next((name for name in names if name), ""))


def shortened(text: str) -> str:
    """Return the first sentence of a text in one line, shortened at a word's end."""
    line = re.split(r"(?<=[.?!]) ", " ".join(text.split()))[0]
    if len(line) <= _LENGTH:
        return line.rstrip("?.! ") or line
    return line[:_LENGTH].rpartition(" ")[0].rstrip(",;:.?! ") or line[:_LENGTH]
