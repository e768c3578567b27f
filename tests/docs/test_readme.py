"""README is short and begins with a program. Its blocks run with those of the other pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.checkout import ROOT
from tests.docs.page import blocks

README = ROOT / "README.md"


def test_the_readme_is_short() -> None:
    """README has at most 130 lines, and a whole program in the first forty."""
    first = blocks(README)[0]

    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130
    assert first.line + len(first.code.splitlines()) <= 40


async def test_the_readme_program_works_as_pasted(database: str, tmp_path: Path) -> None:
    """The program of README runs as pasted into a file, and remembers its data on the next run."""
    program = tmp_path / "program.py"
    program.write_text(blocks(README)[0].code, encoding="utf-8")

    once, twice = run(program, database), run(program, database)

    assert once.startswith("user: Do you remember me?\nassistant: From now on.\nHello - ")
    assert twice.count("From now on.") == 2


def run(program: Path, database: str) -> str:
    environment = {"VOLTMEM_DATABASE_URL": database, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", str(program)]
    return subprocess.check_output(command, env={**os.environ, **environment}, text=True)


def test_the_links_of_the_readme_lead_to_files() -> None:
    """Links of README within the checkout lead to existing files."""
    targets = [urlsplit(link) for link in re.findall(r"\]\(([^)\s]+)\)", README.read_text(encoding="utf-8"))]

    assert [link.path for link in targets if not link.scheme and not (ROOT / link.path).exists()] == []
