"""The routes for the messages of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, cast
from uuid import UUID, uuid5

from fastapi import APIRouter, Header, Query, Response
from pydantic import JsonValue
from pydantic.alias_generators import to_camel

from voltmem._user import UserStorage
from voltmem.errors import ConversationNotFoundError, MessageNotFoundError
from voltmem.models import Message
from voltmem.parts import to_ui_messages
from voltmem.web._bodies import Given
from voltmem.web._forms import AnyMessage, NewMessages, OneOrSeveral
from voltmem.web._openapi import messages_made, responses
from voltmem.web._payloads import (
    ConversationId,
    Dropped,
    JsonResponse,
    MessageChanges,
    MessageCount,
    MessageId,
    MessagePage,
    Name,
    NewMessage,
    Rewind,
    StoredMessage,
    StoredMessages,
    values,
    written_time,
)
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)

_KEYS: Final = UUID("8a4f5b3e-53f1-4c0c-8c7b-5a39c5d2f7a1")


@routes.get(
    "/conversations/{conversationId}/messages",
    response_model=MessagePage,
    responses=responses(404),
    operation_id="listMessages",
)
async def list_messages(
    mine: Mine,
    conversationId: ConversationId,
    limit: Annotated[int, Query(description="The maximum number of messages.", ge=1, le=1000)] = 50,
    before: Annotated[Name | None, Query(description="The id of a message: list those right before it.")] = None,
    after: Annotated[Name | None, Query(description="The id of a message: list those right after it.")] = None,
    uiMessages: Annotated[bool, Query(description="Also say what each message says, as a UIMessage.")] = False,
) -> Response:
    """List messages, oldest first: the newest ones, or those before or after a message, or between two."""
    if after is not None:
        found = await mine.get_conversation_messages(conversationId, limit=limit + 1, after=after, before=before)
        shown = found[:limit]
    else:
        found = await mine.get_messages(conversationId, limit=limit + 1, before=before)
        shown = found[-limit:]
    await check_is_there(mine, conversationId, found)
    return JsonResponse(messages_of(shown, ui_messages=uiMessages, hasMore=len(found) > limit))


@routes.post(
    "/conversations/{conversationId}/messages",
    status_code=201,
    response_model=StoredMessages,
    responses=responses(400, 404, 413, 415, 507) | messages_made(),
    operation_id="addMessages",
)
async def add_messages(
    mine: Mine,
    conversationId: ConversationId,
    new: Given[OneOrSeveral],
    idempotency_key: Annotated[
        str | None,
        Header(
            description="A repeated request with the same key stores messages without an id once: the last.",
            min_length=1,
            max_length=250,
        ),
    ] = None,
) -> Response:
    """
    Store one message or several: plain ones, or in the form of a model's or a front end's API.

    A message with an existing id replaces that message in its place. A message in a form of its own is kept in it, and
    listed as a plain one.
    """
    messages = [_message(each) for each in (new.messages if isinstance(new, NewMessages) else [new])]
    if idempotency_key is not None:
        messages = [
            each if each.given("id") else each.model_copy(update={"id": _derived(mine.user_id, idempotency_key, place)})
            for place, each in enumerate(messages)
        ]
    stored = await mine.add_messages(messages, conversationId)
    return JsonResponse(messages_of(stored), 201)


def _message(new: AnyMessage) -> Message:
    if isinstance(new, NewMessage):
        return Message.of(values(new) | {"content": new.content})
    return Message.of(new.given())


def _derived(user_id: str, key: str, position: int) -> str:
    # A NUL is in no id. The users of a conversation in VoltAgent's tables have keys of their own.
    return str(uuid5(_KEYS, f"{position}:{user_id}\0{key}"))


@routes.get(
    "/conversations/{conversationId}/messages/{messageId}",
    response_model=StoredMessage,
    responses=responses(404),
    operation_id="getMessage",
)
async def get_message(mine: Mine, conversationId: ConversationId, messageId: MessageId) -> Response:
    """Get one message."""
    found = await mine.get_message(conversationId, messageId)
    if found is None:
        await check_is_there(mine, conversationId, [])
        raise MessageNotFoundError(messageId, conversationId)
    return JsonResponse(message_of(found))


@routes.patch(
    "/conversations/{conversationId}/messages/{messageId}",
    response_model=StoredMessage,
    responses=responses(400, 404, 413, 415),
    operation_id="changeMessage",
)
async def change_message(
    mine: Mine, conversationId: ConversationId, messageId: MessageId, changes: Given[MessageChanges]
) -> Response:
    """Change the given fields of a message's metadata, such as feedback. The conversation's place stays."""
    return JsonResponse(
        message_of(await mine.merge_message_metadata(changes.merge_metadata, conversationId, messageId))
    )


@routes.get(
    "/conversations/{conversationId}/count",
    response_model=MessageCount,
    responses=responses(404),
    operation_id="countMessages",
)
async def count_messages(
    mine: Mine,
    conversationId: ConversationId,
    role: Annotated[list[Name] | None, Query(description="Only messages with one of these roles.")] = None,
    type: Annotated[list[Name] | None, Query(description="Only messages of one of these types.")] = None,
) -> Response:
    """Count the messages of a conversation."""
    count = await mine.count_messages(conversationId, roles=role, types=type)
    if not count:
        await check_is_there(mine, conversationId, [])
    return JsonResponse(MessageCount(count=count))


@routes.delete(
    "/conversations/{conversationId}/messages/{messageId}",
    status_code=204,
    response_class=Response,
    responses=responses(404),
    operation_id="deleteMessage",
)
async def delete_message(mine: Mine, conversationId: ConversationId, messageId: MessageId) -> None:
    """Delete a message permanently."""
    if not await mine.delete_messages([messageId], conversationId):
        await check_is_there(mine, conversationId, [])
        raise MessageNotFoundError(messageId, conversationId)


@routes.post(
    "/conversations/{conversationId}/rewind",
    response_model=Dropped,
    responses=responses(400, 404, 413, 415),
    operation_id="rewindConversation",
)
async def rewind_conversation(mine: Mine, conversationId: ConversationId, rewind: Given[Rewind]) -> Response:
    """Delete all messages after a message permanently, to regenerate the answer or to edit the question."""
    return JsonResponse(Dropped(dropped=await mine.rewind_conversation(conversationId, rewind.message_id)))


async def check_is_there(mine: UserStorage, conversation_id: str, found: Sequence[object]) -> None:
    """Raise ConversationNotFoundError if no message was found because there is no such conversation."""
    if not found and await mine.get_conversation(conversation_id) is None:
        raise ConversationNotFoundError(conversation_id)


# --- responses ---------------------------------------------------------------------------------------------------

# The fields of a message that a StoredMessage has as they are, by their names in it.
_AS_THEY_ARE: Final = {
    to_camel(name): name for name in StoredMessage.model_fields if name not in ("created_at", "ui_message")
}


def message_of(found: Message) -> dict[str, JsonValue]:
    """Make the JSON of a StoredMessage. Validating and dumping a model would take several times as long."""
    fields = found.__dict__
    shown = {theirs: fields[ours] for theirs, ours in _AS_THEY_ARE.items()}
    shown["createdAt"] = written_time(found.created_at)
    return shown


def messages_of(found: list[Message], *, ui_messages: bool = False, **page: JsonValue) -> JsonValue:
    """
    Make the JSON of StoredMessages, with what each says as a UIMessage if that is asked for.

    page: the other fields of a MessagePage.
    """
    items = [message_of(each) for each in found]
    if ui_messages:
        said = {each["id"]: each for each in to_ui_messages(found)}
        items = [{**item, "uiMessage": said.get(item["id"])} for item in items]
    return {"items": cast(list[JsonValue], items), **page}
