"""Agno 3 together with other code that reads and writes the conversations."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import pytest
from agno.db.base import SessionType
from pydantic import JsonValue

from tests.adapters.agno.agno_3.sessions import add, agent, run, team
from tests.adapters.agno.both import EXPECTED_HISTORY, PLAIN_MESSAGES
from tests.adapters.agno.fakes import FakeModel
from voltmem import UNSET, PostgresStorage
from voltmem.adapters.agno import Formats, Sessions, VoltMemDb, to_messages, to_runs
from voltmem.errors import MissingExtraError
from voltmem.models import NativeMessage


async def begin_elsewhere(plain: PostgresStorage, format: str | None = None) -> None:
    await plain.create_conversation({"id": "s1", "user_id": "ada"})
    messages = [NativeMessage(**each, format=format, payload=format) for each in PLAIN_MESSAGES]
    await plain.add_messages(messages, "ada", "s1")


@pytest.mark.parametrize("format", [None, "openai-agents"])
async def test_an_agent_continues_a_conversation_begun_elsewhere(
    db: VoltMemDb, plain: PostgresStorage, format: str | None
) -> None:
    """Plain messages with a tool call, stored by another framework or the application, are its history."""
    await begin_elsewhere(plain, format)
    model = FakeModel()

    await agent(db, model).arun("and now?")
    assert model.history() == EXPECTED_HISTORY

    await agent(db, model).arun("once more")
    assert model.history()[-2:] == [("user", "and now?"), ("assistant", "seen=3 last=and now?")]
    assert len(await plain.get_messages("ada", "s1")) == 8 + 4


async def test_a_team_continues_a_conversation_begun_elsewhere(db: VoltMemDb, plain: PostgresStorage) -> None:
    """The same for teams, and for workflows, whose history is their inputs and outputs."""
    await begin_elsewhere(plain)
    model = FakeModel()

    await team(db, model, session_id="s1").arun("and now?")

    assert model.history() == EXPECTED_HISTORY
    kept: Any = await VoltMemDb(plain).get_session("s1", SessionType.WORKFLOW, "ada")
    assert kept.get_workflow_history() == [("hello", "hi"), ("1 + 2?", "3")]


async def test_messages_of_agno_1_are_continued(db: VoltMemDb, plain: PostgresStorage) -> None:
    """After an upgrade to Agno 3, an agent has the messages stored under Agno 1 as history, in their plain form."""
    old = run(1) | {"metrics": {"input_tokens": [3]}, "status": "RUNNING"}
    formats = Formats("agno-1/agent")
    await Sessions(plain, UNSET, None).save("s1", "ada", formats, [old], {"memory": {"runs": []}})
    model = FakeModel()

    await agent(db, model).arun("and now?")

    assert model.history() == [("user", "question 1"), ("assistant", "answer 1")]


@pytest.mark.parametrize("limit", range(1, 10))
async def test_any_window_is_valid(db: VoltMemDb, plain: PostgresStorage, limit: int) -> None:
    """voltmem's own methods never return a tool call of the agent's without its result."""
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        await agent(db, tools=[add]).arun(text)

    window = await plain.conversation("ada", "s1").messages(limit=limit)

    assert len(window) <= limit
    types = [each.type for each in window if each.type != "text"]
    assert types in ([], ["tool-call", "tool-result"])


CALL = {"type": "tool-call", "toolCallId": "k1", "toolName": "add", "args": {"a": 1}}
RESULT = {"type": "tool-result", "toolCallId": "k1", "toolName": "add", "result": "3"}
NATIVE_CALL = {"id": "k1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ANTHROPIC = {"type": "tool_result", "tool_use_id": "k1", "content": "3"}


@pytest.mark.parametrize(
    ("native", "plain"),
    [
        ({"role": "user", "content": "hi"}, ("user", "text", "hi")),
        ({"role": "assistant", "content": None}, ("assistant", "text", "")),
        ({"role": "model", "content": "hi"}, ("assistant", "text", "hi")),
        ({"role": "assistant", "content": {"sum": 3}}, ("assistant", "text", {"sum": 3})),
        ({"role": "assistant", "tool_calls": [NATIVE_CALL]}, ("assistant", "tool-call", [CALL])),
        (
            {"role": "assistant", "content": "Well", "tool_calls": [NATIVE_CALL]},
            ("assistant", "tool-call", [{"type": "text", "text": "Well"}, CALL]),
        ),
        (
            {"role": "tool", "content": "3", "tool_call_id": "k1", "tool_name": "add"},
            ("tool", "tool-result", [RESULT]),
        ),
        (
            {
                "role": "tool",
                "content": ["3"],
                "tool_calls": [{"tool_call_id": "k1", "tool_name": "add", "content": "3"}],
            },
            ("tool", "tool-result", [RESULT]),
        ),
        ({"role": "user", "content": [ANTHROPIC]}, ("tool", "tool-result", [RESULT | {"toolName": ""}])),
        (
            {"role": "user", "content": "See", "images": [{"url": "u", "content": "aGVsbG8="}], "files": [{"id": "f"}]},
            (
                "user",
                "text",
                [
                    {"type": "text", "text": "See"},
                    {"type": "file", "mediaType": "image", "url": "u"},
                    {"type": "file", "id": "f"},
                ],
            ),
        ),
    ],
    ids=str,
)
def test_each_message_has_a_plain_form(native: dict[str, Any], plain: tuple[str, str, Any]) -> None:
    """Each form in which Agno writes a message has a plain form, and Agno's own form is stored with it."""
    (message,) = to_messages(run(1, messages=[native]), [], Formats("agno"))

    assert (message.role, message.type, message.content) == plain
    assert to_runs([message], Formats("agno"), {}) == [run(1, messages=[native])]


