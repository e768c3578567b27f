"""The application: voltmem's REST routes, a route that streams answers, and the page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from voltmem import __version__
from voltmem._values import short_repr, to_json
from voltmem.errors import InvalidOptionError, MissingExtraError
from voltmem.models import Message
from voltmem.storage import PostgresStorage

try:
    from fastapi import APIRouter, Depends, FastAPI, Request, Response
    from fastapi.responses import HTMLResponse, StreamingResponse
    from fastapi.staticfiles import StaticFiles
    from starlette.exceptions import HTTPException
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError("fastapi", "chat") from error

from voltmem.chat._answering import Answer, Answering
from voltmem.chat._answers import Answers, MakeTitle
from voltmem.web import router
from voltmem.web._bodies import Given
from voltmem.web._payloads import Body, Name, NewMessageId
from voltmem.web._problems import handle_error, internal_error
from voltmem.web._route import ProblemRoute, record_methods
from voltmem.web._signed_in import Mine, read_when_signed_in, sign_in

_STATIC: Final = Path(__file__).parent / "static"
# The page loads nothing from other sites, and scripts in a model's answer do not run.
_POLICY: Final = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
_HOST: Final = re.compile(r"\*|(\*\.)?[\w.-]+|\[[\da-fA-F:]+\]")


class Question(Body):
    """A request for an answer: to a new text, or without a text to the stored message with this id."""

    conversation_id: Name
    message_id: NewMessageId
    text: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None


def app(
    storage: PostgresStorage,
    answer: Answer,
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
            *history*; and *context*, which says who asks, and where. A plain one runs in a thread.
        user: A FastAPI dependency that returns the user's id. If nobody is signed in it returns None or an empty
            string, or raises an HTTPException with status 401.
        title: Returns a better title than the beginning of the first question, from the question and its answer.
        model: A name for what answers, which the page shows.
        allowed_hosts: The host names that the page is asked by, ``"*.example.com"`` for all below one; None: any. A
            server on one's own machine names them, against DNS rebinding.

    A question is stored before it is answered, and the answer while it streams. If *answer* raises, the page says
    so, and the log has the error. If *title* raises, the title stays, and the log has the error.

    Raises:
        InvalidOptionError: *answer* takes other arguments, the storage or *user* are none, or *allowed_hosts* has what
            is no host name.
    """
    answers = Answers(Answering(answer), title)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield  # Starlette runs it where the chat is the server's own application, and not where it is mounted
        await answers.stop_all()

    made = FastAPI(
        title="voltmem chat", version=__version__, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    if allowed_hosts is not None:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(allowed_hosts))
    made.include_router(router(storage, user), prefix="/api")
    of_users = [Depends(sign_in(storage, user)), Depends(read_when_signed_in)]
    made.include_router(_asking(answers, model), prefix="/api", dependencies=of_users)
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


def _asking(answers: Answers, model: str) -> APIRouter:
    """Make the routes of the chat's own."""
    routes = APIRouter(route_class=ProblemRoute)

    @routes.get("/about")
    async def about() -> dict[str, str]:
        return {"model": model}

    @routes.post("/chat", response_class=StreamingResponse)
    async def ask(mine: Mine, question: Given[Question]) -> Response:
        if question.text is None:
            events = await answers.ask_again(mine, question.conversation_id, question.message_id)
        else:
            message = Message(id=question.message_id, role="user", content=question.text)
            events = await answers.ask(mine, question.conversation_id, message)
        lines = (f"event: {event.name}\ndata: {to_json(event.data)}\n\n" async for event in events)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)

    record_methods(routes.routes)
    return routes


_pages: Final = APIRouter()


@_pages.get("/")
@_pages.get("/c/{conversation_id}")
def page(request: Request) -> HTMLResponse:
    """Return the page, with the path under which it is mounted."""
    base = request.scope.get("root_path", "").rstrip("/") + "/"
    text = (_STATIC / "index.html").read_text(encoding="utf-8").replace("{base}", escape(base))
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"})
