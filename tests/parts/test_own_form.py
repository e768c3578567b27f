"""What a provider made goes back to it as it came, and to others as they can read it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final, get_args, get_type_hints

import pytest
from anthropic.types.beta import BetaContentBlockParam
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputItemParam
from pydantic import JsonValue, TypeAdapter

from tests.properties import examples
from voltmem import Message, NativeMessage, PostgresStorage
from voltmem.parts import to_anthropic, to_openai, to_responses, to_ui_messages
from voltmem.parts._items import ITEMS
from voltmem.parts.anthropic import BLOCKS

Json = dict[str, JsonValue]

ASKED: Final[Json] = {"role": "user", "content": "Snow in Oslo?"}
THANKS: Final[Json] = {"role": "user", "content": "Thanks."}
TEXT: Final[Json] = {"type": "text", "text": "words"}
SEARCH: Final[Json] = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "snow"}}
PAGE: Final[Json] = {"type": "web_search_result", "url": "https://x.test", "title": "Snow", "encrypted_content": "Eo0"}
FOUND: Final[Json] = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [PAGE]}
CITED: Final[Json] = {
    "type": "text",
    "text": "Yes.",
    "citations": [{"type": "web_search_result_location", "url": "https://x.test", "title": "Snow", "cited_text": "s"}],
}
MCP: Final[Json] = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "look", "server_name": "s", "input": {}}
MCP_RESULT: Final[Json] = {
    "type": "mcp_tool_result",
    "tool_use_id": "mcptoolu_1",
    "is_error": False,
    "content": [{"type": "text", "text": "cold"}],
}
USE: Final[Json] = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT: Final[Json] = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "content": [
        {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "cold"}]},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
    ],
}
THOUGHT: Final[Json] = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
FALLBACK: Final[Json] = {"type": "fallback", "from": "a", "to": "b"}
DOCUMENT: Final[Json] = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "It snows."},
    "title": "News",
    "citations": {"enabled": True},
}


def response(*blocks: Json) -> Json:
    return {"type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn", "content": [*blocks]}


def said(role: str, *blocks: Json) -> Json:
    return {"role": role, "content": [*blocks]}


def stored(*given: Json) -> list[Message]:
    return [Message.of(each) for each in given]


@pytest.mark.parametrize(
    "blocks",
    [
        [SEARCH, FOUND, CITED],
        [{"type": "text", "text": "Let me see."}, MCP, MCP_RESULT, {"type": "text", "text": "Cold."}],
        [{"type": "redacted_thinking", "data": "Eo0"}, SEARCH, FOUND, CITED],
        [THOUGHT, {"type": "a_block_of_tomorrow", "data": 1}, {"type": "text", "text": "Yes."}],
        [
            SEARCH,
            {**FOUND, "content": {"type": "web_search_tool_result_error", "error_code": "too_many_requests"}},
            CITED,
        ],
    ],
)
def test_to_anthropic_returns_its_own_tools_as_they_came(blocks: list[Json]) -> None:
    """Calls of Anthropic's own tools stay among what the model says, with their results, citations and servers."""
    expected = [ASKED, said("assistant", *blocks), THANKS]

    assert to_anthropic(stored(ASKED, response(*blocks), THANKS)) == expected
    if "tomorrow" not in str(blocks):  # of a type that nobody knows, the response's other fields say whose it is
        assert to_anthropic(stored(*expected)) == expected


def test_to_anthropic_returns_a_users_blocks_as_they_came() -> None:
    """Documents, search results and tools' results go back with their titles, contexts and citations."""
    question = said("user", DOCUMENT, {"type": "text", "text": "Snow?"})
    given: list[Json] = [
        question,
        said("assistant", THOUGHT, USE),
        said("user", RESULT),
        {"role": "assistant", "content": "Yes."},
    ]

    assert to_anthropic(stored(*given)) == given


def test_to_anthropic_has_no_places_to_cache_at() -> None:
    """Where to cache is said for one request, and the API refuses a fifth place."""
    cached = said("user", {"type": "text", "text": "Snow?", "cache_control": {"type": "ephemeral"}})

    assert to_anthropic(stored(cached)) == [{"role": "user", "content": "Snow?"}]


