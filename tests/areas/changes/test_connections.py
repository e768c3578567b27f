"""Watching survives lost connections, and leaves nothing behind when it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest

from tests.areas.changes.watching import PATIENCE, SOON, ChangeRecorder, rows_of_watchers, watching
from tests.calls import no_connection_of, with_parameters
from tests.checkout import ROOT
from tests.conftest import Connection, MakeStorage
from tests.moments import Moment, cancelled_at, every_moment
from tests.proxy import Proxy
from voltmem import InvalidInputError, PostgresStorage, StorageClosedError
from voltmem._postgres.listening import Listener

# --- connections that break ------------------------------------------------------------------------------------------


@pytest.mark.backend("LISTEN")
async def test_nothing_is_lost_when_the_connection_is(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """Changes during the interruption are reported after "reconnected", merged."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.create_conversation({"id": "c2", "user_id": "ada"})
    storage = make_storage(proxy.dsn)

    async with watching(storage) as recorder:
        proxy.refusing = True
        proxy.cut()
        await other.add_message({"role": "user", "content": "one"}, "ada", "c1")
        await other.add_message({"role": "user", "content": "two"}, "ada", "c1")
        await other.delete_conversation("c2")
        await other.create_conversation({"id": "c3", "user_id": "ada"})
        await asyncio.sleep(SOON)
        proxy.refusing = False

        assert [await recorder.pair() for _ in range(4)] == [
            ("reconnected", None),
            ("deleted", "c2"),
            ("message-added", "c1"),
            ("created", "c3"),
        ]
        await other.create_conversation({"id": "c4", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c4")


async def test_a_watcher_survives_an_outage_of_the_server(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """watch() continues after the server was down for longer than any call would wait."""
    storage = make_storage(proxy.dsn, retry_timeout=0.1)

    async with watching(storage, poll_interval=SOON) as recorder:
        proxy.refusing = True
        proxy.cut()
        await asyncio.sleep(1)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        proxy.refusing = False

        assert [await recorder.pair() for _ in range(2)] == [("reconnected", None), ("created", "c1")]


@pytest.mark.backend("LISTEN")
async def test_connections_that_are_ended_again_and_again_lose_nothing(
    dsn: str, make_storage: MakeStorage, other: PostgresStorage, connection: Connection, schema: str
) -> None:
    """All connections are terminated repeatedly while others write: each conversation is reported once."""
    storage = make_storage(with_parameters(dsn, application_name=schema))
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"

    async with watching(storage, poll_interval=SOON) as recorder:
        for number in range(40):
            await other.create_conversation({"id": f"c{number}", "user_id": "ada"})
            if number % 8 == 0:
                await connection.execute(ending, schema)
                await asyncio.sleep(SOON)
        changes = await recorder.until("c39")

    created = [change.conversation_id for change in changes if change.kind == "created"]
    assert sorted(map(str, created)) == sorted(f"c{number}" for number in range(40))
    assert "reconnected" in [change.kind for change in changes]


@pytest.mark.backend("LISTEN")
async def test_a_watcher_that_begins_during_a_reconnect_is_notified(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher that begins between the registration of the users and the start of listening is notified, too."""
    storage, renew = make_storage(proxy.dsn), Listener._renew
    joining, came = asyncio.Event(), asyncio.Event()

    async def slowly(self: Listener, connection: Any) -> None:
        await renew(self, connection)
        if self._was_listening:
            joining.set()
            await came.wait()

    monkeypatch.setattr(Listener, "_renew", slowly)
    async with watching(storage):
        proxy.cut()
        async with asyncio.timeout(PATIENCE):
            await joining.wait()
        async with watching(storage, "bob") as bobs:
            came.set()
            for number in range(3):  # the query at the start of listening may find the first change
                await other.create_conversation({"id": f"b{number}", "user_id": "bob"})
                assert await bobs.pair() == ("created", f"b{number}")


async def test_closing_does_not_wait_for_a_server_that_hangs(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """Closing does not wait for a server that hangs: the goodbye is skipped."""
    storage = make_storage(proxy.dsn, command_timeout=2, connect_timeout=2, retry_timeout=1)

    async with asyncio.timeout(PATIENCE):
        async with watching(storage):
            proxy.hang()
    assert storage._watchers._listener is None
    proxy.flow()
    async with watching(storage) as recorder:
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")


async def test_without_a_server_there_is_an_error(make_storage: MakeStorage) -> None:
    """Without a server, starting to watch raises an error, like every other call."""
    storage = make_storage("postgresql://127.0.0.1:1/postgres", retry_timeout=0.1)

    with pytest.raises(ConnectionError):
        await anext(storage.watch("ada"))

    assert storage._watchers._listener is None


# --- one connection, and its end -------------------------------------------------------------------------------------


@pytest.mark.backend("LISTEN")
async def test_all_watchers_of_a_storage_share_a_connection(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """Fifty watchers of ten users use one connection besides the pool's."""
    storage = make_storage(proxy.dsn, max_connections=1)
    recorders = [ChangeRecorder() for _ in range(50)]
    tasks = [asyncio.create_task(each.listen(storage, f"u{n % 10}", 60)) for n, each in enumerate(recorders)]
    assert {(await each.next()).kind for each in recorders} == {"ready"}

    for number in range(10):
        await other.create_conversation({"id": f"c{number}", "user_id": f"u{number}"})

    assert [await each.pair() for each in recorders] == [("created", f"c{n % 10}") for n in range(50)]
    assert proxy.connections == 2
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def leave_by_break(storage: PostgresStorage) -> None:
    async for change in storage.watch("ada"):
        assert change.kind == "ready"
        break


async def leave_by_closing(storage: PostgresStorage) -> None:
    changes = storage.watch("ada")
    await anext(changes)
    await changes.aclose()


async def leave_by_an_error(storage: PostgresStorage) -> None:
    with suppress(ZeroDivisionError):
        async for _ in storage.watch("ada"):
            raise ZeroDivisionError


async def leave_by_cancelling(storage: PostgresStorage) -> None:
    async with watching(storage):
        pass


async def leave_by_closing_the_storage(storage: PostgresStorage) -> None:
    async with watching(storage) as recorder:
        await storage.close()
        async with asyncio.timeout(PATIENCE):
            await recorder.ended.wait()


WAYS = [leave_by_break, leave_by_closing, leave_by_an_error, leave_by_cancelling, leave_by_closing_the_storage]


@pytest.mark.parametrize("leave", WAYS)
async def test_watch_leaves_nothing_when_it_ends(
    leave: Callable[[PostgresStorage], Awaitable[None]],
    dsn: str,
    schema: str,
    other: PostgresStorage,
    make_storage: MakeStorage,
    connection: Connection,
) -> None:
    """watch() leaves no task, connection or row, however it ends, and can be called again."""
    storage = make_storage(with_parameters(dsn, application_name=schema))
    for _ in range(2):
        await storage.open()
        await leave(storage)

        async with asyncio.timeout(PATIENCE):
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
        assert storage._watchers._listener is None
        assert await rows_of_watchers(other) == []
        listening = "SELECT count(*) FROM pg_sleep(0.01), pg_stat_activity WHERE application_name = $1 AND query ~ $2"
        async with asyncio.timeout(PATIENCE):
            while await connection.fetchval(listening, schema, "LISTEN"):
                pass
    await storage.close()
    await no_connection_of(schema, connection)


@every_moment
@pytest.mark.backend("LISTEN")
async def test_a_watcher_that_is_cancelled_anywhere_leaves_nothing(
    dsn: str, schema: str, other: PostgresStorage, make_storage: MakeStorage, connection: Connection, moment: Moment
) -> None:
    """A watcher that is cancelled at any await leaves nothing behind."""
    storage = make_storage(with_parameters(dsn, application_name=schema), max_connections=1)
    await storage.open()
    await other.open()

    async def watch() -> None:
        async with aclosing(storage.watch("ada")) as changes:
            assert (await anext(changes)).kind == "ready"
            await other.create_conversation({"user_id": "ada"})
            assert (await anext(changes)).kind == "created"

    for suspension in range(1, 200):
        cancelled = await cancelled_at(watch, suspension, moment)

        async with asyncio.timeout(PATIENCE):
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
        assert storage._watchers._listener is None
        assert await rows_of_watchers(other) == []
        if not cancelled:
            break
    else:
        pytest.fail("it never came to its end")
    await storage.close()
    await no_connection_of(schema, connection)


async def test_others_go_on_when_one_leaves(storage: PostgresStorage, other: PostgresStorage) -> None:
    """When one watcher leaves, those of the same user and of another continue."""
    async with watching(storage) as stays, watching(storage, "bob") as bobs:
        async with watching(storage):
            pass
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        await other.create_conversation({"id": "b1", "user_id": "bob"})

        assert await stays.pair() == ("created", "c1")
        assert await bobs.pair() == ("created", "b1")
        async with watching(storage) as back:
            await other.pin_conversation("c1")
            assert await back.pair() == ("updated", "c1")


async def test_watch_on_a_closed_storage_is_an_error(storage: PostgresStorage) -> None:
    """watch() on a closed storage raises the same error as any other call."""
    await storage.close()

    with pytest.raises(StorageClosedError):
        await anext(storage.watch("ada"))


@pytest.mark.backend("LISTEN")
def test_it_can_be_watched_in_one_loop_after_the_other(dsn: str, seeded: str) -> None:
    """A storage that was closed gets another listener in another asyncio.run()."""
    program = f"""
import asyncio
from voltmem import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={seeded!r})

async def watch():
    async with storage:
        async for change in storage.watch("ada"):
            return change.kind, storage._watchers._listener.is_listening

print(asyncio.run(watch()), asyncio.run(watch()))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "('ready', True) ('ready', True)\n"


# --- errors of watch() -----------------------------------------------------------------------------------------------


async def test_watch_in_a_transaction_is_an_error(storage: PostgresStorage) -> None:
    """watch() on a transaction raises an error that says where it can be called."""
    async with storage.transaction() as tx:
        for bound in (tx, storage.bind(tx.connection)):
            with pytest.raises(InvalidInputError, match="call it on the PostgresStorage"):
                bound.watch("ada")
            with pytest.raises(InvalidInputError, match="call it on the PostgresStorage"):
                bound.for_user("ada").watch()


@pytest.mark.parametrize("user_id", [None, 1, b"ada", "\x00", "x" * 1001])
async def test_watch_refuses_a_wrong_user_at_once(user_id: Any, storage: PostgresStorage) -> None:
    """watch() refuses an invalid user in the call, not in the first step of the iterator."""
    with pytest.raises(InvalidInputError, match="user_id"):
        storage.watch(user_id)


@pytest.mark.parametrize("seconds", [None, 0, -1, "2", True, float("inf"), float("nan")])
async def test_watch_refuses_a_wrong_interval_at_once(seconds: Any, storage: PostgresStorage) -> None:
    """watch() refuses an interval that is not a number of seconds above 0, in the call."""
    with pytest.raises(InvalidInputError, match="poll_interval"):
        storage.watch("ada", poll_interval=seconds)
    with pytest.raises(InvalidInputError, match="poll_interval"):
        storage.for_user("ada").watch(poll_interval=seconds)
