"""The page in German, without an English word, and in Arabic, from right to left."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from tests import node
from tests.chat.conftest import Age, OpenTab
from tests.chat.tab import Locator, Tab, expect
from tests.chat.test_axe import PROBLEMS
from tests.chat.test_languages import FILES, PLACE
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What is shown and said: all texts and labels of the page, also of what is hidden now. Texts of users and models, dates
# and the names of models are left out.
SAID = """() => {
    const others = "script, pre, time, .text, .suggestions, .wordmark, #model, .row-date, .choice-note, .year";
    const names = ["aria-label", "title", "placeholder", "alt", "aria-valuetext"];
    const said = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const each = walker.currentNode;
        if ((each.nodeType === Node.TEXT_NODE ? each.parentElement : each).closest(others)) continue;
        if (each.nodeType === Node.TEXT_NODE) said.push(each.data);
        else said.push(...names.map((name) => each.getAttribute(name) ?? ""));
    }
    return said.map((each) => each.replace(/^[ ·]+/, "").trim()).filter((each) => /\\p{L}{2}/u.test(each));
}"""
MONTHS = "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
TITLES = ["Alfa", "Bravo", "Charlie", "Delta", "Echo", "Foxtrott"]
FOLDER = "Brot"


def german() -> re.Pattern[str]:
    """Return what matches each text of the German page, whatever stands in its places, and what users have written."""
    texts = json.loads(FILES["de"].read_text("utf-8")).values()
    every = [form for text in texts for form in (text.values() if isinstance(text, dict) else [text])]
    patterns = ["(.|\\n)+".join(re.escape(piece) for piece in PLACE.split(text)[::2]) for text in every]
    months = f"({MONTHS})( \\d{{4}})?"
    return re.compile("|".join([*patterns, months, "F\\d", *TITLES, FOLDER, "Frage", "wetter", "Oslo"]))


class Reading:
    """Reads the states of a page."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.known = german()
        self.english: dict[str, list[str]] = {}
        self.said: set[str] = set()

    async def read(self, state: str) -> None:
        said: list[str] = await self.tab.page.evaluate(SAID)
        self.said |= set(said)
        if left := [text for text in said if not self.known.fullmatch(text)]:
            self.english[state] = left


async def filled(mine: UserStorage, age: Age) -> list[str]:
    """Create conversations in all places: a folder, pinned, archived, in the trash, unread, of an earlier month."""
    ids = []
    for title in TITLES:
        made = await mine.create_conversation({"title": title})
        await mine.add_message({"role": "user", "content": "Frage"}, made.id)
        await mine.mark_conversation_read(made.id)
        ids.append(made.id)
    call = {"type": "tool-call", "toolCallId": "k1", "toolName": "wetter", "input": {"city": "Oslo"}}
    parts = [{"type": "reasoning", "text": "Oslo"}, call, {"type": "text", "text": "Oslo"}]
    await mine.add_message({"role": "assistant", "content": parts, "metadata": {"failed": True}}, ids[0])
    await mine.tag_conversation(ids[1], [f"folder:{FOLDER}"])
    await mine.pin_conversation(ids[2])
    await mine.archive_conversation(ids[3])
    await mine.soft_delete_conversation(ids[4])
    await age(ids[5], 90)
    return ids


@pytest_asyncio.fixture(loop_scope="session")
async def reading(mine: UserStorage, age: Age, open_tab: OpenTab) -> AsyncIterator[Reading]:
    """The German page with a conversation whose answer has failed. At its end all that was read must be German."""
    ids = await filled(mine, age)
    made = Reading(await open_tab(f"/c/{ids[0]}", language="de-DE"))
    yield made
    assert made.english == {}


async def test_no_english_word_is_in_the_german_list(reading: Reading) -> None:
    """The list, a menu, a selection, results, archive, trash and a new chat have German texts and labels only."""
    tab, page = reading.tab, reading.tab.page
    month = MONTHS.split("|")[(datetime.now(UTC) - timedelta(days=90)).month - 1]
    await expect(page.locator("html")).to_have_attribute("lang", "de-DE")
    await expect(tab.groups.filter(has_text=month)).to_be_visible()
    await page.locator(".folder-name").click()
    await expect(tab.link("Bravo")).to_be_visible()
    await expect(page.locator(".failure")).to_contain_text("Die Antwort ist fehlgeschlagen.")
    await reading.read("list and conversation")
    await page.locator("#conversation-menu").click()
    await page.get_by_role("menuitem", name="Archivieren").click()
    await expect(tab.notice("„Alfa“ archiviert")).to_be_visible()
    await reading.read("menu and notice")
    await tab.link("Bravo").click(modifiers=["Control"])
    await tab.link("Charlie").click(modifiers=["Control"])
    await expect(page.locator("#selection b")).to_have_text("2 ausgewählt")
    await reading.read("selection")
    await page.keyboard.press("Escape")
    await tab.search("xyz")
    await expect(page.locator("#results")).to_contain_text("Nichts gefunden")
    await reading.read("results")
    await page.get_by_role("searchbox").press("Escape")
    for view, title in (("archived", "Delta"), ("trash", "Echo")):
        await page.locator(f"#show-{view}").click()
        await expect(tab.row(title)).to_be_visible()
        await reading.read(view)
    await page.locator("#new-chat").click()
    await expect(page.locator(".welcome")).to_be_visible()
    await reading.read("new chat")
    assert {"Neuer Chat", "Heute", "Angeheftet", "wetter", "Gedankengang"} <= reading.said


