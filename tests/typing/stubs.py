"""
Generate the type stubs of modules whose classes are built at import: ``python -m tests.typing.stubs``.

Names, parameters, defaults, types and docstrings are read from the classes, and from the verbs that they are made of.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from voltmem import _user, sync

FILES: dict[ModuleType, Path] = {module: Path(str(module.__file__)).with_suffix(".pyi") for module in (_user, sync)}
HEADER = '"""The types of {}. Made by "python -m tests.typing.stubs": do not edit."""'
SPECIAL = ("__init__", "__iter__", "__enter__", "__exit__")
# Names in the types of generated classes that the modules of these types do not import.
ADDED = {
    "AbstractAsyncContextManager": "contextlib",
    "AbstractContextManager": "contextlib",
    "Generator": "collections.abc",
    "Iterator": "collections.abc",
    "TypeVar": "typing",
}


def made(module: ModuleType) -> str:
    """Return the text of a module's stub: its constants, functions and classes, in their order."""
    defined = {name: each for name, each in vars(module).items() if getattr(each, "__module__", "") == module.__name__}
    types = Types(set(defined))
    body = [line for name, each in defined.items() if name[0] != "_" for line in lines_of(name, each, types)]
    public = [f"__all__ = {module.__all__}"] if hasattr(module, "__all__") else []
    return formatted("\n".join([HEADER.format(module.__name__), *types.imports, *public, *body]), FILES[module])


def formatted(text: str, file: Path) -> str:
    """Return the text in ruff's format."""
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(file), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=file.parent).stdout
    return text


# --- classes, functions and their types -----------------------------------------------------------------------------


def lines_of(name: str, defined: Any, types: Types) -> Iterator[str]:
    """Yield the lines of a class, of a function or of a type variable."""
    if isinstance(defined, TypeVar):
        yield f"{name} = {types.known(f'TypeVar({name!r})', __name__)}"
        return
    if not isinstance(defined, type):
        yield from member_lines(name, defined, types)
        return
    bases = ", ".join(base.__name__ for base in defined.__bases__ if base.__module__ == defined.__module__)
    yield f"class {name}({bases}):"
    yield from docstring(defined)
    for member_name, member in vars(defined).items():
        if member_name in SPECIAL or not member_name.startswith("_"):
            yield textwrap.indent("\n".join(member_lines(member_name, member, types)), " " * 4)


def member_lines(name: str, member: Any, types: Types) -> Iterator[str]:
    """Yield the lines of a function, a method, a property or an attribute (a property with a setter)."""
    function = getattr(member, "fget", member)  # a property's
    module, signature = inspect.unwrap(function).__module__, inspect.signature(function)
    if isinstance(member, property) and member.fset is not None:
        yield f"{name}: {types.known(returned(function), module)}"
        return
    if isinstance(member, property):
        yield "@property"
    begin = "async def" if inspect.iscoroutinefunction(function) else "def"
    yield f"{begin} {name}({parameters(signature, module, types)}) -> {types.known(returned(function), module)}:"
    yield from docstring(member)


def returned(function: Callable[..., object]) -> str:
    """Return the type of a call's result, as source text."""
    annotation = inspect.signature(function).return_annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if inspect.isasyncgenfunction(inspect.unwrap(function)) and not inspect.isasyncgenfunction(function):
        return text.replace("AsyncIterator", "AbstractAsyncContextManager", 1)  # with asynccontextmanager
    return text


def parameters(signature: inspect.Signature, module: str, types: Types) -> str:
    """Return the parameters of a signature, with types that are known in a module."""
    written: list[str] = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not any(before.startswith("*") for before in written):
            written.append("*")
        stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
        annotation = "" if each.annotation is each.empty else f": {types.known(each.annotation, module)}"
        written.append(f"{stars}{each.name}{annotation}{default(each)}")
    return ", ".join(written)


def default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    is_plain = isinstance(parameter.default, str | int | float | None)
    return f" = {parameter.default!r}" if is_plain else " = ..."


def docstring(documented: Any) -> Iterator[str]:
    """Yield the docstring, or "..." without one, as the body."""
    if not documented.__doc__:
        yield "    ..."
        return
    text = inspect.cleandoc(documented.__doc__)
    quoted = f'"""\n{text}\n"""' if "\n" in text else f'"""{text}"""'
    yield textwrap.indent("r" + quoted if "\\" in text else quoted, " " * 4)


# --- the names in types ---------------------------------------------------------------------------------------------


class Types:
    """The names that a stub needs for its types, and their imports."""

    def __init__(self, own: set[str]) -> None:
        self._own = own
        self._imports: set[str] = set()

    @property
    def imports(self) -> list[str]:
        return sorted(self._imports)

    def known(self, annotation: str, module: str) -> str:
        """Return an annotation of a module, after registering its names."""
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            if isinstance(node, ast.Name):
                self._make_known(node.id, sys.modules[module])
        return annotation

    def _make_known(self, name: str, module: ModuleType) -> None:
        if name in self._own or hasattr(builtins, name):
            return
        if name in ADDED:
            self._imports.add(f"from {ADDED[name]} import {name}")
        else:
            self._imports.add(imports_of(module).get(name) or f"from {module.__name__} import {name}")


def imports_of(module: ModuleType) -> dict[str, str]:
    """Return the statement that imports each name of the module, those for type checkers included."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                beginning = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"{beginning}import {alias.name}{renamed}"
    return found


if __name__ == "__main__":
    for each, path in FILES.items():
        path.write_text(made(each), encoding="utf-8")
