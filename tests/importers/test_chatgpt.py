"""ChatGPT's export becomes conversations, whatever it contains, and what is left out is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.exports import BEGAN, JSON, chat, node, outcomes, said, the
from tests.said import tool_calls, tool_results
from voltmem import ImportedConversation, ImportedMessage, InvalidInputError, Skipped
from voltmem.importers import from_chatgpt
from voltmem.parts import ToolCall, ToolResult, to_ui_messages


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


def places(conversation: ImportedConversation) -> dict[Any, tuple[str | None, bool]]:
    """Return each message's content with its parent, and whether it is off the line."""
    messages = [each for each in conversation.messages if isinstance(each, ImportedMessage)]
    return {each.content: (each.parent_id, each.aside) for each in messages}


def test_all_branches_are_read_and_the_one_that_is_shown_is_the_line() -> None:
    """Edited and regenerated messages are read with the message that they follow; those not shown are off the line."""
    conversation = the(
        chat(
            node("m1", None, "first try"),
            node("m2", "m1", "an answer", role="assistant"),
            node("m3", "m1", "another answer", role="assistant"),
            node("m4", "m3", "thanks"),
            node("m5", "m2", "what?"),
            node("m6", None, "second try"),
            current="m4",
        )
    )

    assert places(conversation) == {
        "first try": ("", False),
        "an answer": ("m1", True),
        "another answer": ("m1", False),
        "thanks": ("m3", False),
        "what?": ("m2", True),
        "second try": ("", True),
    }
    assert conversation.left_out == {}


def test_what_is_left_out_breaks_no_branch() -> None:
    """A message after hidden, empty or broken nodes follows the nearest message before them."""
    conversation = the(
        chat(
            node("m0", None, None),
            node("m1", "m0", "You are ChatGPT", role="system"),
            node("m2", "m1", "question"),
            node("m3", "m2", "hidden", is_visually_hidden_from_conversation=True),
            node("m4", "m3", "", role="assistant"),
            node("m5", "m4", "an answer", role="assistant"),
            {"id": "m6", "parent": "m3", "message": 7},
            node("m7", "m6", "another answer", role="assistant"),
        )
    )

    assert places(conversation) == {
        "question": ("", False),
        "an answer": ("m2", True),
        "another answer": ("m2", False),
    }


def test_a_branch_has_calls_of_its_own() -> None:
    """A result belongs to the call of its branch; an answer that only one branch has is not part of another's."""
    called = {"content_type": "code", "text": '{"q": 1}'}
    tool = {"role": "tool", "name": "browser"}
    messages = the(
        chat(
            node("m1", None, called, role="assistant", recipient="browser"),
            node("m2", "m1", "four", **tool),
            node("m3", "m1", "five", **tool),
            node("m4", "m2", "of six", **tool),
            node("m5", "m3", "stale", **tool),
            node("m6", "m3", "fresh", role="assistant"),
        )
    ).messages

    results = [(each.id, *((part.call_id, part.value) for part in tool_results(each))) for each in messages[1:]]
    assert results == [("m2", ("m1", "four\n\nof six")), ("m3", ("m1", "five")), ("m5", ("", "stale")), ("m6",)]


def test_a_message_is_not_older_than_the_one_that_it_follows() -> None:
    """The messages of all branches are in the order of their times, each after the one that it follows."""
    conversation = the(
        chat(
            node("m1", None, "a", time=BEGAN + 5),
            node("m2", "m1", "old", time=BEGAN + 1),
            node("m3", "m2", "last", time=BEGAN + 9),
            node("m4", "m1", "new", time=BEGAN + 7),
        )
    )
    times = [(each.content, each.created_at.timestamp() - BEGAN) for each in conversation.messages]

    assert times == [("a", 5), ("old", 5), ("new", 7), ("last", 9)]


def test_what_chatgpt_hides_is_left_out_and_counted() -> None:
    """Hidden messages are left out, and counted by what they are: system messages, reasoning, empty ones."""
    conversation = the(
        chat(
            node("m1", None, "You are ChatGPT", role="system"),
            node("m2", "m1", {"content_type": "user_editable_context", "user_profile": "p", "user_instructions": "i"}),
            node("m3", "m2", "hidden", is_visually_hidden_from_conversation=True),
            node("m4", "m3", "Hello"),
            node("m5", "m4", {"content_type": "thoughts", "thoughts": [{"summary": "s"}]}, role="assistant"),
            node("m6", "m5", {"content_type": "reasoning_recap", "content": "Thought for 3s"}, role="assistant"),
            node("m7", "m6", "", role="assistant"),
            node("m8", "m7", {"content_type": "of tomorrow", "shape": 4}, role="assistant"),
            node("m9", "m8", "Hi", role="assistant"),
        )
    )

    assert said(conversation) == [("user", "Hello"), ("assistant", "Hi")]
    assert conversation.left_out == {
        "system messages": 1,
        "custom instructions": 1,
        "hidden messages": 1,
        "reasoning": 2,
        "empty messages": 1,
        "messages of the type of tomorrow": 1,
    }


