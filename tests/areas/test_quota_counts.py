"""When the messages of a user are counted for a quota, and that it is exact without a count for each write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tests.areas.test_quotas import imported, refused, said
from tests.conftest import Connection, MakeStorage
from tests.tables import move_times
from voltmem import BoundStorage, DatabaseError, PostgresStorage, Quotas

pytestmark = pytest.mark.usefixtures("migrated")

BoundWrite = Callable[[BoundStorage], Awaitable[object]]


async def store_other(connection: Connection, storage: PostgresStorage, count: int) -> None:
    """Store messages in c1 as another program does."""
    await connection.execute(
        f"INSERT INTO {storage._options.tables.messages} (conversation_id, message_id, role, content, type) "
        f"SELECT 'c1', 'other' || n, 'user', 'words', 'text' FROM generate_series(1, {count}) AS n"
    )


async def entries_read(storage: PostgresStorage, write: BoundWrite) -> int:
    """Return how many index entries of the messages a write reads."""
    sql = "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = $1::regclass"
    async with storage.transaction() as together:
        before = await together.connection.fetchval(sql, storage._options.tables.messages)
        await write(together)
        return int(await together.connection.fetchval(sql, storage._options.tables.messages) - before)


WRITES: dict[str, Callable[[str], BoundWrite]] = {
    "add_message": lambda it: lambda s: s.add_message(said(it), "ada", "c2"),
    "add_messages": lambda it: lambda s: s.add_messages([said(it), said(f"{it}b")], "ada", "c2"),
    "import_conversations": lambda it: lambda s: s.import_conversations("ada", imported(it, "m1")),
    "fork_conversation": lambda it: lambda s: s.fork_conversation("c2", id=it),
}


@pytest.mark.parametrize("way", WRITES)
async def test_messages_are_counted_once_for_many_writes(
    way: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """A write within the room that was counted reads as many entries, whether the user has n messages or 2n."""
    storage = make_storage(quotas=Quotas(messages=10_000))
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.create_conversation({"id": "c2", "user_id": "ada"})
    first: list[int] = []
    later: list[int] = []
    for count in (400, 800):
        await connection.execute(f"DELETE FROM {storage._options.tables.messages}")
        await store_other(connection, storage, count)
        await connection.execute(f"DELETE FROM {storage._options.tables.quota_counts}")
        for number, read in enumerate((first, later)):
            made = f"{count}-{number}"
            read.append(await entries_read(storage, WRITES[way](made)))

    assert first[0] >= 400
    assert first[1] >= 800
    assert later[1] <= later[0] + 2 < 40, (first, later)


async def test_what_others_add_counts_after_an_hour(make_storage: MakeStorage, connection: Connection) -> None:
    """Messages of other programs count when those of the user are counted, which is an hour later at the latest."""
    storage = make_storage(quotas=Quotas(messages=10))
    counts = storage._options.tables.quota_counts
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message(said(1), "ada", "c1")
    await store_other(connection, storage, 10)

    await storage.add_message(said(2), "ada", "c1")
    for moved in (timedelta(hours=-1), timedelta(hours=2)):  # also after the clock has stepped back
        await move_times(connection, counts, ("user_id",), ("counted_at",), moved)
        await refused(storage.add_message(said(3), "ada", "c1"), "messages", 13, 10)
    await connection.execute(f"DELETE FROM {counts}")
    await refused(storage.add_message(said(3), "ada", "c1"), "messages", 13, 10)


async def test_what_anybody_deletes_makes_room_at_once(make_storage: MakeStorage, connection: Connection) -> None:
    """At the quota the messages are counted, so a message is added in place of one that SQL has deleted."""
    storage = make_storage(quotas=Quotas(messages=3))
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages([said(1), said(2), said(3)], "ada", "c1")
    await refused(storage.add_message(said(4), "ada", "c1"), "messages", 4, 3)

    for number in range(2):
        await connection.execute(
            f"DELETE FROM {storage._options.tables.messages} WHERE message_id = $1", f"m{number + 1}"
        )
        await storage.add_message(said(4 + number), "ada", "c1")

    await refused(storage.add_message(said(9), "ada", "c1"), "messages", 4, 3)


async def test_each_storage_has_its_own_quota(make_storage: MakeStorage) -> None:
    """What storages with other quotas, higher or lower, have added counts in each of them."""
    high, low = (make_storage(quotas=Quotas(messages=most)) for most in (4, 2))
    await high.create_conversation({"id": "c1", "user_id": "ada"})
    await low.add_message(said(1), "ada", "c1")
    await high.add_messages([said(2), said(3)], "ada", "c1")

    await refused(low.add_message(said(4), "ada", "c1"), "messages", 4, 2)
    await high.add_message(said(4), "ada", "c1")
    await refused(high.add_message(said(5), "ada", "c1"), "messages", 5, 4)


async def test_what_is_undone_does_not_count(make_storage: MakeStorage, connection: Connection) -> None:
    """A transaction that is rolled back, or a savepoint, takes no room; nor does a refusal."""
    storage = make_storage(quotas=Quotas(messages=2))
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message(said(1), "ada", "c1")
    bound = f"SELECT messages FROM {storage._options.tables.quota_counts}"

    for nested in (False, True):
        async with storage.transaction() as together:
            with pytest.raises(ZeroDivisionError):
                async with (together if nested else storage).transaction() as within:
                    await within.add_message(said(2), "ada", "c1")
                    _ = 1 / 0
        assert await connection.fetchval(bound) == 1
    await storage.add_message(said(2), "ada", "c1")
    await refused(storage.add_message(said(3), "ada", "c1"), "messages", 3, 2)
    assert await connection.fetchval(bound) == 2


async def test_a_gift_counts_for_the_user_who_gets_it(make_storage: MakeStorage) -> None:
    """After a conversation was given, the user who has it now has less room, and the giver has more."""
    storage = make_storage(quotas=Quotas(messages=3))
    for user in ("ada", "bob"):
        await storage.create_conversation({"id": user, "user_id": user})
        await storage.add_message(said(1), user, user)
    await storage.add_message(said(2), "bob", "bob")

    await storage.update_conversation("bob", user_id="ada")

    await refused(storage.add_message(said(9), "ada", "ada"), "messages", 4, 3)
    await storage.create_conversation({"id": "new", "user_id": "bob"})
    await storage.add_messages([said(1), said(2), said(3)], "bob", "new")


async def test_delete_user_leaves_no_count(make_storage: MakeStorage, connection: Connection) -> None:
    """Nothing about the quotas of a deleted user remains."""
    storage = make_storage(quotas=Quotas(messages=3))
    for user in ("ada", "bob"):
        await storage.create_conversation({"id": user, "user_id": user})
        await storage.add_message(said(1), user, user)

    await storage.delete_user("ada")

    rows = await connection.fetch(f"SELECT user_id FROM {storage._options.tables.quota_counts}")
    assert [row["user_id"] for row in rows] == ["bob"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_the_quota_is_exact_in_any_isolation_level(
    level: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """Of two transactions that do not see each other's messages, the second has to be repeated."""
    storage = make_storage(quotas=Quotas(messages=3))
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "ada"})
    await storage.add_message(said(1), "ada", "c1")

    async with storage.transaction() as first:
        await first.connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        await first.get_messages("ada", "c1")
        await storage.add_message(said(2), "ada", "c2")
        with pytest.raises(DatabaseError) as caught:
            async with first.transaction() as within:
                await within.add_message(said(3), "ada", "c1")
    assert caught.value.sqlstate == "40001"
    await storage.add_message(said(3), "ada", "c1")
    await refused(storage.add_message(said(4), "ada", "c1"), "messages", 4, 3)
