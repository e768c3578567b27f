"""The languages of the page: each has every text, and the page is in the one that the browser asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.chat.test_assets import STATIC, without_comments
from voltmem import InvalidOptionError, PostgresStorage, chat
from voltmem.chat._languages import Language, Offered
from voltmem.parts._front_ends import UNDECIDED

FILES = {file.stem: file for file in (STATIC.parent / "languages").glob("*.json")}
TEXT = r'"((?:[^"\\]|\\.)*)"'
ONE = re.compile(rf"\b(?:t|pieces)\(\s*{TEXT}")
MANY = re.compile(rf"\bmany\(\s*[^,]+,\s*{TEXT},\s*{TEXT}")
MARK = re.compile(r"\{\{(.+?)\}\}")
PLACE = re.compile(r"\{(\w+)\}")
CATEGORIES = {
    "de": {"one", "other"},
    "fr": {"one", "many", "other"},
    "es": {"one", "many", "other"},
    "ja": {"other"},
    "ar": {"zero", "one", "two", "few", "many", "other"},
}
"""https://www.unicode.org/cldr/charts/latest/supplemental/language_plural_rules.html"""
# Names of keys, and other words between quotes that nobody reads: by one, a call is known that nobody decided about.
# What else begins as a sentence does is a text.
NO_TEXTS = re.compile(
    f"Arrow|Delete|End|Enter|Esc|Escape|Files|Home|Infinity|Mod|Shift|Space|Tab|{re.escape(UNDECIDED)}"
)


@cache
def modules() -> dict[str, str]:
    """Return the page's modules by their names, without comments."""
    return {
        file.relative_to(STATIC).as_posix(): "\n".join(line for _, line in without_comments(file.read_text("utf-8")))
        for file in sorted(STATIC.rglob("*.js"))
        if "vendor" not in file.parts
    }


def pages() -> Iterator[str]:
    for file in sorted(STATIC.glob("*.html")):
        yield file.read_text("utf-8")


@cache
def wanted() -> tuple[set[str], set[str]]:
    """Return the texts of the page: those that are alone, and those about a number."""
    alone = {found for page in pages() for found in MARK.findall(page)}
    numbered: set[str] = set()
    for module in modules().values():
        alone |= set(ONE.findall(module))
        numbered |= {other for _, other in MANY.findall(module)}
    return alone, numbered


@pytest.mark.parametrize("tag", CATEGORIES)
def test_each_language_has_every_text(tag: str) -> None:
    """A language has the page's texts and no others, with the same placeholders, and a number's in all plural forms."""
    texts: dict[str, Any] = json.loads(FILES[tag].read_text("utf-8"))
    alone, numbered = wanted()

    assert set(texts) == alone | numbered
    for key in alone:
        assert sorted(PLACE.findall(texts[key])) == sorted(PLACE.findall(key)), key
    for key in numbered:
        assert set(texts[key]) == CATEGORIES[tag], key
        for category, text in texts[key].items():
            without = {"count"} if category in ("zero", "one", "two") else set()  # "no chat", "one", "both"
            assert set(PLACE.findall(text)) | without == set(PLACE.findall(key)) | without, (key, category)


def test_there_are_the_languages_that_have_categories() -> None:
    """The files are those of the languages above."""
    assert set(FILES) == set(CATEGORIES)


def test_every_text_of_a_module_can_be_translated() -> None:
    """What a module shows is within t(), pieces() or many(), with the text itself as the argument."""
    for name, module in modules().items():
        said = MANY.sub("many(", ONE.sub("t(", module))
        if name != "texts.js":
            assert not re.search(r"\b(?:t|pieces|many)\((?:\"|`)", said), name
            assert not re.search(r"(?<![.\w])(?:t|pieces)\((?!,|\))\w", said), f"{name}: a text that is no literal"
        found = re.findall(r'["`]([A-Z][a-z’]+(?:[ ,.:…?][^"`]*)?)["`]', said)
        assert [text for text in found if not NO_TEXTS.fullmatch(text)] == [], name


class Shown(HTMLParser):
    """Collects what a person sees or hears of a page's HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.texts += [value or "" for name, value in attrs if name in ("aria-label", "title", "placeholder", "alt")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_text_of_the_html_can_be_translated() -> None:
    """What a page's HTML shows is a mark, {{…}}."""
    for page in pages():
        shown = Shown()
        shown.feed(page)
        left = [MARK.sub("", text) for text in shown.texts]
        assert [text for text in left if re.search(r"[A-Za-z]", PLACE.sub("", text))] == []