def test_what_is_said_to_a_tool_is_a_call_and_what_comes_back_its_result() -> None:
    """A message to a tool is a call, and the tool's answer its result; another tool's answer has no call."""
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
        ({"content_type": "tether_quote", "url": "https://x", "text": "a quote"}, "[https://x](https://x)\na quote"),
        ({"content_type": "computer_output", "screenshot": {"asset_pointer": "sediment://s"}}, "[file: sediment://s]"),
        ({"content_type": "system_error", "name": "E", "text": "it failed"}, "it failed"),
        ({"content_type": "of tomorrow", "content": "something"}, "something"),
        ({"parts": ["a", "", None, 7, "b"]}, "a\nb"),
    ],
)
def test_every_kind_of_content_has_a_text(content: Mapping[str, Any], text: str) -> None:
    """Every kind of content has a text; pictures and sounds, which are not in the file, have placeholders."""
    assert said(the(chat(node("m1", None, content)))) == [("user", text)]


def test_the_order_is_that_of_the_branch() -> None:
    """
    A message older than the one before it gets that one's time, one newer than the conversation the conversation's.

    An invalid id is replaced with a new one.
    """
    conversation = the(
        chat(
            node("m1", None, "a", time=None),
            node("m2", "m1", "b", time=BEGAN + 9),
            node("m3", "m2", "c", time=BEGAN + 5),
            node("m4", "m3", "d", time="2023-11-14T22:13:40Z"),
            node("m5" * 600, "m4", "e", time=float("nan")),
            node("m6", "m5" * 600, "f", time=BEGAN + 86_400),
            node("m7", "m6", "g", time=10**400),
        )
    )
    times = [message.given("created_at") for message in conversation.messages]

    assert [None if time is None else time.timestamp() - BEGAN for time in times] == [None, 9, 9, 19.5, 19.5, 60, 60]
    assert len(conversation.messages[-3].id) == 36


@pytest.mark.parametrize("current", [None, "nowhere", 7, ["m3"]])
def test_without_a_current_node_the_newest_branch_is_read(current: object) -> None:
    """Without a current node, the branch with the newest last message is read."""
    nodes = (node("m1", None, "a"), node("m2", "m1", "old", time=BEGAN), node("m3", "m1", "new", time=BEGAN + 1))
    conversation = the({**chat(*nodes), "current_node": current})

    assert places(conversation) == {"a": ("", False), "old": ("m1", True), "new": ("m1", False)}


def test_a_malformed_tree_is_read_as_far_as_possible() -> None:
    """A malformed tree is read as far as possible: cycles end, and missing parents and invalid nodes are skipped."""
    circle = chat(node("m1", "m2", "a"), node("m2", "m1", "b"))
    dangling = chat(node("m2", "nowhere", "b"), node("m3", "m2", "c"))
    broken = chat(node("m1", None, "a"))
    broken["mapping"] |= {"m2": None, "m3": [], "m4": {"message": 7}, "m5": {"message": {"author": 1, "content": []}}}

    assert [message.content for message in the(circle).messages] == ["a", "b"]
    assert [message.content for message in the(dangling).messages] == ["b", "c"]
    assert [message.content for message in the(broken).messages] == ["a"]
    assert the(broken).left_out == {"malformed messages": 3}
    assert the({**broken, "mapping": {}}).messages == []


def test_an_export_is_read_as_a_file_holds_it() -> None:
    """An export is read from text or bytes of JSON, from a list, one conversation, or an object around the list."""
    export = chat(node("m1", None, "Hello", time=BEGAN))
    expected = [the(export)]
    wrapped, last = {"conversations": [export]}, {"version": 1, "conversations": [export]}
    texts = [json.dumps(value) for value in ([export], export, wrapped, last)]

    for values in ([export], export, wrapped, last):
        assert list(from_chatgpt(values)) == expected
    for text in (*texts, texts[0].encode(), "\ufeff \n" + texts[0]):
        assert list(from_chatgpt(text)) == expected


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


