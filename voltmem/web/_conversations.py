"""The routes for conversations: the sidebar and its actions, deletion, and the search."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from voltmem._areas.sidebar import ConversationItem
from voltmem._user import UserStorage
from voltmem.errors import ConversationNotFoundError
from voltmem.web._bodies import Given
from voltmem.web._openapi import conversation_made, responses
from voltmem.web._payloads import (
    Archive,
    ConversationChanges,
    ConversationId,
    Cursor,
    Deleted,
    Fork,
    GivenTime,
    GivenTitle,
    Hits,
    Item,
    ItemPage,
    Items,
    JsonResponse,
    Limit,
    Name,
    NewConversation,
    Purged,
    Reading,
    SearchCursor,
    TimeZone,
    item_of,
    new_item,
    values,
)
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine, OwnLimits

routes = APIRouter(route_class=ProblemRoute)

_ONE = responses(404)
_CHANGED = responses(400, 404, 413, 415)

# --- the sidebar --------------------------------------------------------------------------------------------------


@routes.get("/conversations", response_model=ItemPage, responses=responses(), operation_id="listConversations")
async def list_conversations(
    mine: Mine,
    limit: Limit = 20,
    after: Cursor = None,
    before: Cursor = None,
    archived: Annotated[bool, Query(description="List archived conversations instead.")] = False,
    pinned: Annotated[bool | None, Query(description="true: only pinned conversations; false: only others.")] = None,
    tag: Annotated[Name | None, Query(description="Only conversations with this tag.")] = None,
    resource_id: Annotated[
        Name | None, Query(alias="resourceId", description="Only conversations with this agent or project.")
    ] = None,
    active_before: Annotated[
        GivenTime | None,
        Query(alias="activeBefore", description="Only conversations that were last active before this time."),
    ] = None,
    preview: Annotated[bool, Query(description="Include the beginning of the last message.")] = True,
    time_zone: TimeZone = None,
) -> Response:
    """List a page of the sidebar: pinned conversations first, then the others, last active first."""
    found = await mine.list_conversations(
        limit=limit,
        after=after,
        before=before,
        archived=archived,
        pinned=pinned,
        tag=tag,
        resource_id=resource_id,
        preview=preview,
        active_before=active_before,
    )
    return JsonResponse(ItemPage.of(found, time_zone))


@routes.post(
    "/conversations",
    status_code=201,
    response_model=Item,
    responses=responses(400, 409, 413, 415, 507) | conversation_made(),
    operation_id="createConversation",
)
async def create_conversation(mine: Mine, limits: OwnLimits, request: Request, new: Given[NewConversation]) -> Response:
    """Create a conversation."""
    limits.check_chosen(new.id)
    made = await mine.create_conversation(values(new))
    return JsonResponse(new_item(made), 201, {"Location": _place(request, made.id)})


@routes.get("/conversations/{conversationId}", response_model=Item, responses=_ONE, operation_id="getConversation")
async def get_conversation(mine: Mine, conversationId: ConversationId) -> Response:
    """Get a conversation as the sidebar shows it."""
    return JsonResponse(item_of(await mine.get_conversation_item(conversationId)))


@routes.patch(
    "/conversations/{conversationId}", response_model=Item, responses=_CHANGED, operation_id="changeConversation"
)
async def change_conversation(
    mine: Mine, conversationId: ConversationId, changes: Given[ConversationChanges]
) -> Response:
    """Change the given fields of a conversation: all of them, or none. Its place in the sidebar stays."""
    statements = changes.model_fields_set - {"title_is_automatic"}
    if len(statements) < 2:
        return JsonResponse(item_of(await _changed(mine, conversationId, changes)))
    async with mine.transaction() as mine_together:
        item = await _changed(mine_together, conversationId, changes)
    return JsonResponse(item_of(item))


async def _changed(mine: UserStorage, id: str, changes: ConversationChanges) -> ConversationItem:
    given = changes.model_fields_set
    item: ConversationItem | None = None
    if "metadata" in given:
        await mine.update_conversation(id, metadata=changes.metadata, touch=False)
    elif "merge_metadata" in given:
        await mine.merge_conversation_metadata(id, changes.merge_metadata)
    if changes.title is not None:
        item = await mine.rename_conversation(id, changes.title, automatic=changes.title_is_automatic)
    elif "title" in given:
        await mine.update_conversation(id, title=None, touch=False)
    if "pinned" in given:
        item = await mine.pin_conversation(id, changes.pinned)
    if "archived" in given:
        item = await mine.archive_conversation(id, changes.archived)
    if "tags" in given:
        item = await mine.tag_conversation(id, changes.tags)
    return await mine.get_conversation_item(id) if item is None else item


@routes.post(
    "/conversations/{conversationId}/title", response_model=Item, responses=_CHANGED, operation_id="titleConversation"
)
async def title_conversation(mine: Mine, conversationId: ConversationId, given: Given[GivenTitle]) -> Response:
    """Set a title made by a model. A title given by a person stays."""
    return JsonResponse(item_of(await mine.rename_conversation(conversationId, given.title, automatic=True)))


@routes.post(
    "/conversations/{conversationId}/archive",
    response_model=Item,
    responses=_CHANGED,
    operation_id="archiveConversation",
)
async def archive_conversation(
    mine: Mine, conversationId: ConversationId, archive: Given[Archive | None] = None
) -> Response:
    """Archive or unarchive a conversation."""
    archived = archive is None or archive.archived
    return JsonResponse(item_of(await mine.archive_conversation(conversationId, archived)))


@routes.post(
    "/conversations/{conversationId}/read", response_model=Item, responses=_CHANGED, operation_id="readConversation"
)
async def read_conversation(
    mine: Mine, conversationId: ConversationId, reading: Given[Reading | None] = None
) -> Response:
    """Mark a conversation as read. The mark never moves back, nor into the future."""
    at = None if reading is None else reading.at
    if at is not None and at > datetime.now(UTC):
        at = None  # now, by the database's clock, which sets the times of messages
    return JsonResponse(item_of(await mine.mark_conversation_read(conversationId, at=at)))


@routes.post(
    "/conversations/{conversationId}/fork",
    status_code=201,
    response_model=Item,
    responses=responses(400, 404, 409, 413, 415, 507) | conversation_made(),
    operation_id="forkConversation",
)
async def fork_conversation(
    mine: Mine,
    limits: OwnLimits,
    request: Request,
    conversationId: ConversationId,
    fork: Given[Fork | None] = None,
) -> Response:
    """Copy a conversation, up to one of its messages."""
    given = Fork() if fork is None else fork
    limits.check_chosen(given.id)
    made = await mine.fork_conversation(conversationId, up_to=given.up_to, id=given.id)
    item = item_of(await mine.get_conversation_item(made.id))
    return JsonResponse(item, 201, {"Location": _place(request, made.id, asked=f"/{conversationId}/fork")})


def _place(request: Request, id: str, *, asked: str = "") -> str:
    """Return the path of a conversation, as the client sees it, from that of the request."""
    path, root = request.scope["path"], request.scope.get("root_path", "")
    whole = path if path.startswith(root) else f"{root}{path}"
    return f"{quote(whole.removesuffix(asked))}/{quote(id, safe='')}"


# --- deleting, with a way back ------------------------------------------------------------------------------------


@routes.delete(
    "/conversations/{conversationId}",
    status_code=204,
    response_class=Response,
    responses=_ONE,
    operation_id="deleteConversation",
)
async def delete_conversation(mine: Mine, conversationId: ConversationId) -> None:
    """Delete a conversation. It can be restored until it is purged."""
    await mine.soft_delete_conversation(conversationId)


@routes.post(
    "/conversations/{conversationId}/restore", response_model=Item, responses=_ONE, operation_id="restoreConversation"
)
async def restore_conversation(mine: Mine, conversationId: ConversationId) -> Response:
    """Undo a deletion."""
    return JsonResponse(item_of(await mine.restore_conversation(conversationId)))


@routes.get("/deleted", response_model=Items, responses=responses(), operation_id="listDeleted")
async def list_deleted(mine: Mine) -> Response:
    """List deleted conversations that can be restored, last deleted first."""
    found = await mine.list_deleted_conversations()
    return JsonResponse(Items(items=[item_of(each) for each in found]))


@routes.delete("/deleted", response_model=Purged, responses=responses(), operation_id="purgeDeleted")
async def purge_deleted(mine: Mine) -> Response:
    """Delete all deleted conversations permanently."""
    return JsonResponse(Purged(purged=await mine.purge_deleted_conversations()))


@routes.delete(
    "/deleted/{conversationId}",
    status_code=204,
    response_class=Response,
    responses=_ONE,
    operation_id="purgeConversation",
)
async def purge_conversation(mine: Mine, conversationId: ConversationId) -> None:
    """Delete one of the deleted conversations permanently."""
    if not await mine.purge_deleted_conversations(conversation_id=conversationId):
        raise ConversationNotFoundError(conversationId)


# --- tags ---------------------------------------------------------------------------------------------------------


@routes.delete("/me", response_model=Deleted, responses=responses(), operation_id="deleteMe")
async def delete_me(mine: Mine) -> Response:
    """Delete all of the user's data permanently."""
    return JsonResponse(Deleted(deleted=await mine.delete_user()))


# --- the search ---------------------------------------------------------------------------------------------------


@routes.get("/search", response_model=Hits, responses=responses(501), operation_id="search")
async def search(
    mine: Mine,
    q: Annotated[
        str,
        Query(
            description='Words, "phrases" and -exclusions; the last word may be the beginning of a word.',
            max_length=1000,
        ),
    ],
    limit: Limit = 20,
    after: SearchCursor = None,
    tag: Annotated[Name | None, Query(description="Only conversations with this tag.")] = None,
    before: Annotated[
        GivenTime | None,
        Query(description="Only messages said before this time, and titles of conversations created before it."),
    ] = None,
) -> Response:
    """Search titles and messages. Returns conversations, best match first, each with its best message."""
    return JsonResponse(Hits.of(await mine.search(q, limit=limit, after=after, tag=tag, before=before)))
