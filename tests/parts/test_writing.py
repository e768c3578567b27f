"""to_openai(), to_responses(), to_anthropic(), to_ui_messages(): each list keeps its provider's rules."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.properties import examples
from voltmem import InvalidInputError, Message, NativeMessage
from voltmem.parts import (
    File,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    assistant_ui,
    plain,
    system_prompt,
    to_anthropic,
    to_openai,
    to_responses,
    to_ui_messages,
)
from voltmem.parts._front_ends import ABANDONED, UNDECIDED
from voltmem.parts._settled import settle

LEGAL: Final = re.compile("[a-zA-Z0-9_-]{1,64}")

# --- any conversation is valid -------------------------------------------------------------------------------------

ids = st.sampled_from(["a", "b", "c", "", "ä/1", "x" * 80])
said = st.one_of(
    st.sampled_from(["words", "", " "]).map(Text),
    st.just(Reasoning("Hm.")),
    st.just(File("image/png", data="AAAA")),
    st.just(File("image", url="https://x.test/a.png")),
    st.just(File("application/pdf", "a.pdf", id="file-1")),
)
calls = st.builds(
    ToolCall, ids, st.sampled_from(["search", "my tool", ""]), st.sampled_from([{}, {"q": 1}, "{bad", None])
)
results = st.builds(
    ToolResult,
    ids,
    st.sampled_from(["found", None, {"n": 1}, [{"type": "text", "text": "found"}]]),
    st.just(""),
    st.sampled_from(["answered", "failed", "denied"]),
)


def message(role: str, parts: list[Part]) -> Message:
    type, content = plain.derive(role, parts)
    return Message(role=role, type=type, content=content)


conversations = st.lists(
    st.one_of(
        st.builds(message, st.sampled_from(["user", "system", "critic"]), st.lists(said, max_size=2)),
        st.builds(message, st.just("assistant"), st.lists(said | calls | results, max_size=5)),
        st.builds(message, st.just("tool"), st.lists(results | said, max_size=3)),
    ),
    max_size=8,
)


@given(conversations)
@examples(300)
def test_to_openai_answers_each_call_once_and_at_once(found: list[Message]) -> None:
    """After a message with calls come their results, in their order; there are no others."""
    waiting: list[str] = []
    used: set[str] = set()
    for each in to_openai(found):
        if each["role"] == "tool":
            assert each["tool_call_id"] == waiting.pop(0)
            assert isinstance(each["content"], str)
            continue
        assert not waiting
        called: Any = each.get("tool_calls", [])
        waiting = [call["id"] for call in called]
        assert not used.intersection(waiting)
        assert len(set(waiting)) == len(waiting)
        used.update(waiting)
        assert all(LEGAL.fullmatch(call["function"]["name"]) and len(call["id"]) <= 40 for call in called)
    assert not waiting


@given(conversations)
@examples(300)
def test_to_responses_has_a_call_before_each_result(found: list[Message]) -> None:
    """Each call has one result after it, with the same id, and no result is without a call."""
    called: list[str] = []
    answered: list[str] = []
    for item in to_responses(found):
        if item.get("type") == "function_call":
            assert item["call_id"] not in called
            called.append(str(item["call_id"]))
            assert LEGAL.fullmatch(str(item["name"]))
        elif item.get("type") == "function_call_output":
            assert item["call_id"] in called
            answered.append(str(item["call_id"]))
    assert sorted(called) == sorted(answered)


@given(conversations)
@examples(300)
def test_to_anthropic_alternates_and_answers_each_call_at_once(found: list[Message]) -> None:
    """Roles alternate; a user's message begins with the results of all calls of the message before, in their order."""
    before: dict[str, Any] = {}
    for each in to_anthropic(found):
        assert each["role"] != before.get("role")
        content: Any = each["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert blocks
        there = before.get("content", [])
        called = [block["id"] for block in there if isinstance(block, dict) and block["type"] == "tool_use"]
        assert [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"] == called
        assert all(block["type"] == "tool_result" for block in blocks[: len(called)])
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        before = each
    assert not any(block["type"] == "tool_use" for block in before.get("content", []) if isinstance(block, dict))


@given(conversations)
@examples(300)
def test_to_ui_messages_have_parts_and_legal_states(found: list[Message]) -> None:
    """Each UIMessage has parts; each tool's part has an id of its own and what its state demands."""
    ids: set[str] = set()
    for each in to_ui_messages(found):
        parts: Any = each["parts"]
        assert parts
        assert each["role"] in ("system", "user", "assistant")
        for part in parts:
            if part["type"].startswith("tool-") or part["type"] == "dynamic-tool":
                assert part["toolCallId"]
                assert part["toolCallId"] not in ids
                ids.add(part["toolCallId"])
                assert part["state"] != "output-error" or isinstance(part["errorText"], str)
                assert part["state"] != "output-denied" or part["approval"]["approved"] is False
            elif part["type"] == "file":
                assert part["mediaType"]
                assert part["url"]


CALL_PART: Final = {"type": "tool-call", "toolCallId": "k1", "toolName": "weather", "input": {}}

# --- what came from a provider goes back as it was ----------------------------------------------------------------

CHAT: Final[list[dict[str, JsonValue]]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?", "name": "ada"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "{bad"}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "4 °C"},
    {"role": "tool", "tool_call_id": "call_2", "content": "error"},
    {"role": "assistant", "content": "4 °C.", "refusal": None, "annotations": []},
]
ANTHROPIC: Final[list[dict[str, JsonValue]]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "4 °C"}]},
    {"role": "assistant", "content": "4 °C."},
]
RESPONSES: Final[list[dict[str, JsonValue]]] = [
    {"role": "user", "content": "Weather?"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "4 °C"},
    {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "4 °C.", "annotations": []}],
    },
]


