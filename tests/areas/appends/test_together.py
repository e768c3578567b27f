"""Concurrent messages are sent together, in few statements, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.areas.appends.sending import (
    Fields,
    by_conversation,
    found,
    ids,
    lock,
    make_conversations,
    spread,
    start,
    stored,
    text,
)
from tests.calls import LONG_AGO, PATIENCE, Rows, wait_until_blocked, waiting_for
from tests.properties import examples
from tests.proxy import Proxy
from voltmem import ANY_USER, Message, PostgresStorage
from voltmem._areas.append_statement import Append
from voltmem._areas.appends import BatchedAppends
from voltmem.models import Owner
from voltmem.options import OnLimit

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements that were sent: the ids of the messages in each."""
    statements: list[list[str]] = []
    original = BatchedAppends._send

    async def send(self: BatchedAppends, appends: Sequence[Append], *, waits_for_locks: bool) -> Any:
        statements.append([message.id for append in appends for message in append.messages])
        return await original(self, appends, waits_for_locks=waits_for_locks)

    monkeypatch.setattr(BatchedAppends, "_send", send)
    return statements


# --- together as one at a time ---------------------------------------------------------------------------------------

OWNERS: Final = {"a1": "ada", "a2": "ada", "b1": "bob", "b2": "bob"}
MISSING: Final = ["x1", "x2"]
# The last one is ahead of the database's clock, by less than a day.
TIMES: Final = [*(datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2002)), datetime.now(UTC) + timedelta(hours=12)]


@dataclass(frozen=True)
class Call:
    """One call of add_message, or of add_messages."""

    conversation_id: str
    user_id: Owner
    messages: list[Message]

    async def on(self, storage: PostgresStorage) -> object:
        """Make the call. Returns the part of its outcome that does not depend on when it is made."""
        try:
            if len(self.messages) == 1:
                answers = [await storage.add_message(self.messages[0], self.user_id, self.conversation_id)]
            else:
                answers = await storage.add_messages(self.messages, self.user_id, self.conversation_id)
        except Exception as error:
            return type(error), str(error)
        return [(answer.id, answer.content) for answer in answers]


messages: st.SearchStrategy[Message] = st.builds(
    lambda fields: Message(**fields),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "tool"]), "content": st.integers(0, 999) | st.sampled_from(["", "{", "hi"])},
        optional={"id": st.sampled_from(["m1", "m2", "m3", "m4"]), "created_at": st.sampled_from(TIMES)},
    ),
)
# One conversation is called more often than the others, so that its queue gets long.
calls = st.builds(
    Call,
    st.sampled_from(["a1", "a1", "a1", *OWNERS, *MISSING]),
    st.sampled_from([ANY_USER, ANY_USER, "ada", "ada", "bob"]),
    st.lists(messages, min_size=1, max_size=1) | st.lists(messages, max_size=4),
)


async def refill(rows: Rows, connection: Connection) -> None:
    """Delete the messages, but not the conversations: far cheaper than new tables for each example."""
    owners = ", ".join(f"('{id}', '{owner}')" for id, owner in OWNERS.items())
    await connection.execute(f"""
        DELETE FROM {rows.conversations};
        INSERT INTO {rows.conversations} (id, user_id, resource_id, title, created_at, updated_at)
        SELECT id, user_id, 'docs', '', '{LONG_AGO}', '{LONG_AGO}' FROM (VALUES {owners}) AS v (id, user_id)""")


async def all_at_once(storage: PostgresStorage, calls: list[Call]) -> list[object]:
    return await asyncio.gather(*(call.on(storage) for call in calls))


async def all_while_locked(
    storage: PostgresStorage, calls: list[Call], connection: Connection, rows: Rows
) -> list[object]:
    """Make the calls while all conversations are locked, until at least one statement waits for a lock."""
    async with connection.transaction():
        await connection.execute(f"SELECT FROM {rows.conversations} FOR UPDATE")
        answers = asyncio.create_task(all_at_once(storage, calls))
        while not answers.done() and not await waiting_for(connection, connection.get_server_pid()):
            pass
    return await answers


