"""A conversation: asking, streaming, stopping, editing, forking; the page shows what is stored."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Locator, Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def stored(mine: UserStorage, tab: Tab) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in await mine.get_messages(tab.id)]


async def test_a_question_makes_a_conversation_with_an_answer_and_a_title(tab: Tab, mine: UserStorage) -> None:
    """A question creates a conversation, with address, heading, row and window title; both messages are stored."""
    await tab.ask("Plan a weekend in Lisbon. I have three days.")

    await expect(tab.page).to_have_url(re.compile("/c/.+"))
    await expect(tab.heading).to_have_text("Plan a weekend in Lisbon")
    await expect(tab.page).to_have_title("Plan a weekend in Lisbon · voltmem")
    await expect(tab.link("Plan a weekend in Lisbon")).to_have_attribute("aria-current", "page")
    (_, question), (role, answer) = await stored(mine, tab)
    assert (question, role) == ("Plan a weekend in Lisbon. I have three days.", "assistant")
    assert "Graça" in answer
    await expect(tab.answers.last).to_contain_text("the tables have paper on them")


async def test_a_conversation_has_an_address(tab: Tab) -> None:
    """A conversation has an address: it survives a reload, and back and forward work."""
    await tab.ask("A name, please")
    first = tab.page.url
    await tab.new_chat()
    await expect(tab.page.get_by_text("Ask a question, or continue a conversation.")).to_be_visible()
    await tab.ask("Write a letter")

    await tab.page.reload()
    await expect(tab.answers).to_contain_text(["Dear Ms Okafor"])
    await tab.page.go_back()
    await tab.page.go_back()
    await expect(tab.page).to_have_url(first)
    await expect(tab.answers).to_contain_text(["Tern"])
    await tab.page.go_forward()
    await expect(tab.questions).to_have_count(0)
    await tab.page.go_forward()
    await expect(tab.heading).to_have_text("Write a letter")


async def test_an_answer_streams_and_can_be_stopped(tab: Tab, mine: UserStorage) -> None:
    """An answer that is stopped while it streams is shown so far, and stored with a mark."""
    await tab.box.fill("Please wait")
    await tab.box.press("Enter")
    await expect(tab.answers.last).to_have_text("So far so good")

    await tab.page.get_by_role("button", name="Stop the answer").click()

    await expect(tab.page.get_by_text("Stopped", exact=True).last).to_be_visible()
    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()
    await expect(tab.box).to_be_focused()
    await tab.page.reload()
    await expect(tab.answers.last).to_have_text("So far so goodStopped")
    question, answer = await mine.get_messages(tab.id)
    assert (question.metadata, answer.metadata) == ({}, {"stopped": True})
    assert answer.content == "So far so **good**"


async def test_an_answer_goes_on_when_its_tab_is_reloaded_or_closed(
    tab: Tab, open_tab: OpenTab, mine: UserStorage
) -> None:
    """An answer is the server's: a reloaded page and another tab join it where it is, and either can stop it."""
    so_far = 'So far so goodCalling weather{"city": "Os'
    await tab.box.fill("wait for a call")
    await tab.box.press("Enter")
    await expect(tab.answers.last).to_have_text(so_far)

    await tab.page.reload()
    await expect(tab.answers.last).to_have_text(so_far)
    await expect(tab.page.get_by_role("button", name="Stop the answer")).to_be_visible()
    other = await open_tab(f"/c/{tab.id}")
    await expect(other.answers.last).to_have_text(so_far)
    await tab.page.close()
    await other.page.get_by_role("button", name="Stop the answer").click()

    await expect(other.answers.last).to_have_text("So far so goodStopped")
    assert (await mine.get_messages(other.id))[-1].metadata == {"stopped": True}


async def test_an_answer_goes_on_while_another_conversation_is_looked_at(tab: Tab) -> None:
    """An answer continues while another conversation is open; on return the page shows its progress."""
    await tab.ask("A name, please")
    await tab.new_chat()
    await tab.box.fill("Please wait")
    await tab.box.press("Enter")
    await expect(tab.answers.last).to_have_text("So far so good")
    under_way = tab.id

    await tab.link("A name, please").click()
    await expect(tab.heading).to_have_text("A name, please")
    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()
    await tab.page.go_back()

    await expect(tab.page).to_have_url(re.compile(under_way))
    await expect(tab.answers.last).to_have_text("So far so good")
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()


