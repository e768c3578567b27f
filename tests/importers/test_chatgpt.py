"""The readers of other formats: ChatGPT's export and OpenAI's messages become conversations, whatever they contain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MakeStorage
from tests.said import tool_calls, tool_results
from voltmem import ImportedConversation, InvalidInputError, Message
from voltmem.importers import from_chatgpt, from_openai
from voltmem.parts import ToolCall, ToolResult

BEGAN = 1_700_000_000.5


def node(
    id: str,
    parent: str | None,
    text: Any = None,
    *,
    role: str = "user",
    time: Any = None,
    recipient: str = "all",
    name: str | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A node of ChatGPT's mapping. The text may be the whole content."""
    content = text if isinstance(text, Mapping) else {"content_type": "text", "parts": [text]}
    message = {
        "id": id,
        "author": {"role": role, "name": name, "metadata": {}},
        "create_time": time,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "weight": 1.0,
        "metadata": metadata,
        "recipient": recipient,
    }
    return {"id": id, "parent": parent, "children": [], "message": None if text is None else message}


def chat(*nodes: Mapping[str, Any], current: str | None = None, **fields: Any) -> dict[str, Any]:
    """A conversation of ChatGPT's export."""
    mapping = {each["id"]: each for each in nodes}
    return {
        "title": "Coats",
        "create_time": BEGAN,
        "update_time": BEGAN + 60,
        "mapping": mapping,
        "current_node": current or nodes[-1]["id"],
        "conversation_id": "chat-1",
        "is_archived": False,
        **fields,
    }


def the(export: object) -> ImportedConversation:
    (conversation,) = from_chatgpt([export])
    return conversation


def said(conversation: ImportedConversation) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in conversation.messages]


# --- ChatGPT ------------------------------------------------------------------------------------------------------


def test_a_conversation_is_read_with_its_title_times_and_place() -> None:
    """A conversation is read with its title, times, messages in order, and the model that answered."""
    conversation = the(
        chat(
            node("root", None),
            node("m1", "root", "Do I need a coat?", time=BEGAN),
            node("m2", "m1", "Yes.", role="assistant", time=BEGAN + 1, model_slug="gpt-4o"),
            is_archived=True,
            is_starred=True,
            default_model_slug="gpt-4o",
        )
    )

    assert (conversation.id, conversation.title, conversation.resource_id) == ("chat-1", "Coats", "chatgpt")
    assert conversation.created_at == datetime.fromtimestamp(BEGAN, UTC)
    assert conversation.updated_at == datetime.fromtimestamp(BEGAN + 60, UTC)
    assert (conversation.archived, conversation.pinned) == (True, True)
    assert conversation.metadata == {"source": "chatgpt", "default_model_slug": "gpt-4o"}
    assert said(conversation) == [("user", "Do I need a coat?"), ("assistant", "Yes.")]
    assert [message.id for message in conversation.messages] == ["m1", "m2"]
    assert [message.created_at.timestamp() for message in conversation.messages] == [BEGAN, BEGAN + 1]
    assert conversation.messages[1].metadata == {"model": "gpt-4o"}


def test_the_branch_that_is_shown_is_read_and_the_others_are_counted() -> None:
    """The visible branch is read; edited and regenerated messages are left out, and counted in metadata."""
    conversation = the(
        chat(
            node("m1", None, "first try"),
            node("m2", "m1", "an answer", role="assistant"),
            node("m3", "m1", "another answer", role="assistant"),
            node("m4", "m3", "thanks"),
            node("m5", "m2", "what?"),
            current="m4",
        )
    )

    assert [message.content for message in conversation.messages] == ["first try", "another answer", "thanks"]
    assert conversation.metadata["messages_left_out"] == 2


def test_what_chatgpt_hides_is_left_out() -> None:
    """Hidden messages are left out: system messages, custom instructions, reasoning, and empty ones."""
    conversation = the(
        chat(
            node("m1", None, "You are ChatGPT", role="system"),
            node("m2", "m1", {"content_type": "user_editable_context", "user_profile": "p", "user_instructions": "i"}),
            node("m3", "m2", "hidden", is_visually_hidden_from_conversation=True),
            node("m4", "m3", "Hello"),
            node("m5", "m4", {"content_type": "thoughts", "thoughts": [{"summary": "s"}]}, role="assistant"),
            node("m6", "m5", {"content_type": "reasoning_recap", "content": "Thought for 3s"}, role="assistant"),
            node("m7", "m6", "", role="assistant"),
            node("m8", "m7", "Hi", role="assistant"),
        )
    )

    assert said(conversation) == [("user", "Hello"), ("assistant", "Hi")]
    assert "messages_left_out" not in conversation.metadata


