"""The server: voltmem's REST routes, a route that streams answers, and the page."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.middleware.trustedhost import TrustedHostMiddleware

from examples.chat.answers import Answers
from examples.chat.model import Model
from voltmem import ConversationNotFoundError, Message, MessageNotFoundError, PostgresStorage
from voltmem.web import router

STATIC = Path(__file__).parent / "static"
# The page loads nothing from other sites, and scripts in a model's answer do not run.
CONTENT_SECURITY_POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"


class Question(BaseModel):
    """A request for an answer: to a new text, or without a text to the stored message with this id."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    conversation_id: str
    message_id: str
    text: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None


def you() -> str:
    """Return the user. On your own machine that is always you; a server would read its session here."""
    return "you"


def application(storage: PostgresStorage, model: Model, user: Callable[..., str] = you) -> FastAPI:
    """Build the application. It opens and closes the storage."""
    answers = Answers(storage, model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with storage:
            yield
            await answers.stop_all()

    app = FastAPI(title="voltmem chat", lifespan=lifespan)
    # Refuse requests under other host names, against DNS rebinding.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])
    app.include_router(router(storage, user=user), prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/api/about")
    async def about() -> dict[str, str]:
        return {"model": model.name}

    @app.post("/api/chat", response_class=StreamingResponse)
    async def chat(question: Question, user_id: Annotated[str, Depends(user)]) -> Response:
        key = user_id, question.conversation_id
        try:
            if question.text is None:
                events = await answers.ask_again(*key, question.message_id)
            else:
                message = Message(id=question.message_id, role="user", content=question.text)
                events = await answers.ask(*key, message)
        except (ConversationNotFoundError, MessageNotFoundError) as error:
            raise HTTPException(404, str(error)) from error
        lines = (f"event: {event.name}\ndata: {json.dumps(event.data)}\n\n" async for event in events)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)

    @app.get("/", include_in_schema=False)
    @app.get("/c/{conversation_id}", include_in_schema=False)
    async def page() -> FileResponse:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
        return FileResponse(STATIC / "index.html", headers=headers)

    return app
