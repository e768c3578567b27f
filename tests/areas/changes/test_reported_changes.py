"""Each committed write is reported to the watchers of its user, and to no others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.areas.changes.watching import INTERVAL, PATIENCE, SOON, is_polling, rows_of_watchers, watching
from tests.calls import WRITES, Rows, call, with_settings
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from tests.proxy import Proxy
from voltmem import ANY_USER, ConversationItem, Message, PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem._postgres.listening import channel
from voltmem._values import user_key
from voltmem.testing import server

# --- reported changes ------------------------------------------------------------------------------------------------


async def test_watch_yields_each_kind_of_change_with_the_item_of_the_list(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """watch() yields the writes of another storage, with an item equal to that of the list."""
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

    async with watching(storage) as recorder:
        for kind, step in steps:
            await step()
            change = await recorder.next()

            shown = (await other.list_conversations("ada")).items
            assert (change.kind, change.conversation_id) == (kind, "c1")
            assert change.conversation == next(iter(shown), None)


Listed = dict[str, tuple[ConversationItem, list[Message]]]


async def listed(storage: PostgresStorage) -> Listed:
    """Return the items that a sidebar can show of ada's conversations, by id."""
    items = [
        item
        for archived in (False, True)
        for item in (await storage.list_conversations("ada", archived=archived)).items
    ]
    return {item.id: (item, await storage.get_messages("ada", item.id)) for item in items}


async def memories(storage: PostgresStorage) -> dict[str | None, str | None]:
    """Return the working memories of ada and of the conversations that a sidebar can show of hers."""
    ids = [None, *await listed(storage)]
    found = [(id, await storage.working_memory("ada", id).get()) for id in ids]
    return {id: None if memory is None else memory.content for id, memory in found}


def differences(before: Listed, after: Listed) -> set[tuple[str, str | None]]:
    """Return the changes between two lists, as pairs of kind and id."""
    found: set[tuple[str, str | None]] = {("created", id) for id in after.keys() - before.keys()}
    found |= {("deleted", id) for id in before.keys() - after.keys()}
    for id in before.keys() & after.keys():
        if before[id] != after[id]:
            known = {message.id for message in before[id][1]}
            is_new = any(message.id not in known for message in after[id][1][-1:])
            found.add(("message-added" if is_new else "updated", id))
    return found


@pytest.mark.parametrize("name", sorted(WRITES))
async def test_every_write_reports_what_the_list_shows_otherwise(
    name: str, seeded: str, dsn: str, connection: Connection
) -> None:
    """Each verb reports at once, by notification, exactly the differences in the list of its user."""
    await Rows(connection, seeded).seed()
    async with (
        PostgresStorage(dsn, schema=seeded) as storage,
        PostgresStorage(dsn, schema=seeded) as other,
        watching(storage) as recorder,
    ):
        before, written = await listed(other), await memories(other)

        await call(other, name)

        changes = differences(before, await listed(other))
        now = await memories(other)
        changes |= {("memory-changed", id) for id, text in now.items() if text != written.get(id)}
        assert {await recorder.pair() for _ in changes} == changes
        if not changes:
            await other.create_conversation({"id": "last", "user_id": "ada"})
            assert await recorder.pair() == ("created", "last")


# The writes of agents and adapters to a conversation that has messages and a payload.
OF_AGENTS: Mapping[str, Callable[[NativeMemory], Awaitable[object]]] = {
    "clear": lambda memory: memory.clear(),
    "title": lambda memory: memory.title("Named"),
    "pop": lambda memory: memory.pop(),
    "save_payload": lambda memory: memory.save_payload({"n": 2}, "a framework"),
    "save_payload without a touch": lambda memory: memory.save_payload({"n": 2}, "a framework", touch=False),
}


@pytest.mark.parametrize("name", OF_AGENTS)
async def test_writes_of_agents_and_adapters_are_reported(
    name: str, storage: PostgresStorage, other: PostgresStorage
) -> None:
    """The writes of agents and adapters are reported, even if the conversation keeps its place in the list."""
    memory = NativeMemory(other, "ada", "c1")
    await memory.add({"id": "m1", "role": "user", "content": "one"})
    await memory.save_payload({"n": 1}, "a framework")

    async with watching(storage) as recorder:
        await OF_AGENTS[name](memory)

        assert await recorder.pair() == ("updated", "c1")