def test_what_is_said_to_a_tool_is_a_call_and_what_comes_back_its_result() -> None:
    """A message to a tool is a call, and the tool's answer its result; of several results one belongs to the call."""
    code = {"content_type": "code", "language": "unknown", "text": '{"query": "weather"}'}
    shown = {"content_type": "tether_browsing_display", "result": "4 degrees", "summary": None}
    conversation = the(
        chat(
            node("m1", None, "Weather?"),
            node("m2", "m1", code, role="assistant", recipient="browser"),
            node("m3", "m2", shown, role="tool", name="browser"),
            node("m4", "m3", {"content_type": "execution_output", "text": "more"}, role="tool", name="python"),
            node("m5", "m4", {"content_type": "code", "text": "print(1)"}, role="assistant", recipient="python"),
            node("m6", "m5", "Cold.", role="assistant"),
        )
    )
    messages = conversation.messages

    assert tool_calls(messages[1]) == [ToolCall("m2", "browser", {"query": "weather"})]
    assert tool_results(messages[2]) == [ToolResult("m2", "4 degrees", "browser")]
    assert tool_results(messages[3]) == [ToolResult("", "more", "python")]
    assert tool_calls(messages[4]) == [ToolCall("m5", "python", "print(1)")]
    types = [message.type for message in messages]
    assert types == ["text", "tool-call", "tool-result", "tool-result", "tool-call", "text"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {"content_type": "multimodal_text", "parts": ["Look", {"asset_pointer": "file-service://f1"}]},
            "Look\n[file: file-service://f1]",
        ),
        (
            {
                "content_type": "multimodal_text",
                "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "sediment://f2"}],
            },
            "[image: sediment://f2]",
        ),
        ({"parts": [{"content_type": "audio_transcription", "text": "spoken", "direction": "in"}]}, "spoken"),
        (
            {
                "parts": [
                    {
                        "content_type": "real_time_user_audio_video_asset_pointer",
                        "audio_asset_pointer": {"asset_pointer": "a"},
                    }
                ]
            },
            "[audio: a]",
        ),
        ({"content_type": "tether_quote", "url": "https://x", "text": "a quote"}, "a quote"),
        ({"content_type": "system_error", "name": "E", "text": "it failed"}, "it failed"),
        ({"content_type": "of tomorrow", "content": "something"}, "something"),
        ({"parts": ["a", "", None, 7, "b"]}, "a\nb"),
    ],
)
def test_every_kind_of_content_has_a_text(content: Mapping[str, Any], text: str) -> None:
    """Every kind of content has a text; pictures and sounds, which are not in the file, have placeholders."""
    assert said(the(chat(node("m1", None, content)))) == [("user", text)]


def test_the_order_is_that_of_the_branch() -> None:
    """A message older than the one before it gets that one's time; an invalid id is replaced with a new one."""
    conversation = the(
        chat(
            node("m1", None, "a", time=None),
            node("m2", "m1", "b", time=BEGAN + 9),
            node("m3", "m2", "c", time=BEGAN + 5),
            node("m4", "m3", "d", time="2023-11-14T22:13:40Z"),
            node("m5" * 600, "m4", "e", time=float("nan")),
        )
    )
    times = [message.given("created_at") for message in conversation.messages]

    assert [None if time is None else time.timestamp() - BEGAN for time in times] == [None, 9, 9, 19.5, 19.5]
    assert len(conversation.messages[-1].id) == 36


@pytest.mark.parametrize("current", [None, "nowhere", 7, ["m3"]])
def test_without_a_current_node_the_newest_branch_is_read(current: object) -> None:
    """Without a current node, the branch with the newest last message is read."""
    nodes = (node("m1", None, "a"), node("m2", "m1", "old", time=BEGAN), node("m3", "m1", "new", time=BEGAN + 1))
    conversation = the({**chat(*nodes), "current_node": current})

    assert [message.content for message in conversation.messages] == ["a", "new"]


def test_a_malformed_tree_is_read_as_far_as_possible() -> None:
    """A malformed tree is read as far as possible: cycles end, and missing parents and invalid nodes are skipped."""
    circle = chat(node("m1", "m2", "a"), node("m2", "m1", "b"))
    dangling = chat(node("m2", "nowhere", "b"), node("m3", "m2", "c"))
    broken = chat(node("m1", None, "a"))
    broken["mapping"] |= {"m2": None, "m3": [], "m4": {"message": 7}, "m5": {"message": {"author": 1, "content": []}}}

    assert [message.content for message in the(circle).messages] == ["a", "b"]
    assert [message.content for message in the(dangling).messages] == ["b", "c"]
    assert [message.content for message in the(broken).messages] == ["a"]
    assert the({**broken, "mapping": {}}).messages == []


