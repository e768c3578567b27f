"""parts(): what a message says is read in every form, and any JSON is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.properties import examples
from voltmem import Message, NativeMessage
from voltmem.parts import (
    File,
    Other,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    parts,
    to_openai,
    to_ui_messages,
)

PNG: Final = "iVBORw0KGgo="
CALL: Final = ToolCall("k1", "weather", {"city": "Oslo"})

FORMS: Final[dict[str, tuple[dict[str, Any], list[Part]]]] = {
    "openai chat: a call": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "k1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        [CALL],
    ),
    "openai chat: a custom tool": (
        {"role": "assistant", "tool_calls": [{"id": "k1", "type": "custom", "custom": {"name": "sql", "input": "x"}}]},
        [ToolCall("k1", "sql", "x", is_custom=True)],
    ),
    "openai chat: a result": (
        {"role": "tool", "content": "4 °C", "tool_call_id": "k1"},
        [ToolResult("k1", "4 °C")],
    ),
    "openai chat: a refusal": (
        {"role": "assistant", "content": None, "refusal": "No."},
        [Text("No.")],
    ),
    "openai chat: reasoning of other providers": (
        {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."},
        [Reasoning("Hm."), Text("Yes.")],
    ),
    "openai chat: a cited page": (
        {
            "role": "assistant",
            "content": "Snow.",
            "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "News"}}],
        },
        [Text("Snow."), Source("https://x.test", "News")],
    ),
    "responses: reasoning": (
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        [Reasoning("Hm.", "openai", {"id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]})],
    ),
    "responses: a call": (
        {"type": "function_call", "id": "fc_1", "call_id": "k1", "name": "weather", "arguments": '{"city": "Oslo"}'},
        [CALL],
    ),
    "responses: a custom tool": (
        {"type": "custom_tool_call", "call_id": "k1", "name": "sql", "input": "SELECT 1"},
        [ToolCall("k1", "sql", "SELECT 1", is_custom=True)],
    ),
    "responses: a result": (
        {"type": "function_call_output", "call_id": "k1", "output": "4 °C"},
        [ToolResult("k1", "4 °C")],
    ),
    "responses: a hosted tool": (
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "x"}},
        [
            ToolCall("ws_1", "web_search_call", {"query": "x"}, provider_executed=True),
            ToolResult("ws_1", None, "web_search_call"),
        ],
    ),
    "responses: an mcp tool that failed": (
        {"type": "mcp_call", "id": "m1", "name": "look", "arguments": "{}", "error": "gone", "server_label": "s"},
        [ToolCall("m1", "look", {}, provider_executed=True), ToolResult("m1", "gone", "look", "failed")],
    ),
    "responses: a picture that was made": (
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG},
        [
            ToolCall("ig_1", "image_generation_call", {}, provider_executed=True),
            ToolResult("ig_1", None, "image_generation_call"),
            File("image/png", data=PNG),
        ],
    ),
    "responses: a message": (
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Snow.", "annotations": []}],
        },
        [Text("Snow.")],
    ),
    "anthropic: thinking and a call": (
        {
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "k1", "name": "weather", "input": {"city": "Oslo"}},
            ],
        },
        [Reasoning("Hm.", "anthropic", {"signature": "s"}), CALL],
    ),
    "ai sdk: each state of a tool": (
        {
            "role": "assistant",
            "parts": [
                {"type": "tool-a", "toolCallId": "1", "state": "input-available", "input": {}},
                {
                    "type": "tool-b",
                    "toolCallId": "2",
                    "state": "approval-requested",
                    "input": {},
                    "approval": {"id": "x"},
                },
                {"type": "tool-c", "toolCallId": "3", "state": "output-available", "input": {}, "output": 5},
                {"type": "tool-d", "toolCallId": "4", "state": "output-error", "rawInput": "{", "errorText": "boom"},
                {
                    "type": "dynamic-tool",
                    "toolName": "e",
                    "toolCallId": "5",
                    "state": "output-denied",
                    "input": {},
                    "approval": {"id": "x", "approved": False, "reason": "no"},
                },
            ],
        },
        [
            ToolCall("1", "a", {}),
            ToolCall("2", "b", {}, "waiting"),
            ToolCall("3", "c", {}, "answered"),
            ToolResult("3", 5, "c"),
            ToolCall("4", "d", "{", "failed"),
            ToolResult("4", "boom", "d", "failed"),
            ToolCall("5", "e", {}, "denied", is_dynamic=True),
            ToolResult("5", "no", "e", "denied"),
        ],
    ),
    "ai sdk: everything else": (
        {
            "role": "assistant",
            "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "Hm.", "providerMetadata": {"anthropic": {"signature": "s"}}},
                {"type": "text", "text": "Snow."},
                {"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{PNG}", "filename": "a.png"},
                {"type": "source-url", "sourceId": "1", "url": "https://x.test", "title": "News"},
                {"type": "source-document", "sourceId": "2", "mediaType": "application/pdf", "title": "Report"},
                {"type": "data-chart", "data": 1},
            ],
        },
        [
            Other("step-start"),
            Reasoning("Hm.", "anthropic", {"signature": "s"}),
            Text("Snow."),
            File("image/png", "a.png", data=PNG),
            Source("https://x.test", "News", "1"),
            Source("", "Report", "2", "application/pdf"),
            Other("data-chart", {"type": "data-chart", "data": 1}),
        ],
    ),
    "gemini": (
        {
            "role": "model",
            "parts": [
                {"text": "Hm.", "thought": True},
                {"text": "Snow."},
                {"functionCall": {"id": "k1", "name": "weather", "args": {"city": "Oslo"}}},
            ],
        },
        [Reasoning("Hm.", "google"), Text("Snow."), CALL],
    ),
    "gemini: code that it runs": (
        {
            "role": "model",
            "parts": [
                {"executableCode": {"language": "PYTHON", "code": "6*7"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42"}},
                {"executableCode": {"language": "PYTHON", "code": "1/0"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}},
            ],
        },
        [
            ToolCall("", "code_execution", {"language": "PYTHON", "code": "6*7"}, provider_executed=True),
            ToolResult("", "42", "code_execution"),
            ToolCall("", "code_execution", {"language": "PYTHON", "code": "1/0"}, provider_executed=True),
            ToolResult("", "ZeroDivisionError", "code_execution", "failed"),
        ],
    ),
    "gemini: a response": (
        {"role": "user", "parts": [{"functionResponse": {"id": "k1", "name": "weather", "response": {"result": 4}}}]},
        [ToolResult("k1", 4, "weather")],
    ),
    "langchain": (
        {
            "type": "ai",
            "data": {
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "k1", "name": "weather", "input": {"city": "Oslo"}},
                ],
                "tool_calls": [{"type": "tool_call", "id": "k1", "name": "weather", "args": {"city": "Oslo"}}],
                "type": "ai",
            },
        },
        [Text("Let me see."), CALL],
    ),
    "agno: a call": (
        {
            "role": "assistant",
            "content": "Let me see.",
            "from_history": False,
            "stop_after_tool_call": False,
            "tool_calls": [
                {"id": "k1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        [Text("Let me see."), CALL],
    ),
    "agno: a result": (
        {
            "role": "tool",
            "content": "boom",
            "from_history": False,
            "stop_after_tool_call": False,
            "tool_call_id": "k1",
            "tool_name": "weather",
            "tool_call_error": True,
        },
        [ToolResult("k1", "boom", "weather", "failed")],
    ),
    "langchain: a result": (
        {"type": "tool", "data": {"content": "boom", "tool_call_id": "k1", "name": "weather", "status": "error"}},
        [ToolResult("k1", "boom", "weather", "failed")],
    ),
    "pydantic ai: a response": (
        {
            "kind": "response",
            "parts": [
                {"part_kind": "thinking", "content": "Hm.", "signature": "s", "provider_name": "anthropic"},
                {"part_kind": "tool-call", "tool_name": "weather", "args": '{"city": "Oslo"}', "tool_call_id": "k1"},
            ],
        },
        [Reasoning("Hm.", "anthropic", {"signature": "s"}), CALL],
    ),
    "pydantic ai: a request": (
        {
            "kind": "request",
            "parts": [
                {"part_kind": "system-prompt", "content": "Be brief."},
                {
                    "part_kind": "user-prompt",
                    "content": ["See.", {"kind": "binary", "media_type": "image/png", "data": PNG}],
                },
            ],
        },
        [Text("See."), File("image/png", data=PNG)],
    ),
    "assistant-ui: an answer": (
        {
            "role": "assistant",
            "status": {"type": "complete", "reason": "stop"},
            "content": [
                {
                    "type": "tool-call",
                    "toolCallId": "k1",
                    "toolName": "weather",
                    "args": {"city": "Oslo"},
                    "argsText": '{"city":"Oslo"}',
                    "result": "4 °C",
                },
                {"type": "text", "text": "4 °C."},
            ],
            "metadata": {"steps": [], "custom": {}},
            "createdAt": "2026-01-01T00:00:00Z",
        },
        [replace(CALL, state="answered"), ToolResult("k1", "4 °C", "weather"), Text("4 °C.")],
    ),
    "assistant-ui: attachments": (
        {
            "role": "user",
            "content": [{"type": "text", "text": "See."}],
            "attachments": [{"type": "image", "content": [{"type": "image", "image": f"data:image/png;base64,{PNG}"}]}],
        },
        [Text("See."), File("image/png", data=PNG)],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_parts_reads_a_message_of_each_form(form: str) -> None:
    """A message as its framework or provider writes it says the same parts as its fields."""
    given, expected = FORMS[form]

    assert parts(given) == expected


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_a_stored_message_are_those_of_the_given_one(form: str) -> None:
    """A dict in a known form is accepted as a message, with the form as its payload."""
    given, expected = FORMS[form]

    stored = Message.of({**given, "id": "m1"} if form.startswith("ai sdk") else given)

    assert isinstance(stored, NativeMessage)
    assert parts(stored) == expected
    assert stored.payload == {name: value for name, value in given.items() if value is not None or name == "content"}


FILES: Final[list[tuple[dict[str, JsonValue], File]]] = [
    ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, File("image", url="https://x.test/a.png")),
    ({"type": "image_url", "image_url": "https://x.test/a.png"}, File("image", url="https://x.test/a.png")),
    ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}, File("image/png", data=PNG)),
    ({"type": "input_image", "image_url": "https://x.test/a.png"}, File("image", url="https://x.test/a.png")),
    ({"type": "input_image", "file_id": "file-1"}, File("image", id="file-1", provider="openai")),
    (
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        File("application/pdf", "a.pdf", data="AAAA"),
    ),
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_id": "file-1"}},
        File("", "a.pdf", id="file-1", provider="openai"),
    ),
    ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, File("audio/mp3", data="AAAA")),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        File("image/png", data=PNG),
    ),
    (
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        File("image", url="https://x.test/a.png"),
    ),
    (
        {"type": "document", "source": {"type": "file", "file_id": "f1"}, "title": "a.pdf"},
        File("", "a.pdf", id="f1", provider="anthropic"),
    ),
    (
        {"type": "image", "url": "https://x.test/a.png", "mime_type": "image/png"},
        File("image/png", url="https://x.test/a.png"),
    ),
    ({"type": "image", "base64": PNG, "mime_type": "image/png"}, File("image/png", data=PNG)),
    (
        {"type": "file", "source_type": "base64", "data": "AAAA", "mime_type": "application/pdf"},
        File("application/pdf", data="AAAA"),
    ),
    (
        {"type": "image", "image": "https://x.test/a.png", "mimeType": "image/png"},
        File("image/png", url="https://x.test/a.png"),
    ),
    ({"type": "image", "image": PNG, "mediaType": "image/png"}, File("image/png", data=PNG)),
    ({"type": "file", "mimeType": "application/pdf", "data": "AAAA"}, File("application/pdf", data="AAAA")),
    (
        {"type": "file", "mediaType": "image/png", "url": "voltmem:file/abc", "filename": "a.png"},
        File("image/png", "a.png", url="voltmem:file/abc"),
    ),
    ({"type": "file", "url": "https://x.test/a"}, File(url="https://x.test/a")),
    ({"type": "audio", "audio": {"data": "AAAA", "format": "wav"}}, File("audio/wav", data="AAAA")),
]


@pytest.mark.parametrize(("block", "expected"), FILES, ids=lambda value: str(value)[:60])
def test_parts_reads_a_file_in_every_spelling(block: dict[str, JsonValue], expected: File) -> None:
    """A picture, a recording or a document is a file, with its bytes, its address or its id."""
    assert parts(Message(role="user", content=[block])) == [expected]
    assert Message(role="user", content=[block]).text == ""


@pytest.mark.parametrize(
    ("given", "format"),
    [
        ({"role": "assistant", "tool_calls": []}, "openai-chat"),
        ({"role": "tool", "content": "4", "tool_call_id": "k1", "name": "weather"}, "openai-chat"),
        ({"type": "function_call_output", "call_id": "k1", "output": "4"}, "openai-responses"),
        ({"role": "user", "parts": [{"type": "text", "text": "Hi"}]}, "ai-sdk/v7"),
        ({"role": "user", "parts": [{"text": "Hi"}]}, "gemini"),
        ({"type": "human", "data": {"content": "Hi"}}, "langchain"),
        ({"type": "human", "content": "Hi", "additional_kwargs": {}, "response_metadata": {}}, "langchain"),
        ({"role": "user", "content": "Hi", "from_history": False, "stop_after_tool_call": False}, "agno"),
        ({"kind": "request", "parts": []}, "pydantic-ai"),
        ({"role": "user", "content": [], "attachments": []}, "aui/v0"),
        ({"role": "assistant", "content": [], "status": {"type": "running"}}, "aui/v0"),
        ({"role": "assistant", "content": [], "status": "completed"}, "openai-responses"),
        ({"role": "user", "content": "Hi"}, None),
        ({"role": "user", "content": [{"type": "text", "text": "Hi"}]}, None),
        ({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "k1", "content": "4"}]}, None),
    ],
)
def test_a_shape_that_several_forms_share_is_plain(given: dict[str, Any], format: str | None) -> None:
    """Only what one form alone has makes a message that form's."""
    assert getattr(Message.of(given), "format", None) == format


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["text", "tool-call", "data:,"]),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(
            st.text(max_size=3)
            | st.sampled_from(
                [
                    "type",
                    "text",
                    "id",
                    "content",
                    "parts",
                    "role",
                    "tool_calls",
                    "function",
                    "source",
                    "image",
                    "url",
                    "toolCallId",
                    "toolName",
                    "state",
                    "input",
                    "output",
                    "args",
                    "call_id",
                    "data",
                    "kind",
                    "part_kind",
                    "functionCall",
                    "summary",
                    "approval",
                    "result",
                    "file",
                    "name",
                    "arguments",
                ]
            ),
            values,
            max_size=6,
        )
    ),
    max_leaves=14,
)
FORMATS = st.sampled_from(
    [
        "openai-chat",
        "openai-responses",
        "openai-agents",
        "anthropic",
        "ai-sdk/v5",
        "aui/v0",
        "gemini",
        "langchain",
        "pydantic-ai",
        "agno/run",
        "agno-1/agent/message",
        "another",
    ]
)


