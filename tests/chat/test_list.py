"""The sidebar of the chat: groups, thousands of rows, and the actions on one of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.chat.conftest import Age, OpenTab
from tests.chat.tab import Locator, Tab, expect
from tests.conftest import time_zone_at
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACTIONS = [
    *("Rename", "Pin", "Move to a folder …", "Select", "Open in a new tab", "Share …"),
    *("Export as Markdown", "Export as JSON", "Print …", "Archive", "Delete"),
]


async def made(mine: UserStorage, *titles: str) -> list[str]:
    """Create conversations, the first one last active. Returns their ids."""
    ids = []
    for title in reversed(titles):
        conversation = await mine.create_conversation({"title": title})
        await mine.add_message({"role": "user", "content": f"About {title}"}, conversation.id)
        ids.append(conversation.id)
    return ids[::-1]


async def test_conversations_are_grouped(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """Conversations are grouped: pinned first, then by the viewer's days; each with its title and a preview."""
    ids = await made(mine, "Fresh", "Last week's", "Old", "Dear")
    for id, days in zip(ids, (0, 5, 20, 300), strict=True):
        await age(id, days)
    await mine.pin_conversation(ids[3])

    tab = await open_tab()

    await expect(tab.groups).to_have_text(["Pinned", "Today", "Previous 7 days", "Previous 30 days"])
    await expect(tab.titles).to_have_text(["Dear", "Fresh", "Last week's", "Old"])
    await expect(tab.row("Old")).to_contain_text("About Old")
    await expect(tab.page.get_by_role("list", name="Pinned").get_by_role("link")).to_have_count(1)


