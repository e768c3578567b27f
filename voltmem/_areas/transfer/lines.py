"""
The format of an export: writing its lines, and reading them as conversations and runs.

docs/reference/users.md describes the format. The number in the header is its version. A reader refuses a version, a
kind or a field that it does not know, and lines that stop before the end line.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias, TypeVar, cast

from pydantic import JsonValue
from pydantic_core import from_json
from pydantic_core import to_json as serialize

from voltmem._areas.area import off_loop_if_long
from voltmem._areas.history.models import (
    ENTRY_JSON,
    EVENT_JSON,
    AgentHistoryEntry,
    TimelineEvent,
    step_fields,
)
from voltmem._areas.inlined import exported, exported_files
from voltmem._areas.items import OPERATIONS, check_name, check_seconds_kept, check_value
from voltmem._areas.sidebar import MARKS
from voltmem._areas.transfer.models import (
    ImportedConversation,
    ImportedMemory,
    ImportedMessage,
    ImportedPayload,
    ImportedSummary,
    Lines,
    all_of,
)
from voltmem._areas.transfer.pieces import (
    FileBeingRead,
    FileChunk,
    FileEnd,
    FilePiece,
    ImportedFile,
    ImportedItem,
    ImportedItems,
    ImportedRun,
    ImportedUserMemory,
    RunEvent,
    RunStep,
    VoltAgentRow,
)
from voltmem._model import Model, Row
from voltmem._strict_json import strict_json
from voltmem._values import (
    MAX_JSON_DEPTH,
    JsonObject,
    from_stored_json,
    is_too_deep,
    json_value,
    short_repr,
    stored_metadata,
    strip_bom,
    to_json,
    unescape_surrogates,
)
from voltmem.errors import InvalidInputError, InvalidLineError
from voltmem.models import Message, NativeMessage

VERSION: Final = 1
# Fields in which null is a value.
_NULLABLE: Final = frozenset({"content", "payload"})
_PAYLOAD: Final = 8  # its place in the message_columns()
# Each has at most a megabyte.
_ITEMS_AT_ONCE: Final = 20
# The kinds of lines before which a conversation, or a run, is complete.
_BEGINNINGS: Final = frozenset({"conversation", "run", "voltagent", "file", "end"})
CONVERSATION_FIELDS: Final = ("id", "resource_id", "title", "metadata", "created_at", "updated_at", *MARKS)


# --- writing ------------------------------------------------------------------------------------------------------


def header_line(user_id: str, exported_at: datetime) -> str:
    """Return the first line."""
    return _text({"voltmem": VERSION, "kind": "header", "user_id": user_id, "exported_at": _iso(exported_at)})


def file_line(row: Row) -> str:
    """Return the line of a file; its chunks follow."""
    return _line("file", {name: row[name] for name in ("id", "size", "created_at")})


def chunk_line(row: Row) -> str:
    """Return the line of a chunk of a file."""
    return _text({"kind": "chunk", "data": b64encode(row["bytes"]).decode()})


def conversation_line(row: Row) -> str:
    """Return the line of a conversation."""
    values = {name: _unless_empty(row[name]) for name in CONVERSATION_FIELDS}
    values["metadata"] = _unless_empty(stored_metadata(row["metadata"]))
    return _line("conversation", values)


def payload_line(row: Row) -> str:
    """Return the line of a framework's payload."""
    values = {name: row[name] for name in ("format", "revision", "updated_at")}
    return _line("payload", {**values, "payload": from_stored_json(row["payload"])})


def memory_line(row: Row) -> str:
    """Return the line of a version of a conversation's working memory."""
    return _memory("memory", row)


def user_memory_line(row: Row) -> str:
    """Return the line of a version of the user's working memory."""
    return _memory("user_memory", row)


def item_line(row: Row) -> str:
    """Return the line of an item of the user's."""
    names = ("namespace", "key", "searched", "lifetime", "expires_at", "created_at", "updated_at")
    values = {name: value for name in names if (value := row[name]) is not None}
    return _line("item", {**values, "value": from_stored_json(row["value"])})


def _memory(kind: str, row: Row) -> str:
    names = ("version", "content", "change", "author", "created_at", "from_messages")
    values = {name: value for name in names if (value := row[name]) is not None}
    return _line(kind, values)


def summary_line(row: Row) -> str:
    """Return the line of a summary of a conversation."""
    names = ("id", "content", "first_at", "last_at", "hash", "format", "created_at")
    json = {name: from_stored_json(row[name]) for name in ("usage", "payload") if row[name] is not None}
    return _line("summary", {**{name: value for name in names if (value := row[name]) is not None}, **json})