async def test_answers_that_are_not_looked_at_take_no_connections(tab: Tab) -> None:
    """A browser has six connections to a host: with more answers under way than that, the page loads and stops one."""
    for number in range(7):
        if number:
            await tab.new_chat()
        await tab.box.fill(f"Please wait, {number}")
        await tab.box.press("Enter")
        await expect(tab.questions).to_have_text([f"Please wait, {number}"])

    await tab.page.reload()
    await expect(tab.answers.last).to_have_text("So far so good")
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.answers.last).to_have_text("So far so goodStopped")


async def test_a_question_is_edited_in_its_place(tab: Tab, mine: UserStorage) -> None:
    """An edited question takes the old one's place: later messages are in another branch, and it is answered."""
    await tab.ask("A name, please")
    await tab.ask("And a letter")

    await tab.act(tab.questions.first, "Edit")
    box = tab.page.get_by_role("textbox", name="Edit the message")
    await expect(box).to_have_value("A name, please")
    await box.fill("Bread, please")
    await box.press("Enter")

    await expect(tab.questions).to_have_text(["Bread, please"])
    await tab.answered()
    await expect(tab.answers).to_contain_text(["Usually it is the temperature"])
    assert [text for role, text in await stored(mine, tab) if role == "user"] == ["Bread, please"]
    assert len(await stored(mine, tab)) == 2


async def test_escape_leaves_a_question_as_it_was(tab: Tab, mine: UserStorage) -> None:
    """Escape cancels editing: nothing is sent, and the focus returns to the button."""
    await tab.ask("A name, please")

    await tab.act(tab.questions.first, "Edit")
    await tab.page.get_by_role("textbox", name="Edit the message").fill("Something else")
    await tab.page.keyboard.press("Escape")

    await expect(tab.questions).to_have_text(["A name, please"])
    await expect(tab.page.get_by_role("button", name="Edit", exact=True)).to_be_focused()
    assert len(await stored(mine, tab)) == 2


async def test_a_question_is_answered_once_more(tab: Tab, mine: UserStorage) -> None:
    """A new answer to a question keeps the question and its id; the old answer and later messages are deleted."""
    await tab.ask("A name, please")
    await tab.ask("And a letter")
    question, answer, *_ = await mine.get_messages(tab.id)

    await tab.act(tab.answers.first, "Answer again")
    await expect(tab.questions).to_have_count(1)
    await tab.answered()

    again = await mine.get_messages(tab.id)
    assert len(again) == 2
    assert again[0].id == question.id
    assert again[1].id != answer.id
    assert again[1].metadata == {}


async def test_a_conversation_is_forked_at_a_message(tab: Tab, mine: UserStorage) -> None:
    """A fork ends at the message, names its source, and is independent; the source stays."""
    await tab.ask("A name, please")
    await tab.ask("And a letter")
    original = tab.id

    await tab.act(tab.answers.first, "Fork from here")
    await expect(tab.page).not_to_have_url(re.compile(original))
    await expect(tab.questions).to_have_text(["A name, please"])
    await tab.ask("Bread, rather")

    assert [text for role, text in await stored(mine, tab) if role == "user"] == ["A name, please", "Bread, rather"]
    await tab.page.get_by_role("link", name="Forked from another conversation").click()
    await expect(tab.page).to_have_url(re.compile(original))
    await expect(tab.questions).to_have_text(["A name, please", "And a letter"])


async def is_copied(tab: Tab, beginning: str) -> None:
    """Wait until the clipboard has a text with this beginning."""
    async with asyncio.timeout(60):
        while not (await tab.page.evaluate("navigator.clipboard.readText()")).startswith(beginning):
            pass


async def test_a_message_is_copied(tab: Tab) -> None:
    """Copying a message copies the model's Markdown; a code block has a copy button of its own."""
    await tab.ask("Show me a Python program")

    await tab.act(tab.answers.last, "Copy")
    await is_copied(tab, "Here is a small one")
    await tab.page.get_by_role("button", name="Copy the code").click()
    await is_copied(tab, "import asyncio")


