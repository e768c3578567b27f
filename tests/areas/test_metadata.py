"""Merging metadata: a JSON Merge Patch (RFC 7396), applied in the database."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from pydantic import JsonValue

from tests.calls import PATIENCE, wait_until_blocked
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from tests.values import alike, json_of, metadatas, storable_texts
from voltmem import ANY_USER, ConversationNotFoundError, Message, MessageNotFoundError, PostgresStorage
from voltmem._values import jsonb_copy

# Document, patch and result: RFC 7396, appendix A.
OF_THE_RFC: Final[list[tuple[Any, Any, Any]]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.fixture
async def storage(storage: PostgresStorage) -> PostgresStorage:
    """A storage with ada's conversation c1 and its message m1."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "metadata": {"n": 1}})
    await storage.add_message({"id": "m1", "role": "assistant", "content": [1], "metadata": {"n": 1}}, "ada", "c1")
    return storage


async def patched(connection: Connection, storage: PostgresStorage, target: JsonValue, patch: JsonValue) -> JsonValue:
    """Return what the function of the database makes of a document."""
    statement = f"SELECT {storage._options.tables.merge_patch}($1::text::jsonb, $2::text::jsonb)::text"
    made: JsonValue = json.loads(await connection.fetchval(statement, json.dumps(target), json.dumps(patch)))
    return made


def merge_patch(target: JsonValue, patch: JsonValue) -> JsonValue:
    """The algorithm of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


# --- the function ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "patch", "result"), OF_THE_RFC)
async def test_the_examples_of_the_rfc(
    storage: PostgresStorage, connection: Connection, target: Any, patch: Any, result: Any
) -> None:
    """The function of the database gives the result of each example of RFC 7396."""
    assert alike(await patched(connection, storage, target, patch), result)


@given(json_of(storable_texts).map(jsonb_copy), json_of(storable_texts).map(jsonb_copy))
@example({"a": {"b": {"c": 1, "d": None}}}, {"a": {"b": {"c": None, "": {}}}, "a\\": [None]})
@examples(150)
async def test_any_patch_is_applied_as_the_rfc_says(
    storage: PostgresStorage, connection: Connection, target: JsonValue, patch: JsonValue
) -> None:
    """For any two JSON values the function of the database gives what the RFC's algorithm gives."""
    assert alike(await patched(connection, storage, target, patch), merge_patch(target, patch))


async def test_a_deep_patch_is_applied(storage: PostgresStorage) -> None:
    """A patch as deep as metadata may be does not exceed the server's stack."""
    deep: Any = {}
    for number in range(199):
        deep = {"a": deep, "n": number}

    merged = await storage.merge_message_metadata(deep, "ada", "c1", "m1")

    assert merged.metadata == deep
    assert (await storage.merge_message_metadata(deep, "ada", "c1", "m1")).metadata == deep


# --- messages --------------------------------------------------------------------------------------------------------


async def test_merge_message_metadata_changes_the_given_fields_only(storage: PostgresStorage) -> None:
    """merge_message_metadata() returns the message as every read returns it; content, time and order are the same."""
    (before,) = await storage.get_messages("ada", "c1")
    await storage.add_message({"id": "m2", "role": "user", "content": "?"}, "ada", "c1")

    merged = await storage.merge_message_metadata({"feedback": {"type": "positive"}}, "ada", "c1", "m1")

    assert merged == before.model_copy(update={"metadata": {"n": 1, "feedback": {"type": "positive"}}})
    assert [each.id for each in await storage.get_messages("ada", "c1")] == ["m1", "m2"]
    merged = await storage.merge_message_metadata({"feedback": {"comment": "Good"}, "n": None}, "ada", "c1", "m1")
    assert merged.metadata == {"feedback": {"type": "positive", "comment": "Good"}}
    assert await storage.get_message("ada", "c1", "m1") == merged
    assert (await storage.merge_message_metadata({"feedback": None}, ANY_USER, "c1", "m1")).metadata == {}


@given(metadatas, metadatas)
@examples(30)
async def test_what_merge_returns_is_what_was_stored(
    storage: PostgresStorage, first: dict[str, JsonValue], patch: dict[str, JsonValue]
) -> None:
    """merge_message_metadata() and merge_conversation_metadata() merge what they would store."""
    message = Message(id="m1", role="user", content="", metadata=first)
    await storage.add_message(message, "ada", "c1")
    await storage.update_conversation("c1", metadata=first)
    expected = merge_patch(first, patch)

    assert alike((await storage.merge_message_metadata(patch, "ada", "c1", "m1")).metadata, expected)
    assert alike((await storage.merge_conversation_metadata("c1", patch, owner="ada")).metadata, expected)


async def test_merge_message_metadata_needs_the_owners_message(storage: PostgresStorage) -> None:
    """merge_message_metadata() raises for another user's conversation, a deleted one, and a missing message."""
    with pytest.raises(ConversationNotFoundError, match="another user's"):
        await storage.merge_message_metadata({"n": 2}, "eve", "c1", "m1")
    with pytest.raises(MessageNotFoundError, match="'m9'"):
        await storage.merge_message_metadata({"n": 2}, "ada", "c1", "m9")
    with pytest.raises(ConversationNotFoundError):
        await storage.merge_message_metadata({"n": 2}, ANY_USER, "c9", "m1")
    await storage.soft_delete_conversation("c1")
    with pytest.raises(ConversationNotFoundError, match="was deleted"):
        await storage.merge_message_metadata({"n": 2}, "ada", "c1", "m1")

    await storage.restore_conversation("c1")
    assert [each.metadata for each in await storage.get_messages("ada", "c1")] == [{"n": 1}]


