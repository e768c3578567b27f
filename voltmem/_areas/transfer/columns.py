"""Convert imported objects to column values. Values of messages, steps and events are passed as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from voltmem._areas.files import used_files
from voltmem._areas.history.models import EVENT_JSON, step_columns
from voltmem._areas.inlined import extracted, imported
from voltmem._areas.items import text_array
from voltmem._areas.transfer.models import (
    ImportedConversation,
    ImportedMemory,
    ImportedMessage,
    ImportedPayload,
    ImportedSummary,
)
from voltmem._areas.words import vector
from voltmem._values import to_json
from voltmem.models import Message

if TYPE_CHECKING:
    from voltmem._areas.transfer.pieces import ImportedRun

RunKind: TypeAlias = Literal["run", "step", "event"]

MESSAGE: Final = (
    *("message_id", "role", "content", "content_json", "type", "metadata", "created_at"),
    *("format", "payload", "parent_id", "archived", "aside", "parts", "words", "file_ids"),
)
EVENT: Final = (
    *("id", "start_time", "event_type", "event_name", "end_time", "status", "status_message", "level", "version"),
    *("parent_event_id", *EVENT_JSON, "exact", "agent_id"),
)
MEMORY: Final = ("version", "content", "change", "author", "created_at", "from_messages")
SUMMARY: Final = (*("id", "content", "first_at", "last_at", "hash", "usage", "format", "payload", "created_at"),)
STEP: Final = ("key", "value", "exact", "agent_id")
RUN_KINDS: Final[tuple[RunKind, ...]] = ("run", "step", "event")

# A statement is full at this number of messages, or of characters in them.
_FULL_AT_MESSAGES: Final = 5_000
_FULL_AT_CHARACTERS: Final = 8_000_000

# The column values of a message, an event or a step.
Columns: TypeAlias = tuple[str | None, ...]

# What is between two messages without times. Messages of one time could not be summarised apart.
_APART: Final = timedelta(microseconds=1)


def with_times(conversation: ImportedConversation) -> ImportedConversation:
    """
    Return a conversation whose messages have times, if it has any: those without get the time after the one before.

    The order stays: none gets a time later than the next message's, and the first ones get times before it.
    """
    messages = conversation.messages
    given: list[datetime | None] = [message.given("created_at") for message in messages]
    if None not in given:
        return conversation
    first = next((number for number, time in enumerate(given) if time is not None), len(given))
    begins = [] if conversation.created_at is None else [conversation.created_at]
    begins += [_later(time, -first) for time in given[first : first + 1] if time is not None]
    if not begins:
        return conversation  # the database counts from the time of the import
    last, timed = _later(min(begins), -1), list[Message]()
    for message, time, following in zip(messages, given, _following(given), strict=True):
        if time is not None:
            last = time
            timed.append(message)
            continue
        later = _later(last, 1)
        last = later if following is None or following < last else min(later, following)
        timed.append(message.model_copy(update={"created_at": last}))
    return conversation.model_copy(update={"messages": timed})


def _following(given: Sequence[datetime | None]) -> list[datetime | None]:
    """Return for each message the next time that is given after it."""
    found: list[datetime | None] = []
    following = None
    for time in reversed(given):
        found.append(following)
        following = time or following
    return found[::-1]


def _later(time: datetime, steps: int) -> datetime:
    try:
        return time.astimezone(UTC) + steps * _APART
    except OverflowError:  # the first or the last time there is
        return time


def conversation_columns(conversation: ImportedConversation, names: Mapping[str, str]) -> tuple[object, ...]:
    """
    Return resource_id, title, metadata (JSON text), created_at, updated_at (None: now), the marks, whether it is
    marked as read, up to the later of read_at and now, and what is between its messages if none has a time.

    *names* maps the ids of the import to those in the storage.
    """
    times = [time for message in conversation.messages if (time := message.given("created_at")) is not None]
    is_read = "read_at" not in conversation.model_fields_set
    source = conversation.forked_from
    return (
        conversation.resource_id,
        conversation.title,
        to_json(conversation.metadata),
        conversation.created_at or min(times, default=None),
        conversation.updated_at or max(times, default=None),
        conversation.pinned,
        conversation.archived,
        conversation.tags,
        max(times, default=None) if is_read else conversation.read_at,
        conversation.deleted_at,
        conversation.title_is_automatic,
        None if source is None else names.get(source, source),
        conversation.forked_up_to,
        is_read,
        len(conversation.messages) * _APART,
    )


def payload_columns(payload: ImportedPayload) -> Columns:
    """Return format, payload (JSON text), revision, updated_at."""
    return payload.format, to_json(payload.payload), payload.revision, _iso(payload.updated_at)


def memory_columns(memory: Sequence[ImportedMemory]) -> list[Sequence[str | None] | None]:
    """Return the columns of the versions of a working memory, as text."""
    rows = [
        (
            *(str(each.version), each.content, each.change, each.author, _iso(each.created_at)),
            text_array(each.from_messages) if each.from_messages else None,
        )
        for each in memory
    ]
    return transposed(rows, len(MEMORY))


def summary_columns(summaries: Sequence[ImportedSummary]) -> list[Sequence[str | None] | None]:
    """Return the columns of summaries, as text."""
    return transposed([_summary(each) for each in summaries], len(SUMMARY))


def _summary(summary: ImportedSummary) -> Columns:
    times = _iso(summary.first_at), _iso(summary.last_at)
    usage, payload = (None if value is None else to_json(value) for value in (summary.usage, summary.payload))
    made = summary.hash, usage, summary.format, payload
    return summary.id, summary.content, *times, *made, _iso(summary.created_at)


def message_columns(
    conversation: ImportedConversation, contents: dict[str, str] | None, *, search: bool
) -> Iterator[Columns]:
    """
    Yield the columns of the messages, which have times, or none has one: see with_times().

    contents: by its id, the base64 of each file that is taken out of a message is added; None: nothing is taken out.
    """
    for message in conversation.messages:
        row = message.to_row()
        given = message if isinstance(message, ImportedMessage) else None
        if given is not None and given.inlined and row[8] is not None:
            row = (*row[:8], imported(row[8]), row[9])
        if contents is not None:
            _, row = extracted(message, row, contents)
        id, role, content, content_json, type, metadata, _, *native = row
        in_parts = given is not None and given.in_parts
        yield (
            *(id, role, content, None if in_parts else content_json, type, metadata),
            _iso(message.given("created_at")),
            *native,
            "t" if given is not None and given.archived else None,
            "t" if given is not None and given.aside else None,
            to_json(message.content) if in_parts else None,
            vector(content) if search else None,
            used_files(row),
        )


def run_columns(
    run: ImportedRun, ids: Mapping[tuple[RunKind, str], str], user_id: str, names: Mapping[str, str]
) -> tuple[object, ...]:
    """Return the columns of a run, its steps and its events, with their new ids."""
    entry = run.entry
    _, agent_id, _, timestamp, status, _, conversation, *values = entry.to_row()
    in_conversation = names.get(str(conversation), conversation)
    steps = [(ids["step", step.id], *step_columns(step.value), step.agent_id) for step in run.steps]
    events: list[Columns] = []
    for event in run.events:
        parent = event.parent_event_id
        moved = event.model_copy(
            update={
                "id": ids["event", event.id],
                "parent_event_id": None if parent is None else ids.get(("event", parent), parent),
            }
        )
        columns = (_iso(value) if isinstance(value, datetime) else value for value in moved.to_row())
        events.append((*cast(Columns, tuple(columns)), event.agent_id))
    return (
        *(ids["run", entry.id], agent_id, timestamp, status, user_id, in_conversation, *values),
        *transposed(steps, len(STEP)),
        *transposed(events, len(EVENT)),
    )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def transposed(rows: Sequence[Columns], width: int) -> list[Sequence[str | None] | None]:
    """Return the columns of the rows; None for a column without any value."""
    columns = zip(*rows, strict=True) if rows else [[]] * width
    return [column if any(value is not None for value in column) else None for column in columns]


def batches(rows: Iterator[Columns], contents: Mapping[str, str]) -> Iterator[list[Columns]]:
    """Yield the rows in lists, each for one statement, together with the contents of files."""
    batch: list[Columns] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(len(value) for value in row if value is not None)
        taken = sum(map(len, contents.values()))
        if len(batch) >= _FULL_AT_MESSAGES or characters + taken >= _FULL_AT_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
