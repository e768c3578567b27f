"""voltmem.sync has every verb of the asynchronous classes, with its signature, and a type stub that is equal."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import new_class
from typing import Any, get_args

import pytest

import voltmem
from tests.checkout import ROOT
from tests.typing import stubs
from voltmem import sync
from voltmem._blocking.twin import Twin, asynchronous_class, blocking_signature, blocking_text

TWINS = {
    each.__name__: each
    for each in vars(sync).values()
    if isinstance(each, type) and issubclass(each, Twin) and each not in (Twin, sync.Connection)
}
# Names without a blocking form; voltmem/sync.py says why.
LEFT_OUT = {"PostgresStorage": {"bind", "lifespan"}}


def verbs(cls: type) -> dict[str, Any]:
    """Return the public methods and properties of a class whose names are in snake_case."""
    names = [name for name in dir(cls) if name == name.lower() and not name.startswith("_")]
    return {name: each for name in names if not isinstance(each := inspect.getattr_static(cls, name), classmethod)}


@pytest.mark.parametrize("name", TWINS)
def test_a_blocking_class_has_every_verb(name: str) -> None:
    """A blocking class has every member of the asynchronous one, with a few exceptions, and run() and submit()."""
    asynchronous = verbs(asynchronous_class(TWINS[name]))
    added = {"asynchronous", "run", "submit"} if issubclass(TWINS[name], sync.Storage) else set()
    attributes = {
        "id",
        "agent_id",
        "run",
        "connection",
        "conversation_id",
        "purpose",
        "fencing_token",
    }  # not seen on the asynchronous class

    assert set(asynchronous) - set(verbs(TWINS[name])) == LEFT_OUT.get(name, set())
    assert {each for each in dir(TWINS[name]) if each[0] != "_"} - set(asynchronous) - attributes - added == set()


@pytest.mark.parametrize("name", TWINS)
def test_a_blocking_verb_has_the_parameters_of_its_verb(name: str) -> None:
    """Names, kinds, types and defaults of parameters are equal, and the documentation has no await."""
    asynchronous = verbs(asynchronous_class(TWINS[name]))

    for verb, blocking in verbs(TWINS[name]).items():
        if inspect.isfunction(blocking) and verb not in ("run", "submit"):
            expected = inspect.signature(asynchronous[verb]).parameters
            assert inspect.signature(blocking).parameters == expected, verb
            assert not inspect.iscoroutinefunction(blocking)
            assert blocking.__name__ == verb
            assert not re.search(r"\bawait \w|\basync (with|for)\b", blocking.__doc__ or ""), verb


def test_the_constructor_has_the_options_of_the_asynchronous_one() -> None:
    """The constructor has all options with their defaults, in snake_case, except the pool."""
    asynchronous = dict(inspect.signature(voltmem.PostgresStorage).parameters)
    del asynchronous["pool"], asynchronous["camel"]

    assert dict(inspect.signature(sync.PostgresStorage).parameters) == asynchronous


def test_whatever_a_verb_returns_has_a_blocking_form() -> None:
    """Every class of the package with asynchronous methods that a verb returns has a blocking form."""
    returned = {
        each
        for twin in TWINS.values()
        for name, verb in verbs(asynchronous_class(twin)).items()
        if inspect.isfunction(verb) and name not in LEFT_OUT.get(twin.__name__, ())
        for each in classes_in(inspect.signature(verb, eval_str=True).return_annotation)
    }
    with_asynchronous_methods = {
        each
        for each in returned
        if each.__module__.startswith("voltmem") and any(map(inspect.iscoroutinefunction, verbs(each).values()))
    }

    assert voltmem.ConversationMemory in with_asynchronous_methods
    assert with_asynchronous_methods - {asynchronous_class(twin) for twin in TWINS.values()} == set()


def classes_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from classes_in(argument)


class Example:
    async def value(self, a: int, *, b: str = "x") -> list[int]:
        """``await example.value(1)``"""
        return [a]

    def items(self) -> AsyncIterator[str]:
        raise NotImplementedError

    def events(self) -> AsyncGenerator[tuple[int, str], None]:
        raise NotImplementedError

    def block(self) -> AbstractAsyncContextManager[int]:
        raise NotImplementedError

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[int]:
        yield 1

    async def __aiter__(self) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("method", "returned"),
    [
        (Example.value, "list[int]"),
        (Example.items, "Iterator[str]"),
        (Example.events, "Generator[tuple[int, str], None, None]"),
        (Example.block, "AbstractContextManager[int]"),
        (Example.scope, "AbstractContextManager[int]"),
        (Example.__aiter__, "Iterator[int]"),
    ],
)
def test_a_blocking_signature_returns_the_blocking_type(method: Any, returned: str) -> None:
    """Coroutines become values; asynchronous iterators and context managers become plain ones."""
    signature = blocking_signature(method)

    assert signature.return_annotation == returned
    assert signature.parameters == inspect.signature(method).parameters


def test_blocking_documentation_has_blocking_examples() -> None:
    """In examples of docstrings, await and async are removed; other text stays."""
    text = """
    ``await storage.open()``, ``async with storage:``, ``async for each in aclosing(x):`` and ``async def f():``.

    An asynchronous method is awaited; its closing awaits nothing.
    """
    assert blocking_text(text) == text.replace("await s", "s").replace("async ", "").replace("aclosing", "closing")
    assert blocking_text(None) is None


def test_a_verb_that_is_added_has_its_blocking_form_at_once() -> None:
    """A class with one more method needs no other line: the blocking class, the signature and the stub have it."""

    class Longer(voltmem.UserStorage):
        async def greet_user(self, name: str, *, times: int = 1) -> list[str]:
            """Greet a user."""
            return [name] * times

    blocking = new_class("Blocking", (sync.UserStorage,), {"of": Longer})
    greet_user = vars(blocking)["greet_user"]
    lines = "\n".join(stubs.member_lines("greet_user", greet_user, stubs.Types(set())))

    assert [name for name in vars(blocking) if not name.startswith("_")] == ["greet_user"]
    assert lines == 'def greet_user(self, name: str, *, times: int = 1) -> list[str]:\n    """Greet a user."""'


# --- the stub -------------------------------------------------------------------------------------------------------


def test_the_stub_is_the_one_that_is_made() -> None:
    """sync.pyi is the output of ``python -m tests.typing.stubs``: run it again after changing a verb."""
    assert stubs.FILES[sync].read_text(encoding="utf-8") == stubs.made(sync)


@pytest.mark.parametrize(
    "checker",
    [["mypy.stubtest", "--concise", "voltmem.sync"], ["mypy", "--strict", "voltmem/sync.py"]],
    ids=["stubtest", "mypy"],
)
def test_mypy_agrees_with_the_stub_and_with_the_module_behind_it(checker: list[str]) -> None:
    """stubtest accepts the stub for the classes, and mypy finds no error in the module behind it."""
    command = [sys.executable, "-m", *checker]

    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)

    assert finished.returncode == 0, finished.stdout + finished.stderr


# --- the package ----------------------------------------------------------------------------------------------------


def test_the_package_has_one_kind_of_thread_with_an_event_loop() -> None:
    """Adapters and the command line use the threads of voltmem.sync, and have none of their own."""
    found = [
        str(file.relative_to(ROOT / "voltmem"))
        for file in sorted((ROOT / "voltmem").rglob("*.py"))
        if re.search(r"\b(new_event_loop|threading\.Thread)\(", file.read_text(encoding="utf-8"))
    ]

    assert found == ["_blocking/loop_thread.py"]


def test_importing_voltmem_does_not_import_its_blocking_form() -> None:
    """Importing voltmem does not import its blocking form."""
    program = "import sys, voltmem; print({'voltmem.sync', 'voltmem._blocking'} & set(sys.modules))"

    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "set()\n"
