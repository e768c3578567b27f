"""told(): what a framework that knows functions only tells a model, of any conversation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.parts.test_writing import LEGAL, conversations
from tests.properties import examples
from voltmem import Message
from voltmem.parts import Text, ToolCall
from voltmem.parts._settled import settle
from voltmem.parts._told import told


@given(conversations)
@examples(300)
def test_frameworks_are_told_each_call_once_with_its_result_at_once(found: list[Message]) -> None:
    """After the calls of a piece come their results, in their order; ids are used once, and all is legal."""
    waiting: list[str] = []
    used: set[str] = set()
    for piece in [piece for row in told(settle(found), [False] * len(found)) for piece in row]:
        assert piece.said or piece.results
        if piece.said:
            assert not waiting
        calls = [part for part in piece.said if isinstance(part, ToolCall)]
        assert all(part.text.strip() for part in piece.said if isinstance(part, Text))
        assert all(isinstance(call.arguments, dict) and LEGAL.fullmatch(call.name) for call in calls)
        assert all(LEGAL.fullmatch(call.id) and len(call.id) <= 40 for call in calls)
        waiting += [call.id for call in calls]
        assert not used.intersection(waiting)
        for result in piece.results:
            assert result.call_id == waiting.pop(0)
            used.add(result.call_id)
    assert not waiting


@given(conversations, st.integers(0, 255))
@examples(300)
def test_nothing_is_told_of_a_frameworks_own_messages_but_late_results(found: list[Message], own: int) -> None:
    """Own messages come back as they are, so their pieces have results only."""
    is_own = [bool(own & 1 << position) for position in range(len(found))]
    pieces = told(settle(found), is_own)

    assert all(not piece.said for row, mine in zip(pieces, is_own, strict=True) if mine for piece in row)


def test_a_result_of_a_call_that_is_not_the_assistants_is_not_told() -> None:
    """A tool's or a user's message may have a call, with an id that the assistant used: models refuse such calls."""
    call, result = {"type": "tool-call", "toolCallId": "k1"}, {"type": "tool-result", "toolCallId": "k1"}
    spoken = [
        ("assistant", [call | {"toolName": "first", "args": {}}]),
        ("tool", [result | {"toolCallId": "", "toolName": "first", "result": "one"}]),
        ("user", [call | {"toolName": "second", "args": {}}, result | {"toolName": "second", "result": "two"}]),
    ]
    found = [Message.of({"id": f"m{n}", "role": role, "content": parts}) for n, (role, parts) in enumerate(spoken)]

    pieces = [piece for row in told(settle(found), [False] * 3) for piece in row]

    assert [result.value for piece in pieces for result in piece.results] == ["one"]
