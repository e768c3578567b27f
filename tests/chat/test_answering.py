"""What may be given as answer=: functions and generators, with the arguments that they name, and what they yield."""

from __future__ import annotations

import asyncio
import sys
import threading
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.across.said import PIXEL as PIXEL_IN_BASE64
from tests.calls import PATIENCE
from voltmem import InvalidInputError, InvalidOptionError, Message, PostgresStorage
from voltmem.chat import Answer, Context, Decision, File, Part, Reasoning, Source, ToolCall, ToolResult
from voltmem.chat._answering import Answering
from voltmem.chat._parts import Waiting

PIXEL = b64decode(PIXEL_IN_BASE64)
TALK = [
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Hello"),
    Message(role="user", content="Tea?"),
]


async def a_generator(messages: Sequence[Message]) -> AsyncIterator[str]:
    yield f"{len(messages)} "
    yield messages[-1].text


async def a_function(message: Message, history: Sequence[Message]) -> str:
    return f"{len(history) + 1} {message.text}"


def a_plain_generator(messages: Sequence[Message]) -> Iterator[str]:
    assert threading.current_thread() is not threading.main_thread()
    yield f"{len(messages)} "
    yield messages[-1].text


def a_plain_function(messages: Sequence[Message], other: int = 1) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return f"{len(messages)} {messages[-1].text}"


async def a_function_that_returns_a_generator(messages: Sequence[Message]) -> AsyncIterator[str]:
    return a_generator(messages)


