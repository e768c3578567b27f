"""The routes about links: their owner makes and revokes them, and strangers read by them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator
from starlette.exceptions import HTTPException

from voltmem._values import is_storable
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, Body, ConversationId, JsonResponse, Limit, Name, Time
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Anybodys, Mine

routes = APIRouter(route_class=ProblemRoute)
public_routes = APIRouter(route_class=ProblemRoute)

# What a browser tells nobody, and no search engine keeps: who has the address may read.
_UNLISTED = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def _reachable(token: str) -> str:
    if not is_storable(token):
        raise _nowhere()  # what cannot be stored isn't there
    return token


def _nowhere() -> HTTPException:
    return HTTPException(404, "This link leads nowhere.")


Token: TypeAlias = Annotated[str, Path(description="The token of a link.", min_length=1), AfterValidator(_reachable)]
MessageCursor: TypeAlias = Annotated[
    str | None, Query(description="A nextCursor, as it is.", json_schema_extra={"format": "message-cursor"})
]


class Sharing(Body):
    """What to show."""

    up_to: Name | None = None
    """The id of the last message that is shown; left out: the newest."""


class Link(Answer):
    """A link with which strangers read a conversation."""

    token: str
    """Who knows it may read."""
    conversation_id: str
    up_to: str | None
    """The last message that is shown; null: there was none."""
    created_at: Time


class Links(Answer):
    """Links, the newest first."""

    items: list[Link]


class SharedMessage(Answer):
    """What somebody said."""

    id: str
    role: str
    """user or assistant."""
    content: str
    created_at: Time


class SharedPage(Answer):
    """What a link shows."""

    title: str | None
    items: list[SharedMessage]
    """The oldest message first. There may be fewer than the limit, and more to follow."""
    next_cursor: str | None


@routes.post(
    "/conversations/{conversationId}/share",
    status_code=201,
    response_model=Link,
    responses=responses(400, 404, 413, 415) | {201: {"description": "It was made."}},
    operation_id="shareConversation",
)
async def share_conversation(mine: Mine, conversationId: ConversationId, sharing: Sharing | None = None) -> Response:
    """Make a link with which strangers read a conversation: what was said so far, and nothing that follows."""
    up_to = None if sharing is None else sharing.up_to
    return JsonResponse(Link.model_validate(await mine.share_conversation(conversationId, up_to=up_to)), 201)


@routes.get(
    "/conversations/{conversationId}/shares", response_model=Links, responses=responses(404), operation_id="listShares"
)
async def list_shares(mine: Mine, conversationId: ConversationId) -> Response:
    """The links to a conversation, the newest first."""
    found = await mine.list_shares(conversation_id=conversationId)
    if not found:
        await mine.get_conversation_item(conversationId)
    return JsonResponse(Links(items=[Link.model_validate(each) for each in found]))


@routes.delete(
    "/shares/{token}", status_code=204, response_class=Response, responses=responses(404), operation_id="revokeShare"
)
async def revoke_share(mine: Mine, token: Token) -> None:
    """Have a link lead nowhere from now on."""
    if not await mine.revoke_share(token):
        raise _nowhere()


@public_routes.get(
    "/shared/{token}",
    response_model=SharedPage,
    responses={status: each for status, each in responses(404).items() if status not in (401, 403)},
    operation_id="getShared",
)
async def get_shared(storage: Anybodys, token: Token, limit: Limit = 100, after: MessageCursor = None) -> Response:
    """What a link shows, to anybody: what the user and the assistant said, as text, and nobody's name."""
    found = await storage.get_shared_conversation(token, limit=limit, after=after)
    if found is None:
        raise _nowhere()
    items = [SharedMessage.model_validate(each) for each in found.messages]
    return JsonResponse(SharedPage(title=found.title, items=items, next_cursor=found.next_cursor), headers=_UNLISTED)
