"""What the page carries: the first list, and the open conversation, so that they are there before the scripts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html import escape
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import FastAPI, Header, HTTPException

from tests.chat.conftest import OpenTab
from tests.chat.tab import expect
from voltmem import PostgresStorage, UserStorage, chat
from voltmem.chat._first_rows import first_rows
from voltmem.chat._languages import Offered

TITLE = "</script><b id='\"x&amp;\u2028<!--"
TABLE = "| $$x$$ |\n|:--|---|\n| \\(y\\) |"


def who(x_user: Annotated[str | None, Header()] = None) -> str | None:
    if x_user == "refused":
        raise HTTPException(403)
    if x_user == "broken":
        raise RuntimeError("out of order")
    return x_user


async def page(storage: PostgresStorage, path: str, user: str | None = None) -> tuple[httpx2.Response, dict[str, Any]]:
    """Return the page that somebody is sent, and the responses that it carries."""
    outer = FastAPI()
    outer.mount("/inner", chat.app(storage, answer=lambda messages: "", user=who))
    transport = httpx2.ASGITransport(outer)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get(f"/inner{path}", headers={} if user is None else {"X-User": user})
    (found,) = re.findall(r'<script id="carried" type="application/json">(.*)</script>', response.text)
    carried: dict[str, Any] = json.loads(found)
    return response, carried


async def test_the_page_carries_its_first_responses(storage: PostgresStorage) -> None:
    """The page carries the list and the open conversation of who asks, as the API has them. Nobody else keeps it."""
    ada = storage.for_user("ada")
    one = await ada.create_conversation({"title": TITLE})
    await ada.add_message({"id": "m", "role": "user", "content": "Hello"}, one.id)

    response, carried = await page(storage, f"/c/{one.id}", "ada")
    assert (response.headers["Cache-Control"], response.headers["Content-Encoding"]) == ("private, no-cache", "gzip")
    assert {"Cookie", "Authorization"} <= {*response.headers["Vary"].split(", ")}
    assert response.text.count("</script>") == len(re.findall("<script[ >]", response.text))
    listed = carried.pop("conversations?limit=40&archived=false")
    assert [each["title"] for each in listed["items"]] == [TITLE]
    assert carried.pop(f"conversations/{one.id}") == listed["items"][0]
    (message,) = carried.pop(f"conversations/{one.id}/messages?limit=30&uiMessages=true")["items"]
    assert message["uiMessage"]["parts"] == [{"type": "text", "text": "Hello"}]
    nothing: dict[str, list[object]] = {"items": []}
    assert carried == {f"chat/{one.id}/answers": nothing, f"conversations/{one.id}/branches": nothing}

    _, carried = await page(storage, f"/c/{one.id}", "eve")
    assert [each.get("items") for each in carried.values()] == [[], []]


async def test_the_page_comes_also_without_a_list(storage: PostgresStorage) -> None:
    """Who is not signed in gets the page without a list, and so does everybody while the database is away."""
    away = PostgresStorage("postgresql://nobody@127.0.0.1:1/nowhere")
    for given, user in ((storage, None), (storage, "refused"), (storage, "broken"), (away, "ada")):
        response, carried = await page(given, "/", user)
        assert (response.status_code, carried) == (200, {})
    await away.close()


def test_first_rows_say_what_the_list_says() -> None:
    """The rows stand under their headings, escaped; what is in a folder, and a name, are as the page shows them."""
    now, german = datetime.now(UTC), Offered(None).choose("de")
    given: dict[str, Any] = {
        "title": None,
        "preview": None,
        "unread": False,
        "pinned": False,
        "forkedFrom": None,
        "tags": [],
        "updatedAt": now.isoformat(),
    }
    items: list[dict[str, Any]] = [
        {
            **given,
            "id": "1/é",
            "pinned": True,
            "title": TITLE,
            "preview": f"# *a*, 2*3\n `b_c`\n{TABLE}",
            "unread": True,
        },
        {**given, "id": "2"},
        {**given, "id": "3", "tags": ["folder:", "x"], "title": "Here", "updatedAt": "2024-02-29T10:00:00Z"},
        {**given, "id": "4", "tags": ["folder:a"]},
    ]
    html = first_rows(items, german, "/in<ner/", "/in<ner/c/2", with_folders=True)

    assert re.findall("<h2[^>]*>(.*?)</h2>", html) == ["Angeheftet", "Heute", "2024-02"]
    assert re.findall('data-id="(.*?)"', html) == ["1/é", "2", "3"]
    assert re.findall('title" dir="auto">(.*?)</span>', html) == [escape(TITLE), "Neuer Chat", "Here"]
    assert re.findall('preview" dir="auto">(.*?)</span>', html) == ["a, 2*3 b_c x y", "", ""]
    assert re.findall('class="(row(?: .*?)?)"', html) == ["row row-unread", "row row-unnamed", "row"]
    assert 'href="/in&lt;ner/c/1%2F%C3%A9"' in html
    assert 'href="/in&lt;ner/c/2" aria-current="page"' in html
    assert 'data-id="4"' in first_rows(items, german, "/", "/", with_folders=False)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_first_list_waits_for_nothing(mine: UserStorage, open_tab: OpenTab) -> None:
    """The list is there before the application's scripts, which show it, and the conversation, without a request."""
    item = await mine.create_conversation({"title": TITLE})
    await mine.add_message({"role": "user", "content": "Hello"}, item.id)
    tab = await open_tab()
    late = await tab.held(re.compile(r"/app\.js"))
    await tab.page.route(re.compile("/api/"), lambda _: None)  # never answered
    await tab.page.goto(f"{tab.address}/c/{item.id}", wait_until="commit")
    await expect(tab.titles).to_have_text([TITLE])
    await expect(tab.groups).to_have_text(["Today"])
    await expect(tab.page.get_by_role("button", name="Actions for")).to_have_count(0)
    await tab.link(TITLE).focus()

    late.set()
    await expect(tab.page.locator("#list .row-menu")).to_have_count(1)
    await expect(tab.titles).to_have_text([TITLE])
    await expect(tab.questions).to_have_text(["Hello"])