def message_line(row: Row) -> str:
    """Return the line of a message. Its row: conversation_id, archived, aside, in_parts and the message_columns()."""
    _, archived, aside, in_parts, *columns = row
    is_inlined = False
    if columns[_PAYLOAD] is not None:
        columns[_PAYLOAD], is_inlined = exported(columns[_PAYLOAD])
    message = NativeMessage.from_row(columns)
    line: JsonObject = {"kind": "message", "id": message.id, "role": message.role, "content": message.content}
    if message.type != "text":
        line["type"] = message.type
    if message.metadata:
        line["metadata"] = message.metadata
    line["created_at"] = _iso(message.created_at)
    marks = (("archived", archived), ("aside", aside), ("in_parts", in_parts), ("inlined", is_inlined))
    line |= {name: True for name, is_so in marks if is_so}
    if message.format is not None:
        line["format"] = message.format
    if message.payload is not None:
        line["payload"] = message.payload
    if message.parent_id is not None:
        line["parent_id"] = message.parent_id
    is_flat = isinstance(message.content, str) and not message.metadata and message.payload is None
    return _flat_text(line) if is_flat else _text(line)


def run_line(row: Row) -> str:
    """Return the line of a run, without its steps and events."""
    entry = AgentHistoryEntry.from_row(row)
    names = ("id", "agent_id", "timestamp", "status", "conversation_id", *ENTRY_JSON)
    return _line("run", {name: getattr(entry, name) for name in names})


def step_line(row: Row) -> str:
    """Return the line of a step."""
    return _line("step", {"id": row["key"], "agent_id": row["agent_id"], "value": step_fields(row)})


def event_line(row: Row) -> str:
    """Return the line of an event."""
    event = TimelineEvent.from_row(row)
    names = ("type", "name", "start_time", "end_time", "status", "status_message", "level", "version")
    values = {name: getattr(event, name) for name in (*names, "parent_event_id", *EVENT_JSON)}
    return _line("event", {"id": event.id, "agent_id": row["agent_id"], **values})


def voltagent_line(table: str, row: Row) -> str:
    """Return the line of a row of a table of VoltAgent's own."""
    return _line("voltagent", {"table": table, "row": from_stored_json(row["row"])})


def end_line() -> str:
    """Return the last line."""
    return _text({"kind": "end"})


def _line(kind: str, values: Mapping[str, object]) -> str:
    given = {name: value for name, value in values.items() if value is not None or name in _NULLABLE}
    plain = {name: _iso(value) if isinstance(value, datetime) else value for name, value in given.items()}
    return _text(cast(JsonObject, {"kind": kind, **plain}))


def _unless_empty(value: object) -> object:
    return None if value is False or value == [] or value == {} else value


def _text(line: JsonObject) -> str:
    text = to_json(line)
    if not _is_plain(text):
        texts = {name: to_json(value) for name, value in line.items()}
        exact: JsonObject = {name: each for name, each in texts.items() if not _is_plain(f"[{each}]")}
        text = to_json({**{name: value for name, value in line.items() if name not in exact}, "exact": exact})
    return f"{text}\n"


def _flat_text(line: JsonObject) -> str:
    """Like _text(), several times as fast, for a line whose values are only texts and flags."""
    try:
        return f"{serialize(line).decode()}\n"
    except ValueError:  # a lone surrogate
        return _text(line)


def _is_plain(text: str) -> bool:
    """Whether every JSON parser can read this text."""
    if "\\ud" in text:  # as to_json() writes lone surrogates
        return False
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return True
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


# --- reading ------------------------------------------------------------------------------------------------------

Group: TypeAlias = ImportedConversation | ImportedRun | ImportedUserMemory | ImportedItems | VoltAgentRow
Read: TypeAlias = Group | ImportedFile | FilePiece | FileEnd
GroupT = TypeVar("GroupT", ImportedConversation, ImportedRun)
ModelT = TypeVar("ModelT", bound=Model)


async def read(lines: Lines) -> AsyncIterator[Read]:
    """
    Yield each conversation with its messages, each run with its steps and events; of a file its head, chunks and end.

    Raises InvalidLineError for a malformed line. The conversation or run that it belongs to is not yielded, and the end
    of the file that it belongs to neither.
    """
    groups = _Groups()
    number = 0
    async for line in all_of(lines):
        number += 1
        try:
            finished = await off_loop_if_long(_length(line), groups.take, line)
        except InvalidInputError as error:
            raise InvalidLineError(number, str(error)) from error.__cause__
        for each in finished:
            yield each
    if not groups.ended:
        raise InvalidLineError(
            number + 1, "the end line is missing, so lines were lost: export again, and import the whole file"
        )