async def test_what_today_is_the_viewer_decides(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """Groups use the viewer's time zone: the same conversation is under today in one zone and yesterday in another."""
    (id,) = await made(mine, "Twelve hours ago")
    await age(id, 0.5)

    for hour, expected in ((6, "Yesterday"), (18, "Today")):
        tab = await open_tab(time_zone=time_zone_at(hour))
        await expect(tab.groups).to_have_text([expected])


async def test_thousands_are_scrolled_through(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """Thousands of rows load on scrolling, each once; a group continues over pages, and its heading stays visible."""
    titles = [f"Number {number:03}" for number in range(150)]
    for id in (await made(mine, *titles))[75:]:
        await age(id, 3)

    tab = await open_tab()
    assert await tab.listed() == 40
    seen = set(await tab.titles.all_text_contents())
    assert len(seen) < 40
    await tab.scroll_to_row(150)
    for _ in range(11):
        await tab.page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        assert await tab.rows.count() < 60
        seen |= set(await tab.titles.all_text_contents())
        await tab.page.locator("#list").evaluate("list => list.scrollBy(0, -list.clientHeight)")

    assert sorted(seen) == titles
    assert await tab.listed() == 150
    await tab.scroll_to_row(150)
    await expect(tab.groups).to_have_text(["Today", "Previous 7 days"])
    await expect(tab.groups.last).to_be_in_viewport()


async def test_a_conversation_is_renamed_in_place(mine: UserStorage, open_tab: OpenTab) -> None:
    """Renaming in place: Enter saves, Escape cancels; the row does not move, and the title counts as a person's."""
    ids = await made(mine, "First", "Second")
    tab = await open_tab()

    await tab.choose("Second", "Rename")
    box = tab.page.get_by_role("textbox", name="Title")
    await expect(box).to_be_focused()
    await box.fill("Another")
    await box.press("Escape")
    await expect(tab.titles).to_have_text(["First", "Second"])
    await tab.choose("Second", "Rename")
    await box.fill("Later")
    await box.press("Enter")

    await expect(tab.titles).to_have_text(["First", "Later"])
    await expect(tab.link("Later")).to_be_focused()
    renamed = await mine.rename_conversation(ids[1], "A model's", automatic=True)
    assert renamed.title == "Later"


async def test_a_name_of_a_person_is_never_replaced(tab: Tab) -> None:
    """A conversation that is renamed before its first answer ends keeps that title."""
    await tab.box.fill("wait for it")
    await tab.box.press("Enter")
    await expect(tab.answers.last).to_have_text("So far so good")
    await tab.choose("wait for it", "Rename")
    await tab.page.get_by_role("textbox", name="Title").fill("Mine")
    await tab.page.keyboard.press("Enter")
    await expect(tab.heading).to_have_text("Mine")
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await tab.answered()

    await tab.ask("A name, please")

    await expect(tab.titles).to_have_text(["Mine"])


async def test_a_conversation_is_pinned_and_unpinned(mine: UserStorage, open_tab: OpenTab) -> None:
    """A pinned conversation moves to the top, under its own heading, and back when unpinned."""
    ids = await made(mine, "First", "Second", "Third")
    tab = await open_tab()

    await tab.choose("Third", "Pin")
    await expect(tab.titles).to_have_text(["Third", "First", "Second"])
    await expect(tab.groups).to_have_text(["Pinned", "Today"])
    assert (await mine.list_conversations(pinned=True)).items[0].id == ids[2]
    await tab.choose("Third", "Unpin")

    await expect(tab.titles).to_have_text(["First", "Second", "Third"])
    await expect(tab.groups).to_have_text(["Today"])


async def test_what_is_archived_has_a_view_of_its_own(mine: UserStorage, open_tab: OpenTab) -> None:
    """An archived conversation leaves the list, can be restored by undo, and is found and read in the archive."""
    await made(mine, "First", "Second")
    tab = await open_tab()

    await tab.choose("First", "Archive")
    await expect(tab.titles).to_have_text(["Second"])
    await tab.notice("Archived “First”").get_by_role("button", name="Undo").click()
    await expect(tab.titles).to_have_text(["First", "Second"])
    await tab.choose("First", "Archive")
    await tab.page.get_by_role("button", name="Archived").click()

    await expect(tab.titles).to_have_text(["First"])
    await tab.link("First").click()
    await expect(tab.questions).to_have_text(["About First"])
    await tab.choose("First", "Unarchive")
    await expect(tab.page.get_by_text("No archived conversations.")).to_be_visible()
    await tab.page.get_by_role("button", name="Back to all conversations").click()
    await expect(tab.titles).to_have_text(["First", "Second"])


async def test_deleting_can_be_undone(mine: UserStorage, open_tab: OpenTab) -> None:
    """
    A deleted row disappears and undo restores its place.

    If it was open, a new conversation replaces it until then.
    """
    ids = await made(mine, "First", "Second", "Third")
    tab = await open_tab(f"/c/{ids[1]}")

    await tab.choose("Second", "Delete")
    await expect(tab.titles).to_have_text(["First", "Third"])
    await expect(tab.page).to_have_url(re.compile("/$"))
    assert await mine.get_conversation(ids[1]) is None
    await tab.notice("Deleted “Second”").get_by_role("button", name="Undo").click()

    await expect(tab.titles).to_have_text(["First", "Second", "Third"])
    assert await mine.get_conversation(ids[1]) is not None
    await expect(tab.page).to_have_url(re.compile(f"/c/{ids[1]}$"))
    await expect(tab.questions).to_have_text(["About Second"])


async def test_each_deletion_can_be_undone(mine: UserStorage, open_tab: OpenTab) -> None:
    """Two deleted conversations with the same title have one notice each."""
    await made(mine, "Same", "Same", "Other")
    tab = await open_tab()

    await tab.link("Same").first.focus()
    await tab.page.keyboard.press("Delete")
    await expect(tab.titles).to_have_text(["Same", "Other"])
    await expect(tab.link("Same")).to_be_focused()
    await tab.page.keyboard.press("Delete")
    await expect(tab.titles).to_have_text(["Other"])
    await expect(tab.notice("Deleted “Same”")).to_have_count(2)
    for left in (1, 0):
        await tab.notice("Deleted “Same”").first.get_by_role("button", name="Undo").click()
        await expect(tab.notice("Deleted “Same”")).to_have_count(left)

    await expect(tab.titles).to_have_text(["Same", "Same", "Other"])


async def test_a_key_that_is_held_deletes_once(mine: UserStorage, open_tab: OpenTab) -> None:
    """A Delete key that is held down deletes one row only, although the focus moves to the next."""
    await made(mine, "First", "Second", "Third")
    tab = await open_tab()

    await tab.link("First").focus()
    await tab.page.keyboard.down("Delete")
    await expect(tab.link("Second")).to_be_focused()
    for _ in range(3):
        await tab.page.keyboard.down("Delete")
    await tab.page.keyboard.up("Delete")
    await tab.choose("Third", "Pin")

    await expect(tab.titles).to_have_text(["Third", "Second"])
    assert [item.title for item in (await mine.list_conversations()).items] == ["Third", "Second"]


async def stop_the_clock(tab: Tab) -> None:
    """Stop the timers of notices until the test advances the clock."""
    await tab.page.clock.install()
    await tab.page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))


