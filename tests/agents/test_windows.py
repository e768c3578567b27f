"""Windows: tools are recognised in every form, no turn is divided, and each window is as long as possible."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.dialogues import OWN, Dialogues, with_dialogues
from tests.properties import examples
from voltmem import Message
from voltmem._parts import (
    ToolCall,
    ToolResult,
    call_part,
    exchanges,
    result_part,
    text_part,
    tool_calls,
    tool_results,
    tool_turns,
    window,
)

LIMITS: Final = range(1, 41)


# --- conversations ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A message with the ids of the calls and of the results in it."""

    message: Message
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    @property
    def has_tools(self) -> bool:
        return bool(self.calls or self.results)


def says(role: str, text: str = "words") -> Step:
    return Step(Message(role=role, content=text))


def asks(*calls: str) -> Step:
    """Make a message of the assistant with a tool call for each id; "" for a call without one."""
    if calls == ("",):
        return Step(Message(role="assistant", content="search", type="tool-call"), calls)
    parts = [call_part(ToolCall(call, "search", {})) for call in calls]
    return Step(Message(role="assistant", content=list[JsonValue](parts), type="tool-call"), calls)


def answers(*results: str) -> Step:
    """Make a message with a tool result for each id; "" for a result without one."""
    if results == ("",):
        return Step(Message(role="tool", content="found", type="tool-result"), (), results)
    parts = [result_part(ToolResult(result, "search", "found")) for result in results]
    return Step(Message(role="tool", content=list[JsonValue](parts), type="tool-result"), (), results)


def answers_and_asks(results: Sequence[str], calls: Sequence[str]) -> Step:
    """Make one message with results and calls, the results first."""
    parts = [result_part(ToolResult(result, "search", "found")) for result in results]
    parts += [call_part(ToolCall(call, "search", {})) for call in calls]
    return Step(Message(role="assistant", content=list[JsonValue](parts)), tuple(calls), tuple(results))


def messages(steps: Sequence[Step]) -> list[Message]:
    return [step.message for step in steps]


# --- an independent definition of valid windows -------------------------------------------------------------------

Call: TypeAlias = tuple[str, int]
"""The id of a call, and the position of its message."""


def is_valid(steps: Sequence[Step]) -> bool:
    """
    Return whether a model accepts them.

    Each result must be after its call, each call must have its result, and only tools may be in between.
    """
    waiting: list[Call] = []
    for position, step in enumerate(steps):
        if waiting and not step.has_tools:
            return False
        own = once(step.calls, position)
        if any(taken(result, own, waiting) is None for result in step.results):
            return False
        if any(id and id in [waited for waited, _ in waiting] for id, _ in own):
            return False
        waiting += own
    return not waiting


def once(calls: Sequence[str], position: int) -> list[Call]:
    """Return the calls of a message without duplicate ids: two calls with the same id are one."""
    return [(call, position) for place, call in enumerate(calls) if not call or call not in calls[:place]]


def taken(result: str, *lists: list[Call]) -> Call | None:
    """
    Remove the call that a result answers from the first list that has it.

    Of calls that match, the result answers the last. A result without an id matches every call. The call is removed by
    its position: two calls without an id are equal, and the one that is left must be the earlier one.
    """
    for calls in lists:
        places = [place for place, (id, _) in enumerate(calls) if result in ("", id)]
        if places:
            return calls.pop(places[-1])
    return None


def whole(steps: Sequence[Step]) -> list[Step]:
    """
    Return the conversation without turns that lack a call or a result, with the messages said during a turn after it.
    """
    pairs, lacking = paired(steps)
    while more := {one for pair in pairs for one in pair if lacking & set(pair)} - lacking:
        lacking |= more
    kept = [position for position in range(len(steps)) if position not in lacking]
    spans = [pair for pair in pairs if lacking.isdisjoint(pair)]
    swapped = True
    while swapped:
        swapped = False
        for place in range(len(kept) - 1):
            one, other = kept[place : place + 2]
            if steps[one].has_tools or not steps[other].has_tools:
                continue
            if any(kept.index(call) < place < kept.index(result) for call, result in spans):
                kept[place : place + 2] = [other, one]
                swapped = True
    return [steps[position] for position in kept]


def paired(steps: Sequence[Step]) -> tuple[list[tuple[int, int]], set[int]]:
    """Return the positions of each call and its result, and of calls or results without the other."""
    waiting: list[Call] = []
    pairs: list[tuple[int, int]] = []
    lacking: set[int] = set()
    for position, step in enumerate(steps):
        own = once(step.calls, position)
        for result in step.results:
            call = taken(result, own, waiting)
            if call is None:
                lacking.add(position)
            else:
                pairs.append((call[1], position))
        for id, _ in own:
            again = [each for each in waiting if id and each[0] == id]
            lacking.update(position for _, position in again)
            waiting = [each for each in waiting if each not in again]
        waiting += own
    return pairs, lacking | {position for _, position in waiting}


