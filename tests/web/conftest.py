"""A web application on a real server, with a client; a header names the signed-in user."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import cache
from typing import Annotated, Protocol

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Header
from starlette.types import ASGIApp

from tests.conftest import MakeStorage
from voltmem import PostgresStorage, web


async def signed_in(x_user: Annotated[str | None, Header()] = None) -> str | None:
    """The user that a test gives; None: not signed in."""
    return x_user


def application(storage: PostgresStorage, prefix: str = "/api") -> FastAPI:
    """A FastAPI application with voltmem's routes."""
    made = FastAPI()
    made.include_router(web.router(storage, user=signed_in, chosen_ids="any"), prefix=prefix)
    return made


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """A storage with the search turned on."""
    storage = make_storage(search=True)
    await storage.open()
    return storage


class Connect(Protocol):
    """Makes a client of an application for one user, without a server."""

    def __call__(
        self, app: ASGIApp, user: str | None = "ada", prefix: str = "/api", root_path: str = ""
    ) -> httpx2.AsyncClient: ...


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[httpx2.AsyncClient] = []

    def connect(
        app: ASGIApp, user: str | None = "ada", prefix: str = "/api", root_path: str = ""
    ) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app, root_path=root_path)
        headers = {} if user is None else {"X-User": user}
        made.append(httpx2.AsyncClient(transport=transport, base_url=f"http://test{prefix}", headers=headers))
        return made[-1]

    yield connect
    for client in made:
        await client.aclose()


@cache
def _kept() -> tuple[PostgresStorage, FastAPI]:
    storage = PostgresStorage("postgresql://nowhere/none")
    return storage, application(storage)


@pytest.fixture
def app(storage: PostgresStorage) -> FastAPI:
    """The same application in each test, with the test's storage: its first requests take a tenth of a second."""
    kept, app = _kept()
    kept.__dict__ = storage.__dict__
    return app


@pytest.fixture
def ada(app: FastAPI, connect: Connect) -> httpx2.AsyncClient:
    return connect(app)


@pytest.fixture
def mallory(app: FastAPI, connect: Connect) -> httpx2.AsyncClient:
    return connect(app, "mallory")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # those signals are pytest's


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Run a real server for an application, on a port of the system's choice. Yields its address."""
    # The protocol is given, since asyncio sets TCP_NODELAY on sockets of this one only; without it, the body of a
    # response waits 40 ms until the client acknowledges the head.
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        server = _Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=5))
        running = asyncio.create_task(server.serve([listening]))
        await server.listens.wait()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await running


class Serve(Protocol):
    """Runs a real server for an application, on a port of the system's choice. Yields its address."""

    def __call__(self, app: ASGIApp) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
def serve() -> Serve:
    return serving
