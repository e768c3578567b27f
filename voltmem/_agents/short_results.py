"""Long results of tools, made short for a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from pydantic import JsonValue

from voltmem._values import to_json, with_strings
from voltmem.models import Message
from voltmem.parts import ToolResult, parts, plain

_NOTE: Final = 45  # characters for the note of what was left out

MessageT = TypeVar("MessageT", bound=Message)


def with_short_results(message: MessageT, most: int | None) -> MessageT:
    """
    Return a message in which tools' results say what was left out of them; None: the message as it is.

    A text in a result has at most so many characters, and a result as a whole twice as many.
    """
    if most is None:
        return message
    said = parts(message)
    long = [part for part in said if isinstance(part, ToolResult) and len(_as_text(part.value)) > most]
    if not long:
        return message
    # In the message's own form, with everything else that the form has, where the long texts stand in it as they are.
    shorter = {text: shortened(text, most) for part in long for text in _texts(part.value) if len(text) > most}
    if shorter:
        message = message.rewritten(partial(with_strings, rewrite=_replacing(shorter)))
        said = parts(message)
    if not any(isinstance(part, ToolResult) and len(_as_text(part.value)) > 2 * most for part in said):
        return message
    return message.saying([_short(part, most) if isinstance(part, ToolResult) else part for part in said])


def _replacing(shorter: dict[str, str]) -> Callable[[str], str]:
    return lambda text: shorter.get(text, text)


def _short(result: ToolResult, most: int) -> ToolResult:
    text = _as_text(result.value)
    return result if len(text) <= most else replace(result, value=shortened(text, most), origin=None)


def _as_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else to_json(plain.without_bytes(value))


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)


def shortened(text: str, most: int) -> str:
    """Return the beginning and the end of a text, and in between how much was left out; in all, *most* characters."""
    if len(text) <= most:
        return text
    kept = max(most - _NOTE, 0)
    end = kept // 4
    note = f"\n[… {len(text) - kept:,} characters left out …]\n"
    return text[: kept - end] + note + (text[-end:] if end else "")
