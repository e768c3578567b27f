"""Agents of Pydantic AI with a store: continuing, users, concurrency and storage_limit."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import DeferredToolRequests

from tests.adapters.begun import begin_earlier
from tests.adapters.pydantic_ai.histories import Echo, agent_of, answered, asked, begin_elsewhere, turns, words
from tests.conftest import MakeStorage
from tests.programs import python
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, load_history, save_history

# --- agents ----------------------------------------------------------------------------------------------------------


async def test_an_agent_continues_its_conversation(store: VoltMemConversationStore) -> None:
    """The second run's model receives the first run's messages with tool calls; usage adds up."""
    model = Echo()
    agent = agent_of(model, with_tool=True)

    for question in ("Do I need a coat?", "And tomorrow?"):
        conversation = await store.load("c1") or Conversation(conversation_id="c1")
        await store.save(await agent.run(question, conversation=conversation))

    assert words(model.requests[-1][:4]) == ["Do I need a coat?", "weather", "weather", "3 messages"]
    loaded = await store.load("c1")
    assert loaded is not None
    assert (len(loaded.messages), loaded.usage.requests, loaded.usage.tool_calls) == (8, 4, 2)


@pytest.mark.parametrize("deletion", ["delete_conversation", "delete_user"])
async def test_a_run_does_not_create_a_deleted_conversation_again(
    storage: PostgresStorage, store: VoltMemConversationStore, deletion: str
) -> None:
    """A run that has loaded its conversation, or saved it before, stores nothing once it is deleted for good."""

    async def delete() -> None:
        await (storage.delete_user("ada") if deletion == "delete_user" else storage.delete_conversation("c1"))

    agent = agent_of(Echo())
    first = await agent.run("Hi", conversation=Conversation(conversation_id="c1"))
    await store.save(first)
    loaded = await store.load("c1")
    assert loaded is not None
    second = await agent.run("Forget me", conversation=loaded)
    await delete()

    for result in (first, second):
        with pytest.raises(ConversationConflict):
            await store.save(result)
    memory = storage.conversation("ada", "c1")
    await save_history(memory, first.new_messages())
    await load_history(memory)
    await delete()
    with pytest.raises(ConversationNotFoundError):
        await save_history(memory, second.new_messages())

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize("deleted", ["ada", "eve"])
@pytest.mark.parametrize("by_entries", [False, True])
async def test_save_does_not_create_the_conversation_of_a_deleted_user(
    storage: PostgresStorage, store: VoltMemConversationStore, deleted: str, by_entries: bool
) -> None:
    """A first run that has looked for its conversation stores nothing of a user deleted since; the next run does."""
    await storage.delete_user("ada")  # before the run: it does not count
    assert await (store.load_entries("c1") if by_entries else store.load("c1")) is None
    result = await agent_of(Echo()).run("Hi", conversation=Conversation(conversation_id="c1"))
    if deleted == "eve":
        await storage.delete_user("eve")
        await store.save(result)
    else:
        begin_earlier(store._looks)
        await storage.delete_user("ada")
        with pytest.raises(ConversationConflict) as caught:
            await store.save(result)
        assert "'ada' was deleted while this run was under way" in str(caught.value.__cause__)
        assert await storage.count_conversations() == 0
        assert await store.load("c1") is None
        await store.save(await agent_of(Echo()).run("Hi", conversation=Conversation(conversation_id="c1")))
    assert await storage.count_conversations() == 1


async def test_save_history_does_not_create_the_conversation_of_a_deleted_user(storage: PostgresStorage) -> None:
    """save_history() of a first run stores nothing of a user who was deleted since the handle was made."""
    memory = storage.conversation("ada", "c1")
    result = await agent_of(Echo()).run("Hi", message_history=await load_history(memory, limit=5))
    begin_earlier(memory)
    await storage.delete_user("ada")

    with pytest.raises(ConversationNotFoundError, match="was deleted while this run was under way"):
        await save_history(memory, result.new_messages())
    await save_history(storage.conversation("ada", "c2"), result.new_messages())

    assert [each.id for each in await storage.query_conversations()] == ["c2"]


PROGRAM = """
import asyncio, sys
from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.models.test import TestModel
from voltmem import PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore

async def main(dsn, schema, question):
    async with PostgresStorage(dsn, schema=schema) as storage:
        store = VoltMemConversationStore(storage, user_id="ada")
        conversation = await store.load("c1") or Conversation(conversation_id="c1")
        before = [part.content for message in conversation.messages for part in message.parts]
        await store.save(await Agent(TestModel(custom_output_text="Yes")).run(question, conversation=conversation))
        print(before)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_second_process_continues_what_the_first_began(dsn: str, schema: str) -> None:
    """The second process's model receives the first process's messages."""

    async def run(question: str) -> str:
        return (await python("-W", "error", "-c", PROGRAM, dsn, schema, question)).strip()

    assert await run("A coat?") == "[]"
    assert await run("An umbrella?") == "['A coat?', 'Yes']"


