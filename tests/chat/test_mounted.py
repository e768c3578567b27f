"""The chat in an application of one's own: under a path, with its links, beside the application's own pages."""

from __future__ import annotations

import re
import threading
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI

from tests.chat.conftest import BELOW, OpenTab
from tests.chat.tab import expect
from voltmem import InvalidInputError, InvalidOptionError, PostgresStorage, chat

browser_test = pytest.mark.asyncio(loop_scope="session")


@browser_test
async def test_below_a_path_everything_is_found(open_tab: OpenTab) -> None:
    """Mounted below a path, the chat loads, answers, searches and reloads under that path."""
    tab = await open_tab(BELOW)
    await tab.ask("Plan a weekend in Lisbon.")

    await expect(tab.page).to_have_url(re.compile(f"{BELOW}c/.+"))
    address = tab.page.url
    await tab.page.reload()
    await expect(tab.questions).to_have_text(["Plan a weekend in Lisbon."])
    await tab.new_chat()
    assert tab.page.url.endswith(BELOW)
    await tab.search("weekend")
    await tab.hits.first.locator("a").click()
    await expect(tab.page).to_have_url(re.compile(f"^{re.escape(address)}"))
    await expect(tab.link("Plan a weekend in Lisbon")).to_have_attribute("aria-current", "page")


@browser_test
async def test_below_a_path_links_to_the_application_leave_the_chat(open_tab: OpenTab) -> None:
    """A link to a page of the application around the chat opens that page."""
    tab = await open_tab(BELOW)
    tab.expected.append("404")  # the browser asks for an icon of the other page
    await tab.page.evaluate(
        """() => {
            const link = Object.assign(document.createElement("a"), { href: "/shop", textContent: "the shop" });
            document.querySelector(".composer-note").append(link);
        }"""
    )

    await tab.page.get_by_role("link", name="the shop").click()

    await expect(tab.page).to_have_url(re.compile("/shop$"))
    await expect(tab.page.get_by_text("The shop is open.")).to_be_visible()


@browser_test
async def test_a_chat_without_a_models_name_shows_the_hint_alone(open_tab: OpenTab) -> None:
    """Below the message box, a dot divides the model's name from the hint; without a name there is no dot."""
    tab = await open_tab()
    hint = tab.page.locator(".composer-note .keyboard-only")
    before = "hint => getComputedStyle(hint, '::before').content"

    assert await hint.evaluate(before) == '" · "'
    await tab.page.locator("#model").evaluate("name => name.replaceChildren()")
    assert (await hint.evaluate(before), await hint.text_content()) == ("none", "Shift+Enter adds a line break")


async def test_it_answers_only_to_the_hosts_that_are_allowed(storage: PostgresStorage) -> None:
    """With allowed_hosts, requests under other names are refused; without, all names are answered."""
    for allowed, status in ((["chat.example.com"], 400), (None, 200)):
        app = FastAPI()
        app.mount("/chat", chat.app(storage, answer=lambda messages: "", user=lambda: "ada", allowed_hosts=allowed))
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://chat.example.com") as client:
            assert (await client.get("/chat/")).status_code == 200
            assert (await client.get("/chat/", headers={"Host": "evil.example"})).status_code == status


@pytest.mark.parametrize("hosts", ["*.example.com", ["https://example.com"], ["example.com:8000"], [5]])
async def test_hosts_that_are_none_are_refused(storage: PostgresStorage, hosts: Any) -> None:
    """A single text, an address, a port or a number among the hosts is refused when the chat is made."""
    with pytest.raises(InvalidOptionError, match="allowed_hosts"):
        chat.app(storage, answer=lambda messages: "", user=lambda: "ada", allowed_hosts=hosts)


