"""
The public API as text, a line for each name: ``python -m tests.public_api`` writes it to public_api.txt.

A change there is a change for users: a diff of the file shows each decision.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast, get_origin

from pydantic import BaseModel

import voltmem
from tests.typing.stubs import returned
from voltmem._values import spelled

FILE = Path(__file__).with_suffix(".txt")
MODULES = (
    "voltmem",
    "voltmem.adapters.agno",
    "voltmem.adapters.langchain",
    "voltmem.adapters.langgraph",
    "voltmem.adapters.openai_agents",
    "voltmem.adapters.pydantic_ai",
    "voltmem.adapters.pydantic_ai_harness",
    "voltmem.embedders",
    "voltmem.errors",
    "voltmem.importers",
    "voltmem.models",
    "voltmem.options",
    "voltmem.parts",
    "voltmem.tokens",
    "voltmem.sync",
    "voltmem.testing",
    "voltmem.web",
    "voltmem.chat",
)
# The methods that "with", "async for" and "await" call.
# Members that make models of values and rows: voltmem's own, and not in the reference either.
INTERNAL = frozenset(
    {
        "from_row",
        "given",
        "in_form",
        "keeping",
        "kept_under",
        "model_config",
        "model_post_init",
        "of",
        "of_fields",
        "saying",
    }
    | {"stored_at", "to_row"}
)
SPECIAL = {"__init__", "__aenter__", "__aexit__", "__aiter__", "__await__", "__enter__", "__exit__", "__iter__"}


def public_api() -> list[str]:
    """Return the lines, sorted by name. A name that several modules export is described once."""
    lines: dict[str, str] = {}
    paths: dict[int, str] = {}
    for module in map(importlib.import_module, filter(find_spec, MODULES)):
        for name, value in public_names(module).items():
            path = f"{module.__name__}.{name}"
            first = paths.setdefault(id(value), path) if inspect.isclass(value) or inspect.isfunction(value) else path
            lines |= {path: f"{path} is {first}"} if first != path else dict(described(path, value, module))
    return [lines[path] for path in sorted(lines)]


def public_names(module: ModuleType) -> dict[str, Any]:
    """Return the names in a module's __all__."""
    return {name: getattr(module, name) for name in module.__all__}


def constants(module: ModuleType) -> dict[str, str]:
    """Return the assignments of a module as source text."""
    found: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        found |= {target.id: ast.unparse(node) for target in targets if isinstance(target, ast.Name)}
    return found


def described(path: str, value: Any, module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield the lines of a name and of its members, each with its path."""
    name = path.rpartition(".")[2]
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object and is_public(base))
        yield path, f"class {path}({bases})" if bases else f"class {path}"
        for name in member_names(value):
            yield f"{path}.{name}", member_line(f"{path}.{name}", value, name)
    elif inspect.isfunction(value):
        yield path, function_line(path, value, inspect.signature(value))
    else:
        is_plain = isinstance(value, str | int | float) or get_origin(value) is not None  # of an alias
        imported = f"{name} = {value!r}" if is_plain else f"{name}: {type(value).__name__}"
        yield path, f"{module.__name__}.{constants(module).get(name, imported)}"


def is_public(cls: type) -> bool:
    module = cls.__module__
    return not module.startswith("voltmem.") or module in MODULES or cls in vars(voltmem).values()


def member_names(cls: type) -> Iterator[str]:
    """Yield the names of the public members that a class defines, or inherits from private bases."""
    of_public_bases = {each for base in cls.__mro__[1:] if is_public(base) for each in base.__mro__}
    seen = {name for base in of_public_bases for name in member_names_of(base)}
    for base in cls.__mro__:
        if base is cls or not is_public(base):
            own = [name for name in member_names_of(base) if base is cls or name not in seen]
            seen.update(own)
            yield from own


def member_names_of(cls: type) -> list[str]:
    # A protocol has its constructor from typing.
    own = [name for name, member in vars(cls).items() if getattr(member, "__module__", None) != "typing"]
    names = dict.fromkeys([*inspect.get_annotations(cls), *own])
    return [name for name in names if name in SPECIAL or not (name.startswith("_") or name in INTERNAL)]


def member_line(path: str, cls: type, name: str) -> str:
    member = inspect.getattr_static(cls, name, None)
    annotations = {key: kind for base in cls.__mro__ for key, kind in inspect.get_annotations(base).items()}
    if isinstance(member, spelled):
        return f"{path}: {member.__doc__}"
    if isinstance(member, property):
        return f"{path}: {written(inspect.signature(cast(Any, member.fget)).return_annotation)}"
    if name in annotations:
        return f"{path}: {written(annotations[name])}{default_of(cls, name)}"
    function = getattr(member, "__func__", member)  # of a class method
    if not inspect.isfunction(function):
        return path
    signature = inspect.signature(function)
    if not isinstance(member, staticmethod):
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    return function_line(path, function, signature)


def default_of(cls: type, name: str) -> str:
    """Return the default of a model's field."""
    field = cls.model_fields.get(name) if issubclass(cls, BaseModel) else None
    if field is None or field.is_required():
        return ""
    return " = …" if field.default_factory is not None else f" = {field.default!r}"


def function_line(path: str, function: Callable[..., object], signature: inspect.Signature) -> str:
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    parameters = [each.replace(annotation=_shown(each.annotation)) for each in signature.parameters.values()]
    shown = signature.replace(parameters=parameters, return_annotation=_shown(returned(function)))
    return f"{kind} {path}{shown}"


def written(annotation: Any) -> str:
    """Return an annotation as in the source."""
    text = getattr(annotation, "__forward_arg__", annotation)
    return text if isinstance(text, str) else inspect.formatannotation(text)


def _shown(annotation: Any) -> Any:
    return annotation if annotation is inspect.Signature.empty else _Written(written(annotation))


class _Written(NamedTuple):
    """An annotation that a signature shows without quotes."""

    text: str

    def __repr__(self) -> str:
        return self.text


if __name__ == "__main__":
    FILE.write_text("\n".join([*public_api(), ""]), encoding="utf-8")
