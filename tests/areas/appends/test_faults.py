"""Acknowledged messages are stored, whatever happens to the server, the connection or the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import asyncpg
import pytest

from tests.areas.appends.sending import (
    by_conversation,
    found,
    make_conversations,
    outcomes_of,
    spread,
    start,
    stored,
    text,
)
from tests.calls import with_parameters
from tests.programs import python
from tests.proxy import Proxy
from voltmem import (
    ConnectionFailedError,
    DatabaseTimeoutError,
    Message,
    PostgresStorage,
    StorageClosedError,
    VoltMemError,
)
from voltmem._postgres.embedded import is_available, start_temporary
from voltmem._postgres.translation import translated

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

IMPATIENT: Final = 0.3


# --- commits and closing ---------------------------------------------------------------------------------------------


async def test_what_is_said_to_be_stored_is_committed(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """When add_message() returns, another connection sees the message."""
    reader = make_storage(storage_limit=None)

    async def add_and_look(conversation: str, id: str) -> None:
        await storage.add_message(text(id), "ada", conversation)
        assert id in await found(reader, conversation)

    async with asyncio.TaskGroup() as group:
        for conversation, id in spread(300, [f"c{number}" for number in range(10)]):
            group.create_task(add_and_look(conversation, id))


async def test_close_stores_what_waits(storage: PostgresStorage) -> None:
    """Three hundred calls made before close() are stored and return; a later one is refused."""
    calls = spread(300, ["c0", "c1", "c2"])
    tasks = start(storage, calls)
    await asyncio.sleep(0)

    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    with pytest.raises(StorageClosedError):
        await storage.add_message(text("too late"), "ada", "c0")
    await closing

    assert all(task.done() for task in tasks)
    assert await stored(tasks) == [id for _, id in calls]
    await storage.open()
    for conversation, called in by_conversation(calls).items():
        assert await found(storage, conversation) == called


# --- faults ----------------------------------------------------------------------------------------------------------


async def all_acknowledged_are_there(
    storage: PostgresStorage, calls: Sequence[tuple[str, str]], outcomes: Sequence[Message | BaseException]
) -> None:
    """Check that each call is stored once or failed with an error of voltmem, in the order of the calls."""
    acknowledged: set[tuple[str, str]] = set()
    for call, outcome in zip(calls, outcomes, strict=True):
        if isinstance(outcome, Message):
            acknowledged.add(call)
        else:
            assert isinstance(outcome, VoltMemError)
    assert acknowledged
    for conversation, called in by_conversation(calls).items():
        there = await found(storage, conversation)
        assert max(Counter(there).values()) == 1
        assert there == [id for id in called if id in set(there)]
        assert {id for name, id in acknowledged if name == conversation} <= set(there)


async def test_what_is_acknowledged_outlives_the_ending_of_backends(
    make_storage: MakeStorage, dsn: str, connection: Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backends are terminated repeatedly under a thousand calls: acknowledged messages are stored once, in order."""
    monkeypatch.setattr("voltmem._areas.appends._FULL_AT_MESSAGES", 10)  # in a hundred statements instead of three
    storage = make_storage(with_parameters(dsn, application_name=schema), storage_limit=None)
    calls = spread(1000, await make_conversations(storage, 7))
    end_them = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
    tasks = start(storage, calls)
    ended = 0

    while ended < 20 and not all(task.done() for task in tasks):
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks_left = [task for task in tasks if not task.done()]
        ended += len(await connection.fetch(end_them, schema)) if tasks_left else 0
    outcomes = await outcomes_of(tasks)

    assert ended > 1
    await all_acknowledged_are_there(storage, calls, outcomes)


@pytest.mark.skipif(not is_available() or sys.platform == "win32", reason="no PostgreSQL here that may be killed")
async def test_what_is_acknowledged_outlives_a_crash_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is killed under a thousand calls and recovers: acknowledged messages are stored once, in order."""
    monkeypatch.setattr("voltmem._areas.appends._FULL_AT_MESSAGES", 10)  # in a hundred statements instead of three
    server = await asyncio.to_thread(start_temporary, durable_writes=True)
    try:
        async with PostgresStorage(server.dsn, storage_limit=None) as storage:
            calls = spread(1000, await make_conversations(storage, 7))
            connection = await asyncpg.connect(server.dsn)
            backends = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            tasks = start(storage, calls)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

            os.kill(backends[0]["pid"], signal.SIGKILL)  # PostgreSQL then restarts, with a recovery
            before = sum(task.done() for task in tasks)
            outcomes = await outcomes_of(tasks)

            assert before < len(tasks)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.execute("SELECT 1")
            await all_acknowledged_are_there(storage, calls, outcomes)
    finally:
        await asyncio.to_thread(server.stop)


async def test_what_is_acknowledged_outlives_cuts_of_the_way(
    behind_proxy: PostgresStorage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut ten times, each time losing an answer: acknowledged messages are stored once, in order."""
    monkeypatch.setattr("voltmem._areas.appends._FULL_AT_MESSAGES", 10)  # in a hundred statements instead of three
    cuts = 0

    def tenth_answer() -> Callable[[bytes], bool]:
        answers = 0

        def cut(_: bytes) -> bool:
            nonlocal answers, cuts
            answers += 1
            if answers < 10:
                return False
            cuts += 1
            if cuts < 10:  # the proxy drops the condition once it has matched
                asyncio.get_running_loop().call_soon(lambda: setattr(proxy, "cut_when", tenth_answer()))
            return True

        return cut

    proxy.cut_when = tenth_answer()
    calls = spread(1000, [f"c{number}" for number in range(7)])

    outcomes = await outcomes_of(start(behind_proxy, calls))

    assert cuts == 10
    proxy.cut_when = None
    await all_acknowledged_are_there(behind_proxy, calls, outcomes)


