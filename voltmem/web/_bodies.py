"""
The bodies of requests: they are read after it is known who asks, and within limits.

FastAPI reads and parses a body before it calls any dependency, so a stranger could make the server work. Here FastAPI
is given a placeholder; the dependency that comes after sign-in reads the body into it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from itertools import accumulate
from typing import Annotated, Any, Final, Self, TypeAlias, TypeVar

from fastapi import Request
from pydantic import BeforeValidator, JsonValue
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from voltmem._strict_json import strict_json
from voltmem._values import MAX_JSON_DEPTH
from voltmem.web._addresses import with_references

T = TypeVar("T")

MAX_BODY_BYTES: Final = 10 * 2**20
# A client that sends nothing for so long is gone. It would hold what it has sent, and its place among the imports.
SILENT_SECONDS: Final = 30
# The values of a body, or of a line of an import. An empty list takes two bytes of JSON, and a hundred of memory.
MAX_VALUES: Final = 200_000
# More than can be stored. The parser itself fails at a depth that depends on the caller's.
MAX_DEPTH: Final = 2 * MAX_JSON_DEPTH

# A string that may be read as JSON later: the fields of "exact" in an import, and the arguments of a call. Its brackets
# and commas may be escaped; those in strings within it count, too, as they may be JSON again.
_JSON_IN_STRING: Final = re.compile(
    rb"(?:[ \t\r\n]|\\[tnr]|\\u00(?:20|09|0[aAdD]))*+(?:[\[{]|\\u00[57][bB])", re.DOTALL
)
_ESCAPED: Final = re.compile(rb"u00(?:[57][bB]|2[cC])")
_BRACKETS: Final = b"[]{}"
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


# --- limits -------------------------------------------------------------------------------------------------------


def check_size(text: bytes, what: str) -> None:
    """
    Raise HTTPException 413 for JSON of too many values, or 400 for too many levels. It need not be valid.

    The values of JSON within a string count, too.
    """
    opened = len(text) - len(text.translate(None, b"[{"))
    if opened <= MAX_DEPTH and _values(text) + text.count(b"u00") < MAX_VALUES:
        return
    too_many = HTTPException(413, f"{what} has more than {MAX_VALUES} JSON values.")
    # Without escaped backslashes and quotation marks, each second piece is a string. A value has at most two.
    unescaped = text.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    if unescaped.count(b'"') > 4 * MAX_VALUES:
        raise too_many
    pieces = unescaped.split(b'"')
    bare = b"".join(pieces[::2])
    inside = (_values(each) + len(_ESCAPED.findall(each)) for each in pieces[1::2] if _JSON_IN_STRING.match(each))
    if _values(bare) + sum(inside) >= MAX_VALUES:
        raise too_many
    brackets = bare.translate(None, _NOT_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise HTTPException(400, f"{what} is nested too deeply.")


def _values(text: bytes) -> int:
    """Return the number of values but one, from brackets and commas."""
    return len(text) - len(text.translate(None, b"[{,"))  # many times faster than count()


def check_declared(request: Request, most: int, what: str) -> int | None:
    """Return the declared size of a body; HTTPException 413 if it is too large, before it is read."""
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal():
        return None
    if len(declared) > 18 or int(declared) > most:
        raise HTTPException(413, f"{what} has more than {most} bytes.")
    return int(declared)


# --- reading ------------------------------------------------------------------------------------------------------


class Later(bytes):
    """What FastAPI is given in place of a body, or of its JSON. Not empty, because an empty body is not validated."""

    value: JsonValue | bytes = None

    def __new__(cls) -> Self:
        """Make a placeholder whose body is not read."""
        return super().__new__(cls, b"later")


class StrictRequest(Request):
    """A request with a limit on the size of its body, and strict JSON: no duplicate names, no NaN."""

    def __init__(self, scope: Scope, receive: Receive, *, takes_json: bool) -> None:
        super().__init__(scope, receive)
        self.later = Later() if takes_json else None
        # FastAPI asks first: for the body, then for its JSON if there is a content type. The application's own
        # dependencies, which may check a signature, are given the body itself.
        self._placeholders = 2 if "content-type" in self.headers else 1

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes. Raises HTTPException if the client sends nothing for a while, or disconnects."""
        chunks = super().stream()
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    chunk = await anext(chunks, None)
            except TimeoutError as error:
                raise HTTPException(408, f"Nothing of the body came for {SILENT_SECONDS} seconds.") from error
            except ClientDisconnect as error:
                raise HTTPException(400, "The body was cut off.") from error
            if chunk is None:
                return
            yield chunk

    async def body(self) -> bytes:
        """Read the body. Raises HTTPException 413 as soon as it is too large."""
        if self.later is not None and self._is_fastapis():
            return self.later
        if not hasattr(self, "_body"):
            check_declared(self, MAX_BODY_BYTES, "The body")
            chunks: list[bytes] = []
            size = 0
            async for chunk in self.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise HTTPException(413, f"The body has more than {MAX_BODY_BYTES} bytes.")
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        """Parse the body. Raises HTTPException if it is not JSON, has a name twice in an object, or is too large."""
        if self.later is not None and self._is_fastapis():
            return self.later
        return parsed(with_references(await self.body(), self))

    def _is_fastapis(self) -> bool:
        self._placeholders -= 1
        return self._placeholders >= 0


async def read_body(request: StrictRequest) -> None:
    """Read the body of a request whose user is known, if it is JSON. Without a content type it is not."""
    if request.later is not None and (body := await request.body()):
        request.later.value = await request.json() if "content-type" in request.headers else body


def _content(given: object) -> object:
    return given.value if isinstance(given, Later) else given


Given: TypeAlias = Annotated[T, BeforeValidator(_content)]
"""The body of a request, as a parameter of its route."""


def parsed(body: bytes) -> JsonValue:
    """Return the value of a body."""
    check_size(body, "The body")
    try:
        value = strict_json(body)
    except RecursionError as error:
        raise HTTPException(400, "The body is nested too deeply.") from error
    except ValueError as error:
        raise HTTPException(400, f"The body is not JSON: {error}") from error
    return value
