"""Where the examples run: a storage, its application, and what they have that is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx2

from tests.calls import SHOWN_FILE, UNUSED_FILE, Rows
from tests.conftest import Connection
from tests.fuzz.asked import Known, ask, cursors, mutated, requests
from tests.fuzz.stored import Sample, read, rows, samples, write
from tests.tables import create_tables
from tests.web.conftest import application
from voltmem import PostgresStorage, VoltMemError
from voltmem.testing import drop_schema, server, temporary_schema_name

__all__ = ["Grounds", "cursors", "grounds", "mutated"]

_TIMES: Final = 20


@dataclass(repr=False)
class Grounds:
    """A storage with rows, and what was learned from them."""

    storage: PostgresStorage
    connection: Connection
    known: Known
    messages: list[Sample]
    payloads: list[tuple[str, Any]]
    asked: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.app = application(self.storage)
        transport = httpx2.ASGITransport(self.app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://test/api", headers={"X-User": "ada"})
        self.rows = rows(self.messages, self.payloads)
        self.requests = requests(self.known)
        self.cursors = cursors(self.known.cursors)
        self._seeds = Rows(self.connection, self.storage._options.tables.schema)

    async def read(self, row: dict[str, Any]) -> dict[str, BaseException]:
        """Store a row and read it in every way. Returns the exceptions that are not voltmem's own, by reader."""
        if not await write(self.connection, self.storage._options.tables, row):
            self.refused += 1
            return {}
        return await read(self.storage, self.client)

    async def ask(self, asked: Any) -> int:
        """Send a request. The rows are there again after some, which may have deleted them."""
        if self.asked % _TIMES == 0:
            await self._seeds.seed()
        self.asked += 1
        return await ask(self.app, asked)

    async def list_after(self, cursor: str, token: str) -> dict[str, BaseException]:
        """Use a cursor or a token wherever one is taken. Returns the exceptions that are not voltmem's own."""
        s = self.storage
        calls: dict[str, Any] = {
            "list_conversations after": lambda: s.list_conversations("ada", after=cursor),
            "list_conversations before": lambda: s.list_conversations("ada", before=cursor),
            "search": lambda: s.search("ada", "one", after=cursor),
            "list_history_entries": lambda: s.list_history_entries(after=cursor),
            "get_shared_conversation": lambda: s.get_shared_conversation("t1", after=cursor),
            "get_shared_conversation of": lambda: s.get_shared_conversation(token),
            "get_shared_file": lambda: s.get_shared_file(token, SHOWN_FILE),
            "get_shared_file of": lambda: s.get_shared_file("t1", token),
            "get_file": lambda: s.get_file("ada", token),
            "revoke_share": lambda: s.revoke_share(f"{token}x"),
        }
        failed: dict[str, BaseException] = {}
        for name, call in calls.items():
            try:
                await call()
            except VoltMemError:
                pass
            except Exception as error:
                failed[name] = error
        return failed


@asynccontextmanager
async def grounds(*, count: int | None = None) -> AsyncIterator[Grounds]:
    """
    Make a schema, rows and an application, and drop them at the end.

    Args:
        count: How many conversations each form and framework stores, of whose rows others are made; None: all.
    """
    schema = temporary_schema_name()
    await create_tables(schema)
    connection: Connection = await asyncpg.connect(server().dsn)
    storage = PostgresStorage(server().dsn, schema=schema, search=True)
    try:
        seeds = Rows(connection, schema)
        known = await samples(storage, connection, count)
        await seeds.seed()
        made = Grounds(storage, connection, await _known(storage), *known)
        yield made
        await made.client.aclose()
    finally:
        await storage.close()
        await connection.close()
        await drop_schema(schema)


async def _known(storage: PostgresStorage) -> Known:
    document = application(storage).openapi()
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = {
        parameter["name"]
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    listed, found, history, shared = await asyncio.gather(
        storage.list_conversations("ada", limit=1),
        storage.search("ada", "one", limit=1),
        storage.list_history_entries(limit=1),
        storage.get_shared_conversation("t1", limit=1),
    )
    real = [listed.next_cursor, found.next_cursor, history.next_cursor, shared.next_cursor if shared else None]
    part = {"type": "text", "text": "words"}
    tool = {"type": "tool-f", "toolCallId": "k", "state": "input-available", "input": {}}
    bodies: list[Any] = [
        {"id": "c9", "title": "Title", "metadata": {"n": 1}, "resourceId": "docs", "tags": ["work"]},
        {"title": "New", "pinned": True, "tags": ["a"], "metadata": {"a": None}},
        {"messages": [{"id": "m8", "role": "user", "content": "words"}, {"role": "assistant", "content": [part]}]},
        {"role": "user", "content": [part, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"id": "u1", "role": "assistant", "parts": [part, tool]},
        {"messages": [{"id": "u2", "role": "user", "parts": [part]}], "rewind": True},
        {"parent_id": "m1", "format": "ai-sdk/v6", "content": {"role": "user", "parts": [part]}},
        {"messageId": "m1"},
        {"upTo": "m1", "id": "c8"},
        {"archived": True},
        {"mergeMetadata": {"rating": 5}},
        {"firstMessage": "Hello", "title": "t"},
        [{"role": "user", "content": "words"}],
    ]  # fmt: skip
    return Known(
        operations=[
            *((method.upper(), _template(path)) for path, each in document["paths"].items() for method in each),
            *(("GET", path) for path in ("/", "//", "/openapi.json", "/api", "/api/x")),
        ],
        parameters=sorted(names),
        ids=["c1", "c2", "gone", "b1", "m1", "m2", "m3", "t1", "h1", UNUSED_FILE, SHOWN_FILE],
        cursors=[each for each in real if each is not None],
        bodies=bodies,
    )


def _template(path: str) -> str:
    parts = ["{}" if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)
