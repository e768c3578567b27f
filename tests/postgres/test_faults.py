"""When servers fail, safe calls are repeated, others raise, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from itertools import count

import asyncpg
import pytest

from tests.calls import NOT_REPEATED, WRITES, Rows, call, with_parameters
from tests.conftest import Connection, MakeStorage, Numbered
from tests.proxy import Proxy, is_result
from voltmem import (
    ConnectionFailedError,
    Conversation,
    DatabaseError,
    DatabaseTimeoutError,
    OutcomeUnknownError,
    PostgresStorage,
    StorageClosedError,
)

# Long enough for everything that works, even on a busy machine.
IMPATIENT = 1.0


@pytest.fixture
async def storage(proxy: Proxy, make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """An open storage behind the proxy, with one connection."""
    storage = make_storage(proxy.dsn, max_connections=1, search=True)
    await storage.open()
    return storage


@pytest.fixture
async def rows(storage: PostgresStorage, connection: Connection, schema: str) -> Rows:
    rows = Rows(connection, schema)
    await rows.seed()
    return rows


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A host that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"127.0.0.1:{silent.getsockname()[1]}"


# --- a connection breaks -----------------------------------------------------------------------------------------


async def test_a_connection_that_broke_while_idle_is_replaced(storage: PostgresStorage, proxy: Proxy) -> None:
    """A connection that broke while idle is replaced, and the next call succeeds."""
    proxy.cut()

    assert await storage.count_conversations() == 0
    assert proxy.connections == 2


async def test_a_read_that_is_cut_is_read_again(storage: PostgresStorage, proxy: Proxy, rows: Rows) -> None:
    """If the connection breaks before the answer to a read, the read is repeated."""
    proxy.cut_when = lambda answer: b"words" in answer

    assert len(await storage.get_messages("ada", "c1")) == 3
    assert proxy.cut_when is None


@pytest.mark.parametrize("name", sorted(WRITES - NOT_REPEATED))
async def test_a_write_that_may_be_repeated_is_done_once(
    name: str, storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """A repeatable write that was committed but not answered is repeated, and changes nothing more."""
    await call(storage, name)
    once = await rows.all()
    await rows.seed()
    proxy.cut_when = is_result

    await call(storage, name)

    assert proxy.cut_when is None
    assert await rows.all() == once


@pytest.mark.parametrize("name", sorted(NOT_REPEATED))
async def test_a_write_that_must_not_be_repeated_says_that_it_may_have_happened(
    name: str, storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """A write that is not repeatable raises OutcomeUnknownError if its answer is lost, so that the caller decides."""
    proxy.cut_when = is_result

    with pytest.raises(OutcomeUnknownError, match="may or may not have happened"):
        await call(storage, name)

    await storage.get_conversation("c1")


async def test_giving_a_conversation_away_is_never_said_to_have_failed(
    storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """If the answer to a change of owner is lost, the result is not "not found", as a repetition would say."""
    proxy.cut_when = is_result

    try:
        given = await call(storage, "update_conversation", user_id="bob")
    except OutcomeUnknownError:
        given = await storage.get_conversation("c1")

    assert isinstance(given, Conversation)
    assert given.user_id == "bob"


async def test_a_commit_that_is_cut_may_have_happened(storage: PostgresStorage, proxy: Proxy) -> None:
    """If the answer to COMMIT is lost, the outcome of the transaction is unknown, and the error says so."""
    with pytest.raises(OutcomeUnknownError):
        async with storage.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})
            proxy.cut_when = lambda answer: b"COMMIT" in answer

    assert await storage.get_conversation("c1") is not None


async def test_transaction_that_is_cut_is_undone(storage: PostgresStorage, proxy: Proxy) -> None:
    """If the connection breaks within a transaction, the block's own error is raised, and nothing is stored."""
    with pytest.raises(DatabaseError):
        async with storage.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})
            proxy.cut()
            await tx.create_conversation({"id": "c2", "user_id": "ada"})

    assert await storage.count_conversations() == 0


async def test_backends_that_are_ended_under_load_lose_nothing(
    dsn: str, make_storage: MakeStorage, connection: Connection, numbered: Numbered
) -> None:
    """While all connections are terminated repeatedly, every message is stored exactly once."""
    name = f"load-{id(connection)}"
    storage = make_storage(with_parameters(dsn, application_name=name), storage_limit=None, max_connections=5)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    ended = 0

    async def end_them() -> None:
        nonlocal ended
        victims = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
        while ended < 20:  # stop here: a slow client would otherwise be terminated again and again
            ended += len(await connection.fetch(victims, name))
            await asyncio.sleep(0.1)

    stored: list[str] = []
    numbers = count()

    async def write() -> None:
        while ended < 20:
            stored.append((await storage.add_message(numbered(next(numbers)), "ada", "c1")).id)

    await asyncio.gather(end_them(), *(write() for _ in range(10)))

    found = await storage.get_messages("ada", "c1")
    assert sorted(message.id for message in found) == sorted(stored)
    assert len(found) == next(numbers)


# --- missing and silent servers ----------------------------------------------------------------------------------


async def test_a_server_that_comes_back_is_waited_for(storage: PostgresStorage, proxy: Proxy) -> None:
    """On an open storage a call survives a short outage of the server."""
    proxy.refusing = True
    proxy.cut()

    waiting = asyncio.create_task(storage.count_conversations())
    await asyncio.sleep(IMPATIENT)
    assert not waiting.done()
    proxy.refusing = False

    assert await waiting == 0


