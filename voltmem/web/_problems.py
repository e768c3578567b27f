"""Errors as problem documents (RFC 9457). The routes make them; the application's error handlers stay untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.client import responses as phrases
from itertools import islice
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, JsonValue
from starlette.exceptions import HTTPException

from voltmem._values import MAX_ERRORS, to_json
from voltmem.errors import (
    ConnectionFailedError,
    ConversationExistsError,
    ConversationNotFoundError,
    DatabaseTimeoutError,
    InvalidInputError,
    InvalidOptionError,
    MemoryConflictError,
    MemoryRefusedError,
    MessageNotFoundError,
    OutcomeUnknownError,
    QuotaExceededError,
    StorageClosedError,
    StoredFileNotFoundError,
    VoltMemError,
)
from voltmem.parts._forms import FORMS
from voltmem.web._signed_in import WrongUserError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2


class Invalid(BaseModel):
    """One error in a request."""

    pointer: str
    """The place of the error: /body/title, /query/limit."""
    detail: str
    """What is wrong there."""


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """The kind of problem, for programs: urn:voltmem:conversation-not-found. about:blank: see the status."""
    title: str
    """The kind of problem, for people."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened this time."""
    data: JsonValue = None
    """The detail of the application's exception, if that is not a text."""
    errors: list[Invalid] | None = None
    """All errors of an invalid request."""


class ProblemResponse(Response):
    """A response with a problem document."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        # to_json(), because strings of the request appear in it, with lone surrogates too.
        content = to_json(problem.model_dump(exclude_none=True)).encode()
        super().__init__(content, problem.status, {"Cache-Control": "no-store", **(headers or {})})


def problem_response(error: Exception) -> ProblemResponse | None:
    """
    Make the response for an error, or return None if the error is not for the client.

    It shows nothing of PostgreSQL's message, and another user's conversation looks like a missing one.
    """
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return ProblemResponse(_blank(error.status_code, error.detail), error.headers)
    if isinstance(error, WrongUserError):
        return None
    for kind, status, name, title, detail in _KINDS:
        if isinstance(error, kind):
            problem = Problem(type=f"urn:voltmem:{name}", title=title, status=status, detail=detail(error))
            is_brief = status == 503 and kind is not OutcomeUnknownError
            return ProblemResponse(problem, {"Retry-After": str(RETRY_AFTER_SECONDS)} if is_brief else None)
    return None


def _blank(status: int, given: JsonValue) -> Problem:
    phrase = phrases.get(status, f"Status {status}")  # an application may use a status that is not registered
    detail, data = (given, None) if isinstance(given, str) else (phrase, given)
    return Problem(type="about:blank", title=phrase, status=status, detail=detail, data=data)


def _invalid(error: RequestValidationError) -> ProblemResponse:
    errors = [
        Invalid(pointer=_pointer(each["loc"]), detail=each["msg"].removeprefix("Value error, "))
        for each in islice(error.errors(), MAX_ERRORS)
    ]
    detail = "; ".join(f"{each.pointer}: {each.detail}" for each in errors)
    problem = Problem(
        type="urn:voltmem:invalid-request", title=_INVALID, status=422, detail=detail[:1000], errors=errors
    )
    return ProblemResponse(problem)


def _pointer(steps: Iterable[str | int]) -> str:
    # Our tags of the kinds of a body, such as <several>, are not part of the request.
    names = (str(step) for step in steps if step not in TAGS)
    return "".join("/" + name.replace("~", "~0").replace("/", "~1")[:100] for name in names)


TAGS: Final = frozenset({"<one>", "<several>", "<plain>", "<item>", *(f"<{form.format}>" for form in FORMS)})
_INVALID: Final = "The request is invalid"
_COUNTED: Final = {"conversations": "conversations", "messages": "messages", "file_bytes": "bytes of files"}
_UNAVAILABLE: Final = "The database is not available right now"
# The first request may have been carried out. Without an id or a key, a repeated one would store another message.
_REPEAT: Final = "Repeat the request with the same ids or the same Idempotency-Key, so that nothing is stored twice."

# The first match counts. A search that is off is 501, not 4xx, because no request can succeed.
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
    (StoredFileNotFoundError, 404, "file-not-found", "There is no such file", lambda _: "The file was deleted."),
    (
        ConversationExistsError,
        409,
        "conversation-exists",
        "The id is taken",
        lambda error: f"The id {error.conversation_id!r} is taken. Leave it out to get a new one.",
    ),
    (
        MemoryConflictError,
        412,
        "memory-changed",
        "The memory was changed meanwhile",
        lambda error: f"The newest version is {error.version}, not {error.expected}. Read it, and repeat the change.",
    ),
    (MemoryRefusedError, 409, "memory-refused", "The memory does not take this change", str),
    (
        QuotaExceededError,
        507,  # as WebDAV (RFC 4331) says it, and OneDrive: the request is right, and the user has no room
        "quota-exceeded",
        "There is no room",
        lambda error: f"There would be {error.needed} {_COUNTED[error.quota]}, and {error.limit} are allowed.",
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
        "The outcome is unknown",
        lambda _: "The connection to the database broke after the change was sent. Read before you repeat it.",
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


async def handle_error(_: Request, error: Exception) -> Response:
    """Handle an error in an application of our own."""
    response = problem_response(error)
    return await internal_error(_, error) if response is None else response


async def internal_error(_: Request, __: Exception) -> Response:
    """Make the response for a bug of ours: it shows no detail. The server logs the exception."""
    title = HTTPStatus.INTERNAL_SERVER_ERROR.phrase
    return ProblemResponse(Problem(type="about:blank", title=title, status=500, detail="See the server's log."))
