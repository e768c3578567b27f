"""
Conversations over HTTP: a FastAPI application with the routes of voltmem.web. Try it with curl::

    curl -H 'X-User: ada' -H 'Content-Type: application/json' -d '{"title": "Bread"}' localhost:8000/api/conversations
    curl -H 'X-User: ada' 'localhost:8000/api/conversations?timeZone=Europe/Oslo'
    curl -H 'X-User: ada' -N localhost:8000/api/events

http://localhost:8000/docs shows all routes. A header does not authenticate anyone: in your application, take the user
from the session or a token.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header

from voltmem import PostgresStorage, web

storage = PostgresStorage(search=True)


async def signed_in(x_user: Annotated[str | None, Header()] = None) -> str | None:
    return x_user


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with storage:
        yield


app = FastAPI(title="Conversations", lifespan=lifespan)
app.include_router(web.router(storage, user=signed_in), prefix="/api")

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
