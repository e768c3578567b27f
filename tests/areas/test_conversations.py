"""Conversations can be created, found, listed, changed and deleted."""

import asyncio
import re
from collections.abc import Awaitable, Callable
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

TAKEN_CALLS: dict[str, Callable[[PostgresStorage], Awaitable[object]]] = {
    "create": lambda storage: storage.create_conversation({"id": "c1", "user_id": "bob"}),
    "ensure": lambda storage: storage.ensure_conversation({"id": "c1", "user_id": "bob"}),
    "add": lambda storage: storage.add_message({"role": "user", "content": "x"}, "bob", "c1", resource_id="r"),
    "handle": lambda storage: storage.conversation("bob", "c1").add({"role": "user", "content": "x"}),
    "title": lambda storage: storage.conversation("bob", "c1").title("x"),
}
LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)


async def test_create_conversation_makes_what_is_not_given(storage: PostgresStorage) -> None:
    """create_conversation() fills in missing fields: a UUIDv7, the resource "default", the database's time."""
    made = await storage.create_conversation({"user_id": "ada"})

    assert (made.id[14], len(made.id)) == ("7", 36)
    assert (made.resource_id, made.title, made.metadata) == ("default", None, {})
    assert made.created_at == made.updated_at
    assert await storage.get_conversation(made.id) == made


@pytest.mark.parametrize("name", TAKEN_CALLS)
async def test_the_id_of_another_user_is_an_error_with_a_way_out(name: str, storage: PostgresStorage) -> None:
    """A call that would create another user's conversation says to use another id, not only to create it."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    with pytest.raises((ConversationExistsError, ConversationNotFoundError)) as raised:
        await TAKEN_CALLS[name](storage)

    way_out = r"Leave the id out to get a new one\. If it is this|if it is another user's, use another id\."
    assert re.search(way_out, str(raised.value))
    assert "or create it first" not in str(raised.value)
    assert "ada" not in str(raised.value)


async def test_create_conversation_keeps_what_it_is_given(storage: PostgresStorage) -> None:
    """create_conversation() stores a model and returns it equal, with the times that were given."""
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


async def test_get_conversation_returns_none_for_a_missing_one(storage: PostgresStorage) -> None:
    """get_conversation() returns the conversation as it was created, for any owner, or None."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert await storage.get_conversation("c1") == made
    assert await storage.get_conversation("c2") is None


async def test_get_user_conversation_of_another_user_is_none(storage: PostgresStorage) -> None:
    """get_user_conversation() returns the user's own conversation, and None for another's, as for a missing one."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert await storage.get_user_conversation("c1", "ada") == made
    assert await storage.get_user_conversation("c1", "bob") is None
    assert await storage.get_user_conversation("c2", "ada") is None


@pytest.fixture
async def four(storage: PostgresStorage) -> PostgresStorage:
    """Conversations c0 to c3, in this order: two of ada, two of bob, each with one in "docs" and one in "code"."""
    for number in range(4):
        user, resource = ("ada", "bob")[number // 2], ("docs", "code")[number % 2]
        made_at = LONG_AGO + timedelta(hours=number)
        await storage.create_conversation(
            {"id": f"c{number}", "user_id": user, "resource_id": resource, "created_at": made_at}
        )
    return storage


async def test_get_conversations_returns_those_of_a_resource(four: PostgresStorage) -> None:
    """get_conversations() returns all of a resource, of every owner, the newest first: activity does not move them."""
    await four.add_message({"role": "user", "content": "words"}, "ada", "c0")

    assert [each.id for each in await four.get_conversations("docs")] == ["c2", "c0"]
    assert await four.get_conversations("none") == []


async def test_get_conversations_by_user_id_returns_those_of_the_user(four: PostgresStorage) -> None:
    """
    get_conversations_by_user_id() returns the user's conversations, the last active first, optionally of one resource.
    """
    await four.add_message({"role": "user", "content": "words"}, "ada", "c0")

    assert [each.id for each in await four.get_conversations_by_user_id("ada")] == ["c0", "c1"]
    assert [each.id for each in await four.get_conversations_by_user_id("ada", resource_id="code")] == ["c1"]


async def test_count_conversations_counts_what_query_conversations_finds(four: PostgresStorage) -> None:
    """count_conversations() counts the conversations of a user, of a resource, of both, or all."""
    filters: list[dict[str, Any]] = [{}, {"user_id": "ada"}, {"resource_id": "docs"}]
    filters += [{"user_id": "bob", "resource_id": "code"}, {"user_id": "eve"}]

    assert [await four.count_conversations(**each) for each in filters] == [4, 2, 2, 1, 0]
    for each in filters:
        assert await four.count_conversations(**each) == len(await four.query_conversations(limit=None, **each))


async def test_get_last_conversation_is_the_last_active_one(four: PostgresStorage) -> None:
    """get_last_conversation() returns the user's last active conversation, or None."""
    await four.add_message({"role": "user", "content": "words"}, "ada", "c0")

    last, last_of_code = (
        await four.get_last_conversation("ada"),
        await four.get_last_conversation("ada", resource_id="code"),
    )

    assert last is not None
    assert last_of_code is not None
    assert (last.id, last_of_code.id) == ("c0", "c1")
    assert await four.get_last_conversation("eve") is None


async def test_create_conversation_with_a_time_was_last_active_then(storage: PostgresStorage) -> None:
    """create_conversation() with only a created_at uses it as updated_at, too."""
    made = await storage.create_conversation({"user_id": "ada", "created_at": LONG_AGO})

    assert made.updated_at == LONG_AGO


