"""
The history of agents' runs as values: an entry, its steps, its timeline events, and a page of entries.

Like the models of conversations and messages, in both spellings; only this module converts rows to values and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self, TypeAlias, overload

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    SkipValidation,
    model_validator,
)
from pydantic.alias_generators import to_camel

from voltmem._model import Id, Model, Row, String, Time
from voltmem._values import (
    JsonObject,
    check_text,
    from_stored_json,
    json_value,
    jsonb_copy,
    now,
    short_repr,
    spelled,
    to_json,
    uuid7,
)
from voltmem.errors import InvalidInputError


def _json(value: object) -> JsonValue:
    return json_value(value, "the value")


Json: TypeAlias = Annotated[SkipValidation[JsonValue], PlainValidator(_json)]

ENTRY_JSON: Final = ("input", "output", "usage", "metadata")
_STEP_FIELDS: Final = ("type", "name", "content", "arguments")
EVENT_JSON: Final = ("tags", "input", "output", "error", "metadata")


class _Recorded(Model):
    """Base class of a run's entry, steps and events. VoltAgent's objects repeat, in the value, some of the columns."""

    _beside: ClassVar[frozenset[str]]
    """Fields of a value that are ignored: the verbs take them as arguments, or have verbs of their own."""

    @classmethod
    def _takes_none(cls, name: str) -> bool:
        # None clears a field that may be None. For any other field it means "not given".
        needed = {each for each, info in cls.model_fields.items() if info.default is not None}
        return name not in needed | {to_camel(each) for each in needed}

    @classmethod
    def kept_under(cls, value: object, **beside: str) -> Self:
        """Return the model of a value (a model or a dict). The keyword arguments replace its fields of these names."""
        if isinstance(value, cls):
            return value.model_copy(update=beside)
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"a dict or {cls.__name__} is needed, not {short_repr(value)}")
        return cls.of({**{name: field for name, field in value.items() if name not in cls._beside}, **beside})


class AgentHistoryStep(_Recorded):
    """
    One step of an agent's run: a text, a tool call, or its result.

    Additional fields, such as role, result, usage or timestamp, are stored and returned under their own names.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Json]  # pyright: ignore[reportIncompatibleVariableOverride]  # pydantic's own way
    _beside: ClassVar[frozenset[str]] = frozenset({"id"})

    id: Id = Field(default_factory=uuid7)
    """Unique in its storage; the key that it is stored under."""
    type: String = "text"
    """"message", "tool_call", "tool_result", "text", or a name of the application's."""
    name: String | None = None
    """The name of the tool or the agent."""
    content: Json = None
    """Any JSON value. Comes back equal, type included; the order of keys may change."""
    arguments: Json = None
    """The arguments of a tool call."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            id: str = ...,
            type: str = "text",
            name: str | None = None,
            content: JsonValue = None,
            arguments: JsonValue = None,
            **more: JsonValue,
        ) -> None: ...

    @model_validator(mode="after")
    def _has_names_for_all(self) -> Self:
        for name in self.more:
            check_text(**{"the name of a field": name})
        return self

    @property
    def more(self) -> JsonObject:
        """The fields beyond those above."""
        return self.__pydantic_extra__

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the step of a row; what VoltAgent wrote is taken as it is."""
        fields = step_fields(row)
        known: dict[str, Any] = {name: fields.pop(name) for name in _STEP_FIELDS if name in fields}
        fields.pop("id", None)
        step = cls.model_construct(id=row["key"], **known)
        # Not through model_construct: a field may be named like one of its parameters.
        step.__pydantic_extra__.update(fields)
        return step

    def to_row(self, *, whole: bool = True) -> tuple[object, ...]:
        """Return key, value (JSON text), exact (JSON text or None), given (names of the value's fields)."""
        given = {*self.model_fields_set, *(["type"] if whole else [])}
        fields: JsonObject = {name: getattr(self, name) for name in _STEP_FIELDS if name in given}
        copies, exact = _split({**fields, **self.more})
        return self.id, to_json(copies), exact, list(copies)


