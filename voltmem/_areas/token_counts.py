"""How much of a model's context a message takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from operator import index
from typing import Final, SupportsIndex

from pydantic import JsonValue

from voltmem._values import short_repr, to_json
from voltmem.errors import InvalidQueryError
from voltmem.models import Message
from voltmem.parts import File, Other, Part, Reasoning, Source, Text, ToolCall, ToolResult, parts, plain
from voltmem.parts._types import BASE64_URL
from voltmem.tokens import CountTokens, Encoding, estimate_tokens

STORED_COUNTS: Final[Encoding] = "o200k"
"""What the tokens are that count_tokens=True stores beside messages."""
TOKENS_OF_MESSAGE: Final = 4
"""What a message takes beside its content, and so at least: its role, its beginning and its end."""
TOKENS_OF_FILE: Final = 1_000
"""What a picture takes, whatever its bytes: providers take 250 to 1,600, by its size. Other files count the same."""


def counter(count: Encoding | CountTokens) -> CountTokens:
    """Return the function that counts; InvalidQueryError for what is neither a function nor the name of an encoding."""
    if callable(count):
        if inspect.iscoroutinefunction(count):
            raise InvalidQueryError("count is an async function: pass one that returns the number at once")
        return partial(_checked, count)
    estimate_tokens("", count)  # checks the name
    return partial(estimate_tokens, encoding=count)


def _checked(count: CountTokens, text: str) -> int:
    """Return what the caller's function counts; InvalidQueryError if that is no number of tokens."""
    found: object = count(text)
    if not isinstance(found, SupportsIndex) or isinstance(found, bool) or (number := index(found)) < 0:
        raise InvalidQueryError(f"count returned {short_repr(found)}, which is no number of tokens")
    return number


def stored_counts(messages: Iterable[Message]) -> list[str]:
    """Return the tokens of messages for their rows, as text: asyncpg looks up arrays of other types."""
    return [str(tokens_of(message, estimate_tokens)) for message in messages]


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
