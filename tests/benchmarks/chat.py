"""The chat's page in Chromium: the first row, scrolling through much, and what it loads. Without Chromium, nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fastapi import Header
from playwright.async_api import Browser, Page, async_playwright

from tests.benchmarks._bench import TEXT, Bench
from tests.benchmarks._measure import Bound, Measure, Side, Unit
from tests.benchmarks.sidebar import add_conversations
from tests.browser import CHROMIUM, QUIET
from tests.web.conftest import serving
from voltmem import chat
from voltmem.chat._assets import first_modules

CONVERSATIONS: Final = 10_000
MESSAGES: Final = 5_000
LISTS: Final = "lists"
"""The user with many conversations."""
READS: Final = "reads"
"""The user with a long one."""
LONG: Final = "a-long-conversation"
# As slow as a phone in a train: 400 kbit/s, and 400 ms until a response begins.
Network: TypeAlias = dict[str, Any]
SLOW: Final[Network] = {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
TURNS: Final = 5
TURNS_THROUGH_ALL: Final = 3

NOTES_THE_FIRST_ROW: Final = """
window.firstRow = new Promise(resolve => new MutationObserver((_, observer) => {
    if (!document.querySelector("#list .row")) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));  // it is painted then
}).observe(document, { childList: true, subtree: true }));
"""
# Scrolls by a screen a frame, and waits at the end of what is loaded. Returns the longest task, and the nodes at most.
SCROLLS: Final = """async ([place, step, last, text]) => {
    const scroller = document.getElementById(place);
    const [found, frame] = [[], () => new Promise(requestAnimationFrame)];
    new PerformanceObserver(list => found.push(...list.getEntries())).observe({ type: "longtask", buffered: true });
    const nodes = () => {
        const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
        let count = 1;
        while (walker.nextNode()) count += 1;
        return count;
    };
    let most = 0;
    while (![...scroller.querySelectorAll(last)].some(each => each.textContent.split("\\n")[0] === text)) {
        scroller.scrollTop += step * scroller.clientHeight;
        await frame();
        most = Math.max(most, nodes());
    }
    return { longest: Math.max(0, ...found.map(each => each.duration)), most };
}"""


def signed_in(x_user: str = Header()) -> str:
    return x_user


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    if CHROMIUM is None:
        bench.progress.console.print("there is no Chromium: the chat's page is not measured")
        return
    await bench.start_anew()
    with bench.working("conversations are made"):
        await add_conversations(bench, bench.ours, LISTS, bench.count(CONVERSATIONS))
        await bench.pool.execute(
            f"INSERT INTO {bench.ours.messages} (conversation_id, message_id, role, content, type) "
            f"SELECT id, 'm', 'user', $1, 'text' FROM {bench.ours.conversations} WHERE user_id = $2",
            TEXT,
            LISTS,
        )
        mine = bench.storage(storage_limit=None).for_user(READS)
        await mine.create_conversation({"id": LONG, "title": "A long one"})
        spoken = [f"Number {number}\n\n**{TEXT}**" for number in range(bench.count(MESSAGES))]
        of = "user", "assistant"
        await mine.add_messages([{"role": of[n % 2], "content": text} for n, text in enumerate(spoken)], LONG)
    app = chat.app(bench.storage(storage_limit=None), answer=lambda messages: "", user=signed_in)
    async with serving(app) as address, chromium() as browser:
        await first_row(bench, browser, address)
        await scrolling(bench, browser, address)
        await javascript(bench, browser, address)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Yield the browser."""
    async with async_playwright() as playwright:
        root = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *root])
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, address: str, user: str, slow: dict[str, object] | None = None
) -> AsyncIterator[Page]:
    """Yield the page at an address, in a browser that has nothing in its cache."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, extra_http_headers={"X-User": user})
    page = await context.new_page()
    await page.add_init_script(NOTES_THE_FIRST_ROW)
    if slow is not None:
        session = await context.new_cdp_session(page)
        await session.send("Network.enable")
        await session.send("Network.emulateNetworkConditions", slow)
    await page.goto(address, wait_until="commit")
    await page.evaluate("window.firstRow")
    yield page
    await context.close()


def allowed(most: float) -> Measure:
    """Return a turn that measures nothing: what is allowed."""

    async def turn() -> Side:
        return Side(most)

    return turn


async def first_row(bench: Bench, browser: Browser, address: str) -> None:
    """Measure when the first row of the list is painted, of 10,000 and with nothing in the cache."""

    def painted(slow: Network | None) -> Measure:
        async def turn() -> Side:
            async with opened(browser, address, LISTS, slow) as page:
                return Side(await page.evaluate("window.firstRow"))

        return turn

    for what, slow, most in (("", None, 150), (", at 400 kbit/s and 400 ms", SLOW, 2_000)):
        of = f"the milliseconds allowed{what}"
        named = f"first row of the chat's list{what}"
        await bench.compare(named, of, "ms", painted(slow), allowed(most), bound=Bound("at most", 1), rounds=TURNS)


async def scrolling(bench: Bench, browser: Browser, address: str) -> None:
    """Measure the longest task while everything is scrolled through, and the nodes on the page at most."""
    rows, messages = bench.count(CONVERSATIONS), bench.count(MESSAGES)
    first = "What was said in number 1"
    through_list = Through(browser, address, LISTS, ("list", 1, ".row-title", first))
    through_messages = Through(browser, f"{address}/c/{LONG}", READS, ("scroller", -1, ".body", "Number 0"))
    for what, through in ((f"{rows:,} conversations", through_list), (f"{messages:,} messages", through_messages)):
        for named, measure, unit, most in through.measures():
            await bench.compare(
                f"{what} scrolled through in the chat, {named}",
                "what is allowed",
                unit,
                measure,
                allowed(most),
                bound=Bound("at most", 1),
                rounds=TURNS_THROUGH_ALL,
            )


@dataclass
class Through:
    """Scrolls through all of a list, or of a conversation: where, screens a step, and how the last one is known."""

    browser: Browser
    address: str
    user: str
    how: tuple[str, int, str, str]
    _found: list[float] = field(default_factory=list)
    """The nodes at most of the turns whose longest tasks were measured."""

    def measures(self) -> tuple[tuple[str, Measure, Unit, int], ...]:
        """Return what is measured, each with the most that is allowed."""
        return ("longest task", self._longest, "ms", 50), ("nodes at most", self._nodes, "nodes", 1_500)

    async def _longest(self) -> Side:
        found = await self._scrolled()
        self._found.append(found["most"])
        return Side(found["longest"])

    async def _nodes(self) -> Side:
        return Side(self._found.pop() if self._found else (await self._scrolled())["most"])

    async def _scrolled(self) -> dict[str, float]:
        async with opened(self.browser, self.address, self.user) as page:
            await page.wait_for_load_state()  # the rows are painted before the rest of the page is there
            found: dict[str, float] = await page.evaluate(SCROLLS, [*self.how])
            return found


async def javascript(bench: Bench, browser: Browser, address: str) -> None:
    """Measure the JavaScript of the first screen, as it is sent."""
    names = ["theme.js", *first_modules()]

    async def sent() -> Side:
        async with opened(browser, address, LISTS) as page:
            await page.wait_for_load_state("networkidle")
            return Side(
                await page.evaluate(
                    """names => performance.getEntriesByType("resource").reduce((sum, { name, encodedBodySize }) =>
                        sum + (names.includes(name.split("/").at(-1)) ? encodedBodySize : 0), 0) / 1000""",
                    names,
                )
            )

    named = "JavaScript of the chat's first screen, compressed"
    await bench.compare(named, "what is allowed", "kB", sent, allowed(40), bound=Bound("at most", 1), rounds=2)
