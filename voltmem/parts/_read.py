"""parts(): what one message says."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from voltmem.parts import plain
from voltmem.parts._forms import form_of, read_payload
from voltmem.parts._shapes import read_block
from voltmem.parts._steps import Readable, native_of
from voltmem.parts._types import Other, Part, Text


def parts(message: Readable | Mapping[str, JsonValue]) -> list[Part]:
    """
    Return what a message says, in order.

    Args:
        message: A stored message, or one in any of the known forms. A NativeMessage is read in its own form, if that is
            known and says something; any other by the shape of its content.

    No I/O. Any JSON is read: what no form knows is ``Other``.
    """
    if isinstance(message, Mapping):
        return _given_parts(dict(message))
    format, payload = native_of(message)
    found = None if format is None else read_payload(format, payload)
    if found is None:
        return plain_parts(message)
    if not all(isinstance(part, Other) for part in found):
        return found
    # Of a form that says nothing to us, such as that of a newer release, there is the plain form.
    said = plain_parts(message)
    is_said = any(not isinstance(part, Other) and part != Text("") for part in said)
    return said if is_said else found


def _given_parts(given: dict[str, JsonValue]) -> list[Part]:
    if (form := form_of(given)) is not None:
        return form.read(given)
    role, type, metadata = given.get("role"), given.get("type"), given.get("metadata")
    return plain.read(
        role if isinstance(role, str) else "user",
        type if isinstance(type, str) else "text",
        given.get("content"),
        metadata if isinstance(metadata, dict) else {},
        read_block,
    )


def plain_parts(message: Readable) -> list[Part]:
    """Return what the plain form of a message says, whatever other form it has."""
    return plain.read(message.role, message.type, message.content, message.metadata, read_block)


def text(message: Readable) -> str:
    """Return the readable text of a message: a string itself, or the texts of the parts."""
    return message.content if isinstance(message.content, str) else plain.text(plain_parts(message))
