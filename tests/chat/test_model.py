"""The model of the chat: a script, or an endpoint with OpenAI's protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from examples.chat.model import from_environment
from tests.chat.conftest import Server
from voltmem import Message
from voltmem.chat._scripted import ScriptedModel
from voltmem.chat._server import listening
from voltmem.chat._titles import shortened


def asked(*texts: str) -> list[Message]:
    return [Message(role="user", content=text) for text in texts]


async def said(model: ScriptedModel, *texts: str) -> str:
    return "".join([piece async for piece in model.answer(asked(*texts))])


async def test_the_script_answers_what_it_knows() -> None:
    """The script chooses its answer by a word of the question; the answers have all elements that a page must show."""
    model = ScriptedModel(seconds_per_piece=0)

    assert "1. The dough" in await said(model, "Why won't my BREAD rise?")
    assert "```python" in await said(model, "Some python")
    assert "|---|" in await said(model, "Why a keyset?")


async def test_the_script_has_something_to_say_to_anything() -> None:
    """The script answers any unknown question, with a different text each time."""
    model = ScriptedModel(seconds_per_piece=0)

    answers = [await said(model, *["Hm!"] * count) for count in (1, 2, 3, 4)]

    assert len(set(answers)) == 3
    assert answers[0] == answers[3]
    assert await said(model) != ""


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Where is Oslo?", "Where is Oslo"),
        ("I need bread. And soon!", "I need bread"),
        ("many\n  spaces", "many spaces"),
        ("word " * 20, "word word word word word word word word word"),
        ("x" * 100, "x" * 48),
        ("???", "???"),
    ],
)
def test_a_title_is_a_line(text: str, title: str) -> None:
    """A title is the first sentence, at most 48 characters, cut between words."""
    assert shortened(text) == title


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[dict[str, object]]]:
    """Run an endpoint that streams like OpenAI's. Yields the requests that it received."""
    requests: list[dict[str, object]] = []
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        requests.append(body)
        head = {"id": "1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "“A coat?”"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return JSONResponse({**head, "object": "chat.completion", "choices": [choice]})

        async def stream() -> AsyncIterator[str]:
            for piece in ("Take", " one", None):
                choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
                yield f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    server = Server(uvicorn.Config(app, log_level="warning"))
    with listening(0) as listener:
        running = asyncio.create_task(server.serve([listener]))
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        monkeypatch.setenv("OPENAI_MODEL", "small")
        yield requests
        server.should_exit = True
        await running


async def test_with_a_key_an_endpoint_answers(endpoint: list[dict[str, object]]) -> None:
    """With a key, an endpoint gets the conversation in OpenAI's format, and its stream is passed on piece by piece."""
    model = from_environment()
    assert model is not None
    shown = [*asked("Is it cold?"), Message(role="assistant", content="Yes."), *asked("A coat?")]

    pieces = [piece async for piece in model.answer(shown)]
    title = await model.title("A coat?", "Take one")

    assert model.name == "small"
    assert pieces == ["Take", " one"]
    assert title == "“A coat?”"
    assert endpoint[0]["messages"] == [
        {"role": "user", "content": "Is it cold?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "A coat?"},
    ]


def test_without_a_key_the_script_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the script answers, and no request is sent."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    assert from_environment() is None
