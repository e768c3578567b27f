"""Watching: what others change is seen, none of it is lost, and nothing is left of whoever has watched."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls import WRITES, Rows, call, migrated_schema, no_connection_of, with_parameters
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from tests.test_cancellation import Moment, cancelled_at, every_moment
from voltmem import ANY_USER, Change, ConversationItem, InvalidInputError, PostgresStorage, Storage, StorageClosedError
from voltmem._agents.native import NativeMemory
from voltmem._postgres.conversation_schema import MigrateStatements
from voltmem._postgres.listening import Listener, channel
from voltmem._values import user_key
from voltmem.testing import server

ROOT: Final = Path(__file__).parent.parent
SOON: Final = 0.05
PATIENCE: Final = 20.0


class Heard:
    """What a watcher was told, one after the other."""

    def __init__(self) -> None:
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def listen(self, storage: PostgresStorage, user_id: str, poll_interval: float) -> None:
        async with aclosing(storage.watch(user_id, poll_interval=poll_interval)) as changes:
            async for change in changes:
                self._changes.put_nowait(change)
        self.ended.set()

    async def next(self) -> Change:
        async with asyncio.timeout(PATIENCE):
            return await self._changes.get()

    async def pair(self) -> tuple[str, str | None]:
        change = await self.next()
        return change.kind, change.conversation_id

    async def until(self, conversation_id: str) -> list[Change]:
        """Return all that is told up to a change of this conversation."""
        found = [await self.next()]
        while found[-1].conversation_id != conversation_id:
            found.append(await self.next())
        return found


@asynccontextmanager
async def watching(storage: PostgresStorage, user_id: str = "ada", poll_interval: float = 60) -> AsyncIterator[Heard]:
    """What is told of a user from "ready" on. Nothing is found by polling, unless it is asked for."""
    heard = Heard()
    task = asyncio.create_task(heard.listen(storage, user_id, poll_interval))
    try:
        waiting = asyncio.create_task(heard.next())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()
        assert (await waiting).kind == "ready"
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def other(make_storage: MakeStorage, storage: PostgresStorage) -> PostgresStorage:
    """A storage on the same tables with a pool of its own, as in another process."""
    return make_storage()


async def rows_of_watchers(storage: Storage) -> list[Any]:
    return list(await storage._executor.fetch(f"SELECT * FROM {storage._options.tables.watchers}"))


def is_polling(storage: PostgresStorage) -> bool:
    listener = storage._watchers._listener
    assert listener is not None
    return not listener.hears and listener._task.done()


# --- what is told -------------------------------------------------------------------------------------------------


async def test_each_kind_of_change_is_told_with_what_the_list_shows(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """What somebody else does comes as it is now, equal to the item of the list."""
    steps: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("created", lambda: other.create_conversation({"id": "c1", "user_id": "ada"})),
        ("message-added", lambda: other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c1")),
        ("message-added", lambda: other.add_message({"id": "m2", "role": "assistant", "content": "2"}, "ada", "c1")),
        ("updated", lambda: other.add_message({"id": "m2", "role": "assistant", "content": "two"}, "ada", "c1")),
        ("updated", lambda: other.rewind_conversation("c1", "m1")),
        ("updated", lambda: other.pin_conversation("c1")),
        ("updated", lambda: other.rename_conversation("c1", "One")),
        ("updated", lambda: other.mark_conversation_read("c1")),
        ("updated", lambda: other.update_conversation("c1", metadata={"n": 1}, touch=False)),
        ("deleted", lambda: other.soft_delete_conversation("c1")),
        ("created", lambda: other.restore_conversation("c1")),
        ("deleted", lambda: other.delete_conversation("c1")),
    ]

    async with watching(storage) as heard:
        for kind, step in steps:
            await step()
            change = await heard.next()

            shown = (await other.list_conversations("ada")).items
            assert (change.kind, change.conversation_id) == (kind, "c1")
            assert change.conversation == next(iter(shown), None)


# What the watcher of "ada" hears of each verb; the others write nothing that her list shows.
TOLD: Mapping[str, tuple[str, str]] = {
    "create_conversation": ("created", "new"),
    "ensure_conversation": ("created", "new"),
    "update_conversation": ("updated", "c1"),
    "delete_conversation": ("deleted", "c1"),
    "rewind_conversation": ("updated", "c1"),
    "rename_conversation": ("updated", "c1"),
    "pin_conversation": ("updated", "c1"),
    "archive_conversation": ("updated", "c1"),
    "tag_conversation": ("updated", "c1"),
    "mark_conversation_read": ("updated", "c1"),
    "soft_delete_conversation": ("deleted", "c1"),
    "restore_conversation": ("created", "gone"),
    "fork_conversation": ("created", "fork"),
    "delete_user": ("deleted", "c1"),
    "add_message": ("message-added", "c1"),
    "add_messages": ("message-added", "c1"),
    "delete_messages": ("updated", "c1"),
    "clear_messages": ("updated", "c1"),
    "import_user": ("created", "new"),
    "import_conversations": ("created", "new"),
}
NOT_TOLD: Mapping[str, str] = {
    "purge_deleted_conversations": "they are gone already",
    "share_conversation": "a link",
    "revoke_share": "a link",
    "add_history_entry": "a run",
    "update_history_entry": "a run",
    "add_history_step": "a run",
    "update_history_step": "a run",
    "add_timeline_event": "a run",
}


def test_every_write_is_told_or_excused() -> None:
    """A new verb is told of, or says why not."""
    assert TOLD.keys() | NOT_TOLD.keys() == WRITES


@pytest.fixture(scope="module")
def seeded() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema


@pytest.mark.parametrize("name", TOLD)
async def test_every_write_is_told_to_who_watches_its_user(
    name: str, seeded: str, dsn: str, connection: Connection
) -> None:
    """What a verb changes is heard of at once, by notification."""
    await Rows(connection, seeded).seed()
    async with (
        PostgresStorage(dsn, schema=seeded) as storage,
        PostgresStorage(dsn, schema=seeded) as other,
        watching(storage) as heard,
    ):
        await call(other, name)

        assert await heard.pair() == TOLD[name]


# What agents and adapters do to a conversation that has messages and a payload.
OF_AGENTS: Mapping[str, Callable[[NativeMemory], Awaitable[object]]] = {
    "clear": lambda memory: memory.clear(),
    "title": lambda memory: memory.title("Named"),
    "pop": lambda memory: memory.pop(),
    "save_payload": lambda memory: memory.save_payload({"n": 2}, "a framework"),
    "save_payload without a touch": lambda memory: memory.save_payload({"n": 2}, "a framework", touch=False),
}


@pytest.mark.parametrize("name", OF_AGENTS)
async def test_what_agents_and_adapters_write_is_told(
    name: str, storage: PostgresStorage, other: PostgresStorage
) -> None:
    """Also where the conversation keeps its place in the list."""
    memory = NativeMemory(other, "ada", "c1")
    await memory.add({"id": "m1", "role": "user", "content": "one"})
    await memory.save_payload({"n": 1}, "a framework")

    async with watching(storage) as heard:
        await OF_AGENTS[name](memory)

        assert await heard.pair() == ("updated", "c1")


async def test_clearing_all_of_a_users_messages_is_told_of_those_that_had_some(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """And of no others."""
    for name in ("c1", "c2", "c3"):
        await other.create_conversation({"id": name, "user_id": "ada"})
    await other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c2")

    async with watching(storage) as heard:
        assert await other.clear_messages("ada") == 1
        assert await heard.pair() == ("updated", "c2")
        await other.pin_conversation("c1")
        assert await heard.pair() == ("updated", "c1")


async def test_deleting_nothing_is_not_told(storage: PostgresStorage, other: PostgresStorage) -> None:
    """Messages that are not there, or another's: no change."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c1")

    async with watching(storage) as heard:
        assert await other.delete_messages(["m9"], "ada", "c1") == 0
        assert await other.clear_messages("bob", "c1") == 0
        assert await other.rewind_conversation("c1", "m1") == 0
        await other.create_conversation({"id": "c2", "user_id": "ada"})

        assert await heard.pair() == ("created", "c2")


