"""What an application switches off: neither on the page, nor in menus and shortcuts, nor over HTTP."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx2
import pytest

from tests.chat.conftest import LESS, OpenTab
from tests.chat.tab import expect
from tests.chat.test_list import made
from voltmem import InvalidOptionError, PostgresStorage, UserStorage, chat
from voltmem.chat._features import ROUTES
from voltmem.web._route import ProblemRoute

browser_test = pytest.mark.asyncio(loop_scope="session")


_PICTURE: Final = {"type": "image", "image": "data:image/png;base64,iVBORw0KGgo="}
_FILE: Final = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0KGgo="}
USES: Final[dict[str, Any]] = {
    "content": {"role": "user", "content": [_PICTURE]},
    "mergeMetadata": {"mergeMetadata": {"feedback": {"type": "positive"}}},
    "metadata": {"messages": [{"id": "a1", "role": "assistant", "content": "Yes.", "metadata": {"feedback": None}}]},
    "parts": {"messages": [{"id": "q1", "role": "user", "parts": [_FILE]}]},
    "tags": {"tags": ["plain", "folder:Bread"]},
}
"""A body that uses a feature, by the field of which only some values do."""


def client(storage: PostgresStorage, **options: Any) -> httpx2.AsyncClient:
    app = chat.app(storage, answer=lambda messages: "Yes.", user=lambda: "ada", **options)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api")


@pytest.mark.parametrize("feature", ROUTES)
async def test_the_routes_of_what_is_switched_off_are_closed(storage: PostgresStorage, feature: str) -> None:
    """A route of a feature that is switched off is not found, a field of one is refused; otherwise both are there."""
    options: dict[str, Any] = {"uploads": ()} if feature == "uploads" else {"without": [feature]}
    for route in ROUTES[feature]:
        method, path, *field = route.split(" ")
        for given, is_closed in ((options, True), ({}, False)):
            async with client(storage, **given) as asking:
                assert any(
                    each == path and method in ProblemRoute.methods_of[endpoint]
                    for endpoint, each in ProblemRoute.path_of.items()  # which a chat fills that is made
                )
                body = USES.get(field[0], {field[0]: None}) if field else {}
                response = await asking.request(method, re.sub("{.*?}", "x" * 20, path), json=body)
            assert (f"This chat is without {feature}" in response.text or method == "HEAD") is (
                is_closed or method == "HEAD"
            )
            assert response.status_code == (403 if field else 404) or not is_closed


async def test_other_values_of_a_field_are_taken(storage: PostgresStorage) -> None:
    """Without folders, feedback and uploads, plain tags, other metadata, texts and files of answers are stored."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    question, answer = {"id": "q1", "role": "user", "content": "Is it?"}, {"role": "assistant", "content": [_PICTURE]}
    async with client(storage, without=["archive", "folders", "feedback"], uploads=()) as asking:
        messages = "/conversations/c1/messages"
        assert (await asking.post(messages, json={"messages": [question, answer]})).status_code == 201
        assert (await asking.patch(f"{messages}/q1", json={"mergeMetadata": {"mine": 1}})).status_code == 200
        assert (await asking.patch("/conversations/c1", json={"tags": ["plain"]})).status_code == 200
        several = {"messages": [answer, {**question, "content": [_PICTURE]}]}
        assert (await asking.post(messages, json=several)).status_code == 403
        for closed in ({"archived": True}, {"tags": ["folder:Bread"]}):  # two features of one route
            assert (await asking.patch("/conversations/c1", json=closed)).status_code == 403
        entry = {"format": "aui/v0", "content": {"role": "user", "content": [_PICTURE]}}
        assert (await asking.put("/conversations/c1/history/q2", json=entry)).status_code == 403


_RATED: Final[dict[str, Any]] = {"metadata": {"feedback": {"type": "positive"}}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "messages", {"role": "assistant", "content": "Yes.", **_RATED}),
        ("POST", "messages", {"role": "assistant", "content": {"any": "JSON"}, **_RATED}),
        ("POST", "messages", {"role": "user", "content": _FILE}),
        ("POST", "ui-messages", {"messages": [{"id": "a1", "role": "assistant", "parts": [], **_RATED}]}),
        ("PUT", "history/a1", {"format": "ai-sdk/v6", "content": {"role": "assistant", "parts": [], **_RATED}}),
        (
            "PUT",
            "history/a1",
            {"format": "aui/v0", "content": {"role": "assistant", "metadata": {"custom": _RATED["metadata"]}}},
        ),
    ],
)
async def test_a_stored_message_has_nothing_of_what_is_switched_off(
    storage: PostgresStorage, method: str, path: str, body: dict[str, Any]
) -> None:
    """A rating or a file is refused in each form in which a message is stored over HTTP, and nothing is stored."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    async with client(storage, without=["feedback"], uploads=()) as asking:
        response = await asking.request(method, f"/conversations/c1/{path}", json=body)
    assert response.status_code == 403, response.text
    assert await storage.get_messages("ada", "c1") == []


async def test_without_branches_a_question_has_one_answer(storage: PostgresStorage) -> None:
    """Without branches, a question with a complete answer is not answered again; one without an answer is."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"id": "q1", "role": "user", "content": "Is it?"}, "ada", "c1")
    again = {"conversationId": "c1", "messageId": "q1"}
    as_ai_sdk = {"id": "c1", "trigger": "regenerate-message", "messages": [{"id": "q1", "role": "user", "parts": []}]}

    async with client(storage, without=["branches"]) as asking:
        assert [(await asking.post("/chat", json=again)).status_code for _ in range(2)] == [200, 403]
        assert (await asking.post("/ai/chat", json=as_ai_sdk)).status_code == 403

    assert [each.text for each in await storage.get_messages("ada", "c1")] == ["Is it?", "Yes."]


