"""
What is stored and what comes back: frozen values, read and built in Python's spelling or in VoltAgent's.

``Conversation(user_id="ada")`` and ``Conversation(userId="ada")`` are the same; ``model_dump(by_alias=True)`` is
VoltAgent's JSON. Rows become models in from_row and models become rows in to_row, here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    Never,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    SkipValidation,
    StrictStr,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from voltmem._values import (
    AnyUser,
    JsonObject,
    check_id,
    check_key,
    check_text,
    check_time,
    from_stored_json,
    is_storable,
    json_value,
    now,
    plain_text,
    to_json,
    uuid7,
)
from voltmem.errors import InvalidInputError

T = TypeVar("T")


class Row(Protocol):
    """What from_row needs of an asyncpg.Record: a column's value by name, or all in the order of the statement."""

    def __getitem__(self, key: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


def _checked_text(text: str) -> str:
    if not is_storable(text):
        check_text(value=text)  # says why
    return text


def _checked_key(text: str) -> str:
    check_key(value=text)
    return text


def _checked_id(text: str) -> str:
    check_id(value=text)
    return text


def _checked_time(time: datetime) -> datetime:
    check_time("value", time)
    return time


def _content(value: object) -> JsonValue:
    return json_value(value, "content")


def _metadata(value: object) -> JsonObject:
    copy = json_value({} if value is None else value, "metadata", for_jsonb=True)
    if not isinstance(copy, dict):
        raise InvalidInputError(f"metadata must be a dict, not a {type(value).__name__}")
    return copy


Text: TypeAlias = Annotated[StrictStr, AfterValidator(_checked_text)]
Id: TypeAlias = Annotated[StrictStr, AfterValidator(_checked_id)]
# What is read may have an empty id: another program's row.
Key: TypeAlias = Annotated[StrictStr, AfterValidator(_checked_key)]
Time: TypeAlias = Annotated[AwareDatetime, AfterValidator(_checked_time)]
Content: TypeAlias = Annotated[SkipValidation[JsonValue], PlainValidator(_content)]
OrderBy: TypeAlias = Literal["created_at", "updated_at", "title"]
OrderDirection: TypeAlias = Literal["ASC", "DESC", "asc", "desc"]
Metadata: TypeAlias = Annotated[SkipValidation[JsonObject], PlainValidator(_metadata)]


class spelled(Generic[T]):  # noqa: N801  # reads as a declaration: createdAt = spelled[datetime]("created_at")
    """A field of a model, read by VoltAgent's name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.__doc__ = f"VoltAgent's name for {name}."

    @overload
    def __get__(self, model: None, kind: type, /) -> Self: ...
    @overload
    def __get__(self, model: object, kind: type, /) -> T: ...
    def __get__(self, model: object | None, kind: type, /) -> Self | T:
        return self if model is None else cast(T, getattr(model, self._name))

    if TYPE_CHECKING:  # a model is frozen; without this a type checker would let its fields be set by these names

        def __set__(self, model: object, value: Never, /) -> None: ...


class Model(BaseModel):
    """What all models are: frozen values, built and dumped in either spelling, that refuse fields they don't know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",  # a field we don't know would be lost without a word
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=False,
        ignored_types=(spelled,),
        defer_build=True,  # until the first use, which not every program that imports us comes to
    )

    @classmethod
    def of(cls, value: Self | Mapping[str, object]) -> Self:
        """Return the value as a model of this class; InvalidInputError says what a dict lacks or has wrong."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"a {cls.__name__} or a dict is needed, not a {type(value).__name__}")
        given = {name: field for name, field in value.items() if field is not None or cls._takes_none(name)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise InvalidInputError(_describe_errors(cls.__name__, error)) from error

    @classmethod
    def _takes_none(cls, name: str) -> bool:
        # None is "not given", as undefined is in VoltAgent's objects; only as content it is a value.
        return name == "content"

    # Those of all fields. What is read shares this set: nobody adds to that of a frozen model.
    _names: ClassVar[set[str]]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls._names = set(cls.model_fields)

    def given(self, name: str) -> Any:
        """Return the field's value if its maker set it, else None: the database fills in what was not given."""
        return getattr(self, name) if name in self.model_fields_set else None


StoredModel = TypeVar("StoredModel", bound=Model)

# The four slots of a pydantic model. A frozen one has no other way in.
_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_names = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def construct_unchecked(cls: type[StoredModel], fields: dict[str, Any]) -> StoredModel:
    """
    Return a model of the values of all its fields, unchecked: they were checked on their way into the database.

    What model_construct() does, but for aliases and defaults, which no row needs: the 100 rows of a page are fetched
    in 0.25 ms; making their models took another 0.25 ms with it, and takes 0.06 ms so.
    """
    model = _new(cls)
    _set_fields(model, fields)
    _set_names(model, cls._names)
    _set_extra(model, None)
    _set_private(model, None)
    return model


