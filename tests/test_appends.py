"""Adding messages together: calls that share a statement share nothing else, and have the outcome of each alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, get_args

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls import (
    LONG_AGO,
    PATIENCE,
    Rows,
    somebody_waits,
    use_all_connections,
    waiting_for,
    with_parameters,
)
from tests.proxy import Proxy
from voltmem import (
    ANY_USER,
    ConnectionFailedError,
    ConversationNotFoundError,
    DatabaseError,
    DatabaseTimeoutError,
    Message,
    PostgresStorage,
    Storage,
    StorageClosedError,
    VoltMemError,
)
from voltmem._areas.appends import Append, JoinedAppends
from voltmem._postgres.embedded import is_available, start_temporary
from voltmem._values import check_owner
from voltmem.errors import translated
from voltmem.models import Owner
from voltmem.options import OnLimit

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

ROOT: Final = Path(__file__).parent.parent
IMPATIENT: Final = 0.3

Task: TypeAlias = "asyncio.Task[Message]"
Fields: TypeAlias = dict[str, object]


def text(id: str) -> Fields:
    return {"id": id, "role": "user", "content": f"this is {id}"}


def ids(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def start(storage: PostgresStorage, calls: Iterable[tuple[str, str]]) -> list[Task]:
    """Call add_message for each conversation and message id, in this order, and wait for none of them."""
    return [asyncio.create_task(storage.add_message(text(id), "ada", conversation)) for conversation, id in calls]


async def stored(tasks: Iterable[Awaitable[Message]]) -> list[str]:
    """Return the ids of what all of them have stored; the first error is everybody's."""
    async with asyncio.timeout(PATIENCE):
        return ids(await asyncio.gather(*tasks))


async def outcomes_of(calls: Iterable[Awaitable[Message]]) -> list[Message | BaseException]:
    """Return what became of each."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*calls, return_exceptions=True)


async def found(storage: PostgresStorage, conversation: str) -> list[str]:
    return ids(await storage.get_messages("ada", conversation, limit=None))


def by_conversation(calls: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the message ids of each conversation, in the order of the calls."""
    called: defaultdict[str, list[str]] = defaultdict(list)
    for conversation, id in calls:
        called[conversation].append(id)
    return called


async def make_conversations(storage: Storage, count: int) -> list[str]:
    """Make conversations of ada's: c0, c1 …"""
    names = [f"c{number}" for number in range(count)]
    for name in names:
        await storage.create_conversation({"id": name, "user_id": "ada"})
    return names


def spread(count: int, conversations: Sequence[str]) -> list[tuple[str, str]]:
    """Return so many calls, each for the next of the conversations."""
    return [(conversations[number % len(conversations)], f"m{number}") for number in range(count)]


async def lock(connection: Connection, schema: str, conversation: str) -> None:
    """Lock a conversation's row until the connection's transaction ends."""
    table = Rows(connection, schema).conversations
    await connection.execute(f"SELECT FROM {table} WHERE id = $1 FOR UPDATE", conversation)


async def nobody_waits(connection: Connection) -> None:
    async with asyncio.timeout(PATIENCE):
        while await waiting_for(connection, connection.get_server_pid()):
            pass


@pytest.fixture
async def storage(make_storage: MakeStorage) -> PostgresStorage:
    """An open storage without a limit, with the ten conversations c0 … c9."""
    storage = make_storage(storage_limit=None)
    await make_conversations(storage, 10)
    return storage