async def test_notices_leave_room_for_the_rest(mine: UserStorage, open_tab: OpenTab) -> None:
    """However many rows are deleted, only the last few notices are shown, the newest included."""
    titles = [f"Number {number}" for number in range(6)]
    await made(mine, *titles)
    tab = await open_tab()
    await stop_the_clock(tab)

    await tab.link("Number 0").focus()
    for title in titles:
        await expect(tab.link(title)).to_be_focused()
        await tab.page.keyboard.press("Delete")

    await expect(tab.page.locator(".toast > span")).to_have_text([f"Deleted “{title}”" for title in titles[2:]])


async def test_a_notice_with_the_focus_stays(mine: UserStorage, open_tab: OpenTab) -> None:
    """A notice stays while its button has the focus, even if the pointer leaves it."""
    await made(mine, "First")
    tab = await open_tab()
    await stop_the_clock(tab)
    await tab.choose("First", "Delete")
    notice = tab.notice("Deleted “First”")

    await notice.get_by_role("button", name="Undo").focus()
    await notice.hover()
    await tab.box.hover()
    await tab.page.clock.run_for(20_000)
    await expect(notice.get_by_role("button", name="Undo")).to_be_focused()
    await tab.box.focus()
    await tab.page.clock.run_for(20_000)

    await expect(notice).to_have_count(0)


async def test_what_happens_around_a_row_leaves_it_the_focus(mine: UserStorage, open_tab: OpenTab) -> None:
    """A row keeps the focus while other rows disappear or it moves, and a title that is being edited is not saved."""
    ids = await made(mine, "First", "Second", "Third", "Fourth")
    tab = await open_tab()
    button = tab.page.get_by_role("button", name="Actions for Third")
    box = tab.page.get_by_role("textbox", name="Title")

    await button.focus()
    await mine.soft_delete_conversation(ids[0])
    await expect(tab.rows).to_have_count(3)
    await expect(button).to_be_focused()
    await tab.page.keyboard.press("F2")
    await expect(box).to_be_focused()
    await tab.page.keyboard.type("Half")
    await mine.soft_delete_conversation(ids[1])
    await expect(tab.rows).to_have_count(2)
    await expect(box).to_be_focused()
    await mine.pin_conversation(ids[3])
    await expect(tab.rows.first).to_have_attribute("data-id", ids[3])
    await mine.pin_conversation(ids[2])
    await expect(tab.rows.first).to_have_attribute("data-id", ids[2])
    await expect(box).to_be_focused()
    await tab.page.keyboard.type(" done")
    assert [item.title for item in (await mine.list_conversations()).items] == ["Third", "Fourth"]
    await tab.page.keyboard.press("Enter")

    await expect(tab.titles).to_have_text(["Half done", "Fourth"])


async def test_enter_that_ends_a_word_names_nothing(mine: UserStorage, open_tab: OpenTab) -> None:
    """Enter that ends an input method's composition, as in Japanese, does not save the title."""
    await made(mine, "First")
    tab = await open_tab()

    await tab.choose("First", "Rename")
    box = tab.page.get_by_role("textbox", name="Title")
    await box.fill("にほ")
    await box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    await expect(box).to_be_focused()
    await box.fill("日本")
    await box.press("Enter")

    await expect(tab.titles).to_have_text(["日本"])