SCROLLED_UP = """async () => {
    const scroller = document.getElementById("scroller");
    const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const [seen, moves] = [new Set(), []];
    for (let most = 0, step = 0; step < 2000; step += 1) {
        const there = [...document.querySelectorAll(".message")];
        there.forEach(each => seen.add(each.querySelector(".body").innerText));
        most = Math.max(most, there.length);
        if (seen.has("Message 0")) return { seen: seen.size, most, moves };
        const read = there.find(each => each.getBoundingClientRect().top > 200);
        const [top, by] = [read.getBoundingClientRect().top, Math.min(scroller.scrollTop, 250)];
        scroller.scrollTop -= by;
        await drawn();
        moves.push(Math.round(read.getBoundingClientRect().top - top - by));
    }
}"""


async def test_older_messages_load_on_scrolling_up(tab: Tab, mine: UserStorage) -> None:
    """
    The newest messages are shown at once; older ones load on scrolling up, without moving the visible ones.

    Those far from the visible part are not on the page.
    """
    await mine.create_conversation({"id": "long-" + mine.user_id, "title": "Long"})
    spoken = [{"role": ("user", "assistant")[number % 2], "content": f"Message {number}"} for number in range(100)]
    await mine.add_messages(spoken, "long-" + mine.user_id)

    await tab.open(f"/c/long-{mine.user_id}")
    await expect(tab.message("Message 99")).to_be_in_viewport()
    found = await tab.page.evaluate(SCROLLED_UP)
    assert found["seen"] == 100
    assert max(map(abs, found["moves"])) <= 1  # browsers round the heights of what is above
    assert found["most"] < 40

    await tab.page.get_by_role("button", name="Newest").click()
    await expect(tab.message("Message 99")).to_be_in_viewport()
    assert await tab.page.locator(".message").count() < 40


async def height(element: Locator) -> float:
    box = await element.bounding_box()
    assert box is not None
    return box["height"]


async def test_shift_enter_breaks_the_line_and_the_box_grows(tab: Tab) -> None:
    """Shift+Enter breaks the line, Enter sends, and the box grows; an empty box is not sent."""
    await expect(tab.page.get_by_role("button", name="Send")).to_be_disabled()
    low = await height(tab.box)
    await tab.box.press_sequentially("One")
    await tab.box.press("Shift+Enter")
    await tab.box.press_sequentially("Two")

    assert await height(tab.box) > low
    await tab.box.press("Enter")
    await expect(tab.questions).to_have_text(["One\nTwo"])
    await tab.answered()


async def test_the_box_fits_its_text_in_every_width(tab: Tab) -> None:
    """When the page gets another width, the box gets the height of the lines that its text has then."""
    await tab.box.fill("word " * 60)
    heights = []

    for width in (1440, 390, 1440):
        await tab.page.set_viewport_size({"width": width, "height": 800})
        await tab.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert await tab.box.evaluate("box => box.scrollHeight === box.clientHeight")
        heights.append(await height(tab.box))

    assert heights[0] == heights[2] < heights[1]


async def test_nothing_that_a_model_writes_is_run(tab: Tab, mine: UserStorage) -> None:
    """HTML in an answer is shown as text, and links lead only to web addresses."""
    text = "<img src=x onerror=alert(1)> [a](javascript:alert%281%29) [b](https://example.org/) **<b>bold</b>**"
    await mine.create_conversation({"id": "evil-" + mine.user_id, "title": "<b>Evil</b>"})
    await mine.add_message({"role": "assistant", "content": text}, "evil-" + mine.user_id)

    await tab.open(f"/c/evil-{mine.user_id}")

    await expect(tab.answers).to_have_text("<img src=x onerror=alert(1)> [a](javascript:alert%281%29) b <b>bold</b>")
    links = tab.answers.get_by_role("link")
    await expect(links).to_have_count(1)
    await expect(links).to_have_attribute("rel", "noopener noreferrer")
    await expect(tab.heading).to_have_text("<b>Evil</b>")
    await expect(tab.titles).to_have_text(["<b>Evil</b>"])


