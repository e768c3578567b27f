"""
The npm packages of which the chat's page has files, unmodified: voltmem/chat/static/vendor.

``python -m tests.vendored`` copies them from the packages of tests/node, and writes which they are to vendor.json.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.checkout import ROOT
from tests.node import environment

VENDOR: Final = ROOT / "voltmem" / "chat" / "static" / "vendor"
LIST: Final = VENDOR / "vendor.json"


@dataclass(frozen=True)
class Vendored:
    package: str
    to: str
    """The folder that it is copied to."""
    root: str = "."
    """The folder of the package from which it is copied."""
    files: tuple[str, ...] = ()
    """Patterns of the files there that the page loads; none for what another package's file has in it."""
    licence: str = "LICENSE"
    """The file of the package with its licence."""


LANGUAGES: Final = (
    *("bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "graphql", "ini", "java", "javascript", "json"),
    *("kotlin", "lua", "makefile", "markdown", "pgsql", "php", "powershell", "python", "r", "ruby", "rust", "sql"),
    *("swift", "typescript", "xml", "yaml"),
)
PACKAGES: Final = (
    Vendored("markdown-it", "markdown-it", "dist/browser", ("markdown-it.esm.min.mjs",)),
    Vendored("entities", "markdown-it/entities"),
    Vendored("linkify-it", "markdown-it/linkify-it"),
    Vendored("mdurl", "markdown-it/mdurl"),
    Vendored("punycode.js", "markdown-it/punycode.js", licence="LICENSE-MIT.txt"),
    Vendored("uc.micro", "markdown-it/uc.micro", licence="LICENSE.txt"),
    Vendored("markdown-it-footnote", "markdown-it-footnote", files=("index.mjs",)),
    Vendored("katex", "katex", "dist", ("katex.min.js", "katex.min.css", "fonts/*.woff2")),
    Vendored(
        "@highlightjs/cdn-assets",
        "highlight",
        "es",
        ("core.min.js", *(f"languages/{each}.min.js" for each in LANGUAGES)),
    ),
)


def installed() -> Path:
    """Return the folder with the packages of tests/node, which are installed now if they are not. May skip the test."""
    return Path(environment()["NODE_PATH"])


def sources(vendored: Vendored, packages: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file of a package that the page has, and where it is copied to."""
    package, to = packages / vendored.package, VENDOR / vendored.to
    root = package / vendored.root
    for pattern in vendored.files:
        for file in sorted(root.glob(pattern)):
            yield file, to / file.relative_to(root)
    yield package / vendored.licence, to / "LICENSE"


def described(packages: Path) -> list[dict[str, Any]]:
    """Return what vendor.json says, from the packages."""
    made = []
    for vendored in PACKAGES:
        package = packages / vendored.package
        about = json.loads((package / "package.json").read_text("utf-8"))
        files = [
            {
                "file": copy.relative_to(VENDOR).as_posix(),
                "from": file.relative_to(package).as_posix(),
                "sha256": sha256(file.read_bytes()).hexdigest(),
            }
            for file, copy in sources(vendored, packages)
        ]
        made.append(
            {"package": vendored.package, "version": about["version"], "licence": about["license"], "files": files}
        )
    return made


def renew() -> None:
    packages = installed()
    shutil.rmtree(VENDOR, ignore_errors=True)
    for vendored in PACKAGES:
        for file, copy in sources(vendored, packages):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    LIST.write_text(json.dumps(described(packages), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    renew()