def test_to_openai_returns_chat_messages_as_they_were_given() -> None:
    """What Chat Completions made goes back to it unchanged, but for fields that are None."""
    expected = [*CHAT[:-1], {"role": "assistant", "content": "4 °C.", "annotations": []}]

    assert to_openai([Message.of(each) for each in CHAT]) == expected


def test_to_responses_returns_items_as_they_were_given() -> None:
    """What the Responses API made goes back to it unchanged, encrypted reasoning included."""
    assert to_responses([Message.of(each) for each in RESPONSES]) == RESPONSES


def test_to_anthropic_returns_messages_as_they_were_given() -> None:
    """What Anthropic made goes back to it unchanged, signed thinking included."""
    assert to_anthropic([Message.of(each) for each in ANTHROPIC]) == ANTHROPIC


@pytest.mark.parametrize("given", [CHAT, ANTHROPIC, RESPONSES], ids=["chat", "anthropic", "responses"])
def test_each_provider_is_told_what_the_others_said(given: list[dict[str, JsonValue]]) -> None:
    """The question, the call, its result and the answer reach every provider, and thoughts stay with theirs."""
    stored = [Message.of(each) for each in given]

    for written in (to_openai(stored), to_responses(stored), to_anthropic(stored), to_ui_messages(stored)):
        text = str(written)
        assert all(word in text for word in ("Weather?", "weather", "Oslo", "4 °C"))
    if given is not ANTHROPIC:
        assert "thinking" not in str(to_anthropic(stored))
    if given is not RESPONSES:
        assert "reasoning" not in str(to_responses(stored))


def test_system_prompt_is_what_to_anthropic_leaves_out() -> None:
    """The system's messages are an argument of Anthropic's API."""
    stored = [Message(role="system", content="Be brief."), Message(role="developer", content=[{"text": "Be kind."}])]

    assert system_prompt(stored) == "Be brief.\n\nBe kind."
    assert to_anthropic(stored) == []


@pytest.mark.parametrize("state", ["denied", "failed"])
def test_to_openai_says_what_became_of_a_call(state: Any) -> None:
    """A denied or failed call is answered with the reason or the error."""
    asked = message(
        "assistant", [ToolCall("k1", "rm", {}), ToolResult("k1", "not my files", "rm", state), Text("So not.")]
    )

    call, result, answer = to_openai([asked])

    assert call["role"] == "assistant"
    assert "not my files" in str(result["content"])
    assert ("denied" in str(result["content"])) == (state == "denied")
    assert answer == {"role": "assistant", "content": "So not."}


def test_to_ui_messages_show_an_abandoned_call_as_failed() -> None:
    """A call without a result is running while nothing follows it, then it has failed."""
    asked = message("assistant", [Text("I look."), ToolCall("k1", "slow", {})])

    (running,) = to_ui_messages([asked])
    passed, _ = to_ui_messages([asked, Message(role="user", content="And now?")])

    assert [part.get("state") for part in running["parts"]] == [None, "input-available"]  # type: ignore[union-attr]
    assert [part.get("state") for part in passed["parts"]] == [None, "output-error"]  # type: ignore[union-attr]