def test_an_export_is_read_as_a_file_holds_it() -> None:
    """An export is read from text or bytes of JSON, from a list, or from one conversation."""
    export = chat(node("m1", None, "Hello", time=BEGAN))
    expected = [the(export)]

    for given_as in ([export], export, json.dumps([export]), json.dumps([export]).encode(), json.dumps(export)):
        assert list(from_chatgpt(given_as)) == expected


@pytest.mark.parametrize(
    "export", ["", "no JSON", b"\xff", "7", "[" * 100_000, '"text"', "[7]", "[[]]", '[{"title": "t"}]', '{"user": {}}']
)
def test_an_invalid_export_of_chatgpt_is_refused(export: str) -> None:
    """A value that is not an export of ChatGPT raises an error of voltmem."""
    with pytest.raises(InvalidInputError):
        list(from_chatgpt(export))


def test_text_that_postgresql_cannot_hold_is_kept_where_it_can_be() -> None:
    """Text that PostgreSQL cannot hold is kept in contents, and removed from titles and metadata."""
    conversation = the(chat(node("m1", None, "a\x00\ud800", model_slug="\x00"), title="t\x00", gizmo_id="\ud800"))

    assert said(conversation) == [("user", "a\x00\ud800")]
    assert (conversation.title, conversation.metadata["gizmo_id"]) == ("t", "\N{REPLACEMENT CHARACTER}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ("message", "parent", "author", "role", "content", "content_type", "parts", "text", "metadata", "create_time")


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.dictionaries(st.sampled_from(FIELDS), JSON)), JSON, JSON)
def test_any_value_in_a_mapping_is_read_or_left_out(mapping: Any, current: Any, field: Any) -> None:
    """Any value in a mapping is read or left out; no other error than voltmem's is raised."""
    export = {"mapping": mapping, "current_node": current, "title": field, "create_time": field, "id": field}

    the(export)


# --- OpenAI -------------------------------------------------------------------------------------------------------

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def read(source: Any) -> list[list[tuple[str, Any]]]:
    return [said(conversation) for conversation in from_openai(source)]


def test_a_list_of_messages_is_one_conversation() -> None:
    """A list of messages is one conversation, in order, without times, with an id from the import."""
    (conversation,) = from_openai(HELLO, resource_id="docs")

    assert said(conversation) == [("system", "Be brief."), ("user", "Hello")]
    assert (conversation.id, conversation.resource_id, conversation.created_at) == (None, "docs", None)
    assert all(message.given("created_at") is None for message in conversation.messages)


def test_conversations_are_read_from_every_container(tmp_path: Path) -> None:
    """Conversations are read from lists of lists, objects with messages, JSON, JSON lines, and an open file."""
    two = [[("system", "Be brief."), ("user", "Hello")], [("user", "Ho")]]
    objects = [{"messages": HELLO}, {"messages": [{"role": "user", "content": "Ho"}]}]
    lines = "\n".join(map(json.dumps, objects)) + "\n\n"
    file = tmp_path / "lines.jsonl"
    file.write_text(lines)

    for source in (objects, [each["messages"] for each in objects], iter(objects), lines, lines.encode()):
        assert read(source) == two
    assert read(json.dumps(objects)) == read(json.dumps(objects, indent=2)) == read(json.dumps(objects) + "\n") == two
    assert read(objects[0]) == read(json.dumps(objects[0])) == two[:1]
    with file.open() as opened:
        assert read(opened) == two
    assert read([]) == read(iter([])) == []


@pytest.mark.parametrize("before", ["\ufeff", "\n", "\ufeff \r\n\n"])
def test_what_editors_put_before_the_first_line_means_nothing(before: str, tmp_path: Path) -> None:
    """A byte-order mark and blank lines are ignored: before JSON, before JSON lines, in a file, as text or bytes."""
    objects = [{"messages": HELLO}, {"messages": [{"role": "user", "content": "Ho"}]}]
    lines = before + "\n".join(map(json.dumps, objects))
    file = tmp_path / "lines.jsonl"
    file.write_text(lines, encoding="utf-8")
    export = before + json.dumps([chat(node("m1", None, "Hello"))])

    for text in (lines, before + json.dumps(objects), before + json.dumps(objects, indent=2)):
        assert read(text) == read(text.encode()) == read(objects)
    with file.open(encoding="utf-8") as opened:
        assert read(opened) == read(objects)
    for given_as in (export, export.encode()):
        assert [said(conversation) for conversation in from_chatgpt(given_as)] == [[("user", "Hello")]]


def test_other_fields_are_kept_as_metadata() -> None:
    """Other fields of a conversation and of a message become metadata; id and title are used as such."""
    content = [{"type": "image_url", "image_url": {"url": "x"}}]
    message = {"role": "user", "name": "Ada", "content": content, "weight": 0}
    about: dict[str, Any] = {"id": "c1", "title": "Coats", "tools": [{"type": "function"}], "messages": [message]}

    (conversation,) = from_openai(about)

    assert (conversation.id, conversation.title) == ("c1", "Coats")
    assert conversation.metadata == {"tools": [{"type": "function"}]}
    assert conversation.messages[0].content == content
    assert conversation.messages[0].metadata == {"name": "Ada", "weight": 0}


