"""The formats of front ends: the AI SDK's UIMessages, assistant-ui's threads and history."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MakeStorage
from tests.web.conftest import Connect, application
from voltmem import PostgresStorage, Storage
from voltmem._values import JsonObject
from voltmem.errors import DatabaseTimeoutError
from voltmem.models import NativeMessage
from voltmem.parts import to_ui_messages
from voltmem.parts._front_ends import ABANDONED
from voltmem.web._ui_messages import native_message

TEXT = {"type": "text", "text": "Why won't it rise?"}
CALL = {"type": "tool-weather", "toolCallId": "t1", "state": "output-available", "input": {"in": "Oslo"}, "output": 4}
ASKED = {"id": "u1", "role": "user", "parts": [TEXT]}
ANSWERED = {
    "id": "u2",
    "role": "assistant",
    "metadata": {"model": "m"},
    "parts": [{"type": "step-start"}, {"type": "reasoning", "text": "Hm."}, CALL, TEXT, {"type": "data-x", "data": 1}],
}


@pytest.fixture
async def conversation(storage: PostgresStorage) -> str:
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return "/conversations/c1"


async def get(client: httpx2.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- the AI SDK ---------------------------------------------------------------------------------------------------


async def test_what_use_chat_has_comes_back_as_it_was(conversation: str, ada: httpx2.AsyncClient) -> None:
    """useChat's messages are returned unchanged, with unknown parts, metadata and the order of keys."""
    stored = await ada.post(f"{conversation}/ui-messages", json={"messages": [ASKED, ANSWERED]})

    assert stored.json() == [ASKED, ANSWERED]
    assert await get(ada, f"{conversation}/ui-messages") == [ASKED, ANSWERED]
    assert await get(ada, f"{conversation}/ui-messages", limit=1) == [ANSWERED]


