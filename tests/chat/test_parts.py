"""What a message says is shown, whoever wrote it: text, reasoning, tools, pictures, files, sources."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import JsonValue

from tests.across.columns import CANNOT, WRITERS
from tests.across.said import BY_BYTES, Call, Model, User
from tests.chat.conftest import OpenTab
from tests.chat.tab import Tab, expect
from voltmem import PostgresStorage, UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def storage(served: tuple[str, PostgresStorage]) -> AsyncIterator[PostgresStorage]:
    """The storage with the conversation c1 of ada, which the writers fill."""
    await served[1].create_conversation({"id": "c1", "user_id": "ada", "title": "Of a framework"})
    yield served[1]
    await served[1].delete_user("ada")


@pytest.mark.parametrize("writer", WRITERS)
async def test_what_every_framework_writes_is_shown(writer: str, storage: PostgresStorage, open_tab: OpenTab) -> None:
    """The question with its picture; folded: the reasoning, the call with its result; the answer."""
    cannot = CANNOT.get(writer, frozenset())
    has_picture = "picture by bytes" not in cannot
    has_reasoning = "reasoning" not in cannot and writer != "ChatGPT"  # an import leaves it out, and counts it
    look = Model("Let me see.", [Call("k1", "RAIN-42")], reasoning="Norway is wet." if has_reasoning else "")
    await WRITERS[writer](
        storage, [User("What is it?", [BY_BYTES] if has_picture else []), look, Model("It **rains**.")]
    )

    tab = await open_tab("/c/c1", user="ada")

    await expect(tab.questions).to_have_text(["What is it?"])
    await expect(tab.page.get_by_role("img", name="Picture")).to_have_count(int(has_picture))
    if has_picture:
        await expect(tab.page.get_by_role("img", name="Picture")).to_have_js_property("naturalWidth", 1)
    await expect(tab.page.get_by_text("Norway is wet.")).to_be_hidden()
    if has_reasoning:
        timed = writer == "the chat"  # which knows how long it took
        await tab.page.get_by_text("Thought for a moment" if timed else "Reasoning", exact=True).click()
        await expect(tab.page.get_by_text("Norway is wet.")).to_be_visible()
    await expect(tab.page.get_by_text("RAIN-42")).to_be_hidden()
    await tab.page.get_by_text("Called weather").click()
    await expect(tab.page.get_by_text("RAIN-42")).to_be_visible()
    await expect(tab.page.get_by_text("Oslo")).to_be_visible()
    await expect(tab.page.get_by_text("Let me see.", exact=True)).to_be_visible()
    await expect(tab.answers.last.locator("strong")).to_have_text("rains")


async def shown(mine: UserStorage, tab: Tab, messages: list[dict[str, Any]]) -> None:
    conversation = await mine.create_conversation({"title": "Parts"})
    await mine.add_messages(messages, conversation.id)
    await tab.open(f"/c/{conversation.id}")


async def test_each_state_of_a_call_is_shown(tab: Tab, mine: UserStorage) -> None:
    """A call that failed, was denied, that nobody has decided about, or was passed over says so, with the reason."""

    def call(name: str, state: str, **more: JsonValue) -> dict[str, JsonValue]:
        return {"type": f"tool-{name}", "toolCallId": name, "state": state, "input": {"city": "Oslo"}, **more}

    denied: JsonValue = {"id": "a1", "approved": False, "reason": "Too late."}
    parts = [
        call("a", "output-error", errorText="It broke."),
        call("b", "output-denied", approval=denied),
        call("c", "approval-requested", approval={"id": "a2"}),
    ]
    passed_over: list[dict[str, Any]] = [
        {"role": "assistant", "parts": [call("d", "input-available")]},
        {"role": "user", "content": "So?"},
    ]
    await shown(mine, tab, [*passed_over, {"role": "assistant", "parts": parts}])

    tools = tab.page.locator(".tool summary")
    await expect(tools).to_have_text(
        ["Failed to call d", "Failed to call a", "Was not allowed to call b", "Did not call c: nobody decided"]
    )
    for text in ("It broke.", "Too late."):
        await tools.nth(1 if text == "It broke." else 2).click()
        await expect(tab.page.get_by_text(text)).to_be_visible()


async def test_files_are_chips_and_other_sites_are_not_loaded(tab: Tab, mine: UserStorage) -> None:
    """A document, a picture of another site and a source are named, with links; nothing is requested from elsewhere."""
    parts: list[JsonValue] = [
        {
            "type": "file",
            "mediaType": "application/pdf",
            "filename": "bread.pdf",
            "url": "data:application/pdf;base64,AA",
        },
        {"type": "file", "mediaType": "image/png", "url": "https://x.test/a.png"},
        {"type": "source-url", "sourceId": "s", "url": "https://x.test/bread", "title": "On bread"},
        {"type": "source-url", "sourceId": "t", "url": "javascript:alert(1)", "title": "Not a link"},
        {"type": "file"},
        {"type": "data-weather", "data": {"secret": 1}},
        {"type": "text", "text": "Here."},
    ]
    await shown(mine, tab, [{"role": "assistant", "parts": parts}])

    await expect(tab.page.locator(".chip")).to_have_text(["bread.pdf", "image/png"])
    await expect(tab.page.locator(".sources li bdi")).to_have_text(["On bread", "Not a link"])
    links = tab.answers.get_by_role("link")
    await expect(links).to_have_text(["image/png", "On bread"])
    await expect(links.last).to_have_attribute("href", "https://x.test/bread")
    await expect(tab.answers).to_contain_text("Here.")
    await expect(tab.answers).not_to_contain_text("secret")


async def test_what_the_system_says_is_not_shown(tab: Tab, mine: UserStorage) -> None:
    """Instructions are no part of the conversation that a person reads."""
    instructions = [{"role": role, "content": f"Secret of the {role}"} for role in ("system", "developer")]
    await shown(
        mine, tab, [*instructions, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    )

    await expect(tab.page.locator(".message .body")).to_have_text(["Hello", "Hi"])


async def test_a_link_to_a_result_leads_to_its_call(tab: Tab, mine: UserStorage) -> None:
    """The message of a tool's result is shown with the call, so a link to it opens the call."""
    named = {"toolCallId": "1", "toolName": "weather"}
    call = {
        "role": "assistant",
        "type": "tool-call",
        "content": [{"type": "tool-call", **named, "args": {"in": "Oslo"}}],
    }
    result = {"role": "tool", "type": "tool-result", "content": [{"type": "tool-result", **named, "result": "rain"}]}
    await shown(mine, tab, [{"role": "user", "content": "Coat?"}, call, {"id": "r", **result}])

    await tab.page.goto(f"{tab.page.url}#r")
    await tab.page.reload()

    await expect(tab.page.get_by_text("rain")).to_be_visible()
    await expect(tab.page.locator(".message-found")).to_contain_text("Called weather")
