"""The chat in several tabs and without its server: a second tab follows, and after an outage the page recovers."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Route, Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_second_tab_sees_what_the_first_does(tab: Tab, open_tab: OpenTab) -> None:
    """A second tab shows without a reload that a conversation is created, titled, renamed, pinned and deleted."""
    other = await open_tab()

    await tab.ask("A name, please")
    await expect(other.titles).to_have_text(["A name, please"])
    await expect(other.groups).to_have_text(["Today"])
    await tab.choose("A name, please", "Rename")
    await tab.page.get_by_role("textbox", name="Title").fill("Names")
    await tab.page.keyboard.press("Enter")
    await expect(other.titles).to_have_text(["Names"])
    await tab.choose("Names", "Pin")
    await expect(other.groups).to_have_text(["Pinned"])
    tab.expected = ["404"]  # a poll may happen in between
    await tab.choose("Names", "Delete")
    await expect(other.rows).to_have_count(0)
    await tab.notice("Deleted").get_by_role("button", name="Undo").click()
    await expect(other.titles).to_have_text(["Names"])


async def test_an_answer_grows_in_both_tabs(tab: Tab, open_tab: OpenTab) -> None:
    """
    An answer grows in all tabs that show the conversation, also after edits and in forks, and counts as read there.
    """
    await tab.ask("A name, please")
    other = await open_tab(f"/c/{tab.id}")
    await expect(other.questions).to_have_text(["A name, please"])

    await tab.box.fill("wait")
    await tab.box.press("Enter")
    await expect(other.questions).to_have_text(["A name, please", "wait"])
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(other.answers.last).to_contain_text("So far so good")

    await tab.act(tab.questions.first, "Edit")
    await tab.page.get_by_role("textbox", name="Edit the message").fill("Bread, please")
    await tab.page.keyboard.press("Enter")
    await expect(other.questions).to_have_text(["Bread, please"])
    await expect(other.answers).to_contain_text(["fills slowly"])
    await expect(other.row("A name, please")).not_to_have_class(re.compile("row-unread"))


async def test_a_conversation_that_goes_elsewhere_closes_here(tab: Tab, mine: UserStorage) -> None:
    """When the open conversation is deleted elsewhere, a new one replaces it, and no link to it is left."""
    await tab.ask("A name, please")

    tab.expected = ["404"]  # a poll may happen in between
    await mine.soft_delete_conversation(tab.id)

    await expect(tab.page).to_have_url(re.compile("/$"))
    await expect(tab.rows).to_have_count(0)


async def test_a_late_answer_brings_nothing_back(mine: UserStorage, open_tab: OpenTab) -> None:
    """A late response with a conversation that was deleted meanwhile does not show it again, in the list either."""
    item = await mine.create_conversation({"title": "First"})
    await mine.add_messages([{"role": "assistant", "content": "Hello"}], item.id)
    tab = await open_tab()
    answered, late = asyncio.Queue[str](), asyncio.Event()

    async def answer_late(route: Route) -> None:
        response = await route.fetch()
        answered.put_nowait(route.request.url)
        await late.wait()
        await route.fulfill(response=response)

    await tab.page.route(re.compile("/read$"), answer_late)
    await tab.link("First").click()
    assert (await answered.get()).endswith("/read")
    await tab.page.route(re.compile("archived="), answer_late)
    await tab.page.get_by_role("button", name="Archived").click()
    await tab.page.get_by_role("button", name="Back to all conversations").click()
    assert {"archived=true", "archived=false"} == {(await answered.get()).split("&")[1] for _ in range(2)}

    tab.expected = ["404"]  # a poll may happen in between
    await mine.soft_delete_conversation(item.id)
    await expect(tab.page).to_have_url(re.compile("/$"))
    async with tab.page.expect_event("requestfinished", lambda request: request.url.endswith("/read")):
        late.set()

    await expect(tab.page.get_by_text("No conversations yet.")).to_be_visible()
    await expect(tab.rows).to_have_count(0)


async def test_a_late_answer_hides_nothing(mine: UserStorage, open_tab: OpenTab) -> None:
    """A late response to an earlier request for the same conversation hides nothing that is shown already."""
    item = await mine.create_conversation({"title": "First"})
    await mine.add_message({"role": "user", "content": "one"}, item.id)
    tab = await open_tab(f"/c/{item.id}")
    answered, late = asyncio.Event(), asyncio.Event()

    async def answer_late(route: Route) -> None:
        if answered.is_set():
            return await route.continue_()
        response = await route.fetch()
        answered.set()
        await late.wait()
        await route.fulfill(response=response, headers={**response.headers, "x-late": "true"})

    await tab.page.route(re.compile("/messages[?]"), answer_late)
    much = {"": "!" * 20_000}  # too much for an event, so that the page asks
    await mine.add_message({"role": "user", "content": "two", "metadata": much}, item.id)
    await answered.wait()
    await mine.add_message({"role": "user", "content": "three"}, item.id)
    await expect(tab.questions).to_have_text(["one", "two", "three"])
    async with tab.page.expect_response(lambda response: "x-late" in response.headers) as response:
        late.set()
    await (await response.value).finished()
    await tab.page.evaluate("new Promise(requestAnimationFrame)")

    await expect(tab.questions).to_have_text(["one", "two", "three"])


async def test_without_a_server_nothing_is_lost(tab: Tab, mine: UserStorage) -> None:
    """
    Without a server the page says so and keeps the text in the box.

    When the server is back, the list is up to date.
    """
    await tab.ask("A name, please")
    tab.expected = ["DISCONNECTED"]
    await tab.page.context.set_offline(True)

    await tab.box.fill("Are you there?")
    await tab.box.press("Enter")
    await expect(tab.notice("The server can’t be reached.")).to_be_visible()
    await expect(tab.box).to_have_value("Are you there?")
    await expect(tab.questions).to_have_text(["A name, please"])
    await mine.create_conversation({"title": "Made meanwhile"})

    await tab.page.context.set_offline(False)
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await tab.box.press("Enter")
    await expect(tab.questions).to_have_text(["A name, please", "Are you there?"])
    await tab.answered()


async def test_a_server_that_refuses_to_tell_is_asked_again(mine: UserStorage, open_tab: OpenTab) -> None:
    """After an error status the page reconnects to the events, since browsers do so only after a lost connection."""
    tab = await open_tab()
    tab.expected = ["503"]
    await tab.page.route(re.compile("/chat/events"), lambda route: route.fulfill(status=503), times=2)
    await tab.page.reload()
    await expect(tab.page.get_by_text("The connection is lost.")).to_be_visible()

    await expect(tab.page.get_by_text("The connection is lost.")).to_be_hidden(timeout=15_000)
    await mine.create_conversation({"title": "Made later"})
    await expect(tab.titles).to_have_text(["Made later"])


async def test_a_list_that_did_not_load_is_tried_again(mine: UserStorage, open_tab: OpenTab) -> None:
    """If the list cannot be loaded, a button to retry is shown in its place."""
    await mine.create_conversation({"title": "First"})
    tab = await open_tab()

    async def answer_without(route: Route) -> None:
        response = await route.fetch()
        await route.fulfill(
            response=response, body=re.sub('(id="carried"[^>]*>).*', r"\1</script>", await response.text())
        )

    await tab.page.route(tab.page.url, answer_without)
    await tab.page.route(re.compile("/api/(conversations|chat/events)"), lambda route: route.abort())
    await tab.page.reload()
    await expect(tab.page.get_by_text("Couldn’t load more.")).to_be_visible()
    await expect(tab.page.get_by_text("The connection is lost.")).to_be_visible()

    await tab.page.unroute_all()
    await tab.page.get_by_role("button", name="Try again").click()

    await expect(tab.titles).to_have_text(["First"])
    await expect(tab.page.get_by_text("The connection is lost.")).to_be_hidden()
    assert tab.problems
    tab.problems.clear()


async def test_events_say_what_they_tell(mine: UserStorage, open_tab: OpenTab) -> None:
    """A page that watches asks for nothing that an event says: a change, messages, what became of an answer."""
    tab = await open_tab()
    await tab.ask("A name, please")
    other = await open_tab(f"/c/{tab.id}")
    await expect(other.answers).to_have_count(1)
    for each in (tab, other):
        await each.page.wait_for_load_state("networkidle")
    asked: list[str] = []
    for each in (tab, other):
        each.page.on("request", lambda request: asked.append(f"{request.method} {request.url.partition('/api/')[2]}"))

    await mine.rename_conversation(tab.id, "Names")
    await mine.add_message({"role": "user", "content": "From elsewhere"}, tab.id)
    for each in (tab, other):
        await expect(each.heading).to_have_text("Names")
        await expect(each.questions.last).to_have_text("From elsewhere")
    await tab.ask("And a letter")
    await expect(other.answers).to_have_count(2)
    await expect(other.page.locator(".row-answering")).to_have_count(0)
    await expect(tab.page.locator(".row-unread")).to_have_count(0)

    follows = {"POST chat", f"GET chat/{tab.id}/stream", f"POST conversations/{tab.id}/read"}
    assert set(asked) <= follows