def test_to_anthropic_keeps_an_own_call_that_the_model_goes_on_with() -> None:
    """A paused turn ends with a call of the provider's own tool; the API goes on when it gets it back."""
    paused = stored(ASKED, response({"type": "text", "text": "Let me see."}, SEARCH))

    assert SEARCH in to_anthropic(paused)[-1]["content"]  # type: ignore[operator]
    assert "server_tool_use" not in str(to_anthropic([*paused, *stored(THANKS)]))


CODE: Final[Json] = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {}}
CODE_RESULT: Final[Json] = {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {}}
FROM_CODE: Final[Json] = {**USE, "caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}}


async def test_messages_keep_a_call_that_the_provider_goes_on_with(storage: PostgresStorage) -> None:
    """At the end a window has the provider's own call, which waits for a tool of ours, or for its next turn."""
    asking, answered = said("assistant", CODE, FROM_CODE), said("user", RESULT)
    memory, paused = storage.conversation("ada", "c1"), storage.conversation("ada", "c2")

    await memory.add_turn([ASKED, asking, answered])
    await paused.add_turn([ASKED, said("assistant", TEXT, SEARCH)])

    assert to_anthropic(await memory.messages(limit=20)) == [ASKED, asking, answered]
    assert to_anthropic(await paused.messages()) == [ASKED, said("assistant", TEXT, SEARCH)]
    await memory.add_turn([said("assistant", CODE_RESULT, TEXT), THANKS])
    await paused.add(THANKS)
    written = [ASKED, asking, answered, said("assistant", CODE_RESULT, TEXT), THANKS]
    assert to_anthropic(await memory.messages(limit=20)) == written
    assert to_anthropic(await paused.messages()) == [ASKED, {"role": "assistant", "content": "words"}, THANKS]


def test_to_anthropic_has_no_caller_that_is_not_there() -> None:
    """A tool that the provider's code called stays, without the code, which never ended."""
    stopped = stored(ASKED, said("assistant", CODE, FROM_CODE), said("user", RESULT), THANKS)

    assert to_anthropic(stopped)[1] == said("assistant", USE)


def test_to_anthropic_keeps_signed_thinking_beside_an_abandoned_call() -> None:
    """Of two calls one was never answered: the other keeps its thinking."""
    dead = {**USE, "id": "toolu_2"}

    written = to_anthropic(stored(ASKED, response(THOUGHT, USE, dead), said("user", RESULT), THANKS))

    assert written[1] == said("assistant", THOUGHT, USE)


@pytest.mark.parametrize("write", [to_openai, to_responses])
def test_others_are_told_what_anthropics_own_tools_found(write: Any) -> None:
    """To other providers a search is a call with a result, which has the pages' titles and addresses."""
    told = str(write(stored(ASKED, response(SEARCH, FOUND, CITED), THANKS)))

    assert all(word in told for word in ("web_search", "Snow https://x.test", "Yes."))
    assert "Eo0" not in told


@pytest.mark.parametrize("write", [to_openai, to_responses])
def test_others_are_told_what_a_search_result_says(write: Any) -> None:
    """A search result in a question is text for other providers."""
    block: Json = {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "cold"}]}

    assert "cold" in str(write(stored(said("user", block))))


# --- OpenAI ---------------------------------------------------------------------------------------------------------

CUSTOM: Final[list[Json]] = [
    {
        "role": "assistant",
        "tool_calls": [{"id": "k1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}],
    },
    {"role": "tool", "tool_call_id": "k1", "content": "1"},
]
CUSTOM_ITEMS: Final[list[Json]] = [
    {"type": "custom_tool_call", "call_id": "k1", "name": "sql", "input": "SELECT 1"},
    {"type": "custom_tool_call_output", "call_id": "k1", "output": "1"},
]


@pytest.mark.parametrize("given", [CUSTOM, CUSTOM_ITEMS])
def test_a_custom_tool_stays_one_between_openais_interfaces(given: list[Json]) -> None:
    """to_openai() and to_responses() tell a custom tool, which takes text, from a function."""
    call, result = to_openai(stored(*given))

    assert [{"role": call["role"], "tool_calls": call["tool_calls"]}, result] == CUSTOM
    assert to_responses(stored(*given)) == CUSTOM_ITEMS


@pytest.mark.parametrize(
    ("block", "write"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}}, to_openai),
        ({"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"}, to_responses),
    ],
)
def test_openai_is_told_how_closely_to_look(block: Json, write: Any) -> None:
    """The detail of an image goes back to OpenAI, by either interface, and to nobody else."""
    question = stored(said("user", block))

    assert write(question) == [said("user", block)]
    assert all("'detail': 'low'" in str(each(question)) for each in (to_openai, to_responses))
    assert "detail" not in str(to_anthropic(question))


