"""
Conversations over HTTP: a REST surface with server-sent events for FastAPI and Starlette applications (extra "web").

::

    from fastapi import FastAPI
    from voltmem import PostgresStorage, web

    storage = PostgresStorage()
    app = FastAPI()
    app.include_router(web.router(storage, user=signed_in_user), prefix="/api")  # a dependency of the application's

The application's dependency says who the user is; no body and no query can. Each route reads and writes that user's
data only. One route needs no user: ``/shared/{token}`` shows what a user has shared by a link. Errors of these routes
are problem documents (RFC 9457); errors of the application's other routes are left alone. All routes are in the
application's OpenAPI document.

An id in a path is percent-encoded, a slash in it as %2F, which a proxy must not decode. Ids that clients choose have no
slash; ids of the application's own, or of an import, may.

If a cookie identifies the user, a page of another site can make the browser send it. So a POST from another origin
must declare a JSON content type, otherwise it is refused (403). With that content type the browser sends a CORS
preflight request first, which the application's CORS middleware answers; without that middleware, no origin may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, Literal

from voltmem import __version__
from voltmem._areas.area import check_storage
from voltmem._values import short_repr
from voltmem.errors import InvalidOptionError, MissingExtraError
from voltmem.storage import Storage

try:
    from fastapi import APIRouter, Depends, FastAPI, Request
    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError("fastapi", "web") from error

from voltmem.web import (
    _branches,
    _conversations,
    _events,
    _files,
    _forgetting,
    _frontends,
    _messages,
    _recall,
    _shares,
    _tags,
    _transfer,
    _working_memory,
)
from voltmem.web._problems import handle_error, internal_error
from voltmem.web._route import ProblemRoute, record_methods
from voltmem.web._signed_in import LONG_ID, Limits, open_to_all, read_when_signed_in, sign_in
from voltmem.web._streams import Cap

__all__ = ["app", "router"]

_OF_A_USER = (
    *(_conversations.routes, _tags.routes, _recall.routes, _messages.routes, _shares.routes),
    *(_events.routes, _transfer.routes, _branches.routes, _frontends.routes, _files.routes),
    *(_working_memory.routes, _forgetting.routes),
)
_OF_ANYBODY = (_shares.public_routes, _files.public_routes)
record_methods(route for part in (*_OF_A_USER, *_OF_ANYBODY) for route in part.routes)


_MAX_FILE_BYTES = 100 * 2**20


# A browser opens six connections to a host over HTTP/1.1, and a person has several devices.
_MAX_EVENT_STREAMS: Final = 20
_MAX_ALL_EVENT_STREAMS: Final = 5_000
# An export is a file on this machine until its client has read it.
_MAX_EXPORTS: Final = 2
_MAX_ALL_EXPORTS: Final = 20
# An import holds a line in memory, of 64 MiB at most, until its client has sent it.
_MAX_IMPORTS: Final = 2
_MAX_ALL_IMPORTS: Final = 10


def router(
    storage: Storage,
    user: Callable[..., Any],
    *,
    max_file_bytes: int = _MAX_FILE_BYTES,
    max_event_streams: int = _MAX_EVENT_STREAMS,
    max_all_event_streams: int = _MAX_ALL_EVENT_STREAMS,
    chosen_ids: Literal["long", "any"] = "long",
) -> APIRouter:
    """
    Make the routes, for ``include_router()`` of a FastAPI application, under any prefix.

    Args:
        storage: The storage. The application opens and closes it.
        user: A FastAPI dependency that returns the user's id. If nobody is signed in it returns None or an empty
            string, or raises an HTTPException with status 401.
        max_file_bytes: The size of the largest file that can be uploaded.
        max_event_streams: How many event streams a user may have open in this process.
        max_all_event_streams: How many all users together may have open in this process.
        chosen_ids: Which ids of conversations a client may choose: "long" ones of at least 16 characters, which the AI
            SDK and UUIDs have, or "any". Ids are unique in the storage, so whoever guesses an id can take it first.

    Raises:
        InvalidOptionError: The storage is not an asynchronous one, *user* is not callable, or a limit is not a number.
    """
    _check(storage, user)
    limits = Limits(
        max_file_bytes=_number("max_file_bytes", max_file_bytes),
        events=Cap(
            _number("max_event_streams", max_event_streams), _number("max_all_event_streams", max_all_event_streams)
        ),
        exports=Cap(_MAX_EXPORTS, _MAX_ALL_EXPORTS),
        imports=Cap(_MAX_IMPORTS, _MAX_ALL_IMPORTS),
        shortest_id=_shortest(chosen_ids),
    )
    made = APIRouter(route_class=ProblemRoute, tags=["conversations"])
    for part in _OF_A_USER:
        # In this order: nobody's body is read.
        signed_in = Depends(sign_in(storage, user, limits))
        made.include_router(part, dependencies=[signed_in, Depends(read_when_signed_in)])
    for part in _OF_ANYBODY:
        made.include_router(part, dependencies=[Depends(open_to_all(storage))])
    return made


def app(
    storage: Storage,
    user: Callable[[Request], str | Awaitable[str | None] | None],
    *,
    max_file_bytes: int = _MAX_FILE_BYTES,
    max_event_streams: int = _MAX_EVENT_STREAMS,
    max_all_event_streams: int = _MAX_ALL_EVENT_STREAMS,
    chosen_ids: Literal["long", "any"] = "long",
) -> ASGIApp:
    """
    Make an application with the routes, for ``Mount("/api", app(...))`` in a Starlette application.

    Args:
        storage: The storage. The application that mounts it opens and closes the storage.
        user: Returns the user's id for a request; None or an empty string if nobody is signed in. It may be async.
        max_file_bytes: The size of the largest file that can be uploaded.
        max_event_streams: How many event streams a user may have open in this process.
        max_all_event_streams: How many all users together may have open in this process.
        chosen_ids: Which ids of conversations a client may choose: "long" ones of at least 16 characters, which the AI
            SDK and UUIDs have, or "any". Ids are unique in the storage, so whoever guesses an id can take it first.

    Its OpenAPI document is at ``/openapi.json``.

    Raises:
        InvalidOptionError: As in router().
    """
    _check(storage, user)

    async def signed_in(request: Request) -> str | None:
        found = user(request)
        return await found if isawaitable(found) else found

    made = FastAPI(title="voltmem", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    routes = router(
        storage,
        signed_in,
        max_file_bytes=max_file_bytes,
        max_event_streams=max_event_streams,
        max_all_event_streams=max_all_event_streams,
        chosen_ids=chosen_ids,
    )
    made.include_router(routes)
    made.add_exception_handler(HTTPException, handle_error)
    made.add_exception_handler(Exception, internal_error)
    return made


def _shortest(chosen_ids: object) -> int:
    if chosen_ids not in ("long", "any"):
        raise InvalidOptionError(f'chosen_ids {short_repr(chosen_ids)}: use "long" or "any"')
    return LONG_ID if chosen_ids == "long" else 0


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidOptionError(f"{name} {short_repr(value)} is not a number: use an integer, 0 or more")
    return value


def _check(storage: object, user: object) -> None:
    check_storage(storage, Storage)
    if not callable(user):
        raise InvalidOptionError(
            f"user must be a function that returns the signed-in user's id, not {short_repr(user)}"
        )
