"""The length of a line is kept with its conversation: an append costs the same, whatever the length, and is exact."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from tests import citus
from tests.areas.appends.sending import found, text
from tests.calls import CASES, Rows
from tests.plans import pages_read
from voltmem import PostgresStorage
from voltmem._areas.append_statement import AppendStatements
from voltmem.options import OnLimit

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

LIMIT: Final = 5


def wrong_lengths(storage: PostgresStorage) -> str:
    """The conversations whose row says something else about the line than the messages, and nothing says so."""
    tables = storage._options.tables
    if citus.DSN is not None:  # no row says anything
        return f"SELECT id FROM {tables.conversations} WHERE line_length IS NOT NULL OR line_end IS NOT NULL"
    line = f"FROM {tables.messages} AS m WHERE m.conversation_id = c.id AND NOT m.archived AND NOT m.aside"
    return f"""
        SELECT c.id, c.line_length, (SELECT count(*) {line}), c.line_end, (SELECT max(m.created_at) {line})
        FROM {tables.conversations} AS c
        WHERE NOT EXISTS (SELECT FROM {tables.changed_lines} AS l WHERE l.conversation_id = c.id) AND (
            c.line_length <> (SELECT count(*) {line}) OR c.line_end < (SELECT max(m.created_at) {line})
        )"""


async def known_length(storage: PostgresStorage, connection: Connection, conversation: str) -> int | None:
    """Return the length that an append would believe; None: it counts."""
    tables = storage._options.tables
    length: int | None = await connection.fetchval(
        f"""SELECT c.line_length FROM {tables.conversations} AS c
        WHERE c.id = $1 AND NOT EXISTS (SELECT FROM {tables.changed_lines} AS l WHERE l.conversation_id = c.id)""",
        conversation,
    )
    return length


def kept(length: int) -> int | None:
    """Return the length that is known after an append. On Citus none is kept, and each append counts."""
    return length if citus.DSN is None else None


async def fill(storage: PostgresStorage, count: int = 3) -> None:
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    for number in range(count):
        await storage.add_message(text(f"m{number}"), "ada", "c1")


@pytest.mark.parametrize("name", CASES)
async def test_every_verb_leaves_the_length_true_or_noted(
    name: str, make_storage: MakeStorage, connection: Connection, migrated: str
) -> None:
    """After every verb, what the row says about the line is true, or the next append counts; and the limit is exact."""
    storage = make_storage(storage_limit=LIMIT, search=True)
    await Rows(connection, migrated).seed()
    for user, conversation in (("ada", "c1"), ("ada", "c2"), ("bob", "b1")):
        await storage.add_message(text("known"), user, conversation)
    assert await known_length(storage, connection, "c1") == kept(4)

    await CASES[name](storage)

    assert await connection.fetch(wrong_lengths(storage)) == []
    left = await connection.fetch(
        f"SELECT id, user_id FROM {storage._options.tables.conversations} WHERE deleted_at IS NULL"
    )
    for id, user in left:
        before = await storage.get_messages(user, id, limit=None)
        await storage.add_message(text("one more"), user, id)
        after = await storage.get_messages(user, id, limit=None)
        assert [each.id for each in after] == [*(each.id for each in before), "one more"][-LIMIT:]
    assert await connection.fetch(wrong_lengths(storage)) == []


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
@pytest.mark.parametrize("together", [False, True])
async def test_messages_that_another_program_changes_are_counted_by_the_next_append(
    make_storage: MakeStorage, migrated: str, connection: Connection, on_limit: OnLimit, together: bool
) -> None:
    """Messages that SQL deletes, inserts, archives or moves count for the limit from the next append on."""
    storage = make_storage(storage_limit=LIMIT, on_limit=on_limit)
    messages = storage._options.tables.messages
    await fill(storage, LIMIT)
    await storage.ensure_conversation({"id": "c2", "user_id": "ada"})
    await storage.add_message(text("there"), "ada", "c2")

    async def append(number: int) -> list[str]:
        calls = [storage.add_message(text(f"x{number}"), "ada", each) for each in ("c1", "c2")[: 1 + together]]
        await asyncio.gather(*calls)
        return await found(storage, "c1")

    await connection.execute(f"DELETE FROM {messages} WHERE message_id IN ('m1', 'm2')")
    assert await append(0) == ["m0", "m3", "m4", "x0"]
    await connection.execute(
        f"INSERT INTO {messages} (conversation_id, message_id, role, content, type) "
        "SELECT 'c1', 'i' || n, 'user', 'inserted', 'text' FROM generate_series(1, 3) AS n"
    )
    assert await append(1) == ["x0", "i1", "i2", "i3", "x1"]
    await connection.execute(f"UPDATE {messages} SET archived = true WHERE message_id = 'x0'")
    assert await append(2) == ["i1", "i2", "i3", "x1", "x2"]
    await connection.execute(f"UPDATE {messages} SET conversation_id = 'c2' WHERE message_id = 'i2'")
    assert await append(3) == ["i1", "i3", "x1", "x2", "x3"]
    assert await connection.fetch(wrong_lengths(storage)) == []
    await connection.execute(f"UPDATE {messages} SET created_at = '2100-01-01' WHERE message_id = 'x2'")
    assert await append(4) == ["i3", "x1", "x3", "x2", "x4"]
    assert await known_length(storage, connection, "c1") == kept(LIMIT)
    await connection.execute(f"TRUNCATE {messages}")
    assert await append(5) == ["x5"]
    assert await known_length(storage, connection, "c1") == kept(1)


async def test_a_change_that_commits_while_an_append_counts_is_counted_by_the_next(
    make_storage: MakeStorage, migrated: str, connection: Connection, dsn: str
) -> None:
    """An append neither waits for another program's transaction nor takes its uncommitted change for counted."""
    storage = make_storage(storage_limit=LIMIT)
    messages = storage._options.tables.messages
    await fill(storage, LIMIT)
    await connection.execute(f"DELETE FROM {messages} WHERE message_id = 'm0'")  # noted, so that the append counts

    other: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(f"DELETE FROM {messages} WHERE message_id = 'm1'")
        await storage.add_message(text("x0"), "ada", "c1")  # m1 is still there for it
        await transaction.commit()
    finally:
        await other.close()

    assert await found(storage, "c1") == ["m2", "m3", "m4", "x0"]
    await storage.add_message(text("x1"), "ada", "c1")
    assert await found(storage, "c1") == ["m2", "m3", "m4", "x0", "x1"]
    assert await connection.fetch(wrong_lengths(storage)) == []


