"""The files of the page: compressed, kept under addresses that change with them, and small for the first screen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.vendored import LIST, PACKAGES, VENDOR, described, installed
from voltmem import PostgresStorage, chat

STATIC = VENDOR.parent
FIRST_SCREEN = 40_000
"""The most bytes of JavaScript, compressed, that the first screen may take."""


def without_comments(text: str) -> list[tuple[int, str]]:
    """Return the lines of a module that are not in comments, with their numbers."""
    lines = re.sub(r"/\*\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL).splitlines()
    return [(number, line) for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("//")]


@pytest.fixture
def client(storage: PostgresStorage) -> httpx2.AsyncClient:
    app = chat.app(storage, answer=lambda messages: "", user=lambda: "ada")
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


async def test_files_are_compressed_and_kept_for_good(client: httpx2.AsyncClient) -> None:
    """A file at its version's address is compressed and kept for good; at another version's it is asked for again."""
    async with client:
        page = (await client.get("/")).text
        (address,) = re.findall(r'href="(/static/\w{12}/app\.js)"', page)
        for asked, kept in (
            (address, "immutable"),
            ("/static/0123456789ab/app.js", "no-cache"),
            ("/static/app.js", "no-cache"),
        ):
            found = await client.get(asked, headers={"Accept-Encoding": "gzip"})
            assert without_comments(found.text) == without_comments((STATIC / "app.js").read_text("utf-8"))
            assert found.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert found.headers["Content-Encoding"] == "gzip"
            assert int(found.headers["Content-Length"]) < len(found.content) / 2
            assert kept in found.headers["Cache-Control"]
        again = await client.get("/static/app.js", headers={"If-None-Match": found.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = await client.get(address, headers={"Accept-Encoding": "identity"})
        assert plain.content == found.content
        assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("path", ["", "nothing.js", "../_app.py", "..%2F_app.py", "index.html", "vendor/katex/LICENSE"])
async def test_nothing_else_is_served(client: httpx2.AsyncClient, path: str) -> None:
    """What is no file of the page is not found: 404."""
    async with client:
        for folder in ("/static/", "/static/0123456789ab/"):
            assert (await client.get(folder + path)).status_code == 404


def imported(module: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the module and those that it imports when it is loaded."""
    if module in seen:
        return
    seen.add(module)
    yield module
    for name in re.findall(r'^(?:import|export)\b[^;]*?"(\.[^"]+)";', module.read_text("utf-8"), re.MULTILINE):
        yield from imported((module.parent / name).resolve(), seen)


async def test_the_first_screen_needs_little_javascript(client: httpx2.AsyncClient) -> None:
    """The modules that the first screen loads are under 40 kB, as they are sent. (pytest -s prints them.)"""
    sizes: dict[str, int] = {}
    async with client:
        for module in [each for root in ("theme.js", "start.js", "app.js") for each in imported(STATIC / root, set())]:
            name = module.relative_to(STATIC).as_posix()
            sent = await client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip"})
            sizes[name] = int(sent.headers["Content-Length"])

    print(f"\n{sum(sizes.values())} bytes:", sizes)
    assert "markdown.js" in sizes
    assert sum(sizes.values()) < FIRST_SCREEN


def listed() -> list[dict[str, Any]]:
    return [file for package in json.loads(LIST.read_text("utf-8")) for file in package["files"]]


def test_vendored_files_are_those_that_were_released() -> None:
    """Each file of a library has the hash that vendor.json says, none is missing there, and each has its licence."""
    there = {file.relative_to(VENDOR).as_posix() for file in VENDOR.rglob("*") if file.is_file()}

    assert there == {file["file"] for file in listed()} | {LIST.name}
    for file in listed():
        assert sha256((VENDOR / file["file"]).read_bytes()).hexdigest() == file["sha256"], file["file"]
    for vendored in PACKAGES:
        assert (VENDOR / vendored.to / "LICENSE").is_file()


def test_vendored_files_are_those_of_the_npm_packages() -> None:
    """The libraries' files are those of the packages on npm, in the versions that are locked: unmodified."""
    assert described(installed()) == json.loads(LIST.read_text("utf-8")), "python -m tests.vendored copies them again"