def test_front_ends_are_told_that_nobody_decided_about_a_call() -> None:
    """A call that waits for approval is passed over without one: it was not made, and says so in each front end."""
    asked = message("assistant", [ToolCall("k1", "rm", {}, "waiting"), ToolCall("k2", "slow", {})])
    later = Message(role="user", content="And now?")
    payload = to_ui_messages([asked])[0]
    as_ui = NativeMessage(role="assistant", content="", format="ai-sdk/v7", payload=payload)

    for each in (asked, as_ui):
        parts: Any = to_ui_messages([each, later])[0]["parts"]
        assert [part["errorText"] for part in parts] == [UNDECIDED, ABANDONED]
        assert not any("approval" in part for part in parts)
        content: Any = assistant_ui.write(settle([each, later]))[0]["content"]
        assert [part["result"] for part in content] == [UNDECIDED, ABANDONED]


def test_to_ui_messages_keep_a_dynamic_tool_dynamic() -> None:
    """A plain message whose part says that the tool is dynamic is shown so; another tool has its name in the type."""
    dynamic = {"type": "dynamic-tool", "toolName": "my tool", "toolCallId": "k2", "state": "output-available"}
    content: list[Any] = [{**dynamic, "input": {}, "output": "R"}, {**CALL_PART, "dynamic": True}, CALL_PART]

    parts: Any = to_ui_messages([Message(id="m1", role="assistant", content=content)])[0]["parts"]

    # The plain form of a UIMessage says it too.
    stored = Message.of({"id": "m1", "role": "assistant", "parts": [content[0]]})
    plain = Message(id="m1", role="assistant", type=stored.type, content=stored.content)
    assert to_ui_messages([plain])[0]["parts"] == [content[0]]
    assert parts[0] == content[0]
    assert [(part["type"], part.get("toolName")) for part in parts[1:]] == [
        ("dynamic-tool", "weather"),
        ("tool-weather", None),
    ]


# --- files ----------------------------------------------------------------------------------------------------------

BLOCKS: Final[dict[str, JsonValue]] = {
    "Anthropic's": [
        {"type": "text", "text": "done"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
        },
    ],
    "Responses'": [
        {"type": "input_text", "text": "done"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
    ],
    "MCP's": [
        {"type": "text", "text": "done"},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "file", "data": "JVBE", "mimeType": "application/pdf", "filename": "a.pdf"},
    ],
    "the AI SDK's": [
        {"type": "text", "text": "done"},
        {"type": "media", "data": "AAAA", "mediaType": "image/png"},
        {"type": "file-data", "data": "JVBE", "mediaType": "application/pdf", "filename": "a.pdf"},
    ],
    "Pydantic AI's": [
        "done",
        {"kind": "binary", "data": "AAAA", "media_type": "image/png"},
        {"kind": "binary", "data": "JVBE", "media_type": "application/pdf", "vendor_metadata": {"filename": "a.pdf"}},
    ],
}


def looked(value: JsonValue, state: Any = "answered") -> list[Message]:
    return [
        Message(role="user", content="Look."),
        message("assistant", [ToolCall("k1", "look", {}), ToolResult("k1", value, "look", state)]),
    ]


