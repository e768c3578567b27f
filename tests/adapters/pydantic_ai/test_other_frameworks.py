"""Conversations that others began or continued; branches and forks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict
from pydantic_ai.messages import (
    ImageUrl,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from tests.adapters.pydantic_ai.histories import BEGUN, Echo, agent_of, answered, asked, begin_elsewhere, turns, words
from tests.conftest import MakeStorage
from voltmem import PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem.adapters.pydantic_ai import VoltMemConversationStore
from voltmem.models import NativeMessage

# --- conversations begun or continued elsewhere ----------------------------------------------------------------------


async def test_a_conversation_begun_elsewhere_is_continued(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """The model receives the plain messages with tool calls, and its answer is saved after them."""
    await begin_elsewhere(storage)
    model = Echo()
    before = await storage.get_conversation("c1")

    conversation = await store.load("c1")
    assert before == await storage.get_conversation("c1")  # reading does not change the sidebar
    await store.save(await agent_of(model).run("And tomorrow?", conversation=conversation))

    question, call, result, answer, _ = model.requests[0]
    assert [type(part) for part in question.parts] == [SystemPromptPart, UserPromptPart]
    asked: list[Any] = [*question.parts]
    assert [part.content for part in asked] == ["Be kind.", ["A coat?", ImageUrl("https://x.test/a.png")]]
    assert words([answer]) == ["Yes."]
    assert [part.content if isinstance(part, TextPart) else part for part in call.parts] == [
        "I look.",
        ToolCallPart("weather", {"city": "Oslo"}, "call1"),
    ]
    assert isinstance(returned_part := result.parts[0], ToolReturnPart)
    assert (returned_part.tool_call_id, returned_part.content) == ("call1", {"sky": "rain"})
    assert [message.id for message in await storage.get_messages("ada", "c1")][:5] == ["m1", "m2", "m3", "m4", "m5"]
    loaded = await store.load("c1")
    assert loaded is not None
    assert len(loaded.messages) == 7


async def test_messages_added_elsewhere_follow_the_head(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A message from elsewhere follows the record's head, also after branching back."""
    await store.save(Conversation(conversation_id="c1", messages=[asked("a"), answered("b"), asked("c")]))
    loaded = await store.load("c1")
    assert loaded is not None
    await store.branch("c1", at=2, expected_revision=loaded.revision)

    await storage.add_message({"role": "user", "content": "from elsewhere"}, "ada", "c1")

    follows = await store.load("c1")
    assert follows is not None
    assert words(follows.messages) == ["a", "b", "from elsewhere"]
    (record,) = await store.list_conversations()
    assert len(record.branches) == 1
    left = await store.branch("c1", from_entry=str(record.branches[0]), expected_revision=follows.revision)
    assert words(left.messages) == ["a", "b", "c"]