@pytest.mark.parametrize(("asked", "said"), [("Please fail", "Half an answer"), ("Please break", None)])
async def test_a_model_that_fails_says_so_in_place(tab: Tab, mine: UserStorage, asked: str, said: str | None) -> None:
    """An answer that failed says so in the conversation, also after a reload, and can be asked for again."""
    await tab.box.fill(asked)
    await tab.box.press("Enter")
    failed = tab.page.get_by_role("note").filter(has_text="The answer failed.")

    await expect(failed).to_be_visible()
    await tab.page.reload()
    await expect(failed).to_be_visible()
    if said is not None:
        await expect(tab.answers.last).to_contain_text(said)
        assert (await mine.get_messages(tab.id))[-1].metadata == {"failed": True}
    await failed.get_by_role("button", name="Ask again").click()
    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()

    await expect(failed).to_be_visible()
    await expect(tab.questions).to_have_text([asked])
    versions = [] if said is None else ["2/2"]
    await expect(tab.page.locator(".branches")).to_have_text(versions)


async def test_the_versions_of_questions_and_answers_stay(tab: Tab) -> None:
    """An edited question and an answer that was asked for again are branches, among which a person goes back."""
    await tab.ask("A name, please")
    await tab.act(tab.questions.first, "Edit")
    box = tab.page.get_by_role("textbox", name="Edit the message")
    await box.fill("Bread, please")
    await box.press("Enter")
    await expect(tab.questions).to_have_text(["Bread, please"])
    await tab.answered()
    await tab.act(tab.answers.last, "Answer again")
    await expect(tab.page.locator(".branches")).to_have_text(["2/2", "2/2"])

    await tab.act(tab.questions.first, "Previous version")

    await expect(tab.questions).to_have_text(["A name, please"])
    await expect(tab.answers).to_contain_text(["Tern"])
    await tab.page.reload()
    await expect(tab.questions).to_have_text(["A name, please"])
    await tab.act(tab.questions.first, "Next version")
    await expect(tab.answers).to_contain_text(["Usually it is the temperature"])


async def test_a_person_decides_about_calls(tab: Tab, mine: UserStorage) -> None:
    """Calls that need approval are asked about, also after a reload; once all are decided, the answer goes on."""
    await tab.box.fill("Please delete both")
    await tab.box.press("Enter")
    await expect(tab.page.get_by_role("button", name="Allow delete")).to_have_count(2)
    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()

    await tab.page.reload()
    await tab.page.get_by_role("button", name="Allow delete").first.click()
    await expect(tab.page.get_by_text("Allowed", exact=True)).to_be_visible()
    await tab.page.get_by_role("button", name="Deny delete").click()

    await expect(tab.answers.last).to_contain_text("a.txt is gone. b.txt is still there.")
    await expect(tab.answers).to_have_count(1)
    await expect(tab.page.locator(".approval")).to_have_count(0)
    await tab.page.reload()
    await expect(tab.answers.last).to_contain_text("Let me see.")
    await expect(tab.answers.last).to_contain_text("a.txt is gone. b.txt is still there.")
    await expect(tab.page.locator(".approval")).to_have_count(0)
    assert len(await mine.get_messages(tab.id)) == 2


async def test_a_call_that_nobody_decides_about_is_not_called(tab: Tab, open_tab: OpenTab) -> None:
    """Once something else is asked, a call that waits says that nobody decided: at once, elsewhere, and reloaded."""
    undecided = ["Did not call delete: nobody decided"] * 2
    late = await tab.held(re.compile("/answers$"))  # the answer itself says that it waits
    await tab.ask("Please delete both")
    summaries = tab.answers.first.locator(".tool summary")
    await expect(tab.page.get_by_role("button", name="Allow delete")).to_have_count(2)
    await expect(summaries).to_have_text(["Asks to call delete"] * 2)
    late.set()
    other = await open_tab(f"/c/{tab.id}")
    await expect(other.page.get_by_role("button", name="Allow delete")).to_have_count(2)

    await tab.ask("A name, please")

    for each in (tab, other):
        await expect(each.answers.first.locator(".tool summary")).to_have_text(undecided)
        await expect(each.page.locator(".approval")).to_have_count(0)
    await tab.page.reload()
    await expect(summaries).to_have_text(undecided)
    await expect(tab.answers.first.locator(".tool pre")).to_have_count(2)  # the inputs, and nothing that failed