async def test_create_conversation_refuses_an_id_that_exists(storage: PostgresStorage) -> None:
    """create_conversation() with an existing id raises an error that has the id, and changes nothing."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Ada's"})

    with pytest.raises(ConversationExistsError) as refused:
        await storage.create_conversation({"id": "c1", "user_id": "bob"})

    assert refused.value.conversation_id == "c1"
    assert await storage.get_conversation("c1") == made


async def test_ensure_conversation_returns_what_is_there(storage: PostgresStorage) -> None:
    """ensure_conversation() creates a conversation once, then returns it; for another user's it raises not found."""
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
async def test_create_conversation_refuses_what_is_no_conversation(conversation: Any, storage: PostgresStorage) -> None:
    """create_conversation() refuses a field that is missing, unknown, of the wrong type or cannot be stored."""
    with pytest.raises(InvalidInputError):
        await storage.create_conversation(conversation)

    assert await storage.count_conversations() == 0


async def test_update_conversation_changes_only_what_is_given(storage: PostgresStorage) -> None:
    """update_conversation() sets the given fields; None clears a title; the rest stays."""
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


async def test_update_conversation_is_an_activity_unless_touch_is_false(storage: PostgresStorage) -> None:
    """update_conversation() sets updated_at to now; with touch=False it stays, so that the sidebar keeps its order."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "updated_at": LONG_AGO})

    assert (await storage.update_conversation("c1", title="A", touch=False)).updated_at == LONG_AGO
    assert (await storage.update_conversation("c1", title="B")).updated_at > LONG_AGO


async def test_update_conversation_does_not_find_a_missing_one(storage: PostgresStorage) -> None:
    """update_conversation() of a missing id and of another user's raises the same error, and changes nothing."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada"})

    for conversation_id, owner in (("c2", ANY_USER), ("c1", "bob")):
        with pytest.raises(ConversationNotFoundError):
            await storage.update_conversation(conversation_id, title="Mine", owner=owner)

    assert await storage.get_conversation("c1") == made


async def test_delete_conversation_deletes_its_messages(storage: PostgresStorage) -> None:
    """delete_conversation() returns whether there was one; its messages are deleted with it."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"role": "user", "content": "hello"}, "ada", "c1")

    assert await storage.delete_conversation("c1", owner="bob") is False
    assert await storage.delete_conversation("c1") is True
    assert await storage.delete_conversation("c1") is False
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    assert await storage.get_conversation_messages("c1") == []


async def test_add_message_moves_its_conversation_to_the_top(storage: PostgresStorage) -> None:
    """add_message() is an activity, and the sidebar is sorted by the last activity."""
    for name in ("first", "second", "third"):
        await storage.create_conversation({"id": name, "user_id": "ada"})

    stored = await storage.add_message({"role": "user", "content": "hello"}, "ada", "first")

    listed = await storage.query_conversations(user_id="ada")
    assert [conversation.id for conversation in listed] == ["first", "third", "second"]
    assert listed[0].updated_at == stored.created_at


async def test_query_conversations_lists_missing_titles_last(storage: PostgresStorage) -> None:
    """query_conversations() by title lists conversations without a title last, in both directions."""
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
async def test_query_conversations_refuses_an_invalid_query(question: dict[str, Any], storage: PostgresStorage) -> None:
    """query_conversations() refuses an invalid order or count before any SQL runs, and names the allowed values."""
    with pytest.raises(InvalidQueryError):
        await storage.query_conversations(**question)


async def test_get_user_conversations_makes_a_new_builder_at_each_step(storage: PostgresStorage) -> None:
    """get_user_conversations() returns an immutable builder: no step changes the one before."""
    for name in "abc":
        await storage.create_conversation({"id": name, "user_id": "ada", "resource_id": f"r-{name}"})
    every = storage.get_user_conversations("ada").order_by("created_at", "ASC")

    two = every.limit(2)

    assert [conversation.id for conversation in await every.execute()] == ["a", "b", "c"]
    assert [conversation.id for conversation in await two] == ["a", "b"]
    assert [conversation.id for conversation in await two.offset(1)] == ["b", "c"]
    assert [conversation.id async for conversation in every.resource("r-c").limit(None)] == ["c"]


async def test_get_paginated_user_conversations_knows_whether_another_page_follows(storage: PostgresStorage) -> None:
    """get_paginated_user_conversations() has more on the first of two pages, but not on the last or beyond it."""
    for name in "abc":
        await storage.create_conversation({"id": name, "user_id": "ada"})

    pages = [await storage.get_paginated_user_conversations("ada", page, 2) for page in (1, 2, 3)]

    assert [[conversation.id for conversation in page.conversations] for page in pages] == [["c", "b"], ["a"], []]
    assert [page.has_more for page in pages] == [True, False, False]
    with pytest.raises(InvalidQueryError):
        await storage.get_paginated_user_conversations("ada", 0)


async def test_schemas_and_prefixes_do_not_meet(make_storage: MakeStorage) -> None:
    """Two prefixes in one schema are two separate storages."""
    one, two = make_storage(), make_storage(table_prefix="other")
    await one.create_conversation({"id": "c1", "user_id": "ada"})

    assert await two.get_conversation("c1") is None


@pytest.mark.parametrize("user", ["ada", "bob"])
async def test_ensure_conversation_waits_for_no_change_of_one_that_is_there(
    storage: PostgresStorage, user: str
) -> None:
    """While a transaction has changed it, its user gets it at once, and another user the error."""
    made = await storage.ensure_conversation({"id": "c1", "user_id": "ada"})

    async with storage.transaction() as tx:
        await tx.update_conversation("c1", title="Changed")
        async with asyncio.timeout(5):
            if user == "ada":
                assert await storage.ensure_conversation({"id": "c1", "user_id": user}) == made
            else:
                with pytest.raises(ConversationNotFoundError):
                    await storage.ensure_conversation({"id": "c1", "user_id": user})
