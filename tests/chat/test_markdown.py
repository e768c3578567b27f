"""A model's Markdown is drawn correctly, and no text breaks a conversation."""

from __future__ import annotations

import re

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAW = """async text => {
    const { Markdown, loadMarkdown } = await import("/static/markdown.js");
    await loadMarkdown();
    const made = new Markdown().show(text);
    made.querySelectorAll("figcaption").forEach(each => each.remove());
    const ofAll = / (dir|role|aria-label|tabindex|target|rel)="[^"]*"/g;
    return made.innerHTML.replace(ofAll, "").replaceAll("\\n", "⏎");
}"""
GROW = """async texts => {
    const { Markdown, loadMarkdown } = await import("/static/markdown.js");
    await loadMarkdown();
    const made = new Markdown();
    const seen = new Map();
    const kept = texts.map((text, place) => {
        const children = [...made.show(text, { isGrowing: place < texts.length - 1 }).children];
        const same = children.filter(each => seen.has(each)).length;
        children.forEach(each => seen.set(each));
        return same;
    });
    return [kept, made.element.innerHTML === new Markdown().show(texts.at(-1)).innerHTML];
}"""


async def drawn(tab: Tab, text: str) -> str:
    """Return the HTML of a text, without the attributes that all elements of a kind have; line breaks as ⏎."""
    html = await tab.page.evaluate(DRAW, text)
    assert isinstance(html, str)
    return html


async def test_addresses_are_links(tab: Tab) -> None:
    """Addresses of the web and of mail are links, without the punctuation around them; within a link there is none."""
    for text, address, label in (
        ("See https://example.org/Foo_(bar).", "https://example.org/Foo_(bar)", ""),
        ("(see https://example.org/_a_*b*c)", "https://example.org/_a_*b*c", ""),
        ("**http://localhost:8000/a?b=c&d=e**", "http://localhost:8000/a?b=c&amp;d=e", ""),
        ('"https://example.org"', "https://example.org", ""),
        ("见https://example.org/中文。然后", "https://example.org/%E4%B8%AD%E6%96%87", "https://example.org/中文"),
        ("[https://a.org](https://example.org)", "https://example.org", "https://a.org"),
        ("Write to ada+tea@example.org.", "mailto:ada+tea@example.org", "ada+tea@example.org"),
    ):
        html = await drawn(tab, text)
        assert f'<a href="{address}">{label or address}</a>' in html, text
        assert html.count("<a ") == 1, text
    for text in ("10~20, 30~40", "a@b", "www.", "ahttps://", "`https://a.org`", "x://a.org"):
        assert "<a " not in await drawn(tab, text), text


async def test_what_a_model_writes_loads_nothing_and_runs_nothing(tab: Tab) -> None:
    """HTML is text. A picture of another site is a link to it, and an address of another kind is a text."""
    for text, expected in (
        ("<b onclick='x()'>a</b> &lt;", "&lt;b onclick='x()'&gt;a&lt;/b&gt; &lt;"),
        ("![a *b*](https://a.org/i.png 't')", '<a href="https://a.org/i.png" title="t" class="image">a b</a>'),
        ("![](/logout)", '<span class="unlinked image" title="/logout" data-address="/logout">/logout</span>'),
        (
            "![i](data:image/png;base64,iVBORw0KGgo=)",
            '<img class="picture" src="data:image/png;base64,iVBORw0KGgo=" alt="i">',
        ),
        ("[a](main.py)", '<span class="unlinked" title="main.py" data-address="main.py">a</span>'),
        ("[a](javascript:x)", "[a](javascript:x)"),
        ("[a](data:text/html,x)", "[a](data:text/html,x)"),
    ):
        assert await drawn(tab, text) == f"<p>{expected}</p>"


