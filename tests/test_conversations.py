"""Conversations: made, found, listed, changed, deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeStorage
from voltmem import (
    ANY_USER,
    Conversation,
    ConversationExistsError,
    ConversationNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    PostgresStorage,
)

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)


async def test_a_conversation_gets_an_id_and_times(storage: PostgresStorage) -> None:
    """What is not given is made: a UUIDv7, the resource "default", the database's time."""
    made = await storage.create_conversation({"user_id": "ada"})

    assert (made.id[14], len(made.id)) == ("7", 36)
    assert (made.resource_id, made.title, made.metadata) == ("default", None, {})
    assert made.created_at == made.updated_at
    assert await storage.get_conversation(made.id) == made


async def test_a_conversation_keeps_what_it_is_given(storage: PostgresStorage) -> None:
    """A model goes in and comes back equal, its own times included."""
    given = Conversation(
        id="c1",
        user_id="ada",
        resource_id="support",
        title="Tëst",
        metadata={"preview": "…", "tags": [1, None]},
        created_at=LONG_AGO,
        updated_at=LONG_AGO + timedelta(days=1),
    )

    assert await storage.create_conversation(given) == given
    assert await storage.get_conversation("c1") == given


async def test_an_imported_conversation_was_last_active_when_it_was_made(storage: PostgresStorage) -> None:
    """With a created_at alone, updated_at is the same."""
    made = await storage.create_conversation({"user_id": "ada", "created_at": LONG_AGO})

    assert made.updated_at == LONG_AGO


async def test_an_id_is_taken_once(storage: PostgresStorage) -> None:
    """Creating with an id that exists is an error that carries it, and changes nothing."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Ada's"})

    with pytest.raises(ConversationExistsError) as refused:
        await storage.create_conversation({"id": "c1", "user_id": "bob"})

    assert refused.value.conversation_id == "c1"
    assert await storage.get_conversation("c1") == made


async def test_ensure_returns_what_is_there(storage: PostgresStorage) -> None:
    """The first call makes it, the second returns it unchanged, another user's is not found."""
    made = await storage.ensure_conversation({"id": "c1", "user_id": "ada", "title": "First"})

    assert await storage.ensure_conversation({"id": "c1", "user_id": "ada", "title": "Second"}) == made
    with pytest.raises(ConversationNotFoundError):
        await storage.ensure_conversation({"id": "c1", "user_id": "bob"})


@pytest.mark.parametrize(
    "conversation",
    [
        {},
        {"id": "c1"},
        {"user_id": None},
        {"user_id": 1},
        {"user_id": "ada", "userID": "ada"},
        {"user_id": "ada", "title": "\x00"},
        {"user_id": "ada", "id": "\ud800"},
        {"user_id": "ada", "metadata": []},
        {"user_id": "ada", "metadata": {"a": float("nan")}},
        {"user_id": "ada", "metadata": {"a": "\x00"}},
        {"user_id": "ada", "created_at": datetime(2024, 1, 1)},  # without a time zone
        {"user_id": "ada", "created_at": "yesterday"},
        "ada",
        None,
    ],
)
async def test_what_is_no_conversation_is_refused(conversation: Any, storage: PostgresStorage) -> None:
    """A field that is missing, unknown, of the wrong type or not storable: an error, and nothing is stored."""
    with pytest.raises(InvalidInputError):
        await storage.create_conversation(conversation)

    assert await storage.count_conversations() == 0


async def test_only_what_is_given_changes(storage: PostgresStorage) -> None:
    """An update sets what it names; None clears a title; the rest stays."""
    made = await storage.create_conversation(
        {"id": "c1", "user_id": "ada", "title": "Old", "metadata": {"a": 1}, "updated_at": LONG_AGO}
    )

    renamed = await storage.update_conversation("c1", title="New", touch=False)
    assert renamed == made.model_copy(update={"title": "New"})
    cleared = await storage.update_conversation("c1", title=None, touch=False)
    assert cleared == made.model_copy(update={"title": None})
    moved = await storage.update_conversation("c1", metadata={"b": 2}, resource_id="r", user_id="bob", touch=False)
    changes: dict[str, object] = {"title": None, "metadata": {"b": 2}, "resource_id": "r", "user_id": "bob"}
    assert moved == made.model_copy(update=changes)


