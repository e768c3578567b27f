"""Public links: the owner creates and revokes them, and anyone with the link can read up to its end."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from tests.web.conftest import Connect
from voltmem import PostgresStorage

MESSAGES: list[dict[str, object]] = [
    {"id": "m0", "role": "system", "content": "A secret instruction"},
    {"id": "m1", "role": "user", "content": "Why won't it rise?", "metadata": {"pin": "swordfish"}},
    {"id": "m2", "role": "assistant", "content": "Give it time."},
    {"id": "m3", "role": "user", "content": "Thank you!"},
]


@pytest.fixture
def anybody(app: FastAPI, connect: Connect) -> httpx2.AsyncClient:
    """A client that is not signed in."""
    return connect(app, None)


@pytest.fixture
async def token(storage: PostgresStorage, ada: httpx2.AsyncClient) -> str:
    """A link to ada's conversation, up to its third message."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Bread"})
    await storage.add_messages(MESSAGES, "ada", "c1")
    made = await ada.post("/conversations/c1/share", json={"upTo": "m2"})
    assert (made.status_code, made.json()["conversationId"], made.json()["upTo"]) == (201, "c1", "m2")
    return str(made.json()["token"])


async def test_a_link_shows_the_messages_up_to_its_end(token: str, anybody: httpx2.AsyncClient) -> None:
    """
    A link shows title and text without users, instructions or metadata, and is not cached, indexed or sent as referrer.
    """
    shown = await anybody.get(f"/shared/{token}")

    assert shown.status_code == 200
    assert shown.json()["title"] == "Bread"
    assert [(item["id"], item["content"]) for item in shown.json()["items"]] == [
        ("m1", "Why won't it rise?"),
        ("m2", "Give it time."),
    ]
    assert not [secret for secret in ("ada", "c1", "secret", "swordfish", "Thank") if secret in shown.text]
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert shown.headers["x-robots-tag"] == "noindex"
    assert shown.headers["cache-control"] == "no-store"


async def test_a_link_is_read_page_by_page(token: str, anybody: httpx2.AsyncClient) -> None:
    """A link is read page by page, with the cursor of the previous page."""
    first = (await anybody.get(f"/shared/{token}", params={"limit": 1})).json()
    second = (await anybody.get(f"/shared/{token}", params={"limit": 1, "after": first["nextCursor"]})).json()

    assert [item["id"] for page in (first, second) for item in page["items"]] == ["m1", "m2"]
    assert second["nextCursor"] is None


async def test_a_revoked_link_leads_nowhere(token: str, ada: httpx2.AsyncClient, anybody: httpx2.AsyncClient) -> None:
    """A revoked link is a 404, like an unknown or invalid one."""
    assert [link["token"] for link in (await ada.get("/conversations/c1/shares")).json()["items"]] == [token]

    revoked = await ada.delete(f"/shares/{token}")

    answers = [await anybody.get(f"/shared/{name}") for name in (token, "none", "%00")]
    assert revoked.status_code == 204
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert (await ada.delete(f"/shares/{token}")).status_code == 404
    assert (await ada.get("/conversations/c1/shares")).json() == {"items": []}


async def test_only_its_owner_revokes_a_link(
    token: str, mallory: httpx2.AsyncClient, anybody: httpx2.AsyncClient
) -> None:
    """Only the owner can revoke a link; for others it is a 404, though they can read it."""
    assert (await mallory.delete(f"/shares/{token}")).status_code == 404
    assert (await anybody.get(f"/shared/{token}")).status_code == 200


async def test_a_link_of_a_deleted_conversation_leads_nowhere(
    token: str, ada: httpx2.AsyncClient, anybody: httpx2.AsyncClient
) -> None:
    """A link of a soft-deleted conversation is a 404 until it is restored."""
    await ada.delete("/conversations/c1")
    gone = await anybody.get(f"/shared/{token}")
    await ada.post("/conversations/c1/restore")

    assert gone.status_code == 404
    assert (await anybody.get(f"/shared/{token}")).status_code == 200
