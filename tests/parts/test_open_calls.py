"""Calls without a result: what goes with them, and what a person has said to them."""

from __future__ import annotations

from typing import Final

import pytest
from pydantic import JsonValue

from voltmem import Message
from voltmem._agents.windows import tool_turns
from voltmem.parts import ToolCall, to_openai, to_responses, to_ui_messages
from voltmem.parts._settled import settle

Given = dict[str, JsonValue]

QUESTION: Final[Given] = {"role": "user", "content": "Q"}
REASONING: Final[Given] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
ANSWER: Final[Given] = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": "A"}


def stored(*given: Given) -> list[Message]:
    return [Message.of(each) for each in given]


def in_window(*given: Given) -> list[Message]:
    return [message for group in tool_turns(stored(*given)) for message in group]


def call(id: str) -> Given:
    return {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": "w", "arguments": "{}"}


def output(id: str) -> Given:
    return {"type": "function_call_output", "call_id": id, "output": "R"}


def without_id(item: Given) -> Given:
    return {name: value for name, value in item.items() if name != "id"}


# --- reasoning of the Responses API ----------------------------------------------------------------------------------


def test_to_responses_leaves_out_the_reasoning_of_a_call_that_is_left_out() -> None:
    """A reasoning goes with the call that followed it: OpenAI refuses it alone."""
    for read in (stored, in_window):
        assert to_responses(read(QUESTION, REASONING, call("k"), QUESTION)) == [QUESTION, QUESTION]


def test_to_responses_sends_an_item_without_its_reasoning_without_its_id() -> None:
    """The other call of the same response stays, as a new item: by its id it would need the reasoning."""
    for read in (stored, in_window):
        sent = to_responses(read(QUESTION, REASONING, call("k"), call("l"), output("l"), ANSWER))

        assert sent == [QUESTION, without_id(call("l")), output("l"), without_id(ANSWER)]


def test_to_responses_begins_a_window_without_the_ids_of_its_first_items() -> None:
    """Nobody knows whether the items at the beginning of a window had a reasoning before them."""
    for given in ([call("k"), output("k"), ANSWER], [ANSWER, QUESTION]):
        assert to_responses(stored(*given)) == [without_id(item) for item in given]


def test_to_responses_keeps_each_reasoning_directly_before_its_item() -> None:
    """Reasoning before a call, and before an answer, stays; a reasoning at the end has no item yet."""
    begin, end = [QUESTION, REASONING, call("k")], [output("k"), output("l"), {**REASONING, "id": "rs_2"}, ANSWER]
    whole = [*begin, call("l"), *end]

    assert to_responses(in_window(*whole)) == to_responses(stored(*whole)) == [*begin, without_id(call("l")), *end]
    assert to_responses(stored(QUESTION, REASONING)) == [QUESTION]


def test_to_responses_leaves_out_a_reasoning_without_the_item_that_followed() -> None:
    """The answer was edited, or the run has failed and another framework has answered, or it was deleted."""
    plain: Given = {"role": "assistant", "content": "A"}
    second: Given = {**REASONING, "id": "rs_2"}

    assert to_responses(stored(QUESTION, REASONING, plain)) == [QUESTION, plain]
    assert to_responses(stored(QUESTION, REASONING, second, ANSWER)) == [QUESTION, second, ANSWER]
    assert to_responses(stored(QUESTION, REASONING, QUESTION)) == [QUESTION, QUESTION]


def test_to_responses_sends_an_id_only_directly_after_a_reasoning() -> None:
    """Nothing tells whether there was a reasoning before the item that somebody has deleted."""
    given = [QUESTION, call("k"), output("k"), ANSWER]

    assert to_responses(stored(*given)) == [QUESTION, without_id(call("k")), output("k"), without_id(ANSWER)]


def test_to_responses_sends_reasoning_without_ids_and_its_item_as_new_ones() -> None:
    """An application that leaves out the ids of reasoning goes on with the encrypted content alone."""
    given = [QUESTION, without_id(REASONING), ANSWER]

    assert to_responses(stored(*given)) == [QUESTION, without_id(REASONING), without_id(ANSWER)]


def test_to_responses_keeps_a_reference_with_what_it_refers_to() -> None:
    """The API looks a reference up, to a reasoning or to the item after one."""
    to_reasoning: Given = {"type": "item_reference", "id": "rs_1"}
    to_answer: Given = {"type": "item_reference", "id": "msg_1"}

    for given in ([to_reasoning, ANSWER], [REASONING, to_answer], [to_answer]):
        assert to_responses(stored(QUESTION, *given)) == [QUESTION, *given]


# --- approvals of a provider's own tools -----------------------------------------------------------------------------

REQUEST: Final[Given] = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "t", "arguments": "{}"}
NO: Final[Given] = {
    "type": "mcp_approval_response",
    "approval_request_id": "mcpr_1",
    "approve": False,
    "reason": "Not now.",
}
YES: Final[Given] = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
RUN: Final[Given] = {
    "type": "mcp_call",
    "id": "mcp_1",
    "approval_request_id": "mcpr_1",
    "name": "t",
    "arguments": "{}",
    "output": "R",
}


