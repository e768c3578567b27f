"""Other code reads what the SDK stores, and the SDK reads what other code stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import pytest
from agents import Runner
from agents.testing import ScriptedModel, assistant_message
from pydantic import JsonValue

from tests.adapters.openai_agents.runs import CONFIG, a_turn, agent, answer, assistant, call, items, reasoning, user
from voltmem import PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem.adapters.openai_agents import VoltMemSession, to_items, to_messages
from voltmem.models import NativeMessage

# --- reading what the SDK stores -------------------------------------------------------------------------------------


async def test_other_code_reads_what_a_run_has_stored(session: VoltMemSession, storage: PostgresStorage) -> None:
    """The sidebar and other frameworks read text, tool calls and results in their plain form."""
    await session.add_items(items(user("A coat?"), reasoning(1), call(1), answer(1), assistant("Yes.")))

    found = [(each.role, each.type, each.content) for each in await storage.get_messages("ada", "c1")]

    assert found == [
        ("user", "text", "A coat?"),
        ("assistant", "reasoning", [{"type": "reasoning", "text": "It may be cold."}]),
        (
            "assistant",
            "tool-call",
            [{"type": "tool-call", "toolCallId": "k1", "toolName": "weather", "args": {"city": "Oslo"}}],
        ),
        (
            "tool",
            "tool-result",
            [{"type": "tool-result", "toolCallId": "k1", "toolName": "weather", "result": "snow"}],
        ),
        ("assistant", "text", "Yes."),
    ]


def plain(item: Mapping[str, object]) -> tuple[str, str, JsonValue]:
    (message,) = to_messages(items(item))
    return message.role, message.type, message.content


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "This?"},
                    {"type": "input_image", "image_url": "http://x/y"},
                ],
            },
            (
                "user",
                "text",
                [{"type": "text", "text": "This?"}, {"type": "file", "mediaType": "image", "url": "http://x/y"}],
            ),
        ),
        (
            {
                "role": "user",
                "content": [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AA"}],
            },
            ("user", "text", [{"type": "file", "mediaType": "image/png"}]),
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            ("assistant", "text", "No."),
        ),
        ({"role": "developer", "content": "Be brief."}, ("developer", "text", "Be brief.")),
        (
            {"type": "custom_tool_call", "call_id": "k1", "name": "sql", "input": "SELECT 1"},
            (
                "assistant",
                "tool-call",
                [{"type": "tool-call", "toolCallId": "k1", "toolName": "sql", "args": "SELECT 1"}],
            ),
        ),
        (
            {"type": "shell_call_output", "call_id": "k1", "output": [{"stdout": "x"}]},
            (
                "tool",
                "tool-result",
                [{"type": "tool-result", "toolCallId": "k1", "toolName": "", "result": [{"stdout": "x"}]}],
            ),
        ),
        (
            {"type": "function_call", "call_id": "k1", "name": "f", "arguments": "{not json"},
            (
                "assistant",
                "tool-call",
                [{"type": "tool-call", "toolCallId": "k1", "toolName": "f", "args": "{not json"}],
            ),
        ),
        (
            {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"},
            (
                "assistant",
                "text",
                [
                    {"type": "tool-call", "toolCallId": "ig_1", "toolName": "image_generation_call", "args": {}},
                    {"type": "tool-result", "toolCallId": "ig_1", "toolName": "image_generation_call", "result": None},
                    {"type": "file", "mediaType": "image/png"},
                ],
            ),
        ),
        ({"__enc__": 1, "payload": "gAAAA"}, ("assistant", "item", [{"type": "item"}])),
    ],
)
def test_each_kind_of_item_has_a_plain_form(item: dict[str, object], expected: tuple[str, str, JsonValue]) -> None:
    """Text and calls are in the plain form; bytes and encrypted content are only in the item."""
    assert plain(item) == expected


@pytest.mark.parametrize("limit", range(1, 10))
async def test_any_window_of_a_run_is_valid_for_others(
    session: VoltMemSession, storage: PostgresStorage, limit: int
) -> None:
    """Other frameworks and agent loops get windows in which each call has its result."""
    await session.add_items(
        [*a_turn(1), *items(user("And now?"), call(2), call(3), answer(2), answer(3), assistant("Yes."))]
    )

    window = await storage.conversation("ada", "c1").messages(limit=limit)

    calls = [part["toolCallId"] for each in window if each.type == "tool-call" for part in cast(Any, each.content)]
    results = [part["toolCallId"] for each in window if each.type == "tool-result" for part in cast(Any, each.content)]
    assert calls == results
    assert len(window) <= limit


# --- reading what others store ---------------------------------------------------------------------------------------

TURN_OF_OTHERS: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Do I need a coat?"},
    {"role": "assistant", "type": "reasoning", "content": [{"type": "reasoning", "text": "It may be cold."}]},
    {
        "role": "assistant",
        "type": "tool-call",
        "content": [
            {"type": "text", "text": "I'll look."},
            {"type": "tool-call", "toolCallId": "k1", "toolName": "weather", "args": {"city": "Oslo"}},
            {"type": "tool-call", "toolCallId": "k2", "toolName": "weather", "args": {"city": "Bergen"}},
        ],
    },
    {
        "role": "tool",
        "type": "tool-result",
        "content": [
            {"type": "tool-result", "toolCallId": "k1", "toolName": "weather", "result": {"sky": "snow"}},
            {"type": "tool-result", "toolCallId": "k2", "toolName": "weather", "result": "rain"},
        ],
    },
    {"role": "assistant", "content": "Yes."},
]
AS_ITEMS: Final = items(
    {"role": "system", "content": "Be brief."},
    user("Do I need a coat?"),
    {"role": "assistant", "content": "I'll look."},
    {"type": "function_call", "call_id": "k1", "name": "weather", "arguments": '{"city":"Oslo"}'},
    {"type": "function_call", "call_id": "k2", "name": "weather", "arguments": '{"city":"Bergen"}'},
    {"type": "function_call_output", "call_id": "k1", "output": '{"sky":"snow"}'},
    {"type": "function_call_output", "call_id": "k2", "output": "rain"},
    {"role": "assistant", "content": "Yes."},
)


@pytest.mark.parametrize("format", [None, "another-framework"])
async def test_a_run_continues_a_conversation_begun_elsewhere(
    session: VoltMemSession, storage: PostgresStorage, format: str | None
) -> None:
    """The model receives the messages of the application or of another framework, with calls and results."""
    payload: JsonValue = None if format is None else {"kind": "opaque"}
    theirs = [NativeMessage(**message, format=format, payload=payload) for message in TURN_OF_OTHERS]
    await NativeMemory(storage, "ada", "c1").add_turn(theirs)
    model = ScriptedModel([[assistant_message("A warm one.")]])

    await Runner.run(agent(model), "Which?", session=session, run_config=CONFIG)

    assert model.calls[0].input == [*AS_ITEMS, *items(user("Which?"))]


async def test_messages_of_others_pop_item_by_item(session: VoltMemSession, storage: PostgresStorage) -> None:
    """If a message is several items, the last is popped, and the others keep their place."""
    await storage.conversation("ada", "c1").add_turn(TURN_OF_OTHERS)
    popped = [await session.pop_item()]

    assert await session.get_items(2) == AS_ITEMS[-3:-1]
    while popped[-1] is not None:
        assert [*await session.get_items(20), *reversed(popped)] == AS_ITEMS
        popped.append(await session.pop_item())

    assert popped[:-1] == AS_ITEMS[::-1]
    assert await storage.get_messages("ada", "c1") == []


async def test_a_pop_that_fails_takes_nothing(
    session: VoltMemSession, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a message's other items cannot be stored, the message is unchanged."""
    await storage.conversation("ada", "c1").add_turn(TURN_OF_OTHERS[:-1])
    monkeypatch.setattr(NativeMemory, "add_turn", None)

    with pytest.raises(TypeError):
        await session.pop_item()

    assert await session.get_items() == AS_ITEMS[:-1]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, [user("a\nb")]),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "This?"},
                    {"type": "image_url", "image_url": {"url": "http://x/y"}},
                    {"type": "image", "base64": "AA", "mime_type": "image/jpeg"},
                    {"type": "hologram"},
                ],
            },
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "This?"},
                        {"type": "input_image", "detail": "auto", "image_url": "http://x/y"},
                        {"type": "input_image", "detail": "auto", "image_url": "data:image/jpeg;base64,AA"},
                    ],
                }
            ],
        ),
        ({"role": "assistant", "content": {"answer": 42}}, [{"role": "assistant", "content": "42"}]),
        ({"role": "narrator", "content": "Meanwhile"}, [user("[narrator]: Meanwhile")]),
        ({"role": "assistant", "type": "thinking", "content": "Hm"}, []),
        ({"role": "assistant", "content": ""}, []),
        (
            {
                "role": "assistant",
                "content": {
                    "content": "I'll look.",
                    "tool_calls": [{"id": "k1", "function": {"name": "weather", "arguments": "{}"}}],
                },
            },
            [
                {"role": "assistant", "content": "I'll look."},
                {"type": "function_call", "call_id": "k1", "name": "weather", "arguments": "{}"},
            ],
        ),
        (
            {"role": "tool", "content": "snow", "metadata": {"tool_call_id": "k1"}},
            [{"type": "function_call_output", "call_id": "k1", "output": "snow"}],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "k1", "content": "snow"},
                    {"type": "text", "text": "Well?"},
                ],
            },
            [{"type": "function_call_output", "call_id": "k1", "output": "snow"}, user("Well?")],
        ),
        ({"role": "assistant", "type": "tool-call", "content": "weather()"}, []),
        ({"role": "tool", "content": "snow"}, []),
    ],
)
def test_each_plain_message_is_items_of_the_sdk(message: dict[str, Any], expected: list[dict[str, object]]) -> None:
    """Texts and tool messages become items that providers accept; other parts are left out."""
    assert to_items([NativeMessage(**message)]) == expected


@pytest.mark.parametrize("item", [{"type": "future"}, {"x": 1}, {"type": "future", "role": "assistant", "content": 1}])
def test_an_item_of_another_release_is_read_in_its_plain_form(
    item: dict[str, JsonValue], caplog: pytest.LogCaptureFixture
) -> None:
    """A model is told what the plain form says, and the log that there is such an item, without anybody's words."""
    stored = NativeMessage(role="assistant", content="Hello", format="openai-agents", payload=item)

    assert to_items([stored]) == [{"role": "assistant", "content": "Hello"}]
    assert stored.id in caplog.text
    assert "Hello" not in caplog.text


@pytest.mark.parametrize(
    "item",
    [
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "item_reference", "id": "x"},
        {"__enc__": 1, "payload": ""},
    ],
)
def test_an_item_that_the_sdk_knows_or_has_no_plain_form_is_unchanged(item: dict[str, JsonValue]) -> None:
    """Items that only the API reads go back to it, and a wrapping session's to that."""
    (stored,) = to_messages(items(item))

    assert to_items([stored]) == [item]
    known = NativeMessage(role="assistant", content="Hello", format="openai-agents", payload={"type": "compaction"})
    assert to_items([known]) == [{"type": "compaction"}]
