"""A text that a person wrote is never lost: it is sent, or it is in a box."""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256
from typing import Any

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import FilePayload, Locator, Route, Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKING = re.compile("/api/chat$")
MAKING = re.compile("/api/conversations$")
UPLOADING = re.compile("/api/files$")


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cf50f01f0005000201"
    "8f52a8de0000000049454e44ae426082"
)


async def attach(tab: Tab, name: str = "dot.png", type: str = "image/png", content: bytes = PNG) -> None:
    """Attach a file, and wait until it is uploaded."""
    count = await tab.page.locator(".attachment").count()
    await tab.page.locator("#files").set_input_files(FilePayload(name=name, mimeType=type, buffer=content))
    await expect(tab.page.locator(".attachment:not(.attachment-uploading)")).to_have_count(count + 1)


async def two_conversations(mine: UserStorage) -> None:
    for title in ("First", "Second"):
        conversation = await mine.create_conversation({"title": title})
        await mine.add_message({"role": "user", "content": f"About {title}"}, conversation.id)


async def test_a_question_that_is_stopped_at_once_comes_back(tab: Tab, mine: UserStorage) -> None:
    """A question that is stopped before the server took it returns to the box, with later typing."""
    await tab.ask("A name, please")
    await tab.page.route(ASKING, lambda _: None)  # never answered
    async with tab.page.expect_request(ASKING):
        await tab.box.fill("A long question")
        await tab.box.press("Enter")
    await tab.box.press_sequentially("Another")

    await tab.page.get_by_role("button", name="Stop the answer").click()

    await expect(tab.box).to_have_value("A long question\n\nAnother")
    await expect(tab.questions).to_have_text(["A name, please"])
    assert len(await mine.get_messages(tab.id)) == 2


