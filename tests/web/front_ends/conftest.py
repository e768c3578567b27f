"""Pages with a front end's npm package, in a real browser, against a real server, whose model is a script."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import JsonValue

from tests.across.said import BY_BYTES
from tests.browser import browser as browser
from tests.node import node
from tests.web.conftest import application, serving
from voltmem import PostgresStorage, UserStorage
from voltmem.testing import temporary_storage

try:
    from playwright.async_api import Browser, Page
    from playwright.async_api import expect as expect
except ImportError:
    pytest.skip("playwright is not installed", allow_module_level=True)

# Far more than anything here takes, so that its end means failure.
expect.set_options(timeout=30_000)

VERSIONS: Final = ("newest", "before")
"""
The folders of tests/node/front_ends: the newest versions (AI SDK 7, assistant-ui 0.15), and those before (6, 0.14).

assistant-ui 0.14 is installed with the @assistant-ui/tap of its time: later ones, which it also accepts, make it render
without end.
"""


# --- the site -----------------------------------------------------------------------------------------------------


def answer(number: int, body: dict[str, Any]) -> list[JsonValue]:
    """Return an answer in the AI SDK's stream protocol: reasoning, a call of a tool with its result, text."""
    asked = "".join(part.get("text", "") for part in body["messages"][-1]["parts"])
    call: dict[str, JsonValue] = {"toolCallId": f"call-{number}", "toolName": "weather"}
    return [
        {"type": "start", "messageId": f"answer-{number}"},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-delta", "id": "r", "delta": "I look outside."},
        {"type": "reasoning-end", "id": "r"},
        {"type": "tool-input-available", **call, "input": {"city": "Oslo"}},
        {"type": "tool-output-available", "toolCallId": f"call-{number}", "output": "RAIN-42"},
        {"type": "finish-step"},
        {"type": "start-step"},
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": f"Answer {number} "},
        {"type": "text-delta", "id": "t", "delta": f"to: {asked}"},
        {"type": "text-end", "id": "t"},
        {"type": "finish-step"},
        {"type": "finish"},
    ]


def site(storage: PostgresStorage) -> FastAPI:
    """Make the application: voltmem's routes, the model, and the pages that tests put into ``app.state.pages``."""
    app = application(storage)
    app.state.pages = {}
    answers = Counter[str]()

    @app.post("/api/chat")
    async def chat(request: Request) -> Response:
        user = request.headers["X-User"]
        answers[user] += 1
        chunks = answer(answers[user], await request.json())
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        headers = {"x-vercel-ai-ui-message-stream": "v1"}
        return StreamingResponse([*lines, "data: [DONE]\n\n"], media_type="text/event-stream", headers=headers)

    @app.get("/page/{name}")
    async def page(name: str) -> Response:
        script = f'<script type="module" src="/script/{name}"></script>'
        return HTMLResponse(f'<link rel="icon" href="data:,"><div id="page"></div>{script}')

    @app.get("/script/{name}")
    async def script(name: str) -> Response:
        return Response(app.state.pages[name], media_type="text/javascript")

    return app


@dataclass
class Site:
    address: str
    storage: PostgresStorage
    app: FastAPI

    async def bundle(self, version: str, page: str, documented: str) -> str:
        """Make a page of tests/node/front_ends with the packages of a version, once. Returns its path."""
        name = f"{version}-{page}"
        if name not in self.app.state.pages:
            given: JsonValue = {"page": page, "documented": documented}
            script = await node("front_ends/bundle.cjs", given, packages=f"front_ends/{version}")
            self.app.state.pages[name] = script
        return f"/page/{name}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site_of_worker() -> AsyncIterator[Site]:
    async with temporary_storage(storage_limit=None) as storage:
        app = site(storage)
        async with serving(app) as address:
            yield Site(address, storage, app)


# --- the browser --------------------------------------------------------------------------------------------------


@dataclass
class Window:
    """A page in a window of its own, with all that the browser complains of."""

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of complaints that a test expects."""

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    @property
    def unexpected(self) -> list[str]:
        return [problem for problem in self.problems if not any(part in problem for part in self.expected)]

    async def open(self, path: str) -> None:
        await self.page.goto(self.address + path)

    async def reload(self) -> None:
        await self.page.reload()

    async def is_loaded(self) -> None:
        """Wait until the page loads nothing more."""
        await self.page.wait_for_load_state("networkidle")

    async def shows(self, *messages: str) -> None:
        """Wait until the page shows these messages: of each the role, and the parts with bars between them."""
        await expect(self.page.locator("li")).to_have_text([*messages])


class OpenWindow(Protocol):
    async def __call__(self, path: str) -> Window: ...


@pytest.fixture
def user() -> str:
    return f"ada-{uuid4().hex}"


@pytest.fixture
def mine(site_of_worker: Site, user: str) -> UserStorage:
    """The data of the test's user."""
    return site_of_worker.storage.for_user(user)


@pytest_asyncio.fixture(loop_scope="session")
async def open_window(site_of_worker: Site, browser: Browser, user: str) -> AsyncIterator[OpenWindow]:
    windows: list[Window] = []

    async def open(path: str) -> Window:
        context = await browser.new_context(extra_http_headers={"X-User": user}, locale="en-GB")
        context.set_default_timeout(30_000)
        windows.append(Window(await context.new_page(), site_of_worker.address))
        await windows[-1].open(path)
        return windows[-1]

    yield open
    for window in windows:
        await window.page.context.close()
    assert [problem for window in windows for problem in window.unexpected] == []


# --- what is in the database --------------------------------------------------------------------------------------

CALL: Final = {"type": "tool-call", "toolCallId": "k1", "toolName": "weather", "args": {"city": "Rome"}}
RESULT: Final = {"type": "tool-result", "toolCallId": "k1", "toolName": "weather", "result": "SUN-7"}


async def store_as_agents(mine: UserStorage) -> str:
    """
    Store a conversation as agents do. Returns its id.

    A picture; a call and its result in two messages, and in one; reasoning.
    """
    conversation = await mine.create_conversation({"title": "Of agents"})
    picture: JsonValue = {"type": "file", "mediaType": BY_BYTES.media_type, "url": BY_BYTES.url}
    messages: Sequence[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture], "metadata": {"kept": 1}},
        {"role": "assistant", "type": "tool-call", "content": [{"type": "reasoning", "text": "Hm."}, CALL]},
        {"role": "tool", "type": "tool-result", "content": [RESULT]},
        {"role": "assistant", "content": "A dot.", "metadata": {"tokens": 3}},
        {"role": "user", "content": [{"type": "text", "text": "And in one?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Again.", "signature": "c2ln"},
                {"type": "tool_use", "id": "k2", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_result", "tool_use_id": "k2", "content": "RAIN-42"},
                {"type": "text", "text": "It rains."},
            ],
        },
    ]
    await mine.add_messages(messages, conversation.id)
    return conversation.id


async def rows(site: Site, conversation_id: str) -> list[str]:
    """Return the rows of a conversation's messages, byte for byte."""
    async with site.storage.transaction() as tx:
        table = tx._options.tables.messages
        query = f"SELECT row_to_json(m)::text AS row FROM {table} m WHERE conversation_id = $1 ORDER BY m.message_id"
        return [each["row"] for each in await tx.connection.fetch(query, conversation_id)]