NEEDS_ID: Final[list[list[Given]]] = [
    [{"type": "computer_call", "id": "cu_1", "call_id": "k"}, {"type": "computer_call_output", "call_id": "k"}],
    [{"type": "local_shell_call", "id": "lsh_1", "call_id": "k"}, {"type": "local_shell_call_output", "id": "k"}],
    [REQUEST, YES],
    [REQUEST, NO],
    [RUN],
]


@pytest.mark.parametrize("given", NEEDS_ID)
def test_to_responses_leaves_out_what_needs_its_id_and_may_need_a_reasoning(given: list[Given]) -> None:
    """At the beginning, and before the reasoning of its response, it goes with its result; elsewhere it stays."""
    search: Given = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    listed: Given = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []}

    assert to_responses(stored(*given, QUESTION)) == [QUESTION]
    assert to_responses(stored(listed, *given, QUESTION)) == [listed, QUESTION]
    assert to_responses(stored(QUESTION, REASONING, search, *given)) == [QUESTION, REASONING, search, *given]
    assert to_responses(stored(QUESTION, given[0], REASONING, search, *given[1:])) == [QUESTION, REASONING, search]
    assert to_responses(stored(QUESTION, *given)) == [QUESTION, *given]
    assert to_responses(stored(QUESTION, REASONING, *given)) == [QUESTION, REASONING, *given]
    assert to_responses(stored(call("l"), output("l"), *given))[2:] == given


@pytest.mark.parametrize("given", [[REQUEST, NO, QUESTION], [REQUEST, YES], [REQUEST, YES, RUN, QUESTION]])
def test_to_responses_sends_an_approval_with_its_request(given: list[Given]) -> None:
    """The request and the answer go back together, also out of a window."""
    assert to_responses(stored(QUESTION, *given)) == [QUESTION, *given]
    assert to_responses(in_window(QUESTION, *given)) == [QUESTION, *given]


@pytest.mark.parametrize("given", [REQUEST, NO, YES])
def test_to_responses_sends_neither_a_request_nor_an_approval_alone(given: Given) -> None:
    """OpenAI refuses one without the other."""
    assert to_responses(stored(QUESTION, given, QUESTION)) == [QUESTION, QUESTION]
    assert to_responses(in_window(QUESTION, given, QUESTION)) == [QUESTION, QUESTION]


def test_a_denied_approval_is_a_denied_call() -> None:
    """Other providers and front ends are told that the user denied the call, and why."""
    denied = stored(QUESTION, REQUEST, NO)

    assert to_openai(denied)[-1]["content"] == "The user denied this tool call. Not now."
    assert "output-denied" in str(to_ui_messages(denied)[1])
    assert denied[2].role == "tool"


def test_an_approved_call_goes_on_until_it_is_carried_out() -> None:
    """After the approval the call is running; the call itself then stands for the request."""
    approved, run = stored(QUESTION, REQUEST, YES), stored(QUESTION, REQUEST, YES, RUN)

    assert "input-available" in str(to_ui_messages(approved))
    assert to_openai(approved) == [QUESTION]
    assert str(to_ui_messages(run)).count("toolCallId") == 1
    assert [each["role"] for each in to_openai(run)] == ["user", "assistant", "tool"]


# --- approvals in ModelMessages --------------------------------------------------------------------------------------

ASKED: Final[Given] = {
    "role": "assistant",
    "content": [
        {"type": "tool-call", "toolCallId": "k", "toolName": "rm", "input": {}},
        {"type": "tool-approval-request", "approvalId": "ap", "toolCallId": "k"},
    ],
}


def answered(approved: bool, *more: JsonValue) -> Given:
    said: Given = {"type": "tool-approval-response", "approvalId": "ap", "approved": approved, "reason": "Not now."}
    return {"role": "tool", "content": [said, *more]}


