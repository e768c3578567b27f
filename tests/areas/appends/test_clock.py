"""What was acknowledged is stored, in the order of adding, whatever the database's clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.areas.appends.sending import found, ids, outcomes_of, text
from tests.tables import move_times
from voltmem import InvalidInputError, Message, NativeMessage, PostgresStorage
from voltmem.options import OnLimit

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

HOUR = timedelta(hours=1)


def said(id: str, role: str = "user", **fields: object) -> dict[str, object]:
    return {"id": id, "role": role, "content": id, **fields}


async def set_clock_back(storage: PostgresStorage, connection: Connection, by: timedelta = HOUR) -> None:
    """Move all that is stored ahead, which is what the tables look like after the clock was set back."""
    tables = storage._options.tables
    await move_times(connection, tables.messages, ("conversation_id", "message_id"), ("created_at",), by)
    await move_times(connection, tables.conversations, ("id",), ("created_at", "updated_at", "read_at"), by)


async def set_time(storage: PostgresStorage, connection: Connection, id: str, time: object) -> None:
    """Give a message this time, as another program would."""
    query = f"UPDATE {storage._options.tables.messages} SET created_at = $2::text::timestamptz WHERE message_id = $1"
    await connection.execute(query, id, str(time))


# --- the order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
async def test_what_is_added_after_the_clock_stepped_back_is_kept_by_the_limit(
    make_storage: MakeStorage, migrated: str, connection: Connection, on_limit: OnLimit
) -> None:
    """add_message() and add_messages() store after the last message, so the limit removes the oldest."""
    storage = make_storage(storage_limit=5, on_limit=on_limit)
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages([said(f"before{n}") for n in range(5)], "ada", "c1")
    await set_clock_back(storage, connection)

    await storage.add_message(said("after"), "ada", "c1")
    assert await found(storage, "c1") == ["before1", "before2", "before3", "before4", "after"]

    await storage.add_messages([said("question"), said("answer", "assistant")], "ada", "c1")
    assert await found(storage, "c1") == ["before3", "before4", "after", "question", "answer"]


async def test_each_added_message_has_a_later_time_than_the_one_before(
    storage: PostgresStorage, connection: Connection
) -> None:
    """With a clock that stepped back, times in a conversation still grow, for programs that sort by time alone."""
    await storage.add_message(said("m0"), "ada", "c1")
    await set_clock_back(storage, connection)

    added = await storage.add_messages([said("m1"), said("m2")], "ada", "c1")
    added.append(await storage.add_message(said("m3"), "ada", "c1"))

    times = [each.created_at for each in await storage.get_messages("ada", "c1")]
    assert times[1:] == [each.created_at for each in added]
    assert all(earlier < later for earlier, later in pairwise(times))


async def test_messages_of_calls_that_are_added_together_keep_their_own_clocks(
    storage: PostgresStorage, connection: Connection
) -> None:
    """Of conversations that share a statement, only the one that is ahead has times from the future."""
    await storage.add_message(said("m0"), "ada", "c1")
    await set_clock_back(storage, connection)
    clock: datetime = await connection.fetchval("SELECT clock_timestamp()")

    ahead, *others = await outcomes_of(
        storage.add_message(text(f"{name} new"), "ada", name) for name in ("c1", "c0", "c2", "c3")
    )

    assert isinstance(ahead, Message)
    assert ahead.created_at > clock + HOUR / 2
    assert all(isinstance(each, Message) and each.created_at < clock + HOUR / 2 for each in others)


async def test_an_added_message_follows_one_with_a_time_of_its_own(storage: PostgresStorage) -> None:
    """A created_at that is ahead, by less than a day, is followed in the same call and in the next."""
    ahead = datetime.now(UTC) + HOUR

    await storage.add_messages([said("given", created_at=ahead), said("second")], "ada", "c1")
    await storage.add_message(said("third"), "ada", "c1")

    assert await found(storage, "c1") == ["given", "second", "third"]


@pytest.mark.parametrize("time", ["infinity", "9999-12-31 23:59:59.999999+00", "9999-12-30+00", "2100-01-01+00"])
async def test_a_message_is_added_after_any_time_of_another_program(
    storage: PostgresStorage, connection: Connection, time: str
) -> None:
    """add_message() follows a message of another program from the far future, and updated_at takes the clock."""
    await storage.add_message(said("theirs"), "ada", "c1")
    await set_time(storage, connection, "theirs", time)

    await storage.add_messages([said("m1"), said("m2")], "ada", "c1")
    await storage.add_message(said("m3"), "ada", "c1")

    assert await found(storage, "c1") == ["theirs", "m1", "m2", "m3"]
    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.updated_at <= await connection.fetchval("SELECT clock_timestamp()")


async def test_a_new_branch_is_added_after_its_parent(storage: PostgresStorage, connection: Connection) -> None:
    """Messages that begin a branch, or go on in another one, stand after the message that they follow."""
    await storage.add_messages([said("q"), said("a1", "assistant")], "ada", "c1")
    await set_clock_back(storage, connection)
    await storage.add_message(NativeMessage(id="a2", role="assistant", content="", parent_id="q"), "ada", "c1")
    assert await found(storage, "c1") == ["q", "a2"]
    await set_time(storage, connection, "a1", datetime.now(UTC) + 2 * HOUR)

    await storage.add_message(NativeMessage(id="q2", role="user", content="", parent_id="a1"), "ada", "c1")

    assert await found(storage, "c1") == ["q", "a1", "q2"]


# --- what follows from it ---------------------------------------------------------------------------------------------


async def test_updated_at_never_moves_back(storage: PostgresStorage, connection: Connection) -> None:
    """add_message() and update_conversation() leave an updated_at that is ahead of the clock."""
    await storage.add_message(said("m0"), "ada", "c1")
    await set_clock_back(storage, connection)
    before = await storage.get_conversation("c1")
    assert before is not None

    await storage.add_message(said("m1"), "ada", "c1")
    updated = await storage.update_conversation("c1", title="Engines")

    assert updated.updated_at == before.updated_at


async def test_an_added_answer_is_unread_after_the_clock_stepped_back(
    storage: PostgresStorage, connection: Connection
) -> None:
    """What is added after mark_conversation_read() is unread, also after a rewind and in an empty conversation."""
    await storage.add_messages([said("q"), said("a", "assistant")], "ada", "c1")
    await storage.mark_conversation_read("c1")
    await storage.mark_conversation_read("c2")
    await set_clock_back(storage, connection)

    async def is_unread(conversation: str) -> bool:
        item = await storage.get_conversation_item(conversation)
        assert item is not None
        return item.unread

    await storage.rewind_conversation("c1", "q")
    for conversation in ("c1", "c2"):
        assert not await is_unread(conversation)
        await storage.add_message(said("new", "assistant"), "ada", conversation)
        assert await is_unread(conversation)
    await storage.mark_conversation_read("c1")
    assert not await is_unread("c1")
    await storage.add_message(said("newer", "assistant"), "ada", "c1")
    assert await is_unread("c1")


async def test_watch_sees_what_is_added_after_the_clock_stepped_back(
    storage: PostgresStorage, connection: Connection
) -> None:
    """A message that is added is a "message-added", although updated_at does not change."""
    await storage.add_message(said("m0"), "ada", "c1")
    await set_clock_back(storage, connection)
    changes = storage.watch("ada")
    assert (await anext(changes)).kind == "ready"

    await storage.add_message(said("m1"), "ada", "c1")

    change = await anext(changes)
    assert (change.kind, change.conversation_id) == ("message-added", "c1")
    await changes.aclose()


# --- times that callers give ------------------------------------------------------------------------------------------


async def test_a_time_more_than_a_day_ahead_is_not_added(storage: PostgresStorage) -> None:
    """created_at more than a day ahead is an InvalidInputError that names both clocks; its call stores nothing."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    late = said("late", created_at=tomorrow + HOUR)

    refused, *stored = await outcomes_of(
        [
            storage.add_message(late, "ada", "c1"),
            storage.add_message(said("m1"), "ada", "c1"),
            storage.add_message(said("m2", created_at=tomorrow - HOUR), "ada", "c2"),
        ]
    )
    with pytest.raises(InvalidInputError, match=r"message 'late' .* more than a day ahead of the database's clock"):
        await storage.add_messages([said("m3"), late], "ada", "c1")

    assert isinstance(refused, InvalidInputError)
    assert ids(each for each in stored if isinstance(each, Message)) == ["m1", "m2"]
    assert await found(storage, "c1") == ["m1"]


async def test_a_message_from_a_clock_that_was_ahead_can_be_added_again(
    storage: PostgresStorage, connection: Connection
) -> None:
    """An answer that began while the database's clock was days ahead can grow: its time is the one that it has."""
    await storage.add_message(said("answer", "assistant"), "ada", "c1")
    await set_clock_back(storage, connection, by=timedelta(days=3))
    (answer,) = await storage.get_messages("ada", "c1")

    await storage.add_message(answer.model_copy(update={"content": "More"}), "ada", "c1")

    (grown,) = await storage.get_messages("ada", "c1")
    assert (grown.content, grown.created_at) == ("More", answer.created_at)


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
async def test_a_conversation_more_than_a_day_ahead_is_not_created(storage: PostgresStorage, name: str) -> None:
    """create_conversation() and ensure_conversation() refuse times that would keep it first in the list for long."""
    given = {"id": "new", "user_id": "ada", name: datetime.now(UTC) + timedelta(days=2)}

    for create in (storage.create_conversation, storage.ensure_conversation):
        with pytest.raises(InvalidInputError, match=f"{name} is .* more than a day ahead"):
            await create(given)

    assert await storage.get_conversation("new") is None