@pytest.fixture
async def behind_proxy(make_storage: MakeStorage, proxy: Proxy) -> PostgresStorage:
    """The same behind the proxy, with a pool of two whose statements are prepared."""
    storage = make_storage(proxy.dsn, storage_limit=None, max_connections=2)
    names = await make_conversations(storage, 10)
    for _ in range(2):
        await stored(storage.add_message(text("prepared"), "ada", name) for name in names)
    await storage.clear_messages("ada")
    return storage


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements that leave: the ids of the messages in each."""
    statements: list[list[str]] = []
    original = JoinedAppends._send

    async def send(self: JoinedAppends, appends: Sequence[Append], *, patient: bool) -> Any:
        statements.append([message.id for append in appends for message in append.messages])
        return await original(self, appends, patient=patient)

    monkeypatch.setattr(JoinedAppends, "_send", send)
    return statements


# --- together as one at a time ------------------------------------------------------------------------------------

OWNERS: Final = {"a1": "ada", "a2": "ada", "b1": "bob", "b2": "bob"}
MISSING: Final = ["x1", "x2"]
TIMES: Final = [datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2002, 2200)]


@dataclass(frozen=True)
class Call:
    """One call of add_message, or of add_messages."""

    conversation_id: str
    user_id: Owner
    messages: list[Message]

    async def on(self, storage: PostgresStorage) -> object:
        """Return what the caller hears, as far as it is the same whenever it is called."""
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
# One conversation is called more often than the others, so that many stand in one line.
calls = st.builds(
    Call,
    st.sampled_from(["a1", "a1", "a1", *OWNERS, *MISSING]),
    st.sampled_from([ANY_USER, ANY_USER, "ada", "ada", "bob"]),
    st.lists(messages, min_size=1, max_size=1) | st.lists(messages, max_size=4),
)


async def refill(rows: Rows, connection: Connection) -> None:
    """Leave the conversations and no messages: far cheaper than new tables for each example."""
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
    """Make the calls while all conversations are locked, until somebody waits for one of them."""
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
@settings(
    max_examples=40,
    deadline=None,  # how long an example takes says more about the machine than about the example
    # The examples of a test share its storages on purpose: each begins with the same rows.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
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
    """Each caller hears, and each conversation holds, what it would if the calls had been made one at a time."""
    for prefix in ("together", "one_by_one"):
        if prefix not in storages:
            storages[prefix] = make_storage(table_prefix=prefix, storage_limit=storage_limit, on_limit=on_limit)
            await storages[prefix].open()
    together, one_by_one = (Rows(connection, schema, prefix) for prefix in storages)
    await refill(together, connection)
    await refill(one_by_one, connection)

    expected = [await call.on(storages["one_by_one"]) for call in calls]
    if locked:
        heard = await all_while_locked(storages["together"], calls, connection, together)
    else:
        heard = await all_at_once(storages["together"], calls)

    assert heard == expected
    assert await together.all() == await one_by_one.all()


@pytest.fixture
def storages() -> dict[str, PostgresStorage]:
    """The two storages of a property test, by their prefix, made by its first example."""
    return {}


# The limit is one. In one statement with a single pruning at its end, the message that comes second would remain.
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
    """Of calls that wait in one line, each is followed by the limit, as it is when they are made one at a time."""
    storage = make_storage(storage_limit=1, on_limit=on_limit)
    await make_conversations(storage, 1)
    for message in given_messages:
        await storage.add_message(message, "ada", "c0")
    one_at_a_time = await found(storage, "c0")
    await storage.clear_messages("ada")

    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks = [asyncio.create_task(storage.add_message(message, "ada", "c0")) for message in given_messages]
        await somebody_waits(connection)

    assert await stored(tasks) == [message["id"] for message in given_messages]
    assert await found(storage, "c0") == one_at_a_time


# --- few statements -----------------------------------------------------------------------------------------------


async def test_calls_that_come_together_travel_in_few_statements(make_storage: MakeStorage, proxy: Proxy) -> None:
    """Sixty-four calls for as many conversations take a few round trips; a lone call takes one."""
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
    """Those who wait in the line of one conversation leave together, too."""
    await stored(start(storage, spread(200, ["c0"])))

    assert len(sent) <= 8


async def test_a_statement_takes_so_many_and_no_more(make_storage: MakeStorage, sent: list[list[str]]) -> None:
    """Fifteen hundred callers on as many conversations leave in statements of at most 500; none is left out."""
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
    """Seven hundred messages of one call leave in one statement, behind those who came before them."""
    batch = [f"b{number}" for number in range(700)]

    before = start(storage, [("c0", "before")])
    in_one = asyncio.create_task(storage.add_messages(map(text, batch), "ada", "c0"))
    await stored([*before, *start(storage, [("c0", "after")])])

    assert ids(await in_one) == batch
    assert await found(storage, "c0") == ["before", *batch, "after"]
    assert [len(batch) for statement in sent if set(batch) <= set(statement)] == [700]


# --- order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True], ids=["one conversation", "mixed with others"])
async def test_the_order_of_calls_is_the_order_of_messages(storage: PostgresStorage, mixed: bool) -> None:
    """Two hundred calls for a conversation are stored in the order in which they were made."""
    calls = spread(1000, ["c0", "c1", "c2", "c0", "c3"]) if mixed else spread(200, ["c0"])

    await stored(start(storage, calls))

    for conversation, called in by_conversation(calls).items():
        assert await found(storage, conversation) == called


async def test_the_order_of_calls_is_kept_when_the_conversation_is_locked_for_a_while(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Somebody locks the conversation in the middle of two hundred calls for it: their order stays."""
    calls = spread(400, ["c0", "c1"])
    tasks = start(storage, calls[:200])
    await tasks[0]

    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks += start(storage, calls[200:])
        await somebody_waits(connection)
        tasks += start(storage, [("c0", "the last")])
        await stored(tasks[1:400:2])
        assert not tasks[-1].done()

    await stored(tasks)
    assert await found(storage, "c0") == [*by_conversation(calls)["c0"], "the last"]
    assert await found(storage, "c1") == by_conversation(calls)["c1"]