def longest(steps: Sequence[Step], limits: Sequence[int]) -> Iterator[list[Message]]:
    """Yield for each limit the longest valid end of the conversation within it."""
    starts = [start for start in range(len(steps) + 1) if is_valid(steps[start:])]
    for limit in limits:
        start = next(start for start in starts if len(steps) - start <= limit)
        yield messages(steps[start:])


def assert_windows_are_right(steps: Sequence[Step], limits: Sequence[int] = LIMITS) -> None:
    kept = whole(steps)
    assert is_valid(kept), "the oracle's own mistake"
    groups = tool_turns(messages(steps))
    for limit, expected in zip(limits, longest(kept, limits), strict=True):
        assert window(groups, limit) == (expected, len(expected) < len(kept)), limit
    assert window(groups, None) == (messages(kept), False)


def assert_a_part_is_the_end_of_the_whole(steps: Sequence[Step], begin: int) -> None:
    """Check that the window of a part, the newest messages, is the end of the window of the whole."""
    groups = tool_turns(messages(steps))
    of_part = tool_turns(messages(steps[begin:]), cut_off=True)
    assert of_part == groups[len(groups) - len(of_part) :]


# --- whole conversations ------------------------------------------------------------------------------------------


@cache
def steps_of(dialogues: Dialogues) -> list[list[Step]]:

    def ids(message: dict[str, Any], type: str) -> tuple[str, ...]:
        return tuple(part["toolCallId"] for part in message["content"] if type == message["type"] == part["type"])

    return [
        [Step(Message(**each), ids(each, "tool-call"), ids(each, "tool-result")) for each in dialogue["messages"]]
        for dialogue in dialogues
    ]


@with_dialogues
def test_every_window_of_every_dialogue_is_valid_and_as_long_as_it_may_be(dialogues: Dialogues) -> None:
    """For 40 limits a window is the longest valid end of the dialogue, and never longer than the limit."""
    for dialogue in steps_of(dialogues):
        assert is_valid(dialogue)
        assert_windows_are_right(dialogue)
    assert len(steps_of(dialogues)) == dialogues.conversations


def begun_with_a_system_message(dialogue: list[Step], chance: random.Random) -> list[Step]:
    return [says("system"), *dialogue]


def cut(dialogue: list[Step], chance: random.Random) -> list[Step]:
    begin, end = sorted(chance.sample(range(len(dialogue) + 1), 2))
    return dialogue[begin:end]


def with_losses(dialogue: list[Step], chance: random.Random) -> list[Step]:
    return [step for step in dialogue if chance.random() < 0.8]


def with_interruptions(dialogue: list[Step], chance: random.Random) -> list[Step]:
    """Insert messages of a user while a tool works."""
    return [step for each in dialogue for step in ([each, says("user")] if chance.random() < 0.3 else [each])]


def interleaved(dialogue: list[Step], chance: random.Random) -> list[Step]:
    """Interleave two dialogues."""
    other = [with_ids(step, "other_{}".format) for step in chance.choice(steps_of(OWN))]
    waiting = [list(dialogue), other]
    mixed: list[Step] = []
    while waiting:
        line = chance.choice(waiting)
        mixed.append(line.pop(0))
        waiting = [line for line in waiting if line]
    return mixed


def in_parallel(dialogue: list[Step], chance: random.Random) -> list[Step]:
    """Let some turns call two more tools, with the results in one message, or one by one in any order."""
    made: list[Step] = []
    for step in dialogue:
        if step.calls:
            calls = (*step.calls, f"{step.calls[0]}_b", f"{step.calls[0]}_c")
            made.append(asks(*calls))
            results = chance.sample(calls, len(calls))
            made += chance.choice([[answers(*results)], [answers(each) for each in results]])
        elif not step.results:
            made.append(step)
    return made


def with_ids_used_again(dialogue: list[Step], chance: random.Random) -> list[Step]:
    return [with_ids(step, lambda _: "call_0") for step in dialogue]


def without_ids(dialogue: list[Step], chance: random.Random) -> list[Step]:
    return [with_ids(step, lambda _: "") for step in dialogue]


def with_ids(step: Step, changed: Callable[[str], str]) -> Step:
    made = answers_and_asks([changed(id) for id in step.results], [changed(id) for id in step.calls])
    message = made.message.model_copy(update={"role": step.message.role, "type": step.message.type})
    return replace(made, message=message) if step.has_tools else step


