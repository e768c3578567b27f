"""What importers read is stored, with a summary of what is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import MakeStorage
from tests.importers.exports import BEGAN, chat, node
from voltmem import ImportedConversation, InvalidInputError, Message, PostgresStorage, Skipped
from voltmem.importers import from_chatgpt, from_openai

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
CALLED = [
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "t1", "content": "found"},
]


async def test_what_is_read_is_imported_and_a_model_may_see_it(make_storage: MakeStorage) -> None:
    """
    Imported conversations have whole tool turns for a model, are found by the search, and are skipped a second time.
    """
    storage = make_storage(search=True)
    chats = chat(
        node("m1", None, "Weather?", time=BEGAN),
        node("m2", "m1", {"content_type": "code", "text": "oslo"}, role="assistant", recipient="browser"),
        node("m3", "m2", "4 degrees", role="tool", name="browser"),
        node("m4", "m3", "A coat, then.", role="assistant", time=BEGAN + 5),
    )

    for expected in (3, 0):
        first = await storage.import_conversations("ada", from_chatgpt([chats]))
        second = await storage.import_conversations("ada", from_openai([HELLO, CALLED]))
        assert first.conversations + second.conversations == expected

    memory = storage.conversation("ada", "chat-1")
    assert [message.id for message in await memory.messages()] == ["m1", "m2", "m3", "m4"]
    assert [hit.conversation.id for hit in (await storage.search("ada", "coat")).hits] == ["chat-1"]
    listed = (await storage.list_conversations("ada")).items
    assert (listed[-1].id, listed[-1].preview) == ("chat-1", "A coat, then.")
    assert listed[-1].updated_at == datetime.fromtimestamp(BEGAN + 60, UTC)


async def test_import_conversations_names_what_is_skipped_and_counts_what_is_left_out(
    storage: PostgresStorage, tmp_path: Path
) -> None:
    """import_conversations() stores the rest of a file with broken entries, and its summary names and counts them."""
    nodes = [node("m1", None, "You are ChatGPT", role="system"), node("m2", "m1", "Hello")]
    good = [chat(*nodes, conversation_id=id) for id in ("c1", "c2")]
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([good[0], {"id": "c3"}, good[1], chat(nodes[0], conversation_id="c4")]))

    first = await storage.import_conversations("ada", from_chatgpt(file))
    again = await storage.import_conversations("ada", from_chatgpt(file))

    assert (first.conversations, first.messages, first.left_out) == (2, 2, {"system messages": 2})
    assert [(each.kind, each.id) for each in first.skipped] == [("conversation", "c3"), ("conversation", "c4")]
    assert [each.reason.partition(",")[0] for each in first.skipped] == ["it has no mapping", "it has no messages"]
    assert (again.conversations, len(again.skipped), again.left_out) == (0, 4, {})


async def test_import_conversations_takes_what_an_importer_of_ones_own_skips(storage: PostgresStorage) -> None:
    """import_conversations() puts Skipped of any importer into its summary, and refuses anything else."""
    skipped = Skipped(kind="conversation", id="line 7", reason="it is empty")
    conversation = ImportedConversation(messages=[Message(role="user", content="Hello")])
    same = conversation.model_copy(update={"left_out": {"pictures": 2}})

    result = await storage.import_conversations("ada", [skipped, same])
    again = await storage.import_conversations("ada", [conversation])

    assert (result.skipped, result.left_out) == ([skipped], {"pictures": 2})
    assert again.conversations == 0  # what was left out is no part of the id
    with pytest.raises(InvalidInputError, match="an ImportedConversation is needed"):
        await storage.import_conversations("ada", [7])  # type: ignore[list-item]


async def test_import_conversations_refuses_a_file_without_a_conversation(
    storage: PostgresStorage, tmp_path: Path
) -> None:
    """import_conversations() raises the error of a file in which nothing can be read, and stores nothing."""
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([{"uuid": "u1", "chat_messages": []}] * 2))

    with pytest.raises(InvalidInputError, match="it is Claude's export"):
        await storage.import_conversations("ada", from_chatgpt(file))
    assert await storage.count_conversations(user_id="ada") == 0