async def test_clear_messages_is_reported_for_conversations_that_had_some(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """clear_messages() of a user is reported for the conversations that had messages, and for no others."""
    for name in ("c1", "c2", "c3"):
        await other.create_conversation({"id": name, "user_id": "ada"})
    await other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c2")

    async with watching(storage) as recorder:
        assert await other.clear_messages("ada") == 1
        assert await recorder.pair() == ("updated", "c2")
        await other.pin_conversation("c1")
        assert await recorder.pair() == ("updated", "c1")


async def test_delete_messages_of_nothing_is_not_reported(storage: PostgresStorage, other: PostgresStorage) -> None:
    """delete_messages() of missing messages, or of another user's, reports no change."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c1")

    async with watching(storage) as recorder:
        assert await other.delete_messages(["m9"], "ada", "c1") == 0
        assert await other.clear_messages("bob", "c1") == 0
        assert await other.rewind_conversation("c1", "m1") == 0
        await other.create_conversation({"id": "c2", "user_id": "ada"})

        assert await recorder.pair() == ("created", "c2")


async def test_delete_messages_keeps_the_conversation_in_its_place(storage: PostgresStorage) -> None:
    """delete_messages() writes the row of the conversation to notify watchers, and its updated_at does not change."""
    for number in range(3):
        await storage.create_conversation({"id": f"c{number}", "user_id": "ada"})
        await storage.add_messages([{"id": f"m{n}", "role": "user", "content": "x"} for n in range(4)], "ada", "c0")
    before = [(item.id, item.updated_at) for item in (await storage.list_conversations("ada")).items]

    assert await storage.delete_messages(["m0", "m9"], "ada", "c0") == 1
    assert await storage.rewind_conversation("c0", "m2") == 1
    assert await storage.clear_messages(ANY_USER, "c0") == 2
    assert await storage.clear_messages("ada") == 0

    assert [(item.id, item.updated_at) for item in (await storage.list_conversations("ada")).items] == before


async def test_a_deletion_that_waits_for_a_writer_is_done_and_reported(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """A deletion that waited for a writer keeps the row that the writer committed, and is reported."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await other.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c1")

    async with watching(storage) as recorder:
        async with other.transaction() as tx:
            await tx.pin_conversation("c1")
            deleting = asyncio.create_task(other.delete_messages(["m1"], "ada", "c1"))
            await asyncio.sleep(SOON)
        assert await deleting == 1

        changes = [await recorder.next()]
        while changes[-1].conversation is not None and changes[-1].conversation.preview is not None:
            changes.append(await recorder.next())
        last = changes[-1].conversation
        assert last is not None
        assert (last.pinned, last.updated_at) == (True, changes[0].conversation and changes[0].conversation.updated_at)


async def test_watch_yields_nothing_of_another_user(storage: PostgresStorage, other: PostgresStorage) -> None:
    """watch() of bob yields nothing of ada."""
    async with watching(storage, "bob") as recorder, watching(storage, "ada") as adas:
        await other.create_conversation({"id": "a1", "user_id": "ada"})
        await other.add_message({"role": "user", "content": "Hello"}, "ada", "a1")
        await other.create_conversation({"id": "b1", "user_id": "bob"})

        assert await recorder.pair() == ("created", "b1")
        assert (await adas.next()).conversation_id == "a1"


async def test_a_conversation_that_is_given_away_is_reported_to_both_users(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """A conversation that is given away is reported as deleted to the one user and as created to the other."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})

    async with watching(storage, "ada") as adas, watching(storage, "bob") as bobs:
        await other.update_conversation("c1", user_id="bob")

        assert await adas.pair() == ("deleted", "c1")
        assert await bobs.pair() == ("created", "c1")


async def test_watch_yields_only_what_is_committed(storage: PostgresStorage, other: PostgresStorage) -> None:
    """watch() yields a transaction's changes together at its commit, and never those of a rollback."""
    async with watching(storage) as recorder:
        with suppress(ZeroDivisionError):
            async with other.transaction() as tx:
                await tx.create_conversation({"id": "undone", "user_id": "ada"})
                raise ZeroDivisionError
        async with other.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})
            await tx.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
            await tx.pin_conversation("c1")

        change = await recorder.next()
        assert (change.kind, change.conversation_id) == ("created", "c1")
        assert change.conversation is not None
        assert (change.conversation.pinned, change.conversation.preview) == (True, "Hello")


async def test_for_user_watches_its_user(storage: PostgresStorage, other: PostgresStorage) -> None:
    """for_user() has watch() without a user_id, and yields no other user's changes."""
    changes = storage.for_user("ada").watch(poll_interval=INTERVAL)
    async with aclosing(changes):
        assert (await anext(changes)).kind == "ready"
        await other.create_conversation({"id": "b1", "user_id": "bob"})
        await other.create_conversation({"id": "c1", "user_id": "ada"})

        async with asyncio.timeout(PATIENCE):
            assert (await anext(changes)).conversation_id == "c1"


