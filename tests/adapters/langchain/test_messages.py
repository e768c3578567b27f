"""LangChain's messages are read back equal, and conversations begun elsewhere are continued."""

from __future__ import annotations

from typing import Any, Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool

from tests.adapters.langchain.scripted import C1, agent, assert_valid, native, scripted, stored_texts, texts, user_input
from tests.said import text_part, tool_calls, written
from voltmem import InvalidInputError, Message, NativeMessage, PostgresStorage
from voltmem._values import from_stored_json, to_json
from voltmem.adapters.langchain import FORMAT, to_langchain, to_native
from voltmem.parts import File, ToolCall, ToolResult
from voltmem.parts._types import made_id

# --- conversations begun elsewhere -----------------------------------------------------------------------------------

ELSEWHERE = [
    Message(role="system", content="Be brief."),
    Message(role="user", content=[text_part("Oslo"), {"type": "image", "url": "https://example.org/oslo.png"}]),
    Message(role="assistant", content=[{"type": "reasoning", "text": "Hm."}], type="reasoning"),
    Message(
        role="assistant",
        type="tool-call",
        content=[text_part("Let me see."), written(ToolCall("k1", "weather", {"city": "Oslo"}))],
    ),
    Message(role="tool", type="tool-result", content=[written(ToolResult("k1", {"celsius": 4}, "weather"))]),
    Message(role="assistant", content="4 °C"),
    Message(role="narrator", content="It rains."),
]
TRANSLATED: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage([text_part("Oslo"), {"type": "image", "url": "https://example.org/oslo.png"}]),
    AIMessage("Let me see.", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "k1"}]),
    ToolMessage('{"celsius":4}', tool_call_id="k1", name="weather"),
    AIMessage("4 °C"),
    HumanMessage("[narrator]: It rains."),
]


@pytest.mark.parametrize("format", [None, "another"])
async def test_a_conversation_begun_elsewhere_is_continued(format: str | None, storage: PostgresStorage) -> None:
    """The texts, tool calls and results of an application's or another framework's messages reach the model."""
    payload = None if format is None else {"its": "own"}
    begun = [
        NativeMessage.of({**message.model_dump(exclude={"created_at"}), "format": format, "payload": payload})
        for message in ELSEWHERE
    ]
    await storage.conversation("ada", "c1").add_turn(begun)
    model = scripted("You are welcome.")

    await agent(model, storage).ainvoke(user_input("Thanks"), C1)

    assert [without_id(message) for message in model.requests[0][:-1]] == TRANSLATED
    assert len(await stored_texts(storage)) == len(ELSEWHERE) + 2


def test_tools_without_ids_or_objects_are_completed_for_langchain() -> None:
    """Calls without ids are given ids, results without ids answer the oldest call, arguments become an object."""
    messages: list[dict[str, Any]] = [
        {
            "role": "assistant",
            "type": "tool-call",
            "content": [written(ToolCall("", "one", None)), {"type": "tool_use"}],
        },
        {"role": "tool", "content": "first"},
        {"role": "user", "content": [{"type": "tool_result", "content": ["second"]}, "and this"]},
        {"role": "assistant", "content": {"tool_calls": [{"id": "k", "function": {"name": "f", "arguments": "[1]"}}]}},
        {"role": "tool", "content": "third", "metadata": {"tool_call_id": "k"}},
        {
            "role": "assistant",
            "content": [written(ToolCall("j", "g", {})), written(ToolResult("j", "fourth", "g"))],
        },
    ]

    found = to_langchain(NativeMessage.of({"id": f"m{n}", **message}) for n, message in enumerate(messages))

    assert_valid(found)
    assert [without_id(message) for message in found[1:4]] == [
        ToolMessage("first", tool_call_id=made_id("m0:0")),
        ToolMessage('["second"]', tool_call_id=made_id("m0:1")),
        HumanMessage("and this"),
    ]
    assert isinstance(found[0], AIMessage)
    assert [call["args"] for call in found[0].tool_calls] == [{}, {}]
    assert isinstance(found[4], AIMessage)
    assert found[4].tool_calls[0]["args"] == {"arguments": [1]}
    assert len({message.id for message in found}) == len(found) == 8


# --- all messages of LangChain ---------------------------------------------------------------------------------------

