"""Storing what front ends send: the AI SDK's UIMessages, and assistant-ui's own messages."""

from __future__ import annotations

from collections.abc import Sequence

from voltmem._values import JsonObject
from voltmem.models import NativeMessage
from voltmem.parts import ai_sdk, assistant_ui, parts, plain, to_ui_messages
from voltmem.parts._forms import read_payload
from voltmem.parts._front_ends import with_own_ids
from voltmem.parts._settled import settle
from voltmem.parts._types import object_of
from voltmem.web._tree import Format


def native_message(id: str, payload: JsonObject, *, format: str, parent_id: str | None = None) -> NativeMessage:
    """
    Convert a front end's message for storage: the plain message, and the front end's own form as its payload.

    The metadata of a UIMessage is the message's.

    Raises:
        InvalidInputError: The message cannot be stored.
    """
    payload = {name: value for name, value in payload.items() if name != "id"}
    said = read_payload(format, payload)
    given = payload.get("role")
    role = given if isinstance(given, str) and given else "assistant"
    type, content = plain.derive_beside(role, parts(payload) if said is None else said)
    return NativeMessage.of(
        {
            "id": id,
            "role": role,
            "type": type,
            "content": content,
            "metadata": ai_sdk.metadata(payload) if format.startswith(ai_sdk.FAMILY) else {},
            "format": format,
            "payload": payload,
            "parent_id": parent_id,
        }
    )


def in_format(format: str) -> Format:
    """
    Return how the messages of one branch are given in a format: by id, without the id in the content.

    In the AI SDK's formats and in assistant-ui's own all messages are, in others those that were stored in the format.
    """
    if format.startswith(ai_sdk.FAMILY):
        return Format(
            lambda branch: _by_id(to_ui_messages(branch)),
            _without_metadata,
            lambda content: object_of(content, "metadata"),
            lambda contents: with_own_ids(contents, "parts"),
            ai_sdk.FAMILY,
        )
    if format.startswith(assistant_ui.FAMILY):
        return Format(
            lambda branch: _by_id(assistant_ui.write(settle(branch))),
            lambda content: _without_metadata(assistant_ui.without_defaults(content)),
            assistant_ui.metadata_of,
            lambda contents: with_own_ids(contents, "content"),
            assistant_ui.FAMILY,
        )
    return Format(lambda branch: _as_stored(branch, format))


def _without_metadata(content: JsonObject) -> JsonObject:
    return {name: value for name, value in content.items() if name != "metadata"}


def _by_id(messages: list[JsonObject]) -> dict[str, JsonObject]:
    return {str(each.pop("id")): each for each in messages}


def _as_stored(branch: Sequence[NativeMessage], format: str) -> dict[str, JsonObject]:
    return {each.id: each.payload for each in branch if each.format == format and isinstance(each.payload, dict)}
