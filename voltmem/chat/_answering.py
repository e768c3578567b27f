"""What the application gives as answer=: a function or a generator, plain or asynchronous, as one stream of parts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter
from typing import Any, Final, TypeAlias, cast

from voltmem._user import UserStorage
from voltmem._values import short_repr
from voltmem.chat._agents import Agent, asking
from voltmem.chat._calling import call, in_thread
from voltmem.chat._context import Context
from voltmem.chat._parts import PARTS, File, Part, ToolCall, ToolInput, ToolResult, Waiting, media_type
from voltmem.errors import InvalidInputError, InvalidOptionError
from voltmem.models import Message

Said: TypeAlias = Part | Iterable[Part] | AsyncIterable[Part]
Answer: TypeAlias = Callable[..., Said | Awaitable[Said]]
"""A function or a generator, plain or asynchronous, that answers: with a text, or with pieces of it and other parts."""


_ARGUMENTS: Final = ("messages", "message", "history", "context")
_END: Final = object()


class Answering:
    """
    Calls answer= with the arguments that it names, and streams what it returns.

    A plain function runs in a thread, so that it may block.
    """

    def __init__(self, answer: Answer | Agent) -> None:
        self._answer = cast(Answer, asking(answer) or answer)
        self._wanted = _wanted(self._answer)

    async def parts(
        self, messages: Sequence[Message], context: Context, mine: UserStorage | None = None
    ) -> AsyncIterator[Part | Waiting]:
        """
        Stream the answer to the last of the messages. With *mine*, the bytes of files are stored and come as addresses.

        An answer that has stopped for approval ends with Waiting. It goes on if it is asked again with the same
        messages, and with the decisions and the state of the Waiting in the context.

        Raises:
            InvalidInputError: answer= gave nothing, or what is no part.
        """
        given = {"messages": [*messages], "message": messages[-1], "history": [*messages[:-1]], "context": context}
        is_empty, waits = True, set[str]()
        try:
            made = await call(self._answer, **{name: given[name] for name in self._wanted})
            if isinstance(made, str | bytes | Mapping) or not isinstance(made, AsyncIterable | Iterable):
                made = [] if made is None else [made]
            async for part in _each(made):
                if isinstance(part, Waiting):
                    waits.clear()
                    yield part
                    continue
                if not isinstance(part, PARTS):
                    raise InvalidInputError(
                        f"answer= gave {short_repr(part)}: yield strings, or the parts of voltmem.chat"
                    )
                if isinstance(part, ToolCall):
                    (waits.add if part.needs_approval else waits.discard)(part.id)
                elif isinstance(part, ToolResult):
                    waits.discard(part.id)
                if part:
                    is_empty = is_empty and isinstance(part, ToolInput)
                    yield await _stored(part, mine) if isinstance(part, File) and mine is not None else part
        except SystemExit as error:  # it would end the server
            context.cancelled.set()
            raise RuntimeError(f"answer= called sys.exit({error.code!r})") from error
        except BaseException:
            context.cancelled.set()
            raise
        if waits:  # of a function, which is called again with the decisions
            yield Waiting()
        if is_empty:
            raise InvalidInputError("answer= returned nothing: return a text, or yield pieces of one")


async def _stored(file: File, mine: UserStorage) -> File:
    """Store the bytes of a file. Returns the file with its address in their place."""
    if not file.content:
        return file
    stored = await mine.put_file(file.content)
    return replace(file, content=b"", media_type=media_type(file), url=stored.url)


async def _each(made: Any) -> AsyncIterator[Any]:
    if isinstance(made, AsyncIterable):
        async for piece in made:
            yield piece
        return
    iterator = iter(made)
    following: asyncio.Future[Any] | None = None
    try:
        while True:
            # StopIteration cannot be raised into a coroutine.
            following = in_thread(next, iterator, _END)
            if (piece := await asyncio.shield(following)) is _END:
                following = None
                return
            yield piece
    finally:
        if following is not None and hasattr(iterator, "close"):
            # The thread may be in the generator, which can be closed only after that.
            following.add_done_callback(partial(_close, iterator))


def _close(iterator: Any, step: asyncio.Future[Any]) -> None:
    """Close a generator after its last step, in a thread: what it holds may block."""
    if not step.cancelled():
        step.exception()  # nobody reads on, so nobody else asks for it
    in_thread(iterator.close)


def _wanted(answer: object) -> list[str]:
    """Return the names of the arguments that answer= takes."""
    if not callable(answer) or inspect.isclass(answer):
        raise InvalidOptionError(f"answer must be a function or a generator that answers, not {short_repr(answer)}")
    parameters = inspect.signature(answer).parameters
    named = [each for each in parameters.values() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    needed = [
        each.name
        for each in parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    unknown = [name for name in needed if name not in _ARGUMENTS or parameters[name].kind is Parameter.POSITIONAL_ONLY]
    if unknown:
        raise InvalidOptionError(
            f"answer takes {', '.join(unknown)}: name its arguments {', '.join(_ARGUMENTS)}, as many as it wants"
        )
    return [each.name for each in named if each.name in _ARGUMENTS]
