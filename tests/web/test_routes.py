"""The routes for conversations and messages: requests and responses of a front end."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import quote

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.conftest import time_zone_at
from tests.web.conftest import Connect, Serve, application
from voltmem import PostgresStorage, Storage, web
from voltmem.errors import DatabaseTimeoutError, MissingExtraError

START = datetime(2026, 1, 15, tzinfo=UTC)  # in January in every time zone


async def get(client: httpx2.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def make(storage: PostgresStorage, count: int) -> list[str]:
    """Create conversations, each an hour older than the one before. Returns their ids, the newest first."""
    for number in range(count):
        await storage.create_conversation(
            {"id": f"c{number}", "user_id": "ada", "created_at": START + timedelta(hours=number)}
        )
    return [f"c{number}" for number in reversed(range(count))]


# --- conversations ------------------------------------------------------------------------------------------------


async def test_a_conversation_that_is_made_is_where_the_answer_says(ada: httpx2.AsyncClient) -> None:
    """Creating a conversation is a 201 with the conversation and a Location that leads to it."""
    body = {"title": "Bread", "resourceId": "baker", "metadata": {"flour": [1, None]}}

    made = await ada.post("/conversations", json=body)

    assert made.status_code == 201
    assert made.json() | body == made.json()
    assert (await ada.get(f"http://test{made.headers['location']}")).json() == made.json()


async def test_a_conversation_may_have_an_id_of_the_clients(ada: httpx2.AsyncClient) -> None:
    """A client may choose the id: any printable characters but a slash, percent-encoded in the Location."""
    made = await ada.post("/conversations", json={"id": "what?#100%"})

    assert made.headers["location"] == "/api/conversations/what%3F%23100%25"
    assert (await ada.get(f"http://test{made.headers['location']}")).json()["id"] == "what?#100%"


@pytest.mark.parametrize("id", ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\x00", "a\n", "x" * 201])
async def test_an_id_that_no_path_can_name_is_refused(id: str, ada: httpx2.AsyncClient) -> None:
    """422 for an id that cannot be in a path, since the conversation could not be reached."""
    assert (await ada.post("/conversations", json={"id": id})).status_code == 422


@pytest.mark.parametrize("id", ["team/42", "/", "a//b/", "c1/messages", "../c1", "50%2F50", "é/ü", "1/%00"])
async def test_an_id_with_a_slash_is_reached_as_any_other(
    id: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """An id with a slash, from the application or an import, is reached with %2F in the path."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.create_conversation({"id": id, "user_id": "ada", "title": "Bread"})
    await storage.add_message({"id": id, "role": "user", "content": "Hi"}, "ada", id)
    place = quote(id, safe="")

    found = await get(ada, f"/conversations/{place}")
    messages = await get(ada, f"/conversations/{place}/messages")
    fork = await ada.post(f"/conversations/{place}/fork", json={"upTo": id, "id": "copy"})
    wrong = await ada.put(f"/conversations/{place}")
    deleted = [
        await ada.delete(path) for path in (f"/conversations/{place}/messages/{place}", f"/conversations/{place}")
    ]

    assert (found["id"], [each["id"] for each in messages["items"]]) == (id, [id])
    assert (fork.json()["forkedFrom"], fork.headers["location"]) == (id, "/api/conversations/copy")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET, PATCH")
    assert [answer.status_code for answer in deleted] == [204, 204]
    assert {item["id"] for item in (await get(ada, "/conversations"))["items"]} == {"c1", "copy"}


async def test_a_slash_in_an_id_stays_one_over_a_real_server(storage: PostgresStorage, serve: Serve) -> None:
    """A real server keeps %2F in an id, also when mounted under a prefix with an encoded character."""
    await storage.create_conversation({"id": "team/42", "user_id": "ada"})
    inner = web.app(storage, user=lambda _: "ada", chosen_ids="any")

    async with serve(Starlette(routes=[Mount("/my api", inner)])) as address, httpx2.AsyncClient() as client:
        found = await client.get(f"{address}/my%20api/conversations/team%2F42")
        nowhere = await client.get(f"{address}/my%20api/conversations/team/42")

    assert (found.status_code, found.json().get("id")) == (200, "team/42")
    assert nowhere.status_code == 404


