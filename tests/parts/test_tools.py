"""Calls and results of tools are recognised in every form, and in nothing else."""

from __future__ import annotations

from typing import Final

import pytest
from pydantic import JsonValue

from tests.said import tool_calls, tool_results, written
from voltmem import Message
from voltmem.parts import ToolCall, ToolResult

CALL, RESULT = ToolCall("c1", "search", {"q": 1}), ToolResult("c1", "found", "search")
CHAT_CALL: Final[dict[str, JsonValue]] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "search", "arguments": '{"q": 1}'},
}


@pytest.mark.parametrize(
    "message",
    [
        Message(role="assistant", content=[{"type": "text", "text": "Let me see."}, written(CALL)], type="tool-call"),
        Message(role="assistant", content=[written(CALL)]),
        Message(role="assistant", content=written(CALL), type="tool-call"),
        Message(role="assistant", content=[{"type": "tool_use", "id": "c1", "name": "search", "input": {"q": 1}}]),
        Message(
            role="assistant",
            content=[
                {"type": "function_call", "id": "fc9", "call_id": "c1", "name": "search", "arguments": '{"q": 1}'}
            ],
        ),
        Message(
            role="assistant",
            content={"type": "function_call", "call_id": "c1", "name": "search", "arguments": '{"q": 1}'},
        ),
        Message(role="assistant", content=[{"type": "tool_call", "id": "c1", "name": "search", "args": {"q": 1}}]),
        Message(role="assistant", content={"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]}),
        Message(role="assistant", content="", metadata={"tool_calls": [CHAT_CALL]}),
        Message(role="assistant", content=[written(CALL)], metadata={"tool_calls": [CHAT_CALL]}),
        Message(role="assistant", content={"tool_calls": [CHAT_CALL]}, metadata={"tool_calls": [CHAT_CALL]}),
    ],
)
def test_a_call_is_found_in_every_form(message: Message) -> None:
    """A call is recognised in the forms of VoltAgent, the AI SDK, Anthropic, and OpenAI's items and chat messages."""
    assert tool_calls(message) == [CALL]
    assert tool_results(message) == []


@pytest.mark.parametrize(
    ("message", "result"),
    [
        (Message(role="tool", content=[written(RESULT)], type="tool-result"), RESULT),
        (Message(role="tool", content=written(RESULT)), RESULT),
        (
            Message(role="user", content=[{"type": "tool_result", "tool_use_id": "c1", "content": "found"}]),
            ToolResult("c1", "found"),
        ),
        (
            Message(role="user", content=[{"type": "function_call_output", "call_id": "c1", "output": "found"}]),
            ToolResult("c1", "found"),
        ),
        (
            Message(role="tool", content={"type": "function_call_output", "call_id": "c1", "output": "found"}),
            ToolResult("c1", "found"),
        ),
        (Message(role="tool", content="found", metadata={"tool_call_id": "c1", "name": "search"}), RESULT),
        (
            Message(role="tool", content="found", metadata={"toolCallId": "c1", "toolName": "search"}),
            RESULT,
        ),
        (Message(role="tool", content="found"), ToolResult("", "found")),
        (Message(role="assistant", content="found", type="tool-result"), ToolResult("", "found")),
    ],
)
def test_a_result_is_found_in_every_form(message: Message, result: ToolResult) -> None:
    """A result is recognised in the same forms; a message of a tool is a result, even without the id of a call."""
    assert tool_results(message) == [result]
    assert tool_calls(message) == []


def test_a_chat_message_as_content_names_its_call() -> None:
    """An OpenAI chat message with the role tool, stored whole, has the id of its call."""
    (result,) = tool_results(
        Message(role="tool", content={"role": "tool", "tool_call_id": "c1", "name": "search", "content": "found"})
    )

    assert (result.call_id, result.name) == ("c1", "search")
    assert result.value == "found"


def test_several_calls_and_results_come_in_their_order() -> None:
    """Parallel calls are one message, and so may be their results; the order stays."""
    calls = [ToolCall(id, "search", id) for id in ("z", "a", "m")]
    results = [ToolResult(id, [id], "search") for id in ("m", "z", "a")]

    assert tool_calls(Message(role="assistant", content=[written(each) for each in calls])) == calls
    assert tool_results(Message(role="tool", content=[written(each) for each in results])) == results


@pytest.mark.parametrize("arguments", ["{not JSON", "", '"text"', "[1]", "7"])
def test_arguments_that_a_model_wrote_wrong_are_its_words(arguments: str) -> None:
    """OpenAI's arguments are JSON in a string; if the model wrote invalid JSON, they are the string."""
    expected: dict[str, JsonValue] = {"{not JSON": "{not JSON", "": {}, '"text"': "text", "[1]": [1], "7": 7}
    call: dict[str, JsonValue] = {"type": "function_call", "call_id": "c1", "name": "search", "arguments": arguments}

    assert tool_calls(Message(role="assistant", content=[call])) == [ToolCall("c1", "search", expected[arguments])]


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", content="tool_calls"),
        Message(role="user", content=["tool-call", 1, None, [{"type": "tool-call"}]]),
        Message(role="user", content={"tool_calls": "none", "type": ["tool-call"]}, metadata={"tool_calls": None}),
        Message(role="assistant", content={"tool_calls": [], "tool_call_id": "c1"}),
        Message(role="assistant", content=[{"type": {"a": 1}}, {"type": None}, {}]),
        Message(role="user", content=None, type="image"),
    ],
)
def test_other_json_is_not_mistaken_for_tools(message: Message) -> None:
    """Any JSON may be a content; nothing in it is mistaken for a tool, and nothing raises."""
    assert tool_calls(message) == []
    assert tool_results(message) == []


