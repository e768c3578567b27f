"""Which error a lost connection is: the type says whether something may have been stored."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from tests.calls import VERBS, WRITES, Rows, call, process_of, with_settings
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy, is_result
from voltmem import (
    ConnectionFailedError,
    DatabaseError,
    DatabaseTimeoutError,
    OutcomeUnknownError,
    PostgresStorage,
)
from voltmem._postgres.connection import BoundConnection
from voltmem._postgres.driver import WRITING_FUNCTIONS, writes
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables

# Ends the tries soon.
IMPATIENT = 0.2


@pytest.fixture
async def storage(proxy: Proxy, make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """An open storage behind the proxy, with one connection, that does not try for long."""
    storage = make_storage(proxy.dsn, max_connections=1, search=True, retry_timeout=IMPATIENT)
    await storage.open()
    return storage


@pytest.fixture
async def rows(storage: PostgresStorage, connection: Connection, schema: str) -> Rows:
    rows = Rows(connection, schema)
    await rows.seed()
    return rows


def cut_and_stay_away(proxy: Proxy, when: Callable[[bytes], bool] = is_result) -> None:
    """Lose the next answer of a kind, by default the next result, and refuse all connections from then on."""

    def cut(answer: bytes) -> bool:
        proxy.refusing = when(answer)
        return proxy.refusing

    proxy.cut_when = cut


@pytest.mark.parametrize("name", sorted(VERBS))
async def test_a_lost_answer_of_a_write_is_unknown_also_after_further_tries(
    name: str, storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """If no try of a call is answered, a write may have happened, and a read has failed."""
    cut_and_stay_away(proxy)

    with pytest.raises(DatabaseError) as failed:
        await call(storage, name)

    assert failed.type is (OutcomeUnknownError if name in WRITES else ConnectionFailedError)


async def test_a_write_without_an_answer_in_time_is_unknown(
    proxy: Proxy, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """A write that command_timeout ended may have happened; a read has timed out."""
    storage = make_storage(proxy.dsn, command_timeout=1, connect_timeout=1, retry_timeout=IMPATIENT)
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.get_conversation("c1")
    proxy.hang()

    with pytest.raises(OutcomeUnknownError):
        await storage.rename_conversation("c1", "new")
    with pytest.raises(DatabaseTimeoutError):
        await storage.get_conversation("c1")

    proxy.flow()


async def test_a_message_that_waits_behind_a_lost_one_was_not_sent(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Of appends to one conversation, those that were sent are unknown, and those that waited have failed."""
    storage = make_storage(proxy.dsn, max_connections=1, retry_timeout=IMPATIENT)
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    for _ in range(2):
        await storage.add_message({"role": "user", "content": "prepared"}, "ada", "c1")

    def add(text: str) -> asyncio.Task[Any]:
        return asyncio.create_task(storage.add_message({"role": "user", "content": text}, "ada", "c1"))

    proxy.hang()
    sent = add("sent")
    await proxy.something_held()
    waiting = add("waits")
    await asyncio.sleep(0)
    proxy.refusing = True
    proxy.cut()
    proxy.flow()
    results = await asyncio.gather(sent, waiting, return_exceptions=True)

    assert [type(each) for each in results] == [OutcomeUnknownError, ConnectionFailedError]


@pytest.mark.parametrize("name", sorted(WRITES))
async def test_a_write_that_the_driver_refused_to_send_is_sent_on_another_connection(
    name: str, make_storage: MakeStorage, proxy: Proxy, connection: Connection, migrated: str
) -> None:
    """A connection that has got an error which answers nothing is replaced: nothing was sent, so nobody hears of it."""
    storage = make_storage(proxy.dsn, max_connections=1, search=True)
    rows = Rows(connection, migrated)
    await rows.seed()
    await call(storage, name)
    await rows.seed()
    before = proxy.connections

    proxy.complain()
    await asyncio.sleep(0.05)
    await call(storage, name)

    assert proxy.connections == before + 1


# --- transactions and exports ------------------------------------------------------------------------------------


async def end(connection: Connection, tx: Any) -> None:
    """End the backend of a transaction, and return when it is gone."""
    pid = await process_of(tx.connection)
    await connection.execute("SELECT pg_terminate_backend($1::integer)", pid)
    while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
        pass