@pytest.mark.backend("behind a pooler it polls, here twenty times a second")
async def test_writes_that_come_together_are_looked_at_together(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """Whatever the number of notifications, a watcher queries at most ten times a second."""
    storage = make_storage(proxy.dsn)
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    time = asyncio.get_running_loop().time

    async with watching(storage) as recorder:
        began, before = time(), proxy.round_trips
        for number in range(300):
            await other.add_message({"role": "user", "content": f"{number}"}, "ada", "c1")
        await other.create_conversation({"id": "last", "user_id": "ada"})
        await recorder.until("last")

        assert proxy.round_trips - before <= (time() - began) / 0.1 + 2


async def test_iterators_of_one_user_share_a_query(
    proxy: Proxy, make_storage: MakeStorage, other: PostgresStorage
) -> None:
    """Fifty iterators over one user's changes cost the queries of one, and each is given each change."""
    storage = make_storage(proxy.dsn)
    await other.create_conversation({"id": "c1", "user_id": "ada"})

    async with AsyncExitStack() as stack:
        recorders = [await stack.enter_async_context(watching(storage)) for _ in range(50)]
        before = proxy.round_trips
        await other.create_conversation({"id": "c2", "user_id": "ada"})
        for recorder in recorders:
            await recorder.until("c2")

        assert proxy.round_trips - before < 10


async def test_a_slow_iterator_is_given_the_last_state(storage: PostgresStorage, other: PostgresStorage) -> None:
    """For an iterator that is slow, the changes of a conversation become one: the kind says what is new for it."""
    async with aclosing(storage.watch("ada")) as slow, watching(storage) as recorder:
        assert (await anext(slow)).kind == "ready"
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        await recorder.until("c1")
        await other.add_message({"role": "user", "content": "Hi"}, "ada", "c1")
        await other.pin_conversation("c1")
        await other.create_conversation({"id": "c2", "user_id": "ada"})
        await recorder.until("c2")
        await other.delete_conversation("c2")
        await other.create_conversation({"id": "c3", "user_id": "ada"})
        await recorder.until("c3")
        first, *others = [await anext(slow) for _ in range(3)]

        assert (first.kind, first.conversation_id, first.conversation is not None) == ("created", "c1", True)
        assert first.conversation == await storage.get_conversation_item("c1")
        assert [(each.kind, each.conversation_id) for each in others] == [("deleted", "c2"), ("created", "c3")]


# --- recipients of notifications -------------------------------------------------------------------------------------


@pytest.fixture
async def notifications(storage: PostgresStorage, connection: Connection) -> asyncio.Queue[str]:
    """The payloads of all notifications that are sent to watchers of the test's tables."""
    payloads: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener(
        channel(storage._options.tables), lambda _, __, ___, payload: payloads.put_nowait(str(payload))
    )
    return payloads


async def sent(connection: Connection, notifications: asyncio.Queue[str]) -> list[str]:
    """Return the payloads that have arrived: all that were sent before the answer to the query made here."""
    await connection.execute("SELECT 1")
    return [notifications.get_nowait() for _ in range(notifications.qsize())]


@pytest.mark.backend("LISTEN")
async def test_users_without_watchers_cause_no_notification(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection, notifications: asyncio.Queue[str]
) -> None:
    """A write notifies only while its user is watched: not before the first watcher, and not after the last."""
    await other.create_conversation({"id": "a1", "user_id": "ada"})
    assert await sent(connection, notifications) == []

    async with watching(storage):
        await sent(connection, notifications)  # the check that notifications arrive
        await other.create_conversation({"id": "b1", "user_id": "bob"})
        assert await sent(connection, notifications) == []
        await other.pin_conversation("a1")
        assert await sent(connection, notifications) == [user_key("ada")]

    await other.pin_conversation("a1", False)
    assert await sent(connection, notifications) == []


@pytest.mark.backend("LISTEN")
async def test_the_row_of_a_killed_watcher_expires(
    storage: PostgresStorage, connection: Connection, notifications: asyncio.Queue[str]
) -> None:
    """The row of a watcher whose process was killed expires, and the next watcher of any user deletes it."""
    await connection.execute(
        f"INSERT INTO {storage._options.tables.watchers} VALUES ('ada', 'killed', now() - interval '1 second')"
    )

    await storage.create_conversation({"id": "a1", "user_id": "ada"})

    assert await sent(connection, notifications) == []
    async with watching(storage, "bob"):
        assert [row["user_id"] for row in await rows_of_watchers(storage)] == ["bob"]


@pytest.mark.backend("LISTEN")
async def test_delete_user_leaves_no_row_of_a_watcher(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection
) -> None:
    """delete_user() deletes the rows of watchers, also of those that are gone; the running ones are notified."""
    await other.create_conversation({"id": "c1", "user_id": "ada"})
    await connection.execute(
        f"INSERT INTO {storage._options.tables.watchers} VALUES ('ada', 'killed', now() + interval '1 minute')"
    )

    async with watching(storage) as recorder, watching(storage, "bob"):
        await other.delete_user("ada")
        assert "killed" not in [row["listener"] for row in await rows_of_watchers(other)]
        assert await recorder.pair() == ("deleted", "c1")


@pytest.mark.backend("LISTEN")
async def test_a_user_who_comes_back_after_delete_user_is_watched(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    """What a deleted user does next is notified: to those who watched, to others who join, and to later ones."""
    async with watching(storage, "bob"):
        async with watching(storage) as recorder:
            await other.ensure_conversation({"id": "c1", "user_id": "ada"})
            assert await recorder.pair() == ("created", "c1")
            await other.delete_user("ada")
            await other.ensure_conversation({"id": "c2", "user_id": "ada"})
            assert await recorder.until("c2")
            async with watching(storage) as second:
                await other.ensure_conversation({"id": "c3", "user_id": "ada"})
                assert await second.pair() == ("created", "c3")
        await other.delete_user("ada")
        async with watching(storage) as later:
            await other.ensure_conversation({"id": "c4", "user_id": "ada"})
            assert await later.pair() == ("created", "c4")


@pytest.mark.backend("LISTEN")
async def test_the_rows_of_watchers_are_renewed(
    storage: PostgresStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of watchers that were lost, as in a crash of the server, are back with the next renewal."""
    monkeypatch.setattr("voltmem._postgres.listening._RENEWED_EVERY", SOON)

    async with watching(storage) as recorder:
        await other._executor.execute(f"DELETE FROM {storage._options.tables.watchers}")
        async with asyncio.timeout(PATIENCE):
            while not await rows_of_watchers(other):
                pass
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")


async def test_a_change_without_a_notification_is_found_all_the_same(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change without a notification is found by the periodic query."""
    monkeypatch.setattr("voltmem._postgres.listening._LOOK_ANYWAY", SOON)

    async with watching(storage) as recorder:
        await connection.execute(f"ALTER TABLE {storage._options.tables.conversations} DISABLE TRIGGER USER")
        await other.create_conversation({"id": "c1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "c1")


async def test_two_prefixes_hear_nothing_of_each_other(make_storage: MakeStorage, storage: PostgresStorage) -> None:
    """Each schema and prefix has a channel of its own, whatever their names are."""
    twin = make_storage(table_prefix="twin")

    assert channel(twin._options.tables) != channel(storage._options.tables)
    assert len(channel(make_storage(table_prefix="x" * 33)._options.tables)) < 64
    async with watching(twin) as recorder:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await twin.create_conversation({"id": "t1", "user_id": "ada"})
        assert await recorder.pair() == ("created", "t1")


async def test_a_writer_needs_no_privilege_on_the_watchers(
    storage: PostgresStorage, dsn: str, schema: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """
    A role without a privilege on the table of watchers can write, and its writes are reported.

    To watch, it polls.
    """
    tables = storage._options.tables
    await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO pg_monitor")
    await connection.execute(f"GRANT SELECT ON {tables.user_memory}, {tables.conversation_memory} TO pg_monitor")
    for table in (tables.conversations, tables.messages):
        await connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO pg_monitor")
    writer = make_storage(with_settings(dsn, role="pg_monitor"), migrate="off")

    async with watching(storage) as recorder, watching(writer, poll_interval=SOON) as polled:
        assert is_polling(writer)
        await writer.create_conversation({"id": "c1", "user_id": "ada"})

        assert await recorder.pair() == ("created", "c1")
        assert await polled.pair() == ("created", "c1")


# --- in general ------------------------------------------------------------------------------------------------------

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
    with suppress(LookupError, ValueError):  # the conversation is missing, or exists already
        await getattr(ada, name)(**arguments)


@examples(40)
@given(before=st.lists(STEPS, max_size=6), steps=st.lists(st.tuples(STEPS, FLAGS), max_size=12))
def test_a_list_that_follows_the_changes_is_the_list(seeded: str, before: list[Any], steps: list[Any]) -> None:
    """After any writes and lost connections, the list at "ready" with the changes applied equals the current list."""
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
        async with watching(storage, poll_interval=SOON) as recorder:
            shown = await everything(other)
            for (name, arguments), is_slow in steps:
                await do(other, proxy, name, arguments)
                await asyncio.sleep(SOON if is_slow else 0)
            await other.create_conversation({"id": "last", "user_id": "ada"})
            for change in await recorder.until("last"):
                if change.conversation_id is None:
                    assert change.kind == "reconnected"
                elif change.conversation is None:
                    assert change.kind == "deleted"
                    del shown[change.conversation_id]
                else:
                    assert (change.kind == "created") == (change.conversation_id not in shown)
                    shown[change.conversation_id] = change.conversation

            assert shown == await everything(other)