async def test_the_metadata_of_a_ui_message_is_the_messages(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """What a front end sends is read by all, what is merged into it comes back, and saving again changes nothing."""
    given = [ASKED, ANSWERED]
    await ada.post(f"{conversation}/ui-messages", json={"messages": given})
    assert [each.metadata for each in await storage.get_messages("ada", "c1")] == [{}, {"model": "m"}]

    for id in ("u1", "u2"):
        await ada.patch(f"{conversation}/messages/{id}", json={"mergeMetadata": {"liked": True}})

    merged = [{**ASKED, "metadata": {"liked": True}}, {**ANSWERED, "metadata": {"model": "m", "liked": True}}]
    assert await get(ada, f"{conversation}/ui-messages") == merged
    rows = (await get(ada, f"{conversation}/history"))["messages"]
    assert [{"id": row["id"], **row["content"]} for row in rows] == merged
    before = await storage.get_messages("ada", "c1")
    for messages in (merged, given):  # a tab that was open before has the old metadata
        await ada.post(f"{conversation}/ui-messages", json={"messages": messages, "rewind": True})
        assert await storage.get_messages("ada", "c1") == before
    for row in rows:
        entry = {name: row[name] for name in ("parent_id", "format", "content")}
        await ada.put(f"{conversation}/history/{row['id']}", json=entry)
    assert await storage.get_messages("ada", "c1") == before

    await ada.post(f"{conversation}/ui-messages", json={**ANSWERED, "metadata": {"model": "n"}})
    # A field that only the server has was merged after the page had loaded: it stays.
    assert (await storage.get_messages("ada", "c1"))[1].metadata == {"model": "n", "liked": True}


@pytest.mark.parametrize("metadata", [{"a": "\x00"}, 5, [1], None])
async def test_metadata_that_is_no_object_of_jsonb_comes_back(
    metadata: Any, conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """It is useChat's own: it is returned as it was, and is not the message's."""
    await ada.post(f"{conversation}/ui-messages", json={**ASKED, "metadata": metadata})

    assert await get(ada, f"{conversation}/ui-messages") == [{**ASKED, "metadata": metadata}]
    assert [each.metadata for each in await storage.get_messages("ada", "c1")] == [{}]


async def test_a_ui_message_that_the_application_adds_has_its_metadata(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """add_message() takes a UIMessage as a route does."""
    stored = await storage.add_message(ANSWERED, "ada", "c1")

    assert stored.metadata == {"model": "m"}
    assert await get(ada, f"{conversation}/ui-messages") == [ANSWERED]


async def test_other_readers_get_plain_messages(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """Other readers get plain messages: text as text, tools as calls and results, and no reasoning."""
    await ada.post(f"{conversation}/ui-messages", json={"messages": [ASKED, ANSWERED]})

    asked, answered = await storage.conversation("ada", "c1").messages()

    assert (asked.id, asked.role, asked.content) == ("u1", "user", "Why won't it rise?")
    assert answered.content == [
        {"type": "tool-call", "toolCallId": "t1", "toolName": "weather", "args": {"in": "Oslo"}},
        {"type": "tool-result", "toolCallId": "t1", "toolName": "weather", "result": 4},
        TEXT,
    ]


async def test_a_message_is_stored_by_its_id(conversation: str, ada: httpx2.AsyncClient) -> None:
    """A message replaces the stored one with its id, so useChat's messages can be sent repeatedly."""
    await ada.post(f"{conversation}/ui-messages", json=ASKED)
    longer = {**ASKED, "parts": [TEXT, TEXT]}

    await ada.post(f"{conversation}/ui-messages", json={"messages": [longer, ANSWERED]})

    assert await get(ada, f"{conversation}/ui-messages") == [longer, ANSWERED]


def said(id: str, role: str = "assistant", text: str = "Hi") -> dict[str, Any]:
    return {"id": id, "role": role, "parts": [{"type": "text", "text": text}]}


CHAT = [said("q1", "user"), said("a1"), said("q2", "user"), said("a2")]


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param([*CHAT[:3], said("a3")], id="the last answer asked for again"),
        pytest.param([CHAT[0], said("a3")], id="an earlier answer asked for again"),
        pytest.param([said("q1", "user", "Hello"), said("a3")], id="a question edited"),
        pytest.param(CHAT[:3], id="asked for again, and nothing came"),
        pytest.param([*CHAT, said("q3", "user"), said("a3")], id="gone on"),
        pytest.param([*CHAT[:3], said("a2", text="Hi there")], id="an answer that has grown"),
    ],
)
async def test_use_chats_whole_list_is_stored_as_it_is(
    whole: list[Any], conversation: str, ada: httpx2.AsyncClient
) -> None:
    """
    The whole list of useChat is stored.

    With rewind, messages that are not in it are set aside; a repetition changes nothing.
    """
    await ada.post(f"{conversation}/ui-messages", json={"messages": CHAT})

    for _ in range(2):
        stored = await ada.post(f"{conversation}/ui-messages", json={"messages": whole, "rewind": True})

        assert stored.json() == whole
        assert await get(ada, f"{conversation}/ui-messages") == whole


async def test_an_end_may_begin_with_a_message_that_is_there(conversation: str, ada: httpx2.AsyncClient) -> None:
    """
    A list may begin in the middle of the stored messages, which stay before it.

    With only new ids nothing is replaced.
    """
    await ada.post(f"{conversation}/ui-messages", json={"messages": CHAT})

    await ada.post(f"{conversation}/ui-messages", json={"messages": [CHAT[2], said("a3")], "rewind": True})
    await ada.post(f"{conversation}/ui-messages", json={"messages": [said("q4", "user")], "rewind": True})

    assert await get(ada, f"{conversation}/ui-messages") == [*CHAT[:3], said("a3"), said("q4", "user")]


async def test_without_rewind_nothing_is_deleted(conversation: str, ada: httpx2.AsyncClient) -> None:
    """Without rewind nothing is deleted: a client may send only new or changed messages."""
    await ada.post(f"{conversation}/ui-messages", json={"messages": CHAT})

    await ada.post(f"{conversation}/ui-messages", json={"messages": [CHAT[0], said("a3")]})
    await ada.post(f"{conversation}/ui-messages", json=said("a4"))

    assert await get(ada, f"{conversation}/ui-messages") == [*CHAT, said("a3"), said("a4")]


async def test_a_list_that_cannot_be_stored_drops_nothing(
    conversation: str, ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a list cannot be stored, nothing is deleted: both are one transaction."""
    await ada.post(f"{conversation}/ui-messages", json={"messages": CHAT})

    async def fail(*_: object, **__: object) -> NoReturn:
        raise DatabaseTimeoutError("PostgreSQL did not answer in time")

    with monkeypatch.context() as broken:
        broken.setattr(Storage, "add_messages", fail)
        body = {"messages": [CHAT[0], said("a3")], "rewind": True}
        failed = await ada.post(f"{conversation}/ui-messages", json=body)

    assert failed.status_code == 503
    assert await get(ada, f"{conversation}/ui-messages") == CHAT


async def test_lists_that_come_at_once_are_stored_one_after_the_other(
    conversation: str, ada: httpx2.AsyncClient
) -> None:
    """Of concurrent lists of two windows the later one decides the end; they are never mixed, and none is lost."""
    await ada.post(f"{conversation}/ui-messages", json={"messages": CHAT})
    lists = [[*CHAT[:3], said(f"b{number}")] for number in range(8)]

    answers = await asyncio.gather(
        *(ada.post(f"{conversation}/ui-messages", json={"messages": each, "rewind": True}) for each in lists)
    )

    assert {answer.status_code for answer in answers} == {200}
    assert await get(ada, f"{conversation}/ui-messages") in lists
    (point,) = (await get(ada, f"{conversation}/branches"))["items"]
    assert sorted(point["messageIds"]) == [CHAT[3]["id"], *(f"b{number}" for number in range(8))]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"id": "u1", "role": "user"},
        {"id": "u1", "role": "tool", "parts": []},
        {"id": "", "role": "user", "parts": []},
        {"id": "u\x00", "role": "user", "parts": []},
        {"id": "u1", "role": "user", "parts": [{"text": "no type"}]},
        {"id": "u1", "role": "user", "parts": ["text"]},
    ],
    ids=str,
)
async def test_an_invalid_ui_message_is_refused(message: Any, conversation: str, ada: httpx2.AsyncClient) -> None:
    """A message whose parts are not a list of parts is refused; their content is not checked."""
    assert (await ada.post(f"{conversation}/ui-messages", json=message)).status_code == 422


STORED: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"role": "user", "content": "Hi"}, [{"type": "text", "text": "Hi"}]),
    ({"role": "developer", "content": "Be brief"}, [{"type": "text", "text": "Be brief"}]),
    (
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "output_text", "text": "A"}],
        },
        [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "A"}],
    ),
    (
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]},
        [{"type": "tool-weather", "toolCallId": "t1", "state": "input-available", "input": {}}],
    ),
    (
        {"role": "assistant", "content": {"tool_calls": [{"id": "t1", "function": {"name": "f", "arguments": "[1]"}}]}},
        [{"type": "tool-f", "toolCallId": "t1", "state": "input-available", "input": [1]}],
    ),
    (
        {"role": "user", "content": [{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,"}]},
        [{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,"}],
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]},
        [{"type": "file", "mediaType": "image", "url": "https://a/b.png"}],
    ),
    ({"role": "user", "content": {"any": ["json", 7]}}, [{"type": "text", "text": "json\n7"}]),
]


@pytest.mark.parametrize(("message", "parts"), STORED, ids=lambda value: str(value)[:40])
async def test_what_an_agent_stored_is_translated(
    message: dict[str, Any],
    parts: list[dict[str, Any]],
    conversation: str,
    storage: PostgresStorage,
    ada: httpx2.AsyncClient,
) -> None:
    """Messages of agents are converted to UIMessages from VoltAgent's, Anthropic's and OpenAI's forms."""
    await storage.add_message({"id": "m1", **message}, "ada", "c1")

    (found,) = await get(ada, f"{conversation}/ui-messages")

    assert found["id"] == "m1"
    assert found["parts"] == parts
    assert found["role"] == {"developer": "system"}.get(message["role"], message["role"])


async def test_a_tool_result_is_part_of_its_call(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """
    A tool result is put into the part of its call, not into a message of its own.

    Without a call it is a part, too.
    """
    calls = [{"type": "tool-call", "toolCallId": id, "toolName": "add", "args": [1]} for id in ("t1", "t2")]
    results = [{"type": "tool-result", "toolCallId": id, "toolName": "add", "result": id} for id in ("t2", "t1", "t3")]
    await storage.add_messages(
        [
            {"id": "m1", "role": "assistant", "content": calls, "type": "tool-call"},
            {"id": "m2", "role": "tool", "content": results, "type": "tool-result"},
            {"id": "m3", "role": "assistant", "content": "Done."},
        ],
        "ada",
        "c1",
    )

    first, orphan, last = await get(ada, f"{conversation}/ui-messages")

    assert [(part["state"], part["output"]) for part in first["parts"]] == [
        ("output-available", id) for id in ("t1", "t2")
    ]
    assert (orphan["role"], orphan["parts"][0]["toolCallId"]) == ("assistant", "t3")
    assert last["parts"] == [{"type": "text", "text": "Done."}]


JSON = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=2)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "reasoning", "tool-x", "dynamic-tool", "file", "data-x", "step-start", ""])},
    optional={
        "text": JSON,
        "toolCallId": st.sampled_from(["t1", "t2"]) | JSON,
        "toolName": JSON,
        "state": st.sampled_from(["input-available", "output-available", "output-error"]) | JSON,
        "input": JSON,
        "output": JSON,
        "url": JSON,
        "mediaType": JSON,
    },
)


