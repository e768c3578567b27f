"""The application: voltmem's REST routes, a route that streams answers, and the page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from voltmem import __version__
from voltmem._values import short_repr
from voltmem.errors import InvalidOptionError, MissingExtraError
from voltmem.storage import PostgresStorage

try:
    from fastapi import APIRouter, Depends, FastAPI, Request
    from fastapi.responses import HTMLResponse
    from fastapi.staticfiles import StaticFiles
    from starlette.exceptions import HTTPException
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError("fastapi", "chat") from error

from voltmem.chat._agents import Agent
from voltmem.chat._answering import Answer, Answering
from voltmem.chat._answers import Answers, MakeTitle
from voltmem.chat._routes import chat_routes
from voltmem.web import router
from voltmem.web._problems import handle_error, internal_error
from voltmem.web._shares import UNLISTED
from voltmem.web._signed_in import read_when_signed_in, sign_in

_STATIC: Final = Path(__file__).parent / "static"
# The page loads nothing from other sites, and scripts in a model's answer do not run.
_POLICY: Final = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
_HOST: Final = re.compile(r"\*|(\*\.)?[\w.-]+|\[[\da-fA-F:]+\]")


def app(
    storage: PostgresStorage,
    answer: Answer | Agent,
    user: Callable[..., Any],
    *,
    title: MakeTitle | None = None,
    model: str = "",
    allowed_hosts: Sequence[str] | None = None,
) -> ASGIApp:
    """
    Make the chat, to mount under any path: ``application.mount("/chat", chat.app(...))``.

    Args:
        storage: The storage, best with search=True and without a storage_limit. The application opens and closes it.
        answer: A function or a generator, plain or asynchronous, that answers: it returns a text, or yields pieces of
            one and other parts: ``Reasoning``, ``ToolCall`` and ``ToolResult``, ``File``, ``Source``. It takes the
            arguments that it names: *messages*, the conversation so far with the question last; or *message* and
            *history*; and *context*, which says who asks, and where. A plain one runs in a thread. Or an agent of Agno,
            LangChain, the OpenAI Agents SDK or Pydantic AI, as it is.
        user: A FastAPI dependency that returns the user's id. If nobody is signed in it returns None or an empty
            string, or raises an HTTPException with status 401.
        title: Returns a better title than the beginning of the first question, from the question and its answer.
        model: A name for what answers, which the page shows.
        allowed_hosts: The host names that the page is asked by, ``"*.example.com"`` for all below one; None: any. A
            server on one's own machine names them, against DNS rebinding.

    A question is stored before it is answered, and the answer while it streams. If *answer* raises, the page says
    so, and the log has the error. If *title* raises, the title stays, and the log has the error.

    Raises:
        InvalidOptionError: *answer* takes other arguments, or is an agent that stores the conversation itself; the
            storage or *user* are none, or *allowed_hosts* has what is no host name.
    """
    answers = Answers(storage, Answering(answer), title)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield  # Starlette runs it where the chat is the server's own application, and not where it is mounted
        await answers.finish()

    made = FastAPI(
        title="voltmem chat", version=__version__, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    if allowed_hosts is not None:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(allowed_hosts))
    made.include_router(router(storage, user), prefix="/api")
    of_users = [Depends(sign_in(storage, user)), Depends(read_when_signed_in)]
    made.include_router(chat_routes(answers, model), prefix="/api", dependencies=of_users)
    made.mount("/static", StaticFiles(directory=_STATIC), name="static")
    made.include_router(_pages)
    made.add_exception_handler(HTTPException, handle_error)
    made.add_exception_handler(Exception, internal_error)
    return made


def _hosts(names: Sequence[object]) -> list[str]:
    """Return the names; InvalidOptionError for what no request's Host is compared with."""
    if isinstance(names, str):
        raise InvalidOptionError(f"allowed_hosts is a single text, {names!r}: pass a list of host names")
    found: list[str] = []
    for name in names:
        if not isinstance(name, str) or not _HOST.fullmatch(name):
            raise InvalidOptionError(
                f"allowed_hosts has {short_repr(name)}: use host names, without scheme and port, or '*.example.com'"
            )
        found.append(name)
    return found


_pages: Final = APIRouter()


@_pages.get("/")
@_pages.get("/c/{conversation_id}")
def page(request: Request) -> HTMLResponse:
    """Return the page, with the path under which it is mounted."""
    return _page(request, "index.html")


@_pages.get("/shared/{token}")
def shared_page(request: Request) -> HTMLResponse:
    """Return the page that a public link leads to. It needs no user, and asks the API for what the link shows."""
    return _page(request, "shared.html", UNLISTED)


def _page(request: Request, name: str, headers: Mapping[str, str] = MappingProxyType({})) -> HTMLResponse:
    base = request.scope.get("root_path", "").rstrip("/") + "/"
    text = (_STATIC / name).read_text(encoding="utf-8").replace("{base}", escape(base))
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", **headers})
