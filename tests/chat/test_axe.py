"""axe finds nothing in any state of the sidebar, in either theme, on a desktop or a phone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests import node
from tests.chat.conftest import OpenTab
from tests.chat.tab import Tab, expect
from tests.chat.test_list import made
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROBLEMS = """async () => {
    await Promise.allSettled(document.getAnimations().filter(each => each.effect.getComputedTiming().endTime < Infinity)
        .map(each => each.finished));
    const shown = document.querySelector("dialog[open]") ?? document;
    const { violations } = await axe.run(shown, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map((each) => `${id}: ${each.html} ${each.failureSummary}`));
}"""


class Axe:
    """A tab in which axe looks at states."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.dialog = tab.page.get_by_role("dialog")
        self.found: dict[str, list[str]] = {}

    async def check(self, state: str) -> None:
        if problems := await self.tab.page.evaluate(PROBLEMS):
            self.found[state] = problems

    async def close(self) -> None:
        await self.tab.page.keyboard.press("Escape")
        await expect(self.dialog).to_be_hidden()


@pytest_asyncio.fixture(params=[(False, False), (True, True)], ids=["light", "dark phone"], loop_scope="session")
async def axe(request: pytest.FixtureRequest, mine: UserStorage, open_tab: OpenTab) -> AsyncIterator[Axe]:
    """The chat with a folder, an unread conversation, a fork, an archived and a deleted one."""
    dark, phone = request.param
    modules = (await asyncio.to_thread(node.environment, "axe"))["NODE_PATH"]
    ids = await made(mine, "First", "Second", "Third", "Fourth", "Fifth")
    await mine.tag_conversation(ids[1], ["folder:Bread"])
    await mine.add_message({"role": "assistant", "content": "Unread"}, ids[2])
    await mine.fork_conversation(ids[0])
    await mine.archive_conversation(ids[3])
    await mine.soft_delete_conversation(ids[4])
    tab = await open_tab(f"/c/{ids[0]}", dark=dark, phone=phone)
    await tab.page.evaluate((Path(modules) / "axe-core" / "axe.min.js").read_text())
    if phone:
        await tab.page.get_by_role("button", name="Conversations", exact=True).click()
    made_axe = Axe(tab)
    yield made_axe
    assert made_axe.found == {}


async def test_axe_finds_nothing_in_the_list(axe: Axe) -> None:
    """In each state of the list: menus, folders, a selection, results, and the dialogs of a row."""
    tab, dialog = axe.tab, axe.dialog
    page, button = tab.page, tab.page.get_by_role
    await page.locator(".folder-name").click()
    await expect(tab.link("Second")).to_be_visible()
    await axe.check("list with an open folder")
    await button("button", name="Actions for Second").click(force=True)
    await expect(button("menu")).to_be_visible()
    await axe.check("menu")
    await button("menuitem", name="Share …").click()
    await button("button", name="Create a link").click()
    await expect(dialog.get_by_role("textbox")).to_be_visible()
    await axe.check("share")
    await axe.close()
    await button("button", name="New folder").click()
    await expect(dialog).to_be_visible()
    await axe.check("a name is asked for")
    await axe.close()
    await tab.link("Third").click(modifiers=["Control"])
    await button("button", name="Move to a folder").click()
    await expect(button("menu")).to_be_visible()
    await axe.check("selection and menu of folders")
    await page.keyboard.press("Escape")
    await button("button", name="End the selection").click()
    await tab.search("about")
    await expect(tab.hits.first).to_be_visible()
    await axe.check("results")
    await button("searchbox").press("Escape")


async def test_axe_finds_nothing_in_the_views(axe: Axe) -> None:
    """In the archive, the trash, the list of months, the shortcuts, the palette, and among its hits."""
    tab, dialog = axe.tab, axe.dialog
    page, button = tab.page, tab.page.get_by_role
    await button("button", name="Archived").click()
    await expect(tab.link("Fourth")).to_be_visible()
    await axe.check("archive")
    await button("button", name="Trash").click()
    await expect(tab.row("Fifth")).to_be_visible()
    await axe.check("trash")
    await button("button", name="Empty the trash …").click()
    await expect(dialog).to_be_visible()
    await axe.check("a question")
    await axe.close()
    await button("button", name="Jump to a month").click()
    await expect(dialog).to_be_visible()
    await axe.check("months")
    await axe.close()
    await page.locator("#new-chat").focus()
    await page.keyboard.press("?")
    await expect(dialog).to_be_visible()
    await axe.check("shortcuts")
    await axe.close()
    await page.keyboard.press("Control+k")
    await dialog.get_by_role("combobox").fill("about")
    await expect(dialog.get_by_role("group", name="Messages")).to_be_visible()
    await axe.check("palette")
    await page.keyboard.press("Enter")
    await expect(button("group", name="Matches in this conversation")).to_be_visible()
    await axe.check("matches in a conversation")
