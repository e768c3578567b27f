"""A scripted model, which needs no API key: it looks for keywords in the question and streams the reply to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from voltmem.chat._titles import shortened
from voltmem.models import Message

NAME: Final = "Scripted model"
SUGGESTIONS: Final = (
    "Why won’t my sourdough rise? The loaf stays flat.",
    "Plan a weekend in Lisbon. Three days, one hill a day.",
    "Show me a small asyncio program. In Python, with a memory.",
    "Help me find a name for a small tool. One syllable, if possible.",
)
_SCRIPT: Final = Path(__file__).parent / "script.md"


class ScriptedModel:
    """Answers as the script says."""

    def __init__(self, seconds_per_piece: float = 0.02) -> None:
        self._seconds_per_piece = seconds_per_piece
        self._script = read_script(_SCRIPT.read_text(encoding="utf-8"))

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """Stream the reply to the last question, word by word."""
        questions = [message.text for message in messages if message.role == "user"]
        for piece in re.findall(r"\s*\S+", self._reply(questions)):
            await asyncio.sleep(self._seconds_per_piece)
            yield piece

    def _reply(self, questions: list[str]) -> str:
        question = questions[-1] if questions else ""
        words = set(re.findall(r"\w+", question.lower()))
        matching = [reply for keywords, reply in self._script if keywords & words]
        others = [reply for keywords, reply in self._script if not keywords]
        if matching:
            return matching[0]
        return others[len(questions) % len(others)].replace("{question}", shortened(question))


def read_script(text: str) -> list[tuple[set[str], str]]:
    """Return the sections of the script: the keywords in the heading, and the reply to a question with one of them."""
    sections = re.split(r"^# ?(.*)\n", text, flags=re.MULTILINE)[1:]
    headings, replies = sections[::2], sections[1::2]
    return [(set(heading.split()), reply.strip()) for heading, reply in zip(headings, replies, strict=True)]
