"""What goes to OpenAI is what its API takes, also where another server, or the package openai, made the message."""

from __future__ import annotations

from typing import Any, Final

import pytest
from openai.types.chat import ParsedChatCompletionMessage
from openai.types.responses import (
    ParsedResponseFunctionToolCall,
    ParsedResponseOutputMessage,
    ResponseFunctionWebSearch,
    ResponseReasoningItem,
)

from tests.web.test_cost import lines_counted
from voltmem import Message
from voltmem.parts import File, Source, parts, to_anthropic, to_openai, to_responses, to_ui_messages
from voltmem.parts._settled import settle

ASKED: Final[dict[str, Any]] = {"role": "user", "content": "Rain?"}
FUNCTION: Final[dict[str, Any]] = {"name": "weather", "arguments": '{"city":"Oslo"}'}
CALL: Final[dict[str, Any]] = {"id": "k", "type": "function", "function": FUNCTION}
RESULT: Final[dict[str, Any]] = {"role": "tool", "tool_call_id": "k", "content": "rain"}


def stored(*given: dict[str, Any]) -> list[Message]:
    return [Message.of(each) for each in given]


def called(**call: Any) -> dict[str, Any]:
    """Return a message with a call as another server writes it."""
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": FUNCTION, **call}]}


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (called(id=""), {"role": "tool", "tool_call_id": "", "content": "rain"}),
        (called(id=None), {"role": "tool", "content": "rain"}),
        (called(), {"role": "tool", "content": "rain"}),
        (called(id="k", type=None, index=0), RESULT),
        (called(id="k", function={"name": "weather", "arguments": {"city": "Oslo"}}), RESULT),
        (
            {"role": "assistant", "content": None, "function_call": FUNCTION},
            {"role": "function", "name": "weather", "content": "rain"},
        ),
    ],
)
def test_to_openai_writes_calls_of_other_servers_as_openai_demands_them(call: Any, result: Any) -> None:
    """A call has an id that its result names, a type, and its arguments as text, whoever wrote it."""
    found: Any = to_openai(stored(ASKED, call, result))
    asked, calls, answer = found

    (written,) = calls["tool_calls"]
    assert written["id"] == answer["tool_call_id"] != ""
    assert written == {**CALL, "id": answer["tool_call_id"]}
    assert (asked, answer["content"], "function_call" in calls) == (ASKED, "rain", False)


@pytest.mark.parametrize("fields", [{"tool_calls": []}, {"parsed": None}, {"parsed": {"a": 1}}, {"citations": ["u"]}])
def test_to_openai_leaves_out_what_a_request_may_not_have(fields: dict[str, Any]) -> None:
    """Servers and the package openai add fields to an answer that OpenAI refuses in a request."""
    assert to_openai(stored(ASKED, {"role": "assistant", "content": "Yes.", **fields})) == [
        ASKED,
        {"role": "assistant", "content": "Yes."},
    ]


def test_what_openais_parse_returns_is_stored_and_sent_without_what_was_parsed() -> None:
    """The messages of the package's parse() and stream() helpers can be stored as they are dumped."""
    parsed = ParsedChatCompletionMessage[dict[str, int]].model_validate(
        {
            "role": "assistant",
            "content": "{}",
            "parsed": {"a": 1},
            "tool_calls": [{**CALL, "function": {**FUNCTION, "parsed_arguments": {"city": "Oslo"}}}],
        }
    )

    found = to_openai(stored(ASKED, parsed.model_dump(), RESULT))

    assert found[1]["tool_calls"] == [CALL]
    assert "parsed" not in found[1]


