"""A process of its own that uses a storage, told what to do line by line; both ends of the line are here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.checkout import ROOT
from voltmem import PostgresStorage

Answer = Any
"""Whatever JSON can say; an order that fails is answered with the error's words."""


class Worker:
    """This side: a process that does one order after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, order: str, dsn: str, **details: object) -> None:
        """Let the process begin; answer() waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": order, "dsn": dsn, **details}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """Return what came of the order told last; blocking."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """End the process, which is idle."""
        self._process.communicate()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """So many processes, ended at the end."""
    made = [Worker() for _ in range(count)]
    try:
        yield made
    finally:
        for worker in made:
            worker.end()


# --- the other side -----------------------------------------------------------------------------------------------


async def opens(dsn: str, schema: str) -> Answer:
    """Open an empty schema and use it."""
    async with PostgresStorage(dsn, schema=schema) as storage:
        return await storage.count_conversations()


async def upgrades(dsn: str, schema: str) -> Answer:
    """Return the names of the migrations that were this process's to apply."""
    async with PostgresStorage(dsn, schema=schema, migrate="off") as storage:
        return await storage.upgrade_schema()


async def appends(dsn: str, schema: str, ids: list[str], **options: Any) -> Answer:
    """Append a message for each id to conversation c1, all at once; return ids and times, as they were stored."""
    async with PostgresStorage(dsn, schema=schema, max_connections=5, **options) as storage:
        messages = ({"id": id, "role": "user", "content": id} for id in ids)
        stored = await asyncio.gather(*(storage.add_message(message, "ada", "c1") for message in messages))
        return [(message.id, message.created_at.isoformat()) for message in stored]


ORDERS: Mapping[str, Callable[..., Awaitable[Answer]]] = {
    "open": opens,
    "upgrade": upgrades,
    "append": appends,
}


async def done(order: str, details: dict[str, Any]) -> Answer:
    try:
        return await ORDERS[order](**details)
    except Exception as error:
        return repr(error)


if __name__ == "__main__":
    for line in sys.stdin:
        details = json.loads(line)
        print(json.dumps(asyncio.run(done(details.pop("order"), details))), flush=True)
