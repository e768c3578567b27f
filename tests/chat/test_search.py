"""The search of the chat: results while typing, marked matches, and a jump to the message."""

from __future__ import annotations

import re

import pytest
import pytest_asyncio

from tests.chat.conftest import OpenTab
from tests.chat.tab import Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def filled(mine: UserStorage) -> str:
    """Create a long conversation with one word early in it, and others. Returns its id."""
    long = await mine.create_conversation({"title": "The long one"})
    spoken = [{"role": ("user", "assistant")[number % 2], "content": f"Message {number}"} for number in range(120)]
    spoken[10]["content"] = "Where do capybaras sleep?"
    await mine.add_messages(spoken, long.id)
    for title, said in (("Capybara facts", "They swim."), ("<i>Evil</i>", "capybara <b>bold</b>"), ("Else", "Nothing")):
        conversation = await mine.create_conversation({"title": title})
        await mine.add_message({"role": "user", "content": said}, conversation.id)
    return long.id


async def test_what_is_typed_is_found_and_marked(filled: str, open_tab: OpenTab) -> None:
    """A prefix finds titles and messages with the match marked; Escape brings back the list."""
    tab = await open_tab()

    await tab.page.get_by_role("searchbox").press_sequentially("capyb")

    await expect(tab.hits).to_have_count(3)
    await expect(tab.rows.first).to_be_hidden()
    await expect(tab.page.get_by_role("heading", name="3 found")).to_be_visible()
    await expect(tab.hits.locator("mark")).to_have_text(["Capybara", "capybara", "capybaras"], ignore_case=True)
    await expect(tab.hits.filter(has_text="<i>Evil</i>")).to_contain_text("capybara <b>bold</b>")
    await tab.page.keyboard.press("Escape")
    await expect(tab.rows).to_have_count(4)
    await expect(tab.page.get_by_role("searchbox")).to_have_value("")


async def test_a_hit_leads_to_its_message(filled: str, open_tab: OpenTab) -> None:
    """A hit opens its message in place, however old, with the messages around it and a button to the end."""
    tab = await open_tab()
    await tab.search("sleep")
    await tab.hits.first.get_by_role("link").click()

    found = tab.message("Where do capybaras sleep?")
    await expect(found).to_be_in_viewport()
    await expect(found).to_be_focused()
    await expect(tab.page).to_have_url(re.compile(f"/c/{filled}#"))
    await expect(tab.message("Message 9").first).to_be_attached()
    await expect(tab.message("Message 11").first).to_be_attached()
    await expect(tab.message("Message 119")).to_have_count(0)
    await tab.page.reload()
    await expect(found).to_be_in_viewport()

    await tab.page.get_by_role("button", name="Newest").click()
    await expect(tab.message("Message 119")).to_be_in_viewport()


async def test_from_a_found_message_one_reads_on_to_the_end(filled: str, open_tab: OpenTab) -> None:
    """From a found message, newer messages load on scrolling down, without a gap, like older ones on scrolling up."""
    tab = await open_tab()
    await tab.search("sleep")
    await tab.hits.first.get_by_role("link").click()
    await expect(tab.message("Where do capybaras sleep?")).to_be_in_viewport()

    for number in (60, 90, 119):
        await tab.page.locator(".message").last.scroll_into_view_if_needed()
        await expect(tab.message(f"Message {number}")).to_be_attached()

    texts = await tab.page.locator(".message .body").all_inner_texts()
    assert texts == ["Where do capybaras sleep?" if number == 10 else f"Message {number}" for number in range(120)]


async def test_a_slow_answer_never_overtakes_a_later_one(filled: str, open_tab: OpenTab) -> None:
    """A new search cancels the request of the previous one, so a late response cannot replace newer results."""
    tab = await open_tab()
    slow = re.compile("q=sl$")
    await tab.page.route(slow, lambda _: None)  # not answered yet

    async with tab.page.expect_request(slow):
        await tab.search("sl")
    async with tab.page.expect_event("requestfailed", lambda request: bool(slow.search(request.url))):
        await tab.search("swim")

    await expect(tab.hits).to_have_count(1)
    await expect(tab.hits).to_contain_text("They swim.")