async def test_a_question_that_was_stored_does_not_come_back(tab: Tab, mine: UserStorage) -> None:
    """If the connection breaks after the question was stored, it does not return to the box, to avoid a duplicate."""
    await tab.ask("A name, please")

    async def break_off(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await tab.page.route(ASKING, break_off)
    await tab.box.fill("And a letter")
    await tab.box.press("Enter")

    await expect(tab.notice("The server can’t be reached.")).to_be_visible()
    await expect(tab.questions).to_have_text(["A name, please", "And a letter"])
    await expect(tab.answers).to_have_count(2)
    await expect(tab.box).to_have_value("")
    tab.expected = ["ERR_FAILED"]


async def test_a_first_question_is_asked_wherever_one_goes(mine: UserStorage, open_tab: OpenTab) -> None:
    """Opening another conversation while a new one is being created does not drop its first question."""
    await two_conversations(mine)
    tab = await open_tab()
    made = asyncio.Event()

    async def make_late(route: Route) -> None:
        await made.wait()
        await route.continue_()

    await tab.page.route(MAKING, make_late)
    async with tab.page.expect_request(MAKING):
        await tab.box.fill("A name, please")
        await tab.box.press("Enter")
    await tab.link("First").click()
    await expect(tab.questions).to_have_text(["About First"])
    made.set()

    await expect(tab.link("A name, please")).to_be_visible()
    await expect(tab.heading).to_have_text("First")
    await tab.link("A name, please").click()
    await expect(tab.questions).to_have_text(["A name, please"])
    await expect(tab.answers).to_contain_text(["Tern"])


async def test_a_first_question_that_fails_leaves_nothing_but_itself(tab: Tab, mine: UserStorage) -> None:
    """If the first question fails, its new conversation is deleted, and the question is in the box of the next one."""
    await tab.page.route(ASKING, lambda route: route.abort())
    for _ in range(2):
        await tab.box.fill("A name, please")
        await tab.box.press("Enter")
        await expect(tab.page).to_have_url(re.compile("/$"))
        await expect(tab.box).to_have_value("A name, please")
        await expect(tab.rows).to_have_count(0)
    assert (await mine.list_conversations()).items == []

    await tab.page.unroute_all()
    await tab.box.press("Enter")
    await expect(tab.questions).to_have_text(["A name, please"])
    await tab.answered()
    tab.expected = ["ERR_FAILED", "404"]  # an event may ask for the conversation that is being deleted


async def test_what_is_not_sent_stays_where_it_was_written(mine: UserStorage, open_tab: OpenTab) -> None:
    """Each conversation, and the new one, keeps its own unsent text."""
    await two_conversations(mine)
    tab = await open_tab()
    await tab.box.fill("For a new one")
    await tab.link("First").click()
    await expect(tab.box).to_have_value("")
    await tab.box.fill("For the first")
    await tab.link("Second").click()
    await expect(tab.box).to_have_value("")
    await expect(tab.page.get_by_role("button", name="Send")).to_be_disabled()

    await tab.link("First").click()
    await expect(tab.box).to_have_value("For the first")
    await expect(tab.page.get_by_role("button", name="Send")).to_be_enabled()
    await tab.new_chat()
    await expect(tab.box).to_have_value("For a new one")


async def start_editing(tab: Tab, text: str) -> Locator:
    """Begin to edit the last question."""
    await tab.act(tab.questions.last, "Edit")
    box = tab.page.get_by_role("textbox", name="Edit the message")
    await box.fill(text)
    return box


async def test_an_edit_that_fails_stays_in_its_box(tab: Tab, mine: UserStorage) -> None:
    """If the server cannot be reached, an edit stays in its box, and the question is unchanged."""
    await tab.ask("A name, please")
    await tab.page.route(ASKING, lambda route: route.abort())
    box = await start_editing(tab, "Bread, please")
    await box.press("Enter")

    await expect(tab.notice("The server can’t be reached.")).to_be_visible()
    await expect(box).to_have_value("Bread, please")
    await expect(box).to_be_focused()
    await tab.page.unroute_all()
    await box.press("Enter")
    await expect(tab.questions).to_have_text(["Bread, please"])
    await expect(tab.answers).to_contain_text(["Usually it is the temperature"])
    await tab.answered()
    tab.expected = ["ERR_FAILED"]


async def test_a_question_that_is_too_long_stays_whole(tab: Tab) -> None:
    """A text that the server would not take is neither cut nor sent: the page says how long it may be."""
    await tab.box.fill("a" * 100_001)
    await tab.box.press("Enter")

    await expect(tab.notice("A question may have 100,000 characters.")).to_be_visible()
    await expect(tab.box).to_have_js_property("value", "a" * 100_001)
    await expect(tab.questions).to_have_count(0)


async def test_an_edit_stays_while_another_conversation_is_opened(mine: UserStorage, open_tab: OpenTab) -> None:
    """An unfinished edit stays in its box while another conversation is open."""
    await two_conversations(mine)
    tab = await open_tab()
    await tab.link("First").click()
    await expect(tab.questions).to_have_text(["About First"])
    box = await start_editing(tab, "Bread, please")
    await tab.link("Second").click()
    await expect(tab.questions).to_have_text(["About Second"])
    await tab.link("First").click()
    await expect(box).to_have_value("Bread, please")

    await tab.page.get_by_role("button", name="Cancel").click()
    await expect(tab.questions).to_have_text(["About First"])
    await tab.act(tab.questions.last, "Edit")
    await expect(box).to_have_value("About First")


async def test_an_edit_survives_a_reload(tab: Tab) -> None:
    """An unfinished edit is in its box after a reload, without the focus; one that was sent or cancelled is not."""
    await tab.ask("A name, please")
    box = await start_editing(tab, "Bread, please")

    await tab.page.reload()
    await expect(box).to_have_value("Bread, please")
    await expect(tab.box).to_be_focused()

    await box.press("Enter")
    await expect(tab.questions).to_have_text(["Bread, please"])
    await tab.page.reload()
    await tab.act(tab.questions.first, "Previous version")
    await tab.act(tab.message("A name, please").locator(".body"), "Edit")
    await expect(box).to_have_value("A name, please")
    await box.fill("A letter, please")
    await tab.page.get_by_role("button", name="Cancel").click()
    await tab.page.reload()
    await tab.act(tab.message("A name, please").locator(".body"), "Edit")
    await expect(box).to_have_value("A name, please")


async def test_what_is_being_written_outlives_its_conversation(mine: UserStorage, open_tab: OpenTab) -> None:
    """If the conversation is deleted elsewhere, the unsent text and files stay in the box of a new one."""
    await two_conversations(mine)
    tab = await open_tab()
    await tab.link("First").click()
    await tab.box.fill("A long question")
    await attach(tab)

    await mine.soft_delete_conversation(tab.id)

    await expect(tab.page).to_have_url(re.compile("/$"))
    await expect(tab.box).to_have_value("A long question")
    await expect(tab.page.locator(".attachment")).to_have_text(["dot.png"])
    tab.expected = ["404"]  # a poll may happen in between


async def test_a_draft_survives_a_reload(tab: Tab, mine: UserStorage) -> None:
    """What was not sent is in the box after a reload, in each conversation; what was sent is not."""
    conversation = await mine.create_conversation({"title": "Tea"})
    await mine.add_message({"role": "user", "content": "Tea?"}, conversation.id)
    await tab.page.reload()
    await tab.box.fill("A new one")
    await tab.link("Tea").click()
    await expect(tab.questions).to_have_text(["Tea?"])
    await tab.box.fill("More of it")

    await tab.page.reload()

    await expect(tab.box).to_have_value("More of it")
    await tab.new_chat()
    await expect(tab.box).to_have_value("A new one")
    await tab.ask("A name, please")
    await tab.new_chat()
    await tab.page.reload()
    await expect(tab.box).to_have_value("")


async def test_the_keyboard_stops_an_answer_and_edits_the_last_question(tab: Tab) -> None:
    """Escape stops the answer; the up arrow in an empty box edits the last question."""
    await tab.box.fill("Please wait")
    await tab.box.press("Enter")
    await expect(tab.answers.last).to_have_text("So far so good")

    await tab.page.keyboard.press("Escape")

    await expect(tab.answers.last).to_have_text("So far so goodStopped")
    await tab.box.press("ArrowUp")
    await expect(tab.page.get_by_role("textbox", name="Edit the message")).to_have_value("Please wait")
    await expect(tab.page.get_by_role("textbox", name="Edit the message")).to_be_focused()


async def test_enter_makes_a_line_on_a_touch_screen(open_tab: OpenTab) -> None:
    """On a touch screen, which has no Shift+Enter, Enter adds a line, and the button sends."""
    tab = await open_tab(phone=True)
    await tab.box.fill("one")
    await tab.box.press("Enter")
    await tab.page.keyboard.type("two")

    await expect(tab.box).to_have_value("one\ntwo")
    await tab.page.get_by_role("button", name="Send").click()
    await expect(tab.questions).to_have_text(["one\ntwo"])


async def test_what_is_typed_before_the_scripts_are_there_stays(open_tab: OpenTab) -> None:
    """A text in the box when the scripts start stays there; until then, nothing can be sent."""
    tab = await open_tab()
    late = await tab.held(re.compile(r"/app\.js"))
    await tab.page.goto(tab.address, wait_until="commit")
    await tab.box.fill("early")
    await expect(tab.page.get_by_role("button", name="Send")).to_be_disabled()
    late.set()

    await expect(tab.page.get_by_role("button", name="Send")).to_be_enabled()
    await expect(tab.box).to_have_value("early")


async def test_a_question_has_files(tab: Tab, mine: UserStorage) -> None:
    """Files that are chosen or pasted are uploaded, shown and stored with the question, also when it is edited."""
    chooser = tab.page.locator("#files")
    await chooser.set_input_files(FilePayload(name="dot.png", mimeType="image/png", buffer=PNG))
    await chooser.set_input_files(FilePayload(name="a.zip", mimeType="application/zip", buffer=b"PK"))
    await expect(tab.notice("a.zip can’t be attached")).to_be_visible()
    await tab.page.evaluate(
        """() => {
            const given = new DataTransfer();
            given.items.add(new File(["words"], "notes.txt", { type: "text/plain" }));
            const event = new ClipboardEvent("paste", { clipboardData: given, bubbles: true, cancelable: true });
            document.getElementById("composer-text").dispatchEvent(event);
        }"""
    )
    await expect(tab.page.locator(".attachment")).to_have_count(2)
    await tab.page.get_by_role("button", name="Remove notes.txt").click()

    await tab.ask("What is it?")

    await expect(tab.page.locator(".attachment")).to_have_count(0)
    picture = tab.page.locator(".message-user img")
    await expect(picture).to_have_js_property("naturalWidth", 1)
    await tab.act(tab.questions.first, "Edit")
    box = tab.page.get_by_role("textbox", name="Edit the message")
    await box.fill("What else is it?")
    await box.press("Enter")
    await expect(tab.questions).to_have_text(["What else is it?"])
    await tab.answered()
    await expect(picture).to_have_js_property("naturalWidth", 1)
    (question, _) = await mine.get_messages(tab.id)
    assert isinstance(question.content, list)
    file: Any = question.content[0]
    assert (file["mediaType"], file["filename"]) == ("image/png", "dot.png")
    assert file["url"].startswith("voltmem:file/")


async def test_files_of_a_question_that_is_not_sent_come_back(tab: Tab) -> None:
    """If a question with files cannot be sent, its text and its files are in the box again, and can be sent."""
    await attach(tab)
    await tab.page.route(ASKING, lambda route: route.abort())
    tab.expected = ["ERR_FAILED"]
    await tab.box.fill("What is it?")
    await tab.box.press("Enter")

    await expect(tab.box).to_have_value("What is it?")
    await expect(tab.page.locator(".attachment")).to_have_count(1)
    await tab.page.unroute_all()
    await tab.box.press("Enter")
    await expect(tab.page.locator(".message-user img")).to_have_js_property("naturalWidth", 1)
    await tab.answered()


async def test_files_that_are_not_sent_stay_with_their_draft(mine: UserStorage, open_tab: OpenTab) -> None:
    """Each conversation keeps the files that were attached to it, also over a reload, until they are sent."""
    await two_conversations(mine)
    tab = await open_tab()
    attached = tab.page.locator(".attachment")
    await tab.link("First").click()
    await attach(tab)
    await attach(tab, "notes.txt", "text/plain", b"words")
    await tab.link("Second").click()
    await expect(attached).to_have_count(0)
    await expect(tab.page.get_by_role("button", name="Send")).to_be_disabled()

    await tab.page.reload()
    await expect(tab.questions).to_have_text(["About Second"])
    await tab.link("First").click()
    await expect(attached).to_have_text(["dot.png", "notes.txt"])
    await tab.page.get_by_role("button", name="Remove notes.txt").click()
    await tab.page.reload()
    await expect(attached).to_have_text(["dot.png"])
    await expect(attached.locator("img")).to_have_js_property("naturalWidth", 1)

    await tab.ask("What is it?")
    await expect(tab.page.locator(".message-user img")).to_have_js_property("naturalWidth", 1)
    await tab.page.reload()
    await expect(tab.questions).to_have_count(2)
    await attach(tab, "notes.txt", "text/plain", b"words")
    await expect(attached).to_have_text(["notes.txt"])


async def test_a_file_that_the_server_has_deleted_is_to_be_attached_again(tab: Tab, mine: UserStorage) -> None:
    """A file that was attached in an earlier visit and is not stored any more is left out, and the page says so."""
    await attach(tab)
    await tab.box.fill("What is it?")
    assert await mine.delete_file(sha256(PNG).hexdigest())

    await tab.page.reload()

    await expect(tab.notice("dot.png no longer exists. Attach it again.")).to_be_visible()
    await expect(tab.page.locator(".attachment")).to_have_count(0)
    await expect(tab.box).to_have_value("What is it?")
    tab.expected = ["404"]


async def test_a_question_that_waits_for_its_files_stays_in_its_conversation(
    mine: UserStorage, open_tab: OpenTab
) -> None:
    """A question whose file is uploaded after another conversation was opened is not sent there; it stays a draft."""
    await two_conversations(mine)
    tab = await open_tab()
    await tab.link("First").click()
    await expect(tab.questions).to_have_text(["About First"])
    late = await tab.held(UPLOADING)
    async with tab.page.expect_request(UPLOADING):
        await tab.page.locator("#files").set_input_files(FilePayload(name="dot.png", mimeType="image/png", buffer=PNG))
    await tab.box.fill("What is it?")
    await tab.box.press("Enter")
    await tab.link("Second").click()
    await tab.box.fill("For the second")
    async with tab.page.expect_response(UPLOADING):
        late.set()

    await tab.link("First").click()
    await expect(tab.page.locator(".attachment:not(.attachment-uploading)")).to_have_text(["dot.png"])
    await expect(tab.box).to_have_value("What is it?")
    await tab.link("Second").click()
    await expect(tab.questions).to_have_text(["About Second"])
    await expect(tab.box).to_have_value("For the second")
    await tab.link("First").click()
    await tab.box.press("Enter")
    await expect(tab.questions).to_have_count(2)
    await tab.answered()


async def test_an_answer_is_rated(tab: Tab, mine: UserStorage) -> None:
    """A rating is stored in the answer's metadata, shown after a reload, and taken back by the same button."""
    await tab.ask("A name, please")
    good = tab.page.get_by_role("button", name="Good answer")
    await tab.act(tab.answers.last, "Good answer")
    await expect(good).to_have_attribute("aria-pressed", "true")

    await tab.page.reload()

    await expect(good).to_have_attribute("aria-pressed", "true")
    assert (await mine.get_messages(tab.id))[-1].metadata == {"feedback": {"type": "positive"}}
    async with tab.page.expect_response(re.compile("/feedback$")):
        await tab.act(tab.answers.last, "Good answer")
    assert (await mine.get_messages(tab.id))[-1].metadata == {}
