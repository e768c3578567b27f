"""Folders in the sidebar: tags that a person sees, opens, fills by dragging or by the menu, renames and removes."""

from __future__ import annotations

import re

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Locator, Tab, expect
from tests.chat.test_list import made
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


def folder(tab: Tab, name: str) -> Locator:
    return tab.page.locator(".folder-name", has_text=re.compile(rf"^{name}\d*$"))


def inside(tab: Tab, name: str) -> Locator:
    return tab.page.get_by_role("list", name=name, exact=True).locator(".row-title")


async def tags(mine: UserStorage, *ids: str) -> list[list[str]]:
    return [(await mine.get_conversation_item(id)).tags for id in ids]


async def test_a_folder_lists_its_own_conversations(mine: UserStorage, open_tab: OpenTab) -> None:
    """A folder above the groups lists its conversations, which are in no group; it stays open after a reload."""
    ids = await made(mine, "First", "Second", "Third", "Fourth")
    for id, mark in zip(ids, ("folder:Bread", "folder:Bread", "plain", "folder:Art"), strict=True):
        await mine.tag_conversation(id, [mark])
    tab = await open_tab()

    await expect(tab.page.locator(".folder-name .row-title")).to_have_text(["Art", "Bread"])
    await expect(folder(tab, "Bread")).to_have_attribute("aria-expanded", "false")
    await expect(folder(tab, "Bread")).to_contain_text("2")
    await expect(tab.titles).to_have_text(["Art", "Bread", "Third"])
    await folder(tab, "Bread").click()
    await expect(inside(tab, "Bread")).to_have_text(["First", "Second"])
    await tab.page.reload()
    await expect(inside(tab, "Bread")).to_have_text(["First", "Second"])
    await mine.add_message({"role": "user", "content": "Again"}, ids[1])
    await expect(inside(tab, "Bread")).to_have_text(["Second", "First"])
    await mine.tag_conversation(ids[0], [])
    await expect(tab.titles).to_have_text(["Art", "Bread", "Second", "First", "Third"])
    await expect(folder(tab, "Bread")).to_contain_text("1")

    await folder(tab, "Bread").focus()
    for key, expected in (("ArrowDown", "Second"), ("ArrowDown", "First"), ("Home", "Art"), ("ArrowDown", "Bread")):
        await tab.page.keyboard.press(key)
        await expect(tab.page.locator(":focus .row-title")).to_have_text(expected)
    await tab.page.keyboard.press("ArrowLeft")
    await expect(inside(tab, "Bread")).to_have_count(0)
    await tab.page.keyboard.press("ArrowRight")
    await expect(inside(tab, "Bread")).to_have_text(["Second"])


async def test_a_conversation_is_in_the_folder_of_its_first_tag(mine: UserStorage, open_tab: OpenTab) -> None:
    """A conversation with the tags of two folders is listed in the first one only, whichever is opened first."""
    ids = await made(mine, "First", "Second", "Third")
    for id, marks in zip(ids, (["folder:Cake", "folder:Art"], ["folder:Cake"], ["folder:Art"]), strict=True):
        await mine.tag_conversation(id, marks)

    for order in (("Art", "Cake"), ("Cake", "Art")):
        tab = await open_tab()
        for name in order:
            await folder(tab, name).click()
            await expect(inside(tab, name)).to_have_text({"Art": ["Third"], "Cake": ["First", "Second"]}[name])
        await expect(folder(tab, "Art")).to_contain_text("1")
        await expect(inside(tab, "Art")).to_have_text(["Third"])
        await expect(inside(tab, "Cake")).to_have_text(["First", "Second"])


async def test_conversations_are_moved_by_their_menus(mine: UserStorage, open_tab: OpenTab) -> None:
    """The menu, or the bar for several, moves to a new or another folder and out again; one Undo puts each back."""
    ids = await made(mine, "First", "Second", "Third")
    await mine.tag_conversation(ids[2], ["plain", "folder:Art"])
    tab = await open_tab()
    press, dialog = tab.page.keyboard.press, tab.page.get_by_role("dialog")

    await tab.choose("First", "Move to a folder …")
    await tab.page.get_by_role("menuitem", name="New folder …").click()
    await dialog.get_by_role("textbox", name="Name").fill("Bread")
    await press("Enter")
    await expect(tab.notice("Moved “First” to “Bread”")).to_be_visible()
    await expect(folder(tab, "Bread")).to_contain_text("1")
    assert await tags(mine, *ids) == [["folder:Bread"], [], ["plain", "folder:Art"]]

    for name in ("Art", "Bread"):
        await folder(tab, name).click()
    for title in ("First", "Second", "Third"):
        await tab.link(title).click(modifiers=["Control"])
    await tab.page.get_by_role("button", name="Move to a folder").click()
    await expect(tab.page.get_by_role("menuitem")).to_have_text(
        ["Art", "Bread", "New folder …", "Out of their folders"]
    )
    await tab.page.get_by_role("menuitem", name="Art").click()
    await expect(inside(tab, "Art")).to_have_text(["First", "Second", "Third"])
    assert await tags(mine, *ids) == [["folder:Art"], ["folder:Art"], ["plain", "folder:Art"]]
    await tab.notice("Moved 2 conversations to “Art”").get_by_role("button", name="Undo").click()
    await expect(inside(tab, "Art")).to_have_text(["Third"])
    assert await tags(mine, *ids) == [["folder:Bread"], [], ["plain", "folder:Art"]]

    await tab.choose("Third", "Move to a folder …")
    await tab.page.get_by_role("menuitem", name="Out of “Art”").click()
    await expect(tab.page.get_by_role("list", name="Today").locator(".row-title")).to_have_text(["Second", "Third"])
    assert await tags(mine, ids[2]) == [["plain"]]


