"""What may be given as answer=: functions and generators, plain and asynchronous, with the arguments that they name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from tests.calls import PATIENCE
from voltmem import InvalidInputError, InvalidOptionError, Message, PostgresStorage
from voltmem.chat._answering import Answer, Answering, Context

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
    context = Context("ada", "c1", storage.conversation("ada", "c1"))
    return "".join([piece async for piece in Answering(answer).pieces(TALK, context)])


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


async def test_a_plain_generator_is_closed_when_nobody_reads_on(storage: PostgresStorage) -> None:
    """What a plain generator holds is released when the answer is stopped."""
    closed = threading.Event()

    def answer() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.set()

    pieces = Answering(answer).pieces(TALK, Context("ada", "c1", storage.conversation("ada", "c1")))
    assert await anext(pieces) == "a"
    await pieces.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(closed.wait, PATIENCE)


async def test_answer_may_have_nothing_to_say(storage: PostgresStorage) -> None:
    """None and empty pieces are no text."""

    async def pieces() -> AsyncIterator[str]:
        yield ""

    assert await said(lambda: None, storage) == await said(pieces, storage) == ""


@pytest.mark.parametrize("given", [5, b"bytes", [5], {"a": 1}.items()])
async def test_answer_that_gives_no_text_is_an_error(storage: PostgresStorage, given: Any) -> None:
    """What is no text raises an error that says what it was."""
    with pytest.raises(InvalidInputError, match="answer= gave"):
        await said(lambda: given, storage)


@pytest.mark.parametrize("answer", [lambda question: "", lambda messages, /, tools: "", "an agent", None])
async def test_answer_with_arguments_of_another_name_is_refused(answer: Any) -> None:
    """An argument that the chat does not know is refused when the chat is made, with the names that it knows."""
    with pytest.raises(InvalidOptionError, match="answer"):
        Answering(answer)
