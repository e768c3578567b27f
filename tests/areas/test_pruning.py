"""prune(): what is older than a time is deleted, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import citus
from tests.conftest import Connection, MakeStorage
from tests.plans import plan
from tests.properties import examples
from voltmem import ANY_USER, InvalidInputError, InvalidQueryError, PostgresStorage, Pruned
from voltmem._areas.pruning import PruneStatements
from voltmem._tables import Tables
from voltmem._values import uuid7
from voltmem.options import DEFAULT_TABLE_PREFIX

DAY = timedelta(days=1)
NOW = datetime.now(UTC)

Change = Callable[[Any], Awaitable[object]]


async def talk(
    storage: PostgresStorage, conversation_id: str, days: Sequence[float], user_id: str = "ada", **fields: str
) -> None:
    """Store a conversation whose messages were added so many days ago, and not touched since."""
    times = [NOW - day * DAY for day in days]
    changed = max(times, default=NOW - 1000 * DAY)
    await storage.create_conversation(
        {"id": conversation_id, "user_id": user_id, **fields, "created_at": min(times, default=changed)}
    )
    messages = [
        {"id": f"m{number}", "role": "user", "content": f"{number}", "created_at": time}
        for number, time in enumerate(times)
    ]
    await storage.add_messages(messages, user_id, conversation_id)
    await at(storage, conversation_id, changed)


async def at(storage: PostgresStorage, conversation_id: str, changed: datetime) -> None:
    tables = storage._options.tables
    async with storage.transaction() as tx:
        await tx.connection.execute(
            f"UPDATE {tables.conversations} SET updated_at = $2 WHERE id = $1", conversation_id, changed
        )


async def left(storage: PostgresStorage, conversation_id: str) -> list[str]:
    found = await storage.get_messages(ANY_USER, conversation_id, include_archived=True)
    return [message.id for message in found]


@pytest.fixture
async def unlimited(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    storage = make_storage(storage_limit=None)
    await storage.open()
    return storage


async def test_prune_deletes_old_messages_and_conversations_that_have_no_others(unlimited: PostgresStorage) -> None:
    """prune() deletes messages that are older, conversations without newer ones, and nothing else."""
    await talk(unlimited, "old", [9, 8, 7])
    await talk(unlimited, "both", [9, 8, 1])
    await talk(unlimited, "new", [2, 1])
    await talk(unlimited, "empty", [])

    would = await unlimited.prune("ada", older_than=5 * DAY, dry_run=True)
    assert await unlimited.count_conversations() == 4
    done = await unlimited.prune("ada", older_than=5 * DAY)

    assert would == done == Pruned(messages=5, conversations=2, runs=0)
    assert {each.id for each in await unlimited.query_conversations()} == {"both", "new"}
    assert await left(unlimited, "both") == ["m2"]
    assert await left(unlimited, "new") == ["m0", "m1"]
    assert await unlimited.prune("ada", older_than=5 * DAY) == Pruned(messages=0, conversations=0, runs=0)
    if citus.DSN is None:  # check() is for one server
        assert await unlimited.check() == []


async def test_prune_leaves_other_users_and_resources_alone(unlimited: PostgresStorage) -> None:
    """prune() of a user, and of a resource, deletes nothing of others; ANY_USER is all."""
    await talk(unlimited, "mine", [9], resource_id="docs")
    await talk(unlimited, "other resource", [9], resource_id="code")
    await talk(unlimited, "theirs", [9], user_id="bob")

    assert (await unlimited.prune("ada", older_than=5 * DAY, resource_id="docs")).conversations == 1
    assert {each.id for each in await unlimited.query_conversations()} == {"other resource", "theirs"}
    assert (await unlimited.for_user("ada").prune(older_than=5 * DAY)).conversations == 1
    assert (await unlimited.prune(ANY_USER, older_than=5 * DAY)).conversations == 1


async def test_prune_keeps_the_newest_messages_that_are_asked_for(unlimited: PostgresStorage) -> None:
    """prune(keep_last=…) keeps so many of each conversation, with the conversation, however old."""
    await talk(unlimited, "c1", [9, 8, 7, 6])
    await talk(unlimited, "c2", [9])

    assert await unlimited.prune("ada", older_than=5 * DAY, keep_last=2) == Pruned(messages=2, conversations=0, runs=0)
    assert await left(unlimited, "c1") == ["m2", "m3"]
    assert await left(unlimited, "c2") == ["m0"]


async def test_prune_of_archived_messages_leaves_the_others(make_storage: MakeStorage) -> None:
    """prune(archived=True) deletes only what the storage limit archived."""
    storage = make_storage(storage_limit=2, on_limit="archive")
    await talk(storage, "c1", [9, 8, 7, 6])

    assert await storage.prune("ada", older_than=5 * DAY, archived=True) == Pruned(messages=2, conversations=0, runs=0)
    assert await left(storage, "c1") == ["m2", "m3"]


async def test_prune_deletes_runs_where_it_is_told_to(storage: PostgresStorage) -> None:
    """prune(runs=True) deletes recorded runs with their steps and events; without, they stay."""
    for key, days in (("old", 9), ("new", 1)):
        value = {"status": "completed", "input": 1, "user_id": "ada", "timestamp": NOW - days * DAY}
        await storage.add_history_entry(key, value, "agent")
        await storage.add_history_step(f"{key}-s", {"type": "text"}, key, "agent")

    assert (await storage.prune("ada", older_than=5 * DAY)).runs == 0
    assert (await storage.prune("bob", older_than=5 * DAY, runs=True)).runs == 0
    assert (await storage.prune("ada", older_than=5 * DAY, runs=True, dry_run=True)).runs == 1
    assert (await storage.prune("ada", older_than=5 * DAY, runs=True)).runs == 1
    assert await storage.get_history_entry("old") is None
    assert await storage.get_history_step("old-s") is None
    assert await storage.get_history_entry("new") is not None


async def test_prune_leaves_the_trash_alone(unlimited: PostgresStorage) -> None:
    """Soft-deleted conversations are left to purge_deleted_conversations()."""
    await talk(unlimited, "c1", [9])
    await unlimited.soft_delete_conversation("c1")

    assert (await unlimited.prune("ada", older_than=DAY)).conversations == 0
    assert len(await unlimited.list_deleted_conversations("ada")) == 1


async def test_prune_works_in_batches(unlimited: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More conversations and messages than one batch has are pruned, too."""
    await talk(unlimited, "long", [*range(1300, 0, -1)])
    for number in range(12):
        await talk(unlimited, f"c{number:04}", [900])

    done = await unlimited.prune("ada", older_than=100 * DAY + DAY / 2)

    assert done == Pruned(messages=1200 + 12, conversations=12, runs=0)
    assert len(await left(unlimited, "long")) == 100
    if citus.DSN is None:  # check() is for one server
        assert await unlimited.check() == []


