"""
VoltAgent 1 and 2: what its agents read of a message that others stored beside them.

VoltAgent stores UIMessages, a row each, and reads the role and the parts of every row. Reading what it stored needs no
module of its own: see ai_sdk, which knows its tools' outputs, and for version 0.1 plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from voltmem.parts import ai_sdk
from voltmem.parts._providers import named_file
from voltmem.parts._settled import Settling, only_speaks
from voltmem.parts._steps import Readable, Settled, native_of
from voltmem.parts._types import File, JsonObject

_ROLES: Final = frozenset({"system", "user", "assistant"})


@dataclass(frozen=True, slots=True)
class Shown:
    """What VoltAgent reads of one message."""

    role: str
    """system, user or assistant: VoltAgent's agents fail with any other."""
    parts: list[JsonValue]
    """The parts of the UIMessage; []: nothing, and VoltAgent skips it."""
    results: JsonObject
    """For the id of each call in an earlier message, the fields that its part gets now."""


def show(messages: Sequence[Readable]) -> list[Shown]:
    """
    Return what VoltAgent reads of messages that follow each other. Results join the parts of their calls.

    Files stored with put_file() are named in a text. Calls without a result stay open, because the result may come
    later. VoltAgent leaves them out for its models.
    """
    if all(map(_is_plain, messages)):  # nearly always
        return [
            Shown(each.role, [{"type": "text", "text": each.content}] if each.content else [], {}) for each in messages
        ]
    return [_shown(each) for each in Settling(messages).settled(is_end=False)]


def _is_plain(message: Readable) -> bool:
    return message.role in _ROLES and only_speaks(message) and native_of(message)[0] is None


def _shown(settled: Settled[Readable]) -> Shown:
    # A result with an id is for a call in an earlier message, and is shown there.
    elsewhere = {each.call_id: ai_sdk.outcome(each) for each in settled.orphans if each.call_id}
    here = replace(settled, orphans=[each for each in settled.orphans if not each.call_id])
    return Shown(ai_sdk.role(here), [_named(part) for part in ai_sdk.write_parts(here)], dict(elsewhere))


def _named(part: JsonValue) -> JsonValue:
    """Return a text with the name in place of a stored file: VoltAgent's agents fail with any address but http's."""
    said = ai_sdk.read({"parts": [part]})
    names = [named_file(each) for each in said if isinstance(each, File) and each.is_stored]
    return {"type": "text", "text": names[0]} if names else part
