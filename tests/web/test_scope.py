"""Each route gives access only to the data of the signed-in user."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.web.conftest import Connect, application
from tests.web.test_openapi import OPEN_TO_ALL, operations
from voltmem import InvalidOptionError, PostgresStorage, web
from voltmem.web import _messages

# The arguments of each operation that make it valid, apart from the user.
BODIES: dict[str, Any] = {
    "changeConversation": {"title": "Mine now", "pinned": True},
    "titleConversation": {"title": "Mine now"},
    "rewindConversation": {"messageId": "m1"},
    "branchConversation": {"messageId": "m1"},
    "addMessages": {"role": "user", "content": "Psst", "id": "m1"},
    "saveUIMessages": {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Psst"}]},
    "saveHistoryEntry": {"format": "ai-sdk/v6", "content": {"role": "user", "parts": []}},
    "createConversation": {"id": "c9"},
    "replaceTag": {"tag": "secret", "by": "mine"},
    "setMemory": {"content": "My pin is mine"},
    "changeMemory": {"append": "My pin is mine"},
    "setConversationMemory": {"content": "My pin is mine"},
    "changeConversationMemory": {"append": "My pin is mine"},
    "restoreMemory": {"version": 1},
    "restoreConversationMemory": {"version": 1},
    "forgetMessages": {"messageIds": ["m1"]},
    "changeMessage": {"mergeMetadata": {"pin": "mine"}},
}
EXAMPLE = operations(application(PostgresStorage("postgresql://nowhere/none")).openapi())
ABOUT_A_CONVERSATION = sorted(name for name in EXAMPLE if "{conversationId}" in name)


def called(name: str, conversation_id: str) -> tuple[str, str, dict[str, Any]]:
    """Return the method, path and arguments of a call that would succeed for the owner of the conversation."""
    method, _, path = name.partition(" ")
    path = path.format(conversationId=conversation_id, messageId="m1", token="t1", fileId="0" * 64).removeprefix("/api")
    body = BODIES.get(EXAMPLE[name]["operationId"])
    return method, path, {} if body is None else {"json": body}


async def stock(storage: PostgresStorage) -> None:
    """Give ada a conversation with two messages, and a soft-deleted one."""
    ada = storage.for_user("ada")
    for id in ("c1", "c2"):
        await ada.create_conversation({"id": id, "title": "A secret", "metadata": {"pin": "swordfish"}})
        await ada.add_messages([{"id": f"m{n}", "role": "user", "content": "My pin is swordfish"} for n in (1, 2)], id)
        await ada.working_memory(id).set("My pin is swordfish")
    await ada.working_memory().set("My pin is swordfish")
    await ada.soft_delete_conversation("c2")


async def seen(ada: httpx2.AsyncClient) -> list[object]:
    """Return all that ada sees."""
    of_one = ("/conversations/c1/messages", "/conversations/c1/history", "/conversations/c1/memory")
    paths = ("/conversations", "/deleted", "/search?q=pin", "/memory", *of_one)
    return [(await ada.get(path)).json() for path in paths]


@pytest.mark.parametrize("name", ABOUT_A_CONVERSATION)
async def test_a_stranger_finds_no_conversation_and_changes_nothing(
    name: str, storage: PostgresStorage, ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient
) -> None:
    """For another user's conversation, soft-deleted or not, the 404 is identical to that of a missing one."""
    await stock(storage)
    before = await seen(ada)

    answers = {}
    for id in ("c1", "c2", "none"):
        method, path, arguments = called(name, id)
        answers[id] = await mallory.request(method, path, **arguments)

    assert {answer.status_code for answer in answers.values()} == {404}
    assert answers["none"].json()["type"] == "urn:voltmem:conversation-not-found"
    for id in ("c1", "c2"):
        assert answers[id].text == answers["none"].text.replace("none", id)
    assert await seen(ada) == before


# These are tested in test_events.py, test_transfer.py, test_shares.py, test_files.py and test_working_memory.py.
ELSEWHERE = {
    *("GET /api/events", "POST /api/import", "DELETE /api/shares/{token}", "POST /api/memory/restore", *OPEN_TO_ALL),
    *(name for name in EXAMPLE if "{fileId}" in name),
}
ABOUT_ALL = sorted(set(EXAMPLE) - set(ABOUT_A_CONVERSATION) - ELSEWHERE)