async def test_deleting_messages_keeps_the_conversation_in_its_place(storage: PostgresStorage) -> None:
    """Its row is written for those who watch, and its time stays."""
    for number in range(3):
        await storage.create_conversation({"id": f"c{number}", "user_id": "ada"})
        await storage.add_messages([{"id": f"m{n}", "role": "user", "content": "x"} for n in range(4)], "ada", "c0")
    before = [(item.id, item.updated_at) for item in (await storage.list_conversations("ada")).items]

    assert await storage.delete_messages(["m0", "m9"], "ada", "c0") == 1
    assert await storage.rewind_conversation("c0", "m2") == 1
    assert await storage.clear_messages(ANY_USER, "c0") == 2
    assert await storage.clear_messages("ada") == 0

    assert [(item.id, item.updated_at) for item in (await storage.list_conversations("ada")).items] == before


async def test_a_deletion_that_waits_for_a_writer_is_done_and_told(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """The row that it writes is the one that the writer left."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c1")

    async with watching(storage) as heard:
        async with other.transaction() as tx:
            await tx.pin_conversation("c1")
            deleting = asyncio.create_task(other.delete_messages(["m1"], "ada", "c1"))
            await asyncio.sleep(SOON)
        assert await deleting == 1

        changes = [await heard.next()]
        while changes[-1].conversation is not None and changes[-1].conversation.preview is not None:
            changes.append(await heard.next())
        last = changes[-1].conversation
        assert last is not None
        assert (last.pinned, last.updated_at) == (True, changes[0].conversation and changes[0].conversation.updated_at)


async def test_another_users_changes_are_not_told(storage: PostgresStorage, other: PostgresStorage) -> None:
    """Whoever watches bob hears nothing of ada."""
    async with watching(storage, "bob") as heard, watching(storage, "ada") as adas:
        await other.create_conversation({"id": "a1", "user_id": "ada"})
        await other.add_message({"role": "user", "content": "Hello"}, "ada", "a1")
        await other.create_conversation({"id": "b1", "user_id": "bob"})

        assert await heard.pair() == ("created", "b1")
        assert (await adas.next()).conversation_id == "a1"


async def test_a_conversation_that_is_given_away_is_told_to_both(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """Deleted for the one, created for the other."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})

    async with watching(storage, "ada") as adas, watching(storage, "bob") as bobs:
        await other.update_conversation("c1", user_id="bob")

        assert await adas.pair() == ("deleted", "c1")
        assert await bobs.pair() == ("created", "c1")


async def test_what_is_not_committed_is_not_told(storage: PostgresStorage, other: PostgresStorage) -> None:
    """A transaction comes as a whole when it is committed, never when it is undone."""
    async with watching(storage) as heard:
        with suppress(ZeroDivisionError):
            async with other.transaction() as tx:
                await tx.create_conversation({"id": "undone", "user_id": "ada"})
                raise ZeroDivisionError
        async with other.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})
            await tx.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
            await tx.pin_conversation("c1")

        change = await heard.next()
        assert (change.kind, change.conversation_id) == ("created", "c1")
        assert change.conversation is not None
        assert (change.conversation.pinned, change.conversation.preview) == (True, "Hello")