@pytest.mark.parametrize(
    ("header", "tag", "direction"),
    [
        ("", "en", "ltr"),
        ("*", "en", "ltr"),
        ("nl, pt;q=0.9", "en", "ltr"),
        ("de-AT,de;q=0.9,en;q=0.8", "de-AT", "ltr"),
        ("nl,en;q=0.5,fr;q=0.8", "fr", "ltr"),
        ("fr;q=0, de;q=0.1", "de", "ltr"),
        ("fr;q=high, de", "de", "ltr"),
        ("DE-de-1996-u-co-phonebk", "de-DE", "ltr"),
        ("ja-jpan-jp", "ja-Jpan-JP", "ltr"),
        ("ar-001", "ar-001", "rtl"),
        ('de"><script>', "en", "ltr"),
        ("engelska, es", "es", "ltr"),
    ],
)
def test_the_browser_chooses_the_language(header: str, tag: str, direction: str) -> None:
    """The first language of Accept-Language that is here, with the region that it has there; English otherwise."""
    found = Offered(None).choose(header)
    assert (found.tag, found.direction) == (tag, direction)
    assert found.text("Trash") == {"en": "Trash", "de": "Papierkorb", "fr": "Corbeille", "es": "Papelera"}.get(
        tag.partition("-")[0], found.text("Trash")
    )


def test_an_application_adds_languages(tmp_path: Path) -> None:
    """A file or a mapping adds a language or replaces texts of one; what it lacks is English, or as in its language."""
    file = tmp_path / "he.json"
    file.write_text(json.dumps({"New chat": "שיחה חדשה", "{count} found": {"one": "אחד", "other": "{count}"}}), "utf-8")
    offered = Offered(
        {
            "he": file,
            "PT-br": {
                "Trash": "Lixeira",
                "{count} results": "{count} resultados",
                "An older text": "Um texto",
            },
            "de-CH": {"Close": "Schliessen"},
            "en": {"New chat": "New order"},
            "fr": None,
        }
    )

    def texts(header: str, *keys: str) -> tuple[str, ...]:
        return tuple(map(offered.choose(header).text, keys))

    assert texts("he-IL", "New chat", "Trash") == ("שיחה חדשה", "Trash")
    assert offered.choose("he-IL").direction == "rtl"
    assert texts("pt-BR", "Trash", "An older text") == ("Lixeira", "An older text")
    assert offered.choose("pt-BR").texts["{count} results"] == {"other": "{count} resultados"}
    assert texts("de-CH", "Close", "Trash") == ("Schliessen", "Papierkorb")
    assert texts("de", "Close") == ("Schließen",)
    assert texts("fr", "New chat", "Trash") == ("New order", "Trash")


@pytest.mark.parametrize(
    ("languages", "problem"),
    [
        (["de"], "use a mapping"),
        ({"german!": {}}, "'german!': use a tag"),
        ({5: {}}, "5: use a tag"),
        ({"nl": 5}, r"languages\['nl'\] is 5: use a mapping"),
        ({"nl": "/nowhere/nl.json"}, "/nowhere/nl.json"),
        ({"nl": Path(__file__)}, "test_languages.py"),
        ({"nl": {"Trash": 5}}, "has 5 for 'Trash'"),
        ({"nl": {"Trash": ""}}, "has '' for 'Trash'"),
        ({"nl": {"Trash": "\ud800"}}, "for 'Trash'"),
        ({"nl": {"Trash": {"other": "Prullenbak"}}}, "for 'Trash'"),
        ({"nl": {"{place} of {count}": "{plaats} van {count}"}}, r"which has no \{plaats\}"),
        ({"nl": {"{count} results": {"one": "Eén"}}}, "'other' among them"),
        ({"nl": {"{count} results": {"most": "Meer", "other": "{count}"}}}, "plural categories"),
        ({"nl": {"{count} results": {"other": "{number}"}}}, r"which has no \{number\}"),
    ],
)
def test_texts_that_the_page_could_not_show_are_refused(languages: Any, problem: str) -> None:
    """A malformed tag, file, text, plural or placeholder is refused when the chat is made."""
    with pytest.raises(InvalidOptionError, match=problem):
        Offered(languages)


async def test_the_page_comes_in_its_language(storage: PostgresStorage) -> None:
    """Both pages come in the language asked for, with its texts; caches keep the languages apart; texts are escaped."""
    texts = {"Trash": 'A "bin" & </script><b>', "Notifications": "<i>"}
    app = chat.app(storage, answer=lambda messages: "", user=lambda: "ada", languages={"nl": texts})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        for path in ("/", "/shared/anything"):
            german = await client.get(path, headers={"Accept-Language": "de-CH"})
            assert "Accept-Language" in german.headers["Vary"]
            assert '<html lang="de-CH" dir="ltr"' in german.text
            assert 'aria-label="Benachrichtigungen"' in german.text
            assert embedded(german.text)["Today"] == "Heute"
            english = await client.get(path)
            assert '<html lang="en" dir="ltr"' in english.text
            assert embedded(english.text) == {}
            other = await client.get(path, headers={"Accept-Language": "nl"})
            assert embedded(other.text) == texts
            assert 'aria-label="&lt;i&gt;"' in other.text
            assert "<b>" not in other.text
            for page in (german, english, other):
                assert "{{" not in page.text


def embedded(page: str) -> dict[str, Any]:
    """Return the texts within a page."""
    (found,) = re.findall(r'<script id="texts" type="application/json" lang="[\w-]+">(.*?)</script>', page)
    texts: dict[str, Any] = json.loads(found)
    return texts


def test_english_needs_no_texts() -> None:
    """English is the keys themselves."""
    assert Offered(None).choose("en-US") == Language("en-US", {})
