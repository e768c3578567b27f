"""The chat in Firefox and WebKit, where the machine has them: what a person does most, and no errors."""

from __future__ import annotations

import json

import pytest

from tests.other_browsers import BROWSERS, until
from voltmem import PostgresStorage, UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = "[...document.querySelectorAll({})].map((each) => each.textContent)"
STOP = "!document.querySelector('#stop').hidden"


def texts(selector: str) -> str:
    return TEXT.format(json.dumps(selector))


@pytest.mark.parametrize("browser", BROWSERS)
async def test_it_works_in_other_browsers(
    browser: str, served: tuple[str, PostgresStorage], mine: UserStorage, user: str
) -> None:
    """The list is there, a question is answered in Markdown, a rename stays, and a reload joins a slow answer."""
    conversation = await mine.create_conversation({"title": "From before"})
    async with BROWSERS[browser]() as page:
        await page.go(f"{served[0]}/shop")
        await page.run(f"(document.cookie = 'user={user};path=/')")
        await page.go(f"{served[0]}/")
        await until(page, f"{texts('.row-title')}[0] === 'From before'")
        await until(page, "document.querySelector('.welcome')")

        await page.run("document.querySelector('#composer-text').focus()")
        await page.type("Show me a small Python program", "Enter")
        await until(page, "document.querySelector('.message-assistant pre code .code-keyword')")
        await until(page, f"!({STOP})")
        await until(page, f"{texts('.row-title')}.length === 2")
        address = await page.run("location.href")

        await page.run("document.querySelector('.row-menu').click()")
        await until(page, "document.querySelector('[role=menuitem]')")
        await page.run("document.querySelector('[role=menuitem]').click()")
        await until(page, "document.activeElement.matches('input.rename')")
        await page.type("A better name", "Enter")
        await until(page, f"{texts('.row-title')}[0] === 'A better name'")
        assert await page.problems() == []
        await page.go(address)
        await until(page, f"{texts('.message-user .body')}[0] === 'Show me a small Python program'")
        await until(page, f"{texts('h1')}[0] === 'A better name'")

        await page.run("document.querySelector('#composer-text').focus()")
        await page.type("Please wait", "Enter")
        await until(page, f"{texts('.message-assistant .body')}.at(-1) === 'So far so good'")
        assert await page.problems() == []
        await page.go(address)
        await until(page, f"{texts('.message-assistant .body')}.at(-1) === 'So far so good' && {STOP}")
        await page.run("document.querySelector('#stop').click()")
        await until(page, f"{texts('.stopped')}.length === 1 && !({STOP})")
        assert await page.problems() == []
    shown = await mine.list_conversations()
    assert [each.title for each in shown.items] == ["A better name", conversation.title]
