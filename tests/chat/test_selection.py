"""Several conversations at once: selecting them, and what is done with all of them, with one way back."""

from __future__ import annotations

import re

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Locator, Tab, expect
from tests.chat.test_list import made
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIVE = ("First", "Second", "Third", "Fourth", "Fifth")


def bar(tab: Tab) -> Locator:
    return tab.page.get_by_role("toolbar", name="Selected conversations")


async def selected(tab: Tab, *titles: str) -> None:
    """Check what is selected, by eye and by screen reader."""
    boxes = tab.page.get_by_role("checkbox", checked=True)
    await expect(boxes.locator(".row-title")).to_have_text(list(titles))
    if titles:
        await expect(bar(tab)).to_contain_text(f"{len(titles)} selected")
        await expect(tab.page.locator("#announcer")).to_have_text(f"{len(titles)} selected")
    else:
        await expect(bar(tab)).to_be_hidden()
        await expect(tab.page.get_by_role("checkbox")).to_have_count(0)


async def test_several_are_selected_with_the_pointer_or_the_keyboard(mine: UserStorage, open_tab: OpenTab) -> None:
    """Ctrl and Shift with a click or an arrow select rows, then any click or Space; Escape ends it; nothing opens."""
    await made(mine, *FIVE)
    tab = await open_tab()
    press = tab.page.keyboard.press

    await tab.link("Second").click(modifiers=["Control"])
    await selected(tab, "Second")
    await tab.link("Fourth").click(modifiers=["Shift"])
    await selected(tab, "Second", "Third", "Fourth")
    await tab.link("Third").click()
    await selected(tab, "Second", "Fourth")
    await expect(tab.link("Third")).to_be_focused()
    await press("Space")
    await selected(tab, "Second", "Third", "Fourth")
    await press("Shift+ArrowDown")
    await press("Shift+ArrowDown")
    await selected(tab, "Third", "Fourth", "Fifth")
    await press("Shift+ArrowUp")
    await selected(tab, "Third", "Fourth")
    await press("Control+a")
    await selected(tab, *FIVE)
    await press("Escape")
    await selected(tab)
    await press("Control+Space")
    await selected(tab, "Fourth")
    await bar(tab).get_by_role("button", name="End the selection").click()
    await selected(tab)

    await expect(tab.link("Fourth")).to_be_focused()
    await expect(tab.page).to_have_url(re.compile("/$"))


async def test_all_that_is_selected_is_archived_or_deleted_with_one_undo(mine: UserStorage, open_tab: OpenTab) -> None:
    """The bar archives and deletes all that is selected; one Undo brings all back, and opens what was open."""
    ids = await made(mine, *FIVE)
    tab = await open_tab(f"/c/{ids[1]}")

    await tab.choose("Second", "Select")
    await tab.link("Third").click()
    await bar(tab).get_by_role("button", name="Archive").click()
    await expect(tab.titles).to_have_text(["First", "Fourth", "Fifth"])
    await selected(tab)
    await tab.notice("Archived 2 conversations").get_by_role("button", name="Undo").click()
    await expect(tab.titles).to_have_text(list(FIVE))

    await tab.link("First").focus()
    await tab.page.keyboard.press("Shift+ArrowDown")
    await tab.page.keyboard.press("Delete")
    await expect(tab.titles).to_have_text(["Third", "Fourth", "Fifth"])
    assert {item.title for item in await mine.list_deleted_conversations()} == {"First", "Second"}
    await expect(tab.page).to_have_url(re.compile("/$"))
    await tab.notice("Deleted 2 conversations").get_by_role("button", name="Undo").click()

    await expect(tab.titles).to_have_text(list(FIVE))
    await expect(tab.page).to_have_url(re.compile(f"/c/{ids[1]}$"))


async def test_what_is_selected_in_the_trash_comes_back_or_goes_for_good(mine: UserStorage, open_tab: OpenTab) -> None:
    """In the trash the bar restores and deletes for good; what disappears meanwhile is selected no longer."""
    ids = await made(mine, *FIVE)
    for id in ids[::-1]:
        await mine.soft_delete_conversation(id)
    tab = await open_tab()
    await tab.page.get_by_role("button", name="Trash").click()

    await tab.row("First").click(modifiers=["Control"])
    await tab.row("Second").click()
    await tab.row("Third").click()
    await mine.restore_conversation(ids[2])
    await selected(tab, "First", "Second")
    await bar(tab).get_by_role("button", name="Restore").click()
    await expect(tab.titles).to_have_text(["Fourth", "Fifth"])
    await tab.row("Fourth").click(modifiers=["Control"])
    await bar(tab).get_by_role("button", name="Delete for good …").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()

    await expect(tab.titles).to_have_text(["Fifth"])
    assert [item.title for item in await mine.list_deleted_conversations()] == ["Fifth"]
