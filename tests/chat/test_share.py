"""A conversation leaves the chat: as a file, or by a link for strangers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import expect
from tests.chat.test_list import made
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_conversation_is_exported(mine: UserStorage, open_tab: OpenTab) -> None:
    """A conversation is saved whole, however long, as Markdown with who said it, or as JSON, under its title."""
    conversation = await mine.create_conversation({"title": "Bread: a/b?"})
    said = [{"role": ("user", "assistant")[n % 2], "content": f"Message {n}"} for n in range(230)]
    await mine.add_messages([*said, {"role": "assistant", "content": "An *end*"}], conversation.id)
    tab = await open_tab()

    async def saved(action: str) -> tuple[str, str]:
        async with tab.page.expect_download() as started:
            await tab.choose("Bread: a/b?", action)
        download = await started.value
        return download.suggested_filename, Path(await download.path()).read_text()

    name, text = await saved("Export as Markdown")
    assert name == "Bread a b.md"
    assert text.startswith("# Bread: a/b?\n\n## You · ")
    assert re.findall(r"^Message (\d+)$", text, re.MULTILINE) == [str(n) for n in range(230)]
    assert text.endswith("\n\nAn *end*\n")
    name, text = await saved("Export as JSON")
    exported = json.loads(text)
    assert name == "Bread a b.json"
    assert exported["conversation"]["id"] == conversation.id
    assert [each["parts"][0]["text"] for each in exported["messages"]][-2:] == ["Message 229", "An *end*"]


async def test_a_link_shows_strangers_a_conversation(mine: UserStorage, open_tab: OpenTab) -> None:
    """A link is made and copied, leads a stranger to what was said until then, and is revoked."""
    ids = await made(mine, "First")
    await mine.add_message({"role": "assistant", "content": "A **bold** answer"}, ids[0])
    tab = await open_tab()
    dialog = tab.page.get_by_role("dialog", name="Share “First”")

    await tab.choose("First", "Share …")
    await dialog.get_by_role("button", name="Create a link").click()
    await expect(dialog.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    address = await tab.page.evaluate("navigator.clipboard.readText()")
    await expect(dialog.get_by_role("textbox")).to_have_value(address)
    await mine.add_message({"role": "user", "content": "Between us"}, ids[0])

    stranger = await tab.page.context.browser.new_page()  # type: ignore[union-attr]
    await stranger.goto(address)
    await expect(stranger.get_by_role("heading", level=1)).to_have_text("First")
    await expect(stranger.get_by_role("article")).to_have_text(["About First", "A bold answer"])
    await expect(stranger.locator("strong")).to_have_text("bold")
    await dialog.get_by_role("button", name=re.compile("^Revoke")).click()
    await expect(dialog.get_by_role("listitem")).to_have_count(0)
    await stranger.reload()
    await expect(
        stranger.get_by_text("This link doesn’t lead anywhere: it is wrong, or it was revoked.")
    ).to_be_visible()
    await stranger.close()