async def test_a_title_of_spaces_is_none(mine: UserStorage, open_tab: OpenTab) -> None:
    """A title of spaces is treated as missing: its row has a readable and clickable text."""
    await made(mine, "   ")

    tab = await open_tab()

    await expect(tab.titles).to_have_text(["New chat"])


async def test_a_title_runs_as_its_script_does(mine: UserStorage, open_tab: OpenTab) -> None:
    """A Hebrew title runs from right to left in the row, in the heading and in the edit box."""
    ids = await made(mine, "שלום, world")

    tab = await open_tab(f"/c/{ids[0]}")
    await expect(tab.heading).to_have_text("שלום, world")
    await tab.choose("שלום, world", "Rename")

    for each in (tab.heading, tab.titles, tab.page.get_by_role("textbox", name="Title")):
        await expect(each).to_have_css("direction", "rtl")


async def test_only_the_row_that_changes_is_drawn(mine: UserStorage, open_tab: OpenTab) -> None:
    """A growing answer redraws only its own row, however long the list is."""
    ids = await made(mine, "First", "Second", "Third")
    tab = await open_tab(f"/c/{ids[0]}")
    await expect(tab.link("First")).to_have_attribute("aria-current", "page")

    await expect(tab.rows).to_have_count(3)
    touched = await tab.page.evaluate(
        """async (id) => {
            const { src } = document.querySelector("script[type=module]");
            const { changed, find } = await import(new URL("store.js", src));
            const observer = new MutationObserver(() => {});
            observer.observe(document.getElementById("list"), { childList: true, attributes: true, subtree: true });
            changed({ ...find(id), title: "Another" });
            const rows = observer.takeRecords().map(({ target }) => target.closest(".row")).filter(Boolean);
            return rows.map((row) => row.dataset.id);
        }""",
        ids[1],
    )

    assert set(touched) == {ids[1]}


async def hide(tab: Tab, *, hidden: bool) -> None:
    """Switch to another tab of the browser, or back."""
    await tab.page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_rows_deleted_while_the_tab_was_hidden_disappear(mine: UserStorage, open_tab: OpenTab) -> None:
    """Rows that were deleted while the tab was hidden disappear, however far down; the others are shown once."""
    titles = [f"Number {number:03}" for number in range(130)]
    ids = await made(mine, *titles)
    tab = await open_tab()
    await tab.scroll_to_row(130)

    await hide(tab, hidden=True)
    await mine.soft_delete_conversation(ids[125])
    await hide(tab, hidden=False)

    await expect(tab.row("Number 125")).to_have_count(0)
    left = [title for title in titles if title != "Number 125"]
    assert (await tab.titles.all_text_contents())[-12:] == left[-12:]
    assert await tab.listed() == len(left)


async def test_a_row_that_leads_nowhere_goes(mine: UserStorage, open_tab: OpenTab) -> None:
    """Opening a conversation that was deleted elsewhere shows a notice and removes its row."""
    ids = await made(mine, "First", "Second")
    tab = await open_tab()
    tab.expected = ["404"]

    await hide(tab, hidden=True)
    await mine.soft_delete_conversation(ids[1])
    await tab.link("Second").click()

    await expect(tab.notice("There is no such conversation.")).to_be_visible()
    await expect(tab.titles).to_have_text(["First"])


async def test_the_open_conversation_has_the_same_menu(mine: UserStorage, open_tab: OpenTab) -> None:
    """The heading of the open conversation has the same menu as its row, renaming included."""
    ids = await made(mine, "First")
    tab = await open_tab(f"/c/{ids[0]}")

    await tab.page.get_by_role("button", name="Actions for this conversation").click()
    await expect(tab.page.get_by_role("menuitem")).to_have_text(ACTIONS)
    await tab.page.get_by_role("menuitem", name="Rename").click()
    await tab.page.get_by_role("textbox", name="Title").fill("Better")
    await tab.page.keyboard.press("Enter")

    await expect(tab.heading).to_have_text("Better")
    await expect(tab.titles).to_have_text(["Better"])


