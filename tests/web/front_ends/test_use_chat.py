"""The documentation's code for useChat, in a real browser: the newest version of the AI SDK, and the one before."""

from __future__ import annotations

import re
from typing import Final

import pytest
import pytest_asyncio

from tests.checkout import ROOT
from tests.web.front_ends.conftest import VERSIONS, OpenWindow, Site, Window, expect, rows, store_as_agents
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE: Final = ROOT / "docs" / "how-to" / "web.md"
SAVE: Final = re.compile("/ui-messages$")

AGENTS: Final = [
    "user|What is it?|",  # and the picture
    'assistant|Hm.|weather output-available {"city":"Rome"} "SUN-7"',
    "assistant|A dot.",
    "user|And in one?",
    'assistant|Again.|weather output-available {"city":"Oslo"} "RAIN-42"|It rains.',
]


def answered(number: int, question: str) -> str:
    call = 'weather output-available {"city":"Oslo"} "RAIN-42"'
    return f"assistant|I look outside.|{call}|Answer {number} to: {question}"


@pytest_asyncio.fixture(params=VERSIONS, loop_scope="session")
async def path(request: pytest.FixtureRequest, site_of_worker: Site) -> str:
    found = re.search(r"```tsx\n(import \{ useChat.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return await site_of_worker.bundle(request.param, "use_chat.tsx", found[1])


async def saved(window: Window, act: str) -> None:
    """Do something in the page that ends with a save, and wait for it."""
    async with window.page.expect_response(SAVE) as saving:
        await window.page.evaluate(f"void {act}")
    assert (await saving.value).ok


async def test_the_documented_chat_says_hi(path: str, open_window: OpenWindow, mine: UserStorage) -> None:
    """The component of the page as it stands: an unknown id is an empty chat, a click asks and saves."""
    window = await open_window(f"{path}?id=new-{mine.user_id}&documented")
    window.expected = ["404 (Not Found)"]  # the conversation is not there yet
    button = window.page.get_by_role("button")
    await expect(button).to_have_text("0 messages; say hi")

    async with window.page.expect_response(SAVE) as saving:
        await button.click()

    assert (await saving.value).ok
    await window.reload()
    await expect(button).to_have_text("2 messages; say hi")
    assert [each.text for each in await mine.get_messages(f"new-{mine.user_id}")] == ["Hi", "Answer 1 to: Hi"]


async def test_use_chat_shows_what_agents_stored_and_saves_only_what_is_new(
    path: str, open_window: OpenWindow, site_of_worker: Site, mine: UserStorage
) -> None:
    """
    A turn is added to the agents' messages, which stay byte for byte.

    A reload shows all of them, and saving again changes nothing.
    """
    id = await store_as_agents(mine)
    of_agents = await rows(site_of_worker, id)
    window = await open_window(f"{path}?id={id}")
    await window.shows(*AGENTS)
    await expect(window.page.get_by_role("img")).to_have_js_property("naturalWidth", 1)

    await saved(window, "chat.sendMessage({ text: 'Snow?' })")

    after = [*AGENTS, "user|Snow?", answered(1, "Snow?")]
    await window.shows(*after)
    await window.reload()
    await window.shows(*after)
    stored = await rows(site_of_worker, id)
    assert set(of_agents) < set(stored)
    assert len(stored) == len(of_agents) + 2

    await saved(window, "save({ messages: chat.messages })")

    assert await rows(site_of_worker, id) == stored


async def test_use_chat_shows_the_new_answer_and_the_edited_question_after_a_reload(
    path: str, open_window: OpenWindow, site_of_worker: Site, mine: UserStorage
) -> None:
    """An answer that was asked for again, and a question that was edited, replace what followed; the rest stays."""
    id = await store_as_agents(mine)
    of_agents = await rows(site_of_worker, id)
    window = await open_window(f"{path}?id={id}")
    await window.shows(*AGENTS)
    await saved(window, "chat.sendMessage({ text: 'Snow?' })")

    await saved(window, "chat.regenerate()")
    await window.shows(*AGENTS, "user|Snow?", answered(2, "Snow?"))
    await window.reload()
    await window.shows(*AGENTS, "user|Snow?", answered(2, "Snow?"))

    await saved(window, "chat.sendMessage({ text: 'Hail?', messageId: chat.messages.at(-2).id })")
    await window.reload()
    await window.shows(*AGENTS, "user|Hail?", answered(3, "Hail?"))
    assert set(of_agents) < set(await rows(site_of_worker, id))

    # The agents' own last answer: it is replaced, and the agents' other messages are not.
    await saved(window, "chat.regenerate({ messageId: chat.messages.at(-3).id })")
    await window.reload()
    await window.shows(*AGENTS[:-1], answered(4, "And in one?"))
    assert len(set(of_agents) & set(await rows(site_of_worker, id))) == len(of_agents) - 1
