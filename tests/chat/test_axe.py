"""axe finds nothing in any state of the sidebar, in either theme, on a desktop or a phone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests import node
from tests.chat.conftest import OpenTab
from tests.chat.tab import expect
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


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)], ids=["light", "dark phone"])
async def test_axe_finds_nothing(dark: bool, phone: bool, mine: UserStorage, open_tab: OpenTab) -> None:
    """In each state: the list, menus, folders, a selection, the archive, the trash, and every dialog."""
    modules = (await asyncio.to_thread(node.environment, "axe"))["NODE_PATH"]
    axe = (Path(modules) / "axe-core" / "axe.min.js").read_text()
    ids = await made(mine, "First", "Second", "Third", "Fourth", "Fifth")
    await mine.tag_conversation(ids[1], ["folder:Bread"])
    await mine.add_message({"role": "assistant", "content": "Unread"}, ids[2])
    await mine.fork_conversation(ids[0])
    await mine.archive_conversation(ids[3])
    await mine.soft_delete_conversation(ids[4])
    tab = await open_tab(f"/c/{ids[0]}", dark=dark, phone=phone)
    page, button, dialog = tab.page, tab.page.get_by_role, tab.page.get_by_role("dialog")
    await page.evaluate(axe)

    found: dict[str, list[str]] = {}

    async def check(state: str) -> None:
        if problems := await page.evaluate(PROBLEMS):
            found[state] = problems

    async def close() -> None:
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()

    if phone:
        await button("button", name="Conversations", exact=True).click()
    await page.locator(".folder-name").click()
    await expect(tab.link("Second")).to_be_visible()
    await check("list with an open folder")
    await button("button", name="Actions for Second").click(force=True)
    await expect(button("menu")).to_be_visible()
    await check("menu")
    await button("menuitem", name="Share …").click()
    await button("button", name="Create a link").click()
    await expect(dialog.get_by_role("textbox")).to_be_visible()
    await check("share")
    await close()
    await button("button", name="New folder").click()
    await expect(dialog).to_be_visible()
    await check("a name is asked for")
    await close()
    await tab.link("Third").click(modifiers=["Control"])
    await button("button", name="Move to a folder").click()
    await expect(button("menu")).to_be_visible()
    await check("selection and menu of folders")
    await page.keyboard.press("Escape")
    await button("button", name="End the selection").click()
    await tab.search("about")
    await expect(tab.hits.first).to_be_visible()
    await check("results")
    await button("searchbox").press("Escape")
    await button("button", name="Archived").click()
    await expect(tab.link("Fourth")).to_be_visible()
    await check("archive")
    await button("button", name="Trash").click()
    await expect(tab.row("Fifth")).to_be_visible()
    await check("trash")
    await button("button", name="Empty the trash …").click()
    await expect(dialog).to_be_visible()
    await check("a question")
    await close()
    await button("button", name="Jump to a month").click()
    await expect(dialog).to_be_visible()
    await check("months")
    await close()
    await page.locator("#new-chat").focus()
    await page.keyboard.press("?")
    await expect(dialog).to_be_visible()
    await check("shortcuts")
    await close()
    await page.keyboard.press("Control+k")
    await dialog.get_by_role("combobox").fill("about")
    await expect(dialog.get_by_role("group", name="Messages")).to_be_visible()
    await check("palette")
    await page.keyboard.press("Enter")
    await expect(button("group", name="Matches in this conversation")).to_be_visible()
    await check("matches in a conversation")
    assert found == {}
