"""The routes for the working memory of the user, and of a conversation."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from tests.web.test_problems import problem
from voltmem import PostgresStorage

NONE = {"content": None, "version": 0, "author": None, "changedAt": None}


@pytest.fixture(params=["/memory", "/conversations/c1/memory"])
async def path(request: pytest.FixtureRequest, storage: PostgresStorage) -> str:
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return str(request.param)


async def test_a_memory_is_read_changed_and_deleted(path: str, ada: httpx2.AsyncClient) -> None:
    """Each change answers with the memory, whose version is the ETag; a memory that is not there is null."""
    absent = await ada.get(path)
    assert (absent.json(), absent.headers["etag"]) == (NONE, '"0"')

    stored = await ada.put(path, json={"content": "- likes tea"}, headers={"If-Match": '"0"'})
    assert (stored.status_code, stored.headers["etag"], stored.json()["author"]) == (200, '"1"', "user")
    added = await ada.patch(path, json={"append": "- likes coffee"})
    assert added.json()["content"] == "- likes tea\n\n- likes coffee"
    assert (await ada.get(path)).json() == added.json()

    assert (await ada.delete(path, params={"history": True}, headers={"If-Match": '"2"'})).json() == {"deleted": True}
    assert (await ada.delete(path)).json() == {"deleted": False}
    assert (await ada.get(path)).json() == NONE


async def test_a_change_of_another_version_is_refused(path: str, ada: httpx2.AsyncClient) -> None:
    """412 with If-Match of another version, for each method; no If-Match takes any. A weak ETag is its version."""
    await ada.put(path, json={"content": "- likes tea"})

    for version in ('"0"', "7"):
        headers = {"If-Match": version}
        for answer in (
            await ada.put(path, json={"content": "x"}, headers=headers),
            await ada.patch(path, json={"append": "x"}, headers=headers),
            await ada.delete(path, headers=headers),
        ):
            problem(answer, 412, "memory-changed")
    problem(await ada.put(path, json={"content": "x"}, headers={"If-Match": '"one"'}), 422, "invalid-request")
    assert (await ada.put(path, json={"content": "x"}, headers={"If-Match": 'W/"1"'})).json()["version"] == 2


async def test_a_change_may_need_a_memory_or_none(path: str, ada: httpx2.AsyncClient) -> None:
    """With If-Match: * each method needs a memory, of any version; with If-None-Match: * none may be there."""

    async def answers(**headers: str) -> list[int]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        made = [
            await ada.put(path, json={"content": "x"}, headers=given),
            await ada.patch(path, json={"append": "y"}, headers=given),
            await ada.delete(path, headers=given),
        ]
        return [answer.status_code for answer in made]

    assert await answers(If_Match="*") == [412, 412, 412]
    assert (await ada.get(path)).json() == NONE
    assert await answers(If_None_Match="*") == [200, 412, 412]
    assert await answers(If_None_Match='"1"') == [422, 422, 422]
    assert await answers(If_Match="*", If_None_Match="*") == [412, 412, 412]
    assert (await ada.get(path)).json()["version"] == 1
    assert await answers(If_Match="*") == [200, 200, 200]
    absent = await ada.put("/conversations/none/memory", json={"content": "x"}, headers={"If-Match": "*"})
    assert absent.status_code == 404


async def test_a_change_of_any_version_is_made_on_the_newest(
    path: str, ada: httpx2.AsyncClient, storage: PostgresStorage
) -> None:
    """With If-Match: *, none of concurrent changes is refused."""
    await ada.put(path, json={"content": "x"})

    made = await asyncio.gather(
        *(ada.patch(path, json={"append": str(n)}, headers={"If-Match": "*"}) for n in range(5))
    )

    assert [answer.status_code for answer in made] == [200] * 5
    assert (await ada.get(path)).json()["version"] == 6


async def test_json_is_merged(path: str, ada: httpx2.AsyncClient) -> None:
    """A patch is merged into JSON; text and JSON are not mixed, and nothing is emptied by the way."""
    await ada.patch(path, json={"merge": {"likes": ["tea"], "name": "Ada"}})
    merged = await ada.patch(path, json={"merge": {"likes": ["coffee"], "name": None}})
    assert merged.json()["content"] == '{\n  "likes": [\n    "coffee"\n  ]\n}'

    for wrong in ({"append": "x"}, {"append": " "}, {"merge": {"likes": None}}):
        problem(await ada.patch(path, json=wrong), 409, "memory-refused")


@pytest.mark.parametrize("body", [{}, {"append": "x", "merge": {}}, {"append": None}, {"append": ""}, {"merge": []}])
async def test_a_change_that_is_none_is_invalid(body: dict[str, Any], ada: httpx2.AsyncClient) -> None:
    """One of append and merge is needed, and not empty."""
    problem(await ada.patch("/memory", json=body), 422, "invalid-request")


async def test_a_memory_shows_its_versions_and_is_restored(path: str, ada: httpx2.AsyncClient) -> None:
    """The history has each version, newest first; one of them becomes the memory again, if nobody was faster."""
    assert (await ada.get(f"{path}/history")).json() == {"items": []}
    await ada.put(path, json={"content": "- likes tea"})
    await ada.put(path, json={"content": "- likes coffee"})

    refused = await ada.post(f"{path}/restore", json={"version": 1}, headers={"If-Match": '"1"'})
    restored = await ada.post(f"{path}/restore", json={"version": 1.0}, headers={"If-Match": '"2"'})
    versions = (await ada.get(f"{path}/history", params={"limit": 2})).json()["items"]
    older = (await ada.get(f"{path}/history", params={"before": 2})).json()["items"]

    problem(refused, 412, "memory-changed")
    assert (restored.json()["content"], restored.headers["etag"]) == ("- likes tea", '"3"')
    assert [(each["version"], each["change"], each["author"]) for each in versions] == [
        (3, "restore", "user"),
        (2, "set", "user"),
    ]
    assert [each["content"] for each in older] == ["- likes tea"]


async def test_a_version_that_is_not_there_is_not_restored(path: str, ada: httpx2.AsyncClient) -> None:
    """A version that never was, or no number, is a problem, and nothing is changed; so is another's conversation."""
    await ada.put(path, json={"content": "- likes tea"})

    for version in (7, 2**53 - 1):
        problem(await ada.post(f"{path}/restore", json={"version": version}), 409, "memory-refused")
    for wrong in (0, 2**53, "one", None):
        problem(await ada.post(f"{path}/restore", json={"version": wrong}), 422, "invalid-request")
    assert (await ada.get(path)).json()["version"] == 1
    assert (await ada.get("/conversations/none/memory/history")).status_code == 404
    assert (await ada.post("/conversations/none/memory/restore", json={"version": 1})).status_code == 404


async def test_messages_are_forgotten_with_what_remembers_them(
    ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient, storage: PostgresStorage
) -> None:
    """POST /forget deletes messages of the user's own only, and names the versions that were written from them."""
    for user in ("ada", "mallory"):
        await storage.create_conversation({"id": f"{user}-1", "user_id": user})
        await storage.add_messages(
            [{"id": "m1", "role": "user", "content": "My pin is 1234"}, {"id": "m2", "role": "user", "content": "Tea"}],
            user,
            f"{user}-1",
        )
    await storage.working_memory("ada").set("- a pin", from_messages=["m1"])

    others = await ada.post("/forget", json={"messageIds": ["m1"], "conversationId": "mallory-1"})
    done = await ada.post("/forget", json={"messageIds": ["m1", "none"]})

    assert others.json()["messages"] == 0
    assert done.json() == {
        "messages": 1,
        "conversations": 1,
        "memory": [{"conversationId": None, "version": 1, "isNewest": True}],
    }
    assert [each.id for each in await storage.get_messages("ada", "ada-1")] == ["m2"]
    assert len(await storage.get_messages("mallory", "mallory-1")) == 2
    problem(await mallory.post("/forget", json={"messageIds": "m1"}), 422, "invalid-request")