async def test_a_users_view_watches_its_user(storage: PostgresStorage, other: PostgresStorage) -> None:
    """for_user() has it without a user_id, and sees nobody else's."""
    changes = storage.for_user("ada").watch(poll_interval=60)
    async with aclosing(changes):
        assert (await anext(changes)).kind == "ready"
        await other.create_conversation({"id": "b1", "user_id": "bob"})
        await other.create_conversation({"id": "c1", "user_id": "ada"})

        async with asyncio.timeout(PATIENCE):
            assert (await anext(changes)).conversation_id == "c1"


async def test_writes_that_come_together_are_looked_at_together(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """However many notifications arrive, there are ten looks a second at most."""
    storage = make_storage(proxy.dsn)
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    time = asyncio.get_running_loop().time

    async with watching(storage) as heard:
        began, before = time(), proxy.round_trips
        for number in range(300):
            await other.add_message({"role": "user", "content": f"{number}"}, "ada", "c1")
        await other.create_conversation({"id": "last", "user_id": "ada"})
        await heard.until("last")

        assert proxy.round_trips - before <= (time() - began) / 0.1 + 2


# --- whom notifications are sent to -------------------------------------------------------------------------------


@pytest.fixture
async def notifications(storage: PostgresStorage, connection: Connection) -> asyncio.Queue[str]:
    """All payloads that are sent to who watches on the test's tables."""
    payloads: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener(
        channel(storage._options.tables), lambda _, __, ___, payload: payloads.put_nowait(str(payload))
    )
    return payloads


async def sent(connection: Connection, notifications: asyncio.Queue[str]) -> list[str]:
    """Return what has been sent by now: it comes before the answer to whatever is asked for afterwards."""
    await connection.execute("SELECT 1")
    return [notifications.get_nowait() for _ in range(notifications.qsize())]


async def test_users_who_are_not_watched_cause_no_notification(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection, notifications: asyncio.Queue[str]
) -> None:
    """Not before, not for another user, and not after somebody has watched."""
    await other.create_conversation({"id": "a1", "user_id": "ada"})
    assert await sent(connection, notifications) == []

    async with watching(storage):
        await sent(connection, notifications)  # the proof that they arrive
        await other.create_conversation({"id": "b1", "user_id": "bob"})
        assert await sent(connection, notifications) == []
        await other.pin_conversation("a1")
        assert await sent(connection, notifications) == [user_key("ada")]

    await other.pin_conversation("a1", False)
    assert await sent(connection, notifications) == []


async def test_a_watcher_that_is_gone_without_a_word_is_forgotten(
    storage: PostgresStorage, connection: Connection, notifications: asyncio.Queue[str]
) -> None:
    """What a process that was killed leaves expires, and goes with the next that watches, whoever that is."""
    await connection.execute(
        f"INSERT INTO {storage._options.tables.watchers} VALUES ('ada', 'killed', now() - interval '1 second')"
    )

    await storage.create_conversation({"id": "a1", "user_id": "ada"})

    assert await sent(connection, notifications) == []
    async with watching(storage, "bob"):
        assert [row["user_id"] for row in await rows_of_watchers(storage)] == ["bob"]


async def test_deleting_a_user_leaves_no_row_that_says_who_watches(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection
) -> None:
    """Of those who are gone without a word, and of those who still watch: these hear what happened, all the same."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await connection.execute(
        f"INSERT INTO {storage._options.tables.watchers} VALUES ('ada', 'killed', now() + interval '1 minute')"
    )

    async with watching(storage) as heard, watching(storage, "bob"):
        await other.delete_user("ada")
        assert [row["user_id"] for row in await rows_of_watchers(other)] == ["bob"]
        assert await heard.pair() == ("deleted", "c1")


async def test_who_watches_says_so_again_and_again(
    storage: PostgresStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were lost, as in a crash of the server, are back with the next renewal."""
    monkeypatch.setattr("voltmem._postgres.listening._RENEWED_EVERY", SOON)

    async with watching(storage) as heard:
        await other._executor.execute(f"DELETE FROM {storage._options.tables.watchers}")
        async with asyncio.timeout(PATIENCE):
            while not await rows_of_watchers(other):
                pass
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")


async def test_a_change_without_a_notification_is_found_all_the_same(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, by the look that is due anyway."""
    monkeypatch.setattr("voltmem._postgres.listening._LOOK_ANYWAY", SOON)

    async with watching(storage) as heard:
        await connection.execute(f"ALTER TABLE {storage._options.tables.conversations} DISABLE TRIGGER USER")
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")


async def test_two_prefixes_hear_nothing_of_each_other(make_storage: MakeStorage, storage: PostgresStorage) -> None:
    """Each has a channel of its own, whatever the schema and the prefix are called."""
    twin = make_storage(table_prefix="twin")

    assert channel(twin._options.tables) != channel(storage._options.tables)
    assert len(channel(make_storage(table_prefix="x" * 33)._options.tables)) < 64
    async with watching(twin) as heard:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await twin.create_conversation({"id": "t1", "user_id": "ada"})
        assert await heard.pair() == ("created", "t1")


async def test_whoever_may_write_need_not_see_who_is_watched(
    storage: PostgresStorage, dsn: str, schema: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """A role with no right to the table of watchers writes, and is told of; to watch, it polls."""
    tables = storage._options.tables
    await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO pg_monitor")
    for table in (tables.conversations, tables.messages):
        await connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO pg_monitor")
    writer = make_storage(with_parameters(dsn, role="pg_monitor"), migrate="off")

    async with watching(storage) as heard, watching(writer, poll_interval=SOON) as polled:
        assert is_polling(writer)
        await writer.create_conversation({"id": "c1", "user_id": "ada"})

        assert await heard.pair() == ("created", "c1")
        assert await polled.pair() == ("created", "c1")


# --- connections that break ---------------------------------------------------------------------------------------


async def test_nothing_is_lost_when_the_connection_is(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """What is written while there is none follows "reconnected", merged."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.create_conversation({"id": "c2", "user_id": "ada"})
    storage = make_storage(proxy.dsn)

    async with watching(storage) as heard:
        proxy.refusing = True
        proxy.cut()
        await other.add_message({"role": "user", "content": "one"}, "ada", "c1")
        await other.add_message({"role": "user", "content": "two"}, "ada", "c1")
        await other.delete_conversation("c2")
        await other.create_conversation({"id": "c3", "user_id": "ada"})
        await asyncio.sleep(SOON)
        proxy.refusing = False

        assert [await heard.pair() for _ in range(4)] == [
            ("reconnected", None),
            ("deleted", "c2"),
            ("message-added", "c1"),
            ("created", "c3"),
        ]
        await other.create_conversation({"id": "c4", "user_id": "ada"})
        assert await heard.pair() == ("created", "c4")


async def test_a_watcher_outlives_a_server_that_is_away(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """For longer than any call would wait."""
    storage = make_storage(proxy.dsn, retry_timeout=0.1)

    async with watching(storage, poll_interval=SOON) as heard:
        proxy.refusing = True
        proxy.cut()
        await asyncio.sleep(1)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        proxy.refusing = False

        assert [await heard.pair() for _ in range(2)] == [("reconnected", None), ("created", "c1")]


async def test_connections_that_are_ended_again_and_again_lose_nothing(
    dsn: str, make_storage: MakeStorage, other: PostgresStorage, connection: Connection, schema: str
) -> None:
    """An administrator ends them all while others write: each conversation is told of once."""
    storage = make_storage(with_parameters(dsn, application_name=schema))
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"

    async with watching(storage, poll_interval=SOON) as heard:
        for number in range(40):
            await other.create_conversation({"id": f"c{number}", "user_id": "ada"})
            if number % 8 == 0:
                await connection.execute(ending, schema)
                await asyncio.sleep(SOON)
        changes = await heard.until("c39")

    told = [change.conversation_id for change in changes if change.kind == "created"]
    assert sorted(map(str, told)) == sorted(f"c{number}" for number in range(40))
    assert "reconnected" in [change.kind for change in changes]


async def test_who_comes_while_it_reconnects_is_told_too(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment at which it says whom it watches and the one at which it hears."""
    storage, renew = make_storage(proxy.dsn), Listener._renew
    joining, came = asyncio.Event(), asyncio.Event()

    async def slowly(self: Listener, connection: Any) -> None:
        await renew(self, connection)
        if self._has_heard:
            joining.set()
            await came.wait()

    monkeypatch.setattr(Listener, "_renew", slowly)
    async with watching(storage):
        proxy.cut()
        async with asyncio.timeout(PATIENCE):
            await joining.wait()
        async with watching(storage, "bob") as bobs:
            came.set()
            for number in range(3):  # the first may be found by the look with which it begins to hear
                await other.create_conversation({"id": f"b{number}", "user_id": "bob"})
                assert await bobs.pair() == ("created", f"b{number}")


async def test_a_server_that_hangs_keeps_nobody_from_leaving(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """What it cannot be told any more, it is not told."""
    storage = make_storage(proxy.dsn, command_timeout=2, connect_timeout=2, retry_timeout=1)

    async with asyncio.timeout(PATIENCE):
        async with watching(storage):
            proxy.hang()
    assert storage._watchers._listener is None
    proxy.flow()
    async with watching(storage) as heard:
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")


async def test_without_a_server_there_is_an_error(make_storage: MakeStorage) -> None:
    """At the beginning, as for every other call."""
    storage = make_storage("postgresql://127.0.0.1:1/postgres", retry_timeout=0.1)

    with pytest.raises(ConnectionError):
        await anext(storage.watch("ada"))

    assert storage._watchers._listener is None


# --- where no notification arrives --------------------------------------------------------------------------------


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="voltmem")
    return caplog


async def test_where_notifications_do_not_arrive_it_polls(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """It is found out at the beginning, and logged once, however many watch."""
    proxy.muffling = True
    storage = make_storage(proxy.dsn)

    async with watching(storage, poll_interval=SOON) as heard, watching(storage, "bob", SOON):
        assert is_polling(storage)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")
        await other.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
        assert await heard.pair() == ("message-added", "c1")

    assert [record.levelname for record in log.records] == ["INFO"]
    assert "no notification arrives" in log.text


async def test_with_pgbouncer_in_the_connection_string_it_does_not_even_try(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """There is no connection but the pool's."""
    storage = make_storage(with_parameters(proxy.dsn, pgbouncer="true"), max_connections=1)

    async with watching(storage, poll_interval=SOON) as heard:
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")

    assert proxy.connections == 1
    assert [record.levelname for record in log.records] == ["INFO"]


@pytest.fixture
async def pgbouncer(dsn: str) -> AsyncIterator[str]:
    """A PgBouncer in transaction mode in front of the server."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    target = urlsplit(dsn)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{target.username}" "{target.password or ""}"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host={target.hostname} port={target.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {folder / 'users'}\npool_mode = transaction\n"
        )
        user = []
        if os.geteuid() == 0:  # it refuses to be root
            user = ["-u", "nobody"]
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "nobody")
        process = await asyncio.create_subprocess_exec(program, "-q", *user, str(folder / "ini"))
        async with asyncio.timeout(PATIENCE):
            while not await answers(port):
                assert process.returncode is None
                await asyncio.sleep(SOON)
        yield f"postgresql://{target.username}@127.0.0.1:{port}{target.path}?sslmode=disable"
        process.terminate()
        await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_behind_a_pgbouncer_it_polls(
    pgbouncer: str, schema: str, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """A real one, in transaction mode, that nobody has told us of: LISTEN is accepted there, and nothing arrives."""
    async with asyncpg.create_pool(pgbouncer, min_size=0, max_size=3, statement_cache_size=0) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)

        async with watching(storage, poll_interval=SOON) as heard:
            assert is_polling(storage)
            await other.create_conversation({"id": "c1", "user_id": "ada"})
            assert await heard.pair() == ("created", "c1")
        await storage.close()

    assert "no notification arrives" in log.text


async def test_a_server_that_may_not_be_written_to_is_polled(
    dsn: str, make_storage: MakeStorage, other: PostgresStorage, log: pytest.LogCaptureFixture
) -> None:
    """On a standby nobody can say whom they watch."""
    await other.open()
    storage = make_storage(with_parameters(dsn, default_transaction_read_only="on"), retry_timeout=0.1)

    async with watching(storage, poll_interval=SOON) as heard:
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")

    assert "read-only" in log.text


@pytest.mark.parametrize("missing", ["TRIGGER {prefix}_tell_watchers ON {schema}.{prefix}_conversations", "TABLE {w}"])
async def test_tables_without_what_notifies_are_polled(
    missing: str, make_storage: MakeStorage, storage: PostgresStorage, other: PostgresStorage, connection: Connection
) -> None:
    """As Citus has them, or with migrate="off" those of an earlier release."""
    tables = storage._options.tables
    await connection.execute(f"DROP TRIGGER {tables.prefix}_tell_watchers ON {tables.conversations}")
    if "TABLE" in missing:
        await connection.execute(f"DROP TABLE {tables.watchers}")
    late = make_storage(migrate="off")

    async with watching(late, poll_interval=SOON) as heard:
        assert is_polling(late)
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")


async def test_a_pool_that_was_given_lends_a_connection(dsn: str, schema: str, other: PostgresStorage) -> None:
    """For as long as somebody watches, and gets it back as it was."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        async with watching(storage) as heard:
            assert not is_polling(storage)
            await other.create_conversation({"id": "c1", "user_id": "ada"})
            assert await heard.pair() == ("created", "c1")
            assert pool.get_size() - pool.get_idle_size() == 1

        assert pool.get_size() == pool.get_idle_size()
        assert await pool.fetch("SELECT * FROM pg_listening_channels()") == []
        await storage.close()


async def test_a_pool_of_one_connection_is_polled(dsn: str, schema: str, other: PostgresStorage) -> None:
    """It has none to lend."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        async with watching(storage, poll_interval=SOON) as heard:
            assert is_polling(storage)
            await other.create_conversation({"id": "c1", "user_id": "ada"})
            assert await heard.pair() == ("created", "c1")
        await storage.close()


async def test_tables_that_were_restored_notify_again(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The backup takes the place of the table that had the trigger; the next opening makes it anew."""
    storage = make_storage()
    await connection.execute(f"CREATE SCHEMA {schema}")
    for statement in MigrateStatements(storage._options.tables).make_missing_tables:
        await connection.execute(statement)
    await storage.open()
    assert (await storage.migrate_conversation_schema(restore_from_backup=True)).success
    await storage.close()
    await storage.open()

    async with watching(storage) as heard:
        assert not is_polling(storage)
        await make_storage().create_conversation({"id": "c1", "user_id": "ada"})
        assert await heard.pair() == ("created", "c1")


# --- one connection, and its end ----------------------------------------------------------------------------------


async def test_all_who_watch_on_a_storage_share_a_connection(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """Fifty watchers of ten users, and one connection beside the pool's."""
    storage = make_storage(proxy.dsn, max_connections=1)
    heard = [Heard() for _ in range(50)]
    tasks = [asyncio.create_task(each.listen(storage, f"u{n % 10}", 60)) for n, each in enumerate(heard)]
    assert {(await each.next()).kind for each in heard} == {"ready"}

    for number in range(10):
        await other.create_conversation({"id": f"c{number}", "user_id": f"u{number}"})

    assert [await each.pair() for each in heard] == [("created", f"c{n % 10}") for n in range(50)]
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
    async with watching(storage) as heard:
        await storage.close()
        async with asyncio.timeout(PATIENCE):
            await heard.ended.wait()


WAYS = [leave_by_break, leave_by_closing, leave_by_an_error, leave_by_cancelling, leave_by_closing_the_storage]


@pytest.mark.parametrize("leave", WAYS)
async def test_nothing_is_left_of_a_watcher(
    leave: Callable[[PostgresStorage], Awaitable[None]],
    dsn: str,
    schema: str,
    other: PostgresStorage,
    make_storage: MakeStorage,
    connection: Connection,
) -> None:
    """No task, no connection, no row, however one leaves; and one may come again."""
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
async def test_a_watcher_that_is_cancelled_anywhere_leaves_nothing(
    dsn: str, schema: str, other: PostgresStorage, make_storage: MakeStorage, connection: Connection, moment: Moment
) -> None:
    """At any await from the beginning to the end."""
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
    """Of the same user, and of another."""
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


async def test_a_closed_storage_cannot_be_watched(storage: PostgresStorage) -> None:
    """As it cannot be asked anything."""
    await storage.close()

    with pytest.raises(StorageClosedError):
        await anext(storage.watch("ada"))


def test_it_can_be_watched_in_one_loop_after_the_other(dsn: str, seeded: str) -> None:
    """A storage that was never closed has another listener in another asyncio.run."""
    program = f"""
import asyncio
from voltmem import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={seeded!r})

async def watch():
    async for change in storage.watch("ada"):
        return change.kind, storage._watchers._listener.hears

print(asyncio.run(watch()), asyncio.run(watch()))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "('ready', True) ('ready', True)\n"


# --- what cannot be watched ---------------------------------------------------------------------------------------


async def test_a_transaction_cannot_be_watched(storage: PostgresStorage) -> None:
    """The error says where one can."""
    async with storage.transaction() as tx:
        for bound in (tx, storage.bind(tx.connection)):
            with pytest.raises(InvalidInputError, match="call it on the PostgresStorage"):
                bound.watch("ada")
            with pytest.raises(InvalidInputError, match="call it on the PostgresStorage"):
                bound.for_user("ada").watch()


@pytest.mark.parametrize("user_id", [None, 1, b"ada", "\x00", "x" * 1001])
async def test_a_wrong_user_is_refused_at_once(user_id: Any, storage: PostgresStorage) -> None:
    """By the call, and not by the first step of the iterator."""
    with pytest.raises(InvalidInputError, match="user_id"):
        storage.watch(user_id)


@pytest.mark.parametrize("seconds", [None, 0, -1, "2", True, float("inf"), float("nan")])
async def test_a_wrong_interval_is_refused_at_once(seconds: Any, storage: PostgresStorage) -> None:
    """It must be a number of seconds above 0."""
    with pytest.raises(InvalidInputError, match="poll_interval"):
        storage.watch("ada", poll_interval=seconds)
    with pytest.raises(InvalidInputError, match="poll_interval"):
        storage.for_user("ada").watch(poll_interval=seconds)


# --- in general ---------------------------------------------------------------------------------------------------

IDS = st.sampled_from(["c1", "c2", "c3"])
MESSAGES = st.sampled_from(["m1", "m2", "m3"])
FLAGS = st.booleans()
STEPS = st.one_of(
    st.tuples(
        st.just("create_conversation"), st.fixed_dictionaries({"conversation": st.fixed_dictionaries({"id": IDS})})
    ),
    st.tuples(
        st.just("add_message"),
        st.fixed_dictionaries({"conversation_id": IDS, "id": MESSAGES, "content": st.text("ab", max_size=2)}),
    ),
    st.tuples(st.just("delete_conversation"), st.fixed_dictionaries({"conversation_id": IDS})),
    st.tuples(st.just("soft_delete_conversation"), st.fixed_dictionaries({"conversation_id": IDS})),
    st.tuples(st.just("restore_conversation"), st.fixed_dictionaries({"conversation_id": IDS})),
    st.tuples(st.just("pin_conversation"), st.fixed_dictionaries({"conversation_id": IDS, "pinned": FLAGS})),
    st.tuples(st.just("archive_conversation"), st.fixed_dictionaries({"conversation_id": IDS, "archived": FLAGS})),
    st.tuples(st.just("rewind_conversation"), st.fixed_dictionaries({"conversation_id": IDS, "message_id": MESSAGES})),
    st.tuples(st.just("clear_messages"), st.fixed_dictionaries({"conversation_id": IDS})),
    st.tuples(st.just("clear_messages"), st.just({})),
    st.tuples(st.just("mark_conversation_read"), st.fixed_dictionaries({"conversation_id": IDS})),
    st.tuples(st.just("cut"), st.just({})),
)


async def everything(storage: PostgresStorage) -> dict[str, ConversationItem]:
    shown = [await storage.list_conversations("ada", limit=100, archived=archived) for archived in (False, True)]
    return {item.id: item for each in shown for item in each.items}


async def do(storage: PostgresStorage, proxy: Proxy, name: str, arguments: dict[str, Any]) -> None:
    if name == "cut":
        proxy.cut()
        return
    ada = storage.for_user("ada")
    if name == "add_message":
        message = {"id": arguments["id"], "role": "assistant", "content": arguments["content"]}
        arguments = {"message": message, "conversation_id": arguments["conversation_id"], "resource_id": "docs"}
    with suppress(LookupError, ValueError):  # there is no such conversation, or there is one
        await getattr(ada, name)(**arguments)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(STEPS, max_size=6), steps=st.lists(st.tuples(STEPS, FLAGS), max_size=12))
def test_a_list_that_follows_the_changes_is_the_list(seeded: str, before: list[Any], steps: list[Any]) -> None:
    """Whatever is done, and whenever the connection breaks: the list at "ready" and the changes since make the list."""
    asyncio.run(follow(seeded, before, steps))


async def follow(schema: str, before: list[Any], steps: list[Any]) -> None:
    dsn = server().dsn
    async with (
        Proxy(dsn) as proxy,
        PostgresStorage(proxy.dsn, schema=schema) as storage,
        PostgresStorage(dsn, schema=schema) as other,
    ):
        await other.delete_user("ada")
        for name, arguments in before:
            await do(other, proxy, name, arguments)
        async with watching(storage, poll_interval=SOON) as heard:
            shown = await everything(other)
            for (name, arguments), is_slow in steps:
                await do(other, proxy, name, arguments)
                await asyncio.sleep(SOON if is_slow else 0)
            await other.create_conversation({"id": "last", "user_id": "ada"})
            for change in await heard.until("last"):
                if change.conversation_id is None:
                    assert change.kind == "reconnected"
                elif change.conversation is None:
                    assert change.kind == "deleted"
                    del shown[change.conversation_id]
                else:
                    assert (change.kind == "created") == (change.conversation_id not in shown)
                    shown[change.conversation_id] = change.conversation

            assert shown == await everything(other)
