"""
The look of the chat, in both themes and at phone width: screenshots in build/screenshots.

With VOLTMEM_SCREENSHOT=1 the picture of the README is made, too: examples/chat/screenshot.png.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest

from tests.chat.conftest import Age, OpenTab
from tests.chat.tab import Tab, expect
from tests.checkout import ROOT
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = ROOT / "build" / "screenshots"
README_PICTURE = ROOT / "examples" / "chat" / "screenshot.png"
# Days ago, title, last message, and its tags.
CONVERSATIONS = [
    (20.0, "Reading list for the winter", "Start with the short one.", "pinned"),
    (0.02, "Why won’t my sourdough rise?", "", ""),
    (0.1, "Letter to Ms Okafor", "I left out the apology.", "unread"),
    (0.2, "Weekend in Lisbon, on foot", "Take shoes that grip.", ""),
    (1.1, "Keyset or offset?", "For a list that people scroll, the keyset.", ""),
    (1.2, "A name for the new tool", "I’d pick Tern.", ""),
    (3.0, "Bike repair, rear derailleur", "A quarter turn, then try again.", ""),
    (4.0, "Questions for the landlord", "Ask for it in writing.", ""),
    (5.5, "Birthday ideas for Jonas", "He has three of those already.", ""),
    (12.0, "Postgres window functions", "lag() looks one row back.", ""),
    (16.0, "Explain tides to a six-year-old", "The sea breathes twice a day.", ""),
    (25.0, "Translate grandmother’s recipe", "“A glass” was 2 dl.", ""),
    (70.0, "Notes on the Bergen meeting", "Three decisions, one open.", ""),
    (95.0, "Which camera for birds?", "The one that you will carry.", ""),
    (130.0, "Tax form, second page", "Line 14 is for both of you.", ""),
]
BREAD = [
    ("user", "My sourdough won’t rise. It has been on the counter since this morning."),
    ("assistant", "How warm is your kitchen, and how old is the starter?"),
]
QUESTION = "About 18 °C, and ten days. How do I see that the dough is ready?"

ANSWER = r"""The dough needs **about nine hours**, by the rule that ten degrees double the speed:

$$t = t_0 \cdot 2^{(T_0 - T)/10}$$

| °C | hours |
|---:|---:|
| 18 | 9 |
| 25 | 5½ |