class AnObject:
    async def __call__(self, messages: Sequence[Message], **more: object) -> str:
        assert more == {}
        return f"{len(messages)} {messages[-1].text}"

    async def method(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        yield f"{len(messages)} {messages[-1].text}"


async def said(answer: Answer, storage: PostgresStorage) -> str:
    return "".join([str(part) async for part in Answering(answer).parts(TALK, context(storage))])


def context(storage: PostgresStorage) -> Context:
    return Context("ada", "c1", storage.conversation("ada", "c1"))


@pytest.mark.parametrize(
    "answer",
    [
        a_generator,
        a_function,
        a_plain_generator,
        a_plain_function,
        a_function_that_returns_a_generator,
        AnObject(),
        AnObject().method,
        lambda messages: [f"{len(messages)} ", messages[-1].text],
    ],
)
async def test_answer_may_be_any_function_or_generator(storage: PostgresStorage, answer: Answer) -> None:
    """A function or a generator, plain or not, answers with its text; plain ones run in a thread."""
    assert await said(answer, storage) == "3 Tea?"


async def test_answer_is_told_who_asks_and_where(storage: PostgresStorage) -> None:
    """With an argument context, answer= gets the user, the conversation, and its memory."""

    async def answer(context: Context) -> str:
        return f"{context.user_id} {context.conversation_id} {len(await context.memory.messages())}"

    assert await said(answer, storage) == "ada c1 0"


async def test_a_plain_function_sees_that_it_is_stopped(storage: PostgresStorage) -> None:
    """Nobody can end a thread: it looks at context.cancelled. A generator is closed, too, after its step."""
    began, closed = threading.Event(), threading.Event()
    seen: list[bool] = []

    def answer(context: Context) -> Iterator[str]:
        try:
            yield "a"
            began.set()
            seen.append(context.cancelled.wait(PATIENCE))
            yield "b"
        finally:
            closed.set()

    mine = context(storage)
    parts = Answering(answer).parts(TALK, mine)
    assert await anext(parts) == "a"
    assert not mine.cancelled.is_set()
    step = asyncio.ensure_future(anext(parts))
    assert await asyncio.to_thread(began.wait, PATIENCE)
    step.cancel()

    with pytest.raises(asyncio.CancelledError):
        await step
    assert await asyncio.to_thread(closed.wait, PATIENCE)
    assert seen == [True]


async def test_answer_may_yield_parts_beside_strings(storage: PostgresStorage) -> None:
    """Parts come as they are, but that the bytes of a file are stored, and its address stands in their place."""
    given: list[Part] = [
        "Look: ",
        Reasoning("Hm."),
        ToolCall("k1", "draw"),
        ToolResult("k1", "done"),
        Source("https://x.test"),
    ]

    async def answer() -> AsyncIterator[Part]:
        for part in given:
            yield part
        yield File(PIXEL, name="dot.png")

    asked = Answering(answer).parts(TALK, context(storage), storage.for_user("ada"))
    *parts, file = [part async for part in asked]

    assert parts == given
    assert isinstance(file, File)
    assert (file.content, file.media_type, file.name) == (b"", "image/png", "dot.png")
    content = storage.read_file("ada", file.url.removeprefix("voltmem:file/"))
    assert b"".join([piece async for piece in content]) == PIXEL


async def test_a_function_may_ask_for_approval(storage: PostgresStorage) -> None:
    """An answer that ends with a call that needs approval waits; the decision comes with the context."""

    async def answer(context: Context) -> AsyncIterator[Part]:
        for decision in context.decisions:
            yield ToolResult(decision.call.id, "gone", is_denied=not decision.is_approved)
            return
        yield ToolCall("k1", "rm", needs_approval=True)

    first = context(storage)
    *_, waiting = [part async for part in Answering(answer).parts(TALK, first)]
    decided = replace(first, decisions=[Decision(ToolCall("k1", "rm"), True)])

    assert waiting == Waiting()
    assert [part async for part in Answering(answer).parts(TALK, decided)] == [ToolResult("k1", "gone")]


async def test_answers_that_block_let_others_begin(storage: PostgresStorage) -> None:
    """Plain functions that block, also after they were stopped, have threads of their own: more than a loop has."""
    begun, may_end = threading.Barrier(41), threading.Event()

    def answer(messages: Sequence[Message]) -> str:
        begun.wait(60)
        may_end.wait(60)
        return "at last"

    blocking = [asyncio.create_task(said(answer, storage)) for _ in range(40)]
    await asyncio.to_thread(begun.wait, 60)
    may_end.set()

    assert await asyncio.gather(*blocking) == ["at last"] * 40


async def test_answer_that_exits_ends_no_server(storage: PostgresStorage) -> None:
    """A tool that calls sys.exit() is an error of the answer, as any other."""

    async def answer(message: Message) -> str:
        sys.exit(3)

    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\)"):
        await said(answer, storage)


async def test_answer_that_takes_the_next_of_nothing_fails(storage: PostgresStorage) -> None:
    """StopIteration, which next() raises, is an error as any other; a thread would never hand it over."""

    def answer(message: Message) -> str:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(said(answer, storage), PATIENCE)


@pytest.mark.parametrize("given", [None, "", [], ["", ""]])
async def test_answer_that_has_nothing_to_say_is_an_error(storage: PostgresStorage, given: Any) -> None:
    """A function that forgets its "return" would leave a question without an answer, and nobody would know why."""
    with pytest.raises(InvalidInputError, match="answer= returned nothing"):
        await said(lambda: given, storage)


@pytest.mark.parametrize("given", [5, b"bytes", [5], {"a": 1}, {"a": 1}.items()])
async def test_answer_that_gives_no_text_is_an_error(storage: PostgresStorage, given: Any) -> None:
    """What is no text raises an error that says what it was."""
    with pytest.raises(InvalidInputError, match="answer= gave"):
        await said(lambda: given, storage)


@pytest.mark.parametrize(
    "answer", [lambda question: "", lambda messages, /, tools: "", lambda messages, /: "", "an agent", str, None]
)
async def test_answer_with_arguments_of_another_name_is_refused(answer: Any) -> None:
    """An argument that the chat does not know is refused when the chat is made, with the names that it knows."""
    with pytest.raises(InvalidOptionError, match="answer"):
        Answering(answer)
