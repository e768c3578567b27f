"""voltmem.sync: the verbs in threads that block."""

from __future__ import annotations

import asyncio
import gc
import signal
import sqlite3
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import asyncpg
import pytest

import voltmem
from tests import citus
from voltmem import (
    ConversationNotFoundError,
    EventLoopError,
    ImportedConversation,
    InvalidInputError,
    InvalidOptionError,
    Message,
    StorageClosedError,
)
from voltmem.sync import PostgresStorage

HELLO = {"role": "user", "content": "Hello"}
OPEN_FOR_EVER = 600


def threads_of(schema: str) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if f"{schema}." in each.name]


# --- verbs ----------------------------------------------------------------------------------------------------------


def test_one_storage_serves_many_threads(storage: PostgresStorage, schema: str) -> None:
    """Eight threads share one storage for sixty requests, as in a web application, and each gets its answer."""

    def view(number: int) -> int:
        storage.add_message(HELLO, "ada", f"c{number % 4}", resource_id="chat")
        return len(storage.query_conversations(user_id="ada"))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(view, range(60)))

    assert sum(len(storage.get_messages("ada", f"c{number}")) for number in range(4)) == 60
    assert len(threads_of(schema)) == 1
    assert threads_of(schema)[0].daemon


def test_a_builder_is_iterated_and_executed(storage: PostgresStorage) -> None:
    """get_user_conversations() returns its builder in the blocking form, as does each of its steps."""
    for number in range(5):
        storage.create_conversation({"id": f"c{number}", "user_id": "ada", "title": f"{number}"})
    builder = storage.get_user_conversations("ada").order_by("title", "ASC")

    assert [each.id for each in builder.offset(1).limit(3)] == ["c1", "c2", "c3"]
    assert [each.id for each in builder.limit(2).execute()] == ["c0", "c1"]
    assert [each.id for each in storage.for_user("ada").get_conversations().limit(1)] == ["c4"]


def test_a_users_view_and_a_memory_block(storage: PostgresStorage, c1: str) -> None:
    """for_user() and conversation() return their handles in the blocking form."""
    ada, memory = storage.for_user("ada"), storage.conversation("ada", c1)
    memory.add(HELLO)
    ada.add_message({"role": "assistant", "content": "Hi"}, c1)

    assert [each.content for each in memory.messages()] == ["Hello", "Hi"]
    assert ada.conversation(c1).exchanges()[0][1].content == "Hi"
    assert (ada.user_id, memory.conversation_id) == ("ada", "c1")
    with pytest.raises(ConversationNotFoundError):
        storage.for_user("eve").conversation(c1).messages()


def test_a_recorded_run_knows_which_event_is_in_which(storage: PostgresStorage) -> None:
    """Events within the block of an event are its children, as in asynchronous code; fields can be set meanwhile."""
    with storage.record_run("cook", input="Soup") as run:
        with run.event("tool:search", type="tool") as event:
            run.add_event("cache:miss")
            event.output = ["leeks"]
        run.add_event("afterwards")
        run.output = "A recipe"
        assert (event.run.id, event.output) == (run.id, ["leeks"])

    entry = storage.get_history_entry(run.id)
    assert entry is not None
    assert (entry.status, entry.output) == ("completed", "A recipe")
    tree = [(depth, each.name) for depth, each in entry.event_tree()]
    assert tree == [(0, "tool:search"), (1, "cache:miss"), (0, "afterwards")]


def test_a_failed_run_is_recorded_as_such(storage: PostgresStorage) -> None:
    """The exception of a block is raised, and is in the entry of the run."""
    with pytest.raises(ZeroDivisionError), storage.record_run("cook") as run:
        _ = 1 / 0

    entry = storage.get_history_entry(run.id)
    assert entry is not None
    assert entry.status == "error"


# --- transactions ---------------------------------------------------------------------------------------------------


def test_a_transaction_commits_or_undoes(storage: PostgresStorage, c1: str) -> None:
    """A transaction stores all of its block or nothing; a nested block is a savepoint."""
    with storage.transaction() as tx:
        tx.add_message(HELLO, "ada", c1)
        with pytest.raises(RuntimeError), tx.transaction() as savepoint:
            savepoint.for_user("ada").add_message({"role": "user", "content": "undone"}, c1)
            raise RuntimeError
    with pytest.raises(RuntimeError), storage.transaction() as tx:
        tx.conversation("ada", c1).add({"role": "user", "content": "undone, too"})
        raise RuntimeError

    assert [each.content for each in storage.get_messages("ada", c1)] == ["Hello"]


