"""The chat on a real server, in a real browser: one of each for all tests of a worker, and a user for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Protocol, get_args
from uuid import uuid4

import pytest
import pytest_asyncio
import uvicorn
from fastapi import Cookie, FastAPI, Header
from fastapi.responses import PlainTextResponse

from tests.browser import browser as browser
from tests.conftest import time_zone_at
from voltmem import Message, PostgresStorage, UserStorage, chat
from voltmem.chat._scripted import NAME, SUGGESTIONS, ScriptedModel
from voltmem.chat._server import listening
from voltmem.testing import temporary_storage

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.chat.tab import Tab

PHONE = 390, 844
BELOW = "/inner/chat/"
"""A path at which the chat is mounted as well."""
LESS = "/less/"
"""A path at which it is mounted without what can be switched off."""
FORECAST = "https://www.met.no/oslo"


class Model:
    """The scripted model without delays. Asked to wait, it sends a little text and then nothing more."""

    def __init__(self) -> None:
        self._script = ScriptedModel(seconds_per_piece=0.001)

    async def answer(self, messages: Sequence[Message], context: chat.Context) -> AsyncIterator[chat.Part]:
        if "delete" in messages[-1].text:
            for decision in context.decisions:
                yield f"{decision.call.input['file']} is {'gone' if decision.is_approved else 'still there'}. "
            if not context.decisions:
                yield "Let me see. "
                for file in ("a.txt", "b.txt"):
                    yield chat.ToolCall(file, "delete", {"file": file}, needs_approval=True)
            return
        if "wait" in messages[-1].text:
            for piece in ("So far", " so **good**"):
                yield piece
            if "call" in messages[-1].text:
                yield chat.ToolInput("k1", "weather", '{"city": "Os')
            await asyncio.Event().wait()
        if "cite" in messages[-1].text:
            yield "It rains [1]"
            yield chat.Source(FORECAST, "The forecast")
            yield " and [pours](https://www.yr.no/x) [2]."
            yield chat.Source("https://www.yr.no/x")
            await asyncio.Event().wait()
        if "break" in messages[-1].text:
            raise RuntimeError("out of order")
        if "fail" in messages[-1].text:
            yield "Half an answer"
            raise RuntimeError("out of order")
        async for piece in self._script.answer(messages):
            yield piece


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave Ctrl-C to pytest."""
        yield


def signed_in(
    x_user: Annotated[str | None, Header()] = None, user: Annotated[str | None, Cookie()] = None
) -> str | None:
    return x_user if x_user is not None else user


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served() -> AsyncIterator[tuple[str, PostgresStorage]]:
    """The address of the running application, and its storage."""
    async with temporary_storage(search=True, storage_limit=None) as storage:
        made = chat.app(storage, Model().answer, signed_in, models=[NAME], suggestions=SUGGESTIONS)
        outer = FastAPI()
        outer.get("/shop", response_class=PlainTextResponse)(lambda: "The shop is open.")
        outer.mount(BELOW.rstrip("/"), made)
        less = chat.app(storage, Model().answer, signed_in, without=get_args(chat.Feature), uploads=())
        outer.mount(LESS.rstrip("/"), less)
        outer.mount("/", made)
        config = uvicorn.Config(outer, log_level="warning", timeout_graceful_shutdown=1)
        server = Server(config)
        with listening(0) as listener:
            running = asyncio.create_task(server.serve([listener]))
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", storage
            server.should_exit = True
            await running


@pytest.fixture
def user() -> str:
    return f"ada-{uuid4().hex}"


@pytest.fixture
def mine(served: tuple[str, PostgresStorage], user: str) -> UserStorage:
    """The data of the test's user."""
    return served[1].for_user(user)


class Age(Protocol):
    """Sets a conversation's time to another day."""

    async def __call__(self, conversation_id: str, days: float) -> None: ...


@pytest.fixture
def age(served: tuple[str, PostgresStorage]) -> Age:
    async def age(conversation_id: str, days: float) -> None:
        storage = served[1]
        async with storage.transaction() as tx:
            await tx.connection.execute(
                f"UPDATE {tx._options.tables.conversations} SET updated_at = now() - $2::interval WHERE id = $1",
                conversation_id,
                timedelta(days=days),
            )

    return age


class OpenTab(Protocol):
    """Opens the application in a window of its own, since a browser draws only visible tabs."""

    async def __call__(
        self,
        path: str = "/",
        *,
        user: str | None = None,
        phone: bool = False,
        dark: bool = False,
        time_zone: str | None = None,
        language: str = "en-GB",
    ) -> Tab: ...


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(served: tuple[str, PostgresStorage], browser: Browser, user: str) -> AsyncIterator[OpenTab]:
    from tests.chat.tab import Tab

    tabs: list[Tab] = []
    address, default_user = served[0], user

    async def open(
        path: str = "/",
        *,
        user: str | None = None,
        phone: bool = False,
        dark: bool = False,
        time_zone: str | None = None,
        language: str = "en-GB",
    ) -> Tab:
        width, height = PHONE if phone else (1440, 900)
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            extra_http_headers={"X-User": user or default_user},
            has_touch=phone,
            is_mobile=phone,
            device_scale_factor=2 if phone else 1,
            locale=language,
            timezone_id=time_zone or time_zone_at(12),
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(60_000)
        tabs.append(Tab(await context.new_page(), address))
        await tabs[-1].open(path)
        return tabs[-1]

    yield open
    for tab in tabs:
        await tab.page.context.close()
    assert [problem for tab in tabs for problem in tab.unexpected] == []


@pytest_asyncio.fixture(loop_scope="session")
async def tab(open_tab: OpenTab) -> Tab:
    """The application in a new tab."""
    return await open_tab()
