"""The route for recall."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from voltmem._areas.recall import MOST_AROUND, MOST_MOMENTS
from voltmem.web._messages import message_of
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, FoundConversation, GivenTime, JsonResponse, Name, StoredMessage
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)


class FoundMoment(Answer):
    """A message that fits the text, with what was said around it."""

    conversation: FoundConversation
    messages: list[StoredMessage]
    """The message and those around it, in their order."""
    message_id: str
    """The message that fits."""
    score: float
    """How well it fits. Comparable only within one answer."""


class Moments(Answer):
    """Moments of the user's conversations, best first."""

    items: list[FoundMoment]


@routes.get("/recall", response_model=Moments, responses=responses(501), operation_id="recall")
async def recall(
    mine: Mine,
    q: Annotated[str, Query(description="What to look for: a question, or words.", max_length=1000)],
    limit: Annotated[int, Query(description="The maximum number of moments.", ge=1, le=MOST_MOMENTS)] = 5,
    around: Annotated[
        int, Query(description="How many messages to return before and after each.", ge=0, le=MOST_AROUND)
    ] = 1,
    after: Annotated[GivenTime | None, Query(description="Only messages after this time.")] = None,
    before: Annotated[GivenTime | None, Query(description="Only messages before this time.")] = None,
    conversation_id: Annotated[
        Name | None, Query(alias="conversationId", description="Only this conversation.")
    ] = None,
    resource_id: Annotated[
        Name | None, Query(alias="resourceId", description="Only conversations with this agent or project.")
    ] = None,
) -> Response:
    """Find what the user's conversations have about a text, old messages too. Any of the words may be missing."""
    found = await mine.recall(
        q,
        limit=limit,
        around=around,
        after=after,
        before=before,
        conversation_id=conversation_id,
        resource_id=resource_id,
    )
    return JsonResponse(
        {
            "items": [
                {
                    "conversation": FoundConversation.model_validate(each.conversation).model_dump(),
                    "messages": [message_of(message) for message in each.messages],
                    "messageId": each.message_id,
                    "score": each.score,
                }
                for each in found
            ]
        }
    )