async def test_what_is_to_be_done_has_a_box(tab: Tab) -> None:
    """Items of a task list have an empty or a ticked box instead of the bullet. Headings are below the page's own."""
    boxes = '<ul><li class="task-open">a</li><li class="task-done">b</li></ul>'
    assert await drawn(tab, "- [ ] a\n- [x] b") == boxes
    assert await drawn(tab, "# a\n\n##### b") == "<h2>a</h2><h6>b</h6>"


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"\(E = mc^2\), \[ \int x\,dx \], [l](https://a.org)", [r"\(E = mc^2\)", r"\[\int x\,dx\]"]),
        ("a\n$$\n\\begin{a}\n- b\n\n# c\n$$\n\n- $$d$$\n- e", ["$$\\begin{a}\n- b\n\n# c$$", "$$d$$"]),
        ("A\n\\[\na_1\n+ b\n\\]\nB", ["\\[a_1\n+ b\\]"]),
        (r"$x$, $2x$, $f(a) = 5$; ($\alpha$)", ["$x$", "$2x$", "$f(a) = 5$", r"$\alpha$"]),
        ("It costs $5, or $6 (was 10$), in US$ or C$; $HOME/$PATH and $5-$10", []),
        (r"\[1\], \(see below\), \$a\$ and `$b$`", []),
        ("$$\na\n\nno end", []),
    ],
)
async def test_formulas_are_told_from_prices(tab: Tab, text: str, formulas: list[str]) -> None:
    """What stands between the marks of LaTeX or dollars is a formula, and two prices are none."""
    html = await drawn(tab, text)
    found = re.findall(r'class="formula[^"]*"[^>]*><code>(.*?)</code>', html.replace("⏎", "\n"), re.DOTALL)
    assert found == formulas


async def test_formulas_and_code_are_drawn_when_first_met(mine: UserStorage, open_tab: OpenTab) -> None:
    """
    Formulas and colours of code are loaded with the first one, from here, within the content security policy.

    What is no formula, or too deep, shows its source. Code that takes too long to colour stays plain.
    """
    plain = await mine.create_conversation({"title": "Plain"})
    await mine.add_message({"role": "assistant", "content": "Some *text*"}, plain.id)
    rich = await mine.create_conversation({"title": "Rich"})
    deep = "$" + r"\sqrt{" * 90 + "x" + "}" * 90 + "$"
    code = "```py\ndef f():\n    return '<b>' # why\n```\n\n```\ndef\n```\n\n```py\n" + "def\n" * 5001 + "```"
    slow = "\n\n```java\n" + "$" * 20_000 + "\n```\n\n```go\nfunc\n```"
    text = rf"$e^{{i\pi}} = -1$, $\frac{{1$, $\def\x{{\x\x}}\x$, {deep}" + f"\n\n$$\\sum_n n$$\n\n{code}{slow}"
    await mine.add_message({"role": "assistant", "content": text}, rich.id)
    tab = await open_tab(f"/c/{plain.id}")
    loaded = "performance.getEntriesByType('resource').map(each => each.name.split('/vendor/')[1]).filter(Boolean)"
    await expect(tab.answers.locator("em")).to_have_text("text")
    parser = {"markdown-it/markdown-it.esm.min.mjs", "markdown-it-footnote/index.mjs"}
    assert set(await tab.page.evaluate(loaded)) == parser
    assert tab.page.workers == []

    await tab.link("Rich").click()

    await expect(tab.answers.locator("math")).to_have_count(2)
    await expect(tab.answers.locator(".formula-displayed[tabindex='0'] .katex-display math")).to_have_count(1)
    await expect(tab.answers.locator(".formula > code")).to_have_text([r"$\frac{1$", r"$\def\x{\x\x}\x$", deep])
    colours = tab.answers.locator(".code").first.locator("[class^=code-]")
    assert [await each.get_attribute("class") for each in await colours.all()] == [
        *("code-keyword", "code-title", "code-keyword", "code-string", "code-comment"),
    ]
    await expect(tab.answers.locator(".code").nth(0).locator("code")).to_have_text("def f():\n    return '<b>' # why")
    assert await tab.answers.locator(".code").nth(1).locator("span").count() == 0
    assert await tab.answers.locator(".code").nth(2).locator("span").count() == 0
    await expect(tab.answers.locator(".code").nth(4).locator(".code-keyword")).to_have_text("func")
    assert await tab.answers.locator(".code").nth(3).locator("span").count() == 0
    assert {name for name in await tab.page.evaluate(loaded) if name.endswith("js")} == {
        *parser,
        "katex/katex.min.js",
        "highlight/core.min.js",
    }
    assert tab.page.workers != []  # which colour code


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_colours_of_code_can_be_read(theme: str, open_tab: OpenTab) -> None:
    """The colours of code have a contrast of at least 4.5 with what is behind them, in both themes."""
    tab = await open_tab(dark=theme == "dark")

    contrasts = await tab.page.evaluate(
        """() => {
            const made = document.body.appendChild(document.createElement("div"));
            const light = name => {
                made.style.color = `var(--${name})`;
                const parts = getComputedStyle(made).color.match(/[\\d.]+/g).map(each => each / 255);
                const [r, g, b] = parts.map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const kinds = ["keyword", "string", "number", "comment", "title", "deletion"];
            const behind = light("rail");
            return kinds.map(kind => [light(`code-${kind}`), behind].sort((a, b) => b - a)).map(([a, b]) => a / b);
        }"""
    )

    assert len(contrasts) == 6
    assert min(contrasts) >= 4.5