async def test_prune_keeps_a_conversation_whose_working_memory_is_newer(
    unlimited: PostgresStorage, connection: Connection
) -> None:
    """A newer version of its memory keeps a conversation, also if it deletes the memory; an older one does not."""
    memory = unlimited._options.tables.conversation_memory
    for conversation_id in ("written", "emptied", "old"):
        await talk(unlimited, conversation_id, [9])
        await unlimited.working_memory("ada", conversation_id).set("likes tea")
    await connection.execute(f"UPDATE {memory} SET created_at = $1 WHERE conversation_id <> 'written'", NOW - 9 * DAY)
    await unlimited.working_memory("ada", "emptied").delete()

    would = await unlimited.prune("ada", older_than=5 * DAY, dry_run=True)
    done = await unlimited.prune("ada", older_than=5 * DAY)

    assert would == done == Pruned(messages=3, conversations=1, runs=0)
    assert {each.id for each in await unlimited.query_conversations()} == {"written", "emptied"}
    assert (await unlimited.working_memory("ada", "written").get()).content == "likes tea"  # type: ignore[union-attr]


ORDERED: dict[str, Change] = {
    "a title": lambda storage: storage.rename_conversation("c1", "Title"),
    "a tag": lambda storage: storage.tag_conversation("c1", ["work"]),
    "a pin": lambda storage: storage.pin_conversation("c1"),
    "an archived mark": lambda storage: storage.archive_conversation("c1"),
    "a read mark": lambda storage: storage.mark_conversation_read("c1"),
    "a link": lambda storage: storage.share_conversation("c1"),
    "a fork": lambda storage: storage.fork_conversation("c1"),
    "metadata": lambda storage: storage.merge_conversation_metadata("c1", {"a": 1}),
    "a quiet update": lambda storage: storage.update_conversation("c1", title="Title", touch=False),
}


