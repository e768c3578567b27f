"""<voltmem-sidebar> in the page of another application: its events, and no style or script of that page in it."""

from __future__ import annotations

import re

import pytest

from tests.chat.conftest import BELOW, OpenTab
from tests.chat.tab import Route, Tab, expect
from tests.chat.test_list import made
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = f"""<!doctype html>
<html lang="en">
<title>The shop</title>
<style>
  button, a, li {{ display: none; color: red }}
  body {{ margin: 0; height: 100vh }}
  voltmem-sidebar {{ width: 18rem }}
</style>
<script type="module" src="{BELOW}static/component.js"></script>
<voltmem-sidebar current="CURRENT" lang="LANG"><h1 slot="head">The shop</h1></voltmem-sidebar>
<script>
  window.events = [];
  for (const name of ["voltmem-open", "voltmem-new", "voltmem-change"]) {{
    addEventListener(name, (event) => (events.push([name, event.detail]), window.stays && event.preventDefault()));
  }}
</script>
"""


async def embedded(tab: Tab, current: str, language: str = "") -> None:
    """Open a page of another application with the sidebar in it."""

    async def answer(route: Route) -> None:
        await route.fulfill(body=PAGE.replace("CURRENT", current).replace("LANG", language), content_type="text/html")

    await tab.page.route("**/shop/basket", answer)
    await tab.page.goto(f"{tab.address}/shop/basket")
    await expect(tab.rows.first).to_be_visible()


async def test_the_sidebar_works_in_any_page(mine: UserStorage, open_tab: OpenTab) -> None:
    """The sidebar has its own look, its list, its menus and dialogs; what changes is told by events."""
    ids = await made(mine, "First", "Second", "Third")
    tab = await open_tab()
    await embedded(tab, ids[1])

    await expect(tab.page.get_by_role("heading", name="The shop")).to_be_visible()
    await expect(tab.titles).to_have_text(["First", "Second", "Third"])
    await expect(tab.link("Second")).to_have_attribute("aria-current", "page")
    await expect(tab.link("First")).not_to_have_css("color", "rgb(255, 0, 0)")
    await tab.page.evaluate("id => { document.querySelector('voltmem-sidebar').current = id }", ids[2])
    await expect(tab.link("Third")).to_have_attribute("aria-current", "page")

    await tab.choose("Second", "Rename")
    await tab.page.get_by_role("textbox", name="Title").fill("Better")
    await tab.page.keyboard.press("Enter")
    await expect(tab.link("Better")).to_be_focused()
    await mine.soft_delete_conversation(ids[0])
    await expect(tab.titles).to_have_text(["Better", "Third"])
    changes = await tab.page.evaluate(
        "events.map(([name, detail]) => [name, detail.conversationId, detail.conversation?.title])"
    )
    assert ["voltmem-change", ids[1], "Better"] in changes
    assert ["voltmem-change", ids[0], None] in changes

    await tab.link("Better").focus()
    await tab.page.keyboard.press("Shift+ArrowDown")
    await tab.page.get_by_role("button", name="Delete", exact=True).click()
    await expect(tab.rows).to_have_count(0)
    await tab.page.get_by_role("button", name="Undo").click()
    await expect(tab.titles).to_have_text(["Better", "Third"])
    await tab.choose("Third", "Share …")
    await tab.page.get_by_role("button", name="Create a link").click()
    await expect(tab.page.get_by_role("dialog").get_by_role("textbox")).to_have_value(re.compile(f"{BELOW}shared/"))
    await tab.page.keyboard.press("Escape")


async def test_a_page_opens_conversations_itself_or_leaves_it_to_the_chat(mine: UserStorage, open_tab: OpenTab) -> None:
    """A page that prevents the event opens the conversation itself; otherwise the chat's own page opens."""
    ids = await made(mine, "First")
    tab = await open_tab()
    await embedded(tab, "")

    await tab.page.evaluate("window.stays = true")
    await tab.link("First").click()
    await tab.search("about")
    await tab.hits.first.get_by_role("link").click()
    await tab.page.locator("#new-chat").click()
    opened = await tab.page.evaluate("events.filter(([name]) => name !== 'voltmem-change')")
    assert [name for name, _ in opened] == ["voltmem-open", "voltmem-open", "voltmem-new"]
    assert opened[0][1] == {"conversationId": ids[0], "messageId": None, "words": ""}
    assert opened[1][1]["conversationId"] == ids[0]
    assert opened[1][1]["messageId"]
    assert opened[1][1]["words"] == "about"
    await expect(tab.page).to_have_url(re.compile("/shop/basket$"))
    await tab.page.evaluate("window.stays = false")
    await tab.page.get_by_role("searchbox").press("Escape")
    await tab.link("First").click()

    await expect(tab.page).to_have_url(re.compile(f"{BELOW}c/{ids[0]}$"))
    await expect(tab.questions).to_have_text(["About First"])


async def test_it_is_in_a_language_of_its_own(mine: UserStorage, open_tab: OpenTab) -> None:
    """With lang="ar" the sidebar and its dialogs are Arabic, and run from right to left, in an English page."""
    await made(mine, "First")
    tab = await open_tab()
    await embedded(tab, "", "ar")

    await expect(tab.page.get_by_role("navigation", name="المحادثات")).to_have_attribute("lang", "ar")
    await expect(tab.page.locator("#new-chat")).to_have_css("direction", "rtl")
    await tab.page.locator("#jump").click()
    await expect(tab.page.get_by_role("dialog", name="الانتقال إلى شهر")).to_have_css("direction", "rtl")
