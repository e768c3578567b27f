"""Conversion between the items of OpenAI's Agents SDK and voltmem's messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, cast, get_args, get_type_hints

from voltmem._values import JsonObject, json_value, short_repr
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.parts import Part, ToolCall, ToolResult, plain, responses
from voltmem.parts._items import CALLS, complete
from voltmem.parts._providers import CallIds
from voltmem.parts._settled import settle
from voltmem.parts._types import string

try:
    from agents import TResponseInputItem
except ImportError as error:
    raise MissingExtraError("openai-agents", "openai-agents") from error

FORMAT: Final = "openai-agents"

_log = logging.getLogger("voltmem")


def to_messages(items: Iterable[TResponseInputItem]) -> list[NativeMessage]:
    """
    Convert items to messages: for each the plain message, together with the item itself.

    Raises:
        InvalidInputError: An item is not a dict, or has a value that is not JSON.
    """
    tool_names: dict[str, str] = {}
    return [_to_message(item, tool_names) for item in items]


def to_items(messages: Iterable[NativeMessage]) -> list[TResponseInputItem]:
    """
    Convert messages to items. The SDK's own are unchanged; others are converted.

    An item of a type that this release of the SDK does not know is converted from its plain form, if that says more,
    and the logger "voltmem" warns.
    """
    settled = settle([_known(message) for message in messages])
    return [cast(TResponseInputItem, item) for item in responses.write(settled, keep_all=True)]


def _known(message: NativeMessage) -> NativeMessage:
    """Return the message, or its plain form if the SDK does not know the type of its item."""
    item = message.payload
    if message.format != FORMAT or not isinstance(item, dict):
        return message
    is_known = string(item, "type") in _known_types() if "type" in item else "role" in item
    # An item of an application's own, or of a session that wraps this one, goes back to it: it has no other plain form.
    if is_known or plain.derive(responses.role(item), responses.read(item))[1] == message.content:
        return message
    _log.warning("this OpenAI Agents SDK cannot read the item %s: its plain form is read", message.id)
    return message.model_copy(update={"format": None, "payload": None})


@cache
def _known_types() -> frozenset[str]:
    return frozenset(_types(TResponseInputItem))


def _types(annotation: Any) -> set[str]:
    """Return the values that the types of items have as their type."""
    if isinstance(annotation, str):
        return {annotation}
    hints = get_type_hints(annotation) if isinstance(annotation, type) else {}  # a TypedDict
    return set().union(*map(_types, [hints["type"]] if "type" in hints else get_args(annotation)))


def _to_message(given: object, tool_names: dict[str, str]) -> NativeMessage:
    if not isinstance(given, dict):
        raise InvalidInputError(f"an item must be a dict, not {short_repr(given)}")
    item = cast(JsonObject, json_value(given, "item"))
    said = [_named(part, tool_names) for part in responses.read(item)]
    role = responses.role(item)
    type, content = plain.derive(role, said)
    return NativeMessage.of({"role": role, "type": type, "content": content, "format": FORMAT, "payload": item})


def _named(part: Part, tool_names: dict[str, str]) -> Part:
    """Return a result with the name of its tool, which only the call has."""
    if isinstance(part, ToolCall):
        tool_names[part.id] = part.name
    return replace(part, name=tool_names.get(part.call_id, "")) if isinstance(part, ToolResult) else part


def _without_incomplete_turns(items: Sequence[TResponseInputItem]) -> list[TResponseInputItem]:
    """
    Return the items without the rest of turns that a limit, a deletion or an aborted run has cut: providers refuse it.

    The rules are those of to_responses(). The runner itself leaves out calls without a result, with their reasoning.
    """
    ids = CallIds(responses.LONGEST_ID)
    valid: list[JsonObject] = []
    for item in complete([cast(JsonObject, item) for item in items]):
        call_id, type = item.get("call_id"), string(item, "type")
        if isinstance(call_id, str):
            # The runner keeps only the last of several calls with one id.
            call = ToolCall(call_id, string(item, "name"), None)
            used = ids.legal(call) if type in CALLS else ids.last(call_id)
            item = item if used == call_id else {**item, "call_id": used}
        valid.append(item)
    return [cast(TResponseInputItem, item) for item in valid]


def is_of_system(item: TResponseInputItem) -> bool:
    """Return whether the system says the item: some models take it only before all others."""
    return item.get("role") in ("system", "developer")


def begins_run(items: Sequence[TResponseInputItem]) -> bool:
    """Return whether this is the first request of a run: later ones end with what a tool returned."""
    return bool(items) and items[-1].get("role") == "user"


def items_for_model(
    begin: Sequence[NativeMessage], later: Sequence[TResponseInputItem], most: int | None
) -> list[TResponseInputItem]:
    """Return the items for a model: what a window begins with, and the newest of the later ones."""
    newest = later[-most:] if most else later  # a message of another framework may become several items
    said = _without_incomplete_turns(newest)
    if not begin or begin[-1].format != FORMAT:
        return [*to_items(begin), *said]
    # The API takes back what it has compacted only as it is, and whole.
    kept, compacted = _compacted(begin[-1].payload) or ([], [])
    if most is not None:
        kept = kept[max(len(kept) + len(newest) - most, 0) :]
    return [*to_items(begin[:-1]), *_without_incomplete_turns(kept), *compacted, *said]


def is_unreadable(begin: Sequence[NativeMessage]) -> bool:
    """Return whether a window begins with a summary of OpenAI's that has no items of OpenAI's; an import stores any."""
    return bool(begin) and begin[-1].format == FORMAT and _compacted(begin[-1].payload) is None


def _compacted(payload: object) -> tuple[list[TResponseInputItem], list[TResponseInputItem]] | None:
    """Return the items before those that OpenAI has compacted, and OpenAI's; None: this is another payload."""
    if not isinstance(payload, dict):
        return None
    kept, compacted = payload.get("kept"), payload.get("items")
    if not isinstance(kept, list) or not isinstance(compacted, list) or not compacted:
        return None
    return (kept, compacted) if all(isinstance(item, dict) for item in (*kept, *compacted)) else None
