"""The documentation's site is built without a warning, and is readable without a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

from tests.checkout import ROOT

DOCS = ROOT / "docs"
BUILD = ("-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--fresh-env", "--quiet")


def test_the_site_is_built_without_a_warning_and_read_without_a_server(tmp_path: Path) -> None:
    """
    Every page is built and listed, every link leads to a file, and a page loads nothing from another site.

    One test, since building the site takes most of the time.
    """
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, *BUILD, "--doctree-dir", tmp_path / "doctrees", DOCS, site], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr

    pages = sorted(str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md"))
    assert sorted(re.findall(r"\]\(([^)]*)\.html\.md\)", (site / "llms.txt").read_text())) == pages
    assert [page for page in pages if not (site / f"{page}.html").is_file()] == []
    assert [page for page in pages if not (site / f"{page}.html.md").is_file()] == []

    assert [
        f"{page.relative_to(site)}: {link}"
        for page in sorted(site.rglob("*.html"))
        for link, is_loaded in links(page)
        if not leads_somewhere(page, link, is_loaded)
    ] == []
    # A script, which a browser loads from the file system, too; it refuses to fetch JSON from there.
    assert "searchindex.js" in {link for link, _ in links(site / "search.html")}

    reference = "".join(page.read_text() for page in (site / "reference").glob("*.html.md"))
    assert re.findall(r"\bvoltmem\._\w+", reference) == []


def links(page: Path) -> list[tuple[str, bool]]:
    """Return the links of a page, each with whether a browser loads it with the page."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    found = [(str(tag["href"]), tag.name == "link") for tag in soup.find_all(["a", "link"], href=True)]
    return found + [(str(tag["src"]), True) for tag in soup.find_all(["img", "script"], src=True)]


def leads_somewhere(page: Path, link: str, is_loaded: bool) -> bool:
    """Return whether a link leads to a file of the site, or to another site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return not is_loaded
    return not parts.path or (page.parent / unquote(parts.path)).is_file()


def test_the_examples_page_names_every_example() -> None:
    """The page of examples lists every program in examples/."""
    listed = (DOCS / "examples.md").read_text(encoding="utf-8")
    programs = (ROOT / "examples").glob("[!_]*.py")

    assert [program.name for program in programs if f"(../examples/{program.name})" not in listed] == []
