"""The clock of a server really moves: a PostgreSQL of its own under libfaketime, skipped where that is missing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias, cast

import asyncpg
import pytest

from voltmem import PostgresStorage
from voltmem._postgres.embedded.temporary import start_temporary

# Debian's place, and Fedora's.
LIBRARIES: Final = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), Path("/usr/lib64/faketime/libfaketime.so.1")]
LIBRARY: Final = next((each for each in LIBRARIES if each.exists()), None)

SetClock: TypeAlias = Callable[[str], object]

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (apt-get install libfaketime)")


@pytest.fixture(scope="module")
def moving() -> Iterator[tuple[str, SetClock]]:
    """A connection string, and a function that sets the server's clock to an offset from the real time."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environment:
        Path(folder).chmod(0o755)  # the server may run as another user
        offset = Path(folder) / "offset"
        offset.write_text("+0\n")
        environment.setenv("LD_PRELOAD", str(LIBRARY))
        environment.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
        environment.setenv("FAKETIME_NO_CACHE", "1")
        environment.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        server = start_temporary()
        environment.undo()
        try:
            yield server.dsn, lambda by: offset.write_text(f"{by}\n")
        finally:
            server.stop()


async def now(dsn: str) -> datetime:
    """Return the server's time."""
    connection = await asyncpg.connect(dsn)
    try:
        return cast(datetime, await connection.fetchval("SELECT clock_timestamp()"))
    finally:
        await connection.close()


@pytest.mark.parametrize("step", ["-1s", "-3600s", "-2d"])
async def test_what_is_added_while_the_clock_steps_back_and_forth_is_kept_in_order(
    moving: tuple[str, SetClock], step: str
) -> None:
    """Whatever the server's clock does between two calls, add_message() stores what it acknowledges, at the end."""
    dsn, set_clock = moving
    set_clock("+0")
    async with PostgresStorage(dsn, storage_limit=20) as storage:
        await storage.create_conversation({"id": step, "user_id": step})
        acknowledged: list[str] = []

        async def add(count: int) -> None:
            for _ in range(count):
                pair = [{"role": role, "content": "x"} for role in ("user", "assistant")]
                acknowledged.extend(each.id for each in await storage.add_messages(pair, step, step))

        await add(15)
        before = await now(dsn)
        conversation = await storage.get_conversation(step)
        assert conversation is not None
        set_clock(step)
        assert await now(dsn) < before  # the clock does move
        await add(3)
        await storage.mark_conversation_read(step)
        await add(1)

        item = await storage.get_conversation_item(step)
        assert item.unread
        assert item.updated_at >= conversation.updated_at
        assert [each.id for each in await storage.get_messages(step, step)] == acknowledged[-20:]
        set_clock("+0")
        await add(2)
        assert [each.id for each in await storage.get_messages(step, step)] == acknowledged[-20:]
        await storage.delete_conversation(step)
