"""Several users write in one conversation, as VoltAgent 1 and 2 let them: each deletes their own messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.areas.changes.watching import watching
from tests.conftest import Connection, MakeStorage
from tests.postgres.voltagent.rows import PREFIX
from tests.voltagent import add_message, create_conversation, load
from voltmem import ANY_USER, Forgotten, PostgresStorage, Pruned

OLD = datetime.now(UTC) - timedelta(days=100)
WEEK = timedelta(days=7)


@pytest.fixture
async def shared(make_storage: MakeStorage, connection: Connection, schema: str) -> PostgresStorage:
    """A storage with ada's conversation "c", in which ada and bob have written with VoltAgent, in turn."""
    await load(connection, "2.1.2", schema)
    await create_conversation(connection, schema, "c", "ada", OLD)
    for number in range(4):
        user = ("ada", "bob")[number % 2]
        parts = [{"type": "text", "text": f"{user} says {number}"}]
        at = OLD + timedelta(minutes=number)
        await add_message(connection, "2.1.2", schema, "c", f"{user}{number}", user, parts, at)
    return make_storage(storage_limit=None)


async def summarise(messages: object, before: object) -> str:
    return "What was said."


async def ids(storage: PostgresStorage) -> list[str]:
    return [each.id for each in await storage.get_conversation_messages("c")]


async def test_delete_messages_deletes_ones_own_in_anothers_conversation(shared: PostgresStorage) -> None:
    """A user deletes their own messages in another's conversation; nobody deletes those of others there."""
    assert await shared.delete_messages(["ada0", "bob1", "ada2", "bob3"], "eve", "c") == 0
    assert await shared.delete_messages(["ada0", "bob1", "ada2"], "bob", "c") == 1
    assert await ids(shared) == ["ada0", "ada2", "bob3"]
    assert await shared.delete_messages(["ada0", "bob3"], "ada", "c") == 1
    assert await shared.delete_messages(["ada2"], "default", "c") == 0
    assert await ids(shared) == ["ada2", "bob3"]


async def test_clear_messages_clears_ones_own_in_anothers_conversation(shared: PostgresStorage) -> None:
    """clear_messages() with another's conversation deletes the user's own messages there."""
    assert await shared.clear_messages("eve", "c") == 0
    assert await shared.clear_messages("bob", "c") == 2
    assert await ids(shared) == ["ada0", "ada2"]


async def test_what_a_guest_deletes_changes_no_branch_of_the_owner(shared: PostgresStorage) -> None:
    """Ids of messages that stay are ignored: what follows one of them goes on following it."""
    await shared.branch_conversation("c", "ada0")
    await shared.add_message({"id": "new", "role": "user", "content": "again"}, "ada", "c")
    before = await shared.list_branches("c")

    await shared.delete_messages(["ada0", "ada2", "bob3"], "bob", "c")
    await shared.forget("bob", ["ada0", "ada2"])

    assert await shared.list_branches("c") == before


async def test_forget_reaches_what_a_user_wrote_in_anothers_conversation(
    shared: PostgresStorage, connection: Connection, schema: str
) -> None:
    """forget() deletes the user's own messages there, in the trash, too, with what was derived; the title stays."""
    await shared.open()
    await connection.execute(f"UPDATE {schema}.{PREFIX}_conversations SET title_is_automatic = true WHERE id = 'c'")
    for id in ("ada0", "bob1"):
        await connection.execute(
            f"INSERT INTO {schema}.{PREFIX}_steps "
            "(id, conversation_id, user_id, agent_id, step_index, type, role, content) "
            f"VALUES ('{id}', 'c', '{id[:3]}', 'a', 1, 'text', 'user', '{id[:3]} says {id[3:]}')"
        )

    done = await shared.forget("bob", ["ada0", "bob1"])

    assert done == Forgotten(messages=1, conversations=1, voltagent_steps=1)
    assert await ids(shared) == ["ada0", "ada2", "bob3"]
    conversation = await shared.get_conversation("c")
    assert conversation is not None
    assert conversation.title == "From VoltAgent"
    assert (await shared.forget("bob", ["bob3"], "another")).messages == 0
    await shared.soft_delete_conversation("c")
    assert (await shared.forget("ada", ["bob3"])).messages == 0
    assert (await shared.forget("bob", ["ada2", "bob3"], "c")).messages == 1
    await shared.restore_conversation("c")
    assert await ids(shared) == ["ada0", "ada2"]


async def test_prune_reaches_what_a_user_wrote_in_anothers_conversation(
    shared: PostgresStorage, connection: Connection, schema: str
) -> None:
    """prune() of a user deletes the user's own old messages there; the conversation and others' messages stay."""
    new = datetime.now(UTC)
    await add_message(connection, "2.1.2", schema, "c", "bob4", "bob", [{"type": "text", "text": "new"}], new)

    await shared.conversation("ada", "c").compact(summarise, keep_turns=1)
    for dry_run in (True, False):
        done = await shared.prune("bob", older_than=WEEK, dry_run=dry_run)
        assert done == Pruned(messages=2, conversations=0, runs=0)
    assert await ids(shared) == ["ada0", "ada2", "bob4"]
    assert await connection.fetchval(f"SELECT count(*) FROM {shared._options.tables.summaries}") == 0
    assert await shared.prune("bob", older_than=timedelta(0), resource_id="another") == Pruned(
        messages=0, conversations=0, runs=0
    )
    assert (await shared.prune("bob", older_than=timedelta(0), keep_last=1)).messages == 0
    assert (await shared.prune("bob", older_than=timedelta(0))).messages == 1
    assert await ids(shared) == ["ada0", "ada2"]


async def test_watchers_are_told_what_a_guest_deletes(shared: PostgresStorage) -> None:
    """The owner of the conversation sees an "updated" for each deletion."""
    async with watching(shared) as recorder:
        await shared.delete_messages(["bob1"], "bob", "c")
        assert await recorder.pair() == ("updated", "c")
        await shared.forget("bob", ["bob3"])
        assert await recorder.pair() == ("updated", "c")


async def test_prune_of_the_owner_leaves_what_others_wrote(
    shared: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Where a conversation stays, prune() of its owner deletes the owner's messages; prune(ANY_USER) deletes all."""
    await add_message(
        connection, "2.1.2", schema, "c", "ada9", "ada", [{"type": "text", "text": "new"}], datetime.now(UTC)
    )

    assert (await shared.prune("ada", older_than=WEEK)).messages == 2
    assert await ids(shared) == ["bob1", "bob3", "ada9"]
    await shared.prune(ANY_USER, older_than=WEEK)
    assert await ids(shared) == ["ada9"]