def _length(line: object) -> int:
    return len(line) if isinstance(line, str | bytes) else 0


class _Groups:
    """The conversation or run, or the file, that is being read."""

    def __init__(self) -> None:
        self.ended = False
        self._begun = False
        self._group: Group | None = None
        self._file: FileBeingRead | None = None
        self._ids: set[tuple[str, str]] = set()
        self._files: set[str] = set()
        self._kinds: Mapping[str, Callable[[JsonObject], None]] = {
            "header": self._header,
            "file": self._begin_file,
            "user_memory": self._user_memory,
            "item": self._item,
            "conversation": self._conversation,
            "payload": self._payload,
            "memory": self._memory,
            "summary": self._summary,
            "message": self._message,
            "run": self._run,
            "step": self._step,
            "event": self._event,
            "voltagent": self._voltagent,
            "end": self._end,
        }

    def take(self, line: str | bytes) -> list[Read]:
        """Read a line. Returns what is complete now: a conversation or run; and a file's beginning, chunk or end."""
        if not isinstance(line, str | bytes):
            raise InvalidInputError(f"a line must be text, not {short_repr(line)}")
        line = strip_bom(line)
        if not line.strip():
            return []
        values = _values(line)
        kind = values.pop("kind", None)
        take = self._kinds.get(kind) if isinstance(kind, str) else None
        if kind == "chunk" and self._file is not None:
            return [self._chunk(values)]
        if take is None:
            known = ", ".join([*self._kinds, "chunk (after a file)"])
            raise InvalidInputError(f"its kind is {short_repr(kind)}; the kinds are {known}")
        if self.ended or self._begun == (kind == "header"):
            raise InvalidInputError(
                "it comes after the end line" if self.ended else "the header must come first, and once"
            )
        finished: list[Read] = []
        if self._file is not None:
            self._file.check()
            self._file = None
            finished.append(FileEnd())
        if self._group is not None and self._ends_before(kind):
            finished.append(self._group)
        take(values)
        return [*finished, *self._begun_file()] if kind == "file" else finished

    def _ends_before(self, kind: object) -> bool:
        """Whether what is being read is complete before a line of this kind."""
        if kind == "item":
            return not isinstance(self._group, ImportedItems) or len(self._group.items) == _ITEMS_AT_ONCE
        return kind in _BEGINNINGS or (kind == "user_memory" and not isinstance(self._group, ImportedUserMemory))

    def _header(self, values: JsonObject) -> None:
        version = values.get("voltmem")
        if version != VERSION or isinstance(version, bool):
            raise InvalidInputError(
                f"the export has version {short_repr(version)}; this release reads version {VERSION}"
            )
        self._begun = True

    def _begin_file(self, values: JsonObject) -> None:
        self._file = FileBeingRead(_model(ImportedFile, values))
        self._files.add(self._file.values.id)
        self._group = None

    def _begun_file(self) -> list[Read]:
        return [] if self._file is None else [self._file.values]

    def _chunk(self, values: JsonObject) -> FilePiece:
        try:
            chunk = b64decode(_model(FileChunk, values).data, validate=True)
        except binascii.Error as error:
            raise InvalidInputError(f"its data is not base64: {error}") from error
        assert self._file is not None  # take() has checked
        self._file.add(chunk)
        return FilePiece(chunk)

    def _conversation(self, values: JsonObject) -> None:
        conversation = _model(ImportedConversation, _without_empty(values, "id", "resource_id"))
        own_lines = conversation.messages, conversation.payloads, conversation.memory, conversation.summaries
        in_line = any(own_lines) or conversation.left_out
        if values.get("id") is None or in_line:
            raise InvalidInputError(
                "a conversation needs an id, its messages, payloads, memory and summaries need lines of their own, and "
                "left_out has none"
            )
        # New lists, to which the lines that follow append. A field that a line leaves out counts as given: null.
        given = {"messages": list[Message](), "payloads": list[ImportedPayload](), "read_at": conversation.read_at}
        given |= {"memory": list[ImportedMemory](), "summaries": list[ImportedSummary]()}
        self._group = conversation.model_copy(update=given)
        self._ids.clear()

    def _payload(self, values: JsonObject) -> None:
        payload = _model(ImportedPayload, values)
        self._in(ImportedConversation, "payload", payload.format).payloads.append(payload)

    def _user_memory(self, values: JsonObject) -> None:
        version = _model(ImportedMemory, values)
        if not isinstance(self._group, ImportedUserMemory):
            self._group = ImportedUserMemory([])
        _add_version(self._group.versions, version)

    def _item(self, values: JsonObject) -> None:
        item = _model(ImportedItem, values)
        if not item.namespace or tuple(item.namespace) == OPERATIONS:
            raise InvalidInputError(f"the namespace {item.namespace} is empty, or not one of items")
        check_name(item.namespace, item.key)
        check_value(values["value"], "value")
        check_seconds_kept("lifetime", None if item.lifetime is None else item.lifetime / 60)
        if not isinstance(self._group, ImportedItems) or len(self._group.items) == _ITEMS_AT_ONCE:
            self._group = ImportedItems([])
        self._group.items.append(item)

    def _memory(self, values: JsonObject) -> None:
        version = _model(ImportedMemory, values)
        _add_version(self._in(ImportedConversation, "memory", str(version.version)).memory, version)

    def _summary(self, values: JsonObject) -> None:
        summary = _model(ImportedSummary, values)
        self._in(ImportedConversation, "summary", summary.id).summaries.append(summary)

    def _message(self, values: JsonObject) -> None:
        message = _model(ImportedMessage, _without_empty(values, "id"))
        if message.in_parts:
            json_value(message.content, "content", for_jsonb=True)
        missing = exported_files(to_json(message.payload)) - self._files if message.inlined else ()
        if missing:
            raise InvalidInputError(
                f"message {short_repr(message.id)} has the content of file {min(missing)}, which is not in the lines "
                "above: import the whole export"
            )
        self._in(ImportedConversation, "message", message.id).messages.append(message)

    def _run(self, values: JsonObject) -> None:
        entry = _model(AgentHistoryEntry, _without_empty(values, "conversation_id"))
        if entry.steps or entry.events:
            raise InvalidInputError("the steps and events of a run need lines of their own")
        self._group = ImportedRun(entry)
        self._ids.clear()

    def _step(self, values: JsonObject) -> None:
        step = _model(RunStep, values)
        self._in(ImportedRun, "step", step.id).steps.append(step)

    def _event(self, values: JsonObject) -> None:
        event = _model(RunEvent, _without_empty(values, "parent_event_id"))
        self._in(ImportedRun, "event", event.id).events.append(event)

    def _voltagent(self, values: JsonObject) -> None:
        self._group = _model(VoltAgentRow, values)
        self._ids.clear()

    def _end(self, values: JsonObject) -> None:
        self._group = None
        self.ended = True

    def _in(self, cls: type[GroupT], kind: str, id: str) -> GroupT:
        """Return the conversation or run above, to which the line belongs."""
        if not isinstance(self._group, cls):
            raise InvalidInputError(f"the {kind} must follow the line that it belongs to")
        if (kind, id) in self._ids:
            raise InvalidInputError(f"{kind} {short_repr(id)} comes a second time")
        self._ids.add((kind, id))
        return self._group