async def test_a_server_that_is_starting_is_waited_for(proxy: Proxy, make_storage: MakeStorage) -> None:
    """A server that is starting up (57P03) is tried again until it is ready, on opening, too."""
    proxy.start_up(times=3)

    await make_storage(proxy.dsn).open()

    assert proxy.connections == 4


async def test_a_server_that_never_gets_ready_is_given_up(proxy: Proxy, make_storage: MakeStorage) -> None:
    """A server that is still starting up after retry_timeout is an error: it could not be reached."""
    proxy.start_up(times=1_000_000)

    with pytest.raises(ConnectionFailedError, match="starting up") as failed:
        await make_storage(proxy.dsn, retry_timeout=IMPATIENT).open()

    assert failed.value.sqlstate == "57P03"


async def test_a_server_that_stays_away_is_given_up(proxy: Proxy, make_storage: MakeStorage) -> None:
    """After retry_timeout the call fails with the error that there is no connection."""
    storage = make_storage(proxy.dsn, retry_timeout=IMPATIENT)
    await storage.open()
    proxy.refusing = True
    proxy.cut()

    with pytest.raises(ConnectionFailedError):
        await storage.count_conversations()

    proxy.refusing = False
    assert await storage.count_conversations() == 0


async def test_a_server_that_hangs_is_given_up(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Without an answer within command_timeout the call fails: a read may be repeated, a write may have happened."""
    storage = make_storage(
        proxy.dsn, command_timeout=IMPATIENT, connect_timeout=IMPATIENT, retry_timeout=IMPATIENT, max_connections=1
    )
    await storage.open()
    proxy.hang()

    with pytest.raises(DatabaseTimeoutError):
        await storage.count_conversations()
    with pytest.raises((OutcomeUnknownError, DatabaseTimeoutError, ConnectionFailedError)):
        await storage.delete_conversation("c1")

    proxy.flow()
    assert await storage.count_conversations() == 0


async def test_a_host_that_is_dead_or_hangs_is_passed_over(
    proxy: Proxy, nowhere: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """Of several hosts the first one that answers is used, and tried first the next time."""
    login, _, place = proxy.dsn.partition("://")[2].rpartition("@")
    dsn = f"postgresql://{login}@127.0.0.1:1,{nowhere},{place}&target_session_attrs=read-write"
    storage = make_storage(dsn, connect_timeout=IMPATIENT, max_connections=2)

    assert await storage.count_conversations() == 0

    assert storage._database._connector is not None
    assert storage._database._connector.first == 2
    proxy.cut()
    assert await storage.count_conversations() == 0


async def test_a_standby_is_not_written_to(proxy: Proxy, make_storage: MakeStorage) -> None:
    """With target_session_attrs=standby a primary is refused."""
    with pytest.raises(DatabaseError):
        await make_storage(with_parameters(proxy.dsn, target_session_attrs="standby"), retry_timeout=0.1).open()


async def test_a_pool_that_is_used_up_says_so(dsn: str, make_storage: MakeStorage) -> None:
    """If all connections are held by transactions, the error after retry_timeout names max_connections."""
    storage = make_storage(max_connections=1, command_timeout=IMPATIENT, retry_timeout=IMPATIENT)

    async with storage.transaction():
        with pytest.raises(DatabaseTimeoutError, match=r"all 1 are in use.*max_connections"):
            await storage.count_conversations()

    assert await storage.count_conversations() == 0


async def test_a_connection_that_hangs_is_not_said_to_be_in_use(proxy: Proxy, make_storage: MakeStorage) -> None:
    """If connecting takes longer than command_timeout, the error does not advise to raise max_connections."""
    storage = make_storage(proxy.dsn, command_timeout=IMPATIENT, connect_timeout=60, retry_timeout=IMPATIENT)
    proxy.hang()

    with pytest.raises(DatabaseTimeoutError) as failed:
        await storage.count_conversations()

    assert "max_connections" not in str(failed.value)


# --- pools and closing -------------------------------------------------------------------------------------------


async def test_a_given_pool_is_used_and_left_alone(dsn: str, schema: str) -> None:
    """A caller's pool is neither closed nor changed: it works as before after the storage is closed."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        async with storage:
            await storage.create_conversation({"id": "c1", "user_id": "ada"})
            await storage.add_message({"role": "user", "content": ["parts"]}, "ada", "c1")
            assert (await storage.get_messages("ada", "c1"))[0].content == ["parts"]
        with pytest.raises(StorageClosedError):
            await storage.count_conversations()

        assert await pool.fetchval("SELECT 1") == 1
        assert not pool.is_closing()


async def test_close_waits_for_the_calls_under_way(storage: PostgresStorage, proxy: Proxy) -> None:
    """close() lets running calls finish and refuses new ones; open() opens again."""
    proxy.hang()
    under_way = asyncio.create_task(storage.count_conversations())
    await proxy.something_held()
    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    with pytest.raises(StorageClosedError):
        await storage.count_conversations()
    proxy.flow()

    assert await under_way == 0
    await closing
    await storage.close()
    await storage.open()
    assert await storage.count_conversations() == 0


async def test_close_refuses_the_calls_that_wait_for_a_connection(
    storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """close() refuses a call that waits for a connection, and interrupts no running one."""
    proxy.hang()
    under_way = asyncio.create_task(storage.count_conversations())
    await proxy.something_held()
    waiting = [asyncio.create_task(storage.create_conversation({"id": f"{n}", "user_id": "eve"})) for n in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    proxy.flow()

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(under_way, closing)

    stored = {id for id, *_ in (await rows.all())["conversations"]}
    for n, outcome in enumerate(outcomes):
        assert isinstance(outcome, Conversation if f"{n}" in stored else StorageClosedError)
