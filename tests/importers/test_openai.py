"""Messages in the forms of OpenAI and of others become conversations, and keep their form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.importers.exports import BEGAN, JSON, chat, node, outcomes, read, said
from tests.said import tool_calls, tool_results
from voltmem import ImportedConversation, InvalidInputError, Message, NativeMessage, Skipped
from voltmem.importers import from_chatgpt, from_openai
from voltmem.parts import Reasoning, Text, parts, to_openai

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def dialogues(source: Any) -> list[list[tuple[str, Any]]]:
    return [said(conversation) for conversation in read(from_openai(source))]


def test_a_list_of_messages_is_one_conversation() -> None:
    """A list of messages is one conversation, in order, without times, with an id from the import."""
    (conversation,) = read(from_openai(HELLO, resource_id="docs"))

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
        assert dialogues(source) == two
    assert (
        dialogues(json.dumps(objects))
        == dialogues(json.dumps(objects, indent=2))
        == dialogues(json.dumps(objects) + "\n")
        == two
    )
    assert dialogues(objects[0]) == dialogues(json.dumps(objects[0])) == two[:1]
    with file.open() as opened:
        assert dialogues(opened) == dialogues(file) == two
    assert dialogues([]) == dialogues(iter([])) == []


@pytest.mark.parametrize("before", ["\ufeff", "\n", "\ufeff \r\n\n"])
def test_what_editors_put_before_the_first_line_means_nothing(before: str, tmp_path: Path) -> None:
    """A byte-order mark and blank lines are ignored: before JSON, before JSON lines, in a file, as text or bytes."""
    objects = [{"messages": HELLO}, {"messages": [{"role": "user", "content": "Ho"}]}]
    lines = before + "\n".join(map(json.dumps, objects))
    file = tmp_path / "lines.jsonl"
    file.write_text(lines, encoding="utf-8")
    export = before + json.dumps([chat(node("m1", None, "Hello"))])

    for text in (lines, before + json.dumps(objects), before + json.dumps(objects, indent=2)):
        assert dialogues(text) == dialogues(text.encode()) == dialogues(objects)
    with file.open(encoding="utf-8") as opened:
        assert dialogues(opened) == dialogues(objects)
    for given_as in (export, export.encode()):
        assert [said(conversation) for conversation in read(from_chatgpt(given_as))] == [[("user", "Hello")]]


def test_other_fields_are_kept_as_metadata() -> None:
    """Other fields of a conversation and of a message become metadata; id, title and time are used as such."""
    content = [{"type": "image_url", "image_url": {"url": "x"}}]
    message = {"role": "user", "id": "m1", "createdAt": BEGAN, "content": content, "score": 0, "metadata": {"a": 1}}
    about: dict[str, Any] = {"id": "c1", "title": "Coats", "tools": [{"type": "function"}], "messages": [message]}

    (conversation,) = read(from_openai(about))

    assert (conversation.id, conversation.title) == ("c1", "Coats")
    assert conversation.metadata == {"tools": [{"type": "function"}]}
    odd: dict[str, Any] = {"id": 7, "title": ["t"]}
    (without,) = read(from_openai(about | odd))
    assert (without.id, without.title, without.metadata) == (None, None, {"tools": about["tools"], **odd})
    (message_read,) = conversation.messages
    assert (message_read.id, message_read.content) == ("m1", content)
    assert message_read.created_at.timestamp() == BEGAN
    assert message_read.metadata == {"a": 1, "score": 0}


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
    """A tool result belongs to its call, in each of OpenAI's forms, and text beside a call is kept."""
    (conversation,) = read(from_openai(messages))
    *before, asked, answered = conversation.messages

    (call,), (result,) = tool_calls(asked), tool_results(answered)
    assert (call.name, call.arguments) == ("search", {"q": 1})
    assert (result.call_id, result.value) == (call.id, "found")
    assert (asked.type, answered.type) == ("tool-call", "tool-result")
    assert before or asked.text == (messages[0].get("content") or "")
    assert asked.metadata == answered.metadata == {}
    assert [each["role"] for each in to_openai(conversation.messages)][-2:] == ["assistant", "tool"]


