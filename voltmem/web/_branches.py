"""The routes for the branches of a conversation."""

from __future__ import annotations

from fastapi import APIRouter, Response

from voltmem.errors import MessageNotFoundError
from voltmem.web._bodies import Given
from voltmem.web._messages import check_is_there, messages_of
from voltmem.web._openapi import responses
from voltmem.web._payloads import (
    Answer,
    Body,
    ConversationId,
    JsonResponse,
    MessageId,
    Name,
    StoredMessages,
)
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)


class BranchingPoint(Answer):
    """A place where the chosen branch could have gone on differently."""

    parent_id: str | None
    """The message that the others follow; null: they are first messages."""
    message_ids: list[str]
    """The messages that follow it, one for each branch, in the order in which they were added."""
    chosen_id: str | None
    """The one in the chosen branch; null: that branch ends before them."""


class BranchingPoints(Answer):
    """The branching points of a conversation, oldest first."""

    items: list[BranchingPoint]


class BranchAfter(Body):
    """The message after which a branch begins."""

    message_id: Name | None
    """The last message that stays; null: none stays."""


class Head(Answer):
    """The end of the chosen branch."""

    head_id: str
    """The last message of the chosen branch."""


@routes.get(
    "/conversations/{conversationId}/branches",
    response_model=BranchingPoints,
    responses=responses(404),
    operation_id="listBranches",
)
async def list_branches(mine: Mine, conversationId: ConversationId) -> Response:
    """List the places where the conversation has several branches."""
    points = await mine.list_branches(conversationId)
    await check_is_there(mine, conversationId, points)
    return JsonResponse(BranchingPoints(items=[BranchingPoint(**point.model_dump()) for point in points]))


@routes.post(
    "/conversations/{conversationId}/branch",
    status_code=204,
    response_class=Response,
    responses=responses(400, 404, 413, 415),
    operation_id="branchConversation",
)
async def branch_conversation(mine: Mine, conversationId: ConversationId, after: Given[BranchAfter]) -> None:
    """Begin a branch after a message. The messages after it are kept, aside, until their branch is chosen again."""
    await mine.branch_conversation(conversationId, after.message_id)


@routes.get(
    "/conversations/{conversationId}/messages/{messageId}/siblings",
    response_model=StoredMessages,
    responses=responses(404),
    operation_id="listSiblings",
)
async def list_siblings(mine: Mine, conversationId: ConversationId, messageId: MessageId) -> Response:
    """List the messages that follow the same message as this one, itself included."""
    found = await mine.list_siblings(conversationId, messageId)
    await check_is_there(mine, conversationId, found)
    if not found:
        raise MessageNotFoundError(messageId, conversationId)
    return JsonResponse(messages_of(found))


@routes.post(
    "/conversations/{conversationId}/messages/{messageId}/choose",
    response_model=Head,
    responses=responses(404),
    operation_id="chooseBranch",
)
async def choose_branch(mine: Mine, conversationId: ConversationId, messageId: MessageId) -> Response:
    """Choose the branch of a message, for every reader."""
    return JsonResponse(Head(head_id=await mine.choose_branch(conversationId, messageId)))