@pytest.mark.parametrize(
    "item",
    [
        {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["snow"], "results": None},
        {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "6*7", "outputs": []},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ],
)
def test_to_openai_has_an_object_of_arguments_for_each_call(item: Json) -> None:
    """Chat Completions takes no list and no code as a function's arguments."""
    call: Any = to_openai(stored(ASKED, item, THANKS))[1]

    assert call["tool_calls"][0]["function"]["arguments"].startswith("{")


def test_to_openai_leaves_out_the_list_of_a_servers_tools() -> None:
    """That OpenAI has listed the tools of an MCP server is no call."""
    listed: Json = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []}

    assert to_openai(stored(ASKED, listed, THANKS)) == [ASKED, THANKS]
    assert to_responses(stored(ASKED, listed, THANKS)) == [ASKED, listed, THANKS]


def test_names_and_ids_are_legal_in_a_form_that_is_the_providers_own() -> None:
    """Other providers write the same form, with names and ids that OpenAI refuses."""
    function: Json = {"name": "my tool.v2", "arguments": "{}"}
    chat = stored(
        {"role": "assistant", "tool_calls": [{"id": "k1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "k1", "content": "1"},
    )
    items = stored(
        {"type": "function_call", "call_id": "k/1", "name": "my tool.v2", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "k/1", "output": "1"},
    )

    assert "'name': 'my_tool_v2'" in str(to_openai(chat))
    call, result = to_responses(items)
    assert call["name"] == "my_tool_v2"
    assert call["call_id"] == result["call_id"] != "k/1"


def test_to_responses_leaves_out_a_search_whose_reasoning_is_missing() -> None:
    """The API demands the id of a search, and refuses it without the reasoning before it."""
    search: Json = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "snow"}}
    thought: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    answer: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": "Yes."}

    new = {name: answer[name] for name in answer if name != "id"}
    assert to_responses(stored(search, answer)) == [new]
    assert to_responses(stored(thought, search, answer)) == [thought, search, new]
    assert to_responses(stored(ASKED, search, answer)) == [ASKED, search, new]
    second = {**search, "id": "ws_2"}
    assert to_responses(stored(thought, search, second, answer)) == [thought, search, second, new]


def test_to_responses_keeps_all_requests_for_approval_after_a_reasoning() -> None:
    """A model may ask for several at once, and each of them is answered."""
    thought: Json = {"type": "reasoning", "id": "rs_1", "summary": []}
    asked: list[Json] = [
        {"type": "mcp_approval_request", "id": f"mcpr_{each}", "name": "f", "arguments": "{}", "server_label": "s"}
        for each in range(2)
    ]
    answered: list[Json] = [
        {"type": "mcp_approval_response", "approval_request_id": f"mcpr_{each}", "approve": True} for each in range(2)
    ]

    assert to_responses(stored(ASKED, thought, *asked, *answered)) == [ASKED, thought, *asked, *answered]


PROGRAM: Final[Json] = {"type": "program", "id": "prog_1", "call_id": "p", "code": "f()", "fingerprint": "F"}
PROGRAM_OUTPUT: Final[Json] = {
    "type": "program_output",
    "id": "po_1",
    "call_id": "p",
    "result": "1",
    "status": "completed",
}
BY_PROGRAM: Final[Json] = {"caller": {"type": "program", "caller_id": "p"}}
FUNCTION: Final[Json] = {"type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"}
FUNCTION_OUTPUT: Final[Json] = {"type": "function_call_output", "call_id": "k", "output": "1"}


def types_of(hint: Any) -> set[str]:
    """Return the words in a Literal, which may be one of several types."""
    return {hint} if isinstance(hint, str) else set().union(*map(types_of, get_args(hint)))


def test_every_item_of_the_api_is_known() -> None:
    """An item without a role is told by its type: the list is that of OpenAI's package."""
    assert {
        type for item in get_args(ResponseInputItemParam) for type in types_of(get_type_hints(item)["type"])
    } == ITEMS


@pytest.mark.parametrize("type", sorted(ITEMS - {"message"}))
def test_every_item_of_the_api_is_accepted_as_a_message(type: str) -> None:
    """Whatever an OpenAI Agents session stores, memory.add() stores as well."""
    item: Json = {"type": type, "tools": [], "reasoning": {}}

    assert [each.payload for each in stored(item) if isinstance(each, NativeMessage)] == [item]


def test_additional_tools_are_an_item_with_a_role() -> None:
    """They are the developer's, go back as they came, and nobody else is told of them."""
    tools: Json = {"type": "additional_tools", "role": "developer", "tools": []}
    settings: Json = {"type": "configuration_update", "reasoning": {"effort": "low"}}

    assert to_responses(stored(tools, ASKED, settings)) == [tools, ASKED, settings]
    assert to_openai(stored(tools, ASKED, settings)) == [ASKED]
    assert [each.role for each in stored(tools, settings)] == ["developer", "developer"]


def test_to_responses_returns_a_search_of_tools_by_openai_itself() -> None:
    """Call and result have no call_id: the result is for the call before it."""
    call: Json = {"type": "tool_search_call", "id": "tsc_1", "execution": "server", "arguments": {"q": 1}}
    found: Json = {"type": "tool_search_output", "id": "tso_1", "execution": "server", "tools": [{"name": "snow"}]}
    new = {name: value for name, value in call.items() if name != "id"}
    given = [ASKED, {**call, "call_id": None}, {**found, "call_id": None}, call, found, THANKS]

    assert to_responses(stored(*given)) == [ASKED, new, found, new, found, THANKS]
    assert to_responses(stored(ASKED, found, THANKS)) == [ASKED, THANKS]
    told = to_openai(stored(*given))
    assert len({str(each["tool_call_id"]) for each in told if each["role"] == "tool"}) == 2
    assert "snow" in str(told)


def test_to_responses_returns_a_program_with_the_calls_that_it_makes() -> None:
    """A program goes back with its output and calls; without it, these calls are the model's own."""
    calls: list[Json] = [{**FUNCTION, **BY_PROGRAM}, {**FUNCTION_OUTPUT, **BY_PROGRAM}]
    whole = [ASKED, PROGRAM, *calls, PROGRAM_OUTPUT, THANKS]

    assert to_responses(stored(*whole)) == whole
    assert to_responses(stored(*whole[1:])) == [FUNCTION, FUNCTION_OUTPUT, THANKS]


# --- reasoning and files, between frameworks and providers -----------------------------------------------------------

PYDANTIC_AI: Final[Json] = {
    "kind": "response",
    "parts": [
        {"part_kind": "thinking", "content": "Hm.", "id": "rs_1", "signature": "gAAA", "provider_name": "openai"},
        {"part_kind": "thinking", "content": "So.", "id": "rs_1", "provider_name": "openai"},
        {"part_kind": "text", "content": "Yes."},
    ],
}


def thought(text: str, encrypted: str | None) -> Json:
    kept: Json = {"openai": {"itemId": "rs_1", "reasoningEncryptedContent": encrypted}}
    return {"type": "reasoning", "text": text, "providerMetadata": kept}


USE_CHAT: Final[Json] = {
    "id": "m1",
    "role": "assistant",
    "parts": [thought("Hm.", None), thought("So.", "gAAA"), {"type": "text", "text": "Yes."}],
}


@pytest.mark.parametrize("message", [PYDANTIC_AI, USE_CHAT], ids=["pydantic-ai", "ai-sdk"])
def test_to_responses_has_the_reasoning_that_a_framework_keeps_for_openai(message: Json) -> None:
    """Its parts are one item again, without the id that would demand the ids of what followed."""
    summary = [{"type": "summary_text", "text": "Hm."}, {"type": "summary_text", "text": "So."}]

    written = to_responses(stored(ASKED, message))

    assert written[1:] == [
        {"type": "reasoning", "summary": summary, "encrypted_content": "gAAA"},
        {"role": "assistant", "content": "Yes."},
    ]
    assert "gAAA" not in str(to_anthropic(stored(ASKED, message)))


REDACTED: Final[list[Json]] = [
    {
        "kind": "response",
        "parts": [
            {
                "part_kind": "thinking",
                "content": "",
                "id": "redacted_thinking",
                "signature": "Eo0",
                "provider_name": "anthropic",
            },
            {"part_kind": "text", "content": "Yes."},
        ],
    },
    {
        "id": "m1",
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "text": "", "providerMetadata": {"anthropic": {"redactedData": "Eo0"}}},
            {"type": "text", "text": "Yes."},
        ],
    },
]