async def test_the_order_of_calls_holds_from_the_first_use_on(
    storage: PostgresStorage, make_storage: MakeStorage
) -> None:
    """Those who wait until the storage is open are not overtaken by who calls when it is."""
    opening = make_storage(storage_limit=None)
    calls = spread(50, ["c0"])
    opened = asyncio.create_task(opening.open())
    tasks = start(opening, calls)
    await opened

    await stored([*tasks, *start(opening, [("c0", "last")])])

    assert await found(storage, "c0") == [*(id for _, id in calls), "last"]


# --- locked conversations -----------------------------------------------------------------------------------------


async def test_locked_conversations_keep_only_their_own_callers(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """While somebody has conversations locked, calls for others complete; their own do so afterwards, in order."""
    locked, free = ["c1", "c3", "c4"], ["c0", "c2", "c5", "c6"]
    calls = spread(280, sorted([*locked, *free]))
    async with connection.transaction():
        for conversation in locked:
            await lock(connection, schema, conversation)
        tasks = start(storage, calls)
        await stored(task for task, (name, _) in zip(tasks, calls, strict=True) if name in free)
        await somebody_waits(connection)
        later = start(storage, [(name, f"{name} later") for name in locked])
        await stored(start(storage, [(name, f"{name} later") for name in [*free, "c7", "c8"]]))
        kept = [task for task, (name, _) in zip(tasks, calls, strict=True) if name in locked]
        assert not any(task.done() for task in [*kept, *later])

    await stored([*kept, *later])
    for conversation, called in by_conversation(calls).items():
        assert await found(storage, conversation) == [*called, f"{conversation} later"]


async def test_an_application_that_waits_within_its_transaction_does_not_wait_for_itself(
    storage: PostgresStorage, connection: Connection
) -> None:
    """Tasks wait for conversations that a transaction has written to; the transaction's task can write to others."""
    written = ["c1", "c2", "c3"]
    async with storage.transaction() as tx:
        for conversation in written:
            await tx.add_message(text("m1"), "ada", conversation)
        waiting = start(storage, [(conversation, "m2") for conversation in written])
        await somebody_waits(connection, tx.connection.get_server_pid())
        await stored([storage.add_message(text("m3"), "ada", "c4")])
        assert not any(task.done() for task in waiting)

    await stored(waiting)
    for conversation in written:
        assert await found(storage, conversation) == ["m1", "m2"]
    assert await found(storage, "c4") == ["m3"]


# --- each its own error -------------------------------------------------------------------------------------------


async def test_what_postgresql_refuses_fails_alone(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Of a hundred calls that come together, those that break a constraint fail, and all others are stored in order."""
    table = Rows(connection, schema).messages
    await connection.execute(f"ALTER TABLE {table} ADD CHECK (message_id NOT IN ('m17', 'm18', 'm57'))")
    calls = spread(100, ["c0", "c1", "c2", "c3", "c4"])

    outcomes = await outcomes_of(start(storage, calls))

    errors = [outcomes.pop(number) for number in (57, 18, 17)]
    assert [(type(error), cast(DatabaseError, error).sqlstate) for error in errors] == [(DatabaseError, "23514")] * 3
    assert len(set(map(id, errors))) == 3
    good = [call for call in calls if call[1] not in ("m17", "m18", "m57")]
    assert [cast(Message, outcome).id for outcome in outcomes] == [id for _, id in good]
    for conversation, called in by_conversation(good).items():
        assert await found(storage, conversation) == called


async def test_a_refusal_in_a_locked_conversation_fails_alone(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Of those who waited for a locked conversation, too, only the one that PostgreSQL refuses fails."""
    await connection.execute(f"ALTER TABLE {Rows(connection, schema).messages} ADD CHECK (message_id <> 'm3')")
    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks = start(storage, spread(8, ["c0"]))
        await somebody_waits(connection)

    outcomes = await outcomes_of(tasks)

    assert [type(outcome) for outcome in outcomes] == [*[Message] * 3, DatabaseError, *[Message] * 4]
    assert await found(storage, "c0") == [f"m{number}" for number in range(8) if number != 3]


async def test_a_content_that_is_no_json_any_more_fails_alone(storage: PostgresStorage) -> None:
    """A list that was changed after it was checked is its caller's error, the same as in a transaction."""
    spoilt = Message(id="spoilt", role="user", content=["fine"])
    cast("list[object]", spoilt.content).append(object())
    with pytest.raises(Exception, match="object") as alone:
        async with storage.transaction() as tx:
            await tx.add_message(spoilt, "ada", "c0")

    before, after = spread(10, ["c0", "c1"]), [("c0", "last"), ("c1", "last")]
    outcomes = await outcomes_of(
        [*start(storage, before), storage.add_message(spoilt, "ada", "c0"), *start(storage, after)]
    )

    error = outcomes.pop(10)
    assert (type(error), str(error)) == (alone.type, str(alone.value))
    assert {type(outcome) for outcome in outcomes} == {Message}
    for conversation, called in by_conversation([*before, *after]).items():
        assert await found(storage, conversation) == called


async def test_whose_conversation_is_missing_hears_so_alone(storage: PostgresStorage) -> None:
    """A missing conversation, or another user's, is an error to its own callers, to each one of its own."""
    names = ["c0", "missing", "c1"]
    users: list[Owner] = ["ada", "eve", ANY_USER]
    called = [(name, user) for user in users for name in names]

    outcomes = await outcomes_of(
        storage.add_message(text(f"m{number}"), user, name) for number, (name, user) in enumerate(called * 3)
    )

    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for (name, user), outcome in zip(called * 3, outcomes, strict=True):
        if name == "missing" or user == "eve":
            assert str(outcome) == str(ConversationNotFoundError(name, check_owner("user", user), is_for_message=True))
            assert isinstance(outcome, ConversationNotFoundError)
        else:
            assert isinstance(outcome, Message)
    assert len(set(map(id, errors))) == len(errors) == 15
    assert len(await found(storage, "c0")) == len(await found(storage, "c1")) == 6


# --- cancelled callers --------------------------------------------------------------------------------------------


async def test_who_is_cancelled_in_line_is_not_stored(behind_proxy: PostgresStorage, proxy: Proxy) -> None:
    """A caller that gives up before its turn is left behind; those before and after it are stored."""
    proxy.hang()
    tasks = start(behind_proxy, [("c0", "first")])
    await proxy.something_held()
    tasks += start(behind_proxy, [("c0", "second"), ("c0", "third"), ("c1", "fourth"), ("c1", "fifth")])
    await asyncio.sleep(0)
    tasks.pop(1).cancel()
    tasks.pop(2).cancel()
    proxy.flow()

    assert await stored(tasks) == ["first", "third", "fifth"]
    assert await found(behind_proxy, "c0") == ["first", "third"]


async def test_who_is_cancelled_on_the_way_takes_nobody_along(behind_proxy: PostgresStorage, proxy: Proxy) -> None:
    """A caller that gives up while its statement is under way: the others in it are stored, and told so."""
    proxy.hang()
    tasks = start(behind_proxy, spread(20, ["c0", "c1", "c2", "c3", "c4"]))
    await proxy.something_held()
    for number in (15, 10, 5, 1, 0):
        tasks.pop(number).cancel()
    await asyncio.sleep(0)
    proxy.flow()

    assert await stored(tasks) == [f"m{number}" for number in range(20) if number not in (15, 10, 5, 1, 0)]


async def test_a_statement_that_nobody_waits_for_is_cancelled(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """All who wait for a locked conversation give up: nobody waits for its lock any more, and nothing is stored."""
    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks = start(storage, spread(5, ["c0"]))
        await somebody_waits(connection)
        await cancel(tasks[:4])
        await somebody_waits(connection)
        await cancel(tasks[4:])
        await nobody_waits(connection)
        await use_all_connections(storage, 10)

    assert await stored(start(storage, [("c0", "later")])) == ["later"]
    assert await found(storage, "c0") == ["later"]


async def cancel(tasks: Sequence[Task]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


# --- commits and closing ------------------------------------------------------------------------------------------


async def test_what_is_said_to_be_stored_is_committed(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """When a caller hears that its message is stored, another connection sees it already."""
    reader = make_storage(storage_limit=None)

    async def add_and_look(conversation: str, id: str) -> None:
        await storage.add_message(text(id), "ada", conversation)
        assert id in await found(reader, conversation)

    async with asyncio.TaskGroup() as group:
        for conversation, id in spread(300, [f"c{number}" for number in range(10)]):
            group.create_task(add_and_look(conversation, id))


async def test_close_stores_what_waits(storage: PostgresStorage) -> None:
    """Three hundred calls that were made before close() are stored and told so; one that comes later is refused."""
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


# --- memory -------------------------------------------------------------------------------------------------------


async def test_rows_are_made_for_what_leaves_only(behind_proxy: PostgresStorage, proxy: Proxy) -> None:
    """Behind a way that hangs, two thousand calls wait as they came; their rows are made when they leave."""
    proxy.hang()
    calls = spread(2000, [f"c{number}" for number in range(10)])
    tasks = start(behind_proxy, calls)
    await proxy.something_held()

    joined = behind_proxy._joined
    waiting = [append for line in joined._lines.values() for append in line]
    under_way = [append for statement in joined._under_way.values() for append in statement.appends]
    assert len(waiting) + len(under_way) == 2000
    assert 0 < len(under_way) <= 1000
    assert all(append.rows for append in under_way)
    assert not any(append.rows for append in waiting)
    del waiting, under_way

    proxy.flow()
    assert await stored(tasks) == [id for _, id in calls]
    assert (joined._lines, joined._under_way) == ({}, {})


@pytest.mark.parametrize("turns", range(6))
async def test_calls_go_on_after_all_tasks_were_cancelled(storage: PostgresStorage, turns: int) -> None:
    """An application that ends by cancelling every task, whoever's, can still store what it wants to keep."""
    start(storage, [(f"c{number % 3}", f"m{number}") for number in range(30)])
    for _ in range(turns):
        await asyncio.sleep(0)

    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others)

    async with asyncio.timeout(PATIENCE):
        assert (await storage.add_message(text("last"), "ada", "c1")).id == "last"


# --- faults -------------------------------------------------------------------------------------------------------


async def all_acknowledged_are_there(
    storage: PostgresStorage, calls: Sequence[tuple[str, str]], outcomes: Sequence[Message | BaseException]
) -> None:
    """Assert that each call is stored once or failed with an error of ours, and that the order is that of the calls."""
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
    """Backends are ended again and again under a thousand calls: what was acknowledged is there, once, in order."""
    monkeypatch.setattr("voltmem._areas.appends._FULL_AT_MESSAGES", 10)  # in a hundred statements, rather than three
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
    """The server is killed under a thousand calls and recovers: what was acknowledged is there, once, in order."""
    monkeypatch.setattr("voltmem._areas.appends._FULL_AT_MESSAGES", 10)  # in a hundred statements, rather than three
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

            os.kill(backends[0]["pid"], signal.SIGKILL)  # PostgreSQL ends all others, and starts from its log
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
    """The way is cut ten times, each time with an answer lost on it: what was acknowledged is there, once, in order."""
    monkeypatch.setattr("voltmem._areas.appends._FULL_AT_MESSAGES", 10)  # in a hundred statements, rather than three
    cuts = 0

    def tenth_answer() -> Callable[[bytes], bool]:
        answers = 0

        def cut(_: bytes) -> bool:
            nonlocal answers, cuts
            answers += 1
            if answers < 10:
                return False
            cuts += 1
            if cuts < 10:  # the proxy forgets the condition once it was met
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
    """An open storage that soon loses patience, and whose server is away; conversations c0 … c9 are there."""
    await make_conversations(make_storage(), 10)
    storage = make_storage(proxy.dsn, retry_timeout=IMPATIENT)
    await storage.open()
    proxy.refusing = True
    proxy.cut()
    return storage


@pytest.mark.parametrize("conversations", [1, 10])
async def test_no_deadline_follows_the_other(left_alone: PostgresStorage, conversations: int) -> None:
    """Without a server a thousand callers hear so within about two deadlines, each an error of its own."""
    calls = spread(1000, [f"c{number}" for number in range(conversations)])

    async with asyncio.timeout(50 * IMPATIENT):  # one after the other they would be a hundred, or a thousand
        outcomes = await outcomes_of(start(left_alone, calls))

    for outcome in outcomes:
        assert isinstance(outcome, ConnectionFailedError | DatabaseTimeoutError)
    assert len(set(map(id, outcomes))) == 1000


async def test_an_error_says_to_each_caller_what_happened(left_alone: PostgresStorage) -> None:
    """The text of the error and its SQLSTATE tell of its cause, as those of any other call do."""
    for outcome in await outcomes_of(start(left_alone, spread(10, ["c0", "c1"]))):
        assert isinstance(outcome, ConnectionFailedError)
        assert outcome.__cause__ is not None
        told = cast(ConnectionFailedError, translated(outcome.__cause__))
        assert (str(outcome), outcome.sqlstate) == (str(told), told.sqlstate)


async def test_calls_go_on_when_the_server_is_back(left_alone: PostgresStorage, proxy: Proxy) -> None:
    """After all have heard that the server is away, the next calls find it again."""
    await outcomes_of(start(left_alone, spread(100, ["c0", "c1"])))
    proxy.refusing = False

    calls = spread(20, ["c0", "c1"])
    assert await stored(start(left_alone, calls)) == [id for _, id in calls]


# --- event loops --------------------------------------------------------------------------------------------------

PROGRAM: Final = """
import asyncio
from voltmem import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={schema!r})

async def use(run, last):
    await storage.ensure_conversation({{"id": "c0", "user_id": "ada"}})
    messages = [{{"id": f"{{run}}-{{number}}", "role": "user", "content": ""}} for number in range(20)]
    await asyncio.gather(*(storage.add_message(message, "ada", "c0") for message in messages))
    print(len(await storage.get_messages("ada", "c0")))
    if last:
        await storage.close()

asyncio.run(use("one", False))
asyncio.run(use("two", True))
"""


async def test_calls_join_in_one_event_loop_after_another(dsn: str, schema: str) -> None:
    """A storage that two asyncio.run use, the first without close(), stores what both add."""
    assert await output_of(PROGRAM.format(dsn=dsn, schema=schema)) == "20\n40\n"


ABANDONING_PROGRAM: Final = """
import asyncio
from voltmem import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={schema!r})
abandoned = []

def message(id):
    return {{"id": id, "role": "user", "content": ""}}

async def end_in_the_middle():
    await storage.ensure_conversation({{"id": "c0", "user_id": "ada"}})
    await storage.add_message(message("first"), "ada", "c0")
    for number in range(20):
        abandoned.append(asyncio.create_task(storage.add_message(message(f"m{{number}}"), "ada", "c0")))
    while not storage._joined._under_way:
        await asyncio.sleep(0)

async def go_on():
    async with asyncio.timeout(30):
        {what_follows}

{the_end}
asyncio.run(go_on())
"""
ENDS: Final = {
    "asyncio.run": "asyncio.run(end_in_the_middle())",
    "closed": "loop = asyncio.new_event_loop(); loop.run_until_complete(end_in_the_middle()); loop.close()",
}
FOLLOWS: Final = {
    "a call": 'print((await storage.add_message(message("ok"), "ada", "c0")).id); await storage.close()',
    "close": 'await storage.close(); print("ok")',
}


@pytest.mark.parametrize("what_follows", FOLLOWS)
@pytest.mark.parametrize("end", ENDS)
async def test_calls_whose_loop_has_ended_do_not_keep_the_next(
    dsn: str, schema: str, end: str, what_follows: str
) -> None:
    """Calls under way when their loop ends are nobody's any more: in the next loop the storage works, and closes."""
    program = ABANDONING_PROGRAM.format(dsn=dsn, schema=schema, the_end=ENDS[end], what_follows=FOLLOWS[what_follows])

    assert await output_of(program) == "ok\n"


async def output_of(program: str) -> str:
    """Return what a Python program prints."""
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    return ran.stdout or ran.stderr