@pytest.mark.parametrize("noticed", [True, False])
async def test_transaction_whose_backend_is_ended_has_lost_its_connection(
    noticed: bool, make_storage: MakeStorage, connection: Connection
) -> None:
    """A call in a transaction whose backend was ended raises ConnectionFailedError, whenever the driver notices."""
    storage = make_storage()

    for _ in range(5):
        with pytest.raises(ConnectionFailedError):
            async with storage.transaction() as tx:
                await tx.create_conversation({"id": "c1", "user_id": "ada"})
                await end(connection, tx)
                if noticed:
                    await unusable(tx)
                await tx.create_conversation({"id": "c2", "user_id": "ada"})

    assert await storage.count_conversations() == 0


async def unusable(tx: Any) -> None:
    """Return when the driver has noticed that the connection of a transaction is lost."""
    with suppress(asyncpg.InterfaceError):  # its pool has taken it back
        while not tx.connection.is_closed():  # noqa: ASYNC110  # the driver has no event for it
            await asyncio.sleep(0.01)


async def test_transaction_that_is_lost_before_its_commit_has_failed(
    make_storage: MakeStorage, connection: Connection
) -> None:
    """If COMMIT was not sent, nothing was stored: ConnectionFailedError, not OutcomeUnknownError."""
    storage = make_storage()

    with pytest.raises(ConnectionFailedError):
        async with storage.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})
            await end(connection, tx)
            await unusable(tx)

    assert await storage.count_conversations() == 0


async def test_transaction_whose_begin_is_lost_begins_again(
    make_storage: MakeStorage, proxy: Proxy, migrated: str
) -> None:
    """A transaction that was lost before its first statement is begun again on another connection."""
    storage = make_storage(proxy.dsn, max_connections=1)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    proxy.cut_when = lambda data: b"BEGIN" in data
    async with storage.transaction() as tx:
        await tx.rename_conversation("c1", "new")
    proxy.complain()
    await asyncio.sleep(0.05)
    async with storage.transaction() as tx:
        await tx.pin_conversation("c1")

    assert proxy.cut_when is None
    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.title == "new"


@pytest.mark.parametrize("lost", [b"BEGIN", b"statement_timestamp"])
async def test_export_user_that_has_given_no_line_is_begun_again(
    lost: bytes, make_storage: MakeStorage, proxy: Proxy, connection: Connection, migrated: str
) -> None:
    """An export whose transaction, or whose snapshot, is lost is begun again: its first line follows."""
    storage = make_storage(proxy.dsn, max_connections=1)
    await Rows(connection, migrated).seed()
    await storage.get_conversation("c1")
    proxy.cut_when = lambda answer: lost in answer

    lines = [line async for line in storage.export_user("ada")]

    assert proxy.cut_when is None
    assert '"kind":"end"' in lines[-1].replace(" ", "")


async def test_transaction_whose_begin_is_lost_for_long_has_failed(storage: PostgresStorage, proxy: Proxy) -> None:
    """If no transaction could be begun within retry_timeout, the error is that of the lost connection."""
    cut_and_stay_away(proxy, lambda answer: b"BEGIN" in answer)

    with pytest.raises(ConnectionFailedError):
        async with storage.transaction():
            pass


async def test_transaction_within_a_transaction_that_is_lost_has_failed(storage: PostgresStorage, proxy: Proxy) -> None:
    """A savepoint whose release was not answered is undone with the whole transaction."""
    with pytest.raises(ConnectionFailedError):
        async with storage.transaction() as tx, tx.transaction() as inner:
            await inner.create_conversation({"id": "c1", "user_id": "ada"})
            proxy.cut_when = lambda answer: b"RELEASE" in answer

    assert await storage.count_conversations() == 0


async def test_transaction_that_waited_too_long_has_lost_its_connection(make_storage: MakeStorage) -> None:
    """The server's idle_in_transaction_session_timeout ends the connection, and the error says so."""
    storage = make_storage()

    with pytest.raises(ConnectionFailedError):
        async with storage.transaction() as tx:
            await tx.connection.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            await unusable(tx)
            await tx.create_conversation({"id": "c1", "user_id": "ada"})