async def test_an_agent_is_told_the_name_of_a_file_that_it_cannot_get(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A file that is not there or that only its provider knows, and a picture in an answer, are named."""
    await plain.create_conversation({"id": "s1", "user_id": "ada"})
    missing: JsonValue = {"type": "file", "mediaType": "image/png", "url": "voltmem:file/" + "1" * 64}
    drawn: JsonValue = {
        "type": "file",
        "mediaType": "image/png",
        "filename": "cat.png",
        "url": "https://x.test/cat.png",
    }
    openais: JsonValue = {"type": "input_image", "file_id": "file-1"}
    said = [NativeMessage(role="user", content=[missing, openais]), NativeMessage(role="assistant", content=[drawn])]
    await plain.add_messages(said, "ada", "s1")
    model = FakeModel()

    await agent(db, model).arun("and now?")

    assert model.history()[:2] == [("user", "[file: image/png]\n[file: image]"), ("assistant", "[file: cat.png]")]


def test_a_run_without_content_is_stored() -> None:
    """A run without messages, input, content and id is stored as one empty message, with the same id each time."""
    (message,) = to_messages({"agent_id": "helper"}, [], Formats("agno"))
    (again,) = to_messages({"agent_id": "helper"}, [], Formats("agno"))

    assert (message.content, message.id) == ("", again.id)
    assert to_runs([message], Formats("agno"), {}) == [{"agent_id": "helper"}]


@pytest.mark.parametrize("missing", ["agno", "agno.db.base"])
def test_without_agno_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Importing the adapter without Agno, or with an Agno 2 that is too old, raises an error that names the extra."""
    for name in [name for name in sys.modules if name.startswith("voltmem.adapters.agno")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(MissingExtraError, match=r"'\.\[agno\]'"):
        import_module("voltmem.adapters.agno")


@pytest.mark.parametrize(
    "call",
    [
        {"type": "function_call", "name": "look up", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "look up", "input": "SELECT 1"},
    ],
)
async def test_an_agent_is_shown_calls_made_at_once_in_one_message(
    call: dict[str, Any], db: VoltMemDb, plain: PostgresStorage
) -> None:
    """OpenAI's items are a row each; providers refuse a second call before the first is answered, and no object."""
    result = f"{call['type']}_output"
    items = [
        {**call, "call_id": "k1"},
        {**call, "call_id": "k2"},
        {"type": result, "call_id": "k1", "output": "one"},
        {"type": result, "call_id": "k2", "output": "two"},
    ]
    await plain.conversation("ada", "s1").add_turn(items)

    session: Any = await db.get_session("s1", SessionType.AGENT, "ada")
    messages = [message for run in session.runs for message in run.messages]
    assert [message.role for message in messages] == ["assistant", "tool", "tool"]
    functions = [each["function"] for each in messages[0].tool_calls]
    assert [each["name"] for each in functions] == ["look_up", "look_up"]
    assert all(each["arguments"].startswith("{") for each in functions)
