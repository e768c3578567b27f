"""The chat is accessible: by name and role, by keyboard, in both themes, on a phone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Tab, expect
from tests.checkout import ROOT
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKENS = (ROOT / "voltmem" / "chat" / "static" / "tokens.css").read_text()
AA = 4.5
LARGE = 3.0


async def test_all_of_it_has_a_name_and_a_role(tab: Tab) -> None:
    """Landmarks, headings, lists and the log of messages have names and roles for screen readers."""
    await tab.ask("A name, please")
    await expect(tab.heading).to_have_text("A name, please")

    await expect(tab.page.get_by_role("navigation", name="Conversations")).to_be_visible()
    await expect(tab.page.get_by_role("search")).to_be_visible()
    await expect(tab.page.get_by_role("main")).to_be_visible()
    await expect(tab.page.get_by_role("list", name="Today").get_by_role("listitem")).to_have_count(1)
    log = tab.page.get_by_role("log", name="Messages")
    await expect(log.get_by_role("article")).to_have_count(2)
    await expect(log.get_by_role("article", name="You")).to_contain_text("A name, please")
    await expect(log.get_by_role("article", name="Assistant")).to_contain_text("Tern")
    await expect(tab.page.get_by_role("form", name="New message")).to_be_visible()
    nameless = await tab.page.evaluate(
        """[...document.querySelectorAll("button, a, input, textarea")]
            .filter(each => !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
            .map(each => each.outerHTML)"""
    )
    assert nameless == []


async def test_an_answer_is_announced_once(tab: Tab) -> None:
    """An answer is not announced while it streams, and is announced once when it is complete."""
    await tab.page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => window.said.push(document.getElementById("announcer").textContent))
                .observe(document.getElementById("announcer"), { childList: true });
        }"""
    )

    await tab.ask("A name, please")

    await expect(tab.page.locator("#announcer")).to_contain_text("people who hear it can spell it.")
    said = await tab.page.evaluate("window.said")
    assert said[0] == "Answering"
    assert len(said) == 2
    assert await tab.page.get_by_role("log").get_attribute("aria-live") == "off"


async def test_the_first_tab_stop_skips_the_sidebar(tab: Tab) -> None:
    """The first Tab stop leads to the message box, in any conversation; the focus is visible at each stop."""
    await tab.ask("A name, please")
    address = tab.page.url
    await tab.page.locator(".wordmark").focus()
    await tab.page.keyboard.press("Shift+Tab")
    skip = tab.page.get_by_role("link", name="Skip to the message box")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await tab.page.keyboard.press("Enter")
    await expect(tab.box).to_be_focused()
    await expect(tab.page).to_have_url(address)

    await tab.page.locator("#new-chat").focus()
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Shift+Tab")
    outline = await tab.page.locator("#new-chat").evaluate("each => getComputedStyle(each).outlineWidth")
    assert outline == "2px"


async def test_the_theme_is_the_systems_until_one_is_chosen(open_tab: OpenTab) -> None:
    """The button switches between system, light and dark; the choice survives a reload, and is applied at once."""
    tab = await open_tab(dark=True)
    color = "getComputedStyle(document.documentElement).backgroundColor"
    dark = await tab.page.evaluate(color)

    await tab.page.get_by_role("button", name="Theme: system").click()
    await expect(tab.page.get_by_role("button", name="Theme: light")).to_be_visible()
    light = await tab.page.evaluate(color)
    assert light != dark
    await tab.page.reload()
    assert await tab.page.evaluate(color) == light
    await tab.page.get_by_role("button", name="Theme: light").click()
    assert await tab.page.evaluate(color) == dark
    await tab.page.emulate_media(color_scheme="light")
    assert await tab.page.evaluate(color) == dark
    await tab.page.get_by_role("button", name="Theme: dark").click()
    assert await tab.page.evaluate(color) == light


def colors() -> dict[str, tuple[str, str]]:
    return {
        name: (light, dark) for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", TOKENS)
    }


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground", "least"),
    [
        *(("ink", ground, AA) for ground in ("paper", "rail", "raised", "hover", "selected", "tint")),
        *(("soft", ground, AA) for ground in ("paper", "rail", "raised", "hover", "selected")),
        *(("faint", ground, AA) for ground in ("paper", "rail", "raised", "hover")),
        *(("accent", ground, AA) for ground in ("paper", "rail", "raised")),
        ("on-accent", "accent", AA),
        ("on-accent", "accent-hover", AA),
        ("on-mark", "mark", AA),
        ("danger", "raised", AA),
        ("paper", "ink", AA),
        ("strong-line", "paper", LARGE),
        ("strong-line", "raised", LARGE),
    ],
)
async def test_text_can_be_read(text: str, ground: str, least: float, theme: int) -> None:
    """Every text colour has the contrast of WCAG AA on each of its backgrounds, in both themes."""
    assert contrast(colors()[text][theme], colors()[ground][theme]) >= least