async def test_a_save_after_a_message_added_elsewhere_is_a_conflict(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """If a message was added elsewhere since loading, saving raises ConversationConflict."""
    await store.save(Conversation(conversation_id="c1", messages=turns(1)))
    loaded = await store.load("c1")
    assert loaded is not None
    await storage.add_message({"role": "user", "content": "from elsewhere"}, "ada", "c1")

    loaded.messages.append(asked("too late"))
    with pytest.raises(ConversationConflict):
        await store.save(loaded)
    record = await store.read_record("c1")
    await storage.add_message({"role": "user", "content": "between reading and writing"}, "ada", "c1")
    assert record is not None
    with pytest.raises(ConversationConflict):
        await store.write_record(replace(record, revision="new"), expected_revision=record.revision)

    again = await store.load("c1")
    assert again is not None
    assert words(again.messages)[-2:] == ["from elsewhere", "between reading and writing"]


async def test_another_frameworks_messages_are_read_and_kept(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Another framework's message is read in its plain form, and its own form is not changed."""
    memory = NativeMemory(storage, "ada", "c1")
    items: list[NativeMessage] = [
        NativeMessage(id="m1", role="user", content="A coat?", format="other", payload={"their": "form"}),
        NativeMessage(id="m2", role="assistant", content=[{"type": "reasoning", "text": "Hm."}], type="reasoning"),
        NativeMessage(id="m3", role="assistant", content="Yes.", format="other", payload=["x"]),
    ]
    await memory.add_turn(items)

    loaded = await store.load("c1")
    fork = await store.fork("c1", new_conversation_id="c2")

    assert loaded is not None
    assert loaded.messages == fork.messages
    assert [[type(part) for part in message.parts] for message in loaded.messages] == [
        [UserPromptPart],
        [ThinkingPart, TextPart],
    ]
    for kept in (memory, NativeMemory(storage, "ada", "c2")):
        assert [message.payload for message in await kept.newest_messages()] == [{"their": "form"}, None, ["x"]]


async def test_a_call_without_a_result_does_not_block_the_user(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """After a tool call without a result from another framework, the next question is answered."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages(BEGUN[:3], "ada", "c1")

    result = await agent_of(Echo()).run("Hello?", conversation=await store.load("c1"))

    assert result.output.endswith("messages")


async def test_the_same_ids_in_two_conversations_are_two_entries(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Conversations from elsewhere may have equal message ids; each is read separately."""
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "ada"})
        await storage.add_messages([{"id": "m1", "role": "user", "content": f"of {id}"}], "ada", id)

    loaded = [await store.load("c1"), await store.load("c2")]

    assert [words(each.messages) for each in loaded if each] == [["of c1"], ["of c2"]]


@pytest.mark.parametrize("deleted", ["newest", "all"])
async def test_after_deleting_messages_the_rest_is_continued(
    deleted: str, storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """After the application has deleted the last message, or all, the conversation is loaded and continued without."""
    entries = await store.save(Conversation(conversation_id="c1", messages=[asked("a"), answered("b")]))
    if deleted == "newest":
        await storage.delete_messages([entries[-1].id], "ada", "c1")
    else:
        await storage.clear_messages("ada", "c1")

    loaded = await store.load("c1")
    assert loaded is not None
    assert words(loaded.messages) == (["a"] if deleted == "newest" else [])
    loaded.messages.append(answered("c"))
    await store.save(loaded)
    again = await store.load("c1")
    assert again is not None
    assert words(again.messages)[-1] == "c"


async def test_a_message_that_is_replaced_stays_in_its_place(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Replacing a message by its id keeps the history whole, in the middle and at its end."""
    await begin_elsewhere(storage)
    loaded = await store.load("c1")
    assert loaded is not None
    loaded.messages.append(asked("And tomorrow?"))
    (last,) = await store.save(loaded)

    for id in ("m2", last.id):
        await storage.add_message({"id": id, "role": "user", "content": f"corrected {id}"}, "ada", "c1")

    entries = await store.load_entries("c1")
    assert entries is not None
    assert [entry.id for entry in entries] == ["m1", "m2", "m3", "m4", "m5", last.id]
    assert [entry.parent_id for entry in entries] == [None, "m1", "m2", "m3", "m4", "m5"]
    assert words([entries[1].message, entries[-1].message]) == ["corrected m2", f"corrected {last.id}"]


async def test_conversations_begun_elsewhere_are_listed(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """list_conversations returns all the user's conversations, also other frameworks', the last active first."""
    await store.save(Conversation(conversation_id="c0", messages=[asked("Hello")]))
    await begin_elsewhere(storage)

    assert [record.conversation_id for record in await store.list_conversations()] == ["c1", "c0"]
    assert [record.conversation_id for record in await store.list_conversations(limit=1)] == ["c1"]


async def test_an_empty_conversation_of_the_sidebar_is_continued(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A conversation that the application has created with a title is loaded empty, saved, and keeps its title."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Coats"})

    loaded = await store.load("c1")
    assert loaded is not None
    await store.save(await agent_of(Echo()).run("Hello", conversation=loaded))

    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.title == "Coats"
    assert len(await storage.get_messages("ada", "c1")) == 2


# --- branches and forks ----------------------------------------------------------------------------------------------


async def test_a_fork_is_whole_in_the_sidebar(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A fork has the messages up to its start, with their times, and keeps them when the source is deleted."""
    await store.save(Conversation(conversation_id="c1", messages=turns(2)))
    fork = await store.fork("c1", at=4, new_conversation_id="c2")
    fork.messages.append(asked("otherwise"))
    await store.save(fork)
    first = await storage.get_messages("ada", "c1")

    await store.delete("c1")

    assert (await storage.get_messages("ada", "c2"))[:4] == first[:4]
    loaded = await store.load("c2")
    assert loaded is not None
    assert words(loaded.messages) == [*words(turns(1)), "otherwise"]


async def test_a_history_is_one_statement(make_storage: MakeStorage, caplog: pytest.LogCaptureFixture) -> None:
    """A load is one statement for the record and one for all entries, however many there are."""
    storage = make_storage(debug=True)
    store = VoltMemConversationStore(storage, user_id="ada")
    conversation = Conversation(conversation_id="c1", messages=turns(20))
    await store.save(conversation)

    with caplog.at_level("DEBUG", "voltmem"):
        caplog.clear()
        loaded = await store.load("c1")

    assert loaded is not None
    assert len(loaded.messages) == 80
    assert len(caplog.records) == 2


async def test_a_branch_that_was_chosen_elsewhere_is_continued(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """choose_branch() of a front end moves the head: the next run continues that branch, and the other can be left."""
    conversation = Conversation(conversation_id="c1", messages=[asked("a"), answered("b")])
    question, first = await store.save(conversation)
    conversation = await store.branch("c1", from_entry=question.id, expected_revision=conversation.revision)
    conversation.messages.append(answered("c"))
    (second,) = await store.save(conversation)

    await storage.choose_branch("c1", first.id)

    loaded = await store.load("c1")
    record = await store.read_record("c1")
    assert loaded is not None
    assert record is not None
    assert words(loaded.messages) == ["a", "b"]
    assert (record.head_id, record.branches) == (first.id, [second.id])
    loaded.messages.append(asked("d"))
    await store.save(loaded)
    assert [message.text for message in await storage.get_messages("ada", "c1")] == ["a", "b", "d"]


async def test_a_branch_that_was_made_elsewhere_is_listed(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """What branch_conversation() set aside is one of the record's branches, and can be gone back to."""
    await begin_elsewhere(storage)
    await storage.branch_conversation("c1", "m4")
    await storage.add_message({"role": "assistant", "content": "Better."}, "ada", "c1")

    record = await store.read_record("c1")

    assert record is not None
    assert record.branches == ["m5"]
    back = await store.branch("c1", from_entry="m5", expected_revision=record.revision)
    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["m1", "m2", "m3", "m4", "m5"]
    assert words(back.messages)[-1] == "Yes."


async def test_a_save_after_a_branch_was_chosen_elsewhere_is_a_conflict(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A run that was under way while somebody chose another branch does not overwrite that choice."""
    conversation = Conversation(conversation_id="c1", messages=[asked("a"), answered("b"), asked("c")])
    await store.save(conversation)
    await storage.add_message(NativeMessage(id="other", role="assistant", content="x", parent_id=""), "ada", "c1")

    conversation.messages.append(answered("d"))
    with pytest.raises(ConversationConflict):
        await store.save(conversation)

    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["other"]