@pytest.fixture
async def left_alone(make_storage: MakeStorage, proxy: Proxy) -> PostgresStorage:
    """An open storage with a short retry_timeout and a server that has stopped; it has the conversations c0 to c9."""
    await make_conversations(make_storage(), 10)
    storage = make_storage(proxy.dsn, retry_timeout=IMPATIENT)
    await storage.open()
    proxy.refusing = True
    proxy.cut()
    await asyncio.sleep(0.1)  # until the client knows; what it sends before has an unknown outcome
    return storage


@pytest.mark.parametrize("conversations", [1, 10])
async def test_no_deadline_follows_the_other(left_alone: PostgresStorage, conversations: int) -> None:
    """Without a server a thousand callers get an error each within about two deadlines."""
    calls = spread(1000, [f"c{number}" for number in range(conversations)])

    async with asyncio.timeout(50 * IMPATIENT):  # one after the other it would take a hundred or a thousand deadlines
        outcomes = await outcomes_of(start(left_alone, calls))

    for outcome in outcomes:
        assert isinstance(outcome, ConnectionFailedError | DatabaseTimeoutError)
    assert len(set(map(id, outcomes))) == 1000


async def test_an_error_says_to_each_caller_what_happened(left_alone: PostgresStorage) -> None:
    """The text of the error and its SQLSTATE say the cause, as for any other call."""
    for outcome in await outcomes_of(start(left_alone, spread(10, ["c0", "c1"]))):
        assert isinstance(outcome, ConnectionFailedError)
        assert outcome.__cause__ is not None
        expected = cast(ConnectionFailedError, translated(outcome.__cause__))
        assert str(outcome).endswith(str(expected))  # the part after the name of the server
        assert outcome.sqlstate == expected.sqlstate


async def test_calls_go_on_when_the_server_is_back(left_alone: PostgresStorage, proxy: Proxy) -> None:
    """After all calls failed because the server was down, the next calls succeed again."""
    await outcomes_of(start(left_alone, spread(100, ["c0", "c1"])))
    proxy.refusing = False

    calls = spread(20, ["c0", "c1"])
    assert await stored(start(left_alone, calls)) == [id for _, id in calls]


# --- event loops -----------------------------------------------------------------------------------------------------

PROGRAM: Final = """
import asyncio
from voltmem import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={schema!r})

async def use(run):
    async with storage:
        await storage.ensure_conversation({{"id": "c0", "user_id": "ada"}})
        messages = [{{"id": f"{{run}}-{{number}}", "role": "user", "content": ""}} for number in range(20)]
        await asyncio.gather(*(storage.add_message(message, "ada", "c0") for message in messages))
        print(len(await storage.get_messages("ada", "c0")))

asyncio.run(use("one"))
asyncio.run(use("two"))
"""


async def test_calls_join_in_one_event_loop_after_another(dsn: str, schema: str) -> None:
    """One storage that is closed at the end of each of two asyncio.run() calls stores the messages of both."""
    assert await python("-c", PROGRAM.format(dsn=dsn, schema=schema)) == "20\n40\n"


ABANDONING_PROGRAM: Final = """
import asyncio
from voltmem import EventLoopError, PostgresStorage
storage = PostgresStorage({dsn!r}, schema={schema!r})
abandoned = []

def message(id):
    return {{"id": id, "role": "user", "content": ""}}

async def end_in_the_middle():
    await storage.ensure_conversation({{"id": "c0", "user_id": "ada"}})
    await storage.add_message(message("first"), "ada", "c0")
    for number in range(20):
        abandoned.append(asyncio.create_task(storage.add_message(message(f"m{{number}}"), "ada", "c0")))
    while not storage._batches._running:
        await asyncio.sleep(0)

async def go_on():
    try:
        async with asyncio.timeout(30):
            await {what_follows}
    except EventLoopError:
        print("ok")

{the_end}
asyncio.run(go_on())
"""
ENDS: Final = {
    "asyncio.run": "asyncio.run(end_in_the_middle())",
    "closed": "loop = asyncio.new_event_loop(); loop.run_until_complete(end_in_the_middle()); loop.close()",
}
FOLLOWS: Final = {
    "a call": 'storage.add_message(message("ok"), "ada", "c0")',
    "close": "storage.close()",
}


@pytest.mark.parametrize("what_follows", FOLLOWS)
@pytest.mark.parametrize("end", ENDS)
async def test_add_message_or_close_in_a_second_loop_raises_at_once(
    dsn: str, schema: str, end: str, what_follows: str
) -> None:
    """Calls under way when their loop ends do not block the next loop, which gets an EventLoopError at once."""
    program = ABANDONING_PROGRAM.format(dsn=dsn, schema=schema, the_end=ENDS[end], what_follows=FOLLOWS[what_follows])

    assert await python("-c", program) == "ok\n"
