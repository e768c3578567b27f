"""The sources of an answer are footnotes: numbered below it, with links from its text and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.chat.conftest import FORECAST, OpenTab
from tests.chat.tab import Tab, expect
from tests.chat.test_parts import shown
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECOND = "https://docs.x.test/a?b=1"
TEXT = f"""\
One [1], two 【2†source】, both [1, 2]. A [page]({FORECAST}) and [[2]]({SECOND}).

- In a list【1】
- `x[1]`, [3](https://other.test), [9] and 【9†L1-L2】 are none, nor is $a[1]$.

```python
x[1]
```
"""


async def test_marks_in_the_text_are_links_to_the_sources(tab: Tab, mine: UserStorage) -> None:
    """
    Marks with a source's number, and links to its address, lead to the source, and back: also by keyboard.

    A source that is given twice stands once. Numbers without a source, in code and in formulas stay as they are.
    """
    sources: list[JsonValue] = [
        {"type": "source-url", "sourceId": "a", "url": FORECAST, "title": "The forecast"},
        {"type": "source-url", "sourceId": "b", "url": SECOND},
        {"type": "source-url", "sourceId": "a2", "url": FORECAST, "title": "Again"},
        {"type": "source-document", "sourceId": "d", "mediaType": "application/pdf", "title": "A report"},
    ]
    await shown(mine, tab, [{"role": "assistant", "parts": [{"type": "text", "text": TEXT}, *sources]}])

    refs = tab.answers.locator("[role=doc-noteref]")
    await expect(refs).to_have_text(["1", "2", "1", "2", "1", "2", "1"])
    await expect(tab.answers).to_contain_text("A page1 and 2.")
    await expect(tab.answers).to_contain_text("x[1], 3, [9] and 【9†L1-L2】 are none")
    await expect(refs.first).to_have_accessible_name("Source 1: The forecast")
    notes = tab.answers.locator("[role=doc-endnotes]").get_by_role("listitem")
    await expect(notes).to_have_text(["The forecast met.no ↩", "docs.x.test/a?b=1 ↩", "A report ↩"])
    await expect(notes.first.get_by_role("link", name="The forecast")).to_have_attribute("href", FORECAST)
    await expect(notes.last.locator("[role=doc-backlink]")).to_be_hidden()

    address = tab.page.url
    await refs.nth(4).focus()
    await tab.page.keyboard.press("Enter")
    await expect(notes.first).to_be_focused()
    for key in ("Tab", "Tab", "Enter"):
        await tab.page.keyboard.press(key)
    await expect(refs.nth(4)).to_be_focused()
    assert tab.page.url == address


async def test_a_text_has_five_hundred_links_to_sources(tab: Tab) -> None:
    """More marks than anybody follows stay text: a text that is all marks does not stop the page."""
    made = await tab.page.evaluate(
        """async () => {
            const base = document.querySelector('script[type=module]').src.replace(/[^/]+$/, "");
            const { Sources } = await import(`${base}sources.js`);
            const text = document.createElement("div");
            text.append(document.createElement("p"), document.createElement("p"));
            for (const each of text.children) each.textContent = "[1]".repeat(400);
            new Sources(document.createElement("section")).show([{ url: "https://x.test/" }], [text]);
            return [...text.children].map((each) => each.querySelectorAll("a").length);
        }"""
    )
    assert made == [400, 100]


async def test_sources_are_numbered_while_an_answer_streams_and_when_it_is_shared(
    tab: Tab, mine: UserStorage, open_tab: OpenTab, tmp_path: Path
) -> None:
    """The links are there as soon as a source is known; the shared page and the Markdown file have the sources, too."""
    await tab.box.fill("Please cite")
    await tab.box.press("Enter")
    refs = tab.answers.locator("[role=doc-noteref]")
    await expect(refs).to_have_text(["1", "2", "2"])
    await expect(tab.page.get_by_role("button", name="Stop the answer")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator(".stopped")).to_be_visible()
    await expect(refs).to_have_text(["1", "2", "2"])

    async with tab.page.expect_download() as downloading:
        await tab.page.get_by_role("button", name="Actions for this conversation").click()
        await tab.page.get_by_role("menuitem", name="Export as Markdown").click()
    saved = tmp_path / "saved.md"
    await (await downloading.value).save_as(saved)
    assert f"1. [The forecast](<{FORECAST}>)\n2. [https://www.yr.no/x](<https://www.yr.no/x>)\n" in saved.read_text()
    share = await mine.share_conversation(tab.id)
    await tab.page.goto(f"{tab.address}/shared/{share.token}")
    await expect(refs).to_have_text(["1", "2", "2"])
    await expect(tab.page.locator("[role=doc-endnotes]").get_by_role("listitem")).to_have_text(
        ["The forecast met.no ↩", "yr.no/x ↩"]
    )


NOTES = """\
One[^a], two[^long], one again[^a], and none[^b].

[^a]: The *first* note.
[^long]: The second,

    in two paragraphs.

The end.
"""


async def test_footnotes_of_markdown_are_footnotes(tab: Tab, mine: UserStorage) -> None:
    """Markdown's own footnotes lead to their notes and back, also while they are written; too many of them are text."""
    await shown(mine, tab, [{"role": "assistant", "content": NOTES}])

    refs = tab.answers.locator("[role=doc-noteref]")
    await expect(refs).to_have_text(["1", "2", "1"])
    await expect(tab.answers).to_contain_text("none[^b].")
    notes = tab.answers.locator("[role=doc-endnotes] > ol > li")
    await expect(notes).to_have_text(["The first note. ↩", "The second,in two paragraphs. ↩"])
    await refs.nth(1).click()
    await expect(notes.last).to_be_focused()
    await notes.last.locator("[role=doc-backlink]").press("Enter")
    await expect(refs.nth(1)).to_be_focused()

    grown, at_once, many = await tab.page.evaluate(
        """async (text) => {
            const base = document.querySelector('script[type=module]').src.replace(/[^/]+$/, "");
            const { Growing } = await import(`${base}markdown/growing.js`);
            const show = (text, step) => {
                const root = document.createElement("div");
                const growing = new Growing(root);
                for (let length = step; length < text.length; length += step) growing.show(text.slice(0, length), true);
                growing.show(text, false);
                return root;
            };
            const many = "[^1]: x\\n" + "[^1]".repeat(600);
            return [show(text, 1).innerHTML, show(text, 1e9).innerHTML, show(many, 1e9).querySelectorAll("a").length];
        }""",
        NOTES,
    )
    assert grown == at_once
    assert many == 0
