"""
The models of conversations and messages: frozen values, with fields in Python's or VoltAgent's spelling.

``Conversation(user_id="ada")`` and ``Conversation(userId="ada")`` are the same; ``model_dump(by_alias=True)`` returns
VoltAgent's JSON. from_row() makes a model of a row, to_row() a row of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, cast, overload

from pydantic import Field, JsonValue
from pydantic.alias_generators import to_camel

from voltmem._model import Content, Id, Metadata, Model, String, Time, construct_unchecked
from voltmem._values import (
    AnyUser,
    JsonObject,
    from_stored_json,
    is_storable,
    json_value,
    now,
    spelled,
    storable_text,
    stored_metadata,
    to_json,
    uuid7,
)
from voltmem.parts import Part, plain
from voltmem.parts._forms import Form, form_of
from voltmem.parts._given import Given, check_list
from voltmem.parts._read import parts as read_parts
from voltmem.parts._read import text
from voltmem.parts._without import says_the_same, without
from voltmem.parts.ai_sdk import TOOL_RESULT

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


OrderBy: TypeAlias = Literal["created_at", "updated_at", "title"]
OrderDirection: TypeAlias = Literal["ASC", "DESC", "asc", "desc"]


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
    title: String | None = None
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
                "metadata": stored_metadata(metadata),
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

# The usual roles and types. The driver makes a new string of each value; messages that were read share these.
_SHARED: Final = {name: name for name in ("user", "assistant", "system", "tool", "text", "tool-call", "tool-result")}


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


def _read_row(row: Iterable[Any], *, is_native: bool) -> Message:
    """Return the message of a row, in the order of message_columns(); a NativeMessage, or only if it has a format."""
    id, role, content, content_json, type, metadata, created_at, format, payload, parent_id, own_role, parts = row
    if parts is not None:  # VoltAgent has stored the message, or replaced it, and wrote no other column
        content, content_json, type, format, payload = None, parts, "text", None, None
    elif own_role is not None:
        role = own_role
    # content_json is NULL if content is plain text, or VoltAgent 0.1's JSON.
    if content_json is not None:
        content = from_stored_json(content_json)
    elif content is None:  # a UIMessage that VoltAgent stored without parts
        content = []
    elif content[:1] in _BEGIN_JSON:
        content = _voltagent_content(content, type)
    fields = {
        "id": id,
        "role": _SHARED.get(role, role),
        "content": content,
        "type": _SHARED.get(type, type),
        "metadata": {} if metadata is None else stored_metadata(metadata),
        "created_at": created_at,
    }
    if format is None and not is_native:
        return construct_unchecked(Message, fields)
    return NativeMessage.of_fields(fields, format, payload, parent_id)


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
    role: String
    """The role of the author: "user", "assistant", "system", "tool", or one of the application's own."""
    content: Content
    """Text, or any JSON value: a list of parts, a tool call, a tool result. It is returned equal, type included."""
    type: String = "text"
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
        return storable_text(text(self))

    @classmethod
    def of(cls, value: Model | Mapping[str, object]) -> Message:
        """
        Return the value as a message; InvalidInputError, with all reasons, if a dict is invalid.

        A dict in one of the forms of voltmem.parts becomes a NativeMessage, which has that form as its payload. Without
        a type, one of nothing but tools' results is a "tool-result", whoever sends it: nobody says that.
        """
        if isinstance(value, Message):
            return value
        if isinstance(value, Mapping) and (value.get("role") is None or not value.keys() <= _PLAIN_FIELDS):
            given = {name: field for name, field in value.items() if field is not None or name == "content"}
            form = form_of(cast(JsonObject, given))
            if form is not None:
                return NativeMessage.in_form(form, given)
        if isinstance(value, Mapping) and "type" not in value and plain.has_only_results(value.get("content")):
            value = {**value, "type": TOOL_RESULT}
        return super().of(cast(Any, value))

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Message:
        """Return the message of a row, in the order of message_columns(); a NativeMessage if it has another form."""
        return _read_row(row, is_native=False)

    def to_row(self) -> MessageRow:
        """Return the values of the columns; content_json is None if the content is plain text."""
        # Text that looks like JSON is stored in content_json, because JSON in the column content is VoltAgent 0.1's.
        is_text = isinstance(self.content, str) and is_storable(self.content) and self.content[:1] not in _BEGIN_JSON
        return (
            self.id,
            self.role,
            self.text,
            None if is_text else to_json(self.content),
            self.type,
            to_json(self.metadata) if self.metadata else None,
            self.created_at.astimezone(UTC).isoformat() if "created_at" in self.model_fields_set else None,
            None,
            None,
            None,
        )

    def saying(self, parts: Sequence[Part]) -> Self:
        """Return this message as a plain one that says only these parts."""
        type, content = plain.derive(self.role, parts)
        return self._changed({"type": type, "content": content})

    def keeping(self, kept: Sequence[Part], left_out: Set[str]) -> Self:
        """Return this message with only the parts to keep, without the calls and results with the other ids."""
        fields = {name: self.__dict__[name] for name in ("content", "payload", "metadata") if name in self.__dict__}
        rest: dict[str, Any] = {name: without(value, left_out - {""}) for name, value in fields.items()}
        found = construct_unchecked(self.__class__, {**self.__dict__, **rest, "type": plain.derive(self.role, kept)[0]})
        # In a form that says it in another way, or with calls that have no id, the plain form has to do.
        return found if says_the_same(read_parts(found), kept) else self.saying(kept)

    def rewritten(self, rewrite: Callable[[JsonValue], JsonValue]) -> Self:
        """Return this message with the content and the payload that the function returns for them."""
        given = {name: self.__dict__[name] for name in ("content", "payload") if name in self.__dict__}
        changed: dict[str, Any] = {name: rewrite(value) for name, value in given.items()}
        return construct_unchecked(self.__class__, {**self.__dict__, **changed})

    def _changed(self, fields: dict[str, Any]) -> Self:
        return construct_unchecked(self.__class__, {**self.__dict__, **fields})

    def stored_at(self, created_at: datetime) -> Self:
        """Return this message with the time at which the database stored it."""
        return self._changed({"created_at": created_at})