@pytest.mark.parametrize("message", REDACTED, ids=["pydantic-ai", "ai-sdk"])
def test_to_anthropic_has_the_redacted_thinking_that_a_framework_keeps(message: Json) -> None:
    """What Anthropic has encrypted goes back to it, and to nobody else."""
    redacted: Json = {"type": "redacted_thinking", "data": "Eo0"}

    written = to_anthropic(stored(ASKED, message))

    assert written[1] == said("assistant", redacted, {"type": "text", "text": "Yes."})
    assert "Eo0" not in str(to_responses(stored(ASKED, message)))


def test_to_ui_messages_has_what_a_provider_wants_back_by_the_ai_sdks_names() -> None:
    """convertToModelMessages() hands it to the provider of that name."""
    items: list[Json] = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "g",
        }
    ]

    openai = {"openai": {"itemId": "rs_1", "reasoningEncryptedContent": "g"}}
    assert to_ui_messages(stored(*items))[0]["parts"] == [
        {"type": "reasoning", "text": "Hm.", "providerMetadata": openai}
    ]
    redacted = to_ui_messages(stored(response({"type": "redacted_thinking", "data": "Eo0"}, CITED)))
    assert "'anthropic': {'redactedData': 'Eo0'}" in str(redacted)


OPENAI_FILE: Final[Json] = {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}}
OPENAI_IMAGE: Final[Json] = {"type": "input_image", "file_id": "file-1"}
ANTHROPIC_FILE: Final[Json] = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
LANGCHAIN_FILE: Final[Json] = {"type": "image", "file_id": "file_1"}
UNKNOWN_FILE: Final[Json] = {"type": "image", "file_id": "7"}


