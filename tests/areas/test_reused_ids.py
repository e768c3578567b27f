"""What belongs to a user is decided by the user's id, and not by the id of a conversation, which can be used again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import Connection, MakeStorage
from voltmem import ConversationNotFoundError, InvalidOptionError, PostgresStorage, UserStorage, web
from voltmem._areas.transfer import imports
from voltmem._values import derived_id

HI = {"id": "m", "role": "user", "content": "hi"}


async def gone(storage: PostgresStorage, way: str) -> None:
    """Make ada's conversation c1 and record a run in it, then free the id."""
    ada = storage.for_user("ada")
    if way != "before it is made":
        await ada.create_conversation({"id": "c1"})
    async with storage.record_run("agent", input="ada's question", conversation_id="c1") as run:
        run.output = "ada's answer"
    if way == "delete_conversation":
        await ada.delete_conversation("c1")
    elif way == "purge":
        await ada.soft_delete_conversation("c1")
        await ada.purge_deleted_conversations()
    elif way == "given away":
        await storage.update_conversation("c1", user_id="mallory")


@pytest.mark.parametrize("way", ["delete_conversation", "purge", "before it is made", "given away"])
async def test_a_conversations_id_inherits_no_run(way: str, storage: PostgresStorage) -> None:
    """Whoever makes a conversation with the id of a deleted one has none of the runs that were in it."""
    await gone(storage, way)
    mallory = storage.for_user("mallory")
    await mallory.ensure_conversation({"id": "c1"})
    (run,) = (await storage.list_history_entries()).entries

    lines = [json.loads(line) async for line in mallory.export_user()]
    assert [line["kind"] for line in lines] == ["header", "conversation", "end"]
    assert not await storage.delete_history_entry(run.id, owner="mallory")
    assert run.user_id == (None if way == "before it is made" else "ada")


async def test_a_run_belongs_to_the_owner_of_its_conversation(storage: PostgresStorage) -> None:
    """A run without a user in a conversation that is there is its owner's: exported, and deleted with the user."""
    await gone(storage, "it stays")

    lines = [json.loads(line) async for line in storage.export_user("ada")]
    assert [line["kind"] for line in lines] == ["header", "conversation", "run", "end"]
    assert await storage.delete_user("ada") == 2
    assert (await storage.list_history_entries()).entries == []


# --- another user's lock ------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[UserStorage, str], Awaitable[object]]] = {
    "add_message": lambda mine, c: mine.add_message(HI, c),
    "add_message with resource_id": lambda mine, c: mine.add_message(HI, c, resource_id="r"),
    "add_messages": lambda mine, c: mine.add_messages([HI], c),
    "memory.add": lambda mine, c: mine.conversation(c).add(HI),
    "memory.title": lambda mine, c: mine.conversation(c).title("mine"),
    "ensure_conversation": lambda mine, c: mine.ensure_conversation({"id": c}),
    "update_conversation": lambda mine, c: mine.update_conversation(c, title="mine"),
    "rewind_conversation": lambda mine, c: mine.rewind_conversation(c, "m"),
    "rename_conversation": lambda mine, c: mine.rename_conversation(c, "mine"),
    "fork_conversation": lambda mine, c: mine.fork_conversation(c),
    "share_conversation": lambda mine, c: mine.share_conversation(c),
    "branch_conversation": lambda mine, c: mine.branch_conversation(c, None),
    "choose_branch": lambda mine, c: mine.choose_branch(c, "m"),
    "soft_delete_conversation": lambda mine, c: mine.soft_delete_conversation(c),
    "merge_message_metadata": lambda mine, c: mine.merge_message_metadata({}, c, "m"),
}


@pytest.mark.parametrize("name", WRITES)
async def test_another_users_lock_is_not_waited_for(
    name: str, storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """A write to another user's conversation is refused while its owner writes to it."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message(HI, "ada", "c1")
    table = storage._options.tables.conversations

    async with connection.transaction():
        await connection.execute(f"SELECT 1 FROM {table} WHERE id = 'c1' FOR UPDATE")
        async with asyncio.timeout(10):
            with pytest.raises(LookupError) as refused:
                await WRITES[name](storage.for_user("mallory"), "c1")

    assert isinstance(refused.value, ConversationNotFoundError)


async def test_calls_of_several_users_for_one_id_are_told_apart(storage: PostgresStorage) -> None:
    """Of calls that are sent together for one conversation, those of its owner are stored, in any order."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    users = ["mallory", "ada", "bob", "mallory", "ada", "ada", "mallory"]

    outcomes: list[Any] = await asyncio.gather(
        *(storage.add_message({"role": "user", "content": user}, user, "c1", resource_id="r") for user in users),
        return_exceptions=True,
    )

    assert [isinstance(outcome, ConversationNotFoundError) for outcome in outcomes] == [user != "ada" for user in users]
    assert [message.content for message in await storage.get_messages("ada", "c1")] == ["ada"] * 3


# --- guessed ids --------------------------------------------------------------------------------------------------


async def test_an_import_looks_for_a_free_id_once(make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many derived ids somebody took, an import sends its messages twice, and is the same when repeated."""
    storage = make_storage()
    taken = "c1"
    for _ in range(30):
        await storage.create_conversation({"id": taken, "user_id": "mallory"})
        taken = derived_id("ada", taken)
    monkeypatch.setattr(imports, "_DERIVED", 20)
    sent = 0
    store = imports.Imports._store

    async def counted(self: imports.Imports, *arguments: Any) -> Any:
        nonlocal sent
        sent += 1
        return await store(self, *arguments)

    monkeypatch.setattr(imports.Imports, "_store", counted)
    lines = [{"voltmem": 1, "kind": "header"}, {"kind": "conversation", "id": "c1"}, {"kind": "message", **HI}]
    text = [json.dumps(line) for line in [*lines, {"kind": "end"}]]
    first, again = await storage.import_user("ada", text), await storage.import_user("ada", text)

    assert [(each.id, each.new_id) for each in first.renamed] == [("c1", taken)]
    assert (first.conversations, again.conversations, len(again.skipped)) == (1, 0, 1)
    assert sent == 4


async def test_a_short_id_of_an_import_can_be_replaced(storage: PostgresStorage) -> None:
    """With shortest_id, an import stores conversations with shorter ids under others, the same each time."""
    lines = [{"voltmem": 1, "kind": "header"}, {"kind": "conversation", "id": "support-ada"}, {"kind": "message", **HI}]
    text = [json.dumps(line) for line in [*lines, {"kind": "end"}]]

    first = await storage.import_user("mallory", text, shortest_id=16)
    again = await storage.import_user("mallory", text, shortest_id=16)

    assert [(each.id, len(each.new_id)) for each in first.renamed] == [("support-ada", 36)]
    assert len(again.skipped) == 1
    await storage.create_conversation({"id": "support-ada", "user_id": "ada"})


def test_chosen_ids_is_long_or_any() -> None:
    """Another value of chosen_ids is an error that names both."""
    storage, wrong = PostgresStorage("postgresql://h/d"), "short"

    with pytest.raises(InvalidOptionError, match='chosen_ids \'short\': use "long" or "any"'):
        web.router(storage, user=lambda: "ada", chosen_ids=wrong)  # type: ignore[arg-type]
