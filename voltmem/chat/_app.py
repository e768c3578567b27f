"""The application: voltmem's REST routes, a route that streams answers, and the page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from voltmem import __version__
from voltmem._values import short_repr
from voltmem.errors import InvalidOptionError, MissingExtraError
from voltmem.storage import PostgresStorage

try:
    from fastapi import Depends, FastAPI
    from starlette.exceptions import HTTPException
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError("fastapi", "chat") from error

from voltmem.chat._agents import Agent
from voltmem.chat._ai_sdk import ai_sdk_routes
from voltmem.chat._answering import Answer, Answering
from voltmem.chat._answers import Answers, MakeTitle
from voltmem.chat._asking import Asking, OnFeedback
from voltmem.chat._assets import assets
from voltmem.chat._events import event_routes
from voltmem.chat._features import Closed, Feature, check_features
from voltmem.chat._languages import Languages, Offered
from voltmem.chat._pace import Pace
from voltmem.chat._pages import page_routes
from voltmem.chat._routes import answer_routes, chat_routes
from voltmem.chat._settings import Settings
from voltmem.web import router
from voltmem.web._problems import handle_error, internal_error
from voltmem.web._signed_in import read_when_signed_in, sign_in
from voltmem.web._streams import Cap

# As many as a person has tabs and devices; and what a process has sockets for.
_MOST_OF_A_USER: Final = 50
_MOST_OF_ALL: Final = 10_000
_HOST: Final = re.compile(r"\*|(\*\.)?[\w.-]+|\[[\da-fA-F:]+\]")


def app(
    storage: PostgresStorage,
    answer: Answer | Agent,
    user: Callable[..., Any],
    *,
    make_title: MakeTitle | None = None,
    title: str = "voltmem",
    logo: str | None = None,
    accent: str | None = None,
    suggestions: Sequence[str] = (),
    models: Sequence[str] = (),
    uploads: Sequence[str] = ("image/*", "application/pdf", "text/*"),
    max_file_bytes: int = 20 * 2**20,
    answers_per_minute: int | None = None,
    on_feedback: OnFeedback | None = None,
    without: Sequence[Feature] = (),
    languages: Languages | None = None,
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
        make_title: Returns a better title than the beginning of the first question, from the question and its answer. A
            plain function runs in a thread.
        title: The name of the chat, on the page and in the browser's tab.
        logo: The path of a picture beside it, on this server.
        accent: The colour of buttons and links, such as ``"#0f6a4c"``; the dark theme gets a lighter one of it.
        suggestions: Questions that a new conversation offers. The first sentence is set off.
        models: The names of what answers. Of several, the user chooses one, which is ``context.model``.
        uploads: The media types of files that a question may have; none: it has no files.
        max_file_bytes: The size of the largest of them.
        answers_per_minute: How many answers a user may begin in a minute, in this process; None: any number. One that
            goes on after a decision about its calls counts again. A question that is refused does not count.
        on_feedback: Called with the user's id, the conversation's id, the answer's id and ``"positive"``,
            ``"negative"`` or None when somebody rates an answer. A plain function runs in a thread. The answer's
            metadata has the rating as ``{"feedback": {"type": "positive"}}``.
        without: What the chat is without, such as ``["sharing", "export"]``: neither on the page nor over HTTP. See
            ``Feature``. Files are switched off by ``uploads=()``, and the choice of a model by naming one only.
        languages: Texts in other languages, or other texts in one of the page's own, which are Arabic, English,
            French, German, Japanese and Spanish: ``{"nl": "texts/nl.json"}``. The browser chooses among them.
        allowed_hosts: The host names that the page is asked by, ``"*.example.com"`` for all below one; None: any. A
            server on one's own machine names them, against DNS rebinding.

    A question is stored before it is answered, and the answer while it streams. If *answer* raises, the page says
    so, and the log has the error. If *make_title* or *on_feedback* raises, the log has the error, and nothing else
    changes.

    Raises:
        InvalidOptionError: *answer* takes other arguments, or is an agent that stores the conversation itself; the
            storage or *user* are none; or the value of another option is invalid.
    """
    settings = Settings(title, logo, accent, suggestions, models, uploads, max_file_bytes, check_features(without))
    closed = Closed([*settings.without, *([] if uploads else ["uploads"])])
    offered = Offered(languages)
    answers = Answers(storage, Answering(answer), make_title, Pace(answers_per_minute))
    asking = Asking(answers, settings, on_feedback)

    made = FastAPI(
        title="voltmem chat", version=__version__, openapi_url=None, redirect_slashes=False, lifespan=_ending(answers)
    )
    if allowed_hosts is not None:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(allowed_hosts))
    user = closed.signed_in(user)
    are_open = [Depends(closed.check_route)]
    made.include_router(router(storage, user, max_file_bytes=max_file_bytes), prefix="/api", dependencies=are_open)
    of_users = [*are_open, Depends(sign_in(storage, user)), Depends(read_when_signed_in)]
    cap = Cap(_MOST_OF_A_USER, _MOST_OF_ALL)
    found = (chat_routes(asking, cap), answer_routes(asking), event_routes(answers, cap), ai_sdk_routes(asking, cap))
    for routes in found:
        made.include_router(routes, prefix="/api", dependencies=of_users)
    made.include_router(assets)
    made.include_router(page_routes(settings, offered, made))
    made.add_exception_handler(HTTPException, handle_error)
    made.add_exception_handler(Exception, internal_error)
    return made


def _ending(answers: Answers) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the lifespan. Starlette runs it where the chat is an application of its own, not where it is mounted."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await answers.finish()

    return lifespan


def _hosts(names: Sequence[object]) -> list[str]:
    """Return the names; InvalidOptionError for what no request's Host is compared with."""
    if isinstance(names, str):
        raise InvalidOptionError(f"allowed_hosts is a single text, {names!r}: pass a list of host names")
    if not names:
        raise InvalidOptionError("allowed_hosts is empty: nobody could ask for the page; None lets everybody")
    found: list[str] = []
    for name in names:
        if not isinstance(name, str) or not _HOST.fullmatch(name):
            raise InvalidOptionError(
                f"allowed_hosts has {short_repr(name)}: use host names, without scheme and port, or '*.example.com'"
            )
        found.append(name)
    return found