def voltagents(output: JsonValue, **more: JsonValue) -> Message:
    """Return the message of a tool's part as VoltAgent 2 stores it."""
    part: dict[str, JsonValue] = {
        "type": "tool-search",
        "toolCallId": "c1",
        "state": "output-available",
        "input": {"q": 1},
        "output": output,
    }
    return Message(role="assistant", content=[{**part, **more}])


@pytest.mark.parametrize(
    ("output", "result"),
    [
        ({"type": "text", "value": "found"}, ToolResult("c1", "found", "search")),
        ({"type": "json", "value": {"hits": [7]}}, ToolResult("c1", {"hits": [7]}, "search")),
        ({"type": "error-text", "value": "No."}, ToolResult("c1", "No.", "search", "failed")),
        ({"type": "execution-denied", "reason": "No."}, ToolResult("c1", "No.", "search", "denied")),
        (
            {
                "type": "json",
                "value": {"error": True, "message": "No.", "stack": "at …", "toolCallId": "c1", "toolName": "search"},
            },
            ToolResult("c1", "No.", "search", "failed"),
        ),
        ({"type": "json", "value": {"error": True, "message": "of the tool"}}, None),
    ],
)
def test_a_result_of_voltagents_is_the_value_and_not_its_wrapping(output: JsonValue, result: ToolResult | None) -> None:
    """VoltAgent wraps what a tool returns, and returns what it throws; a call has the state of its result."""
    message = voltagents(output, providerExecuted=False)
    expected = result or ToolResult("c1", {"error": True, "message": "of the tool"}, "search")

    assert tool_results(message) == [expected]
    assert tool_calls(message) == [ToolCall("c1", "search", {"q": 1}, expected.state)]


@pytest.mark.parametrize("more", [{}, {"providerExecuted": None}])
def test_an_output_that_looks_like_voltagents_is_what_the_tool_returned(more: dict[str, JsonValue]) -> None:
    """In a part of useChat's, which does not say who executed the tool, an output with a type and a value is whole."""
    output: JsonValue = {"type": "text", "value": "found"}

    assert tool_results(voltagents(output, **more)) == [ToolResult("c1", output, "search")]
    other: JsonValue = {"type": "text", "text": "found"}
    assert tool_results(voltagents(other, providerExecuted=True)) == [ToolResult("c1", other, "search")]