async def test_an_update_is_an_activity_unless_it_says_not(storage: PostgresStorage) -> None:
    """updated_at becomes now; with touch=False it stays, so that renaming does not reorder a sidebar."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "updated_at": LONG_AGO})

    assert (await storage.update_conversation("c1", title="A", touch=False)).updated_at == LONG_AGO
    assert (await storage.update_conversation("c1", title="B")).updated_at > LONG_AGO


async def test_an_update_of_nothing_is_not_found(storage: PostgresStorage) -> None:
    """There is none with this id, or it is not the owner's: the same error, and nothing changes."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada"})

    for conversation_id, owner in (("c2", ANY_USER), ("c1", "bob")):
        with pytest.raises(ConversationNotFoundError):
            await storage.update_conversation(conversation_id, title="Mine", owner=owner)

    assert await storage.get_conversation("c1") == made


async def test_deleting_takes_the_messages_along(storage: PostgresStorage) -> None:
    """The first call says that there was one, the second that there was none; the messages are gone."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"role": "user", "content": "hello"}, "ada", "c1")

    assert await storage.delete_conversation("c1", owner="bob") is False
    assert await storage.delete_conversation("c1") is True
    assert await storage.delete_conversation("c1") is False
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    assert await storage.get_conversation_messages("c1") == []


async def test_a_new_message_moves_its_conversation_to_the_top(storage: PostgresStorage) -> None:
    """The sidebar is ordered by last activity, and adding a message is one."""
    for name in ("first", "second", "third"):
        await storage.create_conversation({"id": name, "user_id": "ada"})

    stored = await storage.add_message({"role": "user", "content": "hello"}, "ada", "first")

    listed = await storage.query_conversations(user_id="ada")
    assert [conversation.id for conversation in listed] == ["first", "third", "second"]
    assert listed[0].updated_at == stored.created_at


async def test_titles_that_are_missing_come_last(storage: PostgresStorage) -> None:
    """Ordered by title, in either direction, the untitled come after all the others."""
    for name, title in (("1", "b"), ("2", None), ("3", "a"), ("4", None), ("5", "b")):
        await storage.create_conversation({"id": name, "user_id": "ada", "title": title})

    ascending = await storage.query_conversations(order_by="title", order_direction="asc")
    descending = await storage.query_conversations(order_by="title", order_direction="DESC")

    assert [conversation.id for conversation in ascending] == ["3", "1", "5", "2", "4"]
    assert [conversation.id for conversation in descending] == ["5", "1", "3", "4", "2"]


@pytest.mark.parametrize(
    "question",
    [
        {"order_by": "id"},
        {"order_by": "updated_at; DROP TABLE conversations"},
        {"order_by": None},
        {"order_direction": "sideways"},
        {"order_direction": None},
        {"limit": -1},
        {"limit": 1.5},
        {"limit": True},
        {"limit": 2**63},
        {"offset": -1},
        {"offset": None},
    ],
)
async def test_a_question_that_cannot_be_is_refused(question: dict[str, Any], storage: PostgresStorage) -> None:
    """Order fields, directions and counts are checked before any SQL runs; the error names what is allowed."""
    with pytest.raises(InvalidQueryError):
        await storage.query_conversations(**question)


async def test_every_step_of_the_builder_is_a_new_value(storage: PostgresStorage) -> None:
    """A builder can be kept and asked again: no step changes the one it was made from."""
    for name in "abc":
        await storage.create_conversation({"id": name, "user_id": "ada", "resource_id": f"r-{name}"})
    every = storage.get_user_conversations("ada").order_by("created_at", "ASC")

    two = every.limit(2)

    assert [conversation.id for conversation in await every.execute()] == ["a", "b", "c"]
    assert [conversation.id for conversation in await two] == ["a", "b"]
    assert [conversation.id for conversation in await two.offset(1)] == ["b", "c"]
    assert [conversation.id async for conversation in every.resource("r-c").limit(None)] == ["c"]


async def test_a_page_knows_whether_another_follows(storage: PostgresStorage) -> None:
    """Three conversations are two pages of two: the first has more, the last has not, beyond it is nothing."""
    for name in "abc":
        await storage.create_conversation({"id": name, "user_id": "ada"})

    pages = [await storage.get_paginated_user_conversations("ada", page, 2) for page in (1, 2, 3)]

    assert [[conversation.id for conversation in page.conversations] for page in pages] == [["c", "b"], ["a"], []]
    assert [page.has_more for page in pages] == [True, False, False]
    with pytest.raises(InvalidQueryError):
        await storage.get_paginated_user_conversations("ada", 0)


async def test_schemas_and_prefixes_do_not_meet(make_storage: MakeStorage) -> None:
    """Two prefixes in one schema are two storages."""
    one, two = make_storage(), make_storage(table_prefix="other")
    await one.create_conversation({"id": "c1", "user_id": "ada"})

    assert await two.get_conversation("c1") is None