@with_dialogues
@pytest.mark.parametrize("cutting", [None, cut, with_losses])
@pytest.mark.parametrize(
    "changed",
    [
        begun_with_a_system_message,
        with_interruptions,
        interleaved,
        in_parallel,
        with_ids_used_again,
        without_ids,
    ],
)
def test_dialogues_that_are_damaged_have_valid_windows(
    dialogues: Dialogues,
    changed: Callable[[list[Step], random.Random], list[Step]],
    cutting: Callable[[list[Step], random.Random], list[Step]] | None,
) -> None:
    """However a dialogue is damaged, windows divide no tool turn, and are as long as possible."""
    chance = random.Random(f"{changed.__name__} {cutting}")  # noqa: S311
    found = steps_of(dialogues)
    for dialogue in chance.sample(found, min(100, len(found))):
        steps = changed(dialogue, chance)
        if cutting is not None:
            steps = cutting(steps, chance)
        assert_windows_are_right(steps)
        assert_a_part_is_the_end_of_the_whole(steps, chance.randrange(len(steps) + 1))


# --- any conversations --------------------------------------------------------------------------------------------

ids = st.sampled_from(["a", "b", "c", ""])
some_ids = st.lists(ids, min_size=1, max_size=3)
any_steps = st.one_of(
    st.sampled_from(["user", "assistant", "system"]).map(says),
    some_ids.map(lambda calls: asks(*calls)),
    some_ids.map(lambda results: answers(*results)),
    st.builds(answers_and_asks, some_ids, some_ids),
)


@given(st.lists(any_steps, max_size=12))
@example([answers_and_asks(["", "", "c"], ["", "c", ""])])  # a former failure: the oracle took the first of equal calls
@examples(300)
def test_no_window_of_any_conversation_divides_a_tool_turn(steps: list[Step]) -> None:
    """With calls and results in any order, and repeated or missing ids, windows are valid and as long as possible."""
    assert_windows_are_right(steps, range(13))


@given(st.lists(any_steps, max_size=12), st.integers(0, 12))
@examples(300)
def test_reading_only_the_newest_messages_finds_the_same_turns(steps: list[Step], begin: int) -> None:
    """If only the newest messages are read, turns with unread messages are not mistaken for others."""
    assert_a_part_is_the_end_of_the_whole(steps, min(begin, len(steps)))


USER, BOT = says("user"), says("assistant")


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([USER, asks("a"), answers("a"), BOT], [0, 1, 2, 3]),
        ([asks("a"), USER, answers("a"), BOT], [0, 2, 1, 3]),
        ([asks("a", "b"), answers("a"), USER], [2]),
        ([answers("a"), USER], [1]),
        ([USER, asks("a")], [0]),
        ([asks("a"), asks("a"), answers("a")], [1, 2]),
        ([asks("a"), answers("a"), answers("a"), BOT], [0, 1, 3]),
        ([asks("a"), answers("a"), asks("a"), answers("a")], [0, 1, 2, 3]),
        ([asks("a"), asks("b"), answers("b"), answers("a")], [0, 1, 2, 3]),
        ([asks("a"), asks("b"), answers("b"), USER], [1, 2, 3]),
        ([asks(""), answers("")], [0, 1]),
        ([asks("a"), asks("b"), answers("")], [1, 2]),
        ([asks("", ""), answers("", "")], [0, 1]),
        ([asks("", ""), answers(""), answers("")], [0, 1, 2]),
        ([asks("", ""), answers("")], []),
        ([asks("a"), answers_and_asks(["a"], ["b"]), answers("b"), BOT], [0, 1, 2, 3]),
        ([answers_and_asks(["a"], ["a"]), BOT], [0, 1]),
        ([answers_and_asks(["a"], ["b"]), answers("b"), BOT], [2]),
        ([answers_and_asks(["", "", "c"], ["", "c", ""]), BOT], [1]),
        ([answers_and_asks(["c", "", ""], ["", "c", ""]), BOT], [0, 1]),
    ],
)
def test_what_of_a_conversation_may_be_handed_on(steps: list[Step], kept: list[int]) -> None:
    """A turn that lacks a call or a result is left out; messages said during a turn come after it."""
    groups = tool_turns(messages(steps))

    assert [message for group in groups for message in group] == [steps[position].message for position in kept]


def test_a_turn_that_began_before_what_was_read_keeps_its_messages_out() -> None:
    """
    A call with its result, within a turn that began before the messages that were read, is left out with that turn.
    """
    steps = [asks("old"), asks("new"), answers("old"), USER, answers("new"), BOT]

    assert tool_turns(messages(steps[1:]), cut_off=True) == [[BOT.message]]


def test_a_turn_that_does_not_fit_is_not_begun() -> None:
    """The limit is strict: if the newest turn is longer, nothing is returned."""
    groups = tool_turns(messages([USER, asks("a", "b"), answers("a"), answers("b")]))

    assert window(groups, 2) == ([], True)
    assert window(groups, 0) == ([], True)
    assert window([], 0) == ([], False)


