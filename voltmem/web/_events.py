"""The route that streams changes as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, Response
from pydantic import JsonValue
from sse_starlette import EventSourceResponse, ServerSentEvent

from voltmem._areas.changes import Change
from voltmem._user import UserStorage
from voltmem._values import JsonObject, to_json
from voltmem.errors import StorageClosedError
from voltmem.web._openapi import Responses, responses
from voltmem.web._payloads import item_of
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Limits, Mine, OwnLimits
from voltmem.web._streams import EventStream
from voltmem.web._working_memory import memory_of

routes = APIRouter(route_class=ProblemRoute)

RETRY_MILLISECONDS: Final = 2_000

NAMES: Final = {
    "ready": "ready",
    "created": "conversation.created",
    "updated": "conversation.updated",
    "deleted": "conversation.deleted",
    "message-added": "message.added",
    "memory-changed": "memory.changed",
    "reconnected": "reconnected",
}
_ANSWER: Final[Responses] = {
    200: {
        "description": (
            "An endless stream of events. ready: list the conversations now. reconnected: intermediate states may be "
            "missing. The data of each is JSON: conversationId, and conversation as the list shows it now, or null. "
            "memory.changed has the working memory as GET /memory answers it, which is that of the conversation, or of "
            "the user if conversationId is null."
        ),
        "content": {
            "text/event-stream": {
                "itemSchema": {
                    "type": "object",
                    "properties": {
                        "event": {"type": "string", "enum": sorted(NAMES.values())},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                        "retry": {"type": "integer"},
                    },
                    "required": ["event", "data"],
                }
            }
        },
    }
}


@routes.get(
    "/events",
    response_class=EventSourceResponse,
    responses=responses(429) | _ANSWER,
    operation_id="watch",
)
async def watch(mine: Mine, limits: OwnLimits) -> Response:
    """Stream the changes of the user's conversations until the client disconnects."""
    events = _events(mine, limits)
    # Before the response begins: an error until here is a problem document.
    first = await anext(events, None)
    if first is None:
        raise StorageClosedError
    return EventStream(first, events)


async def _events(mine: UserStorage, limits: Limits) -> AsyncGenerator[ServerSentEvent, None]:
    with limits.events.one_more(mine.user_id):
        async with aclosing(mine.watch()) as changes:
            async for change in changes:
                yield _event(change)


def _event(change: Change) -> ServerSentEvent:
    retry = RETRY_MILLISECONDS if change.kind == "ready" else None
    return ServerSentEvent(to_json(data_of(change)), event=NAMES[change.kind], retry=retry)


def data_of(change: Change) -> JsonObject:
    """Return what the event of a change says."""
    conversation: JsonValue = None
    if change.conversation is not None:
        conversation = item_of(change.conversation).model_dump()
    data: JsonObject = {"conversationId": change.conversation_id, "conversation": conversation}
    if change.kind == "memory-changed":
        data["memory"] = memory_of(change.memory).model_dump(mode="json")
    return data