MESSAGES: list[BaseMessage] = [
    HumanMessage("\x00 and \ud800"),
    HumanMessage("Hi", name="Ada", additional_kwargs={"a": [1, None, {"b": 1e300}]}),
    HumanMessage([{"type": "image", "base64": "aGk=", "mime_type": "image/png"}, "and", {"type": "text", "text": ""}]),
    SystemMessage("Be brief.", additional_kwargs={"__openai_role__": "developer"}),
    AIMessage(
        [
            {"type": "thinking", "thinking": "Hm", "signature": "x"},
            {"type": "tool_use", "id": "k1", "name": "f", "input": {}},
        ],
        tool_calls=[{"name": "f", "args": {"deep": {"\x00": "\ud800", "n": 10**30}}, "id": "k1"}],
        invalid_tool_calls=[{"name": None, "args": "{", "id": "k2", "error": "no JSON", "type": "invalid_tool_call"}],
        usage_metadata={
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "input_token_details": {"cache_read": 1},
        },
        response_metadata={"model_name": "scripted", "logprobs": None},
    ),
    AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": None}]),
    AIMessage("", additional_kwargs={"tool_calls": [{"id": "k", "function": {"name": "f", "arguments": "{}"}}]}),
    AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
    ToolMessage("4 °C\x00", tool_call_id="k1", name="f", artifact={"rows": [[1, "a"]]}, status="error"),
    ToolMessage([{"type": "text", "text": "a"}, "b"], tool_call_id="k2"),
    HumanMessage("[narrator]: It rains."),
    FunctionMessage(content="4 °C", name="f"),
    HumanMessageChunk(content="Hi"),
    AIMessageChunk(
        content="",
        tool_call_chunks=[{"name": "f", "args": "{}", "id": "k", "index": 0, "type": "tool_call_chunk"}],
        chunk_position="last",
    ),
]


async def test_every_message_comes_back_equal(storage: PostgresStorage) -> None:
    """All kinds of messages with all their fields are read as they were stored, also as another process reads them."""
    await storage.conversation("ada", "c1").add_turn(to_native(message) for message in MESSAGES)

    found = to_langchain(await native(storage))

    assert found == MESSAGES
    assert [type(message) for message in found] == [type(message) for message in MESSAGES]


TEXTS = st.text()  # NUL and lone surrogates, too
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
CONTENT = TEXTS | st.lists(TEXTS | OBJECTS, max_size=3)
CALLS = st.lists(
    st.fixed_dictionaries({"name": TEXTS, "args": OBJECTS, "id": st.none() | TEXTS, "type": st.just("tool_call")}),
    max_size=2,
)


@given(content=CONTENT, calls=CALLS, more=OBJECTS)
def test_any_answer_comes_back_equal(content: Any, calls: Any, more: dict[str, Any]) -> None:
    """LangChain's own form of any answer is equal after storing and reading it."""
    message = AIMessage(content=content, tool_calls=calls, response_metadata=more)

    assert reread(message) == message


@given(content=CONTENT, artifact=JSON, name=st.none() | TEXTS, status=st.sampled_from(["success", "error"]))
def test_any_result_comes_back_equal(
    content: Any, artifact: Any, name: str | None, status: Literal["success", "error"]
) -> None:
    """LangChain's own form of any tool result is equal after storing and reading it."""
    message = ToolMessage(content=content, tool_call_id="k1", artifact=artifact, name=name, status=status)

    assert reread(message) == message


def test_blocks_that_repeat_a_call_are_not_counted_twice() -> None:
    """Providers repeat a call in the content and in tool_calls; the plain message has it once."""
    plain = to_native(MESSAGES[4])

    assert [call.id for call in tool_calls(plain)] == ["k1", "k2"]
    assert [part["type"] for part in plain.content] == ["tool-call"] * 2  # type: ignore[index,union-attr,call-overload]


def test_parts_of_unknown_types_do_not_raise() -> None:
    """A part whose type is not a string does not raise."""
    odd: list[Any] = [
        {"type": ["tool_use"]},
        {"type": None, "text": "Hi"},
        {"text": "Ho"},
        {"type": "image", "url": "https://x.test/u"},
    ]
    answer = AIMessage(odd, tool_calls=[{"name": "f", "args": {}, "id": "k1"}])

    assert to_native(answer).content == [
        text_part("Hi"),
        text_part("Ho"),
        {"type": "file", "mediaType": "image", "url": "https://x.test/u"},
        written(ToolCall("k1", "f", {})),
    ]
    (found,) = to_langchain([NativeMessage(role="user", content=odd)])
    assert found.content == [text_part("Hi"), text_part("Ho"), {"type": "image", "url": "https://x.test/u"}]


async def test_a_replaced_message_is_read_as_it_is_now(storage: PostgresStorage) -> None:
    """After the application has edited a message by its id, the agent receives the new text."""
    first = await agent(scripted("Ho"), storage).ainvoke(user_input("Hi"), C1)
    edited = {"id": first["messages"][1].id, "role": "assistant", "content": "Ho ho"}
    await storage.add_message(edited, "ada", "c1")
    model = scripted("Sure")

    await agent(model, storage).ainvoke(user_input("Again"), C1)

    assert texts(model.requests[0]) == ["Hi", "Ho ho", "Again"]


