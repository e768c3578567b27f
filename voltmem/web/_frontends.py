"""
The routes for front ends with message formats of their own: the AI SDK's useChat, and assistant-ui.

assistant-ui's RemoteThreadListAdapter uses ``/threads`` for ``list`` and ``fetch``, and ``/conversations`` for changes:
POST (initialize), PATCH with title (rename) or metadata (updateCustom), /archive, DELETE, /title. Its
ThreadHistoryAdapter uses ``/conversations/{id}/history``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias, cast

from fastapi import APIRouter, Query, Response
from pydantic import Discriminator, Field, JsonValue, Tag

from voltmem._agents.native import NativeMemory
from voltmem._areas.sidebar import ConversationItem
from voltmem._user import UserStorage
from voltmem._values import JsonObject as Object
from voltmem.models import NativeMessage
from voltmem.parts import to_ui_messages
from voltmem.parts.ai_sdk import FORMAT
from voltmem.web._bodies import Given
from voltmem.web._forms import UIMessage
from voltmem.web._messages import check_is_there
from voltmem.web._openapi import responses
from voltmem.web._payloads import (
    Answer,
    Body,
    ConversationId,
    Cursor,
    JsonObject,
    JsonResponse,
    Limit,
    ListOf,
    MessageId,
    Name,
    Time,
    how_many,
)
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine
from voltmem.web._tree import Tree
from voltmem.web._ui_messages import in_format, native_message

routes = APIRouter(route_class=ProblemRoute)

# How many of the newest messages are compared with those that a front end sends back.
_COMPARED: Final = 1000

Newest: TypeAlias = Annotated[
    int, Query(description="The maximum number of messages; the newest are returned.", ge=1, le=1000)
]


async def _newest(mine: UserStorage, conversation_id: str, limit: int) -> list[NativeMessage]:
    memory = NativeMemory.of(mine.conversation(conversation_id))
    found = await memory.newest_messages(limit)
    await check_is_there(mine, conversation_id, found)
    return found


async def _save(
    mine: UserStorage, conversation_id: str, tree: Tree, given: Sequence[tuple[NativeMessage, Object]]
) -> None:
    """Store those of a front end's messages, each with its content, that are new or changed, and what metadata adds."""
    changed: list[NativeMessage] = []
    for message, content in given:
        added = tree.unknown_metadata(message.id, content)
        if added:
            await mine.merge_message_metadata(added, conversation_id, message.id)
        elif added is None:
            metadata = tree.merged_metadata(message.id, content)
            changed.append(message if metadata is None else message.model_copy(update={"metadata": metadata}))
    await mine.add_messages(changed, conversation_id)


# --- the AI SDK ---------------------------------------------------------------------------------------------------


class UIMessages(Body):
    """Messages to store: all of them, or none."""

    messages: Annotated[ListOf[UIMessage], Field(min_length=1, max_length=1000)]
    rewind: bool = False
    """
    First set aside all messages that follow the last of these that is stored already. Send useChat's whole list, or the
    end of it from a stored message on: answers that were regenerated, and what followed a question that was edited,
    are then another branch. So is what somebody else stored meanwhile. Nothing is deleted.
    """


OneOrSeveral: TypeAlias = Annotated[
    Annotated[UIMessage, Tag("<one>")] | Annotated[UIMessages, Tag("<several>")], Discriminator(how_many)
]


@routes.get(
    "/conversations/{conversationId}/ui-messages",
    response_model=list[UIMessage],
    responses=responses(404),
    operation_id="listUIMessages",
)
async def list_ui_messages(mine: Mine, conversationId: ConversationId, limit: Newest = 100) -> Response:
    """List the newest messages as UIMessages for the AI SDK's useChat, oldest first."""
    return JsonResponse(cast(JsonValue, to_ui_messages(await _newest(mine, conversationId, limit))))


@routes.post(
    "/conversations/{conversationId}/ui-messages",
    response_model=list[UIMessage],
    responses=responses(400, 404, 413, 415, 507),
    operation_id="saveUIMessages",
)
async def save_ui_messages(mine: Mine, conversationId: ConversationId, new: Given[OneOrSeveral]) -> Response:
    """
    Store messages of useChat: those that are new, and those that were changed.

    A message that comes back as it was given stays as it was stored, in the form of the framework that stored it. A
    changed message replaces the one with its id; others are appended.
    """
    given, rewind = (new.messages, new.rewind) if isinstance(new, UIMessages) else ([new], False)
    payloads: list[Object] = [each.given() for each in given]
    ids = [str(payload["id"]) for payload in payloads]
    async with mine.transaction() as mine_together:
        memory = NativeMemory.of(mine_together.conversation(conversationId))
        await memory.lock()  # no other call adds or deletes messages until the transaction ends
        are_new = not await memory.messages_by_id(ids)
        tree = Tree([] if are_new else await memory.messages_of_all_branches(_COMPARED), in_format(FORMAT))
        last = tree.last_known(ids) if rewind else None
        if last is not None:
            await mine_together.branch_conversation(conversationId, tree.last_of(last))
        contents = [{name: value for name, value in each.items() if name != "id"} for each in payloads]
        given_messages = [native_message(id, each, format=FORMAT) for id, each in zip(ids, contents, strict=True)]
        await _save(mine_together, conversationId, tree, list(zip(given_messages, contents, strict=True)))
    return JsonResponse(cast(JsonValue, payloads))


