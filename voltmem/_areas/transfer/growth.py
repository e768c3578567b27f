"""
Importing a conversation again that has grown where it comes from: adding the messages that are new.

A payload of the conversation records the import: which messages it brought, and which of them was the head. So a
message that somebody has deleted here does not come back, and the line moves only if nobody has continued it or chosen
another branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from voltmem._areas.transfer.models import ImportedConversation, ImportedMessage, ImportedPayload
from voltmem._model import Id, Model
from voltmem._tables import Tables
from voltmem._values import from_stored_json, to_json
from voltmem.errors import InvalidInputError
from voltmem.models import Message

if TYPE_CHECKING:
    from voltmem._postgres.connection import BoundConnection

FORMAT: Final = "voltmem.import"


class Progress(Model):
    """What an import has brought of a conversation."""

    message_ids: list[Id]
    """The messages."""
    head: Id | None
    """The last message of the line."""


def progress(message_ids: Iterable[str], head: str | None, updated_at: datetime) -> ImportedPayload:
    """Return the record of an import, so that a later one with a newer *updated_at* adds what is new."""
    payload = Progress(message_ids=list(message_ids), head=head).model_dump()
    return ImportedPayload(format=FORMAT, payload=payload, updated_at=updated_at)


def progress_of(conversation: ImportedConversation) -> ImportedPayload | None:
    """Return the record that an importer gave a conversation."""
    return next((each for each in conversation.payloads if each.format == FORMAT), None)


class GrowthStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        conversations, payloads = tables.conversations, tables.payloads
        own = f"SELECT 1 FROM {conversations} WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL"
        self.newer = f"""
            SELECT payload::text AS payload FROM {payloads}
            WHERE conversation_id = $1 AND format = $2 AND updated_at < $3"""
        self.lock = f"{own} FOR NO KEY UPDATE"
        self.head = f"""
            SELECT message_id FROM {tables.messages}
            WHERE conversation_id = $1 AND NOT archived AND NOT aside
            ORDER BY created_at DESC, seq DESC LIMIT 1"""
        self.stored = (
            f"SELECT message_id FROM {tables.messages} WHERE conversation_id = $1 AND message_id = ANY($2::text[])"
        )
        self.move_head = f"SELECT {tables.move_head}($1, $2)"
        self.record = f"""
            UPDATE {payloads} SET payload = $3::text::json, updated_at = $4
            WHERE conversation_id = $1 AND format = $2"""
        # What was read before the import counts as read after it.
        self.touch = f"""
            UPDATE {conversations} SET updated_at = greatest(updated_at, $2::timestamptz),
                read_at = CASE WHEN read_at >= updated_at THEN greatest(read_at, moment.now) ELSE read_at END
            FROM (SELECT pg_catalog.statement_timestamp() AS now) AS moment
            WHERE id = $1"""


class Growth(NamedTuple):
    """What an import adds to a conversation."""

    messages: Sequence[Message]
    """In order, off the line, each with a parent that is stored."""
    head: str | None
    """Where the line ends from now on; None: where it does."""


async def growth(
    bound: BoundConnection, sql: GrowthStatements, id: str, user_id: str, conversation: ImportedConversation
) -> Growth | None:
    """Lock a conversation, record the import, and return what it adds; None: nothing."""
    new = progress_of(conversation)
    if new is None or await bound.fetchrow(sql.lock, id, user_id) is None:
        return None
    row = await bound.fetchrow(sql.newer, id, FORMAT, new.updated_at)
    if row is None:
        return None
    old, given = _read(from_stored_json(row["payload"])), _read(new.payload)
    if old is None or given is None:
        return None
    messages = {each.id: each for each in conversation.messages if isinstance(each, ImportedMessage)}
    stored = {each["message_id"] for each in await bound.fetch(sql.stored, id, list(messages))}
    known = {*old.message_ids, *stored}
    fresh = [each for each in messages.values() if each.id not in known]
    there = stored.union(each.id for each in fresh)
    seen = Progress(message_ids=[*{**dict.fromkeys(old.message_ids), **messages}], head=given.head)
    await bound.execute(sql.record, id, FORMAT, to_json(seen.model_dump()), new.updated_at)
    row = await bound.fetchrow(sql.head, id)
    is_untouched = row is not None and row["message_id"] == old.head != given.head
    head = _nearest(given.head, messages, there) if is_untouched else ""
    if not fresh and not head:
        return None
    await bound.execute(sql.touch, id, conversation.updated_at)
    places = [{"parent_id": _nearest(each.parent_id, messages, there), "aside": True} for each in fresh]
    return Growth([each.model_copy(update=place) for each, place in zip(fresh, places, strict=True)], head or None)


def _read(payload: object) -> Progress | None:
    """Return the record; None for what is none: an import of lines stores any payload."""
    with suppress(InvalidInputError):
        return Progress.of(payload if isinstance(payload, Mapping) else {})
    return None


def _nearest(id: str | None, messages: Mapping[str, ImportedMessage], there: set[str]) -> str:
    """Return the nearest message from this one up that is stored; "": none is."""
    passed: set[str] = set()  # imported parents may form a circle
    while id and id not in there:
        passed.add(id)
        id = messages[id].parent_id if id in messages else None
        id = None if id in passed else id
    return id or ""
