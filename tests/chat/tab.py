"""A tab of a real browser with the chat in it: what a person sees and does there."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import pytest

try:
    from playwright.async_api import ConsoleMessage, Error, FilePayload, Locator, Page, Request, Route, expect
except ImportError:
    pytest.skip("playwright is not installed", allow_module_level=True)

__all__ = ["FilePayload", "Locator", "Route", "Tab", "expect"]

# Far more than anything here takes, so that its end means failure. Playwright's own five seconds are too few.
expect.set_options(timeout=60_000)


@dataclass
class Tab:
    page: Page
    address: str
    problems: list[str] = field(default_factory=list)
    """Complaints of the browser. All of them must be expected, or the test fails at its end."""
    expected: list[str] = field(default_factory=list)
    """Parts of expected complaints. They need not occur, since a test may end before them."""

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", self._raised)
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _raised(self, error: Error) -> None:
        self.problems.append(str(error))

    def _failed(self, request: Request) -> None:
        # Requests that the page itself cancelled are no problem: a stopped answer, an outdated search.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"{request.url} {request.failure}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.address):
            self.problems.append(f"a request to another site: {request.url}")

    @property
    def unexpected(self) -> list[str]:
        return [problem for problem in self.problems if not any(part in problem for part in self.expected)]

    async def open(self, path: str = "/") -> None:
        """Open the application, and wait until its list and its conversation are loaded."""
        await self.page.goto(self.address + path)
        await expect(self.page.locator("#list .row, #list .list-note").first).to_be_attached()
        await expect(self.page.locator(".message, .welcome").first).to_be_attached()

    async def held(self, address: re.Pattern[str]) -> asyncio.Event:
        """Hold requests for an address back, until the event is set."""
        late = asyncio.Event()

        async def answer(route: Route) -> None:
            await late.wait()
            await route.continue_()

        await self.page.route(address, answer)
        return late

    async def settled(self) -> None:
        """Wait for the end of animations that have one."""
        await self.page.evaluate(
            """() => Promise.allSettled(document.getAnimations()
                .filter(each => each.effect.getComputedTiming().endTime < Infinity).map(each => each.finished))"""
        )

    # --- the sidebar ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Locator:
        return self.page.locator("#list .row")

    @property
    def titles(self) -> Locator:
        return self.page.locator("#list .row-title")

    @property
    def groups(self) -> Locator:
        return self.page.locator("#list .group-name")

    def row(self, title: str) -> Locator:
        return self.rows.filter(has=self.page.locator(".row-title", has_text=re.compile(f"^{re.escape(title)}$")))

    def link(self, title: str) -> Locator:
        return self.row(title).locator(".row-link")

    async def listed(self) -> int:
        """Return how many rows are loaded: the page has those near the visible part, and room for the others."""
        count: int = await self.page.evaluate(
            """() => Math.round([...document.querySelectorAll("#list .rows:not([hidden])")].reduce((sum, each) =>
                sum + each.offsetHeight, 0) / document.querySelector("#list .rows .row").offsetHeight)"""
        )
        return count

    async def scroll_to_row(self, number: int) -> None:
        """
        Scroll down until there are this many rows, and to the last of them.

        How many there are on the way isn't certain: a tab that is told it is connected loads the rows in view again.
        """

        async def scrolled() -> int:
            await self.page.locator("#list").evaluate("list => list.scrollTop = list.scrollHeight")
            return await self.listed()

        async with asyncio.timeout(60):
            while await scrolled() < number:
                await self.page.wait_for_timeout(50)
        await scrolled()

    async def choose(self, title: str, action: str) -> None:
        """Open a row's menu and choose an entry."""
        await self.row(title).hover()
        await self.page.get_by_role("button", name=f"Actions for {title}", exact=True).click()
        await self.page.get_by_role("menuitem", name=action, exact=True).click()

    async def search(self, text: str) -> None:
        await self.page.get_by_role("searchbox").fill(text)

    @property
    def hits(self) -> Locator:
        return self.page.locator("#results .row")

    # --- the conversation -----------------------------------------------------------------------------------------

    @property
    def heading(self) -> Locator:
        return self.page.get_by_role("heading", level=1)

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def questions(self) -> Locator:
        return self.page.locator(".message-user .body")

    @property
    def answers(self) -> Locator:
        return self.page.locator(".message-assistant .body")

    async def new_chat(self) -> None:
        await self.page.locator("#new-chat").click()
        await expect(self.page.get_by_text("Ask a question, or continue a conversation.")).to_be_visible()

    async def ask(self, text: str) -> None:
        """Ask a question, and wait for the complete answer."""
        count = await self.answers.count()
        await self.box.fill(text)
        await self.page.get_by_role("button", name="Send").click()  # on a touch screen, Enter makes a line
        await expect(self.answers).to_have_count(count + 1)
        await self.answered()
        await expect(self.heading).not_to_have_text("New chat")

    async def answered(self) -> None:
        """Wait for the end of the running answer."""
        await expect(self.page.get_by_role("button", name="Stop the answer")).to_be_hidden()
        await expect(self.answers.last).not_to_be_empty()

    def message(self, text: str) -> Locator:
        return self.page.locator(".message").filter(has_text=re.compile(f"^{re.escape(text)}"))

    async def act(self, message: Locator, action: str) -> None:
        """Press one of the buttons below a message."""
        await message.hover()
        await message.locator("xpath=..").get_by_role("button", name=action, exact=True).click()

    def notice(self, text: str) -> Locator:
        return self.page.locator(".toast", has_text=text)

    @property
    def id(self) -> str:
        """Return the id of the open conversation, from the address."""
        return self.page.url.partition("/c/")[2].partition("#")[0]