@pytest.mark.parametrize(
    ("block", "own", "others"),
    [
        (OPENAI_FILE, [to_openai, to_responses], [to_anthropic]),
        (OPENAI_IMAGE, [to_responses], [to_anthropic]),
        (ANTHROPIC_FILE, [to_anthropic], [to_openai, to_responses]),
        (LANGCHAIN_FILE, [to_anthropic], [to_openai, to_responses]),
        (UNKNOWN_FILE, [], [to_anthropic, to_openai, to_responses]),
    ],
)
def test_the_id_of_a_file_goes_to_the_provider_that_made_it(block: Json, own: list[Any], others: list[Any]) -> None:
    """No other provider knows the id: it is told the file's name, or its type."""
    question = stored(said("user", block))

    assert all("'file_id': 'file" in str(write(question)) for write in own)
    assert all("file_id" not in str(write(question)) and "[file: " in str(write(question)) for write in others)


def attached(media_type: str, **where: str) -> Json:
    return said("user", {"type": "file", "mediaType": media_type, "filename": "a", **where})


@pytest.mark.parametrize("write", [to_openai, to_responses, to_anthropic])
@pytest.mark.parametrize(
    "question",
    [
        *(
            attached(type, data="AAAA")
            for type in ("image/heic", "image/svg+xml", "image/bmp", "image/tiff", "image/avif")
        ),
        *(
            attached("image/png", url=url)
            for url in ("blob:https://x.test/1", "/files/1", "gs://b/a.png", "file:///a.png")
        ),
        attached("image/heic", url="https://x.test/a.heic"),
        attached("audio/webm", data="AAAA"),
        attached("video/mp4", data="AAAA"),
    ],
    ids=str,
)
def test_a_file_that_a_provider_refuses_is_named(write: Any, question: Json) -> None:
    """One message that is refused would end the conversation."""
    assert write(stored(question)) == [{"role": "user", "content": "[file: a]"}]


@pytest.mark.parametrize("write", [to_openai, to_responses, to_anthropic])
def test_a_picture_has_the_media_type_that_providers_know(write: Any) -> None:
    """Many programs write image/jpg; without a type, the first bytes say it."""
    gif, avif = (b64encode(each + bytes(60)).decode() for each in (b"GIF89a", b"\0\0\0\x20ftypavif"))

    assert "image/jpeg" in str(write(stored(attached("image/jpg", data="AAAA"))))
    assert "image/jpeg" in str(write(stored(attached("image/JPEG; q=1", data="AAAA"))))
    assert "image/gif" in str(write(stored(attached("image", data=gif))))
    assert write(stored(attached("image", data=avif))) == [{"role": "user", "content": "[file: a]"}]


