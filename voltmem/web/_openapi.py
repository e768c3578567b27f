"""Additions to the OpenAPI document: problem responses, Location headers, and links between operations."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, TypeAlias

from voltmem.web._problems import MEDIA_TYPE

Responses: TypeAlias = dict[int | str, dict[str, Any]]

# Not signed in; not allowed; an invalid request; the database is not available.
_ANYWHERE: Final = (401, 403, 422, 503)
# Inline in each response: the components of the application's document are not ours.
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
                "data": {"description": "The detail of the application's exception, if that is not a text."},
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
    "description": "The path of the new conversation.",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference"},
}
_ON_CONVERSATIONS: Final = (
    *("getConversation", "changeConversation", "titleConversation", "archiveConversation", "readConversation"),
    *("forkConversation", "deleteConversation", "restoreConversation", "listMessages", "addMessages"),
    *("listUIMessages", "saveUIMessages", "loadHistory", "getThread"),
)


def responses(*statuses: int) -> Responses:
    """Return the problem responses of a route: these statuses, those that every route has, and 408 with a body."""
    with_body = (408,) if 413 in statuses else ()
    return {
        status: {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
        for status in sorted({*statuses, *_ANYWHERE, *with_body})
    }


def conversation_made() -> Responses:
    """Return the response of a route that creates a conversation: its Location, and links to operations on it."""
    links = {
        operation: {"operationId": operation, "parameters": {"conversationId": "$response.body#/id"}}
        for operation in _ON_CONVERSATIONS
    }
    return {201: {"description": "The conversation was created.", "headers": {"Location": _LOCATION}, "links": links}}


def messages_made() -> Responses:
    """Return the response of a route that stores messages, with links to operations on the first of them."""
    conversation, message = "$request.path.conversationId", "$response.body#/items/0/id"
    place = {"conversationId": conversation, "messageId": message}
    return {
        201: {
            "description": "The messages were stored.",
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