THOUGHT = {"type": "reasoning", "id": "rs1", "summary": [{"type": "summary_text", "text": "Let me see."}]}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("openai-chat", {"role": "user", "name": "Ada", "content": "Hello", "weight": 0}),
    "responses": ("openai-responses", THOUGHT),
    "item reference": ("openai-responses", {"type": "item_reference", "id": "msg_0"}),
    "anthropic": (
        "anthropic",
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
        },
    ),
    "ui message": ("ai-sdk/v7", {"role": "user", "parts": [{"type": "text", "text": "Hello"}]}),
    "gemini": ("gemini", {"role": "model", "parts": [{"text": "Hello"}]}),
    "langchain": ("langchain", {"type": "human", "data": {"content": "Hello"}}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_message_in_a_known_form_keeps_it(form: str) -> None:
    """A message in a form of its own is a NativeMessage with that form; no message has None as its content."""
    format, message = FORMS[form]

    for given_as in ([HELLO[1], message], json.dumps([message])):
        (conversation,) = read(from_openai(given_as))
        native = conversation.messages[-1]
        assert isinstance(native, NativeMessage)
        assert (native.format, native.payload) == (format, message)
        assert native.content is not None


def test_an_id_is_used_once() -> None:
    """The id of a message is kept, in a form of its own too; a second message with it gets a new one."""
    ui = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    (conversation,) = read(from_openai([ui, ui, {"id": "m1", "role": "user", "content": "Ho"}]))

    first, *others = [message.id for message in conversation.messages]
    assert first == "m1"
    assert all(len(id) == 36 for id in others)


def test_times_keep_the_order() -> None:
    """A message whose time is before that of the one before it gets that one's time."""
    times = [BEGAN + 5, None, BEGAN, "no time"]
    (conversation,) = read(from_openai([{**HELLO[1], "created_at": time} for time in times]))

    assert [message.given("created_at") for message in conversation.messages][1::2] == [None, None]
    assert [message.created_at.timestamp() - BEGAN for message in conversation.messages[::2]] == [5, 5]
    assert conversation.messages[3].metadata == {"created_at": "no time"}


def test_what_says_nothing_is_left_out_and_counted() -> None:
    """A message whose content is null is left out, and counted."""
    (conversation,) = read(from_openai([*HELLO, {"role": "assistant", "content": None, "tool_calls": None}]))

    assert said(conversation) == [("system", "Be brief."), ("user", "Hello")]
    assert conversation.left_out == {"empty messages": 1}


def test_what_apis_put_around_messages_is_read() -> None:
    """A list as OpenAI's API returns it is a conversation; the system text beside Anthropic's messages a message."""
    assert dialogues({"object": "list", "data": HELLO, "has_more": False}) == dialogues(HELLO)
    assert dialogues({"system": "Be brief.", "messages": HELLO[1:]}) == dialogues(HELLO)
    assert dialogues({"system": "Be loud.", "messages": HELLO}) == dialogues(HELLO)


def test_reasoning_does_not_stop_an_import() -> None:
    """Items of a reasoning model are read, its reasoning too."""
    (conversation,) = read(from_openai([HELLO[1], THOUGHT, *TOOLS[1]]))

    (reasoning,) = parts(conversation.messages[1])
    assert isinstance(reasoning, Reasoning)
    assert (reasoning.text, reasoning.provider) == ("Let me see.", "openai")
    assert Text("Let me look.") in parts(conversation.messages[2])


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (7, "must be a list, or"),
        ("", "empty"),
        ("{", "entry 0: the file ends within it"),
        ("conversations.json", "pass a path as pathlib.Path"),
        ('{"a": 1}', "entry 0: a conversation must have a list of messages, and is an object with a"),
        ([[*HELLO, 7]], "conversation 0: message 2 must be an object, and is a int"),
        ([{"messages": [{"content": "Hello"}]}], "message 0 has no role"),
        ([{"messages": [{"role": "user", "text": "Hello"}]}], "message 0 has no content"),
        ([[{"role": "user", "content": object()}]], "message 0"),
        (json.dumps([*HELLO, 7])[:-3] + "}]", "entry 2: it is not JSON"),
    ],
)
def test_an_invalid_openai_message_is_reported_with_its_place(source: Any, where: str) -> None:
    """A source without a single conversation that can be read raises voltmem's error, with the place."""
    with pytest.raises(InvalidInputError, match=where):
        list(from_openai(source))