class TimelineEvent(_Recorded):
    """
    One event of an agent's run, such as a tool call. Events can be nested.

    Without an id it gets a UUIDv7; without a start time, the database's time when it is stored.
    """

    _beside: ClassVar[frozenset[str]] = frozenset({"id", "traceId", "trace_id"})

    id: Id = Field(default_factory=uuid7)
    """Unique in its storage; the key that it is stored under."""
    type: String
    """"agent", "tool", "memory", "retriever", or a name of the application's."""
    name: String
    """What happened: "agent:start", "tool:search"."""
    start_time: Time = Field(default_factory=now)
    """When it began: its place in the timeline; among equal times, the order of adding decides."""
    end_time: Time | None = None
    """When it ended; None while it lasts."""
    status: String | None = None
    """"running", "completed", "error", "cancelled", or a name of the application's."""
    status_message: Json = None
    """The reason of the status: {"message": …, "stack": …, "code": …} in VoltAgent, or any JSON value."""
    level: String = "INFO"
    """"DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL"."""
    version: String | None = None
    """The version of the component that made it."""
    parent_event_id: Id | None = None
    """The id of the event that it is a part of."""
    tags: list[String] | None = None
    """Labels to find it by."""
    input: Json = None
    """Any JSON value, as in the three that follow. Comes back equal; the order of keys may change."""
    output: Json = None
    """The result."""
    error: Json = None
    """The error."""
    metadata: Json = None
    """The application's own."""
    trace_id: Id | None = None
    """The id of the entry that it belongs to; set by reading."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self,
            *,
            type: str,
            name: str,
            id: str = ...,
            start_time: datetime = ...,
            end_time: datetime | None = None,
            status: str | None = None,
            status_message: JsonValue = None,
            level: str = "INFO",
            version: str | None = None,
            parent_event_id: str | None = None,
            tags: list[str] | None = None,
            input: JsonValue = None,
            output: JsonValue = None,
            error: JsonValue = None,
            metadata: JsonValue = None,
            trace_id: str | None = None,
        ) -> None: ...
        @overload
        def __init__(
            self,
            *,
            type: str,
            name: str,
            id: str = ...,
            startTime: datetime = ...,
            endTime: datetime | None = None,
            status: str | None = None,
            statusMessage: JsonValue = None,
            level: str = "INFO",
            version: str | None = None,
            parentEventId: str | None = None,
            tags: list[str] | None = None,
            input: JsonValue = None,
            output: JsonValue = None,
            error: JsonValue = None,
            metadata: JsonValue = None,
            traceId: str | None = None,
        ) -> None: ...
        def __init__(self, **values: Any) -> None: ...

    startTime = spelled[datetime]("start_time")
    endTime = spelled[datetime | None]("end_time")
    statusMessage = spelled[JsonValue]("status_message")
    parentEventId = spelled[str | None]("parent_event_id")
    traceId = spelled[str | None]("trace_id")

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the event of a row; its JSON fields arrive as text."""
        return cls.model_construct(
            id=row["id"],
            type=row["event_type"],
            name=row["event_name"],
            start_time=row["start_time"],
            end_time=row["end_time"],
            status=row["status"],
            status_message=_json_or_text(row["status_message"]),
            level="INFO" if row["level"] is None else row["level"],
            version=row["version"],
            parent_event_id=row["parent_event_id"],
            trace_id=row["history_id"],
            **_json_fields(row, EVENT_JSON),
        )

    def to_row(self) -> tuple[object, ...]:
        """Return id, start_time (None: not given), type, name, end_time … parent_event_id, EVENT_JSON (text), exact."""
        return (
            self.id,
            self.given("start_time"),
            self.type,
            self.name,
            self.end_time,
            self.status,
            # The column is text, and JSON's escapes represent the characters that jsonb cannot hold.
            None if self.status_message is None else to_json(self.status_message),
            self.level,
            self.version,
            self.parent_event_id,
            *_json_columns(self, EVENT_JSON),
        )