async def test_only_a_users_message_is_a_question(storage: PostgresStorage) -> None:
    """The id of an answer is no question: 422, and the answer stays."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"id": "a1", "role": "assistant", "content": "Yes."}, "ada", "c1")
    app = chat.app(storage, answer=lambda messages: "", user=lambda: "ada")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api") as client:
        for text in ({"text": "Hello?"}, {}):
            assert (
                await client.post("/chat", json={"conversationId": "c1", "messageId": "a1", **text})
            ).status_code == 422
    assert [(each.role, each.text) for each in await storage.get_messages("ada", "c1")] == [("assistant", "Yes.")]


@pytest.mark.parametrize("error", [RuntimeError, InvalidInputError])
async def test_it_shows_nothing_of_what_an_error_says(
    storage: PostgresStorage, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """If answer= raises, the page says that it failed; what the error says is in the log only. A title is there."""

    async def answer(messages: object) -> str:
        raise error("401: Incorrect API key: sk-secret")

    app = FastAPI()
    app.mount("/chat", chat.app(storage, answer=answer, user=lambda: "ada"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/chat/api") as client:
        made = (await client.post("/conversations", json={})).json()
        question = {"conversationId": made["id"], "messageId": "m1", "text": "Where is my tea?"}
        events = (await client.post("/chat", json=question)).text

    assert '"status":"failed"' in events
    assert "sk-secret" not in events
    assert "sk-secret" in caplog.text
    shown = await storage.get_conversation(made["id"])
    assert shown is not None
    assert shown.title == "Where is my tea"


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
async def test_a_title_that_fails_leaves_the_answer_and_the_title(
    storage: PostgresStorage, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """If make_title= raises, the answer is complete, and the conversation keeps the title of its question."""

    async def title(question: str, answer: str) -> str:
        raise error("no title")

    made = await storage.create_conversation({"user_id": "ada"})
    app = cast(FastAPI, chat.app(storage, answer=lambda messages: "Yes.", user=lambda: "ada", make_title=title))
    async with (
        app.router.lifespan_context(app),  # whose end waits for the title
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api") as client,
    ):
        question = {"conversationId": made.id, "messageId": "m1", "text": "Is there tea?"}
        events = (await client.post("/chat", json=question)).text

    assert '"status":"complete"' in events
    assert "no title" in caplog.text
    shown = await storage.get_conversation(made.id)
    assert shown is not None
    assert shown.title == "Is there tea"


class Called:
    """Notes what it is called with, in each way in which a function may be given."""

    def __init__(self) -> None:
        self.given: list[tuple[object, ...]] = []

    def plain(self, *given: object) -> str:
        assert threading.current_thread() is not threading.main_thread()
        self.given.append(given)
        return "Tea, of course."

    async def asynchronous(self, *given: object) -> str:
        assert threading.current_thread() is threading.main_thread()
        self.given.append(given)
        return "Tea, of course."

    __call__ = asynchronous


@pytest.mark.parametrize("way", ["plain", "asynchronous", "__call__"])
async def test_callbacks_may_be_any_function(storage: PostgresStorage, way: str) -> None:
    """make_title= and on_feedback= are functions, plain or not, or objects; plain ones run in a thread."""
    title, feedback = Called(), Called()
    given: list[Any] = [each if way == "__call__" else getattr(each, way) for each in (title, feedback)]
    made = await storage.create_conversation({"user_id": "ada"})
    app = chat.app(
        storage, answer=lambda messages: "Yes.", user=lambda: "ada", make_title=given[0], on_feedback=given[1]
    )
    async with (
        cast(FastAPI, app).router.lifespan_context(app),  # whose end waits for the title
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api") as client,
    ):
        await client.post("/chat", json={"conversationId": made.id, "messageId": "m1", "text": "Is there tea?"})
        answer = (await storage.get_messages("ada", made.id))[-1]
        rated = await client.put(f"/chat/{made.id}/answers/{answer.id}/feedback", json={"type": "positive"})

    assert rated.status_code == 204
    assert title.given == [("Is there tea?", "Yes.")]
    assert feedback.given == [("ada", made.id, answer.id, "positive")]
    shown = await storage.get_conversation(made.id)
    assert shown is not None
    assert shown.title == "Tea, of course"


@pytest.mark.parametrize("signed_in", [None, ""])
async def test_nobody_asks_without_signing_in(storage: PostgresStorage, signed_in: str | None) -> None:
    """A question of nobody is refused with 401, as on the other routes."""
    app = chat.app(storage, answer=lambda messages: "", user=lambda: signed_in)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api") as client:
        question = {"conversationId": "c1", "messageId": "m1", "text": "Hello?"}
        assert (await client.post("/chat", json=question)).status_code == 401
        assert (await client.get("/answers")).status_code == 401


async def test_another_users_conversation_is_not_found(storage: PostgresStorage) -> None:
    """A question in another user's conversation is answered as one in none: 404, and nothing is stored."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    app = chat.app(storage, answer=lambda messages: "", user=lambda: "mallory")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api") as client:
        for id in ("c1", "nowhere"):
            for question in ({"text": "Hello?"}, {}):
                given = {"conversationId": id, "messageId": "m1", **question}
                assert (await client.post("/chat", json=given)).status_code == 404
    assert await storage.get_messages("ada", "c1") == []