def _describe_errors(model: str, error: ValidationError) -> str:
    problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
    return f"not a {model}: {'; '.join(problems)}"


class Conversation(Model):
    """
    One conversation of one user.

    Made without an id it gets a UUIDv7; times that are not given are set by the database when it is stored.
    """

    id: Id = Field(default_factory=uuid7)
    """Unique in its storage. At most 1,000 bytes, as every id."""
    resource_id: Id = "default"
    """The agent, assistant or project that the conversation is with (VoltAgent's resourceId)."""
    user_id: Id
    """Whose it is."""
    title: Text | None = None
    """What a sidebar shows; None until somebody names it."""
    metadata: Metadata = Field(default_factory=dict)
    """A JSON object of the application's own, kept as jsonb: values stay equal, the order of keys does not."""
    created_at: Time = Field(default_factory=now)
    """When it was made."""
    updated_at: Time = Field(default_factory=now)
    """The time of the last activity: adding a message moves it."""

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


# Of an object and of an array, as JSON.stringify writes them; "" begins neither.
_BEGIN_JSON = frozenset("{[")


def _voltagent_content(content: str, type: str) -> JsonValue:
    """
    Return what VoltAgent 0.1 was given: it stored all that was no text as JSON, in the column of the texts.

    Tool calls and results are any JSON. Another message's content is a list of parts, or else what somebody typed.
    """
    try:
        value = from_stored_json(content)
    except ValueError:
        return content
    is_parts = isinstance(value, list) and all(isinstance(part, dict) and "type" in part for part in value)
    return value if type in ("tool-call", "tool-result") or (is_parts and value) else content


# message_id, role, content, content_json, type, metadata (JSON text), created_at (ISO 8601; None: not given), and of
# a framework's message format, payload (JSON text) and parent_id
MessageRow: TypeAlias = tuple[
    str, str, str, str | None, str, str | None, str | None, str | None, str | None, str | None
]


class Message(Model):
    """
    One message of a conversation.

    Made without an id it gets a UUIDv7, made without a time the database's at the moment it is stored. Storing an
    id again in the same conversation replaces the message in its place.
    """

    id: Id = Field(default_factory=uuid7)
    """Unique in its conversation."""
    role: Text
    """Who speaks: "user", "assistant", "system", "tool", or a name of the application's."""
    content: Content
    """Text, or any JSON value: a list of parts, a tool call, a tool result. Comes back equal, type included."""
    type: Text = "text"
    """"text", "tool-call", "tool-result", or a name of the application's."""
    metadata: Metadata = Field(default_factory=dict)
    """A JSON object of the application's own, kept as jsonb: values stay equal, the order of keys does not."""
    created_at: Time = Field(default_factory=now)
    """The place of the message in its conversation; among equal times, the order of adding decides."""

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
        """What a person could read in the content: a string itself, the text parts of a list."""
        return plain_text(self.content)

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """
        Return the message of a row, in the order of MESSAGE_COLUMNS.

        content_json is NULL where content is plain text, or VoltAgent 0.1's JSON.
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
        """Return the columns of the table, content_json None where content is plain text."""
        # Text that looks like JSON is kept as JSON: in the column of texts only VoltAgent 0.1 leaves JSON.
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
        """Return this message as it was stored: with the time that the database gave it."""
        return construct_unchecked(type(self), {**self.__dict__, "created_at": created_at})


class NativeMessage(Message):
    """
    A message with a framework's own form of it beside the plain one: what adapters store, and read again.

    Whoever reads messages otherwise gets the plain one, and storing that replaces both.
    """

    format: Text | None = None
    """Whose form it is, a name of the adapter's: "openai-agents"; None: there is only the plain message."""
    payload: Content = None
    """Any JSON value. Comes back equal, type and order of keys included."""
    parent_id: Text | None = None
    """The message before it, where a conversation has branches; "": the first of a branch; None: as it was, or none."""

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
        """Return the columns of the table."""
        payload = None if self.payload is None else to_json(self.payload)
        return (*super().to_row()[:7], self.format, payload, self.parent_id)


class ConversationPage(Model):
    """One page of a user's conversations."""

    conversations: list[Conversation]
    """The page's conversations, at most page_size of them."""
    page: int
    """Its number; the first is 1."""
    page_size: int
    """How many conversations a full page holds."""
    has_more: bool
    """Whether another page follows. Known without a COUNT: one row more than a page is read."""

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
"""A user's id, or ANY_USER in trusted code: then nothing is checked."""