async def test_no_english_word_is_in_german_dialogs(reading: Reading) -> None:
    """The dialogs and the edit box have German texts and labels only; keys and months have their German names."""
    page, dialog = reading.tab.page, reading.tab.page.get_by_role("dialog")

    async def read(state: str, shown: Locator) -> None:
        await expect(shown.first).to_be_visible()
        await reading.read(state)

    async def close() -> None:
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()

    await page.locator("#new-chat").focus()
    await page.keyboard.press("?")
    await read("shortcuts", dialog.get_by_text("Umschalt"))
    await close()
    await page.keyboard.press("Control+k")
    await read("palette", dialog.get_by_text("Strg+Umschalt+O"))
    await dialog.get_by_role("combobox").fill("xyz")
    await read("nothing found", dialog.get_by_text("Nichts gefunden"))
    await close()
    await page.locator("#jump").click()
    await read("months", dialog.get_by_role("button", name=f"März {datetime.now(UTC).year}"))
    await close()
    await page.locator("#conversation-menu").click()
    await page.get_by_role("menuitem", name="Teilen …").click()
    await dialog.get_by_role("button", name="Link erstellen").click()
    await read("share", dialog.get_by_text("Erstellt am"))
    await close()
    await page.locator(".message-user").hover()
    await page.locator(".message-user").get_by_role("button", name="Bearbeiten").click()
    await read("edit", page.get_by_role("textbox", name="Nachricht bearbeiten"))
    await page.keyboard.press("Escape")
    await page.locator("#show-trash").click()
    await page.get_by_role("button", name="Papierkorb leeren …").click()
    await read("a question", dialog.get_by_role("button", name="Abbrechen"))
    await close()


async def test_arabic_runs_from_right_to_left(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """The Arabic page is mirrored: sidebar, titles, arrow keys, the place of a menu. Plurals have their forms."""
    ids = await filled(mine, age)
    tab = await open_tab(f"/c/{ids[0]}", language="ar-EG")
    page, selected = tab.page, tab.page.locator("#selection b")
    await expect(page.locator("html")).to_have_attribute("dir", "rtl")
    sidebar, main = await page.locator("#sidebar").bounding_box(), await page.locator("#main").bounding_box()
    assert sidebar is not None
    assert main is not None
    assert sidebar["x"] >= main["x"] + main["width"] - 1
    for row, text in (("Alfa", "محادثة واحدة محددة"), ("Charlie", "محادثتان محددتان"), ("Foxtrott", "٣ محادثات محددة")):
        await tab.link(row).click(modifiers=["Control"])
        await expect(selected).to_have_text(text)
    await page.keyboard.press("Escape")
    await expect(tab.titles.filter(has_text="Charlie")).to_have_css("text-align", "right")
    await tab.link("Charlie").focus()
    await page.keyboard.press("ArrowLeft")
    opener = tab.row("Charlie").locator(".row-menu")
    await expect(opener).to_be_focused()
    await page.keyboard.press("Enter")
    menu = page.get_by_role("menu")
    await expect(menu).to_be_in_viewport(ratio=1)
    at, shown = await opener.bounding_box(), await menu.bounding_box()
    assert at is not None
    assert shown is not None
    assert abs(at["x"] - shown["x"]) < 2
    await page.get_by_role("menuitem", name="حذف").click()
    await expect(tab.notice("تم حذف «\u2068Charlie\u2069»")).to_be_visible()


async def test_arabic_on_a_phone(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """On a phone the Arabic drawer comes from the right, nothing is wider than the screen, and axe finds nothing."""
    modules = (await asyncio.to_thread(node.environment, "axe"))["NODE_PATH"]
    ids = await filled(mine, age)
    tab = await open_tab(f"/c/{ids[0]}", language="ar", phone=True)
    page, sidebar = tab.page, tab.page.locator("#sidebar")
    await page.evaluate((Path(modules) / "axe-core" / "axe.min.js").read_text())
    assert await page.evaluate(PROBLEMS) == []
    await expect(sidebar).to_be_hidden()
    await page.locator("#open-sidebar").tap()
    await tab.settled()
    at = await sidebar.bounding_box()
    assert at is not None
    assert at["x"] > 0
    assert at["x"] + at["width"] == 390
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.evaluate(PROBLEMS) == []