FIELDS = ("message", "parent", "author", "role", "content", "content_type", "parts", "text", "metadata", "create_time")


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.dictionaries(st.sampled_from(FIELDS), JSON)), JSON, JSON)
def test_any_value_in_a_mapping_is_read_or_left_out(mapping: Any, current: Any, field: Any) -> None:
    """Any value in a mapping is read or left out; no other error than voltmem's is raised."""
    broken = {"mapping": mapping, "current_node": current, "title": field, "create_time": field, "id": field}
    good = chat(node("m1", None, "Hello", time=BEGAN))

    assert list(from_chatgpt([broken, good]))[1] == the(good)


# --- what newer and older exports have ----------------------------------------------------------------------------


def test_a_tree_needs_parents_or_children_only() -> None:
    """The branch is found by the nodes' parents, or by their children where an export has no parents."""
    first, second = node("m1", None, "a"), node("m2", "m1", "b")
    first["children"] = ["m2"]
    by_children = [{key: value for key, value in each.items() if key != "parent"} for each in (first, second)]

    assert [message.content for message in the(chat(*by_children)).messages] == ["a", "b"]
    assert the(chat(first, pinned_time=BEGAN, is_starred=None)).pinned


def test_a_tools_answer_without_text_is_a_result() -> None:
    """A tool's answer without text is the result of its call, with pictures and found pages; so is an empty one."""
    shown = {"messages": [{"message_type": "image", "image_url": "file-service://plot"}]}
    page = {"url": "https://example.org/race", "title": "Race", "snippet": "Ann won."}
    answers: list[tuple[dict[str, Any], str]] = [
        ({"aggregate_result": shown}, "[image: file-service://plot]"),
        ({"search_result_groups": [{"entries": [page]}]}, "[Race](https://example.org/race)\nAnn won."),
        ({}, ""),
    ]

    for metadata, expected in answers:
        output = {"content_type": "execution_output", "text": ""}
        conversation = the(
            chat(
                node("m1", None, {"content_type": "code", "text": "plot()"}, role="assistant", recipient="python"),
                node("m2", "m1", output, role="tool", name="python", **metadata),
                node("m3", "m2", "There."),
            )
        )
        assert tool_results(conversation.messages[1]) == [ToolResult("m1", expected, "python")]
        assert '"output-available"' in json.dumps(to_ui_messages(conversation.messages)[0])


def test_an_answer_belongs_to_the_call_of_its_tool() -> None:
    """
    Of several calls each gets the answer of its own tool; an answer under another name belongs to the last call.

    What was called before somebody spoke is answered no more.
    """
    _, _, first, second, _, _, third = the(
        chat(
            node("m1", None, "a", role="assistant", recipient="browser"),
            node("m2", "m1", "b", role="assistant", recipient="dalle.text2im"),
            node("m3", "m2", "found", role="tool", name="browser"),
            node("m4", "m3", "drawn", role="tool", name="x7.y8"),
            node("m5", "m4", "c", role="assistant", recipient="python"),
            node("m6", "m5", "Go on."),
            node("m7", "m6", "late", role="tool", name="python"),
        )
    ).messages

    assert [tool_results(each)[0].call_id for each in (first, second, third)] == ["m1", "m2", ""]


def test_several_answers_of_a_tool_are_one_result() -> None:
    """What a tool says in several messages is one result, with the addresses of the pages it quotes."""
    quote = {"content_type": "tether_quote", "url": "https://example.org/a", "title": "A [page]", "text": "Words."}
    problem = {"content_type": "system_error", "text": "timed out"}
    before = node("m1", None, "read it", role="assistant", recipient="browser")
    answers = [
        node("m2", "m1", quote, role="tool", name="browser"),
        node("m3", "m2", problem, role="tool", name="browser"),
    ]

    _, both = the(chat(before, *answers)).messages
    _, failed = the(chat(before, {**answers[1], "parent": "m1"})).messages

    assert tool_results(both)[0].value == "[A \\[page\\]](https://example.org/a)\nWords.\n\ntimed out"
    assert (tool_results(both)[0].state, tool_results(failed)[0].state) == ("answered", "failed")


def test_a_message_names_its_attachments() -> None:
    """A file has a text with its name, once, and an entry in the metadata; a message may consist of a file only."""
    report = {"id": "file-1", "name": "report.pdf", "size": 12, "mime_type": "application/pdf", "more": 1}
    photo = {"id": "file-2", "name": "photo.png", "mimeType": "image/png", "width": 4}
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file-2"}
    conversation = the(
        chat(
            node("m1", None, "", attachments=[report]),
            node("m2", "m1", {"parts": [picture, "And this?"]}, attachments=[photo, 7]),
        )
    )
    first, second = conversation.messages

    assert (first.text, second.text) == ("[file: report.pdf]", "[image: photo.png]\nAnd this?")
    assert first.metadata["attachments"] == [{name: value for name, value in report.items() if name != "more"}]
    assert second.metadata["attachments"] == [{"id": "file-2", "name": "photo.png", "mime_type": "image/png"}]