@pytest.mark.parametrize("name", ABOUT_ALL)
async def test_a_route_about_all_of_a_users_data_is_about_that_users_only(
    name: str, storage: PostgresStorage, ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient
) -> None:
    """
    A route for all of a user's data returns nothing of ada to mallory, and mallory's calls do not change ada's data.
    """
    await stock(storage)
    before = await seen(ada)

    method, path, arguments = called(name, "")
    answer = await mallory.request(
        method, path, params={"q": "pin"} if path in ("/search", "/recall") else {}, **arguments
    )

    assert answer.is_success
    assert "secret" not in answer.text
    assert "swordfish" not in answer.text
    assert await seen(ada) == before


@pytest.mark.parametrize("name", sorted(set(EXAMPLE) - OPEN_TO_ALL))
async def test_without_a_user_there_is_nothing(
    name: str, storage: PostgresStorage, app: FastAPI, connect: Connect
) -> None:
    """Every route is a 401 without a user, whatever else is sent."""
    await stock(storage)
    method, path, arguments = called(name, "c1")

    answer = await connect(app, None).request(method, path, **arguments)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_empty_string_is_not_a_user(storage: PostgresStorage, connect: Connect) -> None:
    """An empty string is not a user: all visitors without a session would share it."""
    client = connect(application(storage), "")

    assert [(await client.get(path)).status_code for path in ("/conversations", "/export")] == [401, 401]
    assert (await client.post("/conversations", json={})).status_code == 401
    assert await storage.count_conversations() == 0


@pytest.mark.parametrize("field", ["userId", "user_id", "owner", "resource_id"])
async def test_no_body_says_whose_a_conversation_is(
    field: str, storage: PostgresStorage, mallory: httpx2.AsyncClient
) -> None:
    """A body with a field that names a user, or an unknown field, is refused."""
    await stock(storage)

    made = await mallory.post("/conversations", json={"title": "Hi", field: "ada"})
    changed = await mallory.patch("/conversations/c1", json={"title": "Hi", field: "ada"})

    assert (made.status_code, changed.status_code) == (422, 422)
    assert made.json()["errors"] == [{"pointer": f"/body/{field}", "detail": "Extra inputs are not permitted"}]


async def test_an_id_that_another_user_has_is_taken_and_says_no_more(
    storage: PostgresStorage, ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient
) -> None:
    """An id that exists for another user is reported as taken, without naming the owner."""
    await stock(storage)

    hers, his = [(await client.post("/conversations", json={"id": "c1"})) for client in (ada, mallory)]

    assert hers.status_code == his.status_code == 409
    assert hers.text == his.text


async def test_a_user_is_a_string(storage: PostgresStorage, connect: Connect) -> None:
    """A dependency that returns anything but a string is an error of the application, and gives no access."""
    client = connect(web.app(storage, user=lambda _: 7), prefix="")  # type: ignore[arg-type, return-value]

    with pytest.raises(InvalidOptionError, match=r"return the id as a string, as in str\(user.id\)"):
        await client.get("/conversations")


async def test_a_client_chooses_only_ids_that_nobody_guesses(storage: PostgresStorage, connect: Connect) -> None:
    """A new conversation, a copy and an import get no id of fewer than 16 characters that the client chose."""
    app = FastAPI()
    app.include_router(web.router(storage, user=lambda: "ada"), prefix="/api")
    client = connect(app)
    made = await client.post("/conversations", json={"id": "nobody-guesses-1"})
    lines = b'{"voltmem":1,"kind":"header"}\n{"kind":"conversation","id":"support-mallory"}\n{"kind":"end"}\n'

    assert made.status_code == 201
    for path in ("", "/nobody-guesses-1/fork"):
        refused = await client.post(f"/conversations{path}", json={"id": "support-mallory"})
        assert refused.status_code == 422
        assert "fewer than 16 characters" in refused.json()["detail"]
    done = await client.post("/import", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert [each["id"] for each in done.json()["renamed"]] == ["support-mallory"]
    assert await storage.get_conversation("support-mallory") is None


def test_an_idempotency_key_is_the_users() -> None:
    """The ids that two users' equal keys stand for are different ones."""
    ids = [_messages._derived(user, key, 0) for user, key in (("ada", "k"), ("mallory", "k"), ("ada", "j"))]

    assert len(set(ids)) == 3
