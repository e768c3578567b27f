"""
The models of conversations and messages: frozen values, with fields in Python's or VoltAgent's spelling.

``Conversation(user_id="ada")`` and ``Conversation(userId="ada")`` are the same; ``model_dump(by_alias=True)`` returns
VoltAgent's JSON. from_row() makes a model of a row, to_row() a row of a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    SkipValidation,
    StrictStr,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from voltmem._values import (
    AnyUser,
    JsonObject,
    check_id,
    check_key,
    check_text,
    check_time,
    describe_field_error,
    from_stored_json,
    is_storable,
    json_value,
    now,
    plain_text,
    short_repr,
    spelled,
    to_json,
    uuid7,
)
from voltmem.errors import InvalidInputError

__all__ = [
    "Conversation",
    "ConversationLike",
    "ConversationPage",
    "Message",
    "MessageLike",
    "NativeMessage",
    "OrderBy",
    "OrderDirection",
    "Owner",
]


class Row(Protocol):
    """The part of asyncpg.Record that from_row() needs: a column by name, or all in the order of the statement."""

    def __getitem__(self, key: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


def _name(info: ValidationInfo) -> str:
    """Return the name of the field that is validated, for an error."""
    return info.field_name or "the value"


def _checked_text(text: str, info: ValidationInfo) -> str:
    if not is_storable(text):
        check_text(**{_name(info): text})  # raises, with the reason
    return text


def _checked_key(text: str, info: ValidationInfo) -> str:
    check_key(**{_name(info): text})
    return text


def _checked_id(text: str, info: ValidationInfo) -> str:
    check_id(**{_name(info): text})
    return text


def _checked_time(time: datetime, info: ValidationInfo) -> datetime:
    check_time(_name(info), time)
    return time


def _content(value: object) -> JsonValue:
    return json_value(value, "content")


def _metadata(value: object) -> JsonObject:
    copy = json_value({} if value is None else value, "metadata", for_jsonb=True)
    if not isinstance(copy, dict):
        raise InvalidInputError(f"metadata must be a dict, not {short_repr(value)}")
    return copy


Text: TypeAlias = Annotated[StrictStr, AfterValidator(_checked_text)]
Id: TypeAlias = Annotated[StrictStr, AfterValidator(_checked_id)]
# Rows that other programs wrote may have empty ids.
Key: TypeAlias = Annotated[StrictStr, AfterValidator(_checked_key)]
Time: TypeAlias = Annotated[datetime, AfterValidator(_checked_time)]
Content: TypeAlias = Annotated[SkipValidation[JsonValue], PlainValidator(_content)]
OrderBy: TypeAlias = Literal["created_at", "updated_at", "title"]
OrderDirection: TypeAlias = Literal["ASC", "DESC", "asc", "desc"]
Metadata: TypeAlias = Annotated[SkipValidation[JsonObject], PlainValidator(_metadata)]


class Model(BaseModel):
    """The base of all models: frozen, in either spelling, without unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",  # an unknown field would be lost silently
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=False,
        ignored_types=(spelled,),
        defer_build=True,  # until the first use: not every program that imports voltmem uses every model
    )

    @classmethod
    def of(cls, value: Self | Mapping[str, object]) -> Self:
        """Return the value as a model of this class; InvalidInputError, with all reasons, if a dict is invalid."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"a dict or {cls.__name__} is needed, not {short_repr(value)}")
        given = {name: field for name, field in value.items() if field is not None or cls._takes_none(name)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = (describe_field_error(cls.model_fields, each) for each in error.errors(include_url=False))
            raise InvalidInputError(f"invalid {cls.__name__}: {'; '.join(problems)}") from error

    @classmethod
    def _takes_none(cls, name: str) -> bool:
        # None means "not given", like undefined in VoltAgent's objects. Only as content is it a value.
        return name == "content"

    # The names of all fields. All models made of rows share this set, because frozen models never change theirs.
    _names: ClassVar[set[str]]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls._names = set(cls.model_fields)

    def given(self, name: str) -> Any:
        """Return the value of a field that was set, else None, for which the database fills in its default."""
        return getattr(self, name) if name in self.model_fields_set else None


StoredModel = TypeVar("StoredModel", bound=Model)

# The four slots of a pydantic model. A frozen model can be filled only by them.
_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_names = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def construct_unchecked(cls: type[StoredModel], fields: dict[str, Any]) -> StoredModel:
    """
    Return a model with these values of all its fields, unchecked: they were checked before they were stored.

    Like model_construct(), without aliases and defaults, which rows don't need. Fetching a page of 100 rows takes
    0.25 ms; making their models takes 0.25 ms with model_construct(), and 0.06 ms with this function.
    """
    model = _new(cls)
    _set_fields(model, fields)
    _set_names(model, cls._names)
    _set_extra(model, None)
    _set_private(model, None)
    return model


class Conversation(Model):
    """
    A conversation of a user.

    The default id is a UUIDv7. The default times are set by the database when the conversation is stored.
    """

    id: Id = Field(default_factory=uuid7)
    """The id, unique in the storage. At most 1,000 bytes, like every id."""
    resource_id: Id = "default"
    """The agent, assistant or project that the conversation is with (VoltAgent's resourceId)."""
    user_id: Id
    """The owner."""
    title: Text | None = None
    """The title; None: it has none yet."""
    metadata: Metadata = Field(default_factory=dict)
    """The application's own JSON object, stored as jsonb: values stay equal, the order of keys does not."""
    created_at: Time = Field(default_factory=now)
    """When it was created."""
    updated_at: Time = Field(default_factory=now)
    """The time of the last activity. Adding a message updates it."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self,
            *,
            user_id: str,
            id: str = ...,
            resource_id: str = "default",
            title: str | None = None,
            metadata: JsonObject | None = None,
            created_at: datetime = ...,
            updated_at: datetime = ...,
        ) -> None: ...
        @overload
        def __init__(
            self,
            *,
            userId: str,
            id: str = ...,
            resourceId: str = "default",
            title: str | None = None,
            metadata: JsonObject | None = None,
            createdAt: datetime = ...,
            updatedAt: datetime = ...,
        ) -> None: ...
        def __init__(self, **values: Any) -> None: ...

    resourceId = spelled[str]("resource_id")
    userId = spelled[str]("user_id")
    createdAt = spelled[datetime]("created_at")
    updatedAt = spelled[datetime]("updated_at")

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the conversation of a row, in the order of CONVERSATION_COLUMNS; metadata arrives as JSON text."""
        id, resource_id, user_id, title, metadata, created_at, updated_at = row
        return construct_unchecked(
            cls,
            {
                "id": id,
                "resource_id": resource_id,
                "user_id": user_id,
                "title": title,
                "metadata": {} if metadata is None else from_stored_json(metadata),
                "created_at": created_at,
                "updated_at": updated_at,
            },
        )

    def to_row(self) -> tuple[object, ...]:
        """Return id, resource_id, user_id, title, metadata (JSON text), created_at, updated_at (None: not given)."""
        return (
            self.id,
            self.resource_id,
            self.user_id,
            self.title,
            to_json(self.metadata),
            self.given("created_at"),
            self.given("updated_at"),
        )


# The first characters of objects and arrays that JSON.stringify writes. "" is not among them.
_BEGIN_JSON = frozenset("{[")


def _voltagent_content(content: str, type: str) -> JsonValue:
    """
    Return the content that VoltAgent 0.1 stored: text, or JSON text in the same column for anything else.

    Content of tool calls and results may be any JSON. Content of other messages is either a list of parts or text that
    happens to look like JSON.
    """
    try:
        value = from_stored_json(content)
    except ValueError:
        return content
    is_parts = isinstance(value, list) and all(isinstance(part, dict) and "type" in part for part in value)
    return value if type in ("tool-call", "tool-result") or (is_parts and value) else content


# message_id, role, content, content_json, type, metadata (JSON text), created_at (ISO 8601; None: not given), and for
# a framework's message: format, payload (JSON text) and parent_id.
MessageRow: TypeAlias = tuple[
    str, str, str, str | None, str, str | None, str | None, str | None, str | None, str | None
]


class Message(Model):
    """
    A message of a conversation.

    The default id is a UUIDv7, the default time is the database's when the message is stored. Storing a message with
    an id that the conversation has replaces that message in its place.
    """

    id: Id = Field(default_factory=uuid7)
    """The id, unique in the conversation."""
    role: Text
    """The role of the author: "user", "assistant", "system", "tool", or one of the application's own."""
    content: Content
    """Text, or any JSON value: a list of parts, a tool call, a tool result. It is returned equal, type included."""
    type: Text = "text"
    """"text", "tool-call", "tool-result", or one of the application's own."""
    metadata: Metadata = Field(default_factory=dict)
    """The application's own JSON object, stored as jsonb: values stay equal, the order of keys does not."""
    created_at: Time = Field(default_factory=now)
    """The time, which orders the messages of a conversation. Those with equal times are in the order of adding."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self,
            *,
            role: str,
            content: JsonValue,
            id: str = ...,
            type: str = "text",
            metadata: JsonObject | None = None,
            created_at: datetime = ...,
        ) -> None: ...
        @overload
        def __init__(
            self,
            *,
            role: str,
            content: JsonValue,
            id: str = ...,
            type: str = "text",
            metadata: JsonObject | None = None,
            createdAt: datetime = ...,
        ) -> None: ...
        def __init__(self, **values: Any) -> None: ...

    createdAt = spelled[datetime]("created_at")

    @property
    def text(self) -> str:
        """The readable text of the content: a string itself, or the text parts of a list."""
        return plain_text(self.content)

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """
        Return the message of a row, in the order of MESSAGE_COLUMNS.

        content_json is NULL if content is plain text, or JSON text of VoltAgent 0.1.
        """
        id, role, content, content_json, type, metadata, created_at = row
        if content_json is not None:
            content = from_stored_json(content_json)
        elif content is None:  # a UIMessage that VoltAgent stored without parts
            content = []
        elif content[:1] in _BEGIN_JSON:
            content = _voltagent_content(content, type)
        return construct_unchecked(
            cls,
            {
                "id": id,
                "role": role,
                "content": content,
                "type": type,
                "metadata": {} if metadata is None else from_stored_json(metadata),
                "created_at": created_at,
            },
        )

    def to_row(self) -> MessageRow:
        """Return the values of the columns; content_json is None if the content is plain text."""
        # Text that looks like JSON is stored in content_json, because JSON in the column content is VoltAgent 0.1's.
        is_text = isinstance(self.content, str) and is_storable(self.content) and self.content[:1] not in _BEGIN_JSON
        return (
            self.id,
            self.role,
            plain_text(self.content),
            None if is_text else to_json(self.content),
            self.type,
            to_json(self.metadata) if self.metadata else None,
            self.created_at.astimezone(UTC).isoformat() if "created_at" in self.model_fields_set else None,
            None,
            None,
            None,
        )

    def stored_at(self, created_at: datetime) -> Self:
        """Return this message with the time at which the database stored it."""
        return construct_unchecked(type(self), {**self.__dict__, "created_at": created_at})


class NativeMessage(Message):
    """
    A message with a framework's own form of it beside the plain one. Adapters store and read it.

    The other verbs return the plain message. Storing a plain message with its id replaces both forms.
    """

    format: Text | None = None
    """The adapter's name for its form, such as "openai-agents"; None: there is only the plain message."""
    payload: Content = None
    """The framework's form: any JSON value. It is returned equal, type and order of keys included."""
    parent_id: Text | None = None
    """The message before it, in a conversation with branches; "": it begins a branch; None: not known, or keep it."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            role: str,
            content: JsonValue,
            id: str = ...,
            type: str = "text",
            metadata: JsonObject | None = None,
            created_at: datetime = ...,
            format: str | None = None,
            payload: JsonValue = None,
            parent_id: str | None = None,
        ) -> None: ...

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the message of a row, in the order of NATIVE_COLUMNS; payload is JSON text."""
        *plain, format, payload, parent_id = row
        beside = {
            "format": format,
            "payload": None if payload is None else from_stored_json(payload),
            "parent_id": parent_id,
        }
        return construct_unchecked(cls, {**super().from_row(plain).__dict__, **beside})

    def to_row(self) -> MessageRow:
        """Return the values of the columns."""
        payload = None if self.payload is None else to_json(self.payload)
        return (*super().to_row()[:7], self.format, payload, self.parent_id)


class ConversationPage(Model):
    """One page of a user's conversations."""

    conversations: list[Conversation]
    """The conversations of the page, at most page_size."""
    page: int
    """The page number, from 1."""
    page_size: int
    """The number of conversations of a full page."""
    has_more: bool
    """Whether there is another page. No COUNT is needed: one row more than the page is read."""

    if TYPE_CHECKING:

        @overload
        def __init__(self, *, conversations: list[Conversation], page: int, page_size: int, has_more: bool) -> None: ...
        @overload
        def __init__(self, *, conversations: list[Conversation], page: int, pageSize: int, hasMore: bool) -> None: ...
        def __init__(self, **values: Any) -> None: ...

    pageSize = spelled[int]("page_size")
    hasMore = spelled[bool]("has_more")


ConversationLike: TypeAlias = Conversation | Mapping[str, object]
"""A conversation, or a dict of its fields in either spelling."""
MessageLike: TypeAlias = Message | Mapping[str, object]
"""A message, or a dict of its fields in either spelling."""
Owner: TypeAlias = str | AnyUser
"""A user's id, or ANY_USER in trusted code: no check."""
