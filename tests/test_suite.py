"""The suite itself: each verb has a test with its name, and each test says its rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from tests.calls import public_methods
from tests.checkout import ROOT
from voltmem import ConversationMemory, PostgresStorage

TESTS = ROOT / "tests"
LONGEST = 600

VERBS = sorted(public_methods(PostgresStorage))
# A memory's verbs are common words: the names of their tests begin with memory_.
MEMORY_VERBS = sorted(f"memory_{verb}" for verb in public_methods(ConversationMemory))


@cache
def modules() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text("utf-8")) for file in sorted(TESTS.rglob("*.py"))}


def all_tests() -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for file, module in modules().items():
        if file.stem.startswith("test_"):
            for node in module.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    yield node


def verb_of(name: str) -> str | None:
    """Return the verb that a test's name begins with: the longest one, if several match."""
    named = [verb for verb in (*VERBS, *MEMORY_VERBS) if name.startswith(f"test_{verb}_")]
    return max(named, key=len, default=None)


@pytest.mark.parametrize("verb", [*VERBS, *MEMORY_VERBS])
def test_a_verb_has_a_test_that_begins_with_its_name(verb: str) -> None:
    """Each verb has a test whose name begins with the verb's name."""
    assert verb in {verb_of(node.name) for node in all_tests()}, f"write a test named test_{verb}_…"


def test_a_test_says_its_rule() -> None:
    """Each test has a docstring with its rule."""
    assert [node.name for node in all_tests() if not ast.get_docstring(node)] == []


def test_no_test_file_is_longer_than_the_bound() -> None:
    """No test file is longer than the bound, since a longer one has more than one subject."""
    lines = {str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines()) for file in modules()}

    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_the_examples_of_make_test_are_the_same_each_time() -> None:
    """The profile of `make test` is derandomised, and no test overrides that."""
    own = [str(file) for file, module in modules().items() if file.stem != "properties" and uses_settings(module)]

    assert settings.get_profile("voltmem").derandomize
    assert not settings.get_profile("explore").derandomize
    assert own == [], "take examples() of tests/properties.py"


def uses_settings(module: ast.Module) -> bool:
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) == "settings" for node in ast.walk(module))
