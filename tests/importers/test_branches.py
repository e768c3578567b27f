"""The branches of ChatGPT's conversations are branches like any others, and grow with newer exports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeStorage
from tests.importers.exports import BEGAN, chat, node
from voltmem import ImportedConversation, ImportResult, Message, PostgresStorage
from voltmem._areas.transfer.growth import progress
from voltmem._areas.transfer.models import ImportedMessage
from voltmem.importers import from_chatgpt

QUESTION = node("m1", None, "Weather?", time=BEGAN)
RAIN = node("m2", "m1", "Rain.", role="assistant", time=BEGAN + 1)
THANKS = node("m3", "m2", "Thanks.", time=BEGAN + 2)
SUN = node("m4", "m1", "Sun.", role="assistant", time=BEGAN + 3)
FIRST = (QUESTION, RAIN, THANKS, SUN)
LATER = {"update_time": BEGAN + 600}

BEGAN_AT = datetime(2026, 1, 1, tzinfo=UTC)


async def imported(storage: PostgresStorage, *nodes: Mapping[str, Any], **fields: Any) -> ImportResult:
    return await storage.import_conversations("ada", from_chatgpt([chat(*nodes, **fields)]))


async def line(storage: PostgresStorage) -> list[str]:
    return [message.id for message in await storage.get_messages("ada", "chat-1")]


async def points(storage: PostgresStorage) -> list[tuple[str | None, list[str], str | None]]:
    found = await storage.list_branches("chat-1", owner="ada")
    return [(each.parent_id, each.message_ids, each.chosen_id) for each in found]


async def test_branches_of_chatgpt_can_be_listed_and_chosen(storage: PostgresStorage) -> None:
    """list_branches(), list_siblings() and choose_branch() know the branches; readers read the one that was shown."""
    await imported(storage, *FIRST)

    assert await line(storage) == ["m1", "m4"]
    assert await points(storage) == [("m1", ["m2", "m4"], "m4")]
    assert [each.id for each in await storage.list_siblings("chat-1", "m2", owner="ada")] == ["m2", "m4"]

    assert await storage.choose_branch("chat-1", "m2", owner="ada") == "m3"
    assert await line(storage) == ["m1", "m2", "m3"]
    assert await points(storage) == [("m1", ["m2", "m4"], "m2")]


async def test_an_edited_first_message_is_a_branch(storage: PostgresStorage) -> None:
    """Two first messages are siblings, whatever hidden nodes stand before them."""
    root, rules = node("m0", None, None), node("s1", "m0", "Be brief.", role="system")
    await imported(storage, root, rules, node("m1", "s1", "Wether?"), node("m2", "s1", "Weather?"))

    assert await line(storage) == ["m2"]
    assert await points(storage) == [(None, ["m1", "m2"], "m2")]
    await storage.choose_branch("chat-1", "m1", owner="ada")
    assert await line(storage) == ["m1"]


async def test_importing_the_same_export_again_changes_nothing(storage: PostgresStorage) -> None:
    """The same export, and an older one, are skipped; what was deleted or added since stays so."""
    await imported(storage, *FIRST, **LATER)
    await storage.delete_messages(["m4"], "ada", "chat-1")
    await storage.add_message({"id": "own", "role": "user", "content": "Hm."}, "ada", "chat-1")
    before = [line async for line in storage.export_user("ada")]

    for fields in (LATER, {}):
        again = await imported(storage, *FIRST, **fields)
        assert (again.conversations, again.updated, again.messages) == (0, 0, 0)
        assert [each.reason for each in again.skipped] == ["it is there already"]
    assert [line async for line in storage.export_user("ada")][1:] == before[1:]


async def test_a_newer_export_adds_new_messages_and_moves_the_line(storage: PostgresStorage) -> None:
    """A newer export adds its messages and branches; the line becomes the one that it shows."""
    await imported(storage, *FIRST)
    more = node("m5", "m4", "And now?", time=BEGAN + 90), node("m6", "m3", "Welcome.", time=BEGAN + 91)

    grown = await imported(storage, *FIRST, *more, current="m5", **LATER)
    assert (grown.conversations, grown.updated, grown.messages, grown.skipped) == (0, 1, 2, [])
    assert await line(storage) == ["m1", "m4", "m5"]
    assert await storage.choose_branch("chat-1", "m6", owner="ada") == "m6"
    assert await line(storage) == ["m1", "m2", "m3", "m6"]
    assert (await storage.list_conversations("ada")).items[0].unread is False


async def test_a_newer_export_chooses_another_branch(storage: PostgresStorage) -> None:
    """Another branch that is shown in a newer export is chosen, without a new message."""
    await imported(storage, *FIRST)

    grown = await imported(storage, *FIRST, current="m3", **LATER)

    assert (grown.updated, grown.messages, await line(storage)) == (1, 0, ["m1", "m2", "m3"])


@pytest.mark.parametrize("how", ["continued", "chosen"])
async def test_a_newer_export_leaves_the_line_to_who_has_changed_it(storage: PostgresStorage, how: str) -> None:
    """A line that somebody has continued or chosen here stays; new messages are in branches of their own."""
    await imported(storage, *FIRST)
    if how == "continued":
        await storage.add_message({"id": "own", "role": "user", "content": "Here."}, "ada", "chat-1")
    else:
        await storage.choose_branch("chat-1", "m2", owner="ada")
    before = await line(storage)

    grown = await imported(storage, *FIRST, node("m5", "m4", "And now?", time=BEGAN + 90), **LATER)

    assert (grown.messages, await line(storage)) == (1, before)
    assert await storage.choose_branch("chat-1", "m5", owner="ada") == "m5"
    assert await line(storage) == ["m1", "m4", "m5"]


async def test_a_newer_export_brings_back_nothing_that_was_deleted(storage: PostgresStorage) -> None:
    """A deleted message stays deleted; what follows it in a newer export follows the message before it."""
    await imported(storage, *FIRST)
    await storage.delete_messages(["m4"], "ada", "chat-1")
    more = node("m5", "m4", "And now?", time=BEGAN + 90), node("m6", "m5", "Snow.", time=BEGAN + 91)

    await imported(storage, *FIRST, *more, **LATER)

    assert await line(storage) == ["m1"]
    assert await storage.choose_branch("chat-1", "m5", owner="ada") == "m6"
    assert await line(storage) == ["m1", "m5", "m6"]

    await storage.soft_delete_conversation("chat-1", owner="ada")
    gone = await imported(storage, *FIRST, *more, node("m7", "m6", "!"), update_time=BEGAN + 900)
    assert [each.reason for each in gone.skipped] == ["it is there already, deleted"]


async def test_a_newer_import_ends_although_deleted_parents_form_a_circle(storage: PostgresStorage) -> None:
    """A program's own import may have any parents: what has no stored message above it begins a branch."""

    def grown(*ids: str, day: int) -> ImportedConversation:
        parents = {"a": "b", "b": "a", "c": "a", "d": "a"}
        messages: list[Message] = [
            ImportedMessage(id=id, role="user", content=id, parent_id=parents[id], created_at=BEGAN_AT) for id in ids
        ]
        at = BEGAN_AT + timedelta(days=day)
        return ImportedConversation(id="g", messages=messages, updated_at=at, payloads=[progress(ids, ids[-1], at)])

    await storage.import_conversations("ada", [grown("a", "b", "c", day=1)])
    await storage.delete_messages(["a", "b"], "ada", "g")

    result = await storage.import_conversations("ada", [grown("a", "b", "c", "d", day=2)])

    assert (result.updated, result.messages) == (1, 1)
    assert [each.id for each in await storage.get_messages("ada", "g")] == ["d"]


async def test_the_limit_counts_the_line_of_an_import(make_storage: MakeStorage) -> None:
    """
    An import deletes nothing. The next message enforces the limit: it counts the line, and takes older branches along.
    """
    storage = make_storage(storage_limit=2)
    await imported(storage, *FIRST)
    assert {each.id for each in await storage.list_siblings("chat-1", "m4")} == {"m2", "m4"}
    assert await storage.choose_branch("chat-1", "m2") == "m3"

    await storage.add_message({"id": "own", "role": "user", "content": "Here."}, "ada", "chat-1")

    assert await line(storage) == ["m3", "own"]
    assert await storage.choose_branch("chat-1", "m4") == "m4"  # newer than the oldest message of the line
    assert await line(storage) == ["m4"]
    again = await imported(storage, *FIRST)
    assert (again.messages, await line(storage)) == (0, ["m4"])
    more = await imported(storage, *FIRST, node("m5", "m1", "Fog.", time=BEGAN + 90), **LATER)
    assert (more.messages, await line(storage)) == (1, ["m5"])