async def test_the_page_has_nothing_of_what_is_switched_off(storage: PostgresStorage) -> None:
    """The page comes without the elements of what is switched off; a public link's page is not found."""
    off = {"search": 'id="search"', "archive": 'id="show-archived"', "trash": 'id="show-trash"'}
    async with client(storage) as asking:
        page = (await asking.get("http://test/")).text
        assert all(part in page for part in off.values())
        assert (await asking.get("http://test/shared/x")).status_code == 200
    async with client(storage, without=["search", "archive", "deletion", "sharing"]) as asking:
        page = (await asking.get("http://test/")).text
        assert not any(part in page for part in off.values())
        assert "<!--" not in page
        assert (await asking.get("http://test/shared/x")).status_code == 404


@pytest.mark.parametrize("names", ["sharing", ["share"], [None], 5])
async def test_what_is_no_feature_is_refused(storage: PostgresStorage, names: Any) -> None:
    """A single text, and a name that is no feature, are refused when the chat is made."""
    with pytest.raises(InvalidOptionError, match="without"):
        client(storage, without=names)


@browser_test
async def test_a_page_without_anything_still_works(mine: UserStorage, open_tab: OpenTab) -> None:
    """With all features off, menus, buttons, keys and the palette have only what is left, and nothing fails."""
    ids = await made(mine, "First", "Second")
    await mine.tag_conversation(ids[0], ["folder:Bread"])
    tab = await open_tab(LESS)
    await expect(tab.titles).to_have_text(["First", "Second"])
    await expect(tab.groups).to_have_text(["Today"])
    await tab.row("First").hover()
    await tab.page.get_by_role("button", name="Actions for First").click()
    await expect(tab.page.get_by_role("menuitem")).to_have_text(["Rename", "Pin", "Select", "Open in a new tab"])
    await tab.page.keyboard.press("Escape")
    await tab.link("First").focus()
    await tab.page.keyboard.press("Delete")
    await tab.page.keyboard.press("Shift+ArrowDown")
    await expect(tab.page.get_by_role("toolbar").get_by_role("button")).to_have_count(1)
    await tab.page.keyboard.press("Delete")
    await tab.page.keyboard.press("Escape")
    await expect(tab.titles).to_have_text(["First", "Second"])

    await tab.link("Second").click()
    await tab.ask("A name, please")
    for message in (tab.questions.last, tab.answers.last):
        await message.hover()
        buttons = message.locator("xpath=..").get_by_role("button")
        await expect(buttons).to_have_count(1)
        await expect(buttons).to_have_accessible_name("Copy")
    await tab.box.press("ArrowUp")
    await expect(tab.page.locator(".edit-text")).to_have_count(0)

    await tab.page.keyboard.press("Control+k")
    names = tab.page.get_by_role("dialog").get_by_role("option")
    await tab.page.keyboard.type("e")
    await expect(names.filter(has_text="New chat")).to_be_visible()
    shown = await names.locator(".choice-name").all_text_contents()
    assert not set(shown) & {"Search in the sidebar", "Archived conversations", "Trash", "New folder", "Share …"}
    assert not [name for name in shown if name.startswith(("Export", "Archive", "Delete", "Move"))]


@browser_test
async def test_a_failed_answer_can_be_asked_for_again_without_branches(open_tab: OpenTab) -> None:
    """Without branches, a question whose answer failed has no other button than the one that asks again."""
    tab = await open_tab(LESS)
    await tab.box.fill("Please fail")
    await tab.box.press("Enter")
    again = tab.page.get_by_role("button", name="Ask again")
    await expect(again).to_be_visible()

    async with tab.page.expect_response("**/api/chat") as asked:
        await again.click()

    assert (await asked.value).status == 200
    await expect(again).to_be_visible()
    await expect(tab.answers).to_have_text([re.compile("^Half an answer")])
