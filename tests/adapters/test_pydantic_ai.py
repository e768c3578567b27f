"""Pydantic AI's conversation store: what the framework's own in-memory store does, and PostgreSQL keeps it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
    InMemoryConversationStore,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import DeferredToolRequests

from tests.conftest import MakeStorage
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, Message, PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem._parts import tool_calls, tool_results
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, _plain_request, load_history, save_history
from voltmem.models import NativeMessage, Owner
from voltmem.testing import drop_schema, server, temporary_schema_name

ROOT = Path(__file__).parent.parent.parent
Answer = TypeVar("Answer")


@pytest.fixture
def store(storage: PostgresStorage) -> VoltMemConversationStore:
    """A store of the user ada."""
    return VoltMemConversationStore(storage, user_id="ada")


# --- what is said ---------------------------------------------------------------------------------------------------


def asked(text: str) -> ModelRequest:
    return ModelRequest([UserPromptPart(text)])


def answered(text: str) -> ModelResponse:
    return ModelResponse([TextPart(text)])


def called(id: str, name: str = "weather", args: dict[str, Any] | str | None = None) -> ModelResponse:
    return ModelResponse([ToolCallPart(name, {"city": "Oslo"} if args is None else args, id)])


def returned(id: str, content: object = "rain", name: str = "weather") -> ModelRequest:
    return ModelRequest([ToolReturnPart(name, content, id)])


def turns(count: int, *, first: int = 0) -> list[ModelMessage]:
    """So many turns of four messages, with a tool in each."""
    return [
        message
        for n in range(first, first + count)
        for message in (asked(f"question {n}"), called(f"call{n}"), returned(f"call{n}"), answered(f"answer {n}"))
    ]


def words(messages: Sequence[ModelMessage]) -> list[str]:
    """What was said, and the names of the tools, in short."""
    return [" ".join(_word(part) for part in message.parts) for message in messages]


def _word(part: Any) -> str:
    return str(part.tool_name) if hasattr(part, "tool_name") else str(part.content)


class Echo:
    """A model that calls the tool, if there is one, and answers with the number of messages that it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[ModelMessage]] = []

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.shown.append(messages)
        last = messages[-1].parts[-1]
        if info.function_tools and isinstance(last, UserPromptPart):
            return ModelResponse([ToolCallPart(info.function_tools[0].name, {"city": "Oslo"}, f"call{len(messages)}")])
        return answered(f"{len(messages)} messages")

    async def stream(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        self.shown.append(messages)
        yield f"{len(messages)} messages"


def agent_of(model: Echo, *, with_tool: bool = False) -> Agent[None, str]:
    agent = Agent(FunctionModel(model), instructions="Be brief.")
    if with_tool:

        @agent.tool_plain
        def weather(city: str) -> str:
            """What the sky does."""
            return f"rain in {city}"

    return agent


# --- agents ---------------------------------------------------------------------------------------------------------


async def test_an_agent_goes_on_where_it_was(store: VoltMemConversationStore) -> None:
    """The second run's model is shown the first run's messages, tools included; usage adds up."""
    model = Echo()
    agent = agent_of(model, with_tool=True)

    for question in ("Do I need a coat?", "And tomorrow?"):
        conversation = await store.load("c1") or Conversation(conversation_id="c1")
        await store.save(await agent.run(question, conversation=conversation))

    assert words(model.shown[-1][:4]) == ["Do I need a coat?", "weather", "weather", "3 messages"]
    loaded = await store.load("c1")
    assert loaded is not None
    assert (len(loaded.messages), loaded.usage.requests, loaded.usage.tool_calls) == (8, 4, 2)


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
    """Two processes, one after the other: the second is shown what was said in the first."""

    async def run(question: str) -> str:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", PROGRAM, dsn, schema, question),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, problems = await program.communicate()
        assert program.returncode == 0, problems.decode()
        return printed.decode().strip()

    assert await run("A coat?") == "[]"
    assert await run("An umbrella?") == "['A coat?', 'Yes']"


async def test_a_run_that_waits_for_approval_goes_on_later(store: VoltMemConversationStore) -> None:
    """What a paused run is waiting for is there when the conversation is loaded, and its call too."""
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


async def test_what_a_run_waits_for_is_over_when_others_go_on(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A message from elsewhere after a paused run: nothing is waited for any more, and the next run goes on."""
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


# --- whose it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [0, 2])
async def test_another_users_conversation_is_an_error_before_the_model_is_called(
    messages: int, storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """With a store of one user, a conversation of another cannot be loaded, saved, branched, forked or deleted."""
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

    assert model.shown == []
    assert len(await storage.get_messages("bob", "c1")) == messages
    assert await store.list_conversations() == []


async def test_nothing_is_written_to_another_users_conversation(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A write that names another's conversation is a conflict, whatever revision it expects."""
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
    """In a store that is nobody's own, the conversation belongs to the scope, and another scope finds none."""
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
    """user_id=None or "" is a forgotten user; so is an empty scope, in a store in which scopes are users."""
    with pytest.raises(InvalidInputError, match=r"user_id is .*voltmem\.ANY_USER"):
        VoltMemConversationStore(storage, user_id=user)
    for_all = VoltMemConversationStore(storage, user_id=ANY_USER)
    with pytest.raises(InvalidInputError, match="user_id is ''"):
        await for_all.list_conversations(scope="")
    with pytest.raises(InvalidInputError, match="user_id is ''"):
        await for_all.save(Conversation(conversation_id="c1", messages=[asked("Hello")]), scope="")


async def test_a_conversation_that_changes_hands_changes_its_scope(storage: PostgresStorage) -> None:
    """Who owns the conversation decides, not what was once written into the record."""
    store = VoltMemConversationStore(storage, user_id=ANY_USER)
    await store.save(Conversation(conversation_id="c1", messages=[asked("Hello")]), scope="ada")

    await storage.update_conversation("c1", user_id="bob")

    assert await store.load("c1", scope="ada") is None
    assert await store.load("c1", scope="bob") is not None


async def test_in_a_store_of_one_user_a_scope_is_a_label(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Scopes come back equal, and conversations are listed by them; all of them are the user's."""
    for number, scope in enumerate(["work", "home", "work", None]):
        await store.save(Conversation(conversation_id=f"c{number}", messages=[asked("Hello")]), scope=scope)

    listed = [record.conversation_id for record in await store.list_conversations(scope="work", limit=2)]

    assert listed == ["c2", "c0"]
    assert await storage.count_conversations(user_id="ada") == 4


async def test_an_entry_of_another_user_is_not_found(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A store of one user finds no entry of another's by its id."""
    bobs = VoltMemConversationStore(storage, user_id="bob")
    (entry,) = await bobs.save(Conversation(conversation_id="c1", messages=[asked("mine")]))

    assert (await bobs.read_entry(str(entry.id))).message == entry.message
    with pytest.raises(KeyError):
        await store.read_entry(str(entry.id))
    record = ConversationRecord(conversation_id="c2", head_id=str(entry.id))
    with pytest.raises(ConversationConflict):
        await store.write_record(record, expected_revision=None)


async def test_a_ui_adapter_keeps_users_apart(storage: PostgresStorage) -> None:
    """With the store as conversation_store and the user as conversation_scope, another's request calls no model."""
    pytest.importorskip("starlette")
    from pydantic_ai.ui.vercel_ai import VercelAIAdapter

    model = Echo()
    agent = Agent(FunctionModel(stream_function=model.stream))
    store = VoltMemConversationStore(storage, user_id=ANY_USER)

    async def ask(user: str, question: str) -> None:
        said = {"id": question, "role": "user", "parts": [{"type": "text", "text": question}]}
        body = json.dumps({"trigger": "submit-message", "id": "c1", "messages": [said]}).encode()
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

    assert [len(shown) for shown in model.shown] == [1, 3]
    said = [message.content for message in await storage.get_messages("ada", "c1")]
    assert said == ["A coat?", "1 messages", "An umbrella?", "3 messages"]


# --- at the same time -----------------------------------------------------------------------------------------------


async def test_of_writers_at_once_one_wins(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """Of eight that save the same revision, one does; the others hear of it, and nothing of theirs is stored."""
    await store.save(Conversation(conversation_id="c1", messages=turns(1)))
    copies = [await store.load("c1") for _ in range(8)]
    for number, copy in enumerate(copies):
        assert copy is not None
        copy.messages.append(asked(f"from {number}"))

    outcomes = await asyncio.gather(*(store.save(copy) for copy in copies if copy), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConversationConflict"] * 7 + ["list"]
    assert len(await storage.get_messages("ada", "c1")) == 5


async def test_of_those_who_begin_a_conversation_at_once_one_does(store: VoltMemConversationStore) -> None:
    """The same new id, saved eight times at once, is one conversation with one message."""
    new = [Conversation(conversation_id="c1", messages=[asked(f"from {n}")]) for n in range(8)]

    outcomes = await asyncio.gather(*map(store.save, new), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConversationConflict"] * 7 + ["list"]
    loaded = await store.load("c1")
    assert loaded is not None
    assert len(loaded.messages) == 1


async def test_those_who_first_read_a_conversation_at_once_read_the_same(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Loading what others began, eight at once, links it once: all have the same revision."""
    await _begin_elsewhere(storage)

    loaded = await asyncio.gather(*(store.load("c1") for _ in range(8)))

    assert len({each.revision for each in loaded if each}) == 1
    assert {len(each.messages) for each in loaded if each} == {5}


async def test_what_was_saved_meanwhile_is_not_deleted(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Deleting is checked like saving, also against a save that is still under way."""
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
    """In the application's transaction a save is part of it; what fails in the middle leaves nothing behind."""
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


# --- storage_limit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
@pytest.mark.parametrize("limit", range(1, 9))
async def test_within_the_limit_a_history_is_valid(limit: int, on_limit: Any, make_storage: MakeStorage) -> None:
    """Whatever was pruned, what is loaded begins with no result whose call is gone, and goes on growing."""
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
    """A history without its beginning is saved again from its first message on, and the rest stays a branch."""
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
    """A branch of which nothing is left is no branch of the record any more, and nobody gets back to it."""
    store = VoltMemConversationStore(make_storage(storage_limit=4), user_id="ada")
    conversation = Conversation(conversation_id="c1", messages=[asked("a"), answered("b")])
    *_, left = await store.save(conversation)
    conversation = await store.branch("c1", at=1, expected_revision=conversation.revision)
    conversation.messages.extend([answered("c"), asked("d"), answered("e"), asked("f")])
    await store.save(conversation)

    record = await store.read_record("c1")

    assert record is not None
    assert record.branches == []
    with pytest.raises(UserError):
        await store.branch("c1", from_entry=left.id, expected_revision=record.revision)


async def test_a_limit_of_loading_is_the_frameworks(store: VoltMemConversationStore) -> None:
    """load(limit=) takes the last messages wherever that begins, and the first's entry names the one before it."""
    entries = await store.save(Conversation(conversation_id="c1", messages=turns(2)))

    window = await store.load_entries("c1", limit=2)

    assert window is not None
    assert [entry.id for entry in window] == [entry.id for entry in entries[-2:]]
    assert window[0].parent_id == entries[-3].id
    assert await store.load_entries("c1", limit=0) == []
    with pytest.raises(UserError):
        await store.load("c1", limit=-1)


# --- what others began, and go on with ------------------------------------------------------------------------------


BEGUN: list[dict[str, Any]] = [
    {"id": "m1", "role": "system", "content": "Be kind."},
    {"id": "m2", "role": "user", "content": [{"type": "text", "text": "A coat?"}, {"type": "image", "url": "u"}]},
    {
        "id": "m3",
        "role": "assistant",
        "type": "tool-call",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool-call", "toolCallId": "call1", "toolName": "weather", "args": {"city": "Oslo"}},
        ],
    },
    {
        "id": "m4",
        "role": "tool",
        "type": "tool-result",
        "content": [{"type": "tool-result", "toolCallId": "call1", "toolName": "weather", "result": {"sky": "rain"}}],
    },
    {"id": "m5", "role": "assistant", "content": "Yes."},
]


async def _begin_elsewhere(storage: PostgresStorage) -> None:
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Coats"})
    await storage.add_messages(BEGUN, "ada", "c1")


async def test_a_conversation_begun_elsewhere_is_continued(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Plain messages, with tools, are shown to the model; what it answers is saved after them."""
    await _begin_elsewhere(storage)
    model = Echo()
    before = await storage.get_conversation("c1")

    conversation = await store.load("c1")
    assert before == await storage.get_conversation("c1")  # reading moves nothing in the sidebar
    await store.save(await agent_of(model).run("And tomorrow?", conversation=conversation))

    question, call, result, answer, _ = model.shown[0]
    assert [type(part) for part in question.parts] == [SystemPromptPart, UserPromptPart]
    assert words([question, answer]) == ["Be kind. A coat?\n[image]", "Yes."]
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


async def test_what_others_add_later_follows(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A message from elsewhere follows where the conversation stands, also where it was branched back to."""
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


async def test_who_has_not_seen_what_others_added_cannot_save(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A message that came from elsewhere since loading is a conflict, like a save."""
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
    """A message in another's form is read in its plain one, and its own form stays what it was."""
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
    assert [type(message.parts[0]) for message in loaded.messages] == [UserPromptPart, ThinkingPart, TextPart]
    for kept in (memory, NativeMemory(storage, "ada", "c2")):
        assert [message.payload for message in await kept.newest_messages()] == [{"their": "form"}, None, ["x"]]


async def test_a_call_that_was_never_answered_does_not_stop_the_user(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Where another framework ended in the middle of a tool turn, the next question is answered."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages(BEGUN[:3], "ada", "c1")

    result = await agent_of(Echo()).run("Hello?", conversation=await store.load("c1"))

    assert result.output.endswith("messages")


async def test_the_same_ids_in_two_conversations_are_two_entries(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Conversations from elsewhere may name their messages alike; each is read as its own."""
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "ada"})
        await storage.add_messages([{"id": "m1", "role": "user", "content": f"of {id}"}], "ada", id)

    loaded = [await store.load("c1"), await store.load("c2")]

    assert [words(each.messages) for each in loaded if each] == [["of c1"], ["of c2"]]


@pytest.mark.parametrize("deleted", ["newest", "all"])
async def test_after_deleting_messages_the_rest_goes_on(
    deleted: str, storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Where the application deletes the last message, or all, the conversation loads without, and is continued."""
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
    """Who corrects a message with the same id leaves the history whole, in the middle as at its end."""
    await _begin_elsewhere(storage)
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


async def test_what_others_began_is_listed(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """list_conversations has the user's conversations, whoever began them, the last active first."""
    await store.save(Conversation(conversation_id="c0", messages=[asked("Hello")]))
    await _begin_elsewhere(storage)

    assert [record.conversation_id for record in await store.list_conversations()] == ["c1", "c0"]
    assert [record.conversation_id for record in await store.list_conversations(limit=1)] == ["c1"]


async def test_an_empty_conversation_of_the_sidebar_is_begun(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A conversation that the application has made, with a title, is loaded empty, saved, and keeps the title."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Coats"})

    loaded = await store.load("c1")
    assert loaded is not None
    await store.save(await agent_of(Echo()).run("Hello", conversation=loaded))

    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.title == "Coats"
    assert len(await storage.get_messages("ada", "c1")) == 2


# --- branches and forks ---------------------------------------------------------------------------------------------


async def test_a_fork_is_whole_in_the_sidebar(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A fork has the messages up to where it left, with their times, and keeps them when the first is deleted."""
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
    """However many entries it has: a load is one statement for the record, and one for all entries."""
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


# --- beside the framework's own store -------------------------------------------------------------------------------


conversation_ids = st.sampled_from(["c1", "c2", "c3"])
scopes = st.sampled_from([None] * 6 + ["ada", "ada", "bob"])
limits = st.none() | st.integers(-1, 6)
positions = st.none() | st.integers(-1, 6)
new_ids = st.sampled_from(["c1", "c3", "c3", "c4", "c5"])
seldom = st.integers(0, 5).map(lambda number: number == 5)
WHAT_IS_SAID = turns(1)
said = st.lists(st.sampled_from(WHAT_IS_SAID), max_size=3)


class BesideInMemory(RuleBasedStateMachine):
    """Whatever is called, in whatever order: both stores answer alike, or raise the same."""

    loaded: Bundle[tuple[Conversation, Conversation]] = Bundle("loaded")
    entries: Bundle[tuple[str, str]] = Bundle("entries")

    runner: ClassVar[asyncio.Runner]
    storage: ClassVar[PostgresStorage]
    user_id: ClassVar[Owner]

    @initialize(target=entries)
    def begin(self) -> Any:
        self.in_memory = InMemoryConversationStore()
        self.ours = VoltMemConversationStore(self.storage, user_id=self.user_id)
        self.names: dict[str | None, str | None] = {None: None}  # of our entries, in memory
        self.runner.run(self._empty())
        return multiple(*self.saved_turn("c1", WHAT_IS_SAID, None), *self.saved_turn("c2", WHAT_IS_SAID, "ada"))

    async def _empty(self) -> None:
        for conversation in await self.storage.query_conversations(limit=None):
            await self.storage.delete_conversation(conversation.id)

    def both(
        self, call: Callable[[ConversationStore, int], Coroutine[Any, Any, Answer]]
    ) -> tuple[Answer, Answer] | None:
        """Return the answers of both; None where both raise the same."""

        async def outcome(store: ConversationStore, side: int) -> Answer | Exception:
            try:
                return await call(store, side)
            except (UserError, LookupError) as error:
                return error

        theirs = self.runner.run(outcome(self.in_memory, 0))
        ours = self.runner.run(outcome(self.ours, 1))
        if isinstance(theirs, Exception) or isinstance(ours, Exception):
            assert type(theirs) is type(ours), (theirs, ours)
            return None
        return theirs, ours

    def same_conversations(self, pair: tuple[Conversation | None, Conversation | None] | None) -> Any:
        if pair is None:
            return multiple()
        theirs, ours = pair
        if theirs is None or ours is None:
            assert theirs is ours
            return multiple()
        assert replace(ours, revision=None) == replace(theirs, revision=None)
        assert ours.new_message_index == theirs.new_message_index
        return (theirs, ours)

    def same_entries(
        self, pair: tuple[Sequence[ConversationEntry] | None, Sequence[ConversationEntry] | None] | None
    ) -> None:
        if pair is not None:
            theirs, ours = pair
            named = ours and [
                replace(each, id=self.names[each.id] or "", parent_id=self.names[each.parent_id]) for each in ours
            ]
            assert named == theirs

    @rule(target=loaded, id=conversation_ids, messages=said)
    def make(self, id: str, messages: list[ModelMessage]) -> Any:
        return Conversation(conversation_id=id, messages=[*messages]), Conversation(
            conversation_id=id, messages=[*messages]
        )

    @rule(target=loaded, id=conversation_ids, limit=limits, scope=scopes)
    def load(self, id: str, limit: int | None, scope: str | None) -> Any:
        return self.same_conversations(self.both(lambda store, _: store.load(id, limit=limit, scope=scope)))

    @rule(pair=loaded, messages=said, usage=st.integers(0, 3))
    def say(self, pair: tuple[Conversation, Conversation], messages: list[ModelMessage], usage: int) -> None:
        for conversation in pair:
            conversation.messages.extend(messages)
            conversation.usage.requests += usage

    @rule(pair=loaded, position=st.integers(0, 4), message=st.sampled_from(WHAT_IS_SAID))
    def rewrite(self, pair: tuple[Conversation, Conversation], position: int, message: ModelMessage) -> None:
        for conversation in pair:
            conversation.messages[position : position + 2] = [message]

    @rule(target=loaded, pair=loaded, knows_index=st.booleans())
    def serialize(self, pair: tuple[Conversation, Conversation], knows_index: bool) -> Any:
        return tuple(
            replace(each, messages=[*each.messages], new_message_index=each.new_message_index if knows_index else None)
            for each in pair
        )

    @rule(target=entries, pair=loaded, scope=scopes)
    def save(self, pair: tuple[Conversation, Conversation], scope: str | None) -> Any:
        return multiple(*self.new_entries(self.both(lambda store, side: store.save(pair[side], scope=scope))))

    @rule(target=entries, id=conversation_ids, messages=said, scope=scopes)
    def go_on(self, id: str, messages: list[ModelMessage], scope: str | None) -> Any:
        return multiple(*self.saved_turn(id, messages, scope))

    def saved_turn(self, id: str, messages: Sequence[ModelMessage], scope: str | None) -> Sequence[tuple[str, str]]:
        async def turn(store: ConversationStore, _: int) -> Sequence[ConversationEntry]:
            conversation = await store.load(id, scope=scope) or Conversation(conversation_id=id)
            conversation.messages.extend(messages)
            return await store.save(conversation, scope=scope)

        return self.new_entries(self.both(turn))

    def new_entries(
        self, saved: tuple[Sequence[ConversationEntry], Sequence[ConversationEntry]] | None
    ) -> Sequence[tuple[str, str]]:
        pairs = [*zip(*saved, strict=True)] if saved else []
        self.names.update((mine.id, its.id) for its, mine in pairs)
        self.same_entries(saved)
        return [(its.id, mine.id) for its, mine in pairs]

    @rule(target=loaded, id=conversation_ids, at=st.integers(-1, 4), scope=scopes, is_stale=seldom)
    def branch(self, id: str, at: int, scope: str | None, is_stale: bool) -> Any:
        return self.branch_from(id, is_stale, lambda _: {"at": at, "scope": scope})

    @rule(target=loaded, id=conversation_ids, entry=entries, is_stale=seldom)
    def branch_from_an_entry(self, id: str, entry: tuple[str, str], is_stale: bool) -> Any:
        return self.branch_from(id, is_stale, lambda side: {"from_entry": entry[side]})

    def branch_from(self, id: str, is_stale: bool, where: Callable[[int], dict[str, Any]]) -> Any:
        async def branched(store: ConversationStore, side: int) -> Conversation:
            there = await store.read_record(id)
            revision = "stale" if is_stale or there is None else there.revision
            return await store.branch(id, expected_revision=revision, **where(side))

        return self.same_conversations(self.both(branched))

    @rule(target=loaded, id=conversation_ids, at=positions, new_id=new_ids, scope=scopes, source_scope=scopes)
    def fork(self, id: str, at: int | None, new_id: str, scope: str | None, source_scope: str | None) -> Any:
        return self.same_conversations(
            self.both(
                lambda store, _: store.fork(
                    id, at=at, new_conversation_id=new_id, scope=scope, source_scope=source_scope
                )
            )
        )

    @rule(target=loaded, id=conversation_ids, entry=entries, new_id=new_ids)
    def fork_from_an_entry(self, id: str, entry: tuple[str, str], new_id: str) -> Any:
        return self.same_conversations(
            self.both(lambda store, side: store.fork(id, from_entry=entry[side], new_conversation_id=new_id))
        )

    @rule(id=conversation_ids, scope=scopes, indeed=seldom)
    def delete(self, id: str, scope: str | None, indeed: bool) -> None:
        if indeed:
            self.both(lambda store, _: store.delete(id, scope=scope))

    @rule(id=conversation_ids, limit=limits, scope=scopes)
    def load_entries(self, id: str, limit: int | None, scope: str | None) -> None:
        self.same_entries(self.both(lambda store, _: store.load_entries(id, limit=limit, scope=scope)))

    @rule(entry=entries)
    def read_entry(self, entry: tuple[str, str]) -> None:
        # As somebody has it who has written it down.
        read = self.both(lambda store, side: store.read_entry("".join(entry[side])))
        self.same_entries(read and ([read[0]], [read[1]]))

    @rule(id=conversation_ids, entry=entries, current=st.booleans(), scope=scopes)
    def write_record(self, id: str, entry: tuple[str, str], current: bool, scope: str | None) -> None:
        async def write(store: ConversationStore, side: int) -> None:
            there = await store.read_record(id)
            record = ConversationRecord(
                conversation_id=id,
                head_id="".join(entry[side]),
                scope=scope if there is None else there.scope,
                branches=[] if there is None else _and_head(there),
            )
            await store.write_record(record, expected_revision=there.revision if there and current else None)

        self.both(write)

    @rule(scope=scopes, limit=limits)
    def list(self, scope: str | None, limit: int | None) -> None:
        listed = self.both(lambda store, _: store.list_conversations(scope=scope, limit=limit))
        if listed is not None:
            assert list(map(self._told, listed[1])) == list(map(self._as_told, listed[0]))

    def _told(self, record: ConversationRecord) -> ConversationRecord:
        return self._as_told(
            replace(
                record,
                head_id=self.names[record.head_id],
                forked_at=self.names[record.forked_at],
                branches=[self.names[end] or "" for end in record.branches],
            )
        )

    def _as_told(self, record: ConversationRecord) -> ConversationRecord:
        return replace(record, revision="", updated_at=datetime.min)


def _and_head(record: ConversationRecord) -> list[str]:
    head = [record.head_id] if record.head_id and record.head_id not in record.branches else []
    return [*record.branches, *head]


@pytest.mark.parametrize("user_id", [ANY_USER, "ada"], ids=["scopes are users", "one user's store"])
def test_it_never_differs_from_the_store_in_memory(user_id: Owner) -> None:
    """Loads, saves, branches, forks, lists, deletions and conflicts: as InMemoryConversationStore has them."""
    schema = temporary_schema_name()
    with asyncio.Runner() as runner:
        storage = PostgresStorage(server().dsn, schema=schema, storage_limit=None)
        machine = type("Machine", (BesideInMemory,), {"runner": runner, "storage": storage, "user_id": user_id})
        try:
            run_state_machine_as_test(
                machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
            )
        finally:
            runner.run(storage.close())
            runner.run(drop_schema(schema))


# --- what is stored -------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(["\x00", "\ud800", '{"a": 1}', ""])
keys = st.text("a\x00é", max_size=3)  # Pydantic AI's own JSON has no lone surrogates in keys
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(keys, json_values, max_size=3)
ids = st.text("abc", min_size=1, max_size=3)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
files = st.sampled_from(
    [ImageUrl("https://example.com/a.png"), BinaryContent(b"\xff\x00", media_type="image/png", identifier="x")]
)
requests = st.builds(
    ModelRequest,
    st.lists(
        st.builds(UserPromptPart, texts | st.lists(texts | files, max_size=3), timestamp=moments)
        | st.builds(SystemPromptPart, texts, timestamp=moments)
        | st.builds(ToolReturnPart, ids, json_values, ids, timestamp=moments, metadata=json_values),
        min_size=1,
        max_size=3,
    ),
    instructions=st.none() | texts,
    metadata=st.none() | objects,
)
responses = st.builds(
    ModelResponse,
    st.lists(
        st.builds(TextPart, texts)
        | st.builds(ThinkingPart, texts, signature=st.none() | texts)
        | st.builds(ToolCallPart, ids, texts | objects | st.none(), ids),
        max_size=3,
    ),
    timestamp=moments,
    provider_details=st.none() | objects,
    model_name=st.none() | texts,
)


def as_json(messages: Sequence[ModelMessage]) -> Any:
    return ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(requests | responses, max_size=4))
async def test_every_message_comes_back_bit_for_bit(
    messages: list[ModelMessage], store: VoltMemConversationStore
) -> None:
    """The JSON of all that is loaded is the JSON of all that was saved, NUL and lone surrogates included."""
    conversation = Conversation(messages=messages)
    await store.save(conversation)

    loaded = await store.load(conversation.conversation_id)

    assert loaded is not None
    assert repr(as_json(loaded.messages)) == repr(as_json(messages))


async def test_a_binary_file_comes_back(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A picture's bytes are kept once, in the framework's form; the plain message says that there is one."""
    picture = BinaryContent(bytes(range(256)), media_type="image/png")
    await store.save(Conversation(conversation_id="c1", messages=[ModelRequest([UserPromptPart(["Look", picture])])]))

    loaded = await store.load("c1")
    (plain,) = await storage.get_messages("ada", "c1")

    assert loaded is not None
    (part,) = loaded.messages[0].parts
    assert isinstance(part, UserPromptPart)
    assert isinstance(part.content[1], BinaryContent)
    assert part.content[1].data == picture.data
    assert isinstance(plain.content, list)
    assert plain.content[0] == {"type": "text", "text": "Look"}
    assert isinstance(plain.content[1], dict)
    assert (plain.content[1]["media_type"], "data" in plain.content[1]) == ("image/png", False)


# A retry as releases before 2.0 have it, where it answers a call.
OLD_RETRY = {"part_kind": "retry-prompt", "tool_name": "weather", "tool_call_id": "1", "content": "Which city?"}


def test_a_retry_of_an_old_release_answers_its_call() -> None:
    """A retry prompt with a tool's name is that tool's result, without one it is feedback."""
    result = {"type": "tool-result", "toolCallId": "1", "toolName": "weather", "result": "Which city?"}

    assert _plain_request([{**OLD_RETRY}]) == ("tool", "tool-result", [result])
    assert _plain_request([{**OLD_RETRY, "tool_name": None}])[:2] == ("system", "retry-prompt")


PLAIN: list[tuple[ModelMessage, tuple[str, str, Any]]] = [
    (asked("Hi"), ("user", "text", "Hi")),
    (ModelRequest([SystemPromptPart("Be kind."), UserPromptPart("Hi")], instructions="x"), ("user", "text", "Hi")),
    (ModelRequest([SystemPromptPart("a"), SystemPromptPart("b")]), ("system", "text", "a\n\nb")),
    (ModelResponse([ThinkingPart("Hm."), TextPart("Yes.")]), ("assistant", "text", "Yes.")),
    (ModelResponse([]), ("assistant", "text", "")),
    (
        ModelResponse([TextPart("a"), TextPart("b")]),
        ("assistant", "text", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ),
    (
        ModelResponse([TextPart("I look."), ToolCallPart("weather", '{"city": "Oslo"}', "1")]),
        (
            "assistant",
            "tool-call",
            [
                {"type": "text", "text": "I look."},
                {"type": "tool-call", "toolCallId": "1", "toolName": "weather", "args": {"city": "Oslo"}},
            ],
        ),
    ),
    (
        called("1", args='{"cut of'),
        (
            "assistant",
            "tool-call",
            [{"type": "tool-call", "toolCallId": "1", "toolName": "weather", "args": '{"cut of'}],
        ),
    ),
    (
        ModelRequest([ToolReturnPart("weather", {"sky": "rain"}, "1"), UserPromptPart("And?")]),
        (
            "tool",
            "tool-result",
            [
                {"type": "tool-result", "toolCallId": "1", "toolName": "weather", "result": {"sky": "rain"}},
                {"type": "text", "text": "And?"},
            ],
        ),
    ),
]


@pytest.mark.parametrize(("message", "plain"), PLAIN, ids=range(len(PLAIN)))
async def test_everybody_reads_plain_messages(
    message: ModelMessage, plain: tuple[str, str, Any], storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """What people and other frameworks read of a message."""
    await store.save(Conversation(conversation_id="c1", messages=[message]))

    (read,) = await storage.get_messages("ada", "c1")

    assert (read.role, read.type, read.content) == plain


async def test_thoughts_alone_are_no_answer(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A response that is nothing but thinking is read as of that type."""
    await store.save(Conversation(conversation_id="c1", messages=[ModelResponse([ThinkingPart("Hm.")])]))

    (read,) = await storage.get_messages("ada", "c1")

    assert (read.role, read.type) == ("assistant", "thinking")


@pytest.mark.parametrize("limit", range(1, 10))
async def test_as_an_agents_memory_it_is_valid(
    limit: int, storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Other frameworks get windows in which each call has its result."""
    await store.save(Conversation(conversation_id="c1", messages=turns(3)))

    window = await storage.conversation("ada", "c1").messages(limit=limit)

    assert _ids(window, tool_calls) == _ids(window, tool_results)
    assert len(window) <= limit


def _ids(messages: Sequence[Message], of: Callable[[Message], Sequence[Any]]) -> list[str]:
    return [each.id for message in messages for each in of(message)]


async def test_what_cannot_be_stored_is_an_error_and_nothing_is(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A tool that returned what JSON has no word for, or an id that PostgreSQL cannot hold: an error of ours."""
    unserializable = Conversation(conversation_id="c1", messages=[asked("a"), returned("1", object())])

    with pytest.raises(InvalidInputError):
        await store.save(unserializable)
    for id in ("\x00", "x" * 1001):
        with pytest.raises(InvalidInputError):
            await store.save(Conversation(conversation_id=id, messages=[asked("a")]))
    entry = ConversationEntry(id="\x00", parent_id=None, message=asked("a"))
    with pytest.raises(InvalidInputError):
        record = ConversationRecord(conversation_id="c1", head_id="\x00")
        await store.write_record(record, new_entries=[entry], expected_revision=None)

    assert await storage.count_conversations() == 0


# --- without a store ------------------------------------------------------------------------------------------------


async def test_without_a_store_a_history_is_loaded_and_saved(storage: PostgresStorage) -> None:
    """load_history and save_history: a second run is shown the first one's messages, and windows are valid."""
    memory = storage.conversation("ada", "c1")
    model = Echo()
    agent = agent_of(model, with_tool=True)

    for question in ("A coat?", "An umbrella?"):
        result = await agent.run(question, message_history=await load_history(memory))
        await save_history(memory, result.new_messages())

    assert words(model.shown[-1][:4]) == ["A coat?", "weather", "weather", "3 messages"]
    assert await load_history(memory, limit=None) == result.all_messages()
    assert words(await load_history(memory, limit=2)) == ["7 messages"]
    assert len(await load_history(memory, turns=1)) == 4
    with pytest.raises(ConversationNotFoundError):
        await load_history(storage.conversation("bob", "c1"))
    with pytest.raises(ConversationNotFoundError):
        await save_history(storage.conversation("bob", "c1"), result.new_messages())


async def test_what_was_saved_without_a_store_is_continued_with_one(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Messages of save_history come back bit for bit from the store, and its messages from load_history."""
    memory = storage.conversation("ada", "c1")
    await save_history(memory, turns(1))

    loaded = await store.load("c1")
    assert loaded is not None
    loaded.messages.append(asked("Go on"))
    await store.save(loaded)

    assert loaded.messages == await load_history(memory)


OLDER = """
import sys
sys.modules["pydantic_ai.conversation_store"] = None
from voltmem import PostgresStorage, errors
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, load_history, save_history
try:
    VoltMemConversationStore(PostgresStorage("postgresql://nobody@nowhere/x"), user_id="ada")
except errors.MissingExtraError as error:
    print(error)
"""


def test_on_an_older_release_the_store_says_what_it_needs() -> None:
    """The module is there without conversation stores; making one says which release has them."""
    program = subprocess.run([sys.executable, "-c", OLDER], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "2.66" in program.stdout, program.stderr
