"""The house: who imports whom, what is public, what each file is told to be."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import voltmem

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "voltmem"

# Each module may import those before it, never those after it: a call reaches its row in one hop.
LAYERS = [
    {"errors"},
    {"_values", "_tables", "_words"},
    {
        "models",
        "options",
        "query",
        "history_models",
        "sidebar_models",
        "search_models",
        "share_models",
        "groups",
        "_cursors",
    },
    {"changes_models"},
    {"transfer_models"},
    {"transfer_lines"},
    {"_parts"},
    {"importers"},
    {"embedded"},
    {"_database"},
    {"_listening"},
    {"_migrations"},
    {"_conversation_schema"},
    {"_schema"},
    {"_appends"},
    {"conversations", "messages", "agent_history", "sidebar", "search", "shares"},
    {"changes"},
    {"agent_run", "memory", "transfer"},
    {"camel", "native"},
    {"user"},
    {"storage"},
    {"branches"},
    {"__main__"},
    {"testing"},
    {"langchain", "openai_agents", "pydantic_ai"},
    # adapters/agno: what the framework stores, what it calls, what an application calls.
    {"_blocking", "_documents", "_installed"},
    {"_runs"},
    {"_sessions"},
    {"_db", "_sessions_of_1"},
    {"_import", "_storage"},
    {"_problems"},
    {"_openapi", "_payloads", "_route", "_signed_in", "_ui_messages"},
    {"_conversations", "_events", "_messages", "_transfer"},
    {"_frontends", "_shares"},
]
# Within a layer: what a module may import of its own floor.
NEIGHBOURS = {
    "_values": set[str](),
    "query": {"models"},
    "history_models": {"models"},
    "sidebar_models": {"models"},
    "search_models": {"models"},
    "share_models": {"models"},
    "groups": {"models"},
    "_cursors": {"models"},
    "conversations": set[str](),
    "messages": set[str](),
}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from [f"{node.module}.{name.name}" for name in node.names]
            yield node.module
        elif isinstance(node, ast.Import):
            yield from [name.name for name in node.names]


def modules() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.stem)
def test_a_module_imports_only_those_below_it(file: Path) -> None:
    """Imports inside the package go downwards."""
    floor = next(number for number, layer in enumerate(LAYERS) if file.stem in layer)
    below = set[str]().union(*LAYERS[:floor]) | NEIGHBOURS.get(file.stem, set())

    folder = ".".join(file.parent.relative_to(ROOT).parts)  # those beside it are known by their own names
    found = [name for name in imports(file) if name.startswith("voltmem.")]
    ours = {name.removeprefix(f"{folder}.").removeprefix("voltmem.") for name in found}

    assert {name.split(".")[0] for name in ours} <= below


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.stem)
def test_only_the_database_and_the_migrations_know_the_driver(file: Path) -> None:
    """asyncpg is imported where statements are sent, and nowhere else."""
    if file.stem in ("_database", "_migrations", "_conversation_schema"):
        return

    assert not {name for name in imports(file) if name.split(".")[0] == "asyncpg"}


def test_the_core_needs_asyncpg_and_pydantic_only() -> None:
    """What is imported at the top of the core's files is the standard library, asyncpg or pydantic."""
    known = {"asyncpg", "pydantic", "pydantic_core", "voltmem"}

    foreign = {
        name.split(".")[0]
        for file in modules()
        if file not in WEB
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imports_of(node)
    }

    assert {name for name in foreign if name not in known and not is_standard(name)} == set()


def imports_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]


def is_standard(name: str) -> bool:
    import sys

    return name in sys.stdlib_module_names


def test_the_public_names_are_sorted_and_there() -> None:
    """__all__ is what the package offers, in order, and all of it can be imported."""
    assert voltmem.__all__ == sorted(voltmem.__all__, key=lambda name: (name != name.upper(), name))
    assert [name for name in voltmem.__all__ if not hasattr(voltmem, name)] == []


def test_every_public_name_says_what_it_is() -> None:
    """Public classes, functions and methods have a docstring."""
    silent = [
        f"{file.stem}.{node.name}"
        for file in modules()
        if not file.stem.startswith("_") or file in ADAPTERS
        for node in public_definitions(ast.parse(file.read_text()))
        if not ast.get_docstring(node)
    ]

    assert silent == []


def public_definitions(
    tree: ast.Module | ast.ClassDef,
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def test_the_top_level_holds_nothing_else() -> None:
    """A reader who opens the repository sees what is there: DESIGN's rooms."""
    rooms = {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"}
    rooms |= {"docs", "examples", "migrations_sql", "tests", "voltmem"}

    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert there - {"build", "dist"} <= rooms


def test_every_make_target_explains_itself() -> None:
    """Each phony target of the Makefile has a one-line ## help."""
    makefile = (ROOT / "Makefile").read_text()
    phony = makefile.partition(".PHONY:")[2].splitlines()[0].split()

    unexplained = [name for name in phony if not any(is_explained(line, name) for line in makefile.splitlines())]

    assert unexplained == []


def is_explained(line: str, target: str) -> bool:
    return line.startswith(f"{target}:") and "## " in line


# --- the web ------------------------------------------------------------------------------------------------------

WEB = sorted((PACKAGE / "web").glob("*.py"))


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.stem)
def test_only_the_web_knows_of_it(file: Path) -> None:
    """What its extra brings is imported there, and nowhere else; and nothing else is."""
    brought = {"fastapi", "starlette", "sse_starlette"}
    foreign = {name.split(".")[0] for name in imports(file)} - sys.stdlib_module_names

    if file in WEB:
        assert foreign <= {"pydantic", "pydantic_core", "voltmem"} | brought
    else:
        assert not foreign & brought
        assert not [name for name in imports(file) if name.startswith("voltmem.web")]


# --- the adapters -------------------------------------------------------------------------------------------------

OF_ONE_FILE = sorted((PACKAGE / "adapters").glob("[a-z]*.py"))
ADAPTERS = sorted([*OF_ONE_FILE, *(PACKAGE / "adapters").glob("[a-z]*/*.py")])
FRAMEWORKS = {
    "agno": {"agno"},
    "langchain": {"langchain", "langchain_core", "langgraph"},
    "openai_agents": {"agents"},
    "pydantic_ai": {"pydantic_ai"},
}


@pytest.mark.parametrize("file", ADAPTERS, ids=lambda file: file.stem)
def test_an_adapter_imports_its_framework_and_no_other(file: Path) -> None:
    """Beside the standard library and pydantic, an adapter imports what its extra brings."""
    foreign = {name.split(".")[0] for name in imports(file)} - {"pydantic", "pydantic_core", "voltmem"}

    assert foreign - sys.stdlib_module_names <= FRAMEWORKS[file.stem if file in OF_ONE_FILE else file.parent.name]


@pytest.mark.parametrize("file", OF_ONE_FILE, ids=lambda file: file.stem)
def test_an_adapter_has_the_same_three_parts(file: Path) -> None:
    """What the framework stores, what it calls, and what an application calls, in this order."""
    parts = ["what the framework stores, as our messages and back", "what the framework calls"]

    found = re.findall(r"^ *# --- (what .*?) -+$", file.read_text(), re.MULTILINE)

    assert found in (parts, [*parts, "what an application calls"])