async def test_an_artifact_that_is_no_json_is_left_out(
    storage: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """The message is stored without an artifact that is not JSON, and a warning is logged."""

    @tool(response_format="content_and_artifact")
    def search(q: str) -> tuple[str, list[Document]]:
        """Find documents."""
        return q, [Document("text")]

    call = AIMessage("", tool_calls=[{"name": "search", "args": {"q": "leeks"}, "id": "k1"}])
    result = await agent(scripted(call, "Found."), storage, search).ainvoke(user_input("Find"), C1)

    assert result["messages"][2].artifact == [Document("text")]
    stored = to_langchain(await native(storage))[2]
    assert isinstance(stored, ToolMessage)
    assert (stored.text, stored.artifact) == ("leeks", None)
    assert [record.name for record in caplog.records if "artifact" in record.message] == ["voltmem"]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (RemoveMessage(id="m1"), "RemoveMessage"),
        (BaseMessage(content="", type="mine"), "'mine'"),
        (HumanMessage("Hi", additional_kwargs={"at": object()}), "object"),
        (AIMessage("Hi", response_metadata={"logprob": float("-inf")}), "inf"),
        (HumanMessage("Hi", id="\x00"), "id"),
    ],
    ids=["remove", "unknown", "object", "infinity", "id"],
)
def test_a_message_that_cannot_be_stored_raises(message: BaseMessage, why: str) -> None:
    """A message that could not be read again raises InvalidInputError, which says why."""
    with pytest.raises(InvalidInputError, match=why):
        to_native(message)


@pytest.mark.parametrize(
    "data",
    [{"content": "Hi", "tool_calls": [[1]]}, {"content": "Hi", "additional_kwargs": 7}, {"content": {}}, {}],
    ids=["calls", "options", "content", "nothing"],
)
def test_a_message_that_langchain_cannot_read_is_shown_as_plain(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever LangChain raises for a stored message, its plain form is read, with a warning."""
    message = NativeMessage(role="assistant", content="Hi", format=FORMAT, payload={"type": "ai", "data": data})

    (found,) = to_langchain([message])

    assert found.content == "Hi"
    assert "its plain form is read" in caplog.text


# --- the package -----------------------------------------------------------------------------------------------------


def reread(message: BaseMessage) -> BaseMessage:
    (found,) = to_langchain([NativeMessage.of({**dict(to_native(message)), "payload": stored_payload(message)})])
    return found


def stored_payload(message: BaseMessage) -> Any:
    assert to_native(message).format == FORMAT
    return from_stored_json(to_json(to_native(message).payload))


def without_id(message: BaseMessage) -> BaseMessage:
    return message.model_copy(update={"id": None})


SEEN: Any = [
    {"type": "text", "text": "done"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
]


def test_a_picture_is_shown_in_a_result_and_named_in_an_answer() -> None:
    """Providers take pictures in tools' results, and refuse them in what a model says."""
    result, answer = ToolResult("k1", SEEN, "look"), File("image/png", "cat.png", data="AAAA")
    said: Any = [written(ToolCall("k1", "look", {})), written(result)]
    found = to_langchain(
        [
            NativeMessage(role="assistant", content=said),
            NativeMessage(role="assistant", content=[{"type": "file", "filename": "cat.png", "url": answer.address}]),
        ]
    )

    assert [each.content for each in found] == [
        "",
        [text_part("done"), {"type": "image", "base64": "AAAA", "mime_type": "image/png"}],
        "[file: cat.png]",
    ]


def test_a_stored_file_that_is_not_there_is_named_in_langchains_own_form() -> None:
    """A provider refuses an address of ours, and with it each later run."""
    url = "voltmem:file/" + "1" * 64
    message = to_native(HumanMessage([text_part("See"), {"type": "image", "url": url}]))

    assert [each.content for each in to_langchain([message])] == ["See\n[file: image]"]


def test_a_file_that_only_its_provider_knows_is_named() -> None:
    """LangChain calls any model; an id that LangChain's own form has stays, since nobody said whose it is."""
    openais: Any = [{"type": "input_image", "file_id": "file-1"}]
    langchains: Any = [{"type": "image", "file_id": "file-1"}]

    found = to_langchain([NativeMessage(role="user", content=each) for each in (openais, langchains)])

    assert [each.content for each in found] == ["[file: image]", [{"type": "image", "file_id": "file-1"}]]


AT_ONCE: Final[list[dict[str, Any]]] = [
    {"type": "function_call", "call_id": "k1", "name": "look up", "arguments": "{}"},
    {"type": "function_call", "call_id": "k2", "name": "look up", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "k1", "output": "one"},
    {"type": "function_call_output", "call_id": "k2", "output": "two"},
]


def test_calls_that_a_model_made_at_once_are_in_one_message() -> None:
    """OpenAI's items are a row each; Chat Completions refuses a second call before the first is answered."""
    found = to_langchain(NativeMessage.of(dict(Message.of(each))) for each in AT_ONCE)

    assert_valid(found)
    (calls, *results) = found
    assert isinstance(calls, AIMessage)
    assert [(call["id"], call["name"]) for call in calls.tool_calls] == [("k1", "look_up"), ("k2", "look_up")]
    assert [each.content for each in results] == ["one", "two"]