- [x] The starter doubles [1]
- [ ] A finger leaves a dent [2]
"""
PARTS: list[dict[str, Any]] = [
    {"type": "reasoning", "text": "Eighteen degrees, and a young starter."},
    {
        **{"type": "tool-rule", "toolCallId": "k1", "state": "output-available"},
        **{"input": {"celsius": 18}, "output": "9 hours"},
    },
    {"type": "text", "text": ANSWER},
    {"type": "source-url", "sourceId": "a", "url": "https://bread.test/starters", "title": "On starters"},
    {"type": "source-url", "sourceId": "b", "url": "https://bread.test/dents"},
]


async def fill(mine: UserStorage, age: Age) -> str:
    """Create the conversations. Returns the id of the one to open."""
    opened = ""
    for days, title, said, mark in CONVERSATIONS:
        conversation = await mine.create_conversation({"title": title})
        if said:
            await mine.add_message({"role": "assistant", "content": said}, conversation.id)
        else:
            opened = conversation.id
            await mine.add_messages([{"role": role, "content": text} for role, text in BREAD], conversation.id)
        if mark != "unread":
            await mine.mark_conversation_read(conversation.id)
        await mine.pin_conversation(conversation.id, mark == "pinned")
        await age(conversation.id, days)
    return opened


async def photograph(tab: Tab, name: str) -> bytes:
    """Take a screenshot after all needed elements are visible."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    await expect(tab.box).to_be_in_viewport(ratio=1)
    assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await tab.settled()
    return await tab.page.screenshot(path=PICTURES / f"{name}.png", caret="hide")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_page_in_both_themes(theme: str, mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """The page on a desktop in both themes: an answer, the menu, the search, an empty page, code."""
    opened = await fill(mine, age)
    tab = await open_tab(f"/c/{opened}", dark=theme == "dark")
    await tab.ask(QUESTION)
    await tab.page.mouse.move(700, 700)
    await expect(tab.answers.last).to_be_in_viewport()
    await photograph(tab, f"answer-{theme}")

    await tab.row("Keyset or offset?").hover()
    await tab.page.get_by_role("button", name="Actions for Keyset or offset?").click()
    await expect(tab.page.get_by_role("menuitem", name="Delete")).to_be_in_viewport(ratio=1)
    await photograph(tab, f"menu-{theme}")
    await tab.page.keyboard.press("Escape")

    await tab.search("sourdou")
    await expect(tab.hits.first).to_be_in_viewport()
    await photograph(tab, f"search-{theme}")
    await tab.page.keyboard.press("Escape")

    await tab.new_chat()
    await photograph(tab, f"empty-{theme}")

    await tab.ask("Show me a small Python program")
    await expect(tab.answers.last).to_be_in_viewport()
    await photograph(tab, f"code-{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_page_on_a_phone(theme: str, mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """The page on a phone: an answer, and the drawer."""
    opened = await fill(mine, age)
    tab = await open_tab(f"/c/{opened}", dark=theme == "dark", phone=True)
    await tab.ask(QUESTION)
    await expect(tab.answers.last).to_be_in_viewport()
    await photograph(tab, f"phone-{theme}")

    await tab.page.get_by_role("button", name="Conversations", exact=True).tap()
    await expect(tab.link("Why won’t my sourdough rise?")).to_be_in_viewport()
    await tab.settled()
    await tab.page.screenshot(path=PICTURES / f"phone-list-{theme}.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
async def test_an_answer_of_all_kinds(theme: str, width: int, mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """A thought, a call, a formula, a table, tasks and sources at three widths, and nothing wider than the page."""
    opened = await fill(mine, age)
    question = {"role": "user", "content": "So how long does it take at 18 °C?"}
    seconds = {"reasoningSeconds": [6]}
    await mine.add_messages([question, {"role": "assistant", "parts": PARTS, "metadata": seconds}], opened)
    tab = await open_tab(dark=theme == "dark", phone=width < 500)
    await tab.page.set_viewport_size({"width": width, "height": 900})
    await tab.open(f"/c/{opened}")

    await expect(tab.page.locator(".reasoning summary")).to_have_text("Thought for 6 s")
    await expect(tab.page.locator(".katex").first).to_be_visible()
    await expect(tab.page.locator(".sources li")).to_have_count(2)
    await photograph(tab, f"kinds-{width}-{theme}")


@pytest.mark.skipif(not os.environ.get("VOLTMEM_SCREENSHOT"), reason="the picture of the README is made when asked for")
async def test_the_picture_of_the_readme(mine: UserStorage, age: Age, open_tab: OpenTab) -> None:
    """The picture of the README has a light desktop and a dark phone, and is a small file."""
    opened = await fill(mine, age)
    desk = await open_tab(f"/c/{opened}")
    await desk.page.set_viewport_size({"width": 1080, "height": 780})
    await desk.ask(QUESTION)
    await desk.page.mouse.move(700, 5)
    phone = await open_tab(f"/c/{opened}", dark=True, phone=True)
    await expect(phone.answers.last).to_be_in_viewport()
    pictures = [
        "data:image/png;base64," + base64.b64encode(await photograph(tab, name)).decode()
        for tab, name in ((desk, "readme-desk"), (phone, "readme-phone"))
    ]
    page = await desk.page.context.new_page()
    await page.set_viewport_size({"width": 1440, "height": 880})
    await page.set_content(
        f"""<style>
            body {{ margin: 0; background: #d5ddd5 }}
            img {{ position: absolute; box-shadow: 0 1rem 3rem rgb(30 40 30 / 28%), 0 0 0 1px rgb(30 40 30 / 12%) }}
            img:first-of-type {{ left: 44px; top: 50px; width: 1080px; border-radius: 14px }}
            img:last-of-type {{ right: 40px; bottom: 40px; width: 300px; border-radius: 30px;
                border: 7px solid #0c0d0b }}
        </style><img src="{pictures[0]}"><img src="{pictures[1]}">"""
    )
    await page.screenshot(path=README_PICTURE)

    assert README_PICTURE.stat().st_size < 300_000