@pytest.mark.parametrize(
    ("storage_limit", "on_limit"),
    [(None, "delete"), (0, "delete"), (1, "delete"), (3, "delete"), (1, "archive"), (3, "archive")],
)
@examples(40)
@given(calls=st.lists(calls, max_size=30), locked=st.booleans())
async def test_calls_that_come_together_have_the_outcome_of_one_at_a_time(
    make_storage: MakeStorage,
    connection: Connection,
    schema: str,
    storages: dict[str, PostgresStorage],
    storage_limit: int | None,
    on_limit: OnLimit,
    calls: list[Call],
    locked: bool,
) -> None:
    """Each call and each conversation has the same outcome as if the calls had been made one at a time."""
    for prefix in ("together", "one_by_one"):
        if prefix not in storages:
            storages[prefix] = make_storage(table_prefix=prefix, storage_limit=storage_limit, on_limit=on_limit)
            await storages[prefix].open()
    together, one_by_one = (Rows(connection, schema, prefix) for prefix in storages)
    await refill(together, connection)
    await refill(one_by_one, connection)

    expected = [await call.on(storages["one_by_one"]) for call in calls]
    if locked:
        outcomes_together = await all_while_locked(storages["together"], calls, connection, together)
    else:
        outcomes_together = await all_at_once(storages["together"], calls)

    assert outcomes_together == expected
    assert await together.all() == await one_by_one.all()


@pytest.fixture
def storages() -> dict[str, PostgresStorage]:
    """The two storages of a property test, by prefix. The first example creates them."""
    return {}


# The limit is one. If one statement pruned once at its end, the second message would remain.
FORGOTTEN: Final[dict[str, tuple[OnLimit, list[Fields]]]] = {
    "an id that was deleted": ("delete", [text("m1"), text("m2"), text("m1")]),
    **{
        f"an id that goes back in time, {on_limit}": (
            on_limit,
            [
                {**text("m1"), "created_at": TIMES[2]},
                {**text("m2"), "created_at": TIMES[1]},
                {**text("m1"), "created_at": TIMES[0]},
            ],
        )
        for on_limit in get_args(OnLimit)
    },
}


@pytest.mark.parametrize(("on_limit", "given_messages"), FORGOTTEN.values(), ids=FORGOTTEN)
async def test_the_limit_holds_between_two_calls_of_one_statement(
    make_storage: MakeStorage, connection: Connection, schema: str, on_limit: OnLimit, given_messages: list[Fields]
) -> None:
    """The limit is applied after each of the calls that wait in one queue, as if they were made one at a time."""
    storage = make_storage(storage_limit=1, on_limit=on_limit)
    await make_conversations(storage, 1)
    for message in given_messages:
        await storage.add_message(message, "ada", "c0")
    one_at_a_time = await found(storage, "c0")
    await storage.clear_messages("ada")

    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks = [asyncio.create_task(storage.add_message(message, "ada", "c0")) for message in given_messages]
        await wait_until_blocked(connection)

    assert await stored(tasks) == [message["id"] for message in given_messages]
    assert await found(storage, "c0") == one_at_a_time


# --- few statements --------------------------------------------------------------------------------------------------


async def test_calls_that_come_together_travel_in_few_statements(make_storage: MakeStorage, proxy: Proxy) -> None:
    """Sixty-four calls for as many conversations take a few round trips; a single call takes one."""
    storage = make_storage(proxy.dsn, max_connections=2)
    names = await make_conversations(storage, 64)
    for id in ("prepared", "prepared again"):
        await stored(start(storage, [(name, id) for name in names]))

    proxy.round_trips = 0
    await stored(start(storage, [(name, "m1") for name in names]))
    together, proxy.round_trips = proxy.round_trips, 0
    await storage.add_message(text("m2"), "ada", "c0")

    assert together <= 8
    assert proxy.round_trips == 1


async def test_calls_for_one_conversation_travel_in_few_statements(
    storage: PostgresStorage, sent: list[list[str]]
) -> None:
    """The calls in the queue of one conversation are sent together, too."""
    await stored(start(storage, spread(200, ["c0"])))

    assert len(sent) <= 8


async def test_a_statement_takes_so_many_and_no_more(make_storage: MakeStorage, sent: list[list[str]]) -> None:
    """Fifteen hundred calls for as many conversations are sent in statements of at most 500, without losing any."""
    storage = make_storage()
    await storage.open()
    async with storage.transaction() as tx:
        names = await make_conversations(tx, 1500)
    calls = [(name, f"of {name}") for name in names]

    await stored(start(storage, calls))

    assert max(map(len, sent)) == 500
    assert sorted(id for statement in sent for id in statement) == sorted(id for _, id in calls)


async def test_a_call_with_more_than_a_statement_takes_is_one_statement(
    storage: PostgresStorage, sent: list[list[str]]
) -> None:
    """Seven hundred messages of one call are sent in one statement, after the calls before it."""
    batch = [f"b{number}" for number in range(700)]

    before = start(storage, [("c0", "before")])
    in_one = asyncio.create_task(storage.add_messages(map(text, batch), "ada", "c0"))
    await stored([*before, *start(storage, [("c0", "after")])])

    assert ids(await in_one) == batch
    assert await found(storage, "c0") == ["before", *batch, "after"]
    assert [len(batch) for statement in sent if set(batch) <= set(statement)] == [700]