@pytest.mark.parametrize("change", ORDERED.values(), ids=ORDERED)
async def test_prune_deletes_what_was_only_put_in_order(unlimited: PostgresStorage, change: Change) -> None:
    """What leaves updated_at as it is does not keep a conversation; update_conversation() does."""
    await talk(unlimited, "c1", [9])
    await talk(unlimited, "c2", [9])
    await change(unlimited)
    await unlimited.update_conversation("c2", title="Title")

    await unlimited.prune("ada", older_than=5 * DAY)

    assert await unlimited.get_conversation("c1") is None
    assert await unlimited.get_conversation("c2") is not None


MEANWHILE: dict[str, Change] = {
    "a message": lambda storage: storage.add_message({"id": "late", "role": "user", "content": "x"}, "ada", "c1"),
    "a message of VoltAgent's": lambda storage: storage.connection.execute(
        f"INSERT INTO {storage._options.tables.messages} (conversation_id, message_id, role, content, type) "
        "VALUES ('c1', 'late', 'user', 'x', 'text')"
    ),
    "working memory": lambda storage: storage.working_memory("ada", "c1").set("likes tea"),
}


@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
async def test_prune_does_not_delete_what_is_added_meanwhile(unlimited: PostgresStorage, change: Change) -> None:
    """A conversation in which something is written while prune() waits for it stays, with that."""
    await talk(unlimited, "c1", [9, 8])
    async with unlimited.transaction() as tx:
        await change(tx)
        pruning = asyncio.create_task(unlimited.prune("ada", older_than=5 * DAY))
        await asyncio.sleep(0.3)
        assert not pruning.done()
    await pruning

    found = await left(unlimited, "c1"), await unlimited.working_memory("ada", "c1").get()
    assert "late" in found[0] or found[1]


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=6), min_size=1, max_size=4),
    st.integers(0, 20),
    st.integers(0, 4),
)
@examples(30)
async def test_prune_deletes_what_a_model_deletes(
    unlimited: PostgresStorage, conversations: list[list[int]], older: int, keep_last: int
) -> None:
    """Whatever the ages, prune() leaves the messages that are newer or among the last ones, and their conversations."""
    user, expected = uuid7(), {}
    for number, days in enumerate(conversations):
        ages = sorted((day + 0.5 for day in days), reverse=True)
        await talk(unlimited, f"{user}-{number}", ages, user_id=user)
        kept = [age <= older or place >= len(ages) - keep_last for place, age in enumerate(ages)]
        if any(kept) or keep_last:
            expected[f"{user}-{number}"] = [f"m{place}" for place, stays in enumerate(kept) if stays]

    await unlimited.prune(user, older_than=older * DAY, keep_last=keep_last)

    found = {each.id: await left(unlimited, each.id) for each in await unlimited.query_conversations(user_id=user)}
    assert found == expected


async def test_prune_reads_only_what_is_old(connection: Connection, migrated: str) -> None:
    """Of conversations with many new messages, prune() reads no row but the old ones."""
    tables = Tables(migrated, DEFAULT_TABLE_PREFIX)
    await connection.execute(f"""
        INSERT INTO {tables.conversations} (id, user_id, resource_id)
        SELECT 'c' || n, 'u', 'r' FROM generate_series(1, 20) AS n""")
    await connection.execute(f"""
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, created_at)
        SELECT 'c' || n % 20 + 1, 'm' || n, 'user', 'x', 'text',
            now() - CASE WHEN n <= 40 THEN interval '9 days' ELSE '1 hour' END
        FROM generate_series(1, 20000) AS n""")
    await connection.execute(f"ANALYZE {tables.messages}")

    sql = PruneStatements(tables).conversations
    shown = await plan(connection, sql, ["", None, 5 * DAY, False, 0, None])

    scans = [line for line in shown.splitlines() if "_messages" in line and "actual" in line]
    assert scans
    assert all(float(line.partition("rows=")[2].split()[0]) <= 3 for line in scans), shown
    assert "Rows Removed" not in shown, shown


@pytest.mark.parametrize("older_than", [5, None, "5 days", -DAY])
async def test_prune_refuses_what_is_no_age(older_than: object, storage: PostgresStorage) -> None:
    """prune() raises InvalidInputError unless older_than is a timedelta of 0 or more, and deletes nothing."""
    await storage.add_message({"role": "user", "content": "x"}, "ada", "c1", resource_id="r")
    with pytest.raises(InvalidInputError, match="older_than must be a timedelta of 0 or more"):
        await storage.prune("ada", older_than=older_than)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidQueryError, match="runs belong to no resource"):
        await storage.prune("ada", older_than=DAY, runs=True, resource_id="docs")
    assert await storage.count_messages("ada", "c1") == 1
