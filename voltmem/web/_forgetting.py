"""The route that deletes messages with all that was derived from them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from voltmem.web._bodies import Given
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, Body, JsonResponse, Name
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)


class Forget(Body):
    """What to forget."""

    message_ids: Annotated[list[Name], Field(max_length=1_000)]
    """The ids of the messages, in all conversations of the user."""
    conversation_id: Name | None = None
    """Only in this conversation, and in what was forked from it."""


class Remembered(Answer):
    """A version of a working memory that was written from forgotten messages, and is still there."""

    conversation_id: str | None
    """The conversation whose memory it is; null: it is the user's."""
    version: int
    is_newest: bool
    """Whether it is the memory as it is now."""


class Forgotten(Answer):
    """What was deleted, and what remembers it."""

    messages: int
    """How many messages were deleted."""
    conversations: int
    """In how many conversations, copies of forks included."""
    memory: list[Remembered]
    """The versions of working memory that were written from the messages. They stay."""


@routes.post("/forget", response_model=Forgotten, responses=responses(400, 413, 415), operation_id="forgetMessages")
async def forget(mine: Mine, given: Given[Forget]) -> Response:
    """Delete messages with all that was derived from them, and tell which versions of working memory remember them."""
    done = await mine.forget(given.message_ids, given.conversation_id)
    return JsonResponse(Forgotten.model_validate(done))
