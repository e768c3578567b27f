"""Type checkers see the types of both spellings in an application, and report its mistakes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typing"
API, BLOCKING, MISTAKES = FOLDER / "api.py", FOLDER / "blocking.py", FOLDER / "mistakes.py"


@pytest.mark.parametrize(
    "checker",
    [["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]],
    ids=["mypy", "pyright"],
)
def test_type_checkers_accept_every_use_and_report_every_mistake(checker: list[str]) -> None:
    """api.py and blocking.py have no error; mistakes.py has an error on each line with a comment, and no others."""
    command = [sys.executable, "-m", *checker, str(API), str(BLOCKING), str(MISTAKES)]

    finished = subprocess.run(
        command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False, timeout=1200
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_statement_among_the_mistakes_is_one() -> None:
    """Each statement in mistakes.py has the comment for which the type checkers look."""
    source = MISTAKES.read_text(encoding="utf-8")
    lines = source.splitlines()

    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    unmarked = [
        lines[statement.lineno - 1]
        for function in functions
        for statement in function.body
        if "# type: ignore[" not in lines[statement.lineno - 1]
    ]
    assert functions
    assert unmarked == []


def test_nothing_else_is_forgiven() -> None:
    """api.py and blocking.py have no comment that suppresses an error."""
    assert "ignore" not in API.read_text(encoding="utf-8") + BLOCKING.read_text(encoding="utf-8")