def call(id: str | None, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "search", "arguments": arguments}}


CUSTOM: dict[str, Any] = {"id": "t1", "type": "custom", "custom": {"name": "search", "input": {"q": 1}}}
TOOLS: list[list[dict[str, Any]]] = [
    [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call("t1", '{"q": 1}')]},
        {"role": "tool", "tool_call_id": "t1", "content": "found"},
    ],
    [
        {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Let me look."}]},
        {"type": "function_call", "call_id": "t1", "name": "search", "arguments": '{"q": 1}'},
        {"type": "function_call_output", "call_id": "t1", "output": "found"},
    ],
    [
        {"role": "assistant", "content": None, "function_call": {"name": "search", "arguments": '{"q": 1}'}},
        {"role": "function", "name": "search", "content": "found"},
    ],
    [
        {
            "role": "assistant",
            "tool_calls": [{"id": "t1", "type": "custom", "custom": {"name": "search", "input": {"q": 1}}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "found"},
    ],
]


@pytest.mark.parametrize("messages", TOOLS, ids=["chat", "responses", "functions", "custom"])
def test_tool_calls_and_results_find_each_other(messages: list[dict[str, Any]]) -> None:
    """A tool result gets the id of its call, in each of OpenAI's forms, and text beside a call is kept."""
    (conversation,) = from_openai(messages)
    *before, asked, answered = conversation.messages

    (call,), (result,) = tool_calls(asked), tool_results(answered)
    assert (call.name, call.arguments) == ("search", {"q": 1})
    assert (result.call_id, result.name, result.value) == (call.id, "search", "found")
    assert (asked.type, answered.type, answered.role) == ("tool-call", "tool-result", "tool")
    assert before or asked.text == ("Let me look." if messages[0].get("content") else asked.text)
    assert asked.metadata == answered.metadata == {}


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (7, "must be a list, or"),
        ("{", "not JSON"),
        ('{"a": 1}', "conversation 0"),
        ([HELLO, 7], "conversation 1"),
        ([HELLO, {"messages": "Hello"}], "conversation 1"),
        ([HELLO, [*HELLO, 7]], "message 2 of conversation 1"),
        ([{"messages": [{"content": "Hello"}]}], "message 0 of conversation 0 needs a role"),
        ([[{"role": "user", "content": object()}]], "message 0 of conversation 0"),
        ('{"messages": []}\n{"messages"', "not JSON"),
    ],
)
def test_an_invalid_openai_message_is_reported_with_its_place(source: Any, where: str) -> None:
    """An invalid OpenAI message raises voltmem's error, with its place."""
    with pytest.raises(InvalidInputError, match=where):
        list(from_openai(source))


@given(JSON)
def test_any_value_is_read_or_refused(value: Any) -> None:
    """Any value is read or refused, as messages, as a message, as JSON."""
    for source in (value, [value], [[value]], {"messages": [value]}, json.dumps(value)):
        try:
            conversations = list(from_openai(source))
        except InvalidInputError:
            continue
        assert all(isinstance(message, Message) for each in conversations for message in each.messages)


# --- both ---------------------------------------------------------------------------------------------------------


async def test_what_is_read_is_imported_and_a_model_may_see_it(make_storage: MakeStorage) -> None:
    """
    Imported conversations have whole tool turns for a model, are found by the search, and are skipped a second time.
    """
    storage = make_storage(search=True)
    chats = chat(
        node("m1", None, "Weather?", time=BEGAN),
        node("m2", "m1", {"content_type": "code", "text": "oslo"}, role="assistant", recipient="browser"),
        node("m3", "m2", "4 degrees", role="tool", name="browser"),
        node("m4", "m3", "A coat, then.", role="assistant", time=BEGAN + 5),
    )

    for expected in (3, 0):
        first = await storage.import_conversations("ada", from_chatgpt([chats]))
        second = await storage.import_conversations("ada", from_openai([HELLO, TOOLS[0]]))
        assert first.conversations + second.conversations == expected

    memory = storage.conversation("ada", "chat-1")
    assert [message.id for message in await memory.messages()] == ["m1", "m2", "m3", "m4"]
    assert [hit.conversation.id for hit in (await storage.search("ada", "coat")).hits] == ["chat-1"]
    listed = (await storage.list_conversations("ada")).items
    assert (listed[-1].id, listed[-1].preview) == ("chat-1", "A coat, then.")
    assert listed[-1].updated_at == datetime.fromtimestamp(BEGAN + 60, UTC)
