"""What providers demand of calls: legal names, ids of their alphabet that are used once, results as text."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from voltmem.parts._types import File, ToolResult, readable

_LEGAL_ID: Final = re.compile("[a-zA-Z0-9_-]+")
_NOT_IN_NAMES: Final = re.compile("[^a-zA-Z0-9_-]")
_LONGEST_NAME: Final = 64
DENIED: Final = "The user denied this tool call."


class CallIds:
    """Ids for one list of messages: each call has one of its own, and keeps it if it is legal."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._given: set[str] = set()
        self._last: dict[str, str] = {}

    def legal(self, id: str) -> str:
        """Return the id for the next call, and use it up."""
        is_legal = len(id) <= self._longest and _LEGAL_ID.fullmatch(id) is not None
        wanted = id if is_legal else f"call_{blake2b(id.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"
        found, again = wanted, 2
        while found in self._given:
            end = f"_{again}"
            found, again = wanted[: self._longest - len(end)] + end, again + 1
        self._given.add(found)
        self._last[id] = found
        return found

    def keep(self, id: str) -> None:
        """Use up the id of a call that is written as it was."""
        self._given.add(id)
        self._last[id] = id

    def last(self, id: str) -> str:
        """Return what legal() made of this id last."""
        return self._last.get(id, id)

    def is_free(self, id: str) -> bool:
        """Return whether a call may have this id as it is."""
        return len(id) <= self._longest and _LEGAL_ID.fullmatch(id) is not None and id not in self._given


def legal_name(name: str) -> str:
    """Return the tool's name in the alphabet that all providers accept."""
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME] or "tool"


def result_text(result: ToolResult) -> str:
    """Return a result as a model reads it: its text or JSON, an error, or that the user denied the call."""
    if result.state == "denied":
        reason = "" if result.value is None else readable(result.value)
        return f"{DENIED} {reason}" if reason else DENIED
    return readable(result.value)


def named_file(part: File) -> str:
    """Return the text that stands for a file where a provider takes no such file."""
    return f"[file: {part.name or part.url or part.media_type or part.id or 'unnamed'}]"


def audio_format(media_type: str) -> str:
    """Return OpenAI's name for an audio's media type."""
    kind = media_type.partition("/")[2].removeprefix("x-")
    return {"mpeg": "mp3", "": "wav", "wave": "wav"}.get(kind, kind)
