"""The events of a page: changes of conversations, with what became of their answers, and what was said last."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import JsonValue
from sse_starlette import ServerSentEvent

from voltmem._areas.changes import Change
from voltmem._user import UserStorage
from voltmem._values import JsonObject, to_json
from voltmem.chat._answers import Answers
from voltmem.chat._routes import shown, streamed
from voltmem.errors import VoltMemError
from voltmem.web._addresses import with_addresses
from voltmem.web._events import NAMES, RETRY_MILLISECONDS, data_of
from voltmem.web._messages import messages_of
from voltmem.web._route import ProblemRoute, record_methods
from voltmem.web._signed_in import Mine
from voltmem.web._streams import Cap, EventStream

# A question and its answer. What is longer is asked for by the page that shows it.
_MOST_MESSAGES: Final = 2
_MOST_CHARACTERS: Final = 16_000


def event_routes(answers: Answers, cap: Cap) -> APIRouter:
    """Make the route."""
    routes = APIRouter(route_class=ProblemRoute)

    @routes.get("/chat/events", response_class=EventStream)
    async def watch(request: Request, mine: Mine) -> Response:
        return await streamed(cap, mine.user_id, _changes(answers, mine, request))

    record_methods(routes.routes)
    return routes


async def _changes(answers: Answers, mine: UserStorage, request: Request) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the changes of a user's conversations, until the database cannot be asked: then the browser comes back."""
    async with aclosing(mine.watch()) as changed:
        async for change in changed:
            try:
                data = {**data_of(change), **await _more(answers, mine, change)}
            except VoltMemError:
                return
            body = with_addresses(to_json(data).encode(), request).decode()
            retry = RETRY_MILLISECONDS if change.kind == "ready" else None
            yield ServerSentEvent(body, event=NAMES[change.kind], retry=retry)


async def _more(answers: Answers, mine: UserStorage, change: Change) -> JsonObject:
    if change.conversation is None:
        return {}
    found = await answers.unfinished(mine, change.conversation.id)
    more: JsonObject = {"answers": [shown(answer) for answer in found]}
    if change.kind != "updated" and (messages := await _newest(mine, change.conversation.id)) is not None:
        more["messages"] = messages
    return more


async def _newest(mine: UserStorage, conversation_id: str) -> JsonValue:
    """Return the newest messages, and the id of the one before them; None for what makes no sense by itself."""
    found = await mine.get_messages(conversation_id, limit=_MOST_MESSAGES + 1)
    newest = found[-_MOST_MESSAGES:]
    before = found[0].id if len(found) > _MOST_MESSAGES else None
    messages = messages_of(newest, ui_messages=True, after=before)
    assert isinstance(messages, dict)
    items = messages["items"]
    assert isinstance(items, list)
    # The result of a tool is shown with the call, which may be in a message before.
    are_whole = all(isinstance(each, dict) and each["uiMessage"] for each in items)
    return messages if items and are_whole and len(to_json(messages)) <= _MOST_CHARACTERS else None
