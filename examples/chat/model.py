"""The models: a scripted one, which needs no API key, and any endpoint with OpenAI's protocol."""

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
        """Stream the answer to the messages, piece by piece."""
        ...

    async def title(self, question: str, answer: str) -> str:
        """Return a title for a conversation that starts with this question and answer."""
        ...


def from_environment() -> Model:
    """Return the model of OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL; without a key the scripted one."""
    if not os.environ.get("OPENAI_API_KEY"):
        return ScriptedModel()
    return OpenAIModel(os.environ.get("OPENAI_MODEL", "gpt-4.1-mini"))


# --- the scripted model -------------------------------------------------------------------------------------------


class ScriptedModel:
    """Looks for keywords in the question and streams the script's reply to them."""

    name = "Scripted model"

    def __init__(self, seconds_per_piece: float = 0.02) -> None:
        self._seconds_per_piece = seconds_per_piece
        self._script = read_script(SCRIPT.read_text(encoding="utf-8"))

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        questions = [message.text for message in messages if message.role == "user"]
        for piece in re.findall(r"\s*\S+", self._reply(questions)):
            await asyncio.sleep(self._seconds_per_piece)
            yield piece

    async def title(self, question: str, answer: str) -> str:
        return shortened(question)

    def _reply(self, questions: list[str]) -> str:
        question = questions[-1] if questions else ""
        words = set(re.findall(r"\w+", question.lower()))
        matching = [reply for keywords, reply in self._script if keywords & words]
        others = [reply for keywords, reply in self._script if not keywords]
        if matching:
            return matching[0]
        return others[len(questions) % len(others)].replace("{question}", shortened(question))


def read_script(text: str) -> list[tuple[set[str], str]]:
    """Return the sections of the script: the keywords in the heading, and the reply to a question with one of them."""
    sections = re.split(r"^# ?(.*)\n", text, flags=re.MULTILINE)[1:]
    headings, replies = sections[::2], sections[1::2]
    return [(set(heading.split()), reply.strip()) for heading, reply in zip(headings, replies, strict=True)]


def shortened(text: str) -> str:
    """Return the first sentence of a text in one line, shortened at a word's end."""
    line = re.split(r"(?<=[.?!]) ", " ".join(text.split()))[0]
    if len(line) <= TITLE_LENGTH:
        return line.rstrip("?.! ") or line
    return line[:TITLE_LENGTH].rpartition(" ")[0].rstrip(",;:.?! ") or line[:TITLE_LENGTH]


# --- a model with an API key --------------------------------------------------------------------------------------


class OpenAIModel:
    """A model at any endpoint with OpenAI's streaming chat completions."""

    def __init__(self, name: str) -> None:
        from openai import AsyncOpenAI  # here, because the package is needed only with a key

        self.name = name
        self._client = AsyncOpenAI

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        prompt = [to_prompt(message) for message in messages if message.text]
        async with self._client() as client:
            stream = await client.chat.completions.create(model=self.name, messages=prompt, stream=True)
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield choice.delta.content

    async def title(self, question: str, answer: str) -> str:
        request = f"Name this conversation in at most six words, without quotes:\n\n{question}\n\n{answer[:500]}"
        async with self._client() as client:
            completion = await client.chat.completions.create(
                model=self.name, messages=[{"role": "user", "content": request}]
            )
        return shortened(completion.choices[0].message.content or question)


def to_prompt(message: Message) -> "ChatCompletionMessageParam":
    """Convert a message for the endpoint. Tool results become text, because the endpoint is given no tools."""
    if message.role == "user":
        return {"role": "user", "content": message.text}
    if message.role in ("system", "developer"):
        return {"role": "system", "content": message.text}
    return {"role": "assistant", "content": message.text}
