"""A storage and event loops: it works in one after another, and says what is wrong in two at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import MakeStorage
from voltmem import EventLoopError, PostgresStorage

ROOT = Path(__file__).parents[2]


async def in_another_loop(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run it in a loop of its own, in a thread, while this one goes on."""
    return await asyncio.to_thread(asyncio.run, coroutine)


async def test_it_works_in_one_loop_after_another(make_storage: MakeStorage) -> None:
    """Closed in the first loop it opens again in the second: one asyncio.run after the other."""
    storage = make_storage()

    async def program() -> int:
        async with storage:
            return await storage.count_conversations()

    assert await in_another_loop(program()) == 0
    assert await in_another_loop(program()) == 0


def test_it_works_in_a_second_run_without_close(dsn: str, schema_of_thread: str) -> None:
    """A module-level storage is used by two asyncio.run, and never closed: the second opens connections of its own."""
    program = f"""
import asyncio
from voltmem import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={schema_of_thread!r})

async def use(name):
    await storage.ensure_conversation({{"id": name, "user_id": "ada"}})
    return await storage.count_conversations()

print(asyncio.run(use("one")), asyncio.run(use("two")))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "1 2\n"


@pytest.fixture
def schema_of_thread(dsn: str) -> Any:
    from voltmem.testing import drop_schema, temporary_schema_name

    name = temporary_schema_name()
    yield name
    asyncio.run(drop_schema(name))


async def test_it_says_that_it_belongs_to_another_loop(storage: PostgresStorage) -> None:
    """Used from a second loop while the first goes on, the error says why, and both ways out."""
    with pytest.raises(EventLoopError, match=r"another event loop.*await storage\.close\(\).*one PostgresStorage"):
        await in_another_loop(storage.count_conversations())
    with pytest.raises(EventLoopError):
        await in_another_loop(storage.close())

    assert await storage.count_conversations() == 0


async def test_it_moves_when_it_was_closed(storage: PostgresStorage) -> None:
    """After close() another loop may open it, and then this one must not use it."""
    await storage.close()

    async def program() -> None:
        async with storage:
            await storage.create_conversation({"id": "c1", "user_id": "ada"})

    await in_another_loop(program())
    await storage.open()
    assert await storage.count_conversations() == 1


async def test_a_given_pool_stays_in_its_loop(dsn: str, schema: str) -> None:
    """A pool is its loop's for good: elsewhere the error says to make both there."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        await storage.open()

        with pytest.raises(EventLoopError, match="pool of this storage belongs to another event loop"):
            await in_another_loop(storage.count_conversations())

        assert await storage.count_conversations() == 0


async def test_a_given_pool_of_another_loop_is_refused_at_the_first_use(dsn: str, schema: str) -> None:
    """A pool that was made in another loop is said to be so, even if no call has gone through before."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)

        with pytest.raises(EventLoopError, match="pool of this storage belongs to another event loop"):
            await in_another_loop(storage.count_conversations())

        assert await pool.fetchval("SELECT 1") == 1


async def test_two_loops_have_a_storage_each(make_storage: MakeStorage) -> None:
    """What the error says works: one storage for each loop, on the same tables."""
    here, there = make_storage(), make_storage()
    await here.create_conversation({"id": "c1", "user_id": "ada"})

    async def program() -> int:
        async with there:
            return await there.count_conversations()

    assert await in_another_loop(program()) == 1