class AgentHistoryEntry(_Recorded):
    """
    One run of an agent: its input, its output, and its steps and events.

    Without an id it gets a UUIDv7; without a timestamp, the database's time when it is stored.
    """

    _beside: ClassVar[frozenset[str]] = frozenset(
        {"id", "_agentId", "agentId", "agent_id", "steps", "events", "_sequenceNumber"}
    )

    id: Id = Field(default_factory=uuid7)
    """Unique in its storage; the key that it is stored under."""
    agent_id: Id = Field(validation_alias=AliasChoices("_agentId", "agentId"), serialization_alias="_agentId")
    """The agent whose run it was; ``_agentId`` in JSON, like VoltAgent's."""
    timestamp: Time = Field(default_factory=now)
    """When it began: its place in lists."""
    status: String | None = None
    """"working", "completed", "error", "cancelled", or a name of the application's."""
    input: Json = None
    """Any JSON value, as in the three that follow. Comes back equal; the order of keys may change."""
    output: Json = None
    """The agent's answer."""
    usage: Json = None
    """The token usage: VoltAgent's {"promptTokens": …, "completionTokens": …, "totalTokens": …}."""
    metadata: Json = None
    """The application's own."""
    user_id: Id | None = None
    """The user for whom it ran; not given: the owner of the conversation, if it is there, when the run was added."""
    conversation_id: Id | None = None
    """The conversation that it ran in; it need not be stored here."""
    steps: list[AgentHistoryStep] = Field(default_factory=list)
    """Its steps, in order; stored by add_history_step()."""
    events: list[TimelineEvent] = Field(default_factory=list)
    """What happened, in order; stored by add_timeline_event()."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self,
            *,
            agent_id: str,
            id: str = ...,
            timestamp: datetime = ...,
            status: str | None = None,
            input: JsonValue = None,
            output: JsonValue = None,
            usage: JsonValue = None,
            metadata: JsonValue = None,
            user_id: str | None = None,
            conversation_id: str | None = None,
            steps: list[AgentHistoryStep] = ...,
            events: list[TimelineEvent] = ...,
        ) -> None: ...
        @overload
        def __init__(
            self,
            *,
            agentId: str,
            id: str = ...,
            timestamp: datetime = ...,
            status: str | None = None,
            input: JsonValue = None,
            output: JsonValue = None,
            usage: JsonValue = None,
            metadata: JsonValue = None,
            userId: str | None = None,
            conversationId: str | None = None,
            steps: list[AgentHistoryStep] = ...,
            events: list[TimelineEvent] = ...,
        ) -> None: ...
        def __init__(self, **values: Any) -> None: ...

    agentId = spelled[str]("agent_id")
    userId = spelled[str | None]("user_id")
    conversationId = spelled[str | None]("conversation_id")

    def event_tree(self) -> list[tuple[int, TimelineEvent]]:
        """
        Return each event with its depth; the events within an event follow it.

        Events without a parent in this list have depth 0.
        """
        parents = {event.id for event in self.events}
        within: dict[str | None, list[TimelineEvent]] = {}
        for event in self.events:
            parent = event.parent_event_id
            within.setdefault(parent if parent in parents else None, []).append(event)
        tree: dict[str, tuple[int, TimelineEvent]] = {}
        # The remaining events form a cycle, so return them all.
        for first in [*within.get(None, ()), *self.events]:
            waiting = [(0, first)]
            while waiting:
                depth, event = waiting.pop()
                if event.id not in tree:
                    tree[event.id] = (depth, event)
                    waiting += [(depth + 1, child) for child in reversed(within.get(event.id, ()))]
        return list(tree.values())

    @classmethod
    def from_row(cls, row: Row, steps: Sequence[AgentHistoryStep] = (), events: Sequence[TimelineEvent] = ()) -> Self:
        """Return the entry of a row, with its steps and events; its JSON fields arrive as text."""
        return cls.model_construct(
            id=row["id"],
            agent_id=row["agent_id"],
            timestamp=row["timestamp"],
            status=row["status"],
            user_id=row["userid"],
            conversation_id=row["conversationid"],
            steps=list(steps),
            events=list(events),
            **_json_fields(row, ENTRY_JSON),
        )

    def to_row(self, *, whole: bool = True) -> tuple[object, ...]:
        """Return id, agent_id, given (columns), timestamp, status, userid, conversationid, ENTRY_JSON (text), exact."""
        names = {"status": "status", "user_id": "userid", "conversation_id": "conversationid"}
        names |= {name: name for name in ENTRY_JSON}
        given = [column for name, column in names.items() if whole or name in self.model_fields_set]
        return (
            self.id,
            self.agent_id,
            given,
            self.given("timestamp"),
            self.status,
            self.user_id,
            self.conversation_id,
            *_json_columns(self, ENTRY_JSON),
        )


class AgentHistoryPage(Model):
    """One page of a list of agents' runs, the newest first."""

    entries: list[AgentHistoryEntry]
    """The page's entries, at most as many as were asked for."""
    next_cursor: str | None
    """What to give as *after* for the next page; None when this is the last."""
    has_more: bool
    """Whether another page follows. Known without a COUNT: one row more than a page is read."""

    if TYPE_CHECKING:

        @overload
        def __init__(self, *, entries: list[AgentHistoryEntry], next_cursor: str | None, has_more: bool) -> None: ...
        @overload
        def __init__(self, *, entries: list[AgentHistoryEntry], nextCursor: str | None, hasMore: bool) -> None: ...
        def __init__(self, **values: Any) -> None: ...


