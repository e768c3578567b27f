"""The routes for public links: owners create and revoke them; anybody with a link reads the conversation."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator
from starlette.exceptions import HTTPException

from voltmem._values import is_storable
from voltmem.models import Message
from voltmem.parts import File, Source, parts
from voltmem.parts._types import FILE_URL
from voltmem.web._addresses import address_of
from voltmem.web._bodies import Given
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, Body, ConversationId, JsonResponse, Limit, Name, Time
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Anybodys, Mine

routes = APIRouter(route_class=ProblemRoute)
public_routes = APIRouter(route_class=ProblemRoute)

# The address is the key: browsers must not send it as a referrer, and search engines must not index it.
UNLISTED = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def _reachable(token: str) -> str:
    if not is_storable(token):
        raise not_found()  # no stored link can have this token
    return token


def not_found() -> HTTPException:
    """Make the error for what a link does not show, or not any more."""
    return HTTPException(404, "There is no such link, or it was revoked.")


Token: TypeAlias = Annotated[str, Path(description="The token of a link.", min_length=1), AfterValidator(_reachable)]
MessageCursor: TypeAlias = Annotated[
    str | None, Query(description="The nextCursor of the page before.", json_schema_extra={"format": "message-cursor"})
]


class Sharing(Body):
    """What to share."""

    up_to: Name | None = None
    """The id of the last message to show; left out: the newest."""


class Link(Answer):
    """A public, read-only link to a conversation."""

    token: str
    """Anyone who has it can read the conversation."""
    conversation_id: str
    up_to: str | None
    """The last message that is shown; null if there was none."""
    created_at: Time


class Links(Answer):
    """Links, newest first."""

    items: list[Link]


class SharedFile(Answer):
    """A picture or another file in a message of a shared conversation."""

    url: str
    media_type: str
    """Such as image/png; empty if it is not known."""
    name: str
    """The name of the file; empty if it has none."""


class SharedSource(Answer):
    """A page that an answer of a shared conversation refers to."""

    url: str
    title: str
    """Its title; empty if it has none."""


class SharedMessage(Answer):
    """A message of a shared conversation."""

    id: str
    role: str
    """user or assistant."""
    content: str
    files: list[SharedFile]
    sources: list[SharedSource]
    created_at: Time


class SharedPage(Answer):
    """A page of a shared conversation."""

    title: str | None
    items: list[SharedMessage]
    """Oldest first. There may be fewer than the limit although more follow."""
    next_cursor: str | None


@routes.post(
    "/conversations/{conversationId}/share",
    status_code=201,
    response_model=Link,
    responses=responses(400, 404, 413, 415) | {201: {"description": "The link was created."}},
    operation_id="shareConversation",
)
async def share_conversation(
    mine: Mine, conversationId: ConversationId, sharing: Given[Sharing | None] = None
) -> Response:
    """Create a public, read-only link to a conversation. It shows the messages so far, and none that follow."""
    up_to = None if sharing is None else sharing.up_to
    return JsonResponse(Link.model_validate(await mine.share_conversation(conversationId, up_to=up_to)), 201)


@routes.get(
    "/conversations/{conversationId}/shares", response_model=Links, responses=responses(404), operation_id="listShares"
)
async def list_shares(mine: Mine, conversationId: ConversationId) -> Response:
    """List the links to a conversation, newest first."""
    found = await mine.list_shares(conversation_id=conversationId)
    if not found:
        await mine.get_conversation_item(conversationId)
    return JsonResponse(Links(items=[Link.model_validate(each) for each in found]))


@routes.delete(
    "/shares/{token}", status_code=204, response_class=Response, responses=responses(404), operation_id="revokeShare"
)
async def revoke_share(mine: Mine, token: Token) -> None:
    """Revoke a link."""
    if not await mine.revoke_share(token):
        raise not_found()


@public_routes.get(
    "/shared/{token}",
    response_model=SharedPage,
    responses={status: each for status, each in responses(404).items() if status not in (401, 403)},
    operation_id="getShared",
)
async def get_shared(
    storage: Anybodys, request: Request, token: Token, limit: Limit = 100, after: MessageCursor = None
) -> Response:
    """
    Get a shared conversation: text, files and sources of user and assistant messages. Needs no sign-in, names no user.
    """
    found = await storage.get_shared_conversation(token, limit=limit, after=after)
    if found is None:
        raise not_found()
    files = address_of(request, f"/shared/{quote(token, safe='')}/files/")
    items = [_shown(each, files) for each in found.messages]
    return JsonResponse(SharedPage(title=found.title, items=items, next_cursor=found.next_cursor), headers=UNLISTED)


def _shown(message: Message, files: str) -> SharedMessage:
    return SharedMessage(
        id=message.id,
        role=message.role,
        content=message.text,
        files=[
            SharedFile(url=part.url.replace(FILE_URL, files, 1), media_type=part.media_type, name=part.name)
            for part in parts(message)
            if isinstance(part, File)
        ],
        sources=[SharedSource(url=part.url, title=part.title) for part in parts(message) if isinstance(part, Source)],
        created_at=message.created_at,
    )