def test_ten_thousand_calls_that_wait_are_looked_through_once() -> None:
    """Ten thousand calls without results do not slow down later messages: each is examined a few times only."""
    steps = [asks(f"{number}") for number in range(10_000)] + [asks("last"), answers("last")] * 1_000

    assert len(tool_turns(messages(steps))) == 1_000


# --- all forms ----------------------------------------------------------------------------------------------------

CALL, RESULT = ToolCall("c1", "search", {"q": 1}), ToolResult("c1", "search", "found")
CHAT_CALL: Final[dict[str, JsonValue]] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "search", "arguments": '{"q": 1}'},
}


@pytest.mark.parametrize(
    "message",
    [
        Message(role="assistant", content=[text_part("Let me see."), call_part(CALL)], type="tool-call"),
        Message(role="assistant", content=[call_part(CALL)]),
        Message(role="assistant", content=call_part(CALL), type="tool-call"),
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
        Message(role="assistant", content=[call_part(CALL)], metadata={"tool_calls": [CHAT_CALL]}),
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
        (Message(role="tool", content=[result_part(RESULT)], type="tool-result"), RESULT),
        (Message(role="tool", content=result_part(RESULT)), RESULT),
        (
            Message(role="user", content=[{"type": "tool_result", "tool_use_id": "c1", "content": "found"}]),
            ToolResult("c1", "", "found"),
        ),
        (
            Message(role="user", content=[{"type": "function_call_output", "call_id": "c1", "output": "found"}]),
            ToolResult("c1", "", "found"),
        ),
        (
            Message(role="tool", content={"type": "function_call_output", "call_id": "c1", "output": "found"}),
            ToolResult("c1", "", "found"),
        ),
        (Message(role="tool", content="found", metadata={"tool_call_id": "c1", "name": "search"}), RESULT),
        (
            Message(role="tool", content="found", metadata={"toolCallId": "c1", "toolName": "search"}),
            RESULT,
        ),
        (Message(role="tool", content="found"), ToolResult("", "", "found")),
        (Message(role="assistant", content="found", type="tool-result"), ToolResult("", "", "found")),
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

    assert (result.id, result.name) == ("c1", "search")
    assert result.result == "found"


def test_several_calls_and_results_come_in_their_order() -> None:
    """Parallel calls are one message, and so may be their results; the order stays."""
    calls = [ToolCall(id, "search", id) for id in ("z", "a", "m")]
    results = [ToolResult(id, "search", [id]) for id in ("m", "z", "a")]

    assert tool_calls(Message(role="assistant", content=[call_part(each) for each in calls])) == calls
    assert tool_results(Message(role="tool", content=[result_part(each) for each in results])) == results


@pytest.mark.parametrize("arguments", ["{not JSON", "", '"text"', "[1]", "7"])
def test_arguments_that_a_model_wrote_wrong_are_its_words(arguments: str) -> None:
    """OpenAI's arguments are JSON in a string; if the model wrote invalid JSON, they are the string."""
    expected: dict[str, JsonValue] = {"{not JSON": "{not JSON", "": "", '"text"': "text", "[1]": [1], "7": 7}
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


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["tool-call", "tool_result", "c1"]),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["type", "id", "tool_calls", "function", "toolCallId", "arguments", "name"]),
            values,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.builds(
            lambda role, content, kind: Message(role=role, content=content, type=kind),
            st.sampled_from(["user", "assistant", "tool"]),
            json,
            st.sampled_from(["text", "tool-call", "tool-result"]),
        ),
        max_size=6,
    )
)
def test_no_content_is_too_strange_for_a_window(found: list[Message]) -> None:
    """Windows are made of messages with any JSON as content, and return each message at most once."""
    kept = [message.id for group in tool_turns(found) for message in group]

    assert sorted(kept) == sorted(set(kept) & {message.id for message in found})


# --- exchanges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "pairs"),
    [
        ("", []),
        ("u", []),
        ("a", []),
        ("ua", [(0, 1)]),
        ("au", []),
        ("uuaa", [(1, 3)]),
        ("auauau", [(1, 2), (3, 4)]),
        ("uauuaau", [(0, 1), (3, 5)]),
    ],
)
def test_an_exchange_is_the_last_word_of_each(roles: str, pairs: list[tuple[int, int]]) -> None:
    """An exchange is the user's last message before the answer, and the assistant's last before the user's next one."""
    spoken = [Message(role={"u": "user", "a": "assistant"}[role], content=role) for role in roles]

    assert exchanges(spoken) == [(spoken[said], spoken[answer]) for said, answer in pairs]
