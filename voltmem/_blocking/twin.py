"""
Blocking classes made of asynchronous ones by introspection, so that a verb is written once.

    async def get_messages(…) -> list[Message]                 def get_messages(…) -> list[Message]
    def watch(…) -> AsyncGenerator[Change, None]               def watch(…) -> Generator[Change, None, None]
    def record_run(…) -> AbstractAsyncContextManager[AgentRun] def record_run(…) -> AbstractContextManager[AgentRun]
    def for_user(…) -> UserStorage                             def for_user(…) -> UserStorage, the blocking one

Names, parameters, defaults and docstrings are the asynchronous ones.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from queue import SimpleQueue
from typing import IO, Any, ClassVar, Final, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel

from voltmem._blocking.calls import FromCaller, Inbox
from voltmem._blocking.loop_thread import Runner
from voltmem._repr import safe_repr

_DECORATED: Final = (r"^AsyncIterator\[", "AbstractContextManager[")
_RETURNED: Final = (
    (r"\bAsyncGenerator\[(.*), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncIterator\[", "Iterator["),
    (r"\bAbstractAsyncContextManager\[", "AbstractContextManager["),
)
# Iterable, but used as one value.
_ONE_VALUE: Final = (str, bytes, bytearray, memoryview, Mapping, BaseModel)


class Twin:
    """
    The blocking form of an asynchronous object: ``class UserStorage(Twin, of=voltmem.UserStorage)``.

    The class has the public methods, properties and annotated attributes of the asynchronous one whose names are in
    snake_case, unless it defines them itself. What they return is in its blocking form, too.

    Args:
        of: The asynchronous class. None: that of the base.
        without: Names that are left out.
    """

    _of: ClassVar[type]
    _asynchronous: Any
    _runner: Runner

    def __init_subclass__(cls, *, of: type | None = None, without: Collection[str] = ()) -> None:
        if of is None:
            return
        inherited = [base._of for base in cls.__mro__[1:] if issubclass(base, Twin) and "_of" in vars(base)]
        cls._of = of
        _twins[of] = cls
        for name, member in public_members(of).items():
            is_inherited = any(public_members(base).get(name) is member for base in inherited)
            blocking_name = _blocking_name(name)
            if not (is_inherited or blocking_name in vars(cls) or name in without):
                setattr(cls, blocking_name, _twin_member(cls, name, member))

    @safe_repr
    def __repr__(self) -> str:
        return f"<blocking {self._asynchronous!r}>"


_twins: Final[dict[type, type[Twin]]] = {}
TwinT = TypeVar("TwinT", bound=Twin)


# Not methods of Twin: its classes have the names of the asynchronous ones, and no others.
def asynchronous_class(twin: type[Twin]) -> type:
    """Return the class of which this one is the blocking form."""
    return twin._of


def twin_of(asynchronous: object, kind: type[TwinT], runner: Runner) -> TwinT:
    """Return the blocking form of an asynchronous object of the runner's loop."""
    twin = kind.__new__(kind)
    twin._asynchronous, twin._runner = asynchronous, runner
    return twin


def blocking(value: Any, runner: Runner) -> Any:
    """Return the blocking form of an asynchronous method's result. A value without one is returned unchanged."""
    for kind in type(value).__mro__:
        if kind in _twins:
            return twin_of(value, _twins[kind], runner)
    if isinstance(value, AsyncIterator):
        return runner.iterate(value)
    if isinstance(value, AbstractAsyncContextManager):
        return runner.enter(value, blocking)
    return value


def public_members(of: type) -> dict[str, object]:
    """Return the public members of an asynchronous class by name, in the order of definition, without constructors."""
    names = [
        name
        for base in reversed(of.__mro__)
        for name in [*vars(base).get("__annotations__", ()), *vars(base)]
        if name == "__aiter__" or (name == name.lower() and not name.startswith("_"))
    ]
    found = {name: inspect.getattr_static(of, name, None) for name in names}
    return {name: member for name, member in found.items() if not isinstance(member, classmethod)}


def _blocking_name(name: str) -> str:
    return "__iter__" if name == "__aiter__" else name