def step_fields(row: Row) -> JsonObject:
    """Return the fields of a step's row, without its key. VoltAgent or voltmem wrote it."""
    value = from_stored_json(row["value"])
    return _restored(value if isinstance(value, dict) else {"content": value}, row["exact"])


def step_columns(fields: JsonObject) -> tuple[str, str | None]:
    """Return the columns value and exact (JSON texts) for the fields of a step."""
    copies, exact = _split(fields)
    return to_json(copies), exact


# --- values that jsonb cannot hold ------------------------------------------------------------------------------


def _split(fields: JsonObject) -> tuple[JsonObject, str | None]:
    """Return copies of the fields that jsonb can hold, and, as JSON, the exact texts of the fields that it cannot."""
    copies = {name: jsonb_copy(field) for name, field in fields.items()}
    exact: JsonObject = {
        name: text for name, field in fields.items() if (text := to_json(field)) != to_json(copies[name])
    }
    return copies, to_json(exact) if exact else None


def _restored(fields: JsonObject, exact: str | None) -> JsonObject:
    """Return the fields with their exact values, unless another writer (VoltAgent) has changed the jsonb since."""
    texts = {} if exact is None else from_stored_json(exact)
    values: JsonObject = {}
    for name, text in texts.items() if isinstance(texts, dict) else ():
        with suppress(ValueError):  # only another program stores a text that is not JSON
            values[name] = from_stored_json(str(text))
    return fields | {name: value for name, value in values.items() if jsonb_copy(value) == fields.get(name)}


def _json_columns(model: BaseModel, names: Sequence[str]) -> tuple[str | None, ...]:
    """Return the JSON text of each of these fields, NULL for None; the last item is the JSON text of *exact*."""
    copies, exact = _split({name: getattr(model, name) for name in names})
    return *(None if copy is None else to_json(copy) for copy in copies.values()), exact


def _json_fields(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Return the values of these columns of a row."""
    texts = {name: row[name] for name in names}
    fields = {name: None if text is None else from_stored_json(text) for name, text in texts.items()}
    return _restored(fields, row["exact"])


def _json_or_text(text: str | None) -> JsonValue:
    """Return the value of a text that should be JSON, or the text itself, which VoltAgent would return."""
    try:
        return None if text is None else from_stored_json(text)
    except ValueError:
        return text
