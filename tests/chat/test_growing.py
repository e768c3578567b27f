"""The chunks of an answer as it grows, and the message that is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, cast

import pytest
from pydantic import JsonValue

from tests.node import node
from voltmem import InvalidInputError
from voltmem._values import JsonObject
from voltmem.chat import File, Part, Reasoning, Source, Text, ToolCall, ToolInput, ToolResult
from voltmem.chat._growing import Growing
from voltmem.chat._parts import Waiting
from voltmem.parts import to_ui_messages
from voltmem.parts._front_ends import ABANDONED

URL: Final = f"voltmem:file/{'0' * 64}"
BEGIN: Final[JsonObject] = {"type": "start", "messageId": "a1"}
ANSWERS: Final[dict[str, list[Part | Waiting]]] = {
    "text": ["It ", Text("rains"), "", "."],
    "everything": [
        Reasoning("Norway "),
        Reasoning("is wet."),
        "Let me see. ",
        ToolInput("k1", "weather", '{"city": '),
        ToolInput("k1", "weather", '"Oslo"}'),
        ToolCall("k1", "weather", {"city": "Oslo"}),
        ToolCall("k2", "weather", {"city": "Rome"}),
        ToolResult("k2", {"sky": ["SUN-7"]}),
        ToolResult("k1", error="no answer"),
        Reasoning("Odd."),
        "Sun.",
        File(url=URL, media_type="image/png", name="sun.png"),
        Source("https://x.test/rome", "Rome"),
        Source("https://x.test/rome", "Rome again"),
        Source("https://x.test/oslo"),
    ],
    "a call alone": [ToolCall("k1", "weather")],
    "one id for two calls": [
        ToolCall("1", "weather", {"city": "Oslo"}),
        ToolResult("1", "rain"),
        ToolCall("1", "weather", {"city": "Rome"}),
        ToolResult("1", "clouds"),
        ToolResult("1", "sun"),
    ],
    "reasoning alone": [Reasoning("Hm.")],
    "approval": [
        "May I?",
        ToolCall("k1", "weather", {"city": "Oslo"}, needs_approval=True),
        ToolCall("k2", "weather", {"city": "Rome"}, needs_approval=True),
        ToolResult("k2", "sun"),
        Waiting(),
    ],
}


def grown(given: Sequence[Part | Waiting]) -> tuple[Growing, list[JsonObject]]:
    """Return the answer at its end, and its chunks."""
    growing = Growing("a1", clock=iter(range(100)).__next__)
    chunks = [chunk for part in given for chunk in growing.add(part)]
    return growing, [*chunks, *growing.end()]


def stored(growing: Growing) -> JsonObject:
    """Return the UIMessage of what is stored."""
    message = growing.message()
    assert message is not None
    (shown,) = to_ui_messages([message])
    return shown


def without_state(message: JsonObject) -> object:
    """Return what a UIMessage says: its id and its parts, without what only a stream has, or version 7."""
    parts: Any = message["parts"]
    of_stream = {"providerMetadata", "id", "filename"}
    said = [{name: value for name, value in part.items() if name not in of_stream} for part in parts]
    for part in said:
        if part.get("state") == "output-available":
            part.pop("approval", None)
        if part["type"] in ("text", "reasoning"):
            assert part.pop("state", "done") == "done"
    return {"id": message["id"], "parts": said}


async def test_the_ai_sdk_makes_of_the_chunks_what_is_stored() -> None:
    """A page that follows the stream shows what it shows after a reload, in every version of the AI SDK."""
    answers = {name: grown(given) for name, given in ANSWERS.items()}

    streams = {name: cast(JsonValue, [BEGIN, *chunks]) for name, (_, chunks) in answers.items()}
    made = await node("ui_stream.cjs", streams)

    versions = ("5", "6", "7")
    expected = {
        f"{name}, {version}": without_state(stored(answers[name][0])) for name in answers for version in versions
    }
    expected["approval, 5"] = None  # it has none
    assert {name: message and without_state(message) for name, message in made.items()} == expected


@pytest.mark.parametrize("name", ANSWERS)
def test_another_process_makes_the_same_message_of_the_chunks(name: str) -> None:
    """After each chunk, what from_chunks() makes is what was said so far, and goes on as the first would have."""
    growing = Growing("a1", clock=iter(range(100)).__next__)
    chunks: list[JsonObject] = []
    other = growing
    for part in ANSWERS[name]:
        chunks += growing.add(part)
        other = Growing.from_chunks("a1", chunks)
        assert said(other) == said(growing)
        if isinstance(part, Waiting):
            other.add(part)

    ends = growing.end()
    assert other.end() == [without_seconds(chunk) for chunk in ends]
    assert said(Growing.from_chunks("a1", [*chunks, *ends])) == said(growing)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_goes_on_from_what_is_stored(name: str) -> None:
    """An answer that waits for approval is taken up again from its message, by whatever process hears the decision."""
    growing, _ = grown(ANSWERS[name])
    before = growing.message()
    assert before is not None

    again = Growing.from_message(before)

    assert said(again) == said(growing)
    again.add("And more.")
    again.end()
    after = again.message()
    assert after is not None
    assert after.text.endswith("And more.")


def test_a_call_is_approved_or_denied() -> None:
    """A decision, or the end of an answer that is stopped, ends the waiting."""
    before = grown([ToolCall("k1", "rm", needs_approval=True), ToolCall("k2", "rm", needs_approval=True), Waiting()])[0]
    message = before.message()
    assert message is not None
    growing = Growing.from_message(message)

    chunks = [*growing.add(ToolResult("k1", error="My files!", is_denied=True)), *growing.end()]

    assert chunks == [
        {"type": "tool-output-denied", "toolCallId": "k1", "reason": "My files!"},
        {"type": "tool-output-error", "toolCallId": "k2", "errorText": ABANDONED},
    ]
    parts: Any = stored(growing)["parts"]
    assert [part["state"] for part in parts] == ["output-denied", "output-error"]


def said(growing: Growing) -> object:
    message = growing.message()
    return message and (message.id, message.role, message.type, message.content, message.metadata)


def without_seconds(chunk: JsonObject) -> JsonObject:
    return {name: value for name, value in chunk.items() if name != "providerMetadata"}


def test_a_text_alone_is_stored_as_a_string() -> None:
    """An answer of text alone is a string, as everybody else stores it; one of nothing is no message."""
    message = grown(ANSWERS["text"])[0].message({"stopped": True})

    assert message is not None
    assert (message.id, message.type, message.content) == ("a1", "text", "It rains.")
    assert message.metadata == {"stopped": True}
    assert grown([])[0].message() is None


def test_the_text_has_no_reasoning_and_no_results() -> None:
    """What the search finds, and a list shows, is what the answer says."""
    message = grown(ANSWERS["everything"])[0].message({"liked": True})

    assert message is not None
    assert message.text == "Let me see. \nSun."
    assert message.metadata == {"liked": True, "reasoningSeconds": [1.0, 1.0]}


def test_an_id_may_be_used_again() -> None:
    """A call with the id of one that is answered is another call; a second result takes the place of the first."""
    parts: Any = stored(grown(ANSWERS["one id for two calls"])[0])["parts"]

    assert [(part["toolCallId"], part["input"]["city"], part["output"]) for part in parts] == [
        ("1", "Oslo", "rain"),
        ("1_2", "Rome", "sun"),
    ]


def test_what_is_given_twice_is_shown_once() -> None:
    """Providers cite a page at each sentence; frameworks give pictures, and calls that need approval, once more."""
    calls: list[Part | Waiting] = [ToolCall("k1", "rm"), ToolCall("k1", "rm", needs_approval=True), Waiting()]
    growing, _ = grown([*ANSWERS["everything"], *ANSWERS["everything"][-4:]])
    parts: Any = stored(growing)["parts"]

    assert [part["url"] for part in parts if "url" in part] == [URL, "https://x.test/rome", "https://x.test/oslo"]
    assert [chunk["type"] for chunk in grown(calls)[1]] == ["tool-input-available", "tool-approval-request"]


def test_arguments_are_shown_as_they_are_written() -> None:
    """Pieces of arguments are chunks of their own. Without their call, nothing of them is stored."""
    written = [ToolInput("1", "weather", piece) for piece in ('{"city":', "", '"Rome"}')]
    growing, chunks = grown([*written[:2], "No."])
    again = grown([ToolCall("1", "weather"), ToolResult("1"), *written])[1][-4:]

    assert [(chunk["type"], chunk.get("inputTextDelta")) for chunk in chunks[:3]] == [
        ("tool-input-start", None),
        ("tool-input-delta", '{"city":'),
        ("tool-input-delta", ""),
    ]
    assert [part["type"] for part in cast(Any, stored(growing)["parts"])] == ["text"]
    assert [chunk["toolCallId"] for chunk in again] == ["1_2"] * 4


def test_a_call_that_nothing_answers_is_abandoned() -> None:
    """At the end such a call fails, so that the page shows no running tool, and the model knows of it."""
    growing, chunks = grown(["Let me see.", ToolCall("k1", "weather")])

    assert chunks[-1] == {"type": "tool-output-error", "toolCallId": "k1", "errorText": ABANDONED}
    assert growing.end() == []


HALVES = "\ud83d", "\ude00"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a", *HALVES, "b"], "a😀b"),
        (["a" + HALVES[0], HALVES[1] + "b"], "a😀b"),
        ([HALVES[0], "b"], "\N{REPLACEMENT CHARACTER}b"),
        ([HALVES[1] + HALVES[0]], "\N{REPLACEMENT CHARACTER}"),
        (["a\0b", "\0"], "ab"),
        (["a", HALVES[0]], "a"),
    ],
)
def test_halves_of_characters_are_joined(pieces: list[Part], text: str) -> None:
    """A surrogate pair in two pieces is one character; a half alone is replaced, and NUL is left out."""
    growing, chunks = grown(pieces)

    message = growing.message()
    assert message is not None
    assert message.content == text == "".join(str(chunk.get("delta", "")) for chunk in chunks)


def test_values_that_are_no_json_become_json() -> None:
    """Input and output are what pydantic writes, without what PostgreSQL cannot store; another object is refused."""
    growing, chunks = grown(
        [ToolCall("k1", "t", {"on": date(2026, 1, 2), 3: (4,)}), ToolResult("k1", ["a\0", float("nan")])]
    )

    assert [chunk.get("input", chunk.get("output")) for chunk in chunks] == [
        {"on": "2026-01-02", "3": [4]},
        ["a\N{REPLACEMENT CHARACTER}", None],
    ]
    with pytest.raises(InvalidInputError, match="output of a ToolResult has"):
        growing.add(ToolResult("k1", object()))


def test_bytes_that_are_not_stored_come_in_the_address() -> None:
    """The bytes of a file that has no address are in a data: URL, with the type that they begin with."""
    growing, _ = grown([File(b"\x89PNG\r\n\x1a\n")])

    assert stored(growing)["parts"] == [
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0KGgo="}
    ]


@pytest.mark.parametrize("part", [ToolResult("k1", 1), ToolCall("", "t"), ToolCall("k1", "")])
def test_a_part_that_nobody_could_show_is_refused(part: Part) -> None:
    """A result needs its call, a call an id and a name."""
    with pytest.raises(InvalidInputError):
        Growing("a1").add(part)


@pytest.mark.parametrize("given", [{}, {"content": b"a", "url": "https://x.test/a"}])
def test_a_file_has_bytes_or_an_address(given: dict[str, Any]) -> None:
    """Neither, or both, is refused."""
    with pytest.raises(InvalidInputError, match="either content or url"):
        File(**given)
