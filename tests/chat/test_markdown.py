"""A model's Markdown is drawn correctly, and no text breaks a conversation."""

from __future__ import annotations

import pytest

from tests.chat.conftest import OpenTab
from tests.chat.tab import Tab, expect
from voltmem import UserStorage

pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAW = """async text => {
    const { markdown } = await import("/static/markdown.js");
    const made = document.createElement("div");
    made.append(markdown(text));
    made.querySelectorAll("figcaption button").forEach(each => each.remove());
    const ofAll = / (dir|class|role|aria-label|tabindex|target|rel)="[^"]*"/g;
    return made.innerHTML.replace(ofAll, "").replaceAll("\\n", "⏎");
}"""


async def drawn(tab: Tab, text: str) -> str:
    """Return the HTML of a text, without the attributes that all elements of a kind have; line breaks as ⏎."""
    html = await tab.page.evaluate(DRAW, text)
    assert isinstance(html, str)
    return html


def code(text: str, language: str = "text") -> str:
    return f"<figure><figcaption>{language}</figcaption><pre><code>{text}</code></pre></figure>"


async def test_code_in_a_list_is_the_code_that_was_written(tab: Tab) -> None:
    """A code block in a list has no indent of its item, keeps blank lines, and the list continues after it."""
    block = "```py\ndef f():\n\tpass\n\n    # - no item\n```"
    expected = code("def f():⏎\tpass⏎⏎    # - no item", "py")
    for item, width in (("1. Run", 3), ("- Run", 2), ("10) Run", 4), ("- Run\n\n ", 2), ("- Run", 4)):
        indented = "\n".join(" " * width + line for line in block.split("\n"))
        html = await drawn(tab, f"{item}\n{indented}\n{item.split()[0]} Next\n\nEnd")
        assert f"<li>Run{expected}</li><li>Next</li>" in html, item
        assert html.endswith("<p>End</p>")
    assert await drawn(tab, "- ```\n  a\n\n  b\n  ```\n- c") == f"<ul><li>{code('a⏎⏎b')}</li><li>c</li></ul>"
    assert await drawn(tab, "- a\n  ```\nb\n  ```\n- c") == f"<ul><li>a{code('b')}</li><li>c</li></ul>"


async def test_code_ends_where_its_own_fence_does(tab: Tab) -> None:
    """A code block ends at a fence of the same kind and length with nothing after it; on one line it is not a block."""
    assert await drawn(tab, "````md\n```py\nx\n```\n````\nend") == code("```py⏎x⏎```", "md") + "<p>end</p>"
    assert await drawn(tab, "~~~\n```\n~~~ no\n~~~~") == code("```⏎~~~ no")
    assert await drawn(tab, "```one line```\n\n# Title") == "<p><code>one line</code></p><h3>Title</h3>"
    assert await drawn(tab, "```\nwhile it streams") == code("while it streams")


async def test_items_keep_what_is_beneath_them(tab: Tab) -> None:
    """Items of a list keep blank lines, continued lines and nested lists."""
    assert await drawn(tab, "1. a\n\n1. b\n\n1. c") == "<ol><li>a</li><li>b</li><li>c</li></ol>"
    within = "<ul><li>a⏎more</li><li>b<p>para</p></li><li>c</li></ul>"
    assert await drawn(tab, "- a\n  more\n- b\n\n  para\n- c") == within
    nested = "<ul><li>a<ol><li>x</li><li>y</li></ol></li><li>b</li></ul>"
    for indent in ("  ", "    ", "\t"):
        assert await drawn(tab, f"- a\n{indent}1. x\n{indent}2. y\n- b") == nested
    assert await drawn(tab, "3. a\n4. b\n- c") == '<ol start="3"><li>a</li><li>b</li></ol><ul><li>c</li></ul>'
    assert await drawn(tab, "- a\n\n---\n\nb") == "<ul><li>a</li></ul><hr><p>b</p>"


async def test_tables_need_no_outer_bars(tab: Tab) -> None:
    """
    Tables need no outer bars.

    Bars in code or after a backslash do not divide, and a line with one bar is no table.
    """
    table = "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>{}</td><td>2</td></tr></tbody></table>"
    for text, cell in (
        ("a | b\n--|:-:\n1 | 2", "1"),
        ("| a | b |\n|---|---|\n| `x|y` | 2 |", "<code>x|y</code>"),
        ("| a | b |\n|---|---|\n| x \\| y | 2 |", "x | y"),
        ("| a | b |\n|---|---|\n|  | 2 |", ""),
    ):
        assert await drawn(tab, text) == f"<div>{table.format(cell)}</div>"
    assert (await drawn(tab, "See:\n| a |\n|---|\n| b |")).startswith("<p>See:</p><div><table>")
    assert await drawn(tab, "a | b\nc") == "<p>a | b⏎c</p>"


async def test_within_a_line(tab: Tab) -> None:
    """Within a line: addresses with brackets, literal marks, and struck-out text."""
    address = "https://example.org/Foo_(bar)"
    link = f'<a href="{address}">'
    for text, expected in (
        (f"See {address}.", f"See {link}{address}</a>."),
        (f"(see {address})", f"(see {link}{address}</a>)"),
        (f"[Foo]({address})", f"{link}Foo</a>"),
        (f"[{address}]({address})", f"{link}{address}</a>"),
        ("\\*not em\\*, a\\_b and C:\\dir", "*not em*, a_b and C:\\dir"),
        ("~~struck~~ and ~20", "<del>struck</del> and ~20"),
        ("`` a`b `` and `\\*`", "<code>a`b</code> and <code>\\*</code>"),
        ("***both*** **a*b** 2 * 3 * 4", "<strong><em>both</em></strong> <strong>a*b</strong> 2 * 3 * 4"),
    ):
        assert await drawn(tab, text) == f"<p>{expected}</p>"
    assert await drawn(tab, "## Learn C# ##") == "<h4>Learn C#</h4>"


async def test_what_is_to_be_done_has_a_box(tab: Tab) -> None:
    """Items of a task list have an empty or a ticked box instead of the bullet."""
    html = await tab.page.evaluate(
        "async text => (await import('/static/markdown.js')).markdown(text).firstChild.outerHTML", "- [ ] a\n- [x] b"
    )
    assert html == '<ul dir="auto"><li class="task-open">a</li><li class="task-done">b</li></ul>'


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
        "body => [...body.querySelectorAll('p, ul, pre')].map(each => getComputedStyle(each).direction)"
    )
    assert directions == ["rtl", "ltr", "rtl", "ltr"]
    await expect(tab.questions).to_have_css("direction", "rtl")
    await expect(tab.box).to_have_css("direction", "ltr")
    await tab.box.fill(arabic)
    await expect(tab.box).to_have_css("direction", "rtl")