def _add_version(versions: list[ImportedMemory], version: ImportedMemory) -> None:
    if versions and version.version <= versions[-1].version:
        raise InvalidInputError(
            f"version {version.version} of the memory must not come after version {versions[-1].version}"
        )
    versions.append(version)


def _values(line: str | bytes) -> JsonObject:
    """Return the fields of a line."""
    try:
        values = from_json(line, allow_inf_nan=False)
        if not isinstance(values, dict):
            raise InvalidInputError("it is not a JSON object")
        exact = values.pop("exact", {})
        return {**values, **{name: _exact(name, text) for name, text in exact.items()}}
    except InvalidInputError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInputError(f"it is not JSON: {error}") from error


def _exact(name: str, text: str) -> JsonValue:
    """Return the value of a field of "exact". What could not be its field's value is refused here, too."""
    if is_too_deep(text):
        raise InvalidInputError(f"{name} is nested deeper than {MAX_JSON_DEPTH} levels")
    return strict_json(unescape_surrogates(text))


def _without_empty(values: JsonObject, *ids: str) -> JsonObject:
    """Return the values without those of these ids that are empty: another program may have stored such."""
    return {name: value for name, value in values.items() if name not in ids or value != ""}


def _model(cls: type[ModelT], values: JsonObject) -> ModelT:
    return cls.of({name: value for name, value in values.items() if name not in ("user_id", "userId")})
