"""The model: any endpoint with OpenAI's protocol, or the scripted one, which needs no API key."""

import os
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from voltmem import Message

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam


class OpenAIModel:
    """A model at any endpoint with OpenAI's streaming chat completions."""

    def __init__(self, name: str) -> None:
        from openai import AsyncOpenAI  # here, because the package is needed only with a key

        self.name = name
        self._client = AsyncOpenAI

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """Stream the answer, piece by piece."""
        prompt = [to_prompt(message) for message in messages if message.text]
        async with self._client() as client:
            stream = await client.chat.completions.create(model=self.name, messages=prompt, stream=True)
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield choice.delta.content

    async def title(self, question: str, answer: str) -> str:
        """Return a title for a conversation that starts with this question and answer."""
        request = f"Name this conversation in at most six words, without quotes:\n\n{question}\n\n{answer[:500]}"
        async with self._client() as client:
            completion = await client.chat.completions.create(
                model=self.name, messages=[{"role": "user", "content": request}]
            )
        return (completion.choices[0].message.content or question).strip()[:100]


def from_environment() -> OpenAIModel | None:
    """Return the model of OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL; None without a key."""
    if not os.environ.get("OPENAI_API_KEY"):
        return None
    return OpenAIModel(os.environ.get("OPENAI_MODEL", "gpt-4.1-mini"))


def to_prompt(message: Message) -> "ChatCompletionMessageParam":
    """Convert a message for the endpoint. Tool results become text, because the endpoint is given no tools."""
    if message.role == "user":
        return {"role": "user", "content": message.text}
    if message.role in ("system", "developer"):
        return {"role": "system", "content": message.text}
    return {"role": "assistant", "content": message.text}
