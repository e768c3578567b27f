"""Versions and forks: what is done with a message while an answer is written, or another conversation is opened."""

from __future__ import annotations

import re

import pytest

from tests.chat.tab import Tab, expect
from voltmem import Message, UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def edited(tab: Tab, mine: UserStorage) -> list[Message]:
    """Edit the first question, so that its answer never ends. Returns the messages before."""
    await tab.ask("A name, please")
    before = await mine.get_messages(tab.id)
    await tab.act(tab.questions.first, "Edit")
    box = tab.page.get_by_role("textbox", name="Edit the message")
    await box.fill("wait for me")
    await box.press("Enter")
    await expect(tab.questions).to_have_text(["wait for me"])
    await expect(tab.answers).to_have_text(["So far so good"])
    return before


async def test_a_version_is_shown_without_the_answer_to_another(tab: Tab, mine: UserStorage) -> None:
    """A version that is chosen while another is answered is shown as it is; the answer goes on in its own version."""
    question, answer = await edited(tab, mine)
    await tab.page.reload()  # the page asks for the versions

    await tab.act(tab.questions.first, "Previous version")
    await expect(tab.questions).to_have_text([question.text])
    await expect(tab.answers).to_contain_text(["Tern"])
    await tab.page.reload()
    await expect(tab.answers).to_contain_text(["Tern"])
    await tab.act(tab.questions.first, "Next version")
    await expect(tab.questions).to_have_text(["wait for me"])
    await expect(tab.answers).to_have_text(["So far so good"])
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.answers).to_have_text(["So far so goodStopped"])

    assert [each.text for each in await mine.get_messages(tab.id)] == ["wait for me", "So far so **good**"]
    await mine.choose_branch(tab.id, question.id)
    assert [each.id for each in await mine.get_messages(tab.id)] == [question.id, answer.id]


async def test_an_answer_to_another_version_is_stopped_from_this_one(tab: Tab, mine: UserStorage) -> None:
    """While another version is answered, the page has the button that stops it, and a question can follow."""
    question, _ = await edited(tab, mine)
    await tab.page.reload()
    await tab.act(tab.questions.first, "Previous version")
    await expect(tab.answers).to_contain_text(["Tern"])

    await tab.page.get_by_role("button", name="Stop the answer").click()
    await tab.ask("And another?")

    assert [each.text for each in await mine.get_messages(tab.id, roles=["user"])] == [question.text, "And another?"]
    await tab.act(tab.questions.first, "Next version")
    await expect(tab.answers).to_have_text(["So far so goodStopped"])


async def test_a_version_that_is_chosen_elsewhere_opens_no_edit(tab: Tab, mine: UserStorage) -> None:
    """When the version before an edit is chosen elsewhere while that is answered, it is shown without an edit box."""
    question, _ = await edited(tab, mine)

    await mine.choose_branch(tab.id, question.id)
    await mine.stop_lease(tab.id, "answer")

    await expect(tab.questions).to_have_text([question.text])
    await expect(tab.answers).to_contain_text(["Tern"])
    await expect(tab.page.get_by_role("textbox", name="Edit the message")).to_have_count(0)


async def test_a_fork_is_of_the_conversation_in_which_it_was_asked_for(tab: Tab, mine: UserStorage) -> None:
    """A button whose module is loaded after another conversation was opened does nothing there."""
    await mine.create_conversation({"title": "Another"})
    await tab.ask("A name, please")
    late = await tab.held(re.compile(r"/messageactions\.js"))
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    await tab.act(tab.answers.last, "Fork from here")
    await tab.link("Another").click()
    await expect(tab.heading).to_have_text("Another")

    async with tab.page.expect_response(re.compile(r"/messageactions\.js")) as loaded:
        late.set()
    await tab.page.evaluate("url => import(url)", (await loaded.value).url)

    assert not [each for each in asked if each.endswith("/fork")]