async def test_results_are_walked_with_the_arrows(filled: str, open_tab: OpenTab) -> None:
    """The down key moves from the box into the results, and the up key back; Enter in the box opens the best hit."""
    tab = await open_tab()
    await tab.search("capybara")
    await expect(tab.hits).to_have_count(3)

    await tab.page.keyboard.press("ArrowDown")
    await expect(tab.hits.nth(0).get_by_role("link")).to_be_focused()
    await tab.page.keyboard.press("ArrowDown")
    await expect(tab.hits.nth(1).get_by_role("link")).to_be_focused()
    await tab.page.keyboard.press("ArrowUp")
    await tab.page.keyboard.press("ArrowUp")
    await expect(tab.page.get_by_role("searchbox")).to_be_focused()
    await tab.page.keyboard.press("Enter")

    await expect(tab.heading).to_have_text("Capybara facts")


async def test_enter_opens_the_best_of_what_was_typed_last(filled: str, open_tab: OpenTab) -> None:
    """Enter opens the best hit for the current text, never an earlier one's; during a composition it opens nothing."""
    tab = await open_tab()
    box = tab.page.get_by_role("searchbox")
    await tab.search("sleep")
    await expect(tab.hits).to_have_count(1)

    await box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    await expect(tab.page).to_have_url(re.compile("/$"))
    await tab.search("swim")
    await box.press("Enter")

    await expect(tab.heading).to_have_text("Capybara facts")


async def test_a_page_of_results_that_failed_is_loaded_again(mine: UserStorage, open_tab: OpenTab) -> None:
    """If a further page of results fails to load, scrolling on retries."""
    for number in range(30):
        conversation = await mine.create_conversation({"title": f"Hotel {number}"})
        await mine.add_message({"role": "user", "content": "A long story of a hotel. " * 12}, conversation.id)
    tab = await open_tab()
    results = tab.page.locator("#results")
    tab.expected = ["ERR_FAILED"]
    await tab.page.route(re.compile("/search.*after="), lambda route: route.abort())

    async with tab.page.expect_event("requestfailed"):
        await tab.search("hotel")
        await expect(tab.hits.first).to_be_visible()
        await results.evaluate("results => results.scrollTop = results.scrollHeight")
    await expect(tab.notice("The server can’t be reached.")).to_be_visible()
    await tab.page.unroute_all()
    await results.evaluate("results => results.scrollTop = 0")
    await expect(tab.hits.first).to_be_in_viewport()
    await results.evaluate("results => results.scrollTop = results.scrollHeight")

    await expect(tab.hits).to_have_count(30)


async def test_what_is_deleted_is_found_no_more(filled: str, mine: UserStorage, open_tab: OpenTab) -> None:
    """A deleted conversation disappears from the results."""
    tab = await open_tab()
    await tab.search("capybara")
    await expect(tab.hits).to_have_count(3)

    await mine.soft_delete_conversation(filled)

    await expect(tab.hits).to_have_count(2)
    await expect(tab.page.get_by_role("heading", name="2 found")).to_be_visible()


async def test_on_a_phone_escape_ends_the_search_first(filled: str, open_tab: OpenTab) -> None:
    """On a phone the first Escape ends the search, and the next one closes the drawer."""
    tab = await open_tab(phone=True)
    box = tab.page.get_by_role("searchbox")
    await tab.page.get_by_role("button", name="Conversations", exact=True).tap()
    await tab.search("swim")
    await expect(tab.hits).to_have_count(1)

    await box.press("Escape")
    await expect(tab.hits.first).to_be_hidden()
    await expect(box).to_be_focused()
    await box.press("Escape")

    await expect(box).to_be_hidden()


async def test_nothing_found_is_said(tab: Tab) -> None:
    """A search without results says so, also to screen readers."""
    await tab.search("unheard-of")

    await expect(tab.page.get_by_role("heading", name="Nothing found")).to_be_visible()
    await expect(tab.page.locator("#announcer")).to_have_text("Nothing found")
