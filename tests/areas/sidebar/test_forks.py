"""Rewinding deletes the end of a conversation; forking copies its beginning."""

from __future__ import annotations

import json

import pytest

from tests.conftest import MakeStorage
from voltmem import ANY_USER, ConversationExistsError, ConversationNotFoundError, MessageNotFoundError, PostgresStorage


async def said(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.text for message in await storage.get_messages(ANY_USER, conversation_id, limit=None)]


async def test_rewind_conversation_deletes_what_follows_the_message(talk: PostgresStorage) -> None:
    """rewind_conversation() deletes the messages after a given one, in the order of adding where times are equal."""
    await talk.add_message({"id": "m1", "role": "user", "content": "other"}, "ada", "c2", resource_id="docs")

    assert await talk.rewind_conversation("c1", "m4") == 0
    assert await talk.rewind_conversation("c1", "m1", owner="ada") == 3
    assert await said(talk) == ["0", "1"]
    assert await said(talk, "c2") == ["other"]
    with pytest.raises(MessageNotFoundError):
        await talk.rewind_conversation("c1", "m4")
    with pytest.raises(ConversationNotFoundError):
        await talk.rewind_conversation("c1", "m0", owner="bob")
    assert await said(talk) == ["0", "1"]


async def windowed(storage: PostgresStorage, count: int) -> None:
    """A conversation of *count* messages, after the storage's limit was applied."""
    messages = [{"id": f"m{n}", "role": "user", "content": str(n)} for n in range(count)]
    await storage.add_messages(messages, "ada", "c1", resource_id="docs")


@pytest.mark.parametrize(("up_to", "shown"), [("m2", ["0", "1", "2"]), ("m6", ["4", "5", "6"]), ("m0", ["0"])])
async def test_rewind_conversation_and_forks_bring_back_archived_messages(
    make_storage: MakeStorage, up_to: str, shown: list[str]
) -> None:
    """rewind_conversation() and forks at an archived message restore the messages before it, within the limit."""
    storage = make_storage(storage_limit=3, on_limit="archive")
    await windowed(storage, 8)

    fork = await storage.fork_conversation("c1", up_to=up_to)
    await storage.rewind_conversation("c1", up_to)

    for conversation_id in ("c1", fork.id):
        assert await said(storage, conversation_id) == shown
        kept = await storage.get_messages("ada", conversation_id, limit=None, include_archived=True)
        assert [message.id for message in kept] == [f"m{n}" for n in range(int(up_to[1:]) + 1)]


@pytest.mark.parametrize(("limit", "shown"), [(None, ["0", "1", "2", "3"]), (0, [])])
async def test_without_a_limit_all_that_was_put_aside_comes_back(
    make_storage: MakeStorage, limit: int | None, shown: list[str]
) -> None:
    """Without a limit all archived messages are restored; with a limit of 0, none."""
    await windowed(make_storage(storage_limit=1, on_limit="archive"), 5)
    storage = make_storage(storage_limit=limit, on_limit="archive")

    fork = await storage.fork_conversation("c1", up_to="m3")
    await storage.rewind_conversation("c1", "m3")

    assert await said(storage) == await said(storage, fork.id) == shown


async def test_fork_conversation_copies_up_to_the_message(talk: PostgresStorage) -> None:
    """fork_conversation() copies up to the message, with ids, times and order; then the two are independent."""
    await talk.rename_conversation("c1", "Trip")
    await talk.tag_conversation("c1", ["work"])

    fork = await talk.fork_conversation("c1", up_to="m2", id="f1")
    await talk.add_message({"role": "user", "content": "elsewhere"}, "ada", "f1")
    await talk.delete_conversation("c1")

    assert (fork.id, fork.user_id, fork.resource_id, fork.title) == ("f1", "ada", "docs", "Trip")
    assert await said(talk, "f1") == ["0", "1", "2", "elsewhere"]
    (item,) = (await talk.list_conversations("ada")).items
    assert (item.forked_from, item.forked_up_to, item.tags) == ("c1", "m2", ["work"])


async def test_fork_conversation_without_a_message_copies_all(talk: PostgresStorage) -> None:
    """fork_conversation() without up_to copies all messages, equal."""
    fork = await talk.fork_conversation("c1")

    assert await talk.get_messages("ada", fork.id) == await talk.get_messages("ada", "c1")


async def test_fork_conversation_is_younger_than_its_source(storage: PostgresStorage) -> None:
    """fork_conversation() makes a newer conversation, even in the transaction that made its source."""
    async with storage.transaction() as tx:
        source = await tx.create_conversation({"id": "c2", "user_id": "ada"})
        fork = await tx.fork_conversation("c2", id="c1")

    assert source.created_at < fork.created_at
    assert [item.id for item in (await storage.list_conversations("ada")).items] == ["c1", "c2"]
    lines = [json.loads(line) async for line in storage.export_user("ada")]
    assert [line["id"] for line in lines[1:-1]] == ["c2", "c1"]


async def test_fork_conversation_that_fails_leaves_nothing(talk: PostgresStorage) -> None:
    """fork_conversation() of a missing message or conversation, or to an existing id, stores nothing."""
    await talk.create_conversation({"id": "taken", "user_id": "bob"})

    with pytest.raises(MessageNotFoundError):
        await talk.fork_conversation("c1", up_to="nowhere", id="f1")
    with pytest.raises(ConversationNotFoundError):
        await talk.fork_conversation("nowhere", id="f1")
    with pytest.raises(ConversationNotFoundError):
        await talk.fork_conversation("c1", id="f1", owner="bob")
    with pytest.raises(ConversationExistsError):
        await talk.fork_conversation("c1", id="taken")

    assert await talk.count_conversations() == 2
    assert await said(talk, "taken") == []