def test_a_transactions_connection_runs_statements_of_the_application(storage: PostgresStorage, c1: str) -> None:
    """The application's statements on the transaction's connection are rolled back with it."""
    table = f'"{storage.run(schema_of)}".orders'
    with storage.transaction() as tx:
        tx.connection.execute(f"CREATE TABLE {table} (id int, what text)")
        tx.connection.executemany(f"INSERT INTO {table} VALUES ($1, $2)", ((n, "tea") for n in range(3)))
        assert [tuple(row) for row in tx.connection.fetch(f"SELECT id FROM {table} ORDER BY id")] == [(0,), (1,), (2,)]
    with pytest.raises(asyncpg.UndefinedTableError), storage.transaction() as tx:
        tx.connection.execute(f"DELETE FROM {table}")
        tx.connection.execute("SELECT * FROM nowhere")

    with storage.transaction() as tx:
        row = tx.connection.fetchrow(f"SELECT count(*), max(what) FROM {table}")
        assert row is not None
        assert tuple(row) == (3, "tea")
        assert tx.connection.fetchval("SELECT 1, 2", column=1) == 2


async def schema_of(storage: voltmem.PostgresStorage) -> str:
    return storage._options.tables.schema


# --- iterators ------------------------------------------------------------------------------------------------------


def test_watch_yields_changes_until_it_is_left(storage: PostgresStorage, c1: str) -> None:
    """watch() yields changes of any thread; leaving the loop ends its watcher."""
    kinds = []
    for change in storage.watch("ada"):
        kinds.append(change.kind)
        if change.kind == "ready":
            threading.Thread(target=storage.add_message, args=(HELLO, "ada", c1)).start()
        elif change.kind == "message-added":
            break

    assert kinds == ["ready", "message-added"]
    assert storage.run(names_of_tasks) == []


async def names_of_tasks(storage: voltmem.Storage) -> list[str]:
    return [each.get_name() for each in asyncio.all_tasks() if "listens" in each.get_name()]


def test_watch_ends_when_the_storage_is_closed(storage: PostgresStorage) -> None:
    """Closing the storage ends watch() in another thread, which continues after its loop."""
    ready: Future[str] = Future()

    def watch() -> list[str]:
        kinds: list[str] = []
        for change in storage.watch("ada"):
            kinds.append(change.kind)
            ready.set_result(change.kind)
        return kinds

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        ready.result(60)
        storage.close()

        assert watching.result(60) == ["ready"]


def test_an_export_that_is_left_gives_its_connection_back(dsn: str, schema: str) -> None:
    """export_user() holds a connection only while it is iterated."""
    with PostgresStorage(dsn, schema=schema, max_connections=1, command_timeout=5) as storage:
        for number in range(3):
            storage.create_conversation({"id": f"c{number}", "user_id": "ada"})
        for line in storage.for_user("ada").export_user():
            assert "ada" in line
            break

        assert storage.count_conversations() == 3


def test_what_one_user_exports_another_imports(storage: PostgresStorage, c1: str) -> None:
    """A blocking iterator can be an argument of a blocking verb."""
    storage.add_messages((dict(HELLO) for _ in range(3)), "ada", c1)

    result = storage.import_user("eve", storage.export_user("ada"))

    assert (result.conversations, result.messages) == (1, 3)


def test_import_takes_items_in_the_callers_thread(storage: PostgresStorage) -> None:
    """An import fetches its items in the caller's thread, as SQLite requires, one by one; they may call other verbs."""
    source = sqlite3.connect(":memory:")
    source.execute("CREATE TABLE chats (title text)")
    source.executemany("INSERT INTO chats VALUES (?)", [(f"chat {number}",) for number in range(250)])
    seen: list[int] = []

    def imported() -> Iterator[ImportedConversation]:
        for (title,) in source.execute("SELECT title FROM chats"):
            seen.append(threading.get_ident())
            if len(seen) == 240:
                assert storage.count_conversations() > 0  # the items before it are stored by now
            yield ImportedConversation(title=title, messages=[Message.of(HELLO)])

    result = storage.import_conversations("ada", imported())

    assert result.conversations == 250
    assert set(seen) == {threading.get_ident()}
    source.close()


