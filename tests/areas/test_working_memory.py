"""The verbs of the working memory, with VoltAgent's arguments and scopes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Connection
from voltmem import (
    ANY_USER,
    ConversationNotFoundError,
    InvalidInputError,
    PostgresStorage,
)


@pytest.fixture
async def talks(storage: PostgresStorage) -> PostgresStorage:
    """A conversation of ada's, and one of bob's."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    return storage


async def test_set_working_memory_replaces_that_of_its_scope(talks: PostgresStorage) -> None:
    """set_working_memory() replaces the memory of the scope: the other id, if given, changes nothing."""
    await talks.set_working_memory("ada's", scope="user", user_id="ada", conversation_id="c1")
    await talks.set_working_memory("c1's", scope="conversation", user_id="ada", conversation_id="c1")
    await talks.set_working_memory("c1's now", scope="conversation", conversation_id="c1")

    assert await talks.get_working_memory(scope="user", user_id="ada") == "ada's"
    assert await talks.get_working_memory(scope="conversation", conversation_id="c1") == "c1's now"
    history = await talks.working_memory("ada", "c1").history()
    assert [each.content for each in history] == ["c1's now", "c1's"]


async def test_get_working_memory_is_none_where_there_is_none(talks: PostgresStorage) -> None:
    """get_working_memory() is None where nothing was stored, for an absent conversation, and for another user's."""
    await talks.set_working_memory("b1's", scope="conversation", conversation_id="b1")

    assert await talks.get_working_memory(scope="user", user_id="ada") is None
    assert await talks.get_working_memory(scope="conversation", conversation_id="c1") is None
    assert await talks.get_working_memory(scope="conversation", conversation_id="absent") is None
    assert await talks.get_working_memory(scope="conversation", user_id="ada", conversation_id="b1") is None
    assert await talks.get_working_memory(scope="conversation", user_id=ANY_USER, conversation_id="b1") == "b1's"


async def test_set_working_memory_needs_the_conversation(talks: PostgresStorage) -> None:
    """set_working_memory() of an absent conversation, or of another user's, raises ConversationNotFoundError."""
    for user, id in (("ada", "b1"), ("ada", "absent"), (ANY_USER, "absent")):
        with pytest.raises(ConversationNotFoundError):
            await talks.set_working_memory("x", scope="conversation", user_id=user, conversation_id=id)


async def test_set_working_memory_refuses_to_empty_it(talks: PostgresStorage) -> None:
    """set_working_memory() refuses an empty text, which delete_working_memory() is for, and one that is too large."""
    for content in ("", " \n", "{}", "x" * 100_001):
        with pytest.raises(InvalidInputError):
            await talks.set_working_memory(content, scope="user", user_id="ada")


async def test_delete_working_memory_returns_whether_there_was_one(talks: PostgresStorage) -> None:
    """delete_working_memory() deletes that of the scope, once, and nothing of another user's."""
    await talks.set_working_memory("ada's", scope="user", user_id="ada")
    await talks.set_working_memory("b1's", scope="conversation", conversation_id="b1")

    assert await talks.delete_working_memory(scope="user", user_id="ada") is True
    assert await talks.delete_working_memory(scope="user", user_id="ada") is False
    assert await talks.delete_working_memory(scope="conversation", user_id="ada", conversation_id="b1") is False
    assert await talks.get_working_memory(scope="user", user_id="ada") is None
    assert await talks.get_working_memory(scope="conversation", conversation_id="b1") == "b1's"


@pytest.mark.parametrize(
    "arguments",
    [
        {"scope": "user"},
        {"scope": "user", "user_id": ANY_USER},
        {"scope": "user", "user_id": ""},
        {"scope": "user", "user_id": "ada", "conversation_id": ""},
        {"scope": "conversation"},
        {"scope": "conversation", "user_id": "ada"},
        {"scope": "conversation", "user_id": None, "conversation_id": "c1"},
        {"scope": "agent", "user_id": "ada"},
        {"scope": None, "user_id": "ada"},
    ],
)
async def test_get_working_memory_needs_the_id_of_its_scope(talks: PostgresStorage, arguments: dict[str, Any]) -> None:
    """A scope that is unknown, or whose id is missing, is refused before anything is sent."""
    with pytest.raises(InvalidInputError):
        await talks.get_working_memory(**arguments)


async def test_a_conversation_takes_its_memory_along(
    talks: PostgresStorage, connection: Connection, schema: str
) -> None:
    """The memory is deleted with its conversation, goes with it to another user, and is copied into a fork."""
    memory = talks.working_memory("ada", "c1")
    await memory.set("draft")
    await memory.set("plans", author="planner")

    await talks.fork_conversation("c1", id="copy")
    await talks.update_conversation("c1", user_id="bob")

    assert await memory.get() is None
    assert await talks.get_working_memory(scope="conversation", user_id="bob", conversation_id="c1") == "plans"
    copied = await talks.working_memory("ada", "copy").history()
    assert [(each.version, each.content, each.change, each.author) for each in copied] == [
        (1, "plans", "fork", "planner")
    ]
    await talks.working_memory("ada", "copy").append("more")
    assert await talks.get_working_memory(scope="conversation", conversation_id="c1") == "plans"
    for id in ("c1", "copy"):
        await talks.delete_conversation(id)
    assert await connection.fetchval(f'SELECT count(*) FROM "{schema}".voltagent_memory_conversation_memory') == 0


async def test_a_fork_of_a_conversation_without_memory_has_none(talks: PostgresStorage) -> None:
    """A deleted memory is not copied, nor its history."""
    memory = talks.working_memory("ada", "c1")
    await memory.set("plans")
    await memory.delete()

    await talks.fork_conversation("c1", id="copy")

    assert await talks.working_memory("ada", "copy").history() == []


async def test_the_application_metadata_is_its_own(talks: PostgresStorage) -> None:
    """Without VoltAgent, the memory is not in the metadata, and a "workingMemory" there is the application's."""
    await talks.update_conversation("c1", metadata={"workingMemory": "the application's"})
    assert await talks.get_working_memory(scope="conversation", conversation_id="c1") is None

    await talks.set_working_memory("plans", scope="conversation", conversation_id="c1")

    found = await talks.get_conversation("c1")
    assert found is not None
    assert found.metadata == {"workingMemory": "the application's"}
    assert await talks.get_working_memory(scope="conversation", conversation_id="c1") == "plans"
