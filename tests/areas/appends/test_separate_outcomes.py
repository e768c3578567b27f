"""One caller's locked conversation, error or cancellation does not affect the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pytest

from tests.areas.appends.sending import (
    Task,
    by_conversation,
    found,
    lock,
    make_conversations,
    outcomes_of,
    spread,
    start,
    stored,
    text,
)
from tests.calls import PATIENCE, Rows, use_all_connections, wait_until_blocked, waiting_for
from tests.proxy import Proxy
from voltmem import (
    ANY_USER,
    ConnectionFailedError,
    ConversationNotFoundError,
    DatabaseError,
    Message,
    OutcomeUnknownError,
    PostgresStorage,
)
from voltmem._values import check_owner
from voltmem.models import Owner

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


async def wait_until_none_blocked(connection: Connection) -> None:
    async with asyncio.timeout(PATIENCE):
        while await waiting_for(connection, connection.get_server_pid()):
            pass


# --- locked conversations --------------------------------------------------------------------------------------------


async def test_locked_conversations_keep_only_their_own_callers(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """While some conversations are locked, calls for others complete; their own complete afterwards, in order."""
    locked, free = ["c1", "c3", "c4"], ["c0", "c2", "c5", "c6"]
    calls = spread(280, sorted([*locked, *free]))
    async with connection.transaction():
        for conversation in locked:
            await lock(connection, schema, conversation)
        tasks = start(storage, calls)
        await stored(task for task, (name, _) in zip(tasks, calls, strict=True) if name in free)
        await wait_until_blocked(connection)
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
    """
    Tasks wait for conversations that a transaction has written to, while the transaction's task can write to others.
    """
    written = ["c1", "c2", "c3"]
    async with storage.transaction() as tx:
        for conversation in written:
            await tx.add_message(text("m1"), "ada", conversation)
        waiting = start(storage, [(conversation, "m2") for conversation in written])
        await wait_until_blocked(connection, tx.connection)
        await stored([storage.add_message(text("m3"), "ada", "c4")])
        assert not any(task.done() for task in waiting)

    await stored(waiting)
    for conversation in written:
        assert await found(storage, conversation) == ["m1", "m2"]
    assert await found(storage, "c4") == ["m3"]


# --- separate errors -------------------------------------------------------------------------------------------------


async def test_what_postgresql_refuses_fails_alone(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Of a hundred concurrent calls, those that break a constraint fail, and all others are stored in order."""
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
    """Of the calls that waited for a locked conversation, only the one that PostgreSQL refuses fails."""
    await connection.execute(f"ALTER TABLE {Rows(connection, schema).messages} ADD CHECK (message_id <> 'm3')")
    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks = start(storage, spread(8, ["c0"]))
        await wait_until_blocked(connection)

    outcomes = await outcomes_of(tasks)

    assert [type(outcome) for outcome in outcomes] == [*[Message] * 3, DatabaseError, *[Message] * 4]
    assert await found(storage, "c0") == [f"m{number}" for number in range(8) if number != 3]


@pytest.mark.parametrize(
    ("sqlstate", "answer"),
    [
        ("08006", "connection to the remote node failed"),
        ("XX000", "could not commit transaction for shard 1 on at least one active node"),
        ("XX000", "failure on connection marked as essential: worker-1:5432"),
        ("XX000", "terminating connection due to administrator command"),
    ],
)
async def test_calls_for_a_worker_that_is_lost_fail_alone(
    sqlstate: str, answer: str, make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """If a coordinator of Citus loses a worker, the calls for its conversations have an open outcome, and no others."""
    storage = make_storage(retry_timeout=0.1)
    names = await make_conversations(storage, 6)
    # What the coordinator answers.
    await connection.execute(f"""
        CREATE FUNCTION {migrated}.reach(conversation text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            IF conversation IN ('c1', 'c4') THEN
                RAISE '{answer}' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN true;
        END $$""")
    await connection.execute(
        f"ALTER TABLE {Rows(connection, migrated).messages} ADD CHECK ({migrated}.reach(conversation_id))"
    )
    calls = spread(30, names)

    outcomes = await outcomes_of(start(storage, calls))

    for (name, _), outcome in zip(calls, outcomes, strict=True):
        expected = (OutcomeUnknownError, ConnectionFailedError) if name in ("c1", "c4") else Message
        assert isinstance(outcome, expected), outcome
    for name in ("c0", "c2", "c3", "c5"):
        assert await found(storage, name) == by_conversation(calls)[name]


async def test_a_content_that_is_no_json_any_more_fails_alone(storage: PostgresStorage) -> None:
    """A list that was changed after its check is an error of its own call only, the same error as in a transaction."""
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


async def test_a_missing_conversation_is_an_error_of_its_own_calls_only(storage: PostgresStorage) -> None:
    """Only the calls for a missing conversation, or another user's, fail, each with an error of its own."""
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


# --- cancelled callers -----------------------------------------------------------------------------------------------


async def test_a_call_cancelled_in_the_queue_is_not_stored(behind_proxy: PostgresStorage, proxy: Proxy) -> None:
    """A call that is cancelled while it is queued is not stored; those before and after it are."""
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


async def test_a_call_cancelled_under_way_affects_no_other(behind_proxy: PostgresStorage, proxy: Proxy) -> None:
    """A call is cancelled while its statement is under way: the other messages in it are stored and acknowledged."""
    proxy.hang()
    tasks = start(behind_proxy, spread(20, ["c0", "c1", "c2", "c3", "c4"]))
    await proxy.something_held()
    for number in (15, 10, 5, 1, 0):
        tasks.pop(number).cancel()
    await asyncio.sleep(0)
    proxy.flow()

    assert await stored(tasks) == [f"m{number}" for number in range(20) if number not in (15, 10, 5, 1, 0)]


async def test_a_statement_without_callers_is_cancelled(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """
    When all callers that wait for a locked conversation are cancelled, so is the statement, and nothing is stored.
    """
    async with connection.transaction():
        await lock(connection, schema, "c0")
        tasks = start(storage, spread(5, ["c0"]))
        await wait_until_blocked(connection)
        await cancel(tasks[:4])
        await wait_until_blocked(connection)
        await cancel(tasks[4:])
        await wait_until_none_blocked(connection)
        await use_all_connections(storage, 10)

    assert await stored(start(storage, [("c0", "later")])) == ["later"]
    assert await found(storage, "c0") == ["later"]


async def cancel(tasks: Sequence[Task]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