@pytest.mark.parametrize("error", [OSError("no such file"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_of_the_callers_items_comes_out(error: BaseException, storage: PostgresStorage) -> None:
    """
    An exception of the caller's iterable is raised by the verb.

    Items before it are stored, and the storage works on.
    """

    def imported() -> Iterator[ImportedConversation]:
        for number in range(120):
            yield ImportedConversation(title=f"{number}", messages=[Message.of(HELLO)])
        raise error

    with pytest.raises(type(error)) as raised:
        storage.import_conversations("ada", imported())

    assert raised.value is error
    assert storage.count_conversations(user_id="ada") >= 100


@pytest.mark.parametrize("messages", [Message.of(HELLO), "Hello", HELLO, 7, [7]])
def test_invalid_messages_are_refused(messages: Any, storage: PostgresStorage, c1: str) -> None:
    """Invalid messages raise the same error as the asynchronous verb."""
    with pytest.raises(InvalidInputError) as blocking:
        storage.add_messages(messages, "ada", c1)
    with pytest.raises(InvalidInputError) as asynchronous:
        storage.run(lambda asynchronous: asynchronous.add_messages(messages, "ada", c1))

    assert str(blocking.value) == str(asynchronous.value)


# --- errors, interrupts, context ------------------------------------------------------------------------------------


def test_an_error_shows_the_callers_line_and_where_it_was_raised(storage: PostgresStorage) -> None:
    """The traceback leads from the caller's line to the line in the verb."""
    with pytest.raises(InvalidInputError) as raised:
        storage.get_messages("ada", "c1", limit=-1)

    frames = [
        (frame.filename.rpartition("/")[2], frame.name) for frame in traceback.extract_tb(raised.value.__traceback__)
    ]
    assert frames[0] == ("test_threads.py", "test_an_error_shows_the_callers_line_and_where_it_was_raised")
    assert ("messages.py", "get_messages") in frames


def test_an_error_is_not_kept_by_the_call(storage: PostgresStorage) -> None:
    """A handled exception is freed at once, with everything that its frames reference."""

    class Held:
        pass

    def fail() -> weakref.ref[Held]:
        held = Held()
        try:
            storage.get_messages("ada", "c1", limit=-1)
        except InvalidInputError as error:
            error.held = held  # type: ignore[attr-defined]
        return weakref.ref(held)

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()


def test_context_variables_reach_the_call_and_come_back(storage: PostgresStorage) -> None:
    """Context variables of the caller are set in the call, and those set in the call are set for its caller only."""
    request: ContextVar[str] = ContextVar("request", default="none")
    answer: ContextVar[str] = ContextVar("answer", default="none")

    async def work(_: voltmem.Storage) -> str:
        answer.set(f"answer to {request.get()}")
        return request.get()

    def one(number: int) -> tuple[str, str]:
        request.set(f"{number}")
        return storage.run(work), answer.get()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: copy_context().run(one, number), range(20)))

    assert answers == [(f"{number}", f"answer to {number}") for number in range(20)]
    assert answer.get() == "none"


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Raise KeyboardInterrupt in the thread of the test, as Ctrl-C does in the main thread."""

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no signals for threads")
def test_an_interrupt_cancels_the_call(dsn: str, schema: str, interrupt: Callable[[], None]) -> None:
    """Ctrl-C while a call waits for a lock cancels the statement, and frees its connection."""
    with (
        PostgresStorage(dsn, schema=schema, max_connections=1) as storage,
        PostgresStorage(dsn, schema=schema) as other,
    ):
        storage.create_conversation({"id": "c1", "user_id": "ada"})
        with other.transaction() as tx:
            tx.update_conversation("c1", title="theirs")
            with ThreadPoolExecutor(1) as pool:
                pool.submit(wait_for_a_lock, other, schema).add_done_callback(lambda _: interrupt())
                with pytest.raises(KeyboardInterrupt):
                    storage.update_conversation("c1", title="ours")

            assert storage.count_conversations() == 1
        conversation = storage.get_conversation("c1")
        assert conversation is not None
        assert conversation.title == "theirs"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no signals for threads")
def test_an_interrupt_undoes_the_transaction(dsn: str, schema: str, interrupt: Callable[[], None]) -> None:
    """Ctrl-C in a transaction's call ends the block with a rollback, and releases the connection."""
    with (
        PostgresStorage(dsn, schema=schema, max_connections=1) as storage,
        PostgresStorage(dsn, schema=schema) as other,
    ):
        storage.create_conversation({"id": "c1", "user_id": "ada"})
        with other.transaction() as theirs:
            theirs.update_conversation("c1", title="theirs")
            with ThreadPoolExecutor(1) as pool:
                pool.submit(wait_for_a_lock, other, schema).add_done_callback(lambda _: interrupt())
                with pytest.raises(KeyboardInterrupt), storage.transaction() as ours:
                    ours.create_conversation({"id": "c2", "user_id": "ada"})
                    ours.update_conversation("c1", title="ours")

        assert [each.id for each in storage.get_user_conversations("ada")] == ["c1"]


def wait_for_a_lock(storage: PostgresStorage, schema: str) -> None:
    """Wait until a statement on this schema waits for a lock, at most a minute."""
    activity = "pg_stat_activity" if citus.DSN is None else "citus_stat_activity"  # of the workers, too
    sql = f"SELECT count(*) FROM {activity} WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'"
    end, waiting = time.monotonic() + 60, 0
    while not waiting:
        assert time.monotonic() < end
        time.sleep(0.01)
        with storage.transaction() as tx:  # for each look its own, since within one the view never changes
            waiting = tx.connection.fetchval(sql, schema)


# --- event loops ----------------------------------------------------------------------------------------------------


async def test_on_an_event_loop_the_error_says_what_to_use(storage: PostgresStorage) -> None:
    """On a running event loop every verb, block and iterator raises an error with advice."""
    ways: list[Callable[[], object]] = [
        lambda: storage.count_conversations(),
        lambda: storage.for_user("ada").get_messages("c1"),
        lambda: list(storage.get_user_conversations("ada")),
        lambda: next(storage.watch("ada")),
        lambda: storage.transaction().__enter__(),
        lambda: storage.record_run("cook").__enter__(),
        lambda: storage.__enter__(),
        lambda: storage.close(),
    ]

    for way in ways:
        with pytest.raises(
            EventLoopError, match=r"event loop.*voltmem\.PostgresStorage with 'await'.*asyncio\.to_thread"
        ):
            way()

    assert await asyncio.to_thread(storage.count_conversations) == 0


async def test_submit_serves_an_event_loop(storage: PostgresStorage) -> None:
    """submit() returns a future that an event loop can await; cancelling it cancels the work."""
    cancelled = threading.Event()

    async def forever(_: voltmem.Storage) -> None:
        try:
            await asyncio.sleep(OPEN_FOR_EVER)
        finally:
            cancelled.set()

    async def count(asynchronous: voltmem.PostgresStorage) -> int:
        return await asynchronous.count_conversations()

    assert await asyncio.wrap_future(storage.submit(count)) == 0
    future = storage.submit(forever)
    await asyncio.to_thread(storage.count_conversations)
    future.cancel()
    assert await asyncio.to_thread(cancelled.wait, 60)


async def test_blocking_within_the_storages_own_loop_is_an_error(storage: PostgresStorage) -> None:
    """A blocking call within the storage's own loop, which would wait for itself, is an error."""

    async def work(_: voltmem.Storage) -> int:
        return storage.count_conversations()

    with pytest.raises(EventLoopError):
        await asyncio.to_thread(storage.run, work)


# --- lifetime -------------------------------------------------------------------------------------------------------


def test_a_closed_storage_opens_again(storage: PostgresStorage, c1: str, schema: str) -> None:
    """After close() the thread has ended and calls are refused; open() and ``with`` reopen; close() may be repeated."""
    storage.close()
    storage.close()
    assert threads_of(schema) == []
    with pytest.raises(StorageClosedError):
        storage.count_conversations()
    with pytest.raises(StorageClosedError), storage.transaction():
        raise AssertionError

    storage.open()
    assert storage.count_conversations() == 1
    storage.close()
    with storage as again:
        assert again.count_conversations() == 1


def test_an_iterator_that_was_begun_before_close_ends_or_says_so(storage: PostgresStorage, c1: str) -> None:
    """After close() watch() ends, as in asynchronous code; other unfinished iterators raise, and skip nothing."""
    changes = storage.watch("ada")
    assert next(changes).kind == "ready"
    one, several = iter(storage.get_user_conversations("ada")), iter(storage.get_user_conversations("ada"))
    assert next(one).id == c1
    storage.create_conversation({"id": "c2", "user_id": "ada"})
    assert next(several).id == "c2"
    storage.close()

    assert list(changes) == []
    assert list(one) == []
    with pytest.raises(StorageClosedError):
        list(several)


def test_a_storage_that_was_not_used_closes(dsn: str, schema: str) -> None:
    """close() before the first call closes the storage."""
    storage = PostgresStorage(dsn, schema=schema)
    assert threads_of(schema) == []
    storage.close()

    with pytest.raises(StorageClosedError):
        storage.count_conversations()
    storage.close()


def test_closing_waits_for_the_calls_of_other_threads(storage: PostgresStorage, c1: str, dsn: str, schema: str) -> None:
    """
    close() waits for running calls and transactions of other threads, may be called by two, and refuses new calls.
    """
    with ThreadPoolExecutor(4) as pool, PostgresStorage(dsn, schema=schema) as other:
        begun, go_on = threading.Event(), threading.Event()

        def transact() -> None:
            with storage.transaction() as tx:
                tx.create_conversation({"id": "c2", "user_id": "ada"})
                begun.set()
                assert go_on.wait(60)
                tx.add_message(HELLO, "ada", "c2")

        with other.transaction() as tx:
            tx.update_conversation(c1, title="theirs")
            transacting, adding = pool.submit(transact), pool.submit(storage.add_message, HELLO, "ada", c1)
            assert begun.wait(60)
            wait_for_a_lock(other, schema)
            closed = [pool.submit(storage.close) for _ in range(2)]
            end = time.monotonic() + 60
            while not is_refused(storage):
                assert time.monotonic() < end
            assert not any(each.done() for each in closed)
            go_on.set()
        assert adding.result(60).content == "Hello"
        for each in (transacting, *closed):
            each.result(60)

        assert [len(other.get_messages("ada", each)) for each in ("c1", "c2")] == [1, 1]


def is_refused(storage: PostgresStorage) -> bool:
    try:
        storage.add_message(HELLO, "ada", "nowhere")
    except ConversationNotFoundError:
        return False
    except StorageClosedError:
        return True
    raise AssertionError


def test_calls_that_do_not_end_do_not_keep_the_storage_from_closing(dsn: str, schema: str) -> None:
    """Work that does not end is cancelled by close(), and its thread gets the error that the storage is closed."""
    storage = PostgresStorage(dsn, schema=schema)
    started = threading.Event()

    async def forever(_: voltmem.Storage) -> None:
        started.set()
        await asyncio.sleep(OPEN_FOR_EVER)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(storage.run, forever)
        started.wait(60)
        storage.close()
        with pytest.raises(StorageClosedError):
            waiting.result(60)


def test_a_storage_without_references_ends_its_thread(dsn: str, schema: str) -> None:
    """Without close(), the connections and the thread end when the last reference, handles included, is gone."""
    ada = PostgresStorage(dsn, schema=schema).for_user("ada")
    gc.collect()
    ada.create_conversation({"id": "c1"})
    (thread,) = threads_of(schema)

    del ada
    gc.collect()
    thread.join(60)

    assert not thread.is_alive()


# --- options --------------------------------------------------------------------------------------------------------


def test_options_that_cannot_be_are_named() -> None:
    """An invalid option is named: a pool belongs to its own loop, and camelCase is only for the asynchronous class."""
    with pytest.raises(InvalidOptionError, match=r"pool: an asyncpg pool works in the event loop.*Give connection"):
        PostgresStorage(pool=object())  # type: ignore[call-arg]
    with pytest.raises(InvalidOptionError, match="unknown option 'maxConnections': did you mean max_connections"):
        PostgresStorage(maxConnections=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidOptionError, match="on_limit"):
        PostgresStorage(on_limit="drop")  # type: ignore[arg-type]


def test_the_repr_shows_no_password() -> None:
    """The repr of the storage and the name of its thread do not show the password."""
    storage = PostgresStorage("postgresql://ada:secret@localhost/app")

    assert "localhost/app" in repr(storage)
    assert "secret" not in repr(storage) + repr(storage.for_user("ada"))
