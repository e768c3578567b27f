"""The chat's own routes: ask, join, decide, stop, rate; answers come as server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Annotated, Final, Self

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field, JsonValue, model_validator
from sse_starlette import ServerSentEvent
from starlette.exceptions import HTTPException

from voltmem._areas.answers import StoredAnswer
from voltmem._user import UserStorage
from voltmem._values import JsonObject, short_repr, to_json
from voltmem.chat._answers import AT_THE_END, UnderWayError
from voltmem.chat._approval import NotWaitingError
from voltmem.chat._asking import Asking, Rating
from voltmem.chat._feeds import Feed
from voltmem.chat._pace import TooManyAnswersError
from voltmem.chat._settings import Settings
from voltmem.errors import InvalidOptionError, StorageClosedError
from voltmem.models import Message
from voltmem.parts import File, Text, parts
from voltmem.web._addresses import with_addresses
from voltmem.web._bodies import Given
from voltmem.web._payloads import Body, ConversationId, MessageId, Name, NewMessageId, written_time
from voltmem.web._route import ProblemRoute, record_methods
from voltmem.web._signed_in import Mine
from voltmem.web._streams import Cap, EventStream

_LONGEST_TEXT: Final = 100_000
_MOST_FILES: Final = 20
_EVENT_ID: Final = re.compile(r"(.+):(\d{1,9})", re.DOTALL)


class Attached(Body):
    """A file that was uploaded before."""

    url: Annotated[str, Field(max_length=2_000)]
    media_type: Annotated[str, Field(max_length=200)]
    filename: Annotated[str, Field(max_length=500)] = ""


class Question(Body):
    """A question; or without a text, the stored question that is to be answered again."""

    conversation_id: Name
    message_id: NewMessageId
    """The id that the question gets."""
    text: Annotated[str, Field(max_length=_LONGEST_TEXT)] | None = None
    model: str | None = None
    """Which of the models answers; null: the first one."""
    files: Annotated[list[Attached], Field(max_length=_MOST_FILES, default_factory=list)]
    """What is shown beside the text."""
    parent_id: Name | None = AT_THE_END
    """The message that the question follows, so that a branch begins there; null: it is the first message."""


class Verdict(Body):
    """What the user has decided about a call."""

    call_id: Name
    is_approved: bool
    reason: Annotated[str, Field(max_length=_LONGEST_TEXT)] = ""


class Verdicts(Body):
    """What the user has decided about all calls of an answer that wait for approval."""

    decisions: Annotated[list[Verdict], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _each_call_is_decided_once(self) -> Self:
        if len({each.call_id for each in self.decisions}) < len(self.decisions):
            raise ValueError("decisions has a callId twice: decide about each call once")
        return self


class Feedback(Body):
    """What somebody says of an answer."""

    type: Rating | None


def chat_routes(asking: Asking, cap: Cap) -> APIRouter:
    """Make the routes."""
    answers = asking.answers
    routes = APIRouter(route_class=ProblemRoute)

    @routes.post("/chat", response_class=EventStream)
    async def ask(request: Request, mine: Mine, question: Given[Question]) -> Response:
        feed = await _asked(asking, mine, question)
        return await streamed(cap, mine.user_id, _events(feed, 0, request))

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
        return await streamed(cap, mine.user_id, _events(feed, number if is_known else 0, request))

    @routes.post("/chat/{conversation_id}/stop", status_code=204)
    async def stop(mine: Mine, conversation_id: ConversationId) -> None:
        await answers.stop(mine, conversation_id)

    @routes.post("/chat/{conversation_id}/answers/{answer_id}/decisions", response_class=EventStream)
    async def decide(
        request: Request,
        mine: Mine,
        conversation_id: ConversationId,
        answer_id: MessageId,
        verdicts: Given[Verdicts],
    ) -> Response:
        decided = {each.call_id: (each.is_approved, each.reason) for each in verdicts.decisions}
        with refusals():
            feed = await answers.decide(mine, conversation_id, answer_id, decided)
        return await streamed(cap, mine.user_id, _events(feed, 0, request))

    record_methods(routes.routes)
    return routes


def answer_routes(asking: Asking) -> APIRouter:
    """Make the routes about what became of answers, and what people say of them."""
    answers = asking.answers
    routes = APIRouter(route_class=ProblemRoute)

    @routes.get("/chat/{conversation_id}/answers")
    async def unfinished(mine: Mine, conversation_id: ConversationId) -> JsonObject:
        return _page(await answers.unfinished(mine, conversation_id))

    @routes.get("/answers")
    async def running(mine: Mine) -> JsonObject:
        return _page(await answers.running(mine))

    @routes.put("/chat/{conversation_id}/answers/{answer_id}/feedback", status_code=204)
    async def rate(
        mine: Mine, conversation_id: ConversationId, answer_id: MessageId, feedback: Given[Feedback]
    ) -> None:
        await asking.rate(mine, conversation_id, answer_id, feedback.type)

    record_methods(routes.routes)
    return routes


async def _asked(asking: Asking, mine: UserStorage, question: Question) -> Feed:
    model = chosen_model(asking, question.model)
    with refusals():
        if question.text is None:
            await asking.check_again(mine, question.conversation_id, question.message_id)
            return await asking.answers.ask_again(mine, question.conversation_id, question.message_id, model=model)
        message = Message(id=question.message_id, role="user", content=_content(question.text, question.files))
        check_question(asking.settings, message)
        return await asking.answers.ask(mine, question.conversation_id, message, question.parent_id, model=model)


def check_question(settings: Settings, question: Message) -> None:
    """
    Check what somebody asks. Raises HTTPException 422 for what a chat does not take.

    A file elsewhere is refused: a model's library may fetch an address from where the application runs, and a
    provider's id may be of another user's file.
    """
    said = parts(question)
    texts, files = [each for each in said if isinstance(each, Text)], [each for each in said if isinstance(each, File)]
    if len(texts) + len(files) < len(said):
        raise HTTPException(422, "A question has texts and files only.")
    if sum(len(each.text) for each in texts) > _LONGEST_TEXT:
        raise HTTPException(422, f"The question is too long: it may have {_LONGEST_TEXT:,} characters.")
    if not question.text and not files:
        raise HTTPException(422, "The question is empty: it needs a text, or files.")
    for each in files:
        if not settings.takes(each.media_type):
            raise HTTPException(422, f"A question may not have a file of the type {short_repr(each.media_type)}.")
        if not (each.is_stored or each.data or each.url[:5].lower() == "data:"):
            raise HTTPException(422, "The files of a question are uploaded first, or given as data: addresses.")


def chosen_model(asking: Asking, name: str | None) -> str:
    """Return the model that is asked. Raises HTTPException 422 for one that the chat does not have."""
    try:
        return asking.settings.check_model(name)
    except InvalidOptionError as error:
        raise HTTPException(422, str(error)) from error


def _content(text: str, files: Sequence[Attached]) -> JsonValue:
    if not files:
        return text
    parts: list[JsonValue] = [
        {"type": "file", "url": each.url, "mediaType": each.media_type, "filename": each.filename} for each in files
    ]
    said: list[JsonValue] = [{"type": "text", "text": text}] if text else []
    return [*parts, *said]


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what refuses an answer as an HTTPException: 409 if it cannot begin now, 429 if too many have begun."""
    try:
        yield
    except NotWaitingError as error:
        raise HTTPException(409, "This answer does not wait for approval.") from error
    except UnderWayError as error:
        detail = "An answer is under way in this conversation: stop it, or wait for its end."
        raise HTTPException(409, detail) from error
    except TooManyAnswersError as error:
        raise HTTPException(429, str(error), {"Retry-After": str(error.seconds)}) from error


