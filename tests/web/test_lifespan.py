"""storage.lifespan opens and closes the storage with an application, under a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.conftest import MakeStorage
from tests.web.conftest import Serve
from voltmem import PostgresStorage, StorageClosedError


def of_fastapi(storage: PostgresStorage) -> ASGIApp:
    app = FastAPI(lifespan=storage.lifespan)

    @app.get("/count")
    async def count() -> int:
        return await storage.count_conversations()

    return app


def of_starlette(storage: PostgresStorage) -> ASGIApp:
    async def count(request: Request) -> JSONResponse:
        return JSONResponse(await storage.count_conversations())

    return Starlette(routes=[Route("/count", count)], lifespan=storage.lifespan)


def within_its_own(storage: PostgresStorage) -> ASGIApp:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with storage.lifespan(app):
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/count")
    async def count() -> int:
        return await storage.count_conversations()

    return app


@pytest.mark.parametrize("application", [of_fastapi, of_starlette, within_its_own])
async def test_lifespan_opens_at_the_start_and_closes_at_the_end(
    application: Callable[[PostgresStorage], ASGIApp], make_storage: MakeStorage, serve: Serve
) -> None:
    """lifespan opens the storage before the first request, with its tables, and closes it when the server ends."""
    storage = make_storage()

    async with serve(application(storage)) as address, httpx2.AsyncClient() as client:
        async with make_storage(migrate="check") as beside:  # all migrations are applied
            assert await beside.count_conversations() == 0
        assert (await client.get(f"{address}/count")).json() == 0

    with pytest.raises(StorageClosedError):
        await storage.count_conversations()


async def test_lifespan_closes_when_the_application_fails(make_storage: MakeStorage) -> None:
    """lifespan closes the storage when the application raises, too."""
    storage = make_storage()

    with pytest.raises(RuntimeError, match="broken"):
        async with storage.lifespan(object()):
            raise RuntimeError("broken")

    with pytest.raises(StorageClosedError):
        await storage.count_conversations()