PAYLOADS = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "parts": st.lists(PARTS, max_size=4)})


def as_given(part: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the part, without the end of a call that has been passed over, and with an id that was used before."""
    id, own = str(given.get("toolCallId")), str(part.get("toolCallId"))
    part = {**part, "toolCallId": id} if own.startswith(f"{id}_") else part
    return given if part == {**given, "state": "output-error", "errorText": ABANDONED} else part


@given(st.lists(PAYLOADS, max_size=4))
def test_any_ui_message_can_be_stored_and_comes_back(payloads: list[dict[str, Any]]) -> None:
    """
    Any UIMessage is stored and returned unchanged, but for calls that have been passed over, and ids used again.

    Its plain form can be converted to one again.
    """
    own = [native_message(f"m{n}", payload, format="ai-sdk/v7") for n, payload in enumerate(payloads)]
    plain = [NativeMessage(id=each.id, role=each.role, content=each.content) for each in own]

    shown: list[Any] = to_ui_messages(own)
    for message, payload in zip(shown, payloads, strict=True):
        if payload == {"role": "user", "parts": []}:
            assert message.pop("parts") == [{"type": "text", "text": ""}]
            message["parts"] = []
        message["parts"] = [as_given(*each) for each in zip(message["parts"], payload["parts"], strict=True)]
    assert shown == [{"id": f"m{n}", **payload} for n, payload in enumerate(payloads)]
    for message in to_ui_messages(plain):
        assert message["role"] in ("system", "user", "assistant")
        assert message["parts"]


# --- assistant-ui -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7])
async def test_the_thread_list_has_every_conversation_once(
    limit: int, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """The list of threads has every conversation once, the archived ones last; the last page has no nextCursor."""
    for number in range(5):
        await storage.create_conversation({"id": f"c{number}", "user_id": "ada", "title": f"T{number}"})
    for number in (1, 3):
        await storage.archive_conversation(f"c{number}")
    threads: list[Any] = []
    after: dict[str, str] = {}
    while True:
        page = await get(ada, "/threads", limit=limit, **after)
        assert len(page["threads"]) <= limit
        threads += page["threads"]
        if "nextCursor" not in page:
            break
        after = {"after": page["nextCursor"]}

    assert [(each["remoteId"], each["status"]) for each in threads] == [
        ("c4", "regular"),
        ("c2", "regular"),
        ("c0", "regular"),
        ("c3", "archived"),
        ("c1", "archived"),
    ]


async def test_a_thread_is_a_conversation(ada: httpx2.AsyncClient) -> None:
    """The verbs of a thread are the routes of a conversation, except fetch, which has its own."""
    remote_id = (await ada.post("/conversations", json={})).json()["id"]
    untitled = await get(ada, f"/threads/{remote_id}")
    await ada.patch(f"/conversations/{remote_id}", json={"title": "Bread", "metadata": {"custom": None}})
    await ada.post(f"/conversations/{remote_id}/archive")
    thread = await get(ada, f"/threads/{remote_id}")
    await ada.delete(f"/conversations/{remote_id}")

    assert untitled.keys() == {"status", "remoteId", "lastMessageAt", "custom"}
    assert thread == untitled | {"status": "archived", "title": "Bread", "custom": {"custom": None}}
    assert (await ada.get(f"/threads/{remote_id}")).status_code == 404


def entry(text: str, parent_id: str | None) -> dict[str, Any]:
    content = {"role": "user", "parts": [{"type": "text", "text": text}]}
    return {"parent_id": parent_id, "format": "ai-sdk/v6", "content": content}


async def test_a_history_has_branches(conversation: str, ada: httpx2.AsyncClient) -> None:
    """A history has branches: each row names the previous message; the newest one is the head."""
    for id, parent in (("a", None), ("b", "a"), ("b2", "a")):
        assert (await ada.put(f"{conversation}/history/{id}", json=entry(id, parent))).status_code == 200

    history = await get(ada, f"{conversation}/history", format="ai-sdk/v6")

    assert history == {
        "headId": "b2",
        "messages": [
            {"id": "a", **entry("a", None)},
            {"id": "b", **entry("b", "a")},
            {"id": "b2", **entry("b2", "a")},
        ],
    }


async def test_a_history_entry_is_stored_by_its_id(conversation: str, ada: httpx2.AsyncClient) -> None:
    """append() and update() of a history store by id: an update may come without an append."""
    await ada.put(f"{conversation}/history/a", json=entry("first", None))
    await ada.put(f"{conversation}/history/b", json=entry("second", "a"))
    await ada.put(f"{conversation}/history/a", json=entry("edited", None))

    rows = (await get(ada, f"{conversation}/history"))["messages"]

    assert [row["content"]["parts"][0]["text"] for row in rows] == ["edited", "second"]


async def test_a_history_has_messages_of_other_writers(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """A history includes messages of other writers, in a chain, since assistant-ui drops messages without a parent."""
    await ada.put(f"{conversation}/history/a", json=entry("first", None))
    await storage.add_message({"id": "m1", "role": "assistant", "content": "Hi"}, "ada", "c1")
    await ada.post(f"{conversation}/ui-messages", json=ASKED)
    await ada.put(f"{conversation}/history/b", json=entry("last", "gone"))

    rows = (await get(ada, f"{conversation}/history", format="ai-sdk/v7"))["messages"]

    assert [(row["id"], row["parent_id"], row["format"]) for row in rows] == [
        ("a", None, "ai-sdk/v7"),
        ("m1", "a", "ai-sdk/v7"),
        ("u1", "m1", "ai-sdk/v7"),
        ("b", "u1", "ai-sdk/v7"),
    ]
    assert all("id" not in row["content"] for row in rows)


async def test_another_format_is_its_own(conversation: str, ada: httpx2.AsyncClient) -> None:
    """A history in another format is returned only for that format."""
    content = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "status": {"type": "complete"}}
    await ada.put(f"{conversation}/history/a", json={"format": "aui/v0", "content": content})

    assert (await get(ada, f"{conversation}/history", format="aui/v0"))["messages"] == [
        {"id": "a", "parent_id": None, "format": "aui/v0", "content": content}
    ]
    assert await get(ada, f"{conversation}/history", format="other") == {"headId": None, "messages": []}
    assert (await get(ada, f"{conversation}/ui-messages"))[0]["parts"] == [{"type": "text", "text": "Hi"}]


async def test_a_history_lists_all_branches_and_ui_messages_the_chosen_one(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """Every branch is in the history, with the head of the chosen one, which is what all others read."""
    for id, parent in (("q", None), ("a", "q"), ("b", "q"), ("b1", "b")):
        await ada.put(f"{conversation}/history/{id}", json=entry(id, parent))
    chosen = await ada.post(f"{conversation}/messages/a/choose")

    history = await get(ada, f"{conversation}/history")
    branches = await get(ada, f"{conversation}/branches")
    siblings = await get(ada, f"{conversation}/messages/a/siblings")

    assert chosen.json() == {"headId": "a"}
    assert history["headId"] == "a"
    assert {row["id"]: row["parent_id"] for row in history["messages"]} == {"q": None, "a": "q", "b": "q", "b1": "b"}
    assert branches == {"items": [{"parentId": "q", "messageIds": ["a", "b"], "chosenId": "a"}]}
    assert [item["id"] for item in siblings["items"]] == ["a", "b"]
    assert [each["id"] for each in await get(ada, f"{conversation}/ui-messages")] == ["q", "a"]
    assert [each.id for each in await storage.conversation("ada", "c1").messages()] == ["q", "a"]


async def test_a_branch_begins_where_it_is_asked_for(conversation: str, ada: httpx2.AsyncClient) -> None:
    """POST /branch sets what follows aside; null begins anew; a message that is missing is 404."""
    await ada.post(f"{conversation}/messages", json={"messages": [{"id": "q", "role": "user", "content": "Hi"}]})

    assert (await ada.post(f"{conversation}/branch", json={"messageId": None})).status_code == 204
    assert await get(ada, f"{conversation}/ui-messages") == []
    assert (await ada.post(f"{conversation}/branch", json={"messageId": "gone"})).status_code == 404
    assert (await ada.post(f"{conversation}/messages/gone/choose")).status_code == 404
    assert (await ada.get(f"{conversation}/messages/gone/siblings")).status_code == 404


async def test_a_history_has_the_siblings_that_list_siblings_has(
    make_storage: MakeStorage, migrated: str, connect: Connect
) -> None:
    """Where the limit has removed a parent, a history and the siblings of a message still agree."""
    storage = make_storage(storage_limit=2)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    ada = connect(application(storage))
    for id, parent in [("q", None), ("a", "q"), ("b", "q"), ("b1", "b"), ("b2", "b1"), ("new", None), ("c", "b1")]:
        assert (await ada.put(f"/conversations/c1/history/{id}", json=entry(id, parent))).status_code == 200

    parents = {row["id"]: row["parent_id"] for row in (await get(ada, "/conversations/c1/history"))["messages"]}

    assert parents == {"b1": None, "b2": "b1", "new": None, "c": "b1"}
    for id, parent in parents.items():
        siblings = (await get(ada, f"/conversations/c1/messages/{id}/siblings"))["items"]
        assert [each["id"] for each in siblings] == [each for each in parents if parents[each] == parent]


async def test_a_history_entry_follows_the_results_of_its_parent(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """An entry after a call whose result is a message of its own follows the result, and sets nothing aside."""
    call: JsonObject = {"type": "tool-call", "toolCallId": "t", "toolName": "look", "input": {}}
    result: JsonObject = {"type": "tool-result", "toolCallId": "t", "toolName": "look", "output": "seen"}
    await storage.add_messages(
        [
            {"id": "q", "role": "user", "content": "Look"},
            {"id": "call", "role": "assistant", "content": [call], "type": "tool-call"},
            {"id": "result", "role": "tool", "content": [result], "type": "tool-result"},
        ],
        "ada",
        "c1",
    )
    head = (await get(ada, f"{conversation}/history"))["headId"]

    await ada.put(f"{conversation}/history/next", json=entry("next", head))

    assert head == "call"
    assert [each.id for each in await storage.get_messages("ada", "c1")] == ["q", "call", "result", "next"]
    assert await storage.list_branches("c1") == []
    rows = (await get(ada, f"{conversation}/history"))["messages"]
    assert [(row["id"], row["parent_id"]) for row in rows] == [("q", None), ("call", "q"), ("next", "call")]


async def test_a_history_that_is_put_back_changes_nothing(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """Entries that come back as they were given stay as the framework stored them, in every branch."""
    await storage.add_messages(
        [{"id": id, "role": "user", "content": id, "metadata": {"kept": True}} for id in "abc"], "ada", "c1"
    )
    await storage.branch_conversation("c1", "a")
    before = await exported(storage)

    for row in (await get(ada, f"{conversation}/history"))["messages"]:
        id = row.pop("id")
        assert (await ada.put(f"{conversation}/history/{id}", json=row)).status_code == 200

    assert await exported(storage) == before


async def exported(storage: PostgresStorage) -> list[str]:
    lines = [line async for line in storage.export_user("ada")]
    return lines[1:]  # without the header, which has the time


async def test_updating_a_history_with_what_it_gave_changes_nothing(
    conversation: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """update() of each message that load() gave keeps every row: its form, its metadata, a call and its result."""
    call = {"type": "tool-call", "toolCallId": "k", "toolName": "t", "args": {}}
    result = {"type": "tool-result", "toolCallId": "k", "toolName": "t", "result": "rain"}
    messages: list[dict[str, Any]] = [
        {"id": "m1", "role": "user", "content": "Weather?"},
        {"id": "m2", "role": "assistant", "type": "tool-call", "content": [call]},
        {"id": "m3", "role": "tool", "type": "tool-result", "content": [result]},
        {"id": "m4", "role": "assistant", "content": "Rain.", "metadata": {"tokens": 3}},
    ]
    stored = await storage.add_messages(messages, "ada", "c1")
    loaded = (await get(ada, f"{conversation}/history"))["messages"]

    for row in loaded:
        body = {"parent_id": row["parent_id"], "format": row["format"], "content": row["content"]}
        assert (await ada.put(f"{conversation}/history/{row['id']}", json=body)).json() == row

    assert await storage.get_messages("ada", "c1") == stored
    assert (await get(ada, f"{conversation}/history"))["messages"] == loaded