def _twin_member(cls: type[Twin], name: str, member: object) -> object:
    def get(self: Twin) -> Any:
        return blocking(getattr(self._asynchronous, name), self._runner)

    def put(self: Twin, value: Any) -> None:
        setattr(self._asynchronous, name, value)

    if inspect.isfunction(member):
        return _verb(cls, name, member)
    if isinstance(member, property) and member.fget is not None:
        _describe(get, member.fget.__module__, inspect.signature(member.fget).return_annotation)
        return property(get, doc=blocking_text(member.__doc__))
    base = next(each for each in cls._of.__mro__ if name in inspect.get_annotations(each))
    _describe(get, base.__module__, inspect.get_annotations(base)[name])
    return property(get, put)


def _describe(get: Callable[..., Any], module: str, annotation: str) -> None:
    """Set the return type of a getter, resolved in the module of the asynchronous class."""
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    get.__module__ = module
    get.__signature__ = inspect.Signature([itself], return_annotation=annotation)  # type: ignore[attr-defined]


def _verb(cls: type[Twin], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    iterables = list(_iterables(function))

    def verb(self: Twin, *arguments: Any, **named: Any) -> Any:
        inbox: Inbox = SimpleQueue()
        if iterables:
            arguments, named = _taken(iterables, arguments, named, inbox)
        given = getattr(self._asynchronous, name)(*arguments, **named)
        if inspect.iscoroutine(given):
            given = self._runner.run(given, inbox)
        return blocking(given, self._runner)

    verb.__name__ = _blocking_name(name)
    verb.__qualname__ = f"{cls.__qualname__}.{verb.__name__}"
    verb.__module__ = inspect.unwrap(function).__module__  # where the names in its signature are known
    verb.__doc__ = blocking_text(function.__doc__)
    verb.__signature__ = blocking_signature(function)  # type: ignore[attr-defined]
    return verb


# --- signatures and docstrings --------------------------------------------------------------------------------------


def blocking_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a method's blocking form. An asynchronous return type becomes the blocking one."""
    signature = inspect.signature(function)
    returned = str(signature.return_annotation)
    if not inspect.isasyncgenfunction(function) and inspect.isasyncgenfunction(inspect.unwrap(function)):
        returned = re.sub(*_DECORATED, returned)  # with asynccontextmanager
    for asynchronous, plain in _RETURNED:
        returned = re.sub(asynchronous, plain, returned)
    return signature.replace(return_annotation=returned)


def blocking_text(text: str | None) -> str | None:
    """Return a docstring with its examples converted to blocking code."""
    text = text and re.sub(r"\bawait |\basync (?=with |for |def )|\ba(?=closing\b)", "", text)
    return text and text.replace("an asynchronous iterator", "an iterator")


# --- iterables of the caller ----------------------------------------------------------------------------------------


class _IterableParameter(NamedTuple):
    """A parameter that takes any iterable. Producing its items may call blocking methods."""

    position: int
    name: str
    is_streamed: bool
    """Whether it also takes an asynchronous iterable, so that its items can be passed on one by one."""
    is_file_read: bool
    """Whether an open file is read, not iterated over: it is passed on, and read in another thread."""


def _iterables(function: Callable[..., Any]) -> Iterator[_IterableParameter]:
    written = inspect.signature(inspect.unwrap(function), eval_str=True).parameters
    for position, name in enumerate(list(inspect.signature(function).parameters)[1:]):
        annotation = written[name].annotation
        kinds = {get_origin(each) for each in (annotation, *get_args(annotation))}
        if Iterable in kinds:
            yield _IterableParameter(position, name, AsyncIterable in kinds, IO in kinds)


def _taken(
    iterables: Iterable[_IterableParameter], arguments: tuple[Any, ...], named: dict[str, Any], inbox: Inbox
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with iterables that fetch their items in this thread, the caller's."""
    positional = list(arguments)
    for position, name, is_streamed, is_file_read in iterables:
        where: Any = named if name in named else positional
        key: Any = name if name in named else position
        if key != position or position < len(positional):
            value = where[key]
            if is_file_read and hasattr(value, "read"):
                continue
            if isinstance(value, Iterable) and not isinstance(value, _ONE_VALUE):
                where[key] = FromCaller(value, inbox) if is_streamed else list(value)
    return tuple(positional), named
