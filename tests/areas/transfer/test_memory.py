"""The working memory in exports and imports."""

from __future__ import annotations

import json

import pytest

from tests.areas.transfer.exported import END, conversation, exported, header, line
from voltmem import ImportedConversation, ImportedMemory, InvalidLineError, Message, PostgresStorage, Skipped


async def test_import_user_keeps_the_history(filled: PostgresStorage, other: PostgresStorage) -> None:
    """import_user() stores all versions with author and time, deletions too, and the next version follows them."""
    result = await other.import_user("ada", [each async for each in filled.export_user("ada")])

    assert result.memory == 6
    for conversation_id in (None, "c1"):
        before = await filled.working_memory("ada", conversation_id).history()
        after = await other.working_memory("ada", conversation_id).history()
        assert [each.model_copy(update={"operation_id": None}) for each in before] == after
        assert [each.version for each in after] == [3, 2, 1]
        assert (await other.working_memory("ada", conversation_id).append("more")).version == 4


async def test_import_user_leaves_a_memory_that_is_there(filled: PostgresStorage, other: PostgresStorage) -> None:
    """import_user() does not change the memory of a user who has one, and says so; a repetition is harmless."""
    await other.working_memory("eve").set("eve's own")
    lines = [each async for each in filled.export_user("ada")]

    await other.import_user("ada", lines)
    for user in ("ada", "eve"):
        result = await other.import_user(user, lines)
        assert Skipped(kind="memory", id=user, reason="it is there already") in result.skipped

    found = await other.working_memory("eve").get()
    assert found is not None
    assert found.content == "eve's own"
    assert len(await other.working_memory("ada").history()) == 3


async def test_import_user_takes_the_memory_along_into_a_renamed_conversation(
    filled: PostgresStorage, other: PostgresStorage
) -> None:
    """A conversation whose id is taken has its memory under the new one."""
    await other.create_conversation({"id": "c1", "user_id": "bob"})
    lines = [header(), *conversation("c1", "Hello"), line("memory", version=7, content="plans"), END]

    result = await other.import_user("ada", lines)

    (renamed,) = result.renamed
    found = await other.working_memory("ada", renamed.new_id).get()
    assert found is not None
    assert (found.content, found.version) == ("plans", 7)


async def test_import_conversations_stores_a_memory(storage: PostgresStorage) -> None:
    """A conversation that is imported from another program may have a memory."""
    messages = [Message(role="user", content="Hello")]
    memory = [ImportedMemory(version=1, content="plans", author="another program")]

    result = await storage.import_conversations(
        "ada", [ImportedConversation(id="c1", messages=messages, memory=memory)]
    )

    assert result.memory == 1
    found = await storage.working_memory("ada", "c1").get()
    assert found is not None
    assert (found.content, found.author) == ("plans", "another program")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([line("memory", version=1, content="x")], "must follow the line that it belongs to"),
        ([line("user_memory", version=0, content="x")], "version"),
        ([line("user_memory", version=2**63, content="x")], "version"),
        ([line("user_memory", version=1, content="x", more=1)], "more"),
        ([line("user_memory", version=1, content="x", change="other")], "change"),
        ([line("user_memory", version=2), line("user_memory", version=1)], "must not come after version 2"),
        ([line("conversation", id="c"), line("memory", version=1), line("memory", version=1)], "a second time"),
        ([line("conversation", id="c"), line("user_memory", version=1), line("memory", version=1)], "must follow"),
        ([line("conversation", id="c", memory=[{"version": 1}])], "need lines of their own"),
    ],
)
async def test_import_user_refuses_a_malformed_memory(storage: PostgresStorage, lines: list[str], why: str) -> None:
    """A malformed line of a memory is an error with its number."""
    with pytest.raises(InvalidLineError, match=why):
        await storage.import_user("ada", [header(), *lines, END])


async def test_export_user_has_no_memory_of_another_user(filled: PostgresStorage) -> None:
    """An export has the memories of the user and of the user's conversations, each after what it belongs to."""
    await filled.working_memory("bob").set("bob's")
    await filled.working_memory("bob", "b1").set("b1's")

    lines = [json.loads(each) for each in await exported(filled)]

    assert "bob's" not in str(lines)
    assert "b1's" not in str(lines)
    kinds = [each["kind"] for each in lines]
    assert kinds.count("user_memory") == kinds.count("memory") == 3
    of_c1 = next(place for place, each in enumerate(lines) if each.get("id") == "c1")
    assert kinds[of_c1 : of_c1 + 5] == ["conversation", "payload", "memory", "memory", "memory"]