async def test_a_run_that_waits_for_approval_continues_later(store: VoltMemConversationStore) -> None:
    """The deferred requests of a paused run and their call are loaded with the conversation."""
    agent: Agent[None, str | DeferredToolRequests] = Agent(TestModel(), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def delete_file(path: str) -> str:
        return f"{path} is gone"

    await store.save(await agent.run("Clean up", conversation=Conversation(conversation_id="c1")))

    loaded = await store.load("c1")
    assert loaded is not None
    assert loaded.deferred_tool_requests is not None
    results = loaded.deferred_tool_requests.build_results(approve_all=True)
    result = await agent.run(conversation=loaded, deferred_tool_results=results)
    await store.save(result)
    assert "is gone" in str(result.output)


async def test_deferred_requests_end_when_others_continue(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """After a message from elsewhere, the deferred requests of a paused run are gone, and the next run continues."""
    agent: Agent[None, str | DeferredToolRequests] = Agent(TestModel(), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def delete_file(path: str) -> str:
        return f"{path} is gone"

    await store.save(await agent.run("Clean up", conversation=Conversation(conversation_id="c1")))
    await storage.add_message({"role": "assistant", "content": "I'd rather not."}, "ada", "c1")

    loaded = await store.load("c1")
    assert loaded is not None
    assert loaded.deferred_tool_requests is None
    assert (await agent_of(Echo()).run("Why?", conversation=loaded)).output.endswith("messages")


# --- users -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [0, 2])
async def test_another_users_conversation_is_an_error_before_the_model_is_called(
    messages: int, storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A store for one user cannot load, save, branch, fork or delete another user's conversation."""
    model = Echo()
    bobs = VoltMemConversationStore(storage, user_id="bob")
    await storage.create_conversation({"id": "c1", "user_id": "bob"})
    if messages:
        await bobs.load("c1")
        await storage.add_messages([{"role": "user", "content": "mine"}] * messages, "bob", "c1")

    with pytest.raises(ConversationNotFoundError):
        conversation = await store.load("c1") or Conversation(conversation_id="c1")
        await agent_of(model).run("Hello", conversation=conversation)
    for call in (
        store.save(Conversation(conversation_id="c1", messages=[asked("Hello")])),
        store.branch("c1", at=0, expected_revision=None),
        store.fork("c1", new_conversation_id="c2"),
        store.load_entries("c1"),
        store.delete("c1"),
        store.delete_record("c1", expected_revision="r"),
    ):
        with pytest.raises(ConversationNotFoundError):
            await call

    assert model.requests == []
    assert len(await storage.get_messages("bob", "c1")) == messages
    assert await store.list_conversations() == []


async def test_nothing_is_written_to_another_users_conversation(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A write to another user's conversation raises ConversationConflict, whatever revision it expects."""
    bobs = VoltMemConversationStore(storage, user_id="bob")
    saved = Conversation(conversation_id="c1", messages=[asked("mine")])
    await bobs.save(saved)

    for writer in (store, VoltMemConversationStore(storage, user_id=ANY_USER)):
        for expected in (None, saved.revision):
            record = ConversationRecord(conversation_id="c1", head_id=None, scope="ada")
            with pytest.raises(ConversationConflict):
                await writer.write_record(record, expected_revision=expected)
        await store.save(Conversation(conversation_id="mine", messages=[asked("x")]))
        with pytest.raises(ConversationConflict):
            await store.fork("mine", new_conversation_id="c1")
        await store.delete("mine")

    loaded = await bobs.load("c1")
    assert loaded is not None
    assert (words(loaded.messages), loaded.revision) == (["mine"], saved.revision)


async def test_a_scope_is_the_user(storage: PostgresStorage) -> None:
    """In a store for ANY_USER, the scope is the owner, and another scope does not find the conversation."""
    store = VoltMemConversationStore(storage, user_id=ANY_USER)
    await store.save(Conversation(conversation_id="c1", messages=[asked("Hello")]), scope="ada")
    await store.save(Conversation(conversation_id="c2", messages=[asked("Hello")]))

    assert await store.load("c1", scope="bob") is None
    assert (await storage.get_user_conversation("c1", "ada")) is not None
    assert (await storage.get_user_conversation("c2", "default")) is not None
    scopes = {record.conversation_id: record.scope for record in await store.list_conversations()}
    assert scopes == {"c1": "ada", "c2": None}
    with pytest.raises(ConversationConflict):
        await store.save(Conversation(conversation_id="c1", messages=[asked("Mine!")]), scope="bob")


@pytest.mark.parametrize("user", [None, ""])
async def test_a_store_is_made_for_a_user_or_for_any(storage: PostgresStorage, user: Any) -> None:
    """user_id=None and "" raise; so does an empty scope in a store in which scopes are users."""
    with pytest.raises(InvalidInputError, match=r"user_id is .*voltmem\.ANY_USER"):
        VoltMemConversationStore(storage, user_id=user)
    for_all = VoltMemConversationStore(storage, user_id=ANY_USER)
    with pytest.raises(InvalidInputError, match="scope is an empty string"):
        await for_all.list_conversations(scope="")
    with pytest.raises(InvalidInputError, match="scope is an empty string"):
        await for_all.save(Conversation(conversation_id="c1", messages=[asked("Hello")]), scope="")


async def test_a_conversation_with_a_new_owner_has_a_new_scope(storage: PostgresStorage) -> None:
    """The scope is the conversation's owner, not the scope stored in the record."""
    store = VoltMemConversationStore(storage, user_id=ANY_USER)
    await store.save(Conversation(conversation_id="c1", messages=[asked("Hello")]), scope="ada")

    await storage.update_conversation("c1", user_id="bob")

    assert await store.load("c1", scope="ada") is None
    assert await store.load("c1", scope="bob") is not None


async def test_in_a_store_of_one_user_a_scope_is_a_label(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Scopes are read back equal and select in lists; all conversations are the user's."""
    for number, scope in enumerate(["work", "home", "work", None]):
        await store.save(Conversation(conversation_id=f"c{number}", messages=[asked("Hello")]), scope=scope)

    listed = [record.conversation_id for record in await store.list_conversations(scope="work", limit=2)]

    assert listed == ["c2", "c0"]
    assert await storage.count_conversations(user_id="ada") == 4


async def test_an_entry_of_another_user_is_not_found(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A store for one user does not find another user's entry by its id."""
    bobs = VoltMemConversationStore(storage, user_id="bob")
    (entry,) = await bobs.save(Conversation(conversation_id="c1", messages=[asked("mine")]))

    assert (await bobs.read_entry(str(entry.id))).message == entry.message
    with pytest.raises(KeyError):
        await store.read_entry(str(entry.id))
    record = ConversationRecord(conversation_id="c2", head_id=str(entry.id))
    with pytest.raises(ConversationConflict):
        await store.write_record(record, expected_revision=None)


async def test_a_ui_adapter_keeps_users_apart(storage: PostgresStorage) -> None:
    """With the user as conversation_scope, a request for another user's conversation calls no model."""
    pytest.importorskip("starlette")
    from pydantic_ai.ui.vercel_ai import VercelAIAdapter

    model = Echo()
    agent = Agent(FunctionModel(stream_function=model.stream))
    store = VoltMemConversationStore(storage, user_id=ANY_USER)

    async def ask(user: str, question: str) -> None:
        message = {"id": question, "role": "user", "parts": [{"type": "text", "text": question}]}
        body = json.dumps({"trigger": "submit-message", "id": "c1", "messages": [message]}).encode()
        adapter = VercelAIAdapter(
            agent=agent,
            run_input=VercelAIAdapter.build_run_input(body),
            conversation_store=store,
            conversation_scope=user,
        )
        async for _ in adapter.encode_stream(adapter.run_stream()):
            pass

    await ask("ada", "A coat?")
    await ask("ada", "An umbrella?")
    await ask("bob", "Whose is it?")

    assert [len(request) for request in model.requests] == [1, 3]
    texts = [message.content for message in await storage.get_messages("ada", "c1")]
    assert texts == ["A coat?", "1 messages", "An umbrella?", "3 messages"]


# --- concurrency -----------------------------------------------------------------------------------------------------


async def test_of_concurrent_saves_of_a_revision_one_succeeds(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Of eight concurrent saves of one revision, one succeeds; the others raise, and nothing of them is stored."""
    await store.save(Conversation(conversation_id="c1", messages=turns(1)))
    copies = [await store.load("c1") for _ in range(8)]
    for number, copy in enumerate(copies):
        assert copy is not None
        copy.messages.append(asked(f"from {number}"))

    outcomes = await asyncio.gather(*(store.save(copy) for copy in copies if copy), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConversationConflict"] * 7 + ["list"]
    assert len(await storage.get_messages("ada", "c1")) == 5


async def test_of_concurrent_saves_of_a_new_conversation_one_succeeds(store: VoltMemConversationStore) -> None:
    """Eight concurrent saves with the same new id create one conversation with one message."""
    new = [Conversation(conversation_id="c1", messages=[asked(f"from {n}")]) for n in range(8)]

    outcomes = await asyncio.gather(*map(store.save, new), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConversationConflict"] * 7 + ["list"]
    loaded = await store.load("c1")
    assert loaded is not None
    assert len(loaded.messages) == 1


async def test_concurrent_first_loads_read_the_same(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """Eight concurrent loads of a conversation begun elsewhere link it once, and all get the same revision."""
    await begin_elsewhere(storage)

    loaded = await asyncio.gather(*(store.load("c1") for _ in range(8)))

    assert len({each.revision for each in loaded if each}) == 1
    assert {len(each.messages) for each in loaded if each} == {5}


async def test_a_conversation_saved_meanwhile_is_not_deleted(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Deleting checks the revision like saving, also against a concurrent save."""
    conversation = Conversation(conversation_id="c1", messages=[asked("a")])
    await store.save(conversation)
    seen = conversation.revision or ""
    async with storage.transaction() as tx:
        conversation.messages.append(answered("b"))
        await VoltMemConversationStore(tx, user_id="ada").save(conversation)
        deleting = asyncio.create_task(store.delete_record("c1", expected_revision=seen))
        await asyncio.sleep(0.1)

    with pytest.raises(ConversationConflict):
        await deleting
    loaded = await store.load("c1")
    assert loaded is not None
    assert words(loaded.messages) == ["a", "b"]


async def test_a_save_is_all_or_nothing(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A save in the application's transaction is part of it; a save that fails stores nothing."""
    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as tx:
            await VoltMemConversationStore(tx, user_id="ada").save(
                Conversation(conversation_id="c1", messages=turns(1))
            )
            raise ZeroDivisionError
    record = ConversationRecord(conversation_id="c1", head_id="nowhere")
    with pytest.raises(ConversationConflict):
        entry = ConversationEntry(id="e1", parent_id="elsewhere", message=asked("a"))
        await store.write_record(record, new_entries=[entry], expected_revision=None)

    assert await store.load("c1") is None
    assert await storage.count_conversations() == 0


# --- storage_limit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
@pytest.mark.parametrize("limit", range(1, 9))
async def test_within_the_limit_a_history_is_valid(limit: int, on_limit: Any, make_storage: MakeStorage) -> None:
    """A pruned history does not start with a result whose call is gone, and can be continued."""
    storage = make_storage(storage_limit=limit, on_limit=on_limit)
    store = VoltMemConversationStore(storage, user_id="ada")
    everything = turns(3)
    for message in everything:
        conversation = await store.load("c1") or Conversation(conversation_id="c1")
        conversation.messages.append(message)
        await store.save(conversation)

    loaded = await store.load("c1")

    assert loaded is not None
    assert not any(isinstance(part, ToolReturnPart) for part in loaded.messages[0].parts)
    assert loaded.messages == everything[-len(loaded.messages) :]
    assert len(loaded.messages) == {2: 1, 6: 5}.get(limit, limit)
    assert len(await storage.get_messages("ada", "c1")) == limit


async def test_a_branch_whose_beginning_was_pruned_can_be_rewritten(make_storage: MakeStorage) -> None:
    """A pruned history can be rewritten from its first message, and the rest stays as a branch."""
    store = VoltMemConversationStore(make_storage(storage_limit=4), user_id="ada")
    conversation = Conversation(conversation_id="c1", messages=turns(3))
    await store.save(conversation)
    loaded = await store.load("c1")
    assert loaded is not None

    await store.save(replace(loaded, messages=[asked("Something else")], new_message_index=None))

    again = await store.load("c1")
    assert again is not None
    assert words(again.messages) == ["Something else"]
    assert all(record.branches for record in await store.list_conversations())


async def test_a_branch_that_was_pruned_is_gone(make_storage: MakeStorage) -> None:
    """A branch whose messages are all pruned is removed from the record, and cannot be loaded."""
    store = VoltMemConversationStore(make_storage(storage_limit=4), user_id="ada")
    conversation = Conversation(conversation_id="c1", messages=[asked("a"), answered("b")])
    *_, left = await store.save(conversation)
    conversation = await store.branch("c1", at=1, expected_revision=conversation.revision)
    conversation.messages.extend([answered("c"), asked("d"), answered("e"), asked("f"), answered("g")])
    await store.save(conversation)

    record = await store.read_record("c1")

    assert record is not None
    assert record.branches == []
    with pytest.raises(UserError):
        await store.branch("c1", from_entry=left.id, expected_revision=record.revision)


async def test_a_limit_of_loading_is_the_frameworks(store: VoltMemConversationStore) -> None:
    """load(limit=) returns exactly the last messages, and the first entry has its parent's id."""
    entries = await store.save(Conversation(conversation_id="c1", messages=turns(2)))

    window = await store.load_entries("c1", limit=2)

    assert window is not None
    assert [entry.id for entry in window] == [entry.id for entry in entries[-2:]]
    assert window[0].parent_id == entries[-3].id
    assert await store.load_entries("c1", limit=0) == []
    with pytest.raises(UserError):
        await store.load("c1", limit=-1)