@given(
    st.sampled_from(["user", "assistant", "tool", "system"]),
    st.sampled_from(["text", "tool-call"]),
    JSON,
    FORMATS,
    JSON,
)
@examples(400)
def test_parts_reads_any_json_at_all(
    role: str, type: str, content: JsonValue, format: str | None, own: JsonValue
) -> None:
    """Whatever a content or a payload is, it is read without an error, and as text that can be shown."""
    message = NativeMessage(role=role, type=type, content=content, format=format, payload=own)

    found = parts(message)

    assert all(isinstance(part, Text | Reasoning | ToolCall | ToolResult | File | Source | Other) for part in found)
    assert isinstance(message.text, str)
    if isinstance(own, dict):
        parts(own)


@pytest.mark.parametrize(
    ("format", "payload"),
    [
        ("pydantic-ai", {"kind": "response", "parts": [{"part_kind": "from-the-future"}]}),
        ("pydantic-ai", {"kind": "future"}),
        ("langchain", {"type": "ai"}),
        ("langchain", {"type": "ai", "data": {"content": None}}),
        ("openai-agents", [1]),
        ("ai-sdk/v7", {"role": "assistant"}),
        ("ai-sdk/v7", {"role": "assistant", "parts": None}),
        ("ai-sdk/v7", {"role": "assistant", "parts": [{"type": "future"}]}),
    ],
    ids=str,
)
def test_a_form_that_says_nothing_to_us_is_read_in_its_plain_form(format: str, payload: Any) -> None:
    """A payload that no reader knows, such as a newer release's, does not hide what its plain form says."""
    message = NativeMessage(id="m1", role="assistant", content="Hello", format=format, payload=payload)

    assert parts(message) == [Text("Hello")]
    assert [each["role"] for each in to_openai([message])] == ["assistant"]


