"""What the OpenAPI document says of a route beside what FastAPI reads from it: problems, places, what comes next."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, TypeAlias

from voltmem.web._problems import MEDIA_TYPE

Responses: TypeAlias = dict[int | str, dict[str, Any]]

# Nobody is signed in, or not allowed in; no such request can be answered; the database is away.
_ANYWHERE: Final = (401, 403, 422, 503)
# Within each response, for no component of an application's document can be counted on.
_PROBLEM: Final = {
    MEDIA_TYPE: {
        "schema": {
            "title": "Problem",
            "description": "What went wrong (RFC 9457).",
            "type": "object",
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "data": {"description": "What the application told of it, where that is no text."},
                "errors": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
                        "required": ["pointer", "detail"],
                    },
                },
            },
            "required": ["type", "title", "status", "detail"],
        }
    }
}
_LOCATION: Final = {
    "description": "Where it is.",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference"},
}
_ON_CONVERSATIONS: Final = (
    *("getConversation", "changeConversation", "titleConversation", "archiveConversation", "readConversation"),
    *("forkConversation", "deleteConversation", "restoreConversation", "listMessages", "addMessages"),
    *("listUIMessages", "saveUIMessages", "loadHistory", "getThread"),
)


def responses(*statuses: int) -> Responses:
    """Return the problems that a route may answer with, beside those of every route."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
        for status in sorted({*statuses, *_ANYWHERE})
    }


def conversation_made() -> Responses:
    """Return what a route answers that makes a conversation: where it is, and what can be done with it."""
    links = {
        operation: {"operationId": operation, "parameters": {"conversationId": "$response.body#/id"}}
        for operation in _ON_CONVERSATIONS
    }
    return {201: {"description": "It was made.", "headers": {"Location": _LOCATION}, "links": links}}


def messages_made() -> Responses:
    """Return what a route answers that stores messages: what can be done with the first of them."""
    conversation, message = "$request.path.conversationId", "$response.body#/items/0/id"
    place = {"conversationId": conversation, "messageId": message}
    return {
        201: {
            "description": "They were stored.",
            "links": {
                "deleteMessage": {"operationId": "deleteMessage", "parameters": place},
                "saveHistoryEntry": {"operationId": "saveHistoryEntry", "parameters": place},
                "rewindConversation": {
                    "operationId": "rewindConversation",
                    "parameters": {"conversationId": conversation},
                    "requestBody": {"messageId": message},
                },
            },
        }
    }
