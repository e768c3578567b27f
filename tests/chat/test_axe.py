"""axe finds nothing in any state of the sidebar and the conversation, in either theme, on a desktop or a phone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import node
from tests.chat.conftest import OpenTab
from tests.chat.tab import FilePayload, Tab, expect
from tests.chat.test_list import made
from voltmem import PostgresStorage, UserStorage

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
        self.found: list[str] = []

    async def load(self) -> None:
        """Bring axe into the page."""
        modules = (await asyncio.to_thread(node.environment, "axe"))["NODE_PATH"]
        await self.tab.page.evaluate((Path(modules) / "axe-core" / "axe.min.js").read_text())

    async def check(self, state: str) -> None:
        self.found += [f"{state}: {problem}" for problem in await self.tab.page.evaluate(PROBLEMS)]

    async def close(self) -> None:
        await self.tab.page.keyboard.press("Escape")
        await expect(self.dialog).to_be_hidden()


@pytest_asyncio.fixture(params=[(False, False), (True, True)], ids=["light", "dark phone"], loop_scope="session")
async def axe(request: pytest.FixtureRequest, mine: UserStorage, open_tab: OpenTab) -> AsyncIterator[Axe]:
    """The chat with a folder, an unread conversation, a fork, an archived and a deleted one."""
    dark, phone = request.param
    ids = await made(mine, "First", "Second", "Third", "Fourth", "Fifth")
    await mine.tag_conversation(ids[1], ["folder:Bread"])
    await mine.add_message({"role": "assistant", "content": "Unread"}, ids[2])
    await mine.fork_conversation(ids[0])
    await mine.archive_conversation(ids[3])
    await mine.soft_delete_conversation(ids[4])
    tab = await open_tab(f"/c/{ids[0]}", dark=dark, phone=phone)
    made_axe = Axe(tab)
    await made_axe.load()
    if phone:
        await tab.page.get_by_role("button", name="Conversations", exact=True).click()
    yield made_axe
    assert not made_axe.found, "\n".join(made_axe.found)


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


# --- the conversation -------------------------------------------------------------------------------------------------

SAID: list[dict[str, Any]] = [
    {"role": "user", "content": "How is it, with $x^2$?"},
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "text": "They want **all** of it."},
            {
                **{"type": "tool-weather", "toolCallId": "k1", "state": "output-available"},
                **{"input": {"city": "Oslo"}, "output": {"sky": "rain"}},
            },
            {
                "type": "text",
                "text": "# It rains [1]\n\n$$\\int_0^1 x^2$$\n\n- [x] done\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
                "```python\n# so it is\nx = [1]\n```\n\n![a picture](https://x.test/a.png) and [a link](https://x.test/b)",
            },
            {"type": "source-url", "sourceId": "s", "url": "https://x.test/b", "title": "The forecast"},
            {"type": "file", "mediaType": "application/pdf", "filename": "a.pdf", "url": "https://x.test/a.pdf"},
        ],
    },
]


@pytest_asyncio.fixture(params=[(False, False), (True, True)], ids=["light", "dark phone"], loop_scope="session")
async def axe_beside(request: pytest.FixtureRequest, open_tab: OpenTab) -> AsyncIterator[Axe]:
    """A new conversation, and on a phone nothing else."""
    dark, phone = request.param
    made_axe = Axe(await open_tab(dark=dark, phone=phone))
    await made_axe.load()
    yield made_axe
    assert not made_axe.found, "\n".join(made_axe.found)


async def test_axe_finds_nothing_while_somebody_asks(axe_beside: Axe) -> None:
    """In each state of questions and answers: none, under way, stopped, failed, edited, with versions and files."""
    axe, tab, page = axe_beside, axe_beside.tab, axe_beside.tab.page
    button = page.get_by_role

    async def ask(text: str) -> None:
        await tab.box.fill(text)
        await button("button", name="Send").click()

    await axe.check("nothing")
    await page.locator("#files").set_input_files(
        [FilePayload(name=f"a.{kind}", mimeType=kind, buffer=b"GIF89a") for kind in ("image/gif", "text/plain")]
    )
    await expect(page.locator(".attachment:not(.attachment-uploading)")).to_have_count(2)
    await axe.check("attachments")
    await ask("Please wait")
    await expect(tab.answers).to_have_text(["So far so good"])
    await axe.check("an answer under way")
    await page.keyboard.press("Escape")
    await expect(page.locator(".stopped")).to_be_visible()
    await button("button", name="Good answer").click()
    await axe.check("stopped, and rated")
    for text, shown in (("Please fail", "The answer failed."), ("Please break", "The answer failed.")):
        await ask(text)
        await expect(page.get_by_text(shown).last).to_be_visible()
        await axe.check(text)
    await tab.box.press("ArrowUp")
    await expect(page.get_by_role("textbox", name="Edit the message")).to_be_focused()
    await axe.check("editing")
    await page.get_by_role("textbox", name="Edit the message").fill("Please delete")
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.get_by_role("group", name="Approval")).to_be_visible()
    await expect(page.get_by_role("group", name="Versions")).to_be_visible()
    await axe.check("an approval, and versions")
    await page.get_by_role("button", name="Allow delete").first.click()
    await axe.check("half an approval")


async def test_axe_finds_nothing_in_what_is_said(
    axe_beside: Axe, mine: UserStorage, served: tuple[str, PostgresStorage]
) -> None:
    """In an answer with all parts, open; where it is shared; where a link is wrong; and where nobody is signed in."""
    axe, tab, page = axe_beside, axe_beside.tab, axe_beside.tab.page
    conversation = await mine.create_conversation({"title": "All of it"})
    await mine.add_messages(SAID, conversation.id)
    await tab.open(f"/c/{conversation.id}")
    await axe.load()
    for summary in await page.locator("summary").all():
        await summary.click()
    await expect(page.locator("[role=doc-noteref]")).to_have_count(2)
    await expect(page.locator(".katex")).to_have_count(1)
    await axe.check("all parts")
    await page.locator("[role=doc-noteref]").first.click()
    await axe.check("at a source")

    share = await mine.share_conversation(conversation.id)
    tab.expected += ["404", "401"]
    for token in (share.token, "none"):
        await page.goto(f"{tab.address}/shared/{token}")
        await expect(page.locator(".message, .failure").first).to_be_visible()
        await axe.load()
        await axe.check(f"a public link, {'wrong' if token == 'none' else 'right'}")
    await page.context.set_extra_http_headers({"X-User": ""})
    await page.goto(f"{tab.address}/c/{conversation.id}")
    await expect(page.get_by_text("This conversation couldn’t be loaded.")).to_be_visible()
    await axe.load()
    await axe.check("nobody is signed in")