@pytest.mark.parametrize("value", BLOCKS.values(), ids=BLOCKS)
def test_to_anthropic_and_to_responses_have_the_files_of_a_result(value: JsonValue) -> None:
    """A picture and a document that a tool has returned are shown to models that see tools' results."""
    anthropic: Any = to_anthropic(looked(value))[-1]["content"]
    responses: Any = to_responses(looked(value))[-1]

    (result,) = anthropic
    assert result == {"type": "tool_result", "tool_use_id": "k1", "content": BLOCKS["Anthropic's"]}
    text, image, document = responses["output"]
    assert [text, {**image, "detail": "auto"}] == [
        {"type": "input_text", "text": "done"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
    ]
    assert document == {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64,JVBE",
    }
    assert to_openai(looked(value))[-1]["content"] == "done\n[file: image/png]\n[file: a.pdf]"


@pytest.mark.parametrize("value", BLOCKS.values(), ids=BLOCKS)
def test_to_anthropic_names_the_files_of_a_failed_result(value: JsonValue) -> None:
    """The API takes only text in an error."""
    content: Any = to_anthropic(looked(value, "failed"))[-1]["content"]

    assert content[0]["content"] == "done\n[file: image/png]\n[file: a.pdf]"


@pytest.mark.parametrize(
    "value", [[{"type": "file", "name": "a.txt", "size": 3}], {"type": "image", "width": 2}, ["a", 1], "AAAA", None]
)
def test_a_result_without_files_is_one_text(value: JsonValue) -> None:
    """JSON that only looks like blocks stays text for every provider."""
    anthropic: Any = to_anthropic(looked(value))[-1]["content"]

    assert isinstance(anthropic[0]["content"], str)
    assert to_responses(looked(value))[-1]["output"] == anthropic[0]["content"]
    assert to_openai(looked(value))[-1]["content"] == anthropic[0]["content"]


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_a_file_is_named_where_only_a_user_has_files(role: str) -> None:
    """The APIs take pictures from a user; of anybody else the model is told that there was one, and its name."""
    said = message(role, [Text("Here."), File("image/png", "cat.png", url="https://x.test/cat.png")])

    assert to_openai([said]) == [{"role": role, "content": "Here.\n[file: cat.png]"}]
    assert to_responses([said]) == [{"role": role, "content": "Here.\n[file: cat.png]"}]
    if role == "assistant":
        texts = [{"type": "text", "text": "Here."}, {"type": "text", "text": "[file: cat.png]"}]
        assert to_anthropic([said]) == [{"role": role, "content": texts}]


WRITERS: Final = (to_openai, to_responses, to_anthropic, to_ui_messages)


@pytest.mark.parametrize("write", WRITERS)
def test_messages_are_written_from_dicts(write: Any) -> None:
    """Dicts in any form are read as stored messages are; what is no message is refused."""
    given = [*ANTHROPIC, {"role": "user", "parts": [{"type": "text", "text": "Thanks"}]}]

    written = str(write(given))

    assert all(word in written for word in ("Weather?", "weather", "Oslo", "4 °C", "Thanks"))
    for wrong in (None, 7, "text", {"role": "user", "content": "x"}, [None], ["text"], [{"content": 1}]):
        with pytest.raises(InvalidInputError):
            write(wrong)


@pytest.mark.parametrize("write", [to_openai, to_responses, to_anthropic, to_ui_messages])
def test_a_role_of_the_applications_own_is_named_before_the_text(write: Any) -> None:
    """No provider has the role. What is said in it goes as the user's, but not as the user's own words."""
    picture: JsonValue = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    named: JsonValue = {"role": "critic", "content": "Bad.", "name": "c"}
    given: list[Message] = [
        Message(role="critic", content="Meh."),
        Message(role="assistant", content="I see."),
        Message(role="ob\nserver", content=[picture]),
        Message(role="assistant", content="I see."),
        Message(role="critic", content=""),
        NativeMessage(role="critic", content="Bad.", format="openai-chat", payload=named),
        Message(role="ai", content="I see."),
        Message(role="human", content="Thanks."),
    ]

    written = write(given)

    said = [
        (each["role"], part if isinstance(part, str) else part.get("text"))
        for each in written
        for part in (
            [each["content"]] if isinstance(each.get("content"), str) else each.get("content", each.get("parts"))
        )
    ]
    assert [each for each in said if each[1]] == [
        ("user", "[critic]: Meh."),
        ("assistant", "I see."),
        ("user", "[ob server]:"),
        ("assistant", "I see."),
        ("user", "[critic]: Bad."),
        ("assistant", "I see."),
        ("user", "Thanks."),
    ]


NOTHING: Final[list[JsonValue]] = ["", " ", None, [], {}, [[]], [{"type": "text", "text": ""}], [{"type": "hologram"}]]


@pytest.mark.parametrize("write", [to_openai, to_anthropic])
@pytest.mark.parametrize("role", ["user", "assistant", "system", "critic"])
def test_a_message_with_nothing_to_say_is_left_out(write: Any, role: str) -> None:
    """The APIs refuse an empty content with the whole request, and an empty text beside a picture."""
    picture: JsonValue = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}

    assert write([Message(role=role, content=content) for content in NOTHING]) == []
    (seen,) = write([Message(role="user", content=[{"type": "text", "text": ""}, picture])])
    assert [block["type"] for block in seen["content"]] in (["image_url"], ["image"])