def _place(event_id: str | None) -> tuple[str | None, int]:
    """Return the answer and the number in the id of an event."""
    found = _EVENT_ID.fullmatch(event_id or "")
    return (found[1], int(found[2])) if found else (None, 0)


async def streamed(
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
    first = await anext(made, None)
    if first is None:
        raise StorageClosedError
    return EventStream(first, made, headers)


async def _events(feed: Feed, number: int, request: Request) -> AsyncGenerator[ServerSentEvent, None]:
    yield event_of({"id": feed.answer_id, "questionId": feed.question_id}, request, event="answer")
    async with aclosing(feed.follow(number)) as growth:
        async for each in growth:
            parts: list[JsonValue] = [*each.chunks]
            yield event_of({"parts": parts}, request, event="parts", id=f"{feed.answer_id}:{each.number}")
    if feed.status != "streaming":  # else the browser comes back, and finds the process that goes on
        yield event_of({"id": feed.answer_id, "status": feed.status}, request, event="end")


def event_of(data: JsonObject, request: Request, event: str | None = None, id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(with_addresses(to_json(data).encode(), request).decode(), event=event, id=id)


def _page(answers: Iterable[StoredAnswer]) -> JsonObject:
    items: list[JsonValue] = [shown(answer) for answer in answers]
    return {"items": items}


def shown(answer: StoredAnswer) -> JsonObject:
    """Return an answer that is not complete, as pages are told of it."""
    return {
        "conversationId": answer.conversation_id,
        "questionId": answer.question_id,
        "id": answer.answer_id,
        "status": answer.status,
        "startedAt": written_time(answer.started_at),
        "endedAt": None if answer.ended_at is None else written_time(answer.ended_at),
    }
