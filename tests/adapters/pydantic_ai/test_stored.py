"""Messages are read back bit for bit and as plain messages; histories without a store."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, NativeOutput
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
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
from pydantic_ai.profiles import ModelProfile

from tests.adapters.pydantic_ai.histories import Echo, agent_of, asked, called, returned, turns, words
from tests.checkout import ROOT
from tests.properties import examples
from tests.said import tool_calls, tool_results
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, load_history, save_history
from voltmem.options import Window
from voltmem.parts import Text, ToolResult, parts, to_openai
from voltmem.parts.pydantic_ai import role

# --- what is stored --------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(["\x00", "\ud800", '{"a": 1}', ""])
keys = st.text("a\x00é", max_size=3)  # Pydantic AI cannot write lone surrogates in keys
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


@examples(40)
@given(messages=st.lists(requests | responses, max_size=4))
async def test_every_message_comes_back_bit_for_bit(
    messages: list[ModelMessage], store: VoltMemConversationStore
) -> None:
    """The JSON of loaded messages equals the JSON of saved ones, including NUL and lone surrogates."""
    conversation = Conversation(messages=messages)
    await store.save(conversation)

    loaded = await store.load(conversation.conversation_id)

    assert loaded is not None
    assert repr(as_json(loaded.messages)) == repr(as_json(messages))


async def test_a_binary_file_comes_back(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """An image's bytes are stored once, in the framework's form; the plain message has a part without the bytes."""
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
    assert plain.content[1] == {"type": "file", "mediaType": "image/png"}


# A retry prompt that answers a call, in the form of releases before 2.0.
OLD_RETRY = {"part_kind": "retry-prompt", "tool_name": "weather", "tool_call_id": "1", "content": "Which city?"}


def test_a_retry_of_an_old_release_answers_its_call() -> None:
    """A retry prompt with a tool's name is the tool's result; without one it is feedback, as in the newest release."""
    of_tool: dict[str, Any] = {"kind": "request", "parts": [OLD_RETRY]}
    feedback: dict[str, Any] = {"kind": "request", "parts": [{**OLD_RETRY, "tool_name": None}]}

    assert (role(of_tool), parts(of_tool)) == ("tool", [ToolResult("1", "Which city?", "weather", "failed")])
    newest: dict[str, Any] = {"kind": "request", "parts": [{"part_kind": "retry-feedback", "content": "Which city?"}]}
    assert role(feedback) == role(newest) == "validator"
    assert parts(feedback) == parts(newest)
    (said,) = parts(feedback)
    assert isinstance(said, Text)
    assert "Which city?" in said.text


class Counted(BaseModel):
    number: int


@pytest.mark.parametrize("output", [str, NativeOutput(Counted)])
async def test_others_read_why_an_output_was_refused_as_the_model_did(
    storage: PostgresStorage, store: VoltMemConversationStore, output: Any
) -> None:
    """The framework shows the model what a validator said; so does every other reader, not as the user's words."""
    requests: list[list[ModelMessage]] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        requests.append(messages)
        return ModelResponse([TextPart("One." if len(requests) == 1 else '{"number":12}')])

    model = FunctionModel(answer, profile=ModelProfile(supports_json_schema_output=True))
    agent = Agent(model, output_type=output)

    @agent.output_validator
    def check(value: object) -> object:
        if value == "One.":
            raise ModelRetry("Use a number.")
        return value

    conversation = Conversation(conversation_id="c1")
    await store.save(await agent.run("Count", conversation=conversation))

    (shown,) = requests[1][-1].parts
    assert isinstance(shown, UserPromptPart)
    stored = await storage.conversation("ada", "c1").messages()
    assert [message.role for message in stored] == ["user", "assistant", "validator", "assistant"]
    assert to_openai(stored)[2] == {"role": "user", "content": f"[validator]: {shown.content}"}


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
async def test_every_message_has_a_plain_form(
    message: ModelMessage, plain: tuple[str, str, Any], storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Each message has the expected plain form."""
    await store.save(Conversation(conversation_id="c1", messages=[message]))

    (read,) = await storage.get_messages("ada", "c1")

    assert (read.role, read.type, read.content) == plain


async def test_thoughts_alone_are_no_answer(storage: PostgresStorage, store: VoltMemConversationStore) -> None:
    """A response with only thinking has the type "reasoning" in its plain form."""
    await store.save(Conversation(conversation_id="c1", messages=[ModelResponse([ThinkingPart("Hm.")])]))

    (read,) = await storage.get_messages("ada", "c1")

    assert (read.role, read.type) == ("assistant", "reasoning")


@pytest.mark.parametrize("limit", range(1, 10))
async def test_as_an_agents_memory_it_is_valid(
    limit: int, storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """Other frameworks get windows in which each call has its result."""
    await store.save(Conversation(conversation_id="c1", messages=turns(3)))

    window = await storage.conversation("ada", "c1").messages(limit=limit)

    called = [call.id for message in window for call in tool_calls(message)]
    assert called == [result.call_id for message in window for result in tool_results(message)]
    assert len(window) <= limit


async def test_a_save_that_cannot_be_stored_raises_and_stores_nothing(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """A tool result that is not JSON, and an id that PostgreSQL cannot store, raise InvalidInputError."""
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


# --- without a store -------------------------------------------------------------------------------------------------


async def test_without_a_store_a_history_is_loaded_and_saved(storage: PostgresStorage) -> None:
    """With load_history and save_history, a second run receives the first run's messages, and windows are valid."""
    memory = storage.conversation("ada", "c1")
    model = Echo()
    agent = agent_of(model, with_tool=True)

    for question in ("A coat?", "An umbrella?"):
        result = await agent.run(question, message_history=await load_history(memory))
        await save_history(memory, result.new_messages())

    assert words(model.requests[-1][:4]) == ["A coat?", "weather", "weather", "3 messages"]
    assert await load_history(memory, limit=None) == result.all_messages()
    assert words(await load_history(memory, limit=2)) == ["7 messages"]
    assert len(await load_history(memory, turns=1)) == 4
    with pytest.raises(ConversationNotFoundError):
        await load_history(storage.conversation("bob", "c1"))
    with pytest.raises(ConversationNotFoundError):
        await save_history(storage.conversation("bob", "c1"), result.new_messages())


@pytest.mark.parametrize("window", [{"turns": 1}, {"limit": 2}, {"tokens": 20}, {"limit": 1}, {}])
@pytest.mark.parametrize("is_compacted", [False, True])
async def test_load_history_begins_with_the_system_prompts(
    storage: PostgresStorage, window: Window, is_compacted: bool
) -> None:
    """A window begins with the system prompts of the first request, once, and no message is stored again with them."""
    memory = storage.conversation("ada", "c1")
    model = Echo()
    agent = Agent(FunctionModel(model), system_prompt=["Be brief.", "Be kind."])
    for question in ("A coat?", "An umbrella?", "Boots?"):
        result = await agent.run(question, message_history=await load_history(memory))
        await save_history(memory, result.all_messages())
    if is_compacted:
        await memory.compact(lambda _messages, _before: "Of a coat.", keep_turns=1)
    stored = await storage.get_messages("ada", "c1")

    last = await agent.run("Gloves?", message_history=await load_history(memory, **window))

    shown = " ".join(words(model.requests[-1]))
    assert shown.startswith("Be brief. Be kind. ")
    assert shown.endswith("Gloves?")
    assert shown.count("Be kind.") == 1
    await save_history(memory, last.all_messages())
    assert (await storage.get_messages("ada", "c1"))[:-2] == stored


@pytest.mark.parametrize("is_compacted", [False, True])
async def test_save_history_keeps_the_order_of_the_runs(storage: PostgresStorage, is_compacted: bool) -> None:
    """Messages are stored in the order in which they were said, whatever is saved together, or saved again."""
    memory = storage.conversation("ada", "c1")
    agent = agent_of(Echo(), with_tool=True)
    first = await agent.run("A coat?")
    second = await agent.run("An umbrella?", message_history=first.all_messages())

    await save_history(memory, second.all_messages())
    stored = await storage.get_messages("ada", "c1")
    if is_compacted:
        await memory.compact(lambda _messages, _before: "Of a coat.", keep_turns=1)
    for result in (second, first, second):
        await save_history(storage.conversation("ada", "c1"), result.all_messages())
        await save_history(memory, result.new_messages())

    assert [each.text for each in stored][::4] == ["A coat?", "An umbrella?"]
    assert len(stored) == 8
    assert await storage.get_messages("ada", "c1") == stored
    third = await agent.run("Boots?", message_history=await load_history(memory))
    await save_history(memory, third.all_messages())
    assert [each.text for each in await storage.get_messages("ada", "c1")][::4] == ["A coat?", "An umbrella?", "Boots?"]
    assert len(await storage.get_messages("ada", "c1")) == 12


async def test_a_history_saved_without_a_store_is_continued_with_one(
    storage: PostgresStorage, store: VoltMemConversationStore
) -> None:
    """The store loads messages of save_history bit for bit, and load_history loads messages of the store."""
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


SCOPED: dict[str, Callable[[Any], Any]] = {
    "load": lambda store: store.load("c1", scope=""),
    "load_entries": lambda store: store.load_entries("c1", scope=""),
    "save": lambda store: store.save(Conversation(messages=turns(1)), scope=""),
    "branch": lambda store: store.branch("c1", at=0, expected_revision=None, scope=""),
    "fork": lambda store: store.fork("c1", scope=""),
    "fork_from": lambda store: store.fork("c1", source_scope=""),
    "list_conversations": lambda store: store.list_conversations(scope=""),
    "read_records": lambda store: store.read_records(scope=""),
    "delete": lambda store: store.delete("c1", scope=""),
}


@pytest.mark.parametrize("name", SCOPED)
@pytest.mark.parametrize("user_id", ["ada", ANY_USER], ids=str)
async def test_an_empty_scope_is_refused(name: str, user_id: Any, storage: PostgresStorage) -> None:
    """An empty scope, which may be the user, is an error in each method, whatever is stored."""
    with pytest.raises(InvalidInputError, match="scope is an empty string"):
        await SCOPED[name](VoltMemConversationStore(storage, user_id=user_id))

    assert await storage.count_conversations() == 0


def test_every_method_with_a_scope_is_tested() -> None:
    """The methods of SCOPED are all that have a scope."""
    with_scope = {
        name
        for name, method in inspect.getmembers(VoltMemConversationStore, inspect.iscoroutinefunction)
        if not name.startswith("_") and {"scope", "source_scope"} & inspect.signature(method).parameters.keys()
    }

    assert with_scope == set(SCOPED) - {"fork_from"}


def test_on_an_older_release_the_store_says_what_it_needs() -> None:
    """The module can be imported without conversation stores; creating one raises an error that names the release."""
    program = subprocess.run([sys.executable, "-c", OLDER], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "2.66" in program.stdout, program.stderr
