"""Concurrent calls: the limit is exact, the order is the order of commits, and no call affects another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests import citus
from tests.calls import WRITES, Rows, call, wait_until_blocked, with_settings
from tests.pgbouncer import THROUGH_POOLER
from tests.proxy import Proxy
from tests.worker import Worker, workers
from voltmem import (
    ANY_USER,
    ConversationExistsError,
    ConversationNotFoundError,
    Message,
    PostgresStorage,
)
from voltmem.options import OnLimit

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

T = TypeVar("T")
TASKS = 32
pytestmark = pytest.mark.usefixtures("migrated")
on_each_limit = pytest.mark.parametrize("on_limit", ["delete", "archive"])


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await all concurrently. Returns their results; raises the first error."""
    return await asyncio.gather(*calls)


def text(id: str) -> dict[str, object]:
    return {"id": id, "role": "user", "content": id}


def ids(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def newest(stored: Iterable[tuple[str, datetime]], count: int) -> list[str]:
    """Return the ids of the newest of all returned messages, the oldest of them first."""
    return [id for id, _ in sorted(stored, key=lambda each: each[1])[-count:]]


@pytest.fixture(scope="module")
def processes() -> Iterator[list[Worker]]:
    with workers(4) as processes:
        yield processes


# --- appends ------------------------------------------------------------------------------------------------------


@on_each_limit
async def test_of_many_appends_exactly_the_newest_remain_in_the_order_of_commits(
    make_storage: MakeStorage, on_limit: OnLimit
) -> None:
    """With 32 tasks and a limit of 10, the ten messages that were stored last remain, in the order of their times."""
    storage = make_storage(storage_limit=10, on_limit=on_limit)

    for round in range(6):
        conversation = f"c{round}"
        await storage.create_conversation({"id": conversation, "user_id": "ada"})
        stored = await together(storage.add_message(text(f"m{n}"), "ada", conversation) for n in range(TASKS))

        returned = newest(((message.id, message.created_at) for message in stored), TASKS)
        everything = await storage.get_messages("ada", conversation, limit=None, include_archived=True)
        assert len({message.created_at for message in stored}) == TASKS
        assert ids(await storage.get_messages("ada", conversation, limit=None)) == returned[-10:]
        assert ids(everything) == (returned if on_limit == "archive" else returned[-10:])


async def test_what_a_reader_has_seen_is_only_ever_added_to(make_storage: MakeStorage) -> None:
    """The order of messages is the order of commits: no message appears before one that was read earlier."""
    storage, reader = make_storage(storage_limit=None), make_storage(storage_limit=None)
    await reader.create_conversation({"id": "c1", "user_id": "ada"})
    seen: list[list[str]] = [[]]

    def reads() -> int:
        return len({len(each) for each in seen})

    async def write(writer: int) -> None:
        for n in range(3000):
            if n >= 30 and reads() > 5:
                return
            await storage.add_message(text(f"m{writer}-{n}"), "ada", "c1")

    writers = asyncio.gather(*(write(writer) for writer in range(10)))
    while not writers.done():
        seen.append(ids(await reader.get_messages("ada", "c1")))
    await writers

    for earlier, later in pairwise(seen):
        assert later[: len(earlier)] == earlier
    assert reads() > 5, "it read while others wrote"


@on_each_limit
async def test_of_appends_by_many_processes_exactly_the_newest_remain(
    make_storage: MakeStorage, processes: list[Worker], dsn: str, schema: str, on_limit: OnLimit
) -> None:
    """Four processes, each with a pool of its own, have the same limit and the same order."""
    storage = make_storage()
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    for round in range(3):
        for process in processes:
            names = [f"{processes.index(process)}-{round}-{n}" for n in range(20)]
            process.send("append", dsn, schema=schema, ids=names, storage_limit=10, on_limit=on_limit)
        answers = [await asyncio.to_thread(process.answer) for process in processes]

        stored = [(id, datetime.fromisoformat(moment)) for answer in answers for id, moment in answer]
        everything = await storage.get_messages("ada", "c1", limit=None, include_archived=True)
        assert ids(await storage.get_messages("ada", "c1", limit=None)) == newest(stored, 10)
        assert len(everything) == (10 if on_limit == "delete" else 80 * (round + 1))


async def test_writers_on_several_conversations_do_not_meet(make_storage: MakeStorage) -> None:
    """Each conversation keeps its own newest ten messages, whatever is written to others."""
    storage = make_storage(storage_limit=10)
    conversations = [f"c{n}" for n in range(6)]
    await together(storage.create_conversation({"id": each, "user_id": f"of {each}"}) for each in conversations)

    calls = [
        (each, storage.add_message(text(f"{each}-{n}"), f"of {each}", each))
        for n in range(15)
        for each in conversations
    ]
    stored = await together(append for _, append in calls)

    for each in conversations:
        returned = [(message.id, message.created_at) for message in stored if message.id.startswith(f"{each}-")]
        assert ids(await storage.get_messages(f"of {each}", each, limit=None)) == newest(returned, 10)


@pytest.mark.parametrize("storage_limit", [None, 12])
async def test_batches_are_never_torn_nor_interleaved(make_storage: MakeStorage, storage_limit: int | None) -> None:
    """The messages of one call are adjacent and in order; only the limit removes some, from the oldest end."""
    storage = make_storage(storage_limit=storage_limit)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    batches = await together(
        storage.add_messages([text(f"{batch}-{n}") for n in range(5)], "ada", "c1") for batch in range(16)
    )

    in_order = [id for batch in sorted(batches, key=lambda batch: batch[0].created_at) for id in ids(batch)]
    assert ids(await storage.get_messages("ada", "c1")) == in_order[-(storage_limit or len(in_order)) :]


# --- conversations ------------------------------------------------------------------------------------------------


async def test_ensure_conversation_makes_one_for_all(make_storage: MakeStorage) -> None:
    """Of thirty ensure_conversation() calls over two pools one creates the conversation, and all return it."""
    pools = [make_storage(), make_storage()]

    for round in range(5):
        got = await together(
            pools[n % 2].ensure_conversation({"id": f"c{round}", "user_id": "ada", "title": f"{n}"}) for n in range(30)
        )

        assert got == [await pools[0].get_conversation(f"c{round}")] * 30
    assert await pools[0].count_conversations() == 5


async def test_create_conversation_has_one_winner(make_storage: MakeStorage) -> None:
    """Of thirty create_conversation() calls over two pools one succeeds, and the others raise that it exists."""
    pools = [make_storage(), make_storage()]

    for round in range(5):
        outcomes = await asyncio.gather(
            *(pools[n % 2].create_conversation({"id": f"c{round}", "user_id": f"{n}"}) for n in range(30)),
            return_exceptions=True,
        )

        assert Counter(type(outcome).__name__ for outcome in outcomes) == {
            "Conversation": 1,
            ConversationExistsError.__name__: 29,
        }
        assert await pools[0].get_conversation(f"c{round}") in outcomes


async def test_open_happens_once_for_many_tasks(make_storage: MakeStorage, proxy: Proxy) -> None:
    """open() by fifty concurrent tasks opens one pool, with its number of connections."""
    storage = make_storage(proxy.dsn, max_connections=4)

    stored = await together(storage.ensure_conversation({"id": "c1", "user_id": "ada"}) for _ in range(50))

    assert len(stored) == 50
    assert 1 <= proxy.connections <= 4


async def test_delete_conversation_under_its_writers_leaves_nothing(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """delete_conversation() deletes the messages of concurrent writers, or their calls raise not found."""
    storage = make_storage()
    met = Counter[str]()

    async def delete_after(loops: int) -> bool:
        for _ in range(loops):
            await asyncio.sleep(0)
        return await storage.delete_conversation("c1")

    for round in range(16):
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        writers = [storage.add_message(text(f"m{n}"), "ada", "c1") for n in range(12)]
        outcomes = await asyncio.gather(*writers[:6], delete_after(round), *writers[6:], return_exceptions=True)
        met += Counter(type(outcome).__name__ for outcome in outcomes)

        assert outcomes.pop(6) is True
        assert not any((await Rows(connection, schema).all()).values())
    in_time = {Message.__name__} if citus.DSN is None else set(met) & {Message.__name__}  # there a deletion is faster
    assert set(met) == {*in_time, "bool", ConversationNotFoundError.__name__}


async def test_ensure_conversation_under_deletions_ends_well(make_storage: MakeStorage) -> None:
    """ensure_conversation() concurrent with deletions of the same conversation raises no error."""
    storage = make_storage()

    for _ in range(5):
        made = [storage.ensure_conversation({"id": "c1", "user_id": "ada"}) for _ in range(10)]
        await together([*made, *(storage.delete_conversation("c1") for _ in range(10))])


# --- after waiting for a lock -------------------------------------------------------------------------------------

DROPS: dict[str, Callable[[PostgresStorage], Awaitable[int]]] = {
    "rewind_conversation": lambda storage: storage.rewind_conversation("c1", "question", owner="ada"),
    "clear_messages of a conversation": lambda storage: storage.clear_messages("ada", "c1"),
    "clear_messages of a user": lambda storage: storage.clear_messages("ada"),
    "delete_messages": lambda storage: storage.delete_messages(["question", "late"], "ada", "c1"),
}


@pytest.mark.parametrize("name", DROPS)
async def test_what_was_stored_during_the_wait_is_dropped_too(
    storage: PostgresStorage, connection: Connection, name: str
) -> None:
    """A deletion that waited for a writer also deletes the message that was stored meanwhile."""
    await storage.conversation("ada", "c1").add(text("question"))

    async with storage.transaction() as tx:
        await tx.add_message(text("late"), "ada", "c1")
        dropping = asyncio.ensure_future(DROPS[name](storage))
        await wait_until_blocked(connection, tx.connection)

    assert await dropping == (1 if name == "rewind_conversation" else 2)
    assert ids(await storage.get_messages("ada", "c1")) == (["question"] if name == "rewind_conversation" else [])


async def test_what_was_said_while_a_conversation_was_given_away_is_found_by_its_new_user(
    make_storage: MakeStorage, connection: Connection
) -> None:
    """A message that is being stored while its conversation is given away is indexed for the new user."""
    storage = make_storage(search=True)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    async with storage.transaction() as tx:
        await tx.add_message({"role": "user", "content": "xylophone"}, "ada", "c1")
        await tx.update_conversation("c1", user_id="eve")
        giving = asyncio.create_task(storage.update_conversation("c1", user_id="bob", title="Trip", touch=False))
        await wait_until_blocked(connection, tx.connection)

    assert ((await giving).user_id, (await giving).title) == ("bob", "Trip")
    found = {user: len((await storage.search(user, "xylophone")).hits) for user in ("ada", "eve", "bob")}
    assert found == {"ada": 0, "eve": 0, "bob": 1}


# --- deadlocks ----------------------------------------------------------------------------------------------------


async def test_writes_that_lock_each_others_rows_end_without_an_error(make_storage: MakeStorage, dsn: str) -> None:
    """Concurrent appends that replace and prune, deletions and clearings of the same messages all succeed."""
    # Deadlocks are checked for after 20 ms instead of a second, which no connection string says to a pooler.
    storage = make_storage(dsn if THROUGH_POOLER else with_settings(dsn, deadlock_timeout="20ms"), storage_limit=5)
    for conversation in ("c1", "c2"):
        await storage.create_conversation({"id": conversation, "user_id": "ada"})
    names = [f"m{n}" for n in range(10)]

    for _ in range(4):
        for conversation in ("c1", "c2"):
            backwards, forwards = [text(each) for each in reversed(names)], [text(each) for each in names]
            await together(
                [
                    *(storage.add_messages(backwards, "ada", conversation) for _ in range(4)),
                    *(storage.add_messages(forwards, "ada", conversation) for _ in range(4)),
                ]
            )
            outcomes = await asyncio.gather(
                *(storage.add_messages(backwards, "ada", conversation) for _ in range(4)),
                *(storage.delete_messages(names, "ada", conversation) for _ in range(4)),
                *(storage.clear_messages("ada") for _ in range(2)),
                *(storage.clear_messages(ANY_USER, conversation) for _ in range(2)),
                *(storage.add_message(text(each), "ada", conversation) for each in names),
                return_exceptions=True,
            )
            assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
            assert len(await storage.get_messages("ada", conversation, limit=None)) <= 5


@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "55P03"], ids=["deadlock", "serialization", "lock"])
@pytest.mark.parametrize("name", sorted(WRITES))
async def test_a_write_that_was_undone_is_tried_again(
    make_storage: MakeStorage, connection: Connection, schema: str, name: str, sqlstate: str
) -> None:
    """A write that PostgreSQL rolled back because of another one is repeated, and succeeds."""
    storage = make_storage()
    await storage.open()
    rows = Rows(connection, schema)
    await rows.seed()
    await call(storage, name)
    expected = await rows.all()
    await rows.seed()
    await rows.fail(sqlstate, times=2)

    await call(storage, name)

    assert await rows.all() == expected


async def test_the_victim_of_a_deadlock_is_tried_again(
    make_storage: MakeStorage, connection: Connection, dsn: str, schema: str
) -> None:
    """An append that PostgreSQL cancels as the victim of a deadlock is repeated, and succeeds."""
    # A session checks for a deadlock once, after this time: there is one by then.
    storage = make_storage(with_settings(dsn, deadlock_timeout="3s"), storage_limit=3)
    await storage.open()
    rows = Rows(connection, schema)
    await rows.seed()

    async with connection.transaction():
        await connection.execute(f"SET LOCAL deadlock_timeout = '30s'; {lock(rows.messages, 'message_id', 'm1')}")
        append = asyncio.create_task(call(storage, "add_message"))  # holds the lock of c1, and is going to delete m1
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_sleep(0.005), pg_locks "
            "WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        ):
            assert not append.done()
        await connection.execute(lock(rows.conversations, "id", "c1"))

    assert isinstance(await append, Message)
    assert ids(await storage.get_messages("ada", "c1")) == ["m2", "m3", "m4"]


def lock(table: str, key: str, value: str) -> str:
    return f"SELECT FROM {table} WHERE {key} = '{value}' FOR UPDATE"
