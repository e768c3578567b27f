"""A separate process that uses a storage, controlled by lines of JSON; both ends of the protocol are here."""

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
"""Any JSON value. A command that fails is answered with the text of the error."""


class Worker:
    """The caller's side: a process that executes one command after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, order: str, dsn: str, **details: object) -> None:
        """Send a command to the process; answer() waits for its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": order, "dsn": dsn, **details}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """Return the result of the last command. Blocks until then."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """End the process, which must be idle."""
        self._process.communicate()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Yield *count* processes, and end them at the end."""
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
    """Return the names of the migrations that this process applied."""
    async with PostgresStorage(dsn, schema=schema, migrate="off") as storage:
        return await storage.upgrade_schema()


async def appends(dsn: str, schema: str, ids: list[str], **options: Any) -> Answer:
    """Append a message for each id to conversation c1, concurrently. Returns ids and times as stored."""
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