def test_a_ui_message_without_parts_is_written_with_parts() -> None:
    """to_ui_messages() returns parts also for what was stored by version 4, or is broken."""
    old: dict[str, JsonValue] = {"role": "assistant", "content": "Hello"}
    messages = [
        NativeMessage(id="m1", role="assistant", content="Hello", format="ai-sdk/v4", payload=old),
        NativeMessage(id="m2", role="assistant", content="Hello", format="ai-sdk/v7", payload={"role": "assistant"}),
    ]

    written = to_ui_messages(messages)

    assert [each["parts"] for each in written] == [[{"type": "text", "text": "Hello"}]] * 2


def test_a_message_that_langchain_has_dumped_is_stored_as_langchain_stores_it() -> None:
    """model_dump() has the fields of message_to_dict() without the wrapping."""
    call: dict[str, JsonValue] = {"type": "tool_call", "id": "k1", "name": "weather", "args": {"city": "Oslo"}}
    given: dict[str, JsonValue] = {"type": "ai", "content": "Hm.", "additional_kwargs": {}, "tool_calls": [call]}

    stored = Message.of({**given, "name": None})

    assert parts(given) == parts(stored) == [Text("Hm."), CALL]
    assert isinstance(stored, NativeMessage)
    assert (stored.role, stored.payload) == ("assistant", {"type": "ai", "data": given})


def test_a_message_of_agno_keeps_its_id_and_time() -> None:
    """The time is in seconds, as Agno writes it."""
    given: dict[str, JsonValue] = {
        "role": "user",
        "content": "Hi",
        "from_history": False,
        "stop_after_tool_call": False,
    }

    stored = Message.of({**given, "id": "m1", "created_at": 1795957892})

    assert (stored.id, stored.created_at.timestamp(), stored.text) == ("m1", 1795957892, "Hi")