@pytest.mark.parametrize(
    ("form", "heard"), [("audio/x-wav", "wav"), ("audio/mpeg", "mp3"), ("audio/mp3", "mp3"), ("audio/wav", "wav")]
)
def test_to_openai_sends_the_audio_that_it_takes(form: str, heard: str) -> None:
    """Chat Completions takes wav and mp3."""
    audio: Json = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": heard}}

    assert to_openai(stored(attached(form, data="AAAA"))) == [said("user", audio)]


@pytest.mark.parametrize("write", [to_openai, to_responses, to_anthropic])
@pytest.mark.parametrize(
    "nothing",
    [
        {"role": "user", "content": ""},
        {"role": "system", "content": " "},
        {"role": "user", "content": [{"type": "text", "text": ""}]},
        {"type": "message", "status": "completed", "role": "user", "content": []},
        {"type": "message", "status": "completed", "role": "user", "content": [{"type": "input_text", "text": ""}]},
    ],
)
def test_a_message_that_says_nothing_is_left_out(write: Any, nothing: Json) -> None:
    """Providers refuse an empty content."""
    assert write(stored(nothing, THANKS)) == [THANKS]


@pytest.mark.parametrize("write", [to_openai, to_responses, to_anthropic])
def test_an_empty_text_beside_a_picture_is_left_out(write: Any) -> None:
    """Providers refuse an empty block of text."""
    picture: Json = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}

    (question,) = write(stored(said("user", {"type": "text", "text": ""}, picture)))

    assert len(question["content"]) == 1


# --- any conversation ------------------------------------------------------------------------------------------------

blocks = st.sampled_from([TEXT, CITED, THOUGHT, SEARCH, FOUND, MCP, MCP_RESULT, USE, RESULT, DOCUMENT])
turns = st.lists(
    st.one_of(
        st.lists(blocks, max_size=5).map(lambda each: response(*each)),
        st.lists(st.sampled_from([TEXT, DOCUMENT, RESULT]), max_size=3).map(lambda each: said("user", *each)),
    ),
    max_size=6,
)


@given(turns)
@examples(300)
def test_to_anthropic_answers_its_own_tools_calls_among_what_the_model_says(chat: list[Json]) -> None:
    """A result of a provider's own tool follows its call, and only what a model goes on with has none."""
    written = to_anthropic(stored(*chat))

    found: list[Any] = [block for each in written if isinstance(each["content"], list) for block in each["content"]]
    waiting: list[str] = []
    for block in found:
        if block["type"] in ("server_tool_use", "mcp_tool_use"):
            waiting.append(block["id"])
        elif block["type"] in ("web_search_tool_result", "mcp_tool_result"):
            waiting.remove(block["tool_use_id"])
    assert not waiting or written[-1]["role"] == "assistant"


CHAT_MESSAGE: Final[TypeAdapter[Any]] = TypeAdapter(ChatCompletionMessageParam)
ITEM: Final[TypeAdapter[Any]] = TypeAdapter(ResponseInputItemParam)
BLOCK: Final[TypeAdapter[Any]] = TypeAdapter(BetaContentBlockParam)


@given(turns)
@examples(100)
def test_lists_for_providers_have_the_types_of_their_packages(chat: list[Json]) -> None:
    """The packages openai and anthropic say what their interfaces take."""
    messages = stored(*chat)

    for each in to_openai(messages):
        CHAT_MESSAGE.validate_python(each)
    for each in to_responses(messages):
        ITEM.validate_python(each)
    for each in to_anthropic(messages):
        for block in each["content"] if isinstance(each["content"], list) else []:
            BLOCK.validate_python(block)


def test_every_block_of_anthropics_package_is_known() -> None:
    """A block that nobody knows goes back only if the whole response was stored."""
    schema: Any = BLOCK.json_schema()
    blocks = [schema["$defs"][each["$ref"].rpartition("/")[2]] for each in schema["anyOf"]]
    types = {each["properties"]["type"]["const"] for each in blocks}

    assert types <= BLOCKS.keys()
