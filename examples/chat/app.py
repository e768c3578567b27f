"""The server: voltmem's REST surface, an answer that streams, and a page."""

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
# Nothing is fetched from anywhere else, and nothing that a model says is run.
CONTENT_SECURITY_POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"


class Question(BaseModel):
    """What is to be answered: a text, or without one the message that is stored with this id, once more."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    conversation_id: str
    message_id: str
    text: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None


def you() -> str:
    """Return who asks. On a laptop that is you; a server looks into its session here."""
    return "you"


def application(storage: PostgresStorage, model: Model, user: Callable[..., str] = you) -> FastAPI:
    """Return the application; the storage is opened and closed with it."""
    answers = Answers(storage, model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with storage:
            yield
            await answers.stop_all()

    app = FastAPI(title="voltmem chat", lifespan=lifespan)
    # Another site that makes its name point here gets nothing.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])
    app.include_router(router(storage, user=user), prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/api/about")
    async def about() -> dict[str, str]:
        return {"model": model.name}

    @app.post("/api/chat", response_class=StreamingResponse)
    async def chat(question: Question, user_id: Annotated[str, Depends(user)]) -> Response:
        place = user_id, question.conversation_id
        try:
            if question.text is None:
                events = await answers.ask_again(*place, question.message_id)
            else:
                asked = Message(id=question.message_id, role="user", content=question.text)
                events = await answers.ask(*place, asked)
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
