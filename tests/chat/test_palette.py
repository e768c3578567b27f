"""The palette over conversations, messages and commands, and the marks of what was searched for in a conversation."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from tests.chat.conftest import Age, OpenTab
from tests.chat.tab import Locator, Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def ids(mine: UserStorage, age: Age) -> dict[str, str]:
    """Create conversations, the first one last active, with tags. Returns their ids by title."""
    made = {}
    for title, said, tags, days in (
        ("Old bread", "Rye, and patience", ["folder:Baking"], 90),
        ("Soup", "The bread went into the soup", ["work"], 2),
        ("Bread", "Why won't it rise?", ["work", "folder:Baking at home"], 1),
    ):
        conversation = await mine.create_conversation(
            {"title": title, "created_at": datetime.now(UTC) - timedelta(days=days)}
        )
        at = datetime.now(UTC) - timedelta(days=days)
        await mine.add_message({"role": "user", "content": said, "created_at": at}, conversation.id)
        await mine.tag_conversation(conversation.id, tags)
        await age(conversation.id, days)
        made[title] = conversation.id
    return made


def options(tab: Tab, group: str) -> Locator:
    return tab.page.get_by_role("group", name=group, exact=True).get_by_role("option").locator(".choice-name")


async def opened(tab: Tab) -> Locator:
    await tab.page.keyboard.press("Control+k")
    box = tab.page.get_by_role("combobox", name="Search conversations, messages and commands")
    await expect(box).to_be_focused()
    return box


async def test_the_palette_finds_conversations_messages_and_commands(ids: dict[str, str], open_tab: OpenTab) -> None:
    """The palette shows recent conversations, then what fits; arrows choose, Enter goes there, Escape closes it."""
    tab = await open_tab()
    press, chosen = tab.page.keyboard.press, tab.page.get_by_role("option", selected=True)

    box = await opened(tab)
    await expect(options(tab, "Recent")).to_have_text(["Bread", "Soup", "Old bread"])
    await expect(options(tab, "Commands").first).to_have_text("New chat")
    await box.fill("bread")
    await expect(options(tab, "Conversations")).to_have_text(["Bread", "Old bread"])
    await expect(options(tab, "Messages")).to_have_text(["Soup"])
    await expect(chosen).to_contain_text("Bread")
    await expect(box).to_have_attribute("aria-activedescendant", await chosen.get_attribute("id") or "")
    await press("ArrowDown")
    await press("ArrowDown")
    await expect(chosen).to_contain_text("The bread went into the soup")
    await press("ArrowDown")
    await expect(chosen).to_contain_text("Bread")
    await press("Enter")
    await expect(tab.heading).to_have_text("Bread")

    box = await opened(tab)
    await box.fill("archived conv")
    await press("Enter")
    await expect(tab.page.get_by_text("No archived conversations.")).to_be_visible()
    box = await opened(tab)
    await box.fill("pin")
    await expect(options(tab, "This conversation")).to_have_text(["Pin"])
    await press("Escape")
    await expect(box).to_be_hidden()


async def test_filters_narrow_what_the_palette_finds(ids: dict[str, str], open_tab: OpenTab) -> None:
    """tag:, in: and before: narrow a search, or list conversations without one; names are completed."""
    tab = await open_tab()
    box = await opened(tab)
    month = (datetime.now(UTC) - timedelta(days=40)).strftime("%Y-%m")

    for text, titles, messages in (
        ("tag:work bread", ["Bread"], ["Soup"]),
        ("tag:work", ["Bread", "Soup"], []),
        ("in:Baking", ["Old bread"], []),
        (f"before:{month} bread", ["Old bread"], []),
        (f"before:{month}", ["Old bread"], []),
        ("tag:nothing", [], []),
    ):
        await box.fill(f"{text} ")
        await expect(options(tab, "Conversations")).to_have_text(titles)
        await expect(options(tab, "Messages")).to_have_text(messages)
    await expect(tab.page.get_by_text("Nothing found", exact=True)).to_be_visible()
    await box.fill("before:soon ")
    await expect(tab.page.get_by_role("dialog")).to_contain_text("before: takes a date")
    await box.fill("in:baking at")
    await box.fill("in:bak")
    await expect(options(tab, "Folders")).to_have_text(["Baking", "Baking at home"])
    await tab.page.keyboard.press("ArrowDown")
    await tab.page.keyboard.press("Enter")
    await expect(box).to_have_value('in:"Baking at home" ')
    await expect(options(tab, "Conversations")).to_have_text(["Bread"])


MARKED = """name => [...CSS.highlights.get(name) ?? []].map(String)"""


async def test_a_hit_opens_with_its_words_marked(mine: UserStorage, open_tab: OpenTab) -> None:
    """A hit opens with the words marked; the bar and F3 lead to the next and the previous place."""
    conversation = await mine.create_conversation({"title": "Stories"})
    texts = ["A Café", "tea", "The café of cafes, decaf", "tea", "Another **cafe** there"]
    said = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts, 1)]
    await mine.add_messages(said, conversation.id)
    tab = await open_tab()
    bar = tab.page.get_by_role("group", name="Matches in this conversation")

    await tab.search("caf")
    await tab.hits.first.get_by_role("link").click()
    await expect(bar).to_contain_text("of 4")
    assert await tab.page.evaluate(MARKED, "found") == ["Caf", "caf", "caf", "caf"]
    first = int(re.findall(r"\d+", await bar.inner_text())[0])
    await bar.get_by_role("button", name="Next match").click()
    await expect(bar).to_contain_text(f"{first % 4 + 1} of 4")
    await expect(tab.page.locator("#announcer")).to_contain_text(f"{first % 4 + 1} of 4: ")
    await tab.page.keyboard.press("Shift+F3")
    await expect(bar).to_contain_text(f"{first} of 4")
    assert len(await tab.page.evaluate(MARKED, "found-current")) == 1
    await mine.add_message({"role": "user", "content": "More cafés"}, conversation.id)
    await expect(bar).to_contain_text(f"{first} of 5")
    await bar.get_by_role("button", name="End the search").click()

    await expect(bar).to_be_hidden()
    await expect(tab.box).to_be_focused()
    assert await tab.page.evaluate(MARKED, "found") == []
