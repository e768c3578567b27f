"""What one writes every other reads: each form and framework against each other, with the frameworks' own agents."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Final

import pytest
from pydantic import JsonValue

from tests.across.columns import CANNOT, WRITERS
from tests.across.readers import READERS
from tests.across.said import BY_URL, CONVERSATIONS, PIXEL, Fact, facts
from voltmem import PostgresStorage
from voltmem._values import JsonObject
from voltmem.parts import ToolCall, ToolResult, parts


def in_any_order(found: Sequence[Fact]) -> list[list[Fact]]:
    """Return the facts, those between two texts sorted: calls and results may alternate."""
    groups: list[list[Fact]] = [[]]
    for fact in found:
        if fact[0] in ("user", "assistant"):
            groups += [[fact], []]
        else:
            groups[-1].append(fact)
    return [sorted(group) for group in groups if group]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
async def test_every_reader_is_shown_what_every_writer_stores(
    storage: PostgresStorage, writer: str, reader: str
) -> None:
    """The model is shown each text, call and result once and in order, and the next question runs."""
    for name, conversation in CONVERSATIONS.items():
        if name in CANNOT.get(writer, ()):
            continue
        await storage.delete_conversation("c1")
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await storage.put_file("ada", b64decode(PIXEL))
        await WRITERS[writer](storage, conversation)

        found, everything = await READERS[reader](storage)

        assert in_any_order(found) == in_any_order(facts(conversation)), name
        if name.startswith("picture"):
            assert BY_URL.url in everything or PIXEL[:60] in everything
        if name == "stored picture":  # a model gets its bytes, a browser its address
            assert ("http://test/files/" if reader in ("ui-messages", "assistant-ui") else PIXEL) in everything


# --- what no writer should store, and some do ------------------------------------------------------------------------


def ui(*parts: JsonValue, role: str = "assistant") -> JsonObject:
    """Return a UIMessage."""
    return {"role": role, "parts": [*parts]}


def tool(state: str, **more: JsonValue) -> JsonObject:
    """Return a tool's part of a UIMessage."""
    return {"type": "tool-weather", "toolCallId": "k1", "state": state, "input": {"city": "Oslo"}, **more}


ODD: Final[dict[str, list[JsonObject]]] = {
    "empty content": [{"role": role, "content": ""} for role in ("user", "assistant", "tool", "system")],
    "no content": [{"role": role, "content": None} for role in ("user", "assistant", "tool", "system")],
    "empty list": [{"role": role, "content": []} for role in ("user", "assistant", "tool", "system")],
    "unknown parts": [{"role": "assistant", "content": [{"type": "hologram", "data": [1]}, 7, None, "x", [[]]]}],
    "an object": [{"role": "assistant", "content": {"any": {"json": [None, 1.5]}}}],
    "a result without a call": [
        {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "nowhere", "toolName": "t", "result": 1}]}
    ],
    "a call without an id": [{"role": "assistant", "content": [{"type": "tool-call", "toolName": "t", "args": {}}]}],
    "a call of no tool": [{"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "k1"}]}],
    "an illegal name": [
        {
            "role": "assistant",
            "content": [{"type": "tool-call", "toolCallId": "k 1", "toolName": "no name!", "args": "{"}],
        },
        {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "k 1", "toolName": "no name!"}]},
    ],
    "denied": [ui(tool("output-denied", approval={"id": "a1", "approved": False, "reason": "No."}))],
    "denied, and nobody asked": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}],
    "denied, of no tool": [
        {
            "role": "assistant",
            "content": [
                {"type": "tool-call", "toolCallId": "k1", "input": {}},
                {"type": "tool-result", "toolCallId": "k1", "output": {"type": "execution-denied"}},
            ],
        }
    ],
    "denied, and not sent on": [ui(tool("approval-responded", approval={"id": "a1", "approved": False}))],
    "allowed, and not run": [ui(tool("approval-responded", approval={"id": "a1", "approved": True}))],
    "waiting": [ui({"type": "text", "text": "May I?"}, tool("approval-requested", approval={"id": "a1"}))],
    "streaming": [ui({"type": "text", "text": "It ra", "state": "streaming"}, tool("input-streaming"))],
    "a file without bytes": [ui({"type": "file", "mediaType": "image/png", "url": "blob:x"}, role="user")],
    "a file by its id": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}],
    "sound": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}],
    "only reasoning": [{"role": "assistant", "content": [{"type": "reasoning", "text": "Hm."}]}],
    "a NUL": [{"role": "user", "content": "a \0 b"}, {"role": "assistant", "content": "\ud800"}],
    "another role": [{"role": "critic", "content": "Meh."}, {"role": "data", "content": [1]}],
}


@pytest.mark.parametrize("reader", READERS)
async def test_nothing_that_is_stored_stops_a_reader(storage: PostgresStorage, reader: str) -> None:
    """Whatever a message holds, the user goes on: what was said before and after it is shown."""
    for name, messages in ODD.items():
        await storage.delete_conversation("c1")
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await storage.add_message({"role": "user", "content": "First."}, "ada", "c1")
        await storage.add_messages(messages, "ada", "c1")
        await storage.add_message({"role": "user", "content": "Last."}, "ada", "c1")

        found, _ = await READERS[reader](storage)

        texts = " ".join(fact[1] for fact in found if fact[0] == "user")
        assert "First." in texts, name
        assert "Last." in texts, name


@pytest.mark.parametrize("writer", WRITERS)
async def test_a_window_of_every_writer_is_valid(storage: PostgresStorage, writer: str) -> None:
    """A window has no result without its call and no call without its result, whoever stored them."""
    for name, conversation in CONVERSATIONS.items():
        if name in CANNOT.get(writer, ()):
            continue
        await storage.delete_conversation("c1")
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await WRITERS[writer](storage, conversation)

        for limit in range(1, 8):
            window = await storage.conversation("ada", "c1").messages(limit=limit)

            said = [part for message in window for part in parts(message)]
            called = sorted(part.id for part in said if isinstance(part, ToolCall))
            answered = sorted(part.call_id for part in said if isinstance(part, ToolResult))
            assert len(window) <= limit, (name, limit)
            assert called == answered, (name, limit)
