"""Rewinding drops the end of a conversation, forking copies its beginning."""

from __future__ import annotations

import json

import pytest

from tests.conftest import MakeStorage
from voltmem import ConversationExistsError, ConversationNotFoundError, MessageNotFoundError, PostgresStorage


async def said(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.text for message in await storage.get_messages(None, conversation_id, limit=None)]


async def test_rewinding_drops_what_follows(talk: PostgresStorage) -> None:
    """In the order of adding where times tie; the message itself stays, and another conversation's, too."""
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
    """A conversation of so many messages, as the storage's limit leaves it."""
    messages = [{"id": f"m{n}", "role": "user", "content": str(n)} for n in range(count)]
    await storage.add_messages(messages, "ada", "c1", resource_id="docs")


@pytest.mark.parametrize(("up_to", "shown"), [("m2", ["0", "1", "2"]), ("m6", ["4", "5", "6"]), ("m0", ["0"])])
async def test_what_was_put_aside_comes_back_as_far_as_the_limit_allows(
    make_storage: MakeStorage, up_to: str, shown: list[str]
) -> None:
    """Rewound or forked to a message that the limit put aside, a conversation shows what led to it."""
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
    """And with a limit of none, nothing."""
    await windowed(make_storage(storage_limit=1, on_limit="archive"), 5)
    storage = make_storage(storage_limit=limit, on_limit="archive")

    fork = await storage.fork_conversation("c1", up_to="m3")
    await storage.rewind_conversation("c1", "m3")

    assert await said(storage) == await said(storage, fork.id) == shown


async def test_a_fork_is_a_copy_that_remembers(talk: PostgresStorage) -> None:
    """Up to the message, with ids, times and order; from then on each goes its own way."""
    await talk.rename_conversation("c1", "Trip")
    await talk.tag_conversation("c1", ["work"])

    fork = await talk.fork_conversation("c1", up_to="m2", id="f1")
    await talk.add_message({"role": "user", "content": "elsewhere"}, "ada", "f1")
    await talk.delete_conversation("c1")

    assert (fork.id, fork.user_id, fork.resource_id, fork.title) == ("f1", "ada", "docs", "Trip")
    assert await said(talk, "f1") == ["0", "1", "2", "elsewhere"]
    (item,) = (await talk.list_conversations("ada")).items
    assert (item.forked_from, item.forked_up_to, item.tags) == ("c1", "m2", ["work"])


async def test_a_fork_of_all_is_all_of_it(talk: PostgresStorage) -> None:
    """Without up_to; the messages are equal."""
    fork = await talk.fork_conversation("c1")

    assert await talk.get_messages("ada", fork.id) == await talk.get_messages("ada", "c1")


async def test_a_fork_is_younger_than_what_it_was_made_of(storage: PostgresStorage) -> None:
    """In the transaction that made both, too: an export tells of the source first, the list of the copy first."""
    async with storage.transaction() as tx:
        source = await tx.create_conversation({"id": "c2", "user_id": "ada"})
        fork = await tx.fork_conversation("c2", id="c1")

    assert source.created_at < fork.created_at
    assert [item.id for item in (await storage.list_conversations("ada")).items] == ["c1", "c2"]
    lines = [json.loads(line) async for line in storage.export_user("ada")]
    assert [line["id"] for line in lines[1:-1]] == ["c2", "c1"]


async def test_a_fork_that_cannot_be_leaves_nothing(talk: PostgresStorage) -> None:
    """A message that isn't there, a conversation that isn't there or is another's, an id that is taken."""
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
