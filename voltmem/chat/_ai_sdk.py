"""The chat for the AI SDK's useChat: its request, and its stream, which resumes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field
from sse_starlette import ServerSentEvent
from starlette.exceptions import HTTPException

from voltmem._user import UserStorage
from voltmem._values import JsonObject
from voltmem.chat._asking import Asking
from voltmem.chat._feeds import Feed
from voltmem.chat._routes import check_question, chosen_model, event_of, refusals, streamed
from voltmem.models import Message
from voltmem.web._bodies import Given
from voltmem.web._payloads import Body, ConversationId, NewId
from voltmem.web._route import ProblemRoute, record_methods
from voltmem.web._signed_in import Mine, check_chosen_id
from voltmem.web._streams import Cap, EventStream

_HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}
# What an error of the model's says may be a key, or a prompt: it is for the log.
_FAILED: Final = "The answer failed. The log of the server says why."
# How the stream ends.
_ENDS: Final[dict[str, list[JsonObject]]] = {
    "complete": [{"type": "finish"}],
    "approval": [{"type": "finish"}],
    "stopped": [{"type": "abort"}],
    "failed": [{"type": "error", "errorText": _FAILED}],
}


class Chat(Body):
    """What useChat sends: its messages, of which the last question is answered."""

    model_config = ConfigDict(extra="ignore")

    id: NewId
    messages: Annotated[list[JsonObject], Field(min_length=1)]
    model: str | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"


def ai_sdk_routes(asking: Asking, cap: Cap) -> APIRouter:
    """Make the routes."""
    answers = asking.answers
    routes = APIRouter(route_class=ProblemRoute)

    @routes.post("/ai/chat", response_class=EventStream)
    async def ask_as_ai_sdk(request: Request, mine: Mine, chat: Given[Chat]) -> Response:
        feed = await _asked(asking, mine, chat)
        return await streamed(cap, mine.user_id, _events(feed, request), _HEADERS)

    @routes.get("/ai/chat/{conversation_id}/stream", response_class=EventStream)
    async def resume_as_ai_sdk(request: Request, mine: Mine, conversation_id: ConversationId) -> Response:
        feed = await answers.join(mine, conversation_id)
        if feed is None or not feed.is_open:
            return Response(status_code=204)
        return await streamed(cap, mine.user_id, _events(feed, request), _HEADERS)

    record_methods(routes.routes)
    return routes


async def _asked(asking: Asking, mine: UserStorage, chat: Chat) -> Feed:
    asked = next((each for each in reversed(chat.messages) if each.get("role") == "user"), None)
    if asked is None:
        raise HTTPException(422, "There is no question: the messages have none with the role user.")
    question = Message.of(asked)
    if chat.trigger == "submit-message":
        check_question(asking.settings, question)
    model = chosen_model(asking, chat.model)
    with refusals():
        if await mine.get_conversation(chat.id) is None:
            check_chosen_id(chat.id)
            asking.answers.pace.check(mine.user_id)  # before there is a conversation without a question
            await mine.ensure_conversation({"id": chat.id})
        if chat.trigger == "regenerate-message":
            await asking.check_again(mine, chat.id, question.id)
            return await asking.answers.ask_again(mine, chat.id, question.id, model=model)
        return await asking.answers.ask(mine, chat.id, question, model=model)


async def _events(feed: Feed, request: Request) -> AsyncGenerator[ServerSentEvent, None]:
    yield event_of({"type": "start", "messageId": feed.answer_id}, request)
    async with aclosing(feed.follow()) as growth:
        async for each in growth:
            for chunk in each.chunks:
                yield event_of(chunk, request)
    for chunk in _ENDS.get(feed.status, []):
        yield event_of(chunk, request)
    yield ServerSentEvent("[DONE]")
