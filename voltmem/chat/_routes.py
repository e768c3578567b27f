"""The chat's own routes: ask, join, stop; as events of its own, and as the AI SDK's useChat wants them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Request, Response
from pydantic import ConfigDict, Field, JsonValue
from sse_starlette import ServerSentEvent
from starlette.exceptions import HTTPException

from voltmem._areas.answers import StoredAnswer
from voltmem._values import JsonObject, to_json
from voltmem.chat._answers import AT_THE_END, Answers, UnderWayError
from voltmem.chat._feeds import Feed
from voltmem.models import Message
from voltmem.web._addresses import with_addresses
from voltmem.web._bodies import Given
from voltmem.web._payloads import Body, ConversationId, Name, NewId, NewMessageId, written_time
from voltmem.web._route import ProblemRoute, record_methods
from voltmem.web._signed_in import Mine
from voltmem.web._streams import Cap, EventStream

# As many as a person has tabs and devices; and what a process has sockets for.
_MOST_OF_A_USER: Final = 50
_MOST_OF_ALL: Final = 10_000
_LONGEST_TEXT: Final = 100_000
_EVENT_ID: Final = re.compile(r"(.+):(\d{1,9})", re.DOTALL)
_AI_SDK: Final = {"x-vercel-ai-ui-message-stream": "v1"}
# What an error of the model's says may be a key, or a prompt: it is for the log.
_FAILED: Final = "The answer failed. The log of the server says why."
_UNDER_WAY: Final = "An answer is under way in this conversation: stop it, or wait for its end."
# How the AI SDK's stream ends.
_ENDS: Final[dict[str, list[JsonObject]]] = {
    "complete": [{"type": "finish"}],
    "approval": [{"type": "finish"}],
    "stopped": [{"type": "abort"}],
    "failed": [{"type": "error", "errorText": _FAILED}],
}


class Question(Body):
    """A question; or without a text, the stored question that is to be answered again."""

    conversation_id: Name
    message_id: NewMessageId
    """The id that the question gets."""
    text: Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)] | None = None
    parent_id: Name | None = AT_THE_END
    """The message that the question follows, so that a branch begins there; null: it is the first message."""


class Chat(Body):
    """What useChat sends: its messages, of which the last question is answered."""

    model_config = ConfigDict(extra="ignore")

    id: NewId
    messages: Annotated[list[JsonObject], Field(min_length=1)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"


def chat_routes(answers: Answers, model: str) -> APIRouter:
    """Make the routes."""
    routes = APIRouter(route_class=ProblemRoute)
    cap = Cap(_MOST_OF_A_USER, _MOST_OF_ALL)

    @routes.get("/about")
    async def about() -> dict[str, str]:
        return {"model": model}

    @routes.post("/chat", response_class=EventStream)
    async def ask(request: Request, mine: Mine, question: Given[Question]) -> Response:
        feed = await _asked(answers, mine, question)
        return await _streamed(cap, mine.user_id, _events(feed, 0, request))

    @routes.get("/chat/{conversation_id}/stream", response_class=EventStream)
    async def join(
        request: Request,
        mine: Mine,
        conversation_id: ConversationId,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        feed = await answers.join(mine, conversation_id)
        answer_id, number = _place(last_event_id)
        is_known = feed is not None and feed.answer_id == answer_id
        # One who followed it is told how it ended.
        if feed is None or not (feed.is_open or is_known):
            return Response(status_code=204)
        return await _streamed(cap, mine.user_id, _events(feed, number if is_known else 0, request))

    @routes.post("/chat/{conversation_id}/stop", status_code=204)
    async def stop(mine: Mine, conversation_id: ConversationId) -> None:
        await answers.stop(mine, conversation_id)

    @routes.get("/chat/{conversation_id}/answers")
    async def unfinished(mine: Mine, conversation_id: ConversationId) -> JsonObject:
        return _page(await answers.unfinished(mine, conversation_id))

    @routes.get("/answers")
    async def running(mine: Mine) -> JsonObject:
        return _page(await answers.running(mine))

    @routes.post("/ai/chat", response_class=EventStream)
    async def ask_as_ai_sdk(request: Request, mine: Mine, chat: Given[Chat]) -> Response:
        feed = await _asked_by_ai_sdk(answers, mine, chat)
        return await _streamed(cap, mine.user_id, _ai_sdk_events(feed, request), _AI_SDK)

    @routes.get("/ai/chat/{conversation_id}/stream", response_class=EventStream)
    async def resume_as_ai_sdk(request: Request, mine: Mine, conversation_id: ConversationId) -> Response:
        feed = await answers.join(mine, conversation_id)
        if feed is None or not feed.is_open:
            return Response(status_code=204)
        return await _streamed(cap, mine.user_id, _ai_sdk_events(feed, request), _AI_SDK)

    record_methods(routes.routes)
    return routes


async def _asked(answers: Answers, mine: Mine, question: Question) -> Feed:
    try:
        if question.text is None:
            return await answers.ask_again(mine, question.conversation_id, question.message_id)
        message = Message(id=question.message_id, role="user", content=question.text)
        return await answers.ask(mine, question.conversation_id, message, question.parent_id)
    except UnderWayError as error:
        raise HTTPException(
            409, "An answer is under way in this conversation: stop it, or wait for its end."
        ) from error


async def _asked_by_ai_sdk(answers: Answers, mine: Mine, chat: Chat) -> Feed:
    asked = next((each for each in reversed(chat.messages) if each.get("role") == "user"), None)
    if asked is None:
        raise HTTPException(422, "There is no question: the messages have none with the role user.")
    question = Message.of(asked)
    await mine.ensure_conversation({"id": chat.id})
    again = chat.trigger == "regenerate-message"
    try:
        if again:
            return await answers.ask_again(mine, chat.id, question.id)
        return await answers.ask(mine, chat.id, question)
    except UnderWayError as error:
        raise HTTPException(
            409, "An answer is under way in this conversation: stop it, or wait for its end."
        ) from error


def _place(event_id: str | None) -> tuple[str | None, int]:
    """Return the answer and the number in the id of an event."""
    found = _EVENT_ID.fullmatch(event_id or "")
    return (found[1], int(found[2])) if found else (None, 0)


async def _streamed(
    cap: Cap,
    user_id: str,
    events: AsyncGenerator[ServerSentEvent, None],
    headers: dict[str, str] | None = None,
) -> Response:
    async def counted() -> AsyncGenerator[ServerSentEvent, None]:
        with cap.one_more(user_id):
            async with aclosing(events):
                async for event in events:
                    yield event

    made = counted()
    # Before the response begins: an error until here is a problem document.
    return EventStream(await anext(made), made, headers)


async def _events(feed: Feed, number: int, request: Request) -> AsyncGenerator[ServerSentEvent, None]:
    yield _event({"id": feed.answer_id, "questionId": feed.question_id}, request, event="answer")
    async with aclosing(feed.follow(number)) as growth:
        async for each in growth:
            parts: list[JsonValue] = [*each.chunks]
            yield _event({"parts": parts}, request, event="parts", id=f"{feed.answer_id}:{each.number}")
    if feed.status != "streaming":  # else the browser comes back, and finds the process that goes on
        yield _event({"id": feed.answer_id, "status": feed.status}, request, event="end")


async def _ai_sdk_events(feed: Feed, request: Request) -> AsyncGenerator[ServerSentEvent, None]:
    yield _event({"type": "start", "messageId": feed.answer_id}, request)
    async with aclosing(feed.follow()) as growth:
        async for each in growth:
            for chunk in each.chunks:
                yield _event(chunk, request)
    for chunk in _ENDS.get(feed.status, []):
        yield _event(chunk, request)
    yield ServerSentEvent("[DONE]")


def _event(data: JsonObject, request: Request, event: str | None = None, id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(with_addresses(to_json(data).encode(), request).decode(), event=event, id=id)


def _page(answers: Iterable[StoredAnswer]) -> JsonObject:
    items: list[JsonValue] = [_shown(answer) for answer in answers]
    return {"items": items}


def _shown(answer: StoredAnswer) -> JsonObject:
    return {
        "conversationId": answer.conversation_id,
        "questionId": answer.question_id,
        "id": answer.answer_id,
        "status": answer.status,
        "startedAt": written_time(answer.started_at),
        "endedAt": None if answer.ended_at is None else written_time(answer.ended_at),
    }
