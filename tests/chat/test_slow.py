"""The chat with a slow network: late responses remove nothing, and repeated clicks act once."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Route, Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKING = re.compile("/api/chat$")
NEWEST = re.compile(r"/messages\?limit=30&")
DRAWN = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"


async def long_conversation(mine: UserStorage) -> str:
    """Create a conversation of 100 messages and another one. Returns its address at the fifth message."""
    other = await mine.create_conversation({"title": "Other"})
    await mine.add_message({"role": "user", "content": "Elsewhere"}, other.id)
    long = await mine.create_conversation({"title": "Long"})
    spoken = [{"role": ("user", "assistant")[number % 2], "content": f"Message {number}"} for number in range(100)]
    messages = await mine.add_messages(spoken, long.id)
    return f"/c/{long.id}#{messages[4].id}"


async def test_an_answer_elsewhere_keeps_no_box_busy(mine: UserStorage, open_tab: OpenTab) -> None:
    """While the end of one conversation loads after a question, another one can be opened and used."""
    tab = await open_tab(await long_conversation(mine))
    await expect(tab.message("Message 4").first).to_be_in_viewport()
    late = asyncio.Event()

    async def answer(route: Route) -> None:
        await late.wait()
        await route.continue_()

    await tab.page.route(NEWEST, answer, times=1)
    async with tab.page.expect_request(NEWEST):
        await tab.box.fill("A name, please")
        await tab.box.press("Enter")
    await tab.link("Other").click()
    await expect(tab.questions).to_have_text(["Elsewhere"])
    async with tab.page.expect_request(ASKING):
        late.set()
    await tab.page.evaluate(DRAWN)

    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()
    await expect(tab.questions).to_have_text(["Elsewhere"])
    await tab.link("Long").click()
    await expect(tab.questions.last).to_have_text("A name, please")
    await tab.answered()


async def test_an_old_question_that_is_edited_is_the_last(mine: UserStorage, open_tab: OpenTab) -> None:
    """Editing an old question deletes the later messages at once, without loading them first."""
    tab = await open_tab(await long_conversation(mine))
    await expect(tab.message("Message 4").first).to_be_in_viewport()
    await tab.act(tab.message("Message 4").first.locator(".body"), "Edit")
    box = tab.page.get_by_role("textbox", name="Edit the message")
    await box.fill("Please wait")
    await box.press("Enter")

    await expect(tab.answers.last).to_have_text("So far so good")
    await expect(tab.page.locator(".message .body")).to_have_text(
        [*(f"Message {number}" for number in range(4)), "Please wait", "So far so good"]
    )
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.page.get_by_role("button", name="Newest")).to_be_hidden()


async def test_clicked_twice_it_is_forked_once(tab: Tab, mine: UserStorage) -> None:
    """A double click forks once, and does not click on what the first click opened."""
    await tab.ask("A name, please")
    answer = tab.page.locator(".message-assistant").last
    fork = answer.get_by_role("button", name="Fork from here")
    late = asyncio.Event()

    async def answer_late(route: Route) -> None:
        await late.wait()
        await route.continue_()

    await tab.page.route(re.compile("/fork$"), answer_late)
    original = tab.id
    await answer.hover()
    await fork.click()
    await fork.click()
    late.set()
    await expect(tab.page).not_to_have_url(re.compile(original))
    await expect(tab.answers).to_contain_text(["Tern"])
    await fork.dispatch_event("click", {"detail": 2})

    await tab.ask("And a letter")
    assert len((await mine.list_conversations()).items) == 2
