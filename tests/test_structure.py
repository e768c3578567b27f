"""The structure of the code: imports between modules, public names, lengths of files and functions."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path

import pytest

import voltmem
from tests.checkout import ROOT

PACKAGE = ROOT / "voltmem"


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from [f"{node.module}.{name.name}" for name in node.names]
            yield node.module
        elif isinstance(node, ast.Import):
            yield from [name.name for name in node.names]


def modules() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if file.stem != "__init__")


def test_the_core_needs_asyncpg_and_pydantic_only() -> None:
    """The core's modules import only the standard library, asyncpg and pydantic at the top."""
    known = {"asyncpg", "pydantic", "pydantic_core", "voltmem"}

    foreign = {
        name.split(".")[0]
        for file in modules()
        if file not in (*WEB, *AGENTS, *OF_CHAT)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imports_of(node)
    }

    assert {name for name in foreign if name not in known and not is_standard(name)} == set()


def imports_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]


def is_standard(name: str) -> bool:
    return name in sys.stdlib_module_names


def test_the_public_names_are_sorted_and_there() -> None:
    """__all__ has the package's public names, sorted, and all of them can be imported."""
    assert voltmem.__all__ == sorted(voltmem.__all__, key=lambda name: (name != name.upper(), name))
    assert [name for name in voltmem.__all__ if not hasattr(voltmem, name)] == []


