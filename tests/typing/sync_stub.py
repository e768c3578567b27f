"""
Make the type stub of voltmem.sync, whose classes are made at import: ``python -m tests.typing.sync_stub``.

Names, parameters, defaults and types are read from the classes and from the asynchronous ones that they are made of.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import voltmem
from voltmem import sync
from voltmem._blocking.twin import Twin

FILE = Path(sync.__file__).with_suffix(".pyi")
HEADER = '"""The types of voltmem.sync. Made by "python -m tests.typing.sync_stub": do not edit."""'
SPECIAL = ("__init__", "__iter__", "__enter__", "__exit__")
# What blocking forms return, and the asynchronous modules do not import.
ADDED = {"Iterator": "collections.abc", "Generator": "collections.abc", "AbstractContextManager": "contextlib"}


def made() -> str:
    """Return the text of the stub."""
    classes = [each for each in vars(sync).values() if isinstance(each, type) and each.__module__ == sync.__name__]
    types = Types({each.__name__ for each in classes})
    body = [line for each in classes for line in class_lines(each, types)]
    text = [HEADER, *types.imports, f"__all__ = {sync.__all__}", *types.definitions, *body]
    return formatted("\n".join(text))


def formatted(text: str) -> str:
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(FILE), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=FILE.parent).stdout
    return text


# --- classes and their members --------------------------------------------------------------------------------------


def class_lines(cls: type, types: Types) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base not in (object, Twin))
    yield f"class {cls.__name__}({bases}):"
    yield from docstring(cls, 4)
    for name, member in vars(cls).items():
        if name in SPECIAL or not name.startswith("_"):
            yield textwrap.indent("\n".join(member_lines(cls, name, member, types)), " " * 4)


def member_lines(cls: type, name: str, member: Any, types: Types) -> Iterator[str]:
    function = function_of(cls, name, member)
    if function is None:
        base = next(each for each in asynchronous(cls).__mro__ if name in inspect.get_annotations(each))
        yield f"{name}: {types.known(inspect.get_annotations(base)[name], base.__module__)}"
        return
    module = inspect.unwrap(function).__module__
    is_property = isinstance(member, property)
    signature = inspect.signature(function if is_property else member)
    if is_property:
        yield "@property"
    yield f"def {name}({parameters(signature, module, types)}) -> {types.known(signature.return_annotation, module)}:"
    yield from docstring(member, 4) if member.__doc__ else ["    ..."]


def function_of(cls: type, name: str, member: Any) -> Callable[..., Any] | None:
    """Return the function in whose module the types of the member are known; None for an attribute."""
    written: Callable[..., Any] = getattr(member, "fget", member)
    if written.__code__.co_filename == sync.__file__ and not hasattr(written, "__signature__"):
        return written
    original = inspect.getattr_static(asynchronous(cls), "__aiter__" if name == "__iter__" else name, None)
    found: Callable[..., Any] | None = getattr(original, "fget", original)
    return found if inspect.isfunction(found) else None


def asynchronous(cls: type) -> type:
    assert issubclass(cls, Twin)
    return cls.asynchronous_class()


def parameters(signature: inspect.Signature, module: str, types: Types) -> str:
    told: list[str] = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not any(before.startswith("*") for before in told):
            told.append("*")
        stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
        annotation = "" if each.annotation is each.empty else f": {types.known(each.annotation, module)}"
        told.append(f"{stars}{each.name}{annotation}{default(each)}")
    return ", ".join(told)


def default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    is_plain = isinstance(parameter.default, str | int | float | None)
    return f" = {parameter.default!r}" if is_plain else " = ..."


def docstring(documented: Any, indentation: int) -> Iterator[str]:
    text = inspect.cleandoc(documented.__doc__)
    quoted = f'"""\n{text}\n"""' if "\n" in text else f'"""{text}"""'
    yield textwrap.indent("r" + quoted if "\\" in text else quoted, " " * indentation)


# --- the names in their types ---------------------------------------------------------------------------------------


class Types:
    """The names that the stub needs for its types: what it imports, and what it defines."""

    def __init__(self, own: set[str]) -> None:
        self._own = own
        self._imports: set[str] = set()
        self._definitions: set[str] = set()

    @property
    def imports(self) -> list[str]:
        return sorted(self._imports)

    @property
    def definitions(self) -> list[str]:
        return sorted(self._definitions)

    def known(self, annotation: str, module: str) -> str:
        """Return an annotation of a module, after its names were made known."""
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            if isinstance(node, ast.Name):
                self._make_known(node.id, sys.modules[module])
        return annotation

    def _make_known(self, name: str, module: ModuleType) -> None:
        if name in self._own or hasattr(builtins, name):
            return
        if name in ADDED:
            self._imports.add(f"from {ADDED[name]} import {name}")
        elif name in voltmem.__all__:
            self._imports.add(f"from voltmem import {name}")
        elif (imported := imports_of(module).get(name)) is not None:
            self._imports.add(imported)
        elif module is sync:
            (definition,) = re.findall(rf"^{name} = .*", inspect.getsource(module), re.MULTILINE)
            self._definitions.add(definition)
            self.known(definition.partition("=")[2].strip(), module.__name__)
        else:
            self._imports.add(f"from {module.__name__} import {name}")


def imports_of(module: ModuleType) -> dict[str, str]:
    """Return the statement that imports each name that the module imports, for type checkers only or not."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                beginning = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"{beginning}import {alias.name}{renamed}"
    return found


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")
