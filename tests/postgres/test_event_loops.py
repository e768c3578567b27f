"""A storage works in one event loop after another if it is closed in between; otherwise it raises a clear error."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import ConnectionFailedError, EventLoopError, PostgresStorage

ROOT = Path(__file__).parents[2]


def run(program: str, *arguments: str) -> tuple[str, str]:
    """Run a Python program. Returns its standard output and error."""
    command = [sys.executable, "-c", program, *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return ran.stdout, ran.stderr


async def in_another_loop(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run it in an event loop of its own, in a thread, while this loop continues."""
    return await asyncio.to_thread(asyncio.run, coroutine)


async def test_it_works_in_one_loop_after_another(make_storage: MakeStorage) -> None:
    """A storage that was closed in the first loop opens again in the second: one asyncio.run() after the other."""
    storage = make_storage()

    async def program() -> int:
        async with storage:
            return await storage.count_conversations()

    assert await in_another_loop(program()) == 0
    assert await in_another_loop(program()) == 0


LEFT_OPEN = """
import asyncio, sys
from voltmem import EventLoopError, PostgresStorage
storage = PostgresStorage(sys.argv[1], schema=sys.argv[2])

async def use(name):
    await storage.ensure_conversation({"id": name, "user_id": "ada"})
    return await storage.count_conversations()

print(asyncio.run(use("one")))
for coroutine in (use("two"), storage.open(), storage.close()):
    try:
        asyncio.run(coroutine)
    except EventLoopError as error:
        print("voltmem.sync.PostgresStorage" in str(error), "even if the loop is over" in str(error))
"""


def test_a_second_run_without_close_is_an_error(dsn: str, schema_of_thread: str) -> None:
    """A storage that asyncio.run() left open raises an error in the next asyncio.run(), which leaks no connections."""
    assert run(LEFT_OPEN, dsn, schema_of_thread) == ("1\n" + 3 * "True True\n", "")


async def test_a_second_loop_may_open_what_the_first_could_not(dsn: str, schema: str, proxy: Proxy) -> None:
    """If the server was not reached in the first loop, nothing is open, so the second loop may try again."""
    storage = PostgresStorage(proxy.dsn, schema=schema, connect_timeout=5, retry_timeout=0.1)
    proxy.refusing = True
    with pytest.raises(ConnectionFailedError):
        await in_another_loop(storage.open())
    proxy.refusing = False

    async def program() -> int:
        async with storage:
            return await storage.count_conversations()

    assert await in_another_loop(program()) == 0


@pytest.fixture
def schema_of_thread(dsn: str) -> Any:
    from voltmem.testing import drop_schema, temporary_schema_name

    name = temporary_schema_name()
    yield name
    asyncio.run(drop_schema(name))


async def test_it_says_that_it_belongs_to_another_loop(storage: PostgresStorage) -> None:
    """In a second loop, while the first one runs, the error says the reason and the ways out."""
    ways_out = r"another event loop.*await storage\.close\(\).*one PostgresStorage.*voltmem\.sync\.PostgresStorage"
    with pytest.raises(EventLoopError, match=ways_out):
        await in_another_loop(storage.count_conversations())
    with pytest.raises(EventLoopError):
        await in_another_loop(storage.close())

    assert await storage.count_conversations() == 0


async def test_it_moves_when_it_was_closed(storage: PostgresStorage) -> None:
    """After close() another loop may open it, and then the first must not use it."""
    await storage.close()

    async def program() -> None:
        async with storage:
            await storage.create_conversation({"id": "c1", "user_id": "ada"})

    await in_another_loop(program())
    await storage.open()
    assert await storage.count_conversations() == 1


async def test_open_in_a_second_loop_does_not_disturb_the_first(storage: PostgresStorage) -> None:
    """open() in a second loop raises an error before it changes anything."""
    with pytest.raises(EventLoopError):
        await in_another_loop(storage.open())

    assert await storage.count_conversations() == 0