def test_every_public_name_says_what_it_is() -> None:
    """Public classes, functions and methods have a docstring."""
    silent = [
        f"{file.stem}.{node.name}"
        for file in modules()
        if not {"_postgres", "_blocking"} & set(file.parts) and (not file.stem.startswith("_") or file in ADAPTERS)
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
    """The repository's root has only the files and folders of DESIGN."""
    rooms = {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"}
    rooms |= {"docs", "examples", "migrations_sql", "tests", "voltmem"}

    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert there - {"build", "dist"} <= rooms


def test_every_make_target_explains_itself() -> None:
    """Each phony target of the Makefile has a one-line ## help."""
    makefile = (ROOT / "Makefile").read_text()
    phony = makefile.replace("\\\n", " ").partition(".PHONY:")[2].splitlines()[0].split()

    unexplained = [name for name in phony if not any(is_explained(line, name) for line in makefile.splitlines())]

    assert unexplained == []


def test_the_hooks_run_each_tool_of_lint_and_types() -> None:
    """The hooks of git run each tool that "make lint" and "make types" run."""
    makefile, hooks = ((ROOT / name).read_text() for name in ("Makefile", ".pre-commit-config.yaml"))
    recipes = re.findall(r"^(?:lint|types):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    tools = re.findall(r"\$\(BIN\)/(ruff \w+|[\w-]+)", "".join(recipes))

    assert len(recipes) == 2
    assert set(tools) == set(re.findall(r"entry: \.venv/bin/(ruff \w+|[\w-]+)", hooks))


def is_explained(line: str, target: str) -> bool:
    return line.startswith(f"{target}:") and "## " in line


# --- each file ----------------------------------------------------------------------------------------------------

LONGEST_FILE = 500
LONGEST_FUNCTION = 45
Function = ast.FunctionDef | ast.AsyncFunctionDef


def each_file_of(*folders: str) -> pytest.MarkDecorator:
    files = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return pytest.mark.parametrize("file", files, ids=lambda file: str(file.relative_to(ROOT)))


every_file = each_file_of("voltmem")


@every_file
def test_a_file_is_not_longer_than_the_bound(file: Path) -> None:
    """A file is not longer than the bound, since a longer one has more than one subject."""
    assert len(file.read_text().splitlines()) <= LONGEST_FILE


@each_file_of("voltmem", "tests", "examples", "docs")
def test_a_function_is_short_enough_to_be_seen_whole(file: Path) -> None:
    """A function is not longer than the bound, without its docstring and the text of its SQL."""
    counts = [(function.name, len(lines_of(function))) for function in functions(file)]

    assert [(name, count) for name, count in counts if count > LONGEST_FUNCTION] == []


def functions(file: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, Function)]


def lines_of(function: Function) -> set[int]:
    """Return the numbers of a function's lines, without those of its docstring and of multi-line strings."""
    texts: list[ast.stmt | ast.expr] = [function.body[0]] if ast.get_docstring(function) is not None else []
    texts += [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno
    ]
    return numbers_of(function) - {number for text in texts for number in numbers_of(text)}


def numbers_of(node: ast.stmt | ast.expr) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


@every_file
def test_an_import_within_a_function_says_why(file: Path) -> None:
    """An import within a function has a comment: it is an optional extra, or costs time at the start."""
    lines = file.read_text().splitlines()
    within = {
        node.lineno
        for function in functions(file)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert [lines[number - 1].strip() for number in sorted(within) if "#" not in lines[number - 1]] == []


@every_file
def test_a_file_uses_no_privates_of_another(file: Path) -> None:
    """A file does not use names with a leading underscore of another file's classes and modules."""
    tree = ast.parse(file.read_text())
    own = {name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for name in names_defined_by(node)}

    used = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own
        if ast.unparse(node.value) not in ("self", "cls", "super()")
    ]
    imported = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if is_private(alias.name) and not is_module(node, alias.name)
    ]

    assert [*used, *imported] == []


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_module(node: ast.ImportFrom, name: str) -> bool:
    path = ROOT.joinpath(*str(node.module).split("."), name)
    return path.is_dir() or path.with_suffix(".py").is_file()


def names_defined_by(node: ast.ClassDef) -> Iterator[str]:
    """Yield the names of a class's methods and of the attributes that it sets."""
    for each in node.body:
        if isinstance(each, Function):
            yield each.name
        elif isinstance(each, ast.Assign | ast.AnnAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            yield from [target.id for target in targets if isinstance(target, ast.Name)]
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and ast.unparse(inner.value) == "self":
            yield inner.attr


# --- the web ------------------------------------------------------------------------------------------------------

WEB = sorted((PACKAGE / "web").glob("*.py"))
# Loaded when such an agent is given.
AGENTS = sorted((PACKAGE / "chat" / "_agents").glob("[a-z]*.py"))
# Loaded by the chat's application, which says first that the extra is missing.
OF_CHAT = [
    PACKAGE / "chat" / f"{name}.py"
    for name in ("_ai_sdk", "_asking", "_assets", "_carried", "_events", "_features", "_pages", "_routes")
]


# --- the adapters -------------------------------------------------------------------------------------------------

OF_ONE_FILE = sorted((PACKAGE / "adapters").glob("[a-z]*.py"))
ADAPTERS = sorted([*OF_ONE_FILE, *(PACKAGE / "adapters").glob("[a-z]*/*.py")])
FRAMEWORKS = {
    "agno": {"agno"},
    "langchain": {"langchain", "langchain_core", "langgraph"},
    "langgraph": {"langgraph"},
    "openai_agents": {"agents"},
    "pydantic_ai": {"pydantic_ai"},
    "pydantic_ai_harness": set(),  # loaded when a store is made
}


@pytest.mark.parametrize("file", ADAPTERS, ids=lambda file: file.stem)
def test_an_adapter_imports_its_framework_and_no_other(file: Path) -> None:
    """An adapter imports only the standard library, pydantic, voltmem and its own framework."""
    foreign = {name.split(".")[0] for name in imports(file)} - {"pydantic", "pydantic_core", "voltmem"}

    assert foreign - sys.stdlib_module_names <= FRAMEWORKS[file.stem if file in OF_ONE_FILE else file.parent.name]


@pytest.mark.parametrize("file", OF_ONE_FILE, ids=lambda file: file.stem)
def test_an_adapter_has_the_same_three_parts(file: Path) -> None:
    """The conversion of messages or items, what the framework and what the application call, in this order."""
    what = "items" if file.stem in ("langgraph", "pydantic_ai_harness") else "messages"
    parts = [f"conversion of {what}", "called by the framework"]

    found = re.findall(r"^ *# --- (conversion of .*?|called by .*?) -+$", file.read_text(), re.MULTILINE)

    assert found in (parts, [*parts, "called by the application"])


def classes() -> Iterator[type]:
    """Yield the classes of the package that have a __repr__ of their own."""
    for found in pkgutil.walk_packages(voltmem.__path__, "voltmem."):
        if found.name != "voltmem.__main__":
            module = importlib.import_module(found.name)
            for name, cls in inspect.getmembers(module, inspect.isclass):
                is_here = cls.__module__ == found.name and name == cls.__name__
                if is_here and "__repr__" in dir(cls) and inspect.getmodule(cls.__repr__) is not None:
                    is_ours = (inspect.getmodule(cls.__repr__) or module).__name__.startswith("voltmem.")
                    if is_ours and not issubclass(cls, Enum) and not is_dataclass(cls):
                        yield cls


def test_every_repr_works_after_a_constructor_that_raised() -> None:
    """The repr of an object whose constructor raised is its class's name: debuggers and error reports show it."""
    found = list(classes())

    assert len(found) > 10
    for cls in found:
        assert cls.__name__ in repr(object.__new__(cls)) or "blocking" in repr(object.__new__(cls))