class NativeMessage(Message):
    """
    A message with a framework's own form of it beside the plain one. Adapters store and read it.

    The other verbs return the plain message. Storing a plain message with its id replaces both forms.
    """

    format: String | None = None
    """The adapter's name for its form, such as "openai-agents"; None: there is only the plain message."""
    payload: Content = None
    """The framework's form: any JSON value. It is returned equal, type and order of keys included."""
    parent_id: String | None = None
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

    def _changed(self, fields: dict[str, Any]) -> Self:
        # A message that says something else has no form of the framework's any more.
        beside = {"format": None, "payload": None} if "content" in fields else {}
        return super()._changed({**beside, **fields})

    @classmethod
    def of(cls, value: Model | Mapping[str, object]) -> NativeMessage:
        """Return the value as a NativeMessage; InvalidInputError, with all reasons, if a dict is invalid."""
        if isinstance(value, Message) and not isinstance(value, cls):
            return construct_unchecked(cls, {**value.__dict__, "format": None, "payload": None, "parent_id": None})
        return super(Message, cls).of(cast(Any, value))

    @classmethod
    def in_form(cls, form: Form, given: Mapping[str, object]) -> NativeMessage:
        """Return a message that was given in this form: the form itself as the payload, and the plain message."""
        payload = form.as_stored(cast(JsonObject, json_value(dict(given), "message")))
        ours = {name: payload.pop(name) for name in form.outside if name in payload}
        role = form.role(payload)
        type, content = plain.derive_beside(role, form.read(payload))
        values = {"role": role, "type": type, "content": content, "format": form.format, "payload": payload}
        if form.metadata is not None:
            ours["metadata"] = form.metadata(payload)
        return cls.of({**values, **ours})

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> NativeMessage:
        """Return the message of a row, in the order of message_columns(); payload is JSON text."""
        return cast(NativeMessage, _read_row(row, is_native=True))

    @classmethod
    def of_fields(
        cls, fields: dict[str, Any], format: str | None, payload: str | None, parent_id: str | None
    ) -> NativeMessage:
        """Return the message with these fields; payload is JSON text."""
        own = None if payload is None else from_stored_json(payload)
        return construct_unchecked(cls, {**fields, "format": format, "payload": own, "parent_id": parent_id})

    def to_row(self) -> MessageRow:
        """Return the values of the columns."""
        payload = None if self.payload is None else to_json(self.payload)
        return (*super().to_row()[:7], self.format, payload, self.parent_id)


_PLAIN_FIELDS: Final = {*NativeMessage.model_fields, *map(to_camel, NativeMessage.model_fields)}


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


def messages_of(values: object) -> list[Message]:
    """Return the values of a list as messages; InvalidInputError if it is no list, or a value is no message."""
    return [Message.of(value) for value in check_list(values)]


Given.make = Message.of