async def test_an_answer_that_grows_keeps_what_is_complete(tab: Tab) -> None:
    """While a text grows, only its last block is drawn again. At its end it is as if it had been drawn at once."""
    texts = [
        "# a\n\nb\n",
        "# a\n\nb\n\n- c\n- ",
        "# a\n\nb\n\n- c\n- d\n\n```\ne",
        "# a\n\nb\n\n- c\n- d\n\n```\ne\nf\n```",
    ]
    assert await tab.page.evaluate(GROW, texts) == [[0, 1, 2, 3], True]
    defined = ["[a]\n\nb\n\n", "[a]\n\nb\n\nc", "[a]\n\nb\n\nc\n\n[a]: https://a.org"]
    assert await tab.page.evaluate(GROW, defined) == [[0, 1, 0], True]
    assert await tab.page.evaluate(GROW, ["$$\na\n\n", "$$\na\n\n- b\n", "$$\na\n\n- b\n$$\n\nc"]) == [[0, 0, 0], True]
    assert await tab.page.evaluate(GROW, ["a\r", "a\r\nb\r\n\r\nc", "another"]) == [[0, 0, 0], True]


@pytest.mark.parametrize(
    "text",
    ["`a` " * 8000, ">" * 5000, "- " * 3000 + "x", "**a " * 20_000, "[ " * 20_000, "*_" * 3000 + "a" + "_*" * 3000],
    ids=["spans", "quotes", "lists", "unclosed", "brackets", "nested"],
)
async def test_nothing_that_was_said_keeps_a_conversation_closed(
    text: str, mine: UserStorage, open_tab: OpenTab
) -> None:
    """Any text can be shown, however long or deeply nested."""
    conversation = await mine.create_conversation({"title": "Long"})
    spoken = [{"role": "assistant", "content": text}, {"role": "user", "content": "Hello"}]
    await mine.add_messages(spoken, conversation.id)

    tab = await open_tab(f"/c/{conversation.id}")

    await expect(tab.answers).to_have_count(1)
    await expect(tab.questions).to_have_text(["Hello"])


async def test_text_runs_the_way_of_its_script(mine: UserStorage, open_tab: OpenTab) -> None:
    """Each paragraph, list, question and box runs in the direction of its first letter; code from left to right."""
    conversation = await mine.create_conversation({"title": "Both"})
    arabic = "مرحبا بالعالم"
    answer = f"{arabic}\n\nHello\n\n- {arabic}\n\n  ```\n  code\n  ```"
    await mine.add_messages(
        [{"role": "user", "content": arabic}, {"role": "assistant", "content": answer}], conversation.id
    )
    tab = await open_tab(f"/c/{conversation.id}")

    directions = await tab.answers.evaluate(
        "body => [...body.querySelectorAll('.text > p, ul, pre')].map(each => getComputedStyle(each).direction)"
    )
    assert directions == ["rtl", "ltr", "rtl", "ltr"]
    await expect(tab.questions).to_have_css("direction", "rtl")
    await expect(tab.box).to_have_css("direction", "ltr")
    await tab.box.fill(arabic)
    await expect(tab.box).to_have_css("direction", "rtl")