async def test_reduced_motion_is_respected(tab: Tab) -> None:
    """Animations end at once if the system asks for reduced motion."""
    await tab.page.emulate_media(reduced_motion="reduce")
    await tab.box.fill("wait")
    await tab.box.press("Enter")
    await expect(tab.answers.last).to_have_text("So far so good")

    durations = await tab.page.evaluate(
        """document.getAnimations().map(each => each.effect.getComputedTiming())
            .map(each => each.duration * each.iterations)"""
    )

    assert [each for each in durations if each > 1] == []
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await expect(tab.page.get_by_role("button", name="Send")).to_be_visible()


TOO_SMALL = """
    [...document.querySelectorAll("button, .row-link, .new-chat")]
        .filter(each => each.checkVisibility({visibilityProperty: true, contentVisibilityAuto: true}))
        .filter(each => !each.closest("figure"))
        .map(each => [each.getBoundingClientRect(), each.ariaLabel || each.textContent])
        .filter(([box]) => Math.round(box.width) < 44 || Math.round(box.height) < 44)
        .map(([box, name]) => `${name} ${box.width}x${box.height}`)"""


# --- on a phone ---------------------------------------------------------------------------------------------------


async def test_on_a_phone_the_sidebar_is_a_drawer(mine: UserStorage, open_tab: OpenTab) -> None:
    """On a phone the sidebar is a drawer, closed by the button, the scrim, Escape or a choice."""
    conversation = await mine.create_conversation({"title": "First"})
    await mine.add_message({"role": "user", "content": "Hello"}, conversation.id)
    tab = await open_tab(phone=True)
    sidebar = tab.page.get_by_role("navigation", name="Conversations")
    opener = tab.page.get_by_role("button", name="Conversations", exact=True)
    await expect(sidebar).to_be_hidden()
    await expect(tab.box).not_to_be_focused()

    await opener.tap()
    await expect(tab.link("First")).to_be_in_viewport()
    await expect(tab.box).to_have_role("textbox")
    assert await tab.page.locator("#main").evaluate("main => main.inert")
    await expect(tab.page.locator("#new-chat")).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(sidebar).to_be_hidden()
    await expect(opener).to_be_focused()
    await opener.tap()
    await tab.page.touchscreen.tap(380, 400)
    await expect(sidebar).to_be_hidden()
    await opener.tap()
    await tab.page.get_by_role("button", name="Close the sidebar").tap()
    await expect(sidebar).to_be_hidden()
    await opener.tap()
    await tab.link("First").tap()

    await expect(sidebar).to_be_hidden()
    await expect(tab.questions).to_have_text(["Hello"])
    await expect(opener).to_have_attribute("aria-expanded", "false")


async def test_on_a_phone_all_can_be_touched(open_tab: OpenTab) -> None:
    """
    On a phone buttons are at least 44 pixels each way, nothing is wider than the screen, and typing does not zoom.
    """
    tab = await open_tab(phone=True)
    await tab.ask("Show me a Python program, and explain it")
    await expect(tab.heading).to_have_text("Show me a Python program, and explain it")

    assert await tab.page.evaluate(TOO_SMALL) == []
    await tab.page.get_by_role("button", name="Conversations", exact=True).tap()
    await expect(tab.rows).to_have_count(1)
    assert await tab.page.evaluate(TOO_SMALL) == []
    await tab.page.get_by_role("button", name=re.compile("^Actions for Show")).tap()
    await expect(tab.page.get_by_role("menuitem", name="Delete")).to_be_in_viewport(ratio=1)
    assert await tab.page.evaluate(TOO_SMALL) == []
    assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = "[...document.querySelectorAll('input, textarea')].map(each => parseFloat(getComputedStyle(each).fontSize))"
    assert min(await tab.page.evaluate(sizes)) >= 16


# --- by keyboard alone --------------------------------------------------------------------------------------------


async def press_at(tab: Tab, name: str, key: str = "Enter", *, backwards: bool = False) -> None:
    """Press the Tab key until the focus is on what has this name, then another key."""
    wanted = tab.page.locator(":focus").and_(tab.page.get_by_role("button", name=name))
    for _ in range(60):
        if await wanted.count():
            return await tab.page.keyboard.press(key)
        await tab.page.keyboard.press("Shift+Tab" if backwards else "Tab")
    raise AssertionError(f"the Tab key does not lead to {name}")