async def test_a_right_click_opens_the_menu_where_it_is(mine: UserStorage, open_tab: OpenTab) -> None:
    """A right click opens a row's menu at the pointer, the menu key at its button; with Shift the browser opens its."""
    await made(mine, "First", "Second")
    tab = await open_tab()
    menu = tab.page.get_by_role("menu")

    await tab.link("Second").click(button="right", position={"x": 30, "y": 10})
    await expect(tab.page.get_by_role("menuitem")).to_have_text(ACTIONS)
    await tab.settled()
    at, row = await menu.bounding_box(), await tab.link("Second").bounding_box()
    assert at is not None
    assert row is not None
    assert 28 < at["x"] - row["x"] < 32
    assert 8 < at["y"] - row["y"] < 18
    await tab.page.keyboard.press("Escape")
    await expect(menu).to_be_hidden()
    await tab.link("First").focus()
    await tab.page.keyboard.press("Shift+F10")
    await expect(tab.page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(tab.link("First")).to_be_focused()
    await tab.link("First").click(button="right", modifiers=["Shift"])
    await expect(menu).to_be_hidden()


async def test_the_trash_gives_back_or_deletes_for_good(mine: UserStorage, open_tab: OpenTab) -> None:
    """The trash lists what was deleted, here or elsewhere, restores it, and deletes it for good after a question."""
    ids = await made(mine, "First", "Second", "Third", "Fourth", "Fifth")
    tab = await open_tab()
    dialog = tab.page.get_by_role("dialog")

    await tab.choose("First", "Delete")
    await tab.page.get_by_role("button", name="Trash").click()
    await expect(tab.page.get_by_role("button", name="Back to all conversations")).to_be_focused()
    await expect(tab.titles).to_have_text(["First"])
    for id in ids[1:4]:
        await mine.soft_delete_conversation(id)
    await expect(tab.titles).to_have_text(["Fourth", "Third", "Second", "First"])
    await tab.row("First").click()
    await tab.page.get_by_role("menuitem", name="Restore").click()
    await expect(tab.titles).to_have_text(["Fourth", "Third", "Second"])

    await tab.page.get_by_role("button", name="Fourth", exact=False).first.focus()
    await tab.page.keyboard.press("Delete")
    await expect(dialog).to_contain_text("“Fourth” and all of its messages will be gone.")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    await tab.page.keyboard.press("Delete")
    await dialog.get_by_role("button", name="Delete for good").click()
    await expect(tab.titles).to_have_text(["Third", "Second"])
    assert [item.title for item in await mine.list_deleted_conversations()] == ["Third", "Second"]
    await tab.page.get_by_role("button", name="Empty the trash …").click()
    await dialog.get_by_role("button", name="Empty the trash").click()
    await expect(tab.page.get_by_text("The trash is empty.")).to_be_visible()
    assert await mine.list_deleted_conversations() == []

    await tab.page.get_by_role("button", name="Back to all conversations").click()
    await expect(tab.titles).to_have_text(["First", "Fifth"])


async def test_what_was_not_read_has_a_dot(mine: UserStorage, open_tab: OpenTab) -> None:
    """An unread answer marks its row with a dot, for screen readers too; opening the conversation removes it."""
    ids = await made(mine, "First", "Second")
    await mine.add_message({"role": "assistant", "content": "Psst"}, ids[1])
    tab = await open_tab()
    await expect(tab.titles).to_have_text(["Second", "First"])
    await expect(tab.row("Second")).to_have_class(re.compile("row-unread"))
    await expect(tab.link("Second")).to_contain_text(", unread")

    await tab.link("Second").click()
    await expect(tab.answers).to_have_text(["Psst"])
    await tab.link("First").click()

    await expect(tab.row("Second")).not_to_have_class(re.compile("row-unread"))
    await expect(tab.heading).to_have_text("First")
    assert not (await mine.list_conversations()).items[0].unread


async def test_an_empty_list_says_so(tab: Tab) -> None:
    """An empty list shows a greeting, with suggested questions."""
    await expect(tab.page.get_by_text("No conversations yet.")).to_be_visible()

    await tab.page.locator(".suggestions").get_by_role("button").first.click()

    await expect(tab.questions).to_have_text(["Why won’t my sourdough rise? The loaf stays flat."])
    await tab.answered()


# --- the keyboard -------------------------------------------------------------------------------------------------


def focused(tab: Tab) -> Locator:
    return tab.page.locator(":focus")


async def test_everything_in_the_list_can_be_done_with_the_keyboard(mine: UserStorage, open_tab: OpenTab) -> None:
    """All actions work by keyboard: arrows, Enter, the menu, F2 to rename, Delete; the focus is never lost."""
    await made(mine, "First", "Second", "Third")
    tab = await open_tab()
    press = tab.page.keyboard.press

    await tab.link("First").focus()
    for key, expected in (("ArrowDown", "Second"), ("End", "Third"), ("ArrowUp", "Second"), ("Home", "First")):
        await press(key)
        await expect(tab.link(expected)).to_be_focused()
    await press("ArrowRight")
    await expect(focused(tab)).to_have_accessible_name("Actions for First")
    await press("Enter")
    await expect(focused(tab)).to_have_text("Rename")
    await press("ArrowDown")
    await expect(focused(tab)).to_have_text("Pin")
    await press("d")
    await expect(focused(tab)).to_have_text("Delete")
    await press("Escape")
    await expect(focused(tab)).to_have_accessible_name("Actions for First")
    await press("ArrowLeft")
    await press("F2")
    await expect(tab.page.get_by_role("textbox", name="Title")).to_be_focused()
    await tab.page.keyboard.type("Best")
    await press("Enter")
    await expect(tab.link("Best")).to_be_focused()
    await press("ArrowDown")
    await press("Delete")
    await expect(tab.titles).to_have_text(["Best", "Third"])
    await expect(tab.link("Third")).to_be_focused()
    await press("Enter")
    await expect(tab.questions).to_have_text(["About Third"])
    await expect(tab.box).to_be_focused()


async def test_one_row_is_reached_by_tab(mine: UserStorage, open_tab: OpenTab) -> None:
    """Tab passes the list in two stops, however long it is: the last focused row, and its menu."""
    await made(mine, "First", "Second", "Third")
    tab = await open_tab()

    await tab.link("First").focus()
    await tab.page.keyboard.press("ArrowDown")

    await expect(tab.page.locator("#list [tabindex='0']")).to_have_count(2)
    await expect(tab.link("Second")).to_have_attribute("tabindex", "0")
    await tab.page.keyboard.press("Tab")
    await expect(focused(tab)).to_have_accessible_name("Actions for Second")
    await tab.page.keyboard.press("Tab")
    await expect(focused(tab)).to_have_accessible_name("Archived")


async def test_shortcuts(mine: UserStorage, open_tab: OpenTab) -> None:
    """Slash opens the search, Ctrl+Shift+O a new chat, and ? the list of shortcuts; in a text box, they are typed."""
    ids = await made(mine, "First")
    tab = await open_tab(f"/c/{ids[0]}")
    search = tab.page.get_by_role("searchbox")

    await tab.heading.focus()
    await tab.page.keyboard.press("/")
    await expect(search).to_be_focused()
    await tab.box.focus()
    await tab.page.keyboard.type("/?")
    await expect(tab.box).to_have_value("/?")
    await tab.page.keyboard.press("Control+Shift+O")

    await expect(tab.page).to_have_url(re.compile("/$"))
    await expect(tab.box).to_be_focused()
    await tab.page.locator("#new-chat").focus()
    await tab.page.keyboard.press("?")
    dialog = tab.page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(dialog).to_contain_text("New chatCtrlShiftO")
    await tab.page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(tab.page.locator("#new-chat")).to_be_focused()
