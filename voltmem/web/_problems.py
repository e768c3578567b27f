"""Errors as problem documents (RFC 9457), told by the routes themselves: no handler of the application's is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.client import responses as phrases
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, JsonValue
from starlette.exceptions import HTTPException

from voltmem._values import to_json
from voltmem.errors import (
    ConnectionFailedError,
    ConversationExistsError,
    ConversationNotFoundError,
    DatabaseTimeoutError,
    InvalidInputError,
    InvalidOptionError,
    MessageNotFoundError,
    OutcomeUnknownError,
    StorageClosedError,
    VoltMemError,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2


class Invalid(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str
    """Where: /body/title, /query/limit."""
    detail: str
    """What."""


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """The kind, for programs: urn:voltmem:conversation-not-found; about:blank where the status says it all."""
    title: str
    """The kind, for people; the same for all of it."""
    status: int
    """The response's status."""
    detail: str
    """What it was this time."""
    data: JsonValue = None
    """What the application told of it, where that is no text."""
    errors: list[Invalid] | None = None
    """Each thing that is wrong with the request, where there are several."""


class ProblemResponse(Response):
    """A problem document."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        # Strings of the request come back in it: with whatever JSON's escapes can bring along.
        content = to_json(problem.model_dump(exclude_none=True)).encode()
        super().__init__(content, problem.status, {"Cache-Control": "no-store", **(headers or {})})


def problem_response(error: Exception) -> ProblemResponse | None:
    """
    Return what the client is told of an error; None where it is no business of the client's.

    Of what PostgreSQL says nothing is told, and of another user's conversation no more than of none.
    """
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return ProblemResponse(_blank(error.status_code, error.detail), error.headers)
    for kind, status, name, title, detail in _KINDS:
        if isinstance(error, kind):
            problem = Problem(type=f"urn:voltmem:{name}", title=title, status=status, detail=detail(error))
            is_brief = status == 503 and kind is not OutcomeUnknownError
            return ProblemResponse(problem, {"Retry-After": str(RETRY_AFTER_SECONDS)} if is_brief else None)
    return None


def _blank(status: int, told: JsonValue) -> Problem:
    phrase = phrases.get(status, f"Status {status}")  # an application may have one that is registered nowhere
    detail, data = (told, None) if isinstance(told, str) else (phrase, told)
    return Problem(type="about:blank", title=phrase, status=status, detail=detail, data=data)


def _invalid(error: RequestValidationError) -> ProblemResponse:
    errors = [
        Invalid(pointer=_pointer(each["loc"]), detail=each["msg"].removeprefix("Value error, "))
        for each in error.errors()
    ]
    detail = "; ".join(f"{each.pointer}: {each.detail}" for each in errors)
    problem = Problem(
        type="urn:voltmem:invalid-request", title=_INVALID, status=422, detail=detail[:1000], errors=errors[:100]
    )
    return ProblemResponse(problem)


def _pointer(steps: Iterable[str | int]) -> str:
    # <one> and <several> tell two kinds of body apart; no request has them.
    names = (str(step) for step in steps if step not in ("<one>", "<several>"))
    return "".join("/" + name.replace("~", "~0").replace("/", "~1")[:100] for name in names)


_INVALID: Final = "The request is not one that can be answered"
_UNAVAILABLE: Final = "The database cannot be asked right now"
# It may have got there: without an id or a key, what is repeated is another one.
_REPEAT: Final = "Repeat the request, with the same ids or the same Idempotency-Key: nothing is stored twice then."

# The first that fits. A search that is off is so for every request: 501, not 4xx, which would blame this one.
_KINDS: Final[tuple[tuple[type[VoltMemError], int, str, str, Callable[[Any], str]], ...]] = (
    (
        ConversationNotFoundError,
        404,
        "conversation-not-found",
        "There is no such conversation",
        lambda error: f"There is no conversation {error.conversation_id!r}.",
    ),
    (
        MessageNotFoundError,
        404,
        "message-not-found",
        "There is no such message",
        lambda error: f"There is no message {error.message_id!r} in the conversation.",
    ),
    (
        ConversationExistsError,
        409,
        "conversation-exists",
        "The id is taken",
        lambda error: f"The id {error.conversation_id!r} is taken. Leave it out to get a new one.",
    ),
    (
        InvalidOptionError,
        501,
        "search-off",
        "The search is off",
        lambda _: "This application's storage was made without search=True.",
    ),
    (InvalidInputError, 422, "invalid-request", _INVALID, str),
    (
        OutcomeUnknownError,
        503,
        "outcome-unknown",
        "It may or may not have happened",
        lambda _: "The connection to the database broke after the change was sent. Look before you repeat it.",
    ),
    (
        DatabaseTimeoutError,
        503,
        "unavailable",
        _UNAVAILABLE,
        lambda _: f"The database did not answer in time. {_REPEAT}",
    ),
    (
        ConnectionFailedError,
        503,
        "unavailable",
        _UNAVAILABLE,
        lambda _: f"The database could not be reached. {_REPEAT}",
    ),
    (StorageClosedError, 503, "unavailable", _UNAVAILABLE, lambda _: "The application is closing."),
)


async def told(_: Request, error: Exception) -> Response:
    """Return the problem that an error is; for an application of our own."""
    response = problem_response(error)
    return await internal_error(_, error) if response is None else response


async def internal_error(_: Request, __: Exception) -> Response:
    """Return what is told of a mistake of ours: nothing. The server logs it."""
    title = HTTPStatus.INTERNAL_SERVER_ERROR.phrase
    return ProblemResponse(Problem(type="about:blank", title=title, status=500, detail="See the server's log."))