@pytest.mark.parametrize("messages", [1, 2])
async def test_an_append_that_waited_for_the_lock_counts_what_its_holder_removed(
    make_storage: MakeStorage, migrated: str, messages: int
) -> None:
    """The note of a change that commits while an append waits is read after the lock, and nothing more is removed."""
    storage = make_storage(storage_limit=LIMIT)
    await fill(storage, LIMIT)
    added = [text(f"x{number}") for number in range(messages)]

    async with storage.transaction() as transaction:
        await transaction.delete_messages(["m0", "m1", "m2"], "ada", "c1")
        append = asyncio.create_task(storage.add_messages(added, "ada", "c1"))
        await asyncio.sleep(0.5)  # it was refused once, and waits now
        assert not append.done()
    await append

    assert await found(storage, "c1") == ["m3", "m4", *(f"x{number}" for number in range(messages))]


async def test_a_change_that_is_undone_leaves_the_length(
    make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """A transaction that is rolled back has neither added nor removed anything."""
    storage = make_storage(storage_limit=LIMIT)
    await fill(storage)
    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as transaction:
            await transaction.add_message(text("undone"), "ada", "c1")
            await transaction.delete_messages(["m0"], "ada", "c1")
            raise ZeroDivisionError

    assert await known_length(storage, connection, "c1") == kept(3)
    assert await connection.fetch(wrong_lengths(storage)) == []


async def test_a_message_that_is_added_again_is_counted_once(
    make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """An id that is there is replaced: alone, in a list, beside new ones, and twice in one call."""
    storage = make_storage(storage_limit=LIMIT)
    await fill(storage)
    again = {**text("m1"), "content": "changed"}
    await storage.add_message(again, "ada", "c1")
    assert await known_length(storage, connection, "c1") == kept(3)
    await storage.add_messages([again, text("m3"), text("m0")], "ada", "c1")
    assert await known_length(storage, connection, "c1") == kept(4)
    await storage.add_messages([text("m4"), text("m4")], "ada", "c1")
    assert await known_length(storage, connection, "c1") == kept(5)
    await asyncio.gather(*(storage.add_message(text(id), "ada", "c1") for id in ("m5", "m5", "m4")))

    assert await found(storage, "c1") == ["m1", "m2", "m3", "m4", "m5"]
    assert await connection.fetch(wrong_lengths(storage)) == []


async def test_a_limit_that_is_lowered_or_given_later_is_exact_at_once(
    make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """Storages with other limits share the length that is kept."""
    unlimited = make_storage(storage_limit=None)
    await fill(unlimited, 8)

    await make_storage(storage_limit=6).add_message(text("x0"), "ada", "c1")
    assert len(await found(unlimited, "c1")) == 6
    await unlimited.add_message(text("x1"), "ada", "c1")
    await make_storage(storage_limit=2).add_message(text("x2"), "ada", "c1")
    assert await found(unlimited, "c1") == ["x1", "x2"]
    await make_storage(storage_limit=1).add_message(text("x3"), "ada", "c1")
    assert await found(unlimited, "c1") == ["x3"]


def append_arguments(conversation: str, id: str, parent: str, limit: int, statement: str) -> list[object]:
    """The arguments of a statement that adds one message."""
    if statement == "add_message":
        message = [id, "user", "words", None, "text", None, None, None, None]
        return [conversation, "ada", None, *message, limit, False, False, True, None, None, None, None]
    calls: list[object] = [[conversation], ["ada"], [None], ["1"]]
    parents = [parent] if statement.endswith("parent") else None
    columns: list[object] = [[id], ["user"], ["words"], None, ["text"], *[None] * 4, parents, None]
    more: list[object] = [limit, False, False, None, None, None, None, True, *[None] * 6]
    return [*calls, *columns, *more, parents is None, None]


@pytest.mark.parametrize("statement", ["add_message", "add_messages", "add_messages with a parent"])
@pytest.mark.parametrize("limit_is_reached", [False, True])
async def test_an_append_reads_as_many_pages_whatever_the_length(
    make_storage: MakeStorage, migrated: str, connection: Connection, statement: str, limit_is_reached: bool
) -> None:
    """One message costs the same among 1,000 and 4,000, with the limit far away and with the limit reached."""
    storage = make_storage(storage_limit=None)
    tables = storage._options.tables
    statements = AppendStatements(tables)
    sql = statements.add_message if statement == "add_message" else statements.add_messages
    assert sql is not None
    read = []
    for length in (1_000, 4_000):
        conversation = f"c{length}"
        await storage.ensure_conversation({"id": conversation, "user_id": "ada"})
        for start in range(0, length, 1_000):
            spoken = [text(f"m{number}") for number in range(start, start + 1_000)]
            await storage.add_messages(spoken, "ada", conversation)
        # Rows that the last appends replaced would be read, too.
        await connection.execute(f"VACUUM ANALYZE {tables.conversations}")
        await connection.execute(f"VACUUM ANALYZE {tables.messages}")
        limit = length if limit_is_reached else 10_000_000

        def arguments(id: str, parent: str) -> list[object]:
            return append_arguments(conversation, id, parent, limit, statement)  # noqa: B023

        await connection.fetch(sql, *arguments("first", f"m{length - 1}"))  # it makes the plans, and counts
        names = ("first", "second", "third", "fourth")  # at times a page is split, or cleaned up
        read.append(min([await pages_read(connection, sql, *arguments(id, last)) for last, id in pairwise(names)]))

    few, many = read
    assert many <= few + 10, read