# --- citations ----------------------------------------------------------------------------------------------------

CITE = "\ue200cite\ue202turn0search0\ue202turn0search3\ue201"
RACE = {"title": "Race", "url": "https://example.org/race"}


@pytest.mark.parametrize(
    ("text", "metadata", "shown"),
    [
        (f"Ann won.{CITE}", [{"matched_text": CITE, "alt": "([Race](https://a))"}], "Ann won.([Race](https://a))"),
        (f"Ann won.{CITE}", [{"matched_text": CITE, "items": [RACE]}], "Ann won.([Race](https://example.org/race))"),
        (
            f"Ann won.{CITE}",
            [{"matched_text": CITE, "title": "T", "safe_urls": ["https://b"]}],
            "Ann won.([T](https://b))",
        ),
        (f"Ann won.{CITE}", [{"matched_text": CITE, "title": "T", "url": "javascript:1"}], "Ann won.(T)"),
        (f"Ann won.{CITE}", [{"matched_text": CITE, "type": "hidden"}], "Ann won."),
        (f"Ann won.{CITE}", [], "Ann won."),
        (f"{CITE} A\ue203nn\ue204 {CITE}", [{"matched_text": CITE, "alt": "x"}], "x Ann x"),
        ('\ue200entity\ue202["people","Ann","runner"]\ue201 won.', [], "Ann won."),
        ("\ue200entity\ue202[\ue201 won.", [], " won."),
        ("A word.", [{"matched_text": " ", "alt": "no mark"}, {"matched_text": "word", "alt": "no mark"}], "A word."),
    ],
)
def test_a_citation_becomes_a_link(text: str, metadata: list[dict[str, Any]], shown: str) -> None:
    """A citation becomes a link, or what ChatGPT shows in its place; no mark of one is left."""
    answer = the(chat(node("m1", None, text, role="assistant", content_references=metadata)))

    assert said(answer) == [("assistant", shown)]


def test_an_old_citation_becomes_a_link() -> None:
    """A citation of older exports becomes a link; brackets that are no citation stay, and so do a user's characters."""
    text = "Ann won【3†source】. 【note】"
    cited = {"start_ix": 7, "end_ix": 17, "metadata": {"title": "Race", "url": "https://example.org/race"}}
    wrong = {"start_ix": 0, "end_ix": 3, "metadata": {"title": "Race"}}
    conversation = the(
        chat(node("m1", None, "\ue201"), node("m2", "m1", text, role="assistant", citations=[cited, wrong]))
    )

    assert said(conversation) == [
        ("user", "\ue201"),
        ("assistant", "Ann won ([Race](https://example.org/race)). 【note】"),
    ]


# --- broken entries -----------------------------------------------------------------------------------------------


def test_what_is_broken_is_named_and_the_rest_is_read() -> None:
    """A broken entry, or another program's, is skipped with its id or place and the reason; the others are read."""
    first, last = (chat(node("m1", None, "Hello"), title=title) for title in ("first", "last"))
    broken: list[Any] = [{"id": "c1"}, {"id": "c2", "mapping": None}, 7, {"uuid": "u", "chat_messages": []}]
    broken += [
        {"id": "c3", "mapping": {"m1": {"message": {"fragments": []}}}},
        {"id": "c4", "mapping": {"m1": {"message": 7}}},
    ]

    for export in ([first, *broken, last], json.dumps([first, *broken, last])):
        found = list(from_chatgpt(export))
        reasons = [each.reason for each in found if isinstance(each, Skipped)]
        assert outcomes(found) == ["first", "c1", "c2", "entry 3", "entry 4", "c3", "c4", "last"]
        assert [reason.partition(";")[0] for reason in reasons] == [
            "it has no mapping, and is an object with id",
            "it has no mapping, and is an object with id, mapping",
            "it has no mapping, and is a int",
            "it is Claude's export",
            "it is DeepSeek's export",
            "no message of it has an author or a content",
        ]


def test_a_reason_holds_no_text_of_a_conversation() -> None:
    """What is said about a broken entry names its fields, and quotes nothing that a person wrote."""
    with pytest.raises(InvalidInputError) as raised:
        list(from_chatgpt([{"title": "secret", "messages": ["secret"]}]))

    with pytest.raises(InvalidInputError) as unreadable:
        list(from_chatgpt('[{"title": "secret'))

    assert "title, messages" in str(raised.value)
    assert "secret" not in f"{raised.value} {unreadable.value}"