def test_to_responses_sends_the_items_of_openais_parse_without_what_was_parsed() -> None:
    """Neither what the package has parsed nor a null goes back to the API."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "k", "name": "weather", "arguments": "{}"}
    items = [
        ResponseReasoningItem.model_validate({"type": "reasoning", "id": "rs_1", "summary": []}),
        ParsedResponseFunctionToolCall.model_validate({**call, "parsed_arguments": {"a": 1}}),
        ResponseFunctionWebSearch.model_validate(
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
        ),
        ParsedResponseOutputMessage[dict[str, int]].model_validate(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "{}", "annotations": [], "parsed": {"a": 1}}],
            }
        ),
    ]
    output = {"type": "function_call_output", "call_id": "k", "output": "rain"}
    dumped: list[dict[str, Any]] = [item.model_dump() for item in items]

    found = str(to_responses(stored(ASKED, *dumped[:2], output, *dumped[2:])))

    assert "fc_1" in found
    assert "ws_1" in found
    assert "parsed" not in found
    assert "None" not in found


@pytest.mark.parametrize("names", [("f", "g"), ("g", "f"), ("g",)])
def test_a_result_without_an_id_is_of_the_call_with_its_name(names: tuple[str, ...]) -> None:
    """Gemini's calls have no ids: the order of the results may differ, and one may be gone."""
    asked = {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}} for name in ("f", "g")]}
    answers = [{"functionResponse": {"name": name, "response": {"of": name}}} for name in names]

    messages = stored(asked, {"role": "user", "parts": answers})

    sent: Any = to_openai(messages)
    (calls, *results) = sent
    told = zip(calls["tool_calls"], results, strict=True)
    assert {call["function"]["name"]: result["content"] for call, result in told} == {
        name: f'{{"of":"{name}"}}' for name in names
    }
    given: Any = to_ui_messages(messages)
    shown = [part for message in given for part in message["parts"]]
    assert all(part.get("output", {"of": part["type"][5:]}) == {"of": part["type"][5:]} for part in shown)


def test_results_without_ids_are_matched_in_one_pass() -> None:
    """Twice as many calls and results cost twice as much, in any order of the results."""
    lines = []
    for count in (200, 400):
        names = [f"f{number}" for number in range(count)]
        asked = {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}} for name in names]}
        answers = [{"functionResponse": {"name": name, "response": {}}} for name in reversed(names)]
        messages = stored(asked, {"role": "user", "parts": answers})
        with lines_counted() as counted:
            (calls, _) = settle(messages)
        assert len(calls.results) == count
        lines.append(counted[0])

    assert lines[1] < 2.2 * lines[0]


def test_a_result_of_another_tool_answers_no_call() -> None:
    """A result that names a tool which was not called tells the model nothing."""
    call = {"role": "assistant", "content": None, "function_call": FUNCTION}

    assert to_openai(stored(ASKED, call, {"role": "function", "name": "clock", "content": "12:00"})) == [ASKED]


@pytest.mark.parametrize(
    ("block", "media_type"),
    [
        ({"type": "video_url", "video_url": {"url": "https://a.example/v.mp4"}}, "video"),
        ({"type": "audio_url", "audio_url": {"url": "https://a.example/v.mp3"}}, "audio"),
        ({"type": "document_url", "document_url": "https://a.example/v.pdf"}, ""),
    ],
)
def test_a_file_of_other_servers_is_a_file(block: dict[str, Any], media_type: str) -> None:
    """vLLM's, OpenRouter's and Mistral's blocks are shown to everybody, and go back as they came."""
    message = {"role": "user", "content": [block, {"type": "text", "text": "Look."}]}

    (found, _) = parts(Message.of(message))

    assert isinstance(found, File)
    assert (found.media_type, found.url.startswith("https://a.example/v.")) == (media_type, True)
    assert to_openai(stored(message)) == [message]
    assert found.url in str(to_anthropic(stored(message)))


def test_pictures_and_sources_beside_the_content_are_read() -> None:
    """OpenRouter and Ollama have pictures beside the content, Perplexity its sources."""
    picture = {"type": "image_url", "image_url": {"url": "https://a.example/p.png"}}
    message = {
        "role": "assistant",
        "content": "Oslo.",
        "images": [picture, "aGk="],
        "citations": ["https://a.example/"],
    }

    found = parts(Message.of(message))

    assert [each.url or each.data for each in found if isinstance(each, File)] == ["https://a.example/p.png", "aGk="]
    assert [each.url for each in found if isinstance(each, Source)] == ["https://a.example/"]


def test_a_providers_own_call_that_somebody_interrupted_is_left_out_with_its_result() -> None:
    """Anthropic refuses the call of its own tool without its result in the same turn."""
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    searching, found = {"type": "text", "text": "Searching."}, {"type": "text", "text": "Found."}

    def said(*blocks: dict[str, Any]) -> dict[str, Any]:
        return {"role": "assistant", "content": [*blocks]}

    given = to_anthropic(
        stored(ASKED, said(searching, search), {"role": "user", "content": "Hurry."}, said(result, found))
    )

    assert "srvtoolu_1" not in str(given)
    assert [each["role"] for each in given] == ["user", "assistant", "user", "assistant"]
    assert "srvtoolu_1" in str(to_anthropic(stored(ASKED, said(searching, search), said(result, found))))
