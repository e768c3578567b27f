"""The documentation's code for assistant-ui, in a real browser: the newest version, and the one before."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from tests.checkout import ROOT
from tests.web.front_ends.conftest import VERSIONS, OpenWindow, Site, Window, expect, rows, store_as_agents
from voltmem import UserStorage

if TYPE_CHECKING:
    from playwright.async_api import Response

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE: Final = ROOT / "docs" / "how-to" / "web.md"
SAVE: Final = re.compile("/history/")
WEATHER: Final = 'weather answered {"city":"Oslo"} "RAIN-42"'


@dataclass(frozen=True)
class Runtime:
    """One of assistant-ui's runtimes in one version."""

    path: str
    version: str
    is_local: bool
    """Whether it is LocalRuntime, which has assistant-ui's own messages; else it is that of useChat."""

    def of(self, conversation_id: str) -> str:
        return f"{self.path}?id={conversation_id}{'&local' if self.is_local else ''}"

    @property
    def saves_of_a_turn(self) -> int:
        """How many messages are sent for a turn after those of store_as_agents(): 0.14 sends all of them."""
        return 2 if self.is_local or self.version == "newest" else 7

    @property
    def saves_of_an_answer(self) -> int:
        """How many messages are sent for another answer to a stored question."""
        return 1 if self.is_local or self.version == "newest" else 2

    @property
    def agents(self) -> list[str]:
        """What is shown of the conversation of store_as_agents()."""
        # useChat's runtime shows the messages of an answer as one.
        of_call = ['assistant|Hm.|weather answered {"city":"Rome"} "SUN-7"', "|A dot."]
        answer = [of_call[0], f"assistant{of_call[1]}"] if self.is_local else ["".join(of_call)]
        # Version 0.14 takes the messages that it has joined for a branch of their own.
        question = "user|And in one?" if self.is_local or self.version == "newest" else "user|And in one?|before2/2"
        return ["user|What is it?|", *answer, question, f"assistant|Again.|{WEATHER}|It rains."]


@pytest_asyncio.fixture(
    params=[(version, is_local) for version in VERSIONS for is_local in (False, True)],
    ids=lambda param: f"{param[0]}, {'LocalRuntime' if param[1] else 'useChat'}",
    loop_scope="session",
)
async def runtime(request: pytest.FixtureRequest, site_of_worker: Site) -> Runtime:
    found = re.search(r"```tsx\n(import \{\n  ExportedMessageRepository.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    version, is_local = request.param
    return Runtime(await site_of_worker.bundle(version, "assistant_ui.tsx", found[1]), version, is_local)


def answered(number: int, question: str) -> str:
    return f"assistant|I look outside.|{WEATHER}|Answer {number} to: {question}"


@asynccontextmanager
async def saving(window: Window, count: int) -> AsyncIterator[None]:
    """Wait until the page has stored this many messages, and fail if one is refused."""
    answers: list[bool] = []

    def is_last(answer: Response) -> bool:
        if SAVE.search(answer.url) and answer.request.method == "PUT":
            answers.append(answer.ok)
        return len(answers) == count

    async with window.page.expect_response(is_last):
        yield
    assert all(answers)


async def test_an_unknown_thread_is_an_empty_chat(runtime: Runtime, open_window: OpenWindow, mine: UserStorage) -> None:
    """Its first message makes a conversation, which a new page shows."""
    window = await open_window(runtime.of("unknown"))
    window.expected = ["404 (Not Found)", "There is no conversation 'unknown'."]
    await window.is_loaded()
    await expect(window.page.get_by_text("empty")).to_be_visible()

    async with saving(window, 2):
        await window.page.evaluate("void runtime.thread.append('Snow?')")

    await window.shows("user|Snow?", answered(1, "Snow?"))
    [conversation] = (await mine.list_conversations()).items
    await window.open(runtime.of(conversation.id))
    await window.shows("user|Snow?", answered(1, "Snow?"))


async def test_assistant_ui_shows_what_agents_stored_and_saves_only_what_is_new(
    runtime: Runtime, open_window: OpenWindow, site_of_worker: Site, mine: UserStorage
) -> None:
    """
    A turn is added to the agents' messages, which stay byte for byte.

    A reload shows all of them, and saving each again changes nothing.
    """
    id = await store_as_agents(mine)
    of_agents = await rows(site_of_worker, id)
    window = await open_window(runtime.of(id))
    await window.shows(*runtime.agents)
    await expect(window.page.get_by_role("img")).to_have_js_property("naturalWidth", 1)

    async with saving(window, runtime.saves_of_a_turn):
        await window.page.evaluate("void runtime.thread.append('Snow?')")

    after = [*runtime.agents, "user|Snow?", answered(1, "Snow?")]
    await window.shows(*after)
    await window.reload()
    await window.shows(*after)
    stored = await rows(site_of_worker, id)
    assert set(of_agents) < set(stored)
    assert len(stored) == len(of_agents) + 2

    await window.page.evaluate("saveAgain()")

    assert await rows(site_of_worker, id) == stored


async def test_assistant_ui_shows_the_newest_branch_after_a_reload(
    runtime: Runtime, open_window: OpenWindow, site_of_worker: Site, mine: UserStorage
) -> None:
    """An answer that was asked for again and an edited question are branches: the picker has both, and chooses."""
    conversation = await mine.create_conversation({})
    messages = [{"role": "user", "content": "Snow?"}, {"role": "assistant", "content": "Yes."}]
    await mine.add_messages(messages, conversation.id)
    window = await open_window(runtime.of(conversation.id))
    await window.shows("user|Snow?", "assistant|Yes.")
    await window.is_loaded()

    async with saving(window, runtime.saves_of_an_answer):
        await window.page.evaluate("void runtime.thread.getMessageByIndex(1).reload()")
    await window.reload()  # until then, useChat's runtime may have forgotten the first answer
    await window.shows("user|Snow?", f"{answered(1, 'Snow?')}|before2/2")
    await window.page.get_by_role("button", name="before").click()
    await window.shows("user|Snow?", "assistant|Yes.|before1/2")

    edit = "const { composer } = runtime.thread.getMessageByIndex(0); composer.beginEdit(); composer.setText('Hail?');"
    async with saving(window, 2):
        await window.page.evaluate(f"{{ {edit} void composer.send() }}")
    edited = ["user|Hail?|before2/2", answered(2, "Hail?")]
    await window.shows(*edited)
    await window.reload()
    await window.shows(*edited)
    assert [each.text for each in await mine.get_messages(conversation.id)] == ["Hail?", "Answer 2 to: Hail?"]
    stored = await rows(site_of_worker, conversation.id)
    assert len(stored) == 5

    await window.page.evaluate("saveAgain()")

    assert await rows(site_of_worker, conversation.id) == stored