def test_a_broken_conversation_is_named_and_the_rest_is_read() -> None:
    """A broken conversation is skipped with its id or place, in lists and in lines; the others are read."""
    good, last = ({"title": title, "messages": HELLO} for title in ("good", "last"))
    broken = [7, {"id": "c1", "messages": "Hello"}, {"messages": [{"text": "?"}]}]

    found = list(from_openai([good, *broken, last]))
    lines = list(from_openai("\n".join([json.dumps(good), '{"messages": [', json.dumps(last)])))

    assert outcomes(found) == ["good", "conversation 1", "c1", "conversation 3", "last"]
    assert outcomes(lines) == ["good", "entry 1", "last"]
    assert next(each.reason for each in lines if isinstance(each, Skipped)).startswith("it is not JSON")


FOREIGN: dict[str, Any] = {
    "ChatGPT": [chat(node("m1", None, "Hello"))],
    "Claude": [{"uuid": "u", "name": "n", "chat_messages": []}],
    "Gemini": [{"header": "Gemini Apps", "title": "Prompted", "products": ["Gemini Apps"]}],
    "Grok": {"conversations": [{"conversation": {}, "responses": []}]},
    "DeepSeek": [{"mapping": {"1": {"message": {"fragments": []}}}}],
    "Open WebUI": [{"id": "1", "chat": {"history": {"messages": {}}, "messages": []}}],
    "LibreChat": {"conversationId": "1", "messages": [{"text": "Hello", "isCreatedByUser": True}]},
    "LobeChat": {"exportType": "sessions", "state": {}},
    "TypingMind": {"data": {"chats": [{"chatTitle": "t", "messages": HELLO}]}},
    "Chatbox": {"chat-sessions-list": [], "session:1": {"messages": HELLO}},
    "big-AGI": {"conversations": [{"messages": [{"role": "user", "fragments": []}]}]},
    "Chatbot UI": {"version": 4, "history": [{"messages": HELLO}], "folders": []},
    "ShareGPT": [{"id": "1", "conversations": [{"from": "human", "value": "Hello"}]}],
    "preferences": '{"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []}',
    "prompts and completions": [{"prompt": "a", "completion": "b"}],
    "Assistants API": {"object": "list", "data": [{"object": "thread.message", "thread_id": "t"}]},
    "LangChain": [{"lc": 1, "type": "constructor", "kwargs": {"content": "Hello"}}],
    "SillyTavern": '{"user_name": "u", "character_name": "c"}\n{"name": "c", "mes": "Hello"}',
    "import_user": '{"voltmem": 1, "kind": "header"}\n{"kind": "end"}',
}


@pytest.mark.parametrize("program", FOREIGN)
def test_a_foreign_file_is_named(program: str) -> None:
    """A file of another program that is recognised is refused with the program's name, whoever is to read it."""
    source = FOREIGN[program]

    for importer in (from_openai, from_chatgpt) if program != "ChatGPT" else (from_openai,):
        for given_as in (source, source if isinstance(source, str) else json.dumps(source)):
            with pytest.raises(InvalidInputError, match=program):
                list(importer(given_as))


@given(JSON)
def test_any_value_is_read_or_refused(value: Any) -> None:
    """Any value is read or refused, as messages, as a message, as JSON."""
    for source in (value, [value], [[value]], {"messages": [value]}, json.dumps(value)):
        try:
            found = list(from_openai(source))
        except InvalidInputError:
            continue
        conversations = [each for each in found if isinstance(each, ImportedConversation)]
        assert all(isinstance(message, Message) for each in conversations for message in each.messages)
        assert all(message.content is not None for each in conversations for message in each.messages)