# --- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True], ids=["one conversation", "mixed with others"])
async def test_the_order_of_calls_is_the_order_of_messages(storage: PostgresStorage, mixed: bool) -> None:
    """Two hundred calls for one conversation are stored in the order in which they were made."""
    calls = spread(1000, ["c0", "c1", "c2", "c0", "c3"]) if mixed else spread(200, ["c0"])

    await stored(start(storage, calls))

    for conversation, called in by_conversation(calls).items():
        assert await found(storage, conversation) == called


async def test_the_order_of_calls_is_kept_when_the_conversation_is_locked_for_a_while(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """The conversation is locked in the middle of two hundred calls for it: their order does not change."""
    calls = spread(400, ["c0", "c1"])
    tasks = start(storage, calls[:200])
    await tasks[0]

    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks += start(storage, calls[200:])
        await wait_until_blocked(connection)
        tasks += start(storage, [("c0", "the last")])
        await stored(tasks[1:400:2])
        assert not tasks[-1].done()

    await stored(tasks)
    assert await found(storage, "c0") == [*by_conversation(calls)["c0"], "the last"]
    assert await found(storage, "c1") == by_conversation(calls)["c1"]


async def test_the_order_of_calls_holds_from_the_first_use_on(
    storage: PostgresStorage, make_storage: MakeStorage
) -> None:
    """Calls that wait until the storage is open are stored before calls that are made after that."""
    opening = make_storage(storage_limit=None)
    calls = spread(50, ["c0"])
    opened = asyncio.create_task(opening.open())
    tasks = start(opening, calls)
    await opened

    await stored([*tasks, *start(opening, [("c0", "last")])])

    assert await found(storage, "c0") == [*(id for _, id in calls), "last"]


# --- memory ----------------------------------------------------------------------------------------------------------


async def test_rows_are_made_for_what_leaves_only(behind_proxy: PostgresStorage, proxy: Proxy) -> None:
    """On a connection that hangs, two thousand calls wait unconverted; their rows are made when they are sent."""
    proxy.hang()
    calls = spread(2000, [f"c{number}" for number in range(10)])
    tasks = start(behind_proxy, calls)
    await proxy.something_held()

    batches = behind_proxy._batches
    waiting = [append for queue in batches._queues.values() for append in queue]
    under_way = [append for statement in batches._running.values() for append in statement.appends]
    assert len(waiting) + len(under_way) == 2000
    assert 0 < len(under_way) <= 1000
    assert all(append.rows for append in under_way)
    assert not any(append.rows for append in waiting)
    del waiting, under_way

    proxy.flow()
    assert await stored(tasks) == [id for _, id in calls]
    assert (batches._queues, batches._running) == ({}, {})


@pytest.mark.parametrize("turns", range(6))
async def test_calls_go_on_after_all_tasks_were_cancelled(storage: PostgresStorage, turns: int) -> None:
    """After an application has cancelled every task at its end, it can still store messages."""
    start(storage, [(f"c{number % 3}", f"m{number}") for number in range(30)])
    for _ in range(turns):
        await asyncio.sleep(0)

    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others)

    async with asyncio.timeout(PATIENCE):
        assert (await storage.add_message(text("last"), "ada", "c1")).id == "last"


async def test_a_call_alone_makes_no_task(make_storage: MakeStorage) -> None:
    """A call without others is sent in the caller's task, and gives its connection back there; so does a read."""
    storage, loop, made = make_storage(), asyncio.get_running_loop(), list[str]()
    await make_conversations(storage, 1)

    def counted(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(counted)
    try:
        await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c0")
        assert [each.text for each in await storage.get_messages("ada", "c0")] == ["Hello"]
    finally:
        loop.set_task_factory(None)

    assert made == []


async def test_a_call_alone_that_is_cancelled_delays_no_other(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """The calls that came meanwhile, for the same conversation and for others, are stored."""
    async with connection.transaction():
        await lock(connection, schema, "c0")
        alone = asyncio.create_task(storage.add_message(text("m1"), "ada", "c0"))
        await asyncio.sleep(0)
        others = start(storage, [("c0", "m2"), ("c1", "m3")])
        await asyncio.sleep(0)
        alone.cancel()
        assert (await asyncio.wait_for(others[1], PATIENCE)).id == "m3"
    assert await stored(others) == ["m2", "m3"]
    await asyncio.wait([alone])
    assert await found(storage, "c0") in (["m2"], ["m1", "m2"])