async def test_a_keyboard_does_everything_in_a_conversation(tab: Tab) -> None:
    """The keyboard alone sends, stops, edits, shows versions, rates, copies, asks again and approves."""
    keys = tab.page.keyboard
    await expect(tab.box).to_be_focused()
    await keys.type("Please wait")
    await keys.press("Enter")
    await expect(tab.answers.last).to_have_text("So far so good")
    await press_at(tab, "Stop the answer")
    await expect(tab.page.locator(".stopped")).to_be_visible()
    await expect(tab.box).to_be_focused()

    await keys.press("ArrowUp")
    await keys.press("Control+a")
    await keys.type("A name, please")
    await keys.press("Enter")
    await expect(tab.answers.last).to_contain_text("Tern")
    await tab.answered()
    await press_at(tab, "Previous version", backwards=True)
    await expect(tab.questions).to_have_text(["Please wait"])
    await expect(tab.page.get_by_role("button", name="Next version")).to_be_focused()
    await keys.press("Enter")
    await expect(tab.questions).to_have_text(["A name, please"])
    await expect(tab.page.get_by_role("button", name="Previous version")).to_be_focused()
    await press_at(tab, "Good answer", "Space")
    await expect(tab.page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    await expect(tab.page.get_by_role("button", name="Good answer")).to_be_focused()
    await press_at(tab, "Copy", backwards=True)
    assert "Tern" in await tab.page.evaluate("navigator.clipboard.readText()")

    await tab.box.focus()
    await keys.type("Please delete")
    await keys.press("Enter")
    await expect(tab.page.get_by_role("group", name="Approval")).to_be_visible()
    await press_at(tab, "Allow delete", backwards=True)
    await press_at(tab, "Deny delete")
    await expect(tab.answers.last).to_contain_text("gone")
    await expect(tab.answers.last).to_contain_text("still there")


# --- enlarged, in the system's colours, from right to left, on paper ----------------------------------------------

WIDE: list[dict[str, Any]] = [
    {"role": "user", "content": "w" * 300},
    {
        "role": "assistant",
        "parts": [
            {
                "type": "text",
                "text": "\n\n".join(
                    [
                        "w" * 300,
                        "`" + "x" * 300 + "`",
                        "```\n" + "y" * 300 + "\n```",
                        "|" + "wide |" * 40 + "\n|" + "---|" * 40 + "\n|" + "cell |" * 40,
                        "$$" + "x+" * 100 + "y$$",
                        "https://x.test/" + "z" * 300,
                    ]
                ),
            },
            {
                "type": "tool-a",
                "toolCallId": "k1",
                "state": "output-available",
                "input": "i" * 300,
                "output": "o",
            },
            {"type": "source-url", "sourceId": "s", "url": "https://x.test/" + "s" * 300, "title": "t" * 300},
        ],
    },
]


async def test_enlarged_to_400_percent_nothing_is_scrolled_sideways(mine: UserStorage, open_tab: OpenTab) -> None:
    """On 320 CSS pixels (1,280 at 400 %) a long word, code, a table and a formula widen nothing; nor do dialogs."""
    conversation = await mine.create_conversation({"title": "wide" * 40})
    await mine.add_messages(WIDE, conversation.id)
    tab = await open_tab()
    await tab.page.set_viewport_size({"width": 320, "height": 256})
    await tab.open(f"/c/{conversation.id}")
    await tab.page.locator("summary").click()
    await expect(tab.page.locator(".sources li")).to_be_visible()
    too_wide = """() =>
        [document.documentElement, ...document.querySelectorAll(".scroller, dialog[open], .menu:popover-open")]
        .filter(each => each.scrollWidth > each.clientWidth || each.getBoundingClientRect().right > 320)
        .map(each => `${each.className || each.tagName} ${each.scrollWidth} ${each.clientWidth}`)"""

    assert await tab.page.evaluate(too_wide) == []
    # What stands below an answer is below it, also where the time has no room beside the buttons.
    below = """() => { const answer = [...document.querySelectorAll(".message-assistant")].at(-1);
        const [body, time] = [".body", ".actions time"].map(each => answer.querySelector(each).getBoundingClientRect());
        return [time.top >= body.bottom, time.height < 30]; }"""
    assert await tab.page.evaluate(below) == [True, True]
    await expect(tab.box).to_be_in_viewport(ratio=1)
    for key in ("Control+k", "?"):
        await tab.page.locator("#conversation-menu").focus()
        await tab.page.keyboard.press(key)
        await expect(tab.page.get_by_role("dialog")).to_be_visible()
        assert await tab.page.evaluate(too_wide) == []
        await tab.page.keyboard.press("Escape")
    await tab.page.locator("#conversation-menu").click()
    await tab.page.get_by_role("menuitem", name="Share …").click()
    await tab.page.get_by_role("button", name="Create a link").click()
    await expect(tab.page.get_by_role("dialog").get_by_role("textbox")).to_be_visible()
    assert await tab.page.evaluate(too_wide) == []


async def test_in_forced_colours_every_state_is_seen(mine: UserStorage, tab: Tab) -> None:
    """In the system's colours, what only a colour would tell has a line: a rating, the open row, a question's box."""
    await tab.ask("A name, please")
    await tab.page.emulate_media(forced_colors="active")
    await tab.page.get_by_role("button", name="Good answer").click()
    pressed = tab.page.locator(".actions [aria-pressed=true]")
    await expect(pressed).to_have_count(1)

    outline = "each => getComputedStyle(each).outlineStyle"
    assert await pressed.evaluate(outline) == "solid"
    assert await tab.page.locator("#list [aria-current]").evaluate(outline) == "solid"
    border = "each => getComputedStyle(each).borderTopStyle"
    assert await tab.questions.first.evaluate(border) == "solid"
    assert await tab.page.locator(".composer-box").evaluate(border) == "solid"


async def test_text_from_right_to_left_runs_so(mine: UserStorage, tab: Tab) -> None:
    """Each paragraph, title, question and box runs in the direction of its first letter; code from left to right."""
    conversation = await mine.create_conversation({"title": "سؤال عن الخبز"})
    text = "مرحبا بك.\n\nHello there.\n\n- واحد\n- اثنان\n\n```\nx = 1\n```"
    await mine.add_messages(
        [{"role": "user", "content": "كيف حالك؟"}, {"role": "assistant", "content": text}], conversation.id
    )
    await tab.open(f"/c/{conversation.id}")

    direction = "each => getComputedStyle(each).direction"
    for place, expected in (
        (tab.questions.first, "rtl"),
        (tab.answers.locator("p").first, "rtl"),
        (tab.answers.locator("p").nth(1), "ltr"),
        (tab.answers.locator("ul"), "rtl"),
        (tab.answers.locator("pre"), "ltr"),
        (tab.heading, "rtl"),
        (tab.page.locator("#list .row-title"), "rtl"),
    ):
        assert await place.evaluate(direction) == expected
    await tab.box.fill("شكرا")
    assert await tab.box.evaluate(direction) == "rtl"


SEEN = """[...document.querySelectorAll("button, nav, input, textarea, form, .toast, a, .composer-note")]
    .filter(each => each.checkVisibility()).map(each => each.outerHTML)"""


async def test_on_paper_there_is_the_conversation_and_nothing_else(mine: UserStorage, tab: Tab) -> None:
    """
    In print there are the title and the messages, none of them cut off: no sidebar, no box, no buttons.

    Ctrl+P prints all messages, also those that are not loaded, with formulas and what was folded; then it is gone.
    """
    conversation = await mine.create_conversation({"title": "On paper"})
    said: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[n % 2], "content": f"Said {n} with $x^2$\n\n```\ncode\n```\n" + "line\n\n" * 9}
        for n in range(49)
    ]
    wide = "```\n" + "wide " * 50 + "w" * 200 + "\n```\n\n$$" + "a + b = " * 60 + "c$$\n"
    said.append({"role": "assistant", "content": wide})
    await mine.add_messages(said, conversation.id)
    await tab.open(f"/c/{conversation.id}")
    await tab.page.emulate_media(media="print")

    assert await tab.page.evaluate(SEEN) == []
    await expect(tab.heading).to_be_visible()
    heights = "[document.getElementById('messages').getBoundingClientRect().height, document.body.scrollHeight]"
    messages, page = await tab.page.evaluate(heights)
    assert page >= messages > 3000
    await tab.page.evaluate("window.print = () => (window.isPrinting = true)")
    await tab.page.keyboard.press("Control+p")
    await tab.page.wait_for_function("window.isPrinting")
    printed = tab.page.locator(".printed")
    cut_off = """() => [...document.querySelectorAll(".printed :is(pre, .formula-displayed, .table)")]
        .filter(each => each.scrollWidth > each.clientWidth).map(each => each.outerHTML.slice(0, 99))"""
    await expect(printed.locator(".message")).to_have_count(50)
    await expect(printed.locator(".katex")).to_have_count(25)  # one of them wide
    await expect(printed.locator(".message").first).to_be_visible()
    await expect(tab.page.locator("#main")).to_be_hidden()
    assert await tab.page.evaluate(cut_off) == []
    assert await tab.page.evaluate(SEEN) == []
    await tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    await expect(printed).to_have_count(0)