# --- assistant-ui -------------------------------------------------------------------------------------------------

_ARCHIVED: Final = "archived:"


class Thread(Answer):
    """A conversation as assistant-ui's thread list expects it."""

    status: Literal["regular", "archived"]
    remote_id: str
    title: str | None = None
    last_message_at: Time
    custom: JsonObject
    """The conversation's metadata."""

    @classmethod
    def of(cls, item: ConversationItem) -> Thread:
        """Make the response for a conversation. A missing title is left out."""
        title = {} if item.title is None else {"title": item.title}
        return cls(
            status="archived" if item.archived else "regular",
            remote_id=item.id,
            last_message_at=item.updated_at,
            custom=item.metadata,
            **title,
        )


class Threads(Answer):
    """A page of the list: regular threads first, then archived ones."""

    threads: list[Thread]
    next_cursor: str | None = None
    """Pass it as after for the next page; left out on the last page."""


@routes.get("/threads", response_model=Threads, responses=responses(), operation_id="listThreads")
async def list_threads(mine: Mine, limit: Limit = 20, after: Cursor = None) -> Response:
    """assistant-ui's list(): a page of all conversations, archived ones last."""
    items: list[ConversationItem] = []
    cursor = None
    if after is None or not after.startswith(_ARCHIVED):
        regular = await mine.list_conversations(limit=limit, after=after, preview=False)
        items, cursor, after = regular.items, regular.next_cursor, _ARCHIVED
    if cursor is None and len(items) < limit:
        place = after.removeprefix(_ARCHIVED) or None
        archived = await mine.list_conversations(limit=limit - len(items), after=place, archived=True, preview=False)
        items = [*items, *archived.items]
        cursor = None if archived.next_cursor is None else f"{_ARCHIVED}{archived.next_cursor}"
    elif cursor is None:
        cursor = _ARCHIVED  # a full page: the next one shows whether there are archived threads
    follows = {} if cursor is None else {"next_cursor": cursor}
    return JsonResponse(Threads(threads=[Thread.of(item) for item in items], **follows))


@routes.get("/threads/{conversationId}", response_model=Thread, responses=responses(404), operation_id="getThread")
async def get_thread(mine: Mine, conversationId: ConversationId) -> Response:
    """assistant-ui's fetch()."""
    return JsonResponse(Thread.of(await mine.get_conversation_item(conversationId)))


class HistoryEntry(Body):
    """A message in a front end's own form."""

    parent_id: Annotated[Name | None, Field(alias="parent_id")] = None
    """The message before it in its branch; null for the first; left out: the last message of the chosen branch."""
    format: Name
    """The format of content, such as ai-sdk/v6."""
    content: JsonObject


class HistoryRow(Answer):
    """A message in a front end's own form, as assistant-ui's MessageFormatAdapter decodes it."""

    id: str
    parent_id: Annotated[str | None, Field(alias="parent_id")]
    format: str
    content: JsonObject


class History(Answer):
    """The messages of a conversation in all branches, each after its parent."""

    head_id: str | None
    """The last message of the chosen branch."""
    messages: list[HistoryRow]


@routes.get(
    "/conversations/{conversationId}/history",
    response_model=History,
    responses=responses(404),
    operation_id="loadHistory",
)
async def load_history(
    mine: Mine,
    conversationId: ConversationId,
    format: Annotated[Name, Query(description="The MessageFormatAdapter's format.")] = "ai-sdk/v6",
    limit: Newest = 1000,
) -> Response:
    """
    assistant-ui's load(): the messages of all branches, in one format. In the AI SDK's and in aui/v0: all, converted.

    The limit is that of the chosen branch, and again of all other messages.
    """
    found = await NativeMemory.of(mine.conversation(conversationId)).messages_of_all_branches(limit)
    await check_is_there(mine, conversationId, found)
    tree = Tree(found, in_format(format))
    rows = [
        HistoryRow(id=id, parent_id=tree.parent_of(id), format=format, content=content)
        for id, content in tree.contents.items()
    ]
    return JsonResponse(History(head_id=tree.head_id, messages=rows))


@routes.put(
    "/conversations/{conversationId}/history/{messageId}",
    response_model=HistoryRow,
    responses=responses(400, 404, 413, 415, 507),
    operation_id="saveHistoryEntry",
)
async def save_history_entry(
    mine: Mine, conversationId: ConversationId, messageId: MessageId, entry: Given[HistoryEntry]
) -> Response:
    """
    assistant-ui's append() and update(): store a message, in place of the one with this id or after its parent.

    A new message whose parent is not the head begins a branch, which becomes the chosen one. Without parent_id it
    follows the head. A message that comes back as it was given stays as it was stored.
    """
    async with mine.transaction() as mine_together:
        memory = NativeMemory.of(mine_together.conversation(conversationId))
        await memory.lock()
        tree = Tree(await memory.messages_of_all_branches(_COMPARED), in_format(entry.format))
        parent = entry.parent_id and tree.last_of(entry.parent_id)
        follows = (parent or "") if "parent_id" in entry.model_fields_set else None
        message = native_message(messageId, entry.content, format=entry.format, parent_id=follows)
        await _save(mine_together, conversationId, tree, [(message, entry.content)])
    return JsonResponse(HistoryRow(id=messageId, parent_id=entry.parent_id, format=entry.format, content=entry.content))