async def test_conversations_are_dragged_into_a_folder_and_out(mine: UserStorage, open_tab: OpenTab) -> None:
    """A dragged row moves into the folder where it is dropped, with all that is selected; on a group it moves out."""
    ids = await made(mine, "First", "Second", "Third")
    tab = await open_tab()
    await tab.page.evaluate("localStorage.setItem('voltmem-emptyFolders', '[\"Bread\"]')")
    await tab.page.reload()
    await folder(tab, "Bread").click()
    await expect(tab.page.get_by_text("Empty. Drag conversations here")).to_be_visible()

    await tab.link("First").click(modifiers=["Control"])
    await tab.link("Third").click()
    await tab.link("Third").drag_to(folder(tab, "Bread"))
    await expect(inside(tab, "Bread")).to_have_text(["First", "Third"])
    await expect(tab.notice("Moved 2 conversations to “Bread”")).to_be_visible()
    await tab.link("First").drag_to(tab.groups.last)
    await expect(inside(tab, "Bread")).to_have_text(["Third"])

    await expect(tab.page.get_by_role("list", name="Today").locator(".row-title")).to_have_text(["First", "Second"])
    assert await tags(mine, *ids) == [[], [], ["folder:Bread"]]


async def test_a_folder_is_renamed_and_removed(mine: UserStorage, open_tab: OpenTab) -> None:
    """A folder is renamed, also for what is archived; removing it keeps its conversations, and Undo brings it back."""
    ids = await made(mine, "First", "Second")
    for id in ids:
        await mine.tag_conversation(id, ["folder:Bread"])
    await mine.archive_conversation(ids[1])
    tab = await open_tab()
    await folder(tab, "Bread").click()

    await folder(tab, "Bread").focus()
    await tab.page.keyboard.press("F2")
    await tab.page.get_by_role("dialog").get_by_role("textbox").fill("Cake")
    await tab.page.keyboard.press("Enter")
    await expect(folder(tab, "Bread")).to_have_count(0)
    await expect(inside(tab, "Cake")).to_have_text(["First"])
    assert await tags(mine, *ids) == [["folder:Cake"], ["folder:Cake"]]
    await folder(tab, "Cake").click(button="right")
    await tab.page.get_by_role("menuitem", name="Remove the folder").click()
    await expect(tab.titles).to_have_text(["First"])
    assert await tags(mine, *ids) == [[], []]
    await tab.notice("Removed the folder “Cake”").get_by_role("button", name="Undo").click()

    await expect(folder(tab, "Cake")).to_contain_text("1")
    assert await tags(mine, *ids) == [["folder:Cake"], ["folder:Cake"]]


async def test_renaming_a_folder_to_anothers_name_can_be_undone(mine: UserStorage, open_tab: OpenTab) -> None:
    """A folder that is renamed to another's name goes into that one; Undo takes out again what was in it."""
    ids = await made(mine, "First", "Second")
    for id, name in zip(ids, ("Bread", "Cake"), strict=True):
        await mine.tag_conversation(id, [f"folder:{name}"])
    tab = await open_tab()
    await folder(tab, "Bread").focus()

    await tab.page.keyboard.press("F2")
    await tab.page.get_by_role("dialog").get_by_role("textbox").fill("Cake")
    await tab.page.keyboard.press("Enter")

    await expect(folder(tab, "Cake")).to_contain_text("2")
    await expect(folder(tab, "Bread")).to_have_count(0)
    await tab.notice("Moved one conversation to “Cake”").get_by_role("button", name="Undo").click()
    await expect(folder(tab, "Bread")).to_contain_text("1")
    assert await tags(mine, *ids) == [["folder:Bread"], ["folder:Cake"]]
