"""
Conversations over HTTP: a REST surface with server-sent events for FastAPI and Starlette applications (extra "web").

::

    from fastapi import FastAPI
    from voltmem import PostgresStorage, web

    storage = PostgresStorage()
    app = FastAPI()
    app.include_router(web.router(storage, user=signed_in_user), prefix="/api")  # a dependency of the application's

Who the user is comes from the application's dependency; no body and no query names one, and each route sees that
user's data only. One asks nobody: ``/shared/{token}`` shows what a user shares with strangers. Errors are problem
documents (RFC 9457), other routes' errors are left alone. The application's own OpenAPI document has it all.

An id in a path is percent-encoded, a slash in it as %2F, which a proxy must pass on as it is. Ids that clients choose
have none: it is the application's own, and those of an import, that may.

Where a cookie says who the user is, a page of another site can have the browser send it along. A POST that doesn't say
that it is JSON, which a browser sends without asking first, is refused where it comes from another origin (403). For
all else a browser asks first: the application's CORS middleware says which origins may; without one, none may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from voltmem import __version__
from voltmem.errors import MissingExtraError
from voltmem.storage import Storage

try:
    from fastapi import APIRouter, Depends, FastAPI, Request
    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError("fastapi", "web") from error

from voltmem.web import _conversations, _events, _frontends, _messages, _shares, _transfer
from voltmem.web._problems import internal_error, told
from voltmem.web._route import ProblemRoute, say_all_methods
from voltmem.web._signed_in import open_to_all, sign_in

__all__ = ["app", "router"]

_OF_A_USER = (
    *(_conversations.routes, _messages.routes, _shares.routes),
    *(_events.routes, _transfer.routes, _frontends.routes),
)
_OF_ANYBODY = (_shares.public_routes,)
say_all_methods(route for part in (*_OF_A_USER, *_OF_ANYBODY) for route in part.routes)


def router(storage: Storage, user: Callable[..., Any]) -> APIRouter:
    """
    Return the routes, for ``include_router()`` of a FastAPI application, under any prefix.

    Args:
        storage: Where. The application opens and closes it.
        user: A dependency as FastAPI knows them, which returns the user's id; None, an empty string, or an
            HTTPException with 401, for nobody.
    """
    made = APIRouter(route_class=ProblemRoute, tags=["conversations"])
    for part in _OF_A_USER:
        made.include_router(part, dependencies=[Depends(sign_in(storage, user))])
    for part in _OF_ANYBODY:
        made.include_router(part, dependencies=[Depends(open_to_all(storage))])
    return made


def app(storage: Storage, user: Callable[[Request], str | Awaitable[str | None] | None]) -> ASGIApp:
    """
    Return the routes as an application of their own, for ``Mount("/api", app(...))`` in a Starlette one.

    Args:
        storage: Where. The application opens and closes it.
        user: Returns the user's id for a request, or None or an empty string for nobody; it may be async.

    Its OpenAPI document is at ``/openapi.json``.
    """

    async def signed_in(request: Request) -> str | None:
        found = user(request)
        return await found if isawaitable(found) else found

    made = FastAPI(title="voltmem", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    made.include_router(router(storage, signed_in))
    made.add_exception_handler(HTTPException, told)
    made.add_exception_handler(Exception, internal_error)
    return made