async def test_export_user_whose_connection_is_lost_has_failed(
    storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """An export that is cut raises ConnectionFailedError; at its last answer, nothing is missing."""
    proxy.cut_when = lambda answer: b"words" in answer
    with pytest.raises(ConnectionFailedError):
        [line async for line in storage.export_user("ada")]

    proxy.cut_when = lambda answer: b"COMMIT" in answer
    lines = [line async for line in storage.export_user("ada")]

    assert '"kind":"end"' in lines[-1].replace(" ", "")


async def test_bind_outside_of_a_transaction_says_that_a_write_is_unknown(
    storage: PostgresStorage, proxy: Proxy, rows: Rows
) -> None:
    """On the caller's connection without a transaction a lost write is unknown; in one, it is undone."""
    for in_transaction, kind in ((False, OutcomeUnknownError), (True, ConnectionFailedError)):
        own = await asyncpg.connect(proxy.dsn)
        bound = storage.bind(own)
        if in_transaction:
            await own.execute("BEGIN")
        proxy.cut_when = is_result
        with pytest.raises(DatabaseError) as failed:
            await bound.rename_conversation("c1", "new")
        assert failed.type is kind
        await own.close(timeout=1)


async def test_transaction_refuses_calls_after_its_end(make_storage: MakeStorage) -> None:
    """A call with a transaction that has ended says so, and reaches no other transaction."""
    storage = make_storage()
    async with storage.transaction() as tx:
        pass

    with pytest.raises(DatabaseError, match="this transaction has ended: make the call within its block"):
        await tx.count_conversations()


async def test_transaction_with_two_calls_at_once_says_what_to_do(
    make_storage: MakeStorage, unhandled: list[dict[str, Any]]
) -> None:
    """Calls at once in one transaction are an error that says to wait for each; the pool stays usable."""
    storage = make_storage(max_connections=1)
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})

    for calls in (1, 3):
        with pytest.raises(DatabaseError, match=r"one statement at a time: wait for the end of each call"):
            async with storage.transaction() as tx:
                await asyncio.gather(
                    tx.connection.execute("SELECT pg_sleep(0.05)"),
                    *(tx.add_message({"role": "user", "content": "words"}, "ada", "c1") for _ in range(calls)),
                )

    assert await storage.get_messages("ada", "c1") == []
    assert unhandled == []


@pytest.fixture
async def unhandled() -> list[dict[str, Any]]:
    """What reaches the event loop's exception handler."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


# --- what the server refuses -------------------------------------------------------------------------------------


async def test_transaction_that_is_read_only_is_on_no_standby(
    make_storage: MakeStorage, connection: Connection
) -> None:
    """The error of a write in a read-only transaction speaks of a standby only where there may be one."""
    storage = make_storage()

    with pytest.raises(DatabaseError, match="read-only") as failed:
        async with storage.transaction() as tx:
            await tx.connection.execute("SET TRANSACTION READ ONLY")
            await tx.create_conversation({"user_id": "ada"})

    assert failed.value.sqlstate == "25006"
    assert "standby" not in str(failed.value) or connection.get_server_version().major < 14


async def test_a_role_that_is_read_only_by_default_is_not_waited_for(
    dsn: str, make_storage: MakeStorage, connection: Connection, migrated: str
) -> None:
    """With default_transaction_read_only a write fails at once, since no failover changes it."""
    if connection.get_server_version().major < 14:
        pytest.skip("PostgreSQL before 14 does not report default_transaction_read_only")
    read_only = with_settings(dsn, default_transaction_read_only="on")
    storage = make_storage(read_only, migrate="off", retry_timeout=3600)

    with pytest.raises(DatabaseError, match="default_transaction_read_only is on"):
        await storage.create_conversation({"user_id": "ada"})


async def test_a_statement_that_the_server_ended_has_timed_out(dsn: str, make_storage: MakeStorage) -> None:
    """The server's statement_timeout is a DatabaseTimeoutError, in a transaction, too."""
    storage = make_storage(with_settings(dsn, statement_timeout="1"), migrate="off")

    with pytest.raises(DatabaseTimeoutError, match="statement_timeout") as failed:
        async with storage.transaction() as tx:
            await BoundConnection(tx.connection).fetch("SELECT pg_sleep(9)")

    assert failed.value.sqlstate == "57014"


def test_the_functions_that_write_are_known() -> None:
    """The list of functions by which a statement is known to write is that of migrations_sql/functions."""
    tables = Tables("public", "a")
    texts = {
        each.name.rpartition("/")[2]: re.sub("--.*", "", tables.render(each.text))
        for each in migrations()
        if each.is_function
    }

    assert {name for name, text in texts.items() if writes(text)} - IN_TRIGGERS - NOTING == set(WRITING_FUNCTIONS)


# These are called by triggers, and by no statement.
IN_TRIGGERS = {"drop_unused_file", "note_changed_line", "note_changed_summary", "refer_to_files", "tell_watchers"}
# It notes what VoltAgent has changed. Whoever asks again finds it noted, so an answer that is lost is that of a read.
NOTING = {"look_at_memory"}