async def test_merge_message_metadata_keeps_the_place_in_the_sidebar(storage: PostgresStorage) -> None:
    """merge_message_metadata() is no activity: updated_at, the unread mark and the preview stay; watchers see it."""
    await storage.mark_conversation_read("c1")
    before = await storage.get_conversation_item("c1")
    changes = storage.watch("ada")
    assert (await anext(changes)).kind == "ready"

    await storage.merge_message_metadata({"n": 2}, "ada", "c1", "m1")

    async with asyncio.timeout(PATIENCE):
        change = await anext(changes)
    await changes.aclose()
    assert (change.kind, change.conversation_id) == ("updated", "c1")
    assert await storage.get_conversation_item("c1") == before


async def test_merge_message_metadata_reaches_archived_messages(make_storage: MakeStorage) -> None:
    """merge_message_metadata() and get_message(include_archived=True) reach a message that the limit archived."""
    storage = make_storage(storage_limit=1, on_limit="archive")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    for id in ("m1", "m2"):
        await storage.add_message({"id": id, "role": "user", "content": id}, "ada", "c1")

    merged = await storage.merge_message_metadata({"n": 2}, "ada", "c1", "m1")

    assert merged.metadata == {"n": 2}
    assert await storage.get_message("ada", "c1", "m1") is None
    assert await storage.get_message("ada", "c1", "m1", include_archived=True) == merged


# --- conversations ---------------------------------------------------------------------------------------------------


async def test_merge_conversation_metadata_changes_the_given_fields_only(storage: PostgresStorage) -> None:
    """merge_conversation_metadata() returns the conversation as stored; its title, times and place are the same."""
    before = await storage.update_conversation("c1", title="Mine")

    merged = await storage.merge_conversation_metadata("c1", {"model": {"name": "fast"}}, owner="ada")

    assert merged == before.model_copy(update={"metadata": {"n": 1, "model": {"name": "fast"}}})
    assert await storage.get_conversation("c1") == merged
    merged = await storage.merge_conversation_metadata("c1", {"model": {"name": None}, "n": None})
    assert merged.metadata == {"model": {}}


async def test_merge_conversation_metadata_needs_the_owners_conversation(storage: PostgresStorage) -> None:
    """merge_conversation_metadata() raises for another user's conversation, and for a deleted one."""
    with pytest.raises(ConversationNotFoundError):
        await storage.merge_conversation_metadata("c1", {"n": 2}, owner="eve")
    await storage.soft_delete_conversation("c1")
    with pytest.raises(ConversationNotFoundError, match="was deleted"):
        await storage.merge_conversation_metadata("c1", {"n": 2})


# --- concurrent writers ----------------------------------------------------------------------------------------------


async def test_concurrent_merges_lose_nothing(make_storage: MakeStorage, storage: PostgresStorage) -> None:
    """Of many concurrent merges of different fields, all are in the metadata afterwards."""
    other = make_storage()
    fields: list[dict[str, JsonValue]] = [{"votes": {f"user {number}": "positive"}} for number in range(20)]

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            *(
                (storage, other)[number % 2].merge_message_metadata(field, "ada", "c1", "m1")
                for number, field in enumerate(fields)
            ),
            *(
                (storage, other)[number % 2].merge_conversation_metadata("c1", field)
                for number, field in enumerate(fields)
            ),
        )

    message, conversation = await storage.get_message("ada", "c1", "m1"), await storage.get_conversation("c1")
    assert message is not None
    assert conversation is not None
    expected = {"n": 1, "votes": {f"user {number}": "positive" for number in range(20)}}
    assert message.metadata == conversation.metadata == expected


async def test_a_merge_waits_for_a_writer_and_sees_it(storage: PostgresStorage, connection: Connection) -> None:
    """A merge that waits for an open transaction is applied to what the transaction has committed."""
    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await tx.merge_message_metadata({"one": 1}, "ada", "c1", "m1")
        await tx.merge_conversation_metadata("c1", {"one": 1})
        message = asyncio.create_task(storage.merge_message_metadata({"two": 2}, "ada", "c1", "m1"))
        conversation = asyncio.create_task(storage.merge_conversation_metadata("c1", {"two": 2}))
        await wait_until_blocked(connection, tx.connection)

    assert (await message).metadata == (await conversation).metadata == {"n": 1, "one": 1, "two": 2}


async def test_a_merge_of_a_message_that_is_deleted_meanwhile_raises(
    storage: PostgresStorage, connection: Connection
) -> None:
    """A merge that waits for a deletion of its message stores nothing and raises."""
    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await tx.delete_messages(["m1"], "ada", "c1")
        merging = asyncio.create_task(storage.merge_message_metadata({"two": 2}, "ada", "c1", "m1"))
        await wait_until_blocked(connection, tx.connection)

    with pytest.raises(MessageNotFoundError):
        await merging
