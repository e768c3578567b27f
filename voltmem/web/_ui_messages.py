"""Storing what front ends send: the AI SDK's UIMessages, and assistant-ui's own messages."""

from __future__ import annotations

from collections.abc import Sequence

from voltmem._values import JsonObject
from voltmem.models import NativeMessage
from voltmem.parts import parts, plain, to_ui_messages
from voltmem.parts._forms import read_payload
from voltmem.parts.ai_sdk import FAMILY
from voltmem.web._tree import Convert


def native_message(id: str, payload: JsonObject, *, format: str, parent_id: str | None = None) -> NativeMessage:
    """
    Convert a front end's message for storage: the plain message, and the front end's own form as its payload.

    Raises:
        InvalidInputError: The message cannot be stored.
    """
    payload = {name: value for name, value in payload.items() if name != "id"}
    said = read_payload(format, payload)
    given = payload.get("role")
    role = given if isinstance(given, str) and given else "assistant"
    type, content = plain.derive(role, parts(payload) if said is None else said)
    return NativeMessage.of(
        {
            "id": id,
            "role": role,
            "type": type,
            "content": content,
            "format": format,
            "payload": payload,
            "parent_id": parent_id,
        }
    )


def converter(format: str) -> Convert:
    """
    Return how the messages of one branch are converted to a format: by id, without the id in the content.

    In the AI SDK's formats all messages are, in others only those that were stored in the format.
    """

    def to_ui(branch: Sequence[NativeMessage]) -> dict[str, JsonObject]:
        return {str(each.pop("id")): each for each in to_ui_messages(branch)}

    def as_stored(branch: Sequence[NativeMessage]) -> dict[str, JsonObject]:
        return {each.id: each.payload for each in branch if each.format == format and isinstance(each.payload, dict)}

    return to_ui if format.startswith(FAMILY) else as_stored