def state_of(messages: list[Message]) -> str:
    return next(part.state for each in settle(messages) for part in each.parts if isinstance(part, ToolCall))


def test_a_model_message_with_a_denial_denies_the_call() -> None:
    """The response names the approval, not the call; its reason is told."""
    denied = stored(QUESTION, ASKED, answered(False), {"role": "assistant", "content": "I will not."})

    assert to_openai(denied)[2]["content"] == "The user denied this tool call. Not now."
    assert state_of(denied) == "denied"
    assert to_openai(in_window(QUESTION, ASKED, answered(False)))[2]["tool_call_id"] == "k"


def test_a_model_message_with_an_approval_is_no_result() -> None:
    """An approved call runs; its result comes in the same or in a later message of the tool."""
    result: Given = {
        "type": "tool-result",
        "toolCallId": "k",
        "toolName": "rm",
        "output": {"type": "text", "value": "gone"},
    }

    assert state_of(stored(QUESTION, ASKED)) == "waiting"
    assert state_of(stored(QUESTION, ASKED, answered(True))) == "running"
    assert to_openai(stored(QUESTION, ASKED, answered(True))) == [QUESTION]
    for given in ([answered(True, result)], [answered(True), {"role": "tool", "content": [result]}]):
        assert to_openai(in_window(QUESTION, ASKED, *given))[2:] == [
            {"role": "tool", "tool_call_id": "k", "content": "gone"}
        ]


def test_a_result_that_repeats_a_denial_takes_its_place() -> None:
    """The AI SDK adds a result for the denial: the call is answered once."""
    denial: Given = {
        "type": "tool-result",
        "toolCallId": "k",
        "toolName": "rm",
        "output": {"type": "execution-denied", "reason": "Never."},
    }
    messages = stored(QUESTION, ASKED, answered(False, denial))

    assert to_openai(messages)[2:] == [
        {"role": "tool", "tool_call_id": "k", "content": "The user denied this tool call. Never."}
    ]
    assert len(to_openai(in_window(QUESTION, ASKED, answered(False), {"role": "tool", "content": [denial]}))) == 3


# --- what stands beside them -----------------------------------------------------------------------------------------

PICTURE: Final[Given] = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
CHAT_CALL: Final[Given] = {"id": "open", "type": "function", "function": {"name": "w", "arguments": "{}"}}


def test_a_window_keeps_the_picture_beside_a_result_without_its_call() -> None:
    """The result is left out; the user's picture and words go to the model as they were."""
    result: Given = {"type": "tool_result", "tool_use_id": "gone", "content": "r"}
    words: Given = {"type": "text", "text": "And this picture?"}

    (message,) = in_window({"role": "user", "content": [result, PICTURE, words]})

    assert message.content == [PICTURE, words]


def test_a_window_keeps_a_ui_message_as_it_was_but_for_an_open_call() -> None:
    """Files, data, reasoning, an answered dynamic tool and the metadata stay as the front end stored them."""
    parts: list[JsonValue] = [
        {"type": "reasoning", "text": "Hm.", "providerMetadata": {"anthropic": {"signature": "s"}}},
        {"type": "text", "text": "Here."},
        {"type": "file", "mediaType": "image/png", "filename": "a.png", "url": "data:image/png;base64,AAAA"},
        {"type": "data-w", "data": 1},
        {"type": "dynamic-tool", "toolName": "w", "toolCallId": "k", "state": "output-available", "output": "R"},
    ]
    open: Given = {"type": "tool-w", "toolCallId": "open", "state": "input-available", "input": {}}
    given: Given = {"id": "u", "role": "assistant", "metadata": {"model": "m"}, "parts": [*parts, open]}

    assert to_ui_messages(in_window(given, QUESTION))[0] == {**given, "parts": parts}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"tool_calls": [CHAT_CALL], "annotations": []}, {"annotations": []}),
        ({"content": [PICTURE, {"type": "tool_use", "id": "open", "name": "w", "input": {}}]}, {"content": [PICTURE]}),
    ],
)
def test_a_window_keeps_the_form_of_a_message_with_an_open_call(given: Given, kept: Given) -> None:
    """What is left is still the provider's own message."""
    said: Given = {"role": "assistant", "content": "Let me see."}

    (message, _) = in_window({**said, **given}, QUESTION)

    shown = getattr(message, "payload", None) or {"role": message.role, "content": message.content}
    assert shown == {**said, **kept}
