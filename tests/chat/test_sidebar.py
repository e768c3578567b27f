"""The sidebar as a whole: its width, whether it is there, the jump to a month, and the marks of its rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.chat.conftest import Age, OpenTab
from tests.chat.tab import Tab, expect
from tests.chat.test_list import made
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def width(tab: Tab) -> int:
    box = await tab.page.locator("#sidebar").bounding_box()
    assert box is not None
    return round(box["width"])


async def test_the_sidebar_is_closed_and_opened(mine: UserStorage, open_tab: OpenTab) -> None:
    """Its button and Ctrl+B close and open the sidebar, and a reload keeps that; the search opens it."""
    await made(mine, "First")
    tab = await open_tab()
    sidebar = tab.page.get_by_role("navigation", name="Conversations")
    opener = tab.page.get_by_role("button", name="Conversations", exact=True)
    await expect(opener).to_be_hidden()

    await tab.page.get_by_role("button", name="Close the sidebar").click()
    await expect(sidebar).to_be_hidden()
    await expect(opener).to_be_focused()
    await expect(opener).to_have_attribute("aria-expanded", "false")
    await tab.page.reload()
    await expect(opener).to_be_visible()
    await expect(sidebar).to_be_hidden()
    await opener.click()
    await expect(tab.page.get_by_role("button", name="Close the sidebar")).to_be_focused()
    await tab.page.keyboard.press("Control+b")
    await expect(sidebar).to_be_hidden()
    await tab.page.keyboard.press("/")
    await expect(tab.page.get_by_role("searchbox")).to_be_focused()


async def test_the_sidebar_is_resized_by_pointer_and_keyboard(open_tab: OpenTab) -> None:
    """The edge of the sidebar is dragged, or moved with arrow keys, and stays there; a double click puts it back."""
    tab = await open_tab()
    edge, mouse = tab.page.get_by_role("separator", name="Width of the sidebar"), tab.page.mouse

    await mouse.move(304, 400)
    await mouse.down()
    await mouse.move(400, 400)
    await mouse.up()
    assert await width(tab) == 400
    await expect(edge).to_have_attribute("aria-valuenow", "400")
    await tab.page.reload()
    assert await width(tab) == 400
    await edge.focus()
    for key, expected in (("ArrowLeft", 384), ("Home", 208), ("ArrowLeft", 208), ("End", 560)):
        await tab.page.keyboard.press(key)
        assert await width(tab) == expected
    await edge.dblclick()
    assert await width(tab) == 304
    await edge.focus()
    await tab.page.keyboard.press("Enter")
    await expect(edge).to_be_hidden()


async def test_a_jump_to_a_month_leads_there(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """The dialog leads to a month of any year: the list begins there, and goes on; the button leads back."""
    ids = await made(mine, "New", "Old", "Oldest")
    days = 400
    for id, ago in zip(ids[1:], (days, days + 40), strict=True):
        await age(id, ago)
    then = datetime.now(UTC) - timedelta(days=days)
    tab = await open_tab()
    dialog = tab.page.get_by_role("dialog", name="Jump to a month")

    await tab.page.get_by_role("button", name="Jump to a month").click()
    await expect(dialog.locator(":focus")).to_have_accessible_name(re.compile(f"{datetime.now(UTC).year}$"))
    await expect(dialog.get_by_role("button", name="Year after")).to_be_disabled()
    for _ in range(datetime.now(UTC).year - then.year):
        await dialog.get_by_role("button", name="Year before").click()
    await dialog.get_by_role("button", name=f"{then:%B %Y}").click()
    await expect(tab.titles).to_have_text(["Old", "Oldest"])
    await expect(tab.page.get_by_role("heading", name=f"Until {then:%B %Y}")).to_be_visible()
    await expect(tab.link("Old")).to_be_focused()
    await tab.page.get_by_role("button", name="Back to all conversations").click()

    await expect(tab.titles).to_have_text(["New", "Old", "Oldest"])


async def test_rows_have_marks_for_eyes_and_ears(mine: UserStorage, open_tab: OpenTab) -> None:
    """A fork is marked, and a conversation while its answer is under way, for screen readers as well."""
    (id,) = await made(mine, "First")
    await mine.fork_conversation(id)
    tab = await open_tab()

    await expect(tab.rows.first.locator(".row-title .icon")).to_be_visible()
    await expect(tab.rows.first.get_by_role("link")).to_contain_text(", a fork")
    await expect(tab.rows.last.locator(".row-title .icon")).to_have_count(0)
    await tab.box.fill("wait")
    await tab.box.press("Enter")
    await expect(tab.link("wait")).to_contain_text(", answering")
    await expect(tab.row("wait")).to_have_class(re.compile("row-answering"))
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.row("wait")).not_to_have_class(re.compile("row-answering"))


async def test_from_right_to_left_the_sidebar_is_on_the_right(mine: UserStorage, open_tab: OpenTab) -> None:
    """In a page that runs from right to left the sidebar is on the right, and the arrow keys move its edge."""
    await made(mine, "First")
    tab = await open_tab()
    await tab.page.evaluate("document.documentElement.dir = 'rtl'")
    sidebar = await tab.page.locator("#sidebar").bounding_box()
    main = await tab.page.locator("#main").bounding_box()
    assert sidebar is not None
    assert main is not None
    assert sidebar["x"] > main["x"]

    await tab.page.get_by_role("separator").focus()
    await tab.page.keyboard.press("ArrowLeft")
    assert await width(tab) == 320
    await tab.page.mouse.move(1440 - 320, 400)
    await tab.page.mouse.down()
    await tab.page.mouse.move(1440 - 400, 400)
    await tab.page.mouse.up()
    assert await width(tab) == 400


async def test_a_printed_page_is_the_conversation(mine: UserStorage, open_tab: OpenTab) -> None:
    """On paper there is the conversation, light and whole, without the sidebar and without a button."""
    conversation = await mine.create_conversation({"title": "Long"})
    said = [{"role": ("user", "assistant")[n % 2], "content": f"Message {n}"} for n in range(30)]
    await mine.add_messages(said, conversation.id)
    tab = await open_tab(f"/c/{conversation.id}", dark=True)
    await expect(tab.message("Message 29")).to_be_visible()

    await tab.page.emulate_media(media="print")
    for gone in ("navigation", "form", "button"):
        await expect(tab.page.get_by_role(gone)).to_have_count(0)
    height = "document.querySelector('#scroller').scrollHeight <= document.querySelector('#scroller').clientHeight"
    assert await tab.page.evaluate(height)
    await expect(tab.message("Message 0")).to_be_visible()
    assert await tab.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
