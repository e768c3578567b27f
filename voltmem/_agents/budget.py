"""How much of a model's context a message takes, and long results of tools made short for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from pydantic import JsonValue

from voltmem._values import to_json, with_strings
from voltmem.models import Message
from voltmem.parts import File, Other, Part, Reasoning, Source, Text, ToolCall, ToolResult, parts, plain
from voltmem.parts._types import BASE64_URL
from voltmem.tokens import CountTokens, Encoding, estimate_tokens

TOKENS_OF_MESSAGE: Final = 4
"""What a message takes beside its content, and so at least: its role, its beginning and its end."""
TOKENS_OF_FILE: Final = 1_000
"""What a picture takes, whatever its bytes: providers take 250 to 1,600, by its size. Other files count the same."""

_NOTE: Final = 45  # characters for the note of what was left out

MessageT = TypeVar("MessageT", bound=Message)


def counter(count: Encoding | CountTokens) -> CountTokens:
    """Return the function that counts; InvalidQueryError for what is neither a function nor the name of an encoding."""
    if callable(count):
        return count
    estimate_tokens("", count)  # checks the name
    return partial(estimate_tokens, encoding=count)


def tokens_of(message: Message, count: CountTokens) -> int:
    """Return the tokens of a message with all its parts."""
    if type(message) is Message and isinstance(message.content, str) and message.type == "text":  # nearly every one
        return TOKENS_OF_MESSAGE + count(message.content)
    return TOKENS_OF_MESSAGE + sum(_tokens_of_part(part, count) for part in parts(message))


def _tokens_of_part(part: Part, count: CountTokens) -> int:
    match part:
        case Text(text) | Reasoning(text):
            return count(text)
        case ToolCall(name=name, arguments=arguments):
            return TOKENS_OF_MESSAGE + count(name) + _tokens_of_value(arguments, count)
        case ToolResult(value=value) | Other(value=value):
            return _tokens_of_value(value, count)
        case File():
            return TOKENS_OF_FILE
        case Source(url=url, title=title):
            return count(title) + count(url)


def _tokens_of_value(value: JsonValue, count: CountTokens) -> int:
    """Return the tokens of a JSON value; of bytes in it, those of a picture."""
    if value is None:
        return 0
    if isinstance(value, str):
        return TOKENS_OF_FILE if BASE64_URL.match(value) else count(value)
    files = sum(1 for _ in plain.bytes_in(value))
    return files * TOKENS_OF_FILE + count(to_json(plain.without_bytes(value) if files else value))


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