async def test_only_the_answer_that_waits_asks(tab: Tab) -> None:
    """Answered again, a question asks about the calls of its new answer only; the version before it was not called."""
    await tab.ask("Please delete both")
    allow, summaries = tab.page.get_by_role("button", name="Allow delete"), tab.answers.locator(".tool summary")
    await expect(allow).to_have_count(2)

    await tab.act(tab.answers.first, "Answer again")
    await expect(tab.page.get_by_text("2/2")).to_be_visible()
    await expect(allow).to_have_count(2)
    await tab.act(tab.answers.first, "Previous version")
    await expect(summaries).to_have_text(["Did not call delete: nobody decided"] * 2)
    await expect(allow).to_have_count(0)

    await tab.act(tab.answers.first, "Next version")
    await expect(summaries).to_have_text(["Asks to call delete"] * 2)
    await expect(allow).to_have_count(2)


async def test_another_users_conversation_is_not_there(tab: Tab, open_tab: OpenTab) -> None:
    """Another user's conversation can be neither read nor written to: it looks missing."""
    await tab.ask("A name, please")

    stranger = await open_tab(f"/c/{tab.id}", user=f"mallory-{tab.id}")

    await expect(stranger.notice("There is no such conversation.")).to_be_visible()
    await expect(stranger.page).to_have_url(re.compile("/$"))
    asked = await stranger.page.request.post(
        f"{stranger.address}/api/chat", data={"conversationId": tab.id, "messageId": "m", "text": "Let me in"}
    )
    assert asked.status == 404
    stranger.expected = ["404"]


async def test_a_link_to_a_message_that_is_gone_leads_to_the_end(tab: Tab) -> None:
    """A link to a deleted message opens the conversation at its end, with a notice."""
    await tab.ask("A name, please")
    address = tab.page.url

    await tab.new_chat()
    await tab.open(f"/c/{address.partition('/c/')[2]}#nope")

    await expect(tab.notice("That message no longer exists")).to_be_visible()
    await expect(tab.page).to_have_url(address)
    await expect(tab.questions).to_have_text(["A name, please"])
    tab.expected = ["404"]


async def test_a_percent_sign_in_an_address_is_one(tab: Tab) -> None:
    """An unencoded percent sign in an address is read literally."""
    await tab.ask("A name, please")

    await tab.open(f"/c/{tab.id}#50%")

    await expect(tab.notice("That message no longer exists")).to_be_visible()
    await expect(tab.questions).to_have_text(["A name, please"])
    tab.expected = ["404"]


async def test_where_nothing_can_be_copied_it_says_so(tab: Tab) -> None:
    """If the browser has no clipboard, as on an unencrypted page of another machine, copying says so."""
    await tab.ask("A name, please")
    await tab.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")

    await tab.act(tab.answers.last, "Copy")

    await expect(tab.notice("The browser doesn’t let this page copy.")).to_be_visible()


async def test_an_answer_that_ends_before_it_is_joined_is_shown(tab: Tab, open_tab: OpenTab) -> None:
    """A page that was told of an answer under way shows it whole, also if it has ended when the page joins it."""
    await tab.box.fill("Please wait")
    await tab.box.press("Enter")
    await expect(tab.answers).to_have_text(["So far so good"])
    other = await open_tab()
    late = await other.held(re.compile("/stream$"))
    async with other.page.expect_request(re.compile("/stream$")):
        await other.link("Please wait").click()

    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(other.row("Please wait")).to_contain_text("So far so good")
    late.set()

    await expect(other.answers).to_contain_text(["So far so good"])
    await expect(other.page.get_by_text("Stopped", exact=True)).to_be_visible()


async def test_an_answer_whose_connection_breaks_goes_on(tab: Tab) -> None:
    """When the connection of an answer breaks, the page joins it again where it was, and nothing is shown twice."""
    await tab.ask("A name, please")
    await tab.page.evaluate(
        """() => {
            const fetched = window.fetch;
            window.fetch = async (url, options) => {
                const response = await fetched(url, options);
                if (!url.endsWith("/api/chat")) return response;
                const reader = response.body.getReader();
                const { value } = await reader.read();
                await reader.cancel();
                const start = controller => controller.enqueue(value);
                const pull = controller => controller.error(new TypeError("network error"));
                return new Response(new ReadableStream({ start, pull }, { highWaterMark: 0 }));
            };
        }"""
    )

    await tab.box.fill("Please wait")
    await tab.box.press("Enter")

    await expect(tab.answers.last).to_have_text("So far so good")
    await expect(tab.questions).to_have_text(["A name, please", "Please wait"])
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.answers.last).to_have_text("So far so goodStopped")
