"""What answers: a scripted model that needs no key, or whatever speaks OpenAI's protocol where there is one."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from voltmem import Message

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

TITLE_LENGTH = 48
SCRIPT = Path(__file__).parent / "script.md"


class Model(Protocol):
    name: str

    def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """Stream the answer to what was said, piece by piece."""
        ...

    async def title(self, question: str, answer: str) -> str:
        """Return what to call a conversation that began so."""
        ...


def from_environment() -> Model:
    """Return the model that OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL name; without a key the scripted one."""
    if not os.environ.get("OPENAI_API_KEY"):
        return ScriptedModel()
    return OpenAIModel(os.environ.get("OPENAI_MODEL", "gpt-4.1-mini"))


# --- the scripted one ---------------------------------------------------------------------------------------------


class ScriptedModel:
    """Looks for a word that it knows in the question, and streams what its script says to that."""

    name = "Scripted model"

    def __init__(self, seconds_per_piece: float = 0.02) -> None:
        self._seconds_per_piece = seconds_per_piece
        self._script = read_script(SCRIPT.read_text(encoding="utf-8"))

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        asked = [message.text for message in messages if message.role == "user"]
        for piece in re.findall(r"\s*\S+", self._reply(asked)):
            await asyncio.sleep(self._seconds_per_piece)
            yield piece

    async def title(self, question: str, answer: str) -> str:
        return shortened(question)

    def _reply(self, asked: list[str]) -> str:
        question = asked[-1] if asked else ""
        known = set(re.findall(r"\w+", question.lower()))
        fitting = [reply for words, reply in self._script if words & known]
        others = [reply for words, reply in self._script if not words]
        return fitting[0] if fitting else others[len(asked) % len(others)].replace("{question}", shortened(question))


def read_script(text: str) -> list[tuple[set[str], str]]:
    """Return each section of the script: the words of its heading, and what is said where a question has one."""
    sections = re.split(r"^# ?(.*)\n", text, flags=re.MULTILINE)[1:]
    headings, replies = sections[::2], sections[1::2]
    return [(set(heading.split()), reply.strip()) for heading, reply in zip(headings, replies, strict=True)]


def shortened(text: str) -> str:
    """Return the beginning of a text in a line, cut between words."""
    line = re.split(r"(?<=[.?!]) ", " ".join(text.split()))[0]
    if len(line) <= TITLE_LENGTH:
        return line.rstrip("?.! ") or line
    return line[:TITLE_LENGTH].rpartition(" ")[0].rstrip(",;:.?! ") or line[:TITLE_LENGTH]


# --- one with a key -----------------------------------------------------------------------------------------------


class OpenAIModel:
    """Any endpoint that streams chat completions as OpenAI does."""

    def __init__(self, name: str) -> None:
        from openai import AsyncOpenAI  # here: who has no key need not have the package

        self.name = name
        self._client = AsyncOpenAI

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        shown = [said(message) for message in messages if message.text]
        async with self._client() as client:
            stream = await client.chat.completions.create(model=self.name, messages=shown, stream=True)
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield choice.delta.content

    async def title(self, question: str, answer: str) -> str:
        wish = f"Name this conversation in at most six words, without quotes:\n\n{question}\n\n{answer[:500]}"
        async with self._client() as client:
            completion = await client.chat.completions.create(
                model=self.name, messages=[{"role": "user", "content": wish}]
            )
        return shortened(completion.choices[0].message.content or question)


def said(message: Message) -> "ChatCompletionMessageParam":
    """What tools said is told as text: the endpoint knows none of them."""
    if message.role == "user":
        return {"role": "user", "content": message.text}
    if message.role in ("system", "developer"):
        return {"role": "system", "content": message.text}
    return {"role": "assistant", "content": message.text}