@pytest.mark.parametrize("limit", [1, 2, 5, 9])
async def test_the_list_is_paged_without_loss(limit: int, storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """nextCursor leads through the whole list, and is missing on the last page."""
    ids = await make(storage, 5)
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await get(ada, "/conversations", limit=limit, **after)
        found += [item["id"] for item in page["items"]]
        if not page["hasMore"]:
            break
        after = {"after": page["nextCursor"]}

    assert found == ids
    assert page["nextCursor"] is None


async def test_the_list_can_be_narrowed(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """The list is filtered by marks, tag and resource; archived conversations are a separate list."""
    await make(storage, 4)
    await storage.pin_conversation("c0")
    await storage.archive_conversation("c1")
    await storage.tag_conversation("c2", ["work"])
    await storage.update_conversation("c3", resource_id="baker", touch=False)

    async def ids(**query: str) -> list[str]:
        return [item["id"] for item in (await get(ada, "/conversations", **query))["items"]]

    assert await ids() == ["c0", "c3", "c2"]
    assert await ids(pinned="true") == ["c0"]
    assert await ids(pinned="false") == ["c3", "c2"]
    assert await ids(archived="true") == ["c1"]
    assert await ids(tag="work") == ["c2"]
    assert await ids(resourceId="baker") == ["c3"]


async def test_headings_are_the_viewers(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """With a time zone each conversation has the heading of its group; without one, none."""
    await make(storage, 2)
    await storage.pin_conversation("c0")
    await storage.create_conversation({"id": "new", "user_id": "ada"})

    items = (await get(ada, "/conversations", timeZone=time_zone_at(12)))["items"]
    plain = (await get(ada, "/conversations"))["items"]

    assert [item["group"]["key"] for item in items] == ["pinned", "today", "2026-01"]
    assert items[2]["group"]["label"] == "January 2026"
    assert {item["group"] for item in plain} == {None}


async def test_a_change_is_all_or_nothing(
    storage: PostgresStorage, ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of several fields is one transaction: if the last one fails, the others are unchanged."""
    await make(storage, 1)
    changes = {"title": "Bread", "pinned": True, "archived": True, "tags": ["b", "a"], "metadata": {"n": 1}}

    async def fail(*_: object, **__: object) -> NoReturn:
        raise DatabaseTimeoutError("PostgreSQL did not answer in time")

    changed = await ada.patch("/conversations/c0", json=changes)
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "tag_conversation", fail)
        failed = await ada.patch("/conversations/c0", json={"title": "Soup", "pinned": False, "tags": []})

    assert changed.json() | changes == changed.json()
    assert failed.status_code == 503
    assert await get(ada, "/conversations/c0") == changed.json()


@pytest.mark.parametrize(
    "changes",
    [{"title": "Bread"}, {"pinned": True}, {"archived": True}, {"tags": ["a"]}, {"metadata": {"n": 1}}, {}],
    ids=str,
)
async def test_what_is_not_given_stays(changes: Any, storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """A change affects only the given fields, and does not move the conversation in the list."""
    await make(storage, 1)
    before = await get(ada, "/conversations/c0")

    changed = await ada.patch("/conversations/c0", json=changes)

    assert changed.json() == before | changes


async def test_a_title_can_be_cleared(ada: httpx2.AsyncClient) -> None:
    """null clears the title; leaving it out keeps it."""
    await ada.post("/conversations", json={"id": "c1", "title": "Bread"})

    assert (await ada.patch("/conversations/c1", json={"title": None})).json()["title"] is None


async def test_a_model_never_replaces_a_persons_title(ada: httpx2.AsyncClient) -> None:
    """A model's title never replaces a person's, by either route, but may replace a model's."""
    await ada.post("/conversations", json={"id": "c1"})

    first = await ada.post("/conversations/c1/title", json={"title": "Bread"})
    second = await ada.patch("/conversations/c1", json={"title": "Loaves", "titleIsAutomatic": True})
    await ada.patch("/conversations/c1", json={"title": "My bread"})
    third = await ada.post("/conversations/c1/title", json={"title": "Rolls"})

    assert [each.json()["title"] for each in (first, second, third)] == ["Bread", "Loaves", "My bread"]
    assert [each.json()["titleIsAutomatic"] for each in (first, second, third)] == [True, True, False]


@pytest.mark.parametrize("changes", [{"title": None}, {}], ids=str)
async def test_a_model_clears_no_title(changes: Any, ada: httpx2.AsyncClient) -> None:
    """An automatic title of null is refused, and a person's stays."""
    await ada.post("/conversations", json={"id": "c1", "title": "My bread"})

    refused = await ada.patch("/conversations/c1", json=changes | {"titleIsAutomatic": True})

    assert refused.status_code == 422
    assert (await get(ada, "/conversations/c1"))["title"] == "My bread"


async def test_an_archived_conversation_can_be_got_back(ada: httpx2.AsyncClient) -> None:
    """Archiving without a body archives; the body can also restore."""
    await ada.post("/conversations", json={"id": "c1"})

    answers = [
        await ada.post("/conversations/c1/archive"),
        await ada.post("/conversations/c1/archive", json={"archived": False}),
        await ada.post("/conversations/c1/archive", json={}),
    ]

    assert [each.json()["archived"] for each in answers] == [True, False, True]


async def test_reading_goes_forwards_only(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Marking as read applies up to now or up to a time, and never moves back."""
    await make(storage, 1)
    await storage.add_message({"role": "assistant", "content": "Done."}, "ada", "c0")
    assert (await get(ada, "/conversations/c0"))["unread"] is True

    early = await ada.post("/conversations/c0/read", json={"at": "2026-01-01T01:00:00+01:00"})
    now = await ada.post("/conversations/c0/read")
    again = await ada.post("/conversations/c0/read", json={"at": "2026-01-01T00:00:00Z"})

    assert early.json()["readAt"] == "2026-01-01T00:00:00Z"
    assert (early.json()["unread"], now.json()["unread"]) == (True, False)
    assert again.json()["readAt"] == now.json()["readAt"]


async def test_reading_up_to_a_future_time_means_now(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Marking as read up to a future time means now, so that the next message is unread."""
    await make(storage, 1)

    ahead = await ada.post("/conversations/c0/read", json={"at": "9999-12-31T23:59:59Z"})
    await storage.add_message({"role": "assistant", "content": "Done."}, "ada", "c0")

    assert datetime.fromisoformat(ahead.json()["readAt"]) <= datetime.now(UTC) + timedelta(minutes=1)
    assert (await get(ada, "/conversations/c0"))["unread"] is True


async def test_a_deletion_can_be_undone_until_it_is_purged(ada: httpx2.AsyncClient) -> None:
    """A deleted conversation is in a list of its own; restoring brings it back, and purging deletes it for good."""
    before = (await ada.post("/conversations", json={"id": "c1", "title": "Bread"})).json()

    assert (await ada.delete("/conversations/c1")).status_code == 204
    assert (await ada.get("/conversations/c1")).status_code == 404
    assert [item["id"] for item in (await get(ada, "/deleted"))["items"]] == ["c1"]
    assert (await ada.post("/conversations/c1/restore")).json() == before
    assert (await ada.delete("/deleted/c1")).status_code == 404
    await ada.delete("/conversations/c1")
    await ada.post("/conversations", json={"id": "c2"})
    await ada.delete("/conversations/c2")

    assert (await ada.delete("/deleted/c2")).status_code == 204
    assert (await ada.delete("/deleted")).json() == {"purged": 1}
    assert (await ada.post("/conversations/c1/restore")).status_code == 404


async def test_a_tag_is_replaced_in_all_conversations_or_in_some(ada: httpx2.AsyncClient) -> None:
    """PATCH /tags replaces, adds or removes a tag and answers which conversations it changed; GET /tags counts."""
    for id in ("c1", "c2"):
        await ada.post("/conversations", json={"id": id})
        await ada.patch(f"/conversations/{id}", json={"tags": ["old"]})

    assert (await ada.patch("/tags", json={"tag": "old", "by": "new"})).json() == {"conversationIds": ["c1", "c2"]}
    removed = {"tag": "new", "conversationIds": ["c1"]}
    assert (await ada.patch("/tags", json=removed)).json() == {"conversationIds": ["c1"]}
    await ada.patch("/tags", json={"by": "also", "conversationIds": ["c1", "c2"]})
    assert (await ada.patch("/tags", json={"by": "x"})).status_code == 422

    assert (await get(ada, "/tags"))["items"] == [
        {"tag": "also", "listed": 2, "archived": 0},
        {"tag": "new", "listed": 1, "archived": 0},
    ]


async def test_a_fork_is_a_copy_with_a_place_of_its_own(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """A fork has the messages up to the given one, the requested id, and the id of its source."""
    await make(storage, 1)
    await storage.add_messages([{"id": f"m{n}", "role": "user", "content": str(n)} for n in range(3)], "ada", "c0")

    fork = await ada.post("/conversations/c0/fork", json={"upTo": "m1", "id": "copy"})

    assert fork.status_code == 201
    assert fork.headers["location"] == "/api/conversations/copy"
    assert (fork.json()["forkedFrom"], fork.json()["forkedUpTo"]) == ("c0", "m1")
    assert [each["id"] for each in (await get(ada, "/conversations/copy/messages"))["items"]] == ["m0", "m1"]
    assert (await ada.post("/conversations/c0/fork", json={"id": "copy"})).status_code == 409
    assert (await ada.post("/conversations/c0/fork", json={"upTo": "m9"})).json()["type"] == (
        "urn:voltmem:message-not-found"
    )


async def test_the_search_shows_where_the_words_stand(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """The search returns the text in pieces, each a match or not, and a cursor for the next page."""
    await make(storage, 3)
    for id in ("c0", "c1"):
        await storage.add_message({"id": "m1", "role": "user", "content": "Why won't bread rise?"}, "ada", id)

    first = await get(ada, "/search", q="bread ris", limit=1)
    second = await get(ada, "/search", q="bread ris", limit=1, after=first["nextCursor"])

    assert [page["items"][0]["conversation"]["id"] for page in (first, second)] == ["c1", "c0"]
    assert [piece["text"] for piece in first["items"][0]["snippet"] if piece["isMatch"]] == ["bread", "rise"]
    assert "".join(piece["text"] for piece in first["items"][0]["snippet"]) == "Why won't bread rise?"
    assert second["nextCursor"] is None


async def test_recall_shows_what_was_said_around(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Recall returns moments: the conversation, the messages around the one that fits, and its id."""
    await make(storage, 2)
    said = ["Good morning", "My tortoise is called Speedy", "How nice", "Bye"]
    await storage.add_messages(
        [{"id": f"t{n}", "role": "user", "content": text} for n, text in enumerate(said)], "ada", "c1"
    )

    [moment] = (await get(ada, "/recall", q="What is my tortoise called?"))["items"]

    assert (moment["conversation"]["id"], moment["messageId"]) == ("c1", "t1")
    assert [each["content"] for each in moment["messages"]] == said[:3]
    assert (await get(ada, "/recall", q="tortoise", conversationId="c0"))["items"] == []
    assert (await get(ada, "/recall", q="tortoise", before="2020-01-01T00:00:00Z"))["items"] == []
    assert [len(each["messages"]) for each in (await get(ada, "/recall", q="tortoise", around=0))["items"]] == [1]


async def test_a_user_can_be_forgotten(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Deleting a user deletes all their data, soft-deleted conversations included."""
    await make(storage, 2)
    await ada.delete("/conversations/c0")

    assert (await ada.delete("/me")).json() == {"deleted": 2}
    assert await storage.count_conversations() == 0


# --- messages -----------------------------------------------------------------------------------------------------


async def test_messages_are_paged_both_ways(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Messages are paged from the newest, before a message, after one, and between two."""
    await make(storage, 1)
    await storage.add_messages([{"id": f"m{n}", "role": "user", "content": str(n)} for n in range(6)], "ada", "c0")

    async def ids(**query: Any) -> tuple[list[str], bool]:
        page = await get(ada, "/conversations/c0/messages", **query)
        return [message["id"] for message in page["items"]], page["hasMore"]

    assert await ids(limit=2) == (["m4", "m5"], True)
    assert await ids(limit=2, before="m4") == (["m2", "m3"], True)
    assert await ids(limit=2, before="m2") == (["m0", "m1"], False)
    assert await ids(limit=2, after="m2") == (["m3", "m4"], True)
    assert await ids(limit=3, after="m2") == (["m3", "m4", "m5"], False)
    assert await ids(limit=9, after="m0", before="m3") == (["m1", "m2"], False)
    assert await ids(after="m5") == ([], False)


@pytest.mark.parametrize(
    "content",
    [
        "Hi",
        "NaN or Infinity",
        "",
        None,
        0,
        1e-3,
        1e16,
        2**70,
        [],
        {},
        [{"type": "text", "text": "Hi"}],
        {"b": 1, "a": [None, "\x00"]},
    ],
    ids=str,
)
async def test_content_comes_back_equal(content: Any, ada: httpx2.AsyncClient) -> None:
    """Content of any JSON is returned with its types and the order of its keys."""
    await ada.post("/conversations", json={"id": "c1"})

    made = await ada.post("/conversations/c1/messages", json={"role": "user", "content": content})

    assert made.status_code == 201
    (read,) = (await get(ada, "/conversations/c1/messages"))["items"]
    assert (read, str(read["content"])) == (made.json()["items"][0], str(content))


async def test_a_lone_surrogate_is_kept(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """A lone surrogate is returned as a JSON escape."""
    await make(storage, 1)
    body = b'{"id": "m1", "role": "user", "content": {"\\udc00": "half a \\ud83d smile"}}'

    made = await ada.post("/conversations/c0/messages", content=body, headers={"Content-Type": "application/json"})

    assert made.status_code == 201
    assert b'{"\\udc00":"half a \\ud83d smile"}' in (await ada.get("/conversations/c0/messages")).content
    assert (await storage.get_messages("ada", "c0"))[0].content == {"\udc00": "half a \ud83d smile"}


async def test_several_messages_are_stored_together_or_not_at_all(ada: httpx2.AsyncClient) -> None:
    """Several messages are stored together, in order, or not at all if one is invalid."""
    await ada.post("/conversations", json={"id": "c1"})
    good = {"id": "m1", "role": "user", "content": "Hi"}

    made = await ada.post("/conversations/c1/messages", json={"messages": [good, good | {"id": "m2"}]})
    refused = await ada.post("/conversations/c1/messages", json={"messages": [good | {"id": "m3"}, {"role": "user"}]})

    assert [message["id"] for message in made.json()["items"]] == ["m1", "m2"]
    assert refused.json()["errors"] == [{"pointer": "/body/messages/1/content", "detail": "Field required"}]
    assert len((await get(ada, "/conversations/c1/messages"))["items"]) == 2


async def test_the_same_id_replaces_a_message_in_its_place(ada: httpx2.AsyncClient) -> None:
    """A message with an existing id replaces it in its place, so that a growing answer can be saved."""
    await ada.post("/conversations", json={"id": "c1"})
    for id, content in (("m1", "It"), ("m2", "Well"), ("m1", "It is")):
        await ada.post("/conversations/c1/messages", json={"id": id, "role": "assistant", "content": content})

    items = (await get(ada, "/conversations/c1/messages"))["items"]

    assert [message["content"] for message in items] == ["It is", "Well"]


async def test_a_repeated_request_stores_once(ada: httpx2.AsyncClient) -> None:
    """Requests with the same Idempotency-Key store once; another key or conversation is another request."""
    for id in ("c1", "c2"):
        await ada.post("/conversations", json={"id": id})
    said = {"role": "user", "content": "Hi"}

    async def post(conversation_id: str, key: str, body: Any) -> list[str]:
        answer = await ada.post(
            f"/conversations/{conversation_id}/messages", json=body, headers={"Idempotency-Key": key}
        )
        return [message["id"] for message in answer.json()["items"]]

    once, twice = [await post("c1", "k1", {"messages": [said, said]}) for _ in range(2)]
    other = await post("c1", "k2", said)
    named = await post("c1", "k3", said | {"id": "mine"})
    await post("c2", "k1", said)

    assert once == twice
    assert len({*once, *other}) == 3
    assert named == ["mine"]
    assert len((await get(ada, "/conversations/c1/messages"))["items"]) == 4
    assert len((await get(ada, "/conversations/c2/messages"))["items"]) == 1


async def test_a_message_can_be_deleted_once(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Deleting a message is a 204, and a 404 the second time."""
    await make(storage, 1)
    await storage.add_message({"id": "m1", "role": "user", "content": "Hi"}, "ada", "c0")

    answers = [await ada.delete("/conversations/c0/messages/m1") for _ in range(2)]

    assert [each.status_code for each in answers] == [204, 404]
    assert answers[1].json()["type"] == "urn:voltmem:message-not-found"


async def test_a_conversation_can_be_rewound(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """Rewinding to a message keeps it and deletes the later ones."""
    await make(storage, 1)
    await storage.add_messages([{"id": f"m{n}", "role": "user", "content": str(n)} for n in range(4)], "ada", "c0")

    rewound = await ada.post("/conversations/c0/rewind", json={"messageId": "m1"})

    assert rewound.json() == {"dropped": 2}
    assert [each["id"] for each in (await get(ada, "/conversations/c0/messages"))["items"]] == ["m0", "m1"]


# --- mounting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "root_path", "asked"),
    [
        ("", "", "/conversations"),
        ("/api", "", "/api/conversations"),
        ("/conversations", "", "/conversations/conversations"),
        ("/api", "/proxy", "/proxy/api/conversations"),
    ],
)
async def test_the_location_is_right_under_any_prefix(
    prefix: str, root_path: str, asked: str, storage: PostgresStorage, connect: Connect
) -> None:
    """The Location is right for any prefix of the router and any root path of a proxy or server."""
    client = connect(application(storage, prefix), prefix="", root_path=root_path)

    inside = await client.post(asked.removeprefix(root_path), json={"id": "c1"})
    whole = await client.post(asked, json={"id": "c2"})

    fork = await client.post(f"{asked}/c2/fork", json={"id": "c3"})

    assert inside.headers["location"] == f"{asked}/c1"
    assert whole.headers["location"] == f"{asked}/c2"
    assert fork.headers["location"] == f"{asked}/c3"


async def test_a_starlette_application_mounts_it(storage: PostgresStorage, connect: Connect) -> None:
    """A Starlette application can mount the routes, with their own OpenAPI document and problems for unknown paths."""

    async def from_header(request: Any) -> str | None:
        user: str | None = request.headers.get("x-user")
        return user

    mounted = web.app(storage, user=from_header, chosen_ids="any")
    client = connect(Starlette(routes=[Mount("/inner/api", mounted)]), prefix="/inner/api")

    made = await client.post("/conversations", json={"id": "c1"})
    document = (await client.get("/openapi.json")).json()
    nowhere = await client.get("/nowhere")

    assert made.headers["location"] == "/inner/api/conversations/c1"
    assert (await client.get("/conversations/c1")).status_code == 200
    assert "/conversations/{conversationId}" in document["paths"]
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (404, "application/problem+json")


async def test_the_user_callable_may_be_a_plain_function(storage: PostgresStorage, connect: Connect) -> None:
    """The user callable of app() may be a plain function."""
    client = connect(web.app(storage, user=lambda request: request.headers.get("x-user"), chosen_ids="any"), prefix="")

    assert (await client.get("/conversations")).status_code == 200
    client.headers.pop("x-user")
    assert (await client.get("/conversations")).status_code == 401


async def test_the_applications_other_routes_are_left_alone(storage: PostgresStorage, connect: Connect) -> None:
    """Errors of the application's other routes stay FastAPI's, or the application's own."""
    app = application(storage)

    @app.get("/other")
    async def other(number: int) -> int:
        return number

    client = connect(app, prefix="")

    refused = await client.get("/other", params={"number": "x"})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/json")
    assert (await client.get("/api/nowhere")).json() == {"detail": "Not Found"}


def test_without_fastapi_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the module without FastAPI is an error that names the extra."""
    for name in [name for name in sys.modules if name.split(".")[0] == "fastapi" or name.startswith("voltmem.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)

    with pytest.raises(MissingExtraError, match=r"'\.\[web\]'"):
        importlib.import_module("voltmem.web")
