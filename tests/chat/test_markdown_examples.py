"""The examples of CommonMark's and of GitHub's specification of Markdown are drawn as they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chat.tab import Tab
from tests.node import node

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLDER = Path(__file__).parent
Shown = dict[str, dict[str, str]]
# Examples that are drawn in another way, by specification and number, with the text that is shown: those with HTML,
# which is text here; and those of bare addresses, which GitHub's specification itself makes links in a later section.
HTML: Shown
ADDRESSES: Shown
HTML, ADDRESSES = json.loads((FOLDER / "markdown_examples.json").read_text("utf-8")).values()


async def test_the_examples_of_the_specifications(tab: Tab) -> None:
    """
    Every example of CommonMark 0.31 and of GitHub's dialect is drawn as the specification says, whole or as it grows.

    The exceptions are listed with what they show.
    """
    await tab.page.evaluate((FOLDER / "markdown_examples.js").read_text("utf-8") + "null;")
    wrong = await tab.page.evaluate("examples => examine(examples)", await node("markdown_examples.cjs", None))

    assert {name: len(HTML[name]) + len(ADDRESSES[name]) for name in HTML} == {"commonmark": 76, "gfm": 75}
    for name, examples in wrong.items():
        shown = {str(each["number"]): " ".join(each["text"].split()) for each in examples}
        assert shown == {**HTML[name], **ADDRESSES[name]}, [
            each for each in examples if str(each["number"]) not in HTML[name]
        ]