THREADS = """
import asyncio, sys, threading
from concurrent.futures import ThreadPoolExecutor
from voltmem import EventLoopError, PostgresStorage

storage = PostgresStorage(sys.argv[1], schema=sys.argv[2])
together = threading.Barrier(8)

async def added():
    async with storage:
        return await storage.add_message({"role": "user", "content": "x"}, "ada", "c1", resource_id="r")

def add(number):
    together.wait()
    try:
        return asyncio.run(added()).id
    except EventLoopError as error:
        assert "voltmem.sync.PostgresStorage" in str(error)

with ThreadPoolExecutor(8) as pool:
    stored = {id for id in pool.map(add, range(40)) if id}

async def read():
    async with storage:
        return {message.id for message in await storage.get_messages("ada", "c1")}

print(bool(stored), asyncio.run(read()) == stored)
"""


def test_threads_with_a_loop_each_store_or_get_the_error(dsn: str, schema_of_thread: str) -> None:
    """
    Of many concurrent asyncio.run() calls, each stores its message or gets the error with voltmem.sync.

    None hangs.
    """
    assert run(THREADS, dsn, schema_of_thread) == ("True True\n", "")


FORK = """
import asyncio, os, sys, threading, warnings
from voltmem import PostgresStorage

# Python 3.12 and later warn of a fork beside other threads, which is what this is about.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
storage = PostgresStorage(sys.argv[1], schema=sys.argv[2])
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()

async def add(name):
    await storage.ensure_conversation({"id": name, "user_id": "ada"})
    return await storage.count_conversations(), await pid()

async def pid():
    async with storage.transaction() as tx:
        return tx.connection.get_server_pid()

def run(name):
    return asyncio.run_coroutine_threadsafe(add(name), loop).result(30)

count, connection = run("one")
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    print(count, run("three") == (3, connection))
    loop.call_soon_threadsafe(loop.stop)
else:
    async def main():
        async with storage:
            return await add("two")

    count, other = asyncio.run(main())
    assert (count, other != connection) == (2, True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_begins_with_a_pool_of_its_own(dsn: str, schema_of_thread: str) -> None:
    """In a forked child the storage works in its own loop, on other connections, and the parent's continue."""
    assert run(FORK, dsn, schema_of_thread) == ("1 True\n", "")


async def test_a_given_pool_stays_in_its_loop(dsn: str, schema: str) -> None:
    """A caller's pool stays in its loop: in another, the error says to make both there."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        await storage.open()

        with pytest.raises(EventLoopError, match="pool of this storage belongs to another event loop"):
            await in_another_loop(storage.count_conversations())

        assert await storage.count_conversations() == 0


async def test_a_given_pool_of_another_loop_is_refused_at_the_first_use(dsn: str, schema: str) -> None:
    """A pool made in another loop is reported as such, even at the first call."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)

        with pytest.raises(EventLoopError, match="pool of this storage belongs to another event loop"):
            await in_another_loop(storage.count_conversations())

        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("kind", ["transaction", "view", "bound"])
async def test_a_bound_storage_stays_in_its_loop(kind: str, storage: PostgresStorage, connection: Connection) -> None:
    """A storage that is bound to a connection raises EventLoopError in another loop, and works on in its own."""
    async with storage.transaction() as tx:
        bound: Any = {"transaction": tx, "view": tx.for_user("ada"), "bound": storage.bind(connection)}[kind]

        async def nested() -> None:
            async with bound.transaction():
                pass

        async def exported() -> list[str]:
            return [line async for line in tx.export_user("ada")]

        for call in (bound.query_conversations(), nested(), exported()):
            with pytest.raises(EventLoopError, match=r"bound to a connection of another.*voltmem\.sync"):
                await in_another_loop(call)

        assert await bound.query_conversations() == []


async def test_two_loops_have_a_storage_each(make_storage: MakeStorage) -> None:
    """The advice of the error works: one storage for each loop, on the same tables."""
    here, there = make_storage(), make_storage()
    await here.create_conversation({"id": "c1", "user_id": "ada"})

    async def program() -> int:
        async with there:
            return await there.count_conversations()

    assert await in_another_loop(program()) == 1