@pytest.mark.asyncio(loop_scope="session")
async def test_the_scripts_wait_for_the_first_rows(mine: UserStorage, open_tab: OpenTab) -> None:
    """No module is asked for before the rows are painted, which the style sheets are awaited for."""
    await mine.create_conversation({"title": TITLE})
    tab = await open_tab()
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    styles = await tab.held(re.compile(r"/sidebar\.css"))
    async with tab.page.expect_request(re.compile(r"/start\.js")):
        await tab.page.goto(tab.address, wait_until="commit")
    await expect(tab.titles).to_have_text([TITLE])
    assert "app.js" not in asked

    async with tab.page.expect_request(re.compile(r"/app\.js")):
        styles.set()
    await expect(tab.page.locator("#list .row-menu")).to_have_count(1)


# What only the scripts make of a row: its menu, the slot for a new name, and its place among the others.
ROWS = """() => {
    const [added, known] = [".row-menu, .row-rename", ["tabindex", "style", "aria-posinset", "aria-setsize"]];
    const attributes = (node) => [...node.attributes].filter(({ name }) => !known.includes(name)).map(
        ({ name, value }) => [name, name === "href" ? new URL(value, location).href : value]);
    const said = (node) => node.nodeType === Node.TEXT_NODE ? node.data : [
        node.localName,
        Object.fromEntries(attributes(node)),
        ...[...node.childNodes].filter((each) => !each.matches?.(added)).map(said),
    ];
    return [...document.querySelectorAll("#list li.row")].map(said);
}"""


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("language", ["en", "ar"])
async def test_the_first_rows_are_those_that_the_scripts_draw(
    mine: UserStorage, open_tab: OpenTab, language: str
) -> None:
    """In each state, a row of the server has the same nodes as the one that takes its place."""
    tab = await open_tab(language=language)
    titles = {
        **{"plain": "Plain", "none": None, "spaces": " \t ", "markup": f" {TITLE} ", "arabic": "ملاحظات about it"},
        **{"unread": "Unread", "pinned": "Pinned", "read": "Read", "filed": "Filed", "archived": "Archived"},
        **{"open": "Open", "streaming": None, "original": "Original", "forked": "Forked"},
    }
    ids = {name: (await mine.create_conversation({"title": title})).id for name, title in titles.items()}
    for name, id in ids.items():
        if name not in ("plain", "streaming"):
            said = f"# *One* `two`\n\n{TABLE}\n> 4_ <b>&amp;" if name == "markup" else f"About {name}"
            await mine.add_message({"id": "m", "role": "assistant", "content": said}, id)
        if name not in ("unread", "pinned", "open"):
            await mine.mark_conversation_read(id)
    await mine.tag_conversation(ids["filed"], ["folder:Work"])
    await mine.archive_conversation(ids["archived"])
    for name in ("original", "forked"):
        fork = await mine.fork_conversation(ids[name])
        if name == "forked":
            await mine.pin_conversation(fork.id)
            await mine.add_message({"role": "assistant", "content": "More"}, fork.id)
    await mine.pin_conversation(ids["pinned"])
    await tab.page.goto(f"{tab.address}/c/{ids['streaming']}")
    box = tab.page.locator("#composer-text")  # whose name is Arabic, too
    await box.fill("Please wait")
    await box.press("Enter")
    await expect(tab.answers).to_have_text(["So far so good"])

    scripts, running = [await tab.held(re.compile(address)) for address in (r"/app\.js", "/api/answers")]
    await tab.page.goto(f"{tab.address}/c/{ids['open']}", wait_until="commit")
    await expect(tab.rows).to_have_count(len(ids))  # two forks more, and neither what is filed nor what is archived
    first: list[object] = await tab.page.evaluate(ROWS)
    scripts.set()
    await expect(tab.page.locator("#list li .row-menu")).to_have_count(len(ids))

    assert await tab.page.evaluate(ROWS) == first
    running.set()
    await expect(tab.page.locator("#list .row-answering")).to_have_count(1)
