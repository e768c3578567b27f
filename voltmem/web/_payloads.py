"""What crosses: the bodies of requests and of responses, in camelCase. Whose they are, is never among it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, Self, TypeAlias

from fastapi import Path, Query, Response
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PlainSerializer,
    SkipValidation,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from voltmem._areas.groups import group_by_date
from voltmem._areas.search import Highlight, SearchHit, SearchResults
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._values import check_id, to_json
from voltmem.errors import ConversationNotFoundError, InvalidInputError, MessageNotFoundError
from voltmem.models import Conversation, Message

# --- the parts ----------------------------------------------------------------------------------------------------

# PostgreSQL's texts hold no NUL. At most 250 characters are at most 1,000 bytes: an id's.
_NO_NUL: Final = r"^[^\x00]*$"
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=_NO_NUL)]
Title: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=_NO_NUL)]
# What a path can name without doubt, and every log and browser shows as it is.
NewId: TypeAlias = Annotated[str, StringConstraints(max_length=200, pattern=r"^[!-\-0-~][!-.0-~]*$")]


def _rfc3339(value: object) -> object:
    # pydantic takes numbers, too, and dates.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", value):
        raise ValueError("must be a time as in RFC 3339: 2026-11-21T13:00:00Z")
    return value


_TIME_SCHEMA: Final[dict[str, JsonValue]] = {"type": "string", "format": "date-time"}
GivenTime: TypeAlias = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_rfc3339), WithJsonSchema(_TIME_SCHEMA)
]
Time: TypeAlias = Annotated[
    datetime,
    PlainSerializer(lambda time: time.isoformat().replace("+00:00", "Z")),
    WithJsonSchema(_TIME_SCHEMA, mode="serialization"),
]
Json: TypeAlias = Annotated[SkipValidation[JsonValue], WithJsonSchema({"description": "Any JSON value."})]
JsonObject: TypeAlias = dict[str, SkipValidation[JsonValue]]


def _reachable(missing: Callable[[str], Exception]) -> Callable[[str], str]:
    def check(id: str) -> str:
        try:
            check_id(id=id)
        except InvalidInputError:
            raise missing(id) from None  # what cannot be stored isn't there
        return id

    return check


ConversationId: TypeAlias = Annotated[
    str,
    Path(description="The id of a conversation of the user's.", min_length=1),
    AfterValidator(_reachable(ConversationNotFoundError)),
]
MessageId: TypeAlias = Annotated[
    str,
    Path(description="The id of a message of the conversation.", min_length=1),
    AfterValidator(_reachable(lambda missing: MessageNotFoundError(missing, ""))),
]
Cursor: TypeAlias = Annotated[
    str | None, Query(description="A nextCursor, as it is.", json_schema_extra={"format": "cursor"})
]
SearchCursor: TypeAlias = Annotated[
    str | None, Query(description="A nextCursor, as it is.", json_schema_extra={"format": "search-cursor"})
]
TimeZone: TypeAlias = Annotated[
    str | None,
    Query(
        alias="timeZone",
        description="The viewer's, as Europe/Oslo: each conversation comes with its heading.",
        json_schema_extra={"format": "time-zone"},
    ),
]
Limit: TypeAlias = Annotated[int, Query(description="How many at most.", ge=1, le=200)]


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
    )


class Answer(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        serialize_by_alias=True,
        from_attributes=True,
        use_attribute_docstrings=True,
    )


class JsonResponse(Response):
    """A body that stays what it was stored as: lone surrogates, whole numbers of any size, the order of names."""

    media_type = "application/json"

    def __init__(self, answer: Answer | JsonValue, status: int = 200, headers: dict[str, str] | None = None) -> None:
        # What is not set is left out: front ends in TypeScript tell undefined from null.
        value = answer.model_dump(exclude_unset=True) if isinstance(answer, Answer) else answer
        super().__init__(to_json(value).encode(), status, {"Cache-Control": "no-store", **(headers or {})})


# --- conversations ------------------------------------------------------------------------------------------------


class Group(Answer):
    """The heading that a conversation stands under."""

    key: str
    """pinned, today, yesterday, previous-7-days, previous-30-days, or a month: 2026-09."""
    label: str
    """The same in English: Previous 7 days."""


class FoundConversation(Answer):
    """A conversation."""

    id: str
    resource_id: str
    """The agent, assistant or project that it is with."""
    title: str | None
    metadata: JsonObject
    created_at: Time
    updated_at: Time
    """The time of the last activity."""


class Item(FoundConversation):
    """A conversation as a sidebar shows it."""

    pinned: bool
    archived: bool
    tags: list[str]
    read_at: Time | None
    deleted_at: Time | None
    title_is_automatic: bool
    """Whether a model made the title, so that another automatic one may replace it."""
    forked_from: str | None
    """The conversation that it is a copy of …"""
    forked_up_to: str | None
    """… up to this message."""
    preview: str | None
    """How the last thing begins that was said."""
    unread: bool
    """Whether the last thing was said by another than the user, since the user last read it."""
    group: Group | None = None
    """Where the query has a timeZone: the heading, by the viewer's days."""


class Items(Answer):
    """Conversations."""

    items: list[Item]


class ItemPage(Items):
    """A stretch of the sidebar."""

    next_cursor: str | None
    """For after: what follows."""
    has_more: bool
    """Whether more follows in the direction of the walk."""

    @classmethod
    def of(cls, found: ConversationList, time_zone: str | None) -> Self:
        """Return the page, with headings where a time zone is given."""
        groups = [] if time_zone is None else group_by_date(found.items, time_zone)
        headings = {
            each.id: Group(key=group.key, label=group.label) for group in groups for each in group.conversations
        }
        items = [item_of(each, headings.get(each.id)) for each in found.items]
        return cls(items=items, next_cursor=found.next_cursor, has_more=found.has_more)


def item_of(found: ConversationItem, group: Group | None = None) -> Item:
    """Return a conversation as it crosses."""
    return Item.model_validate(found).model_copy(update={"group": group})


def new_item(made: Conversation) -> Item:
    """Return a conversation that was made just now, which has no marks."""
    return item_of(ConversationItem.model_validate(made.model_dump()))


class NewConversation(Body):
    """A conversation to make."""

    id: NewId | None = None
    """Unique in the whole application; left out, it gets one."""
    title: Title | None = None
    resource_id: Name = "default"
    metadata: JsonObject = Field(default_factory=dict)


class ConversationChanges(Body):
    """What changes; what is left out stays. All of it, or nothing and an error."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentSchemas": {
                "titleIsAutomatic": {"required": ["title"], "properties": {"title": {"type": "string"}}}
            }
        }
    )

    title: Title | None = None
    """null clears it, whoever gave it."""
    title_is_automatic: bool = False
    """A model made the title, of which there must be one: it replaces none that a person gave."""
    pinned: bool = False
    archived: bool = False
    tags: Annotated[list[Name], Field(max_length=100)] = Field(default_factory=list)
    metadata: JsonObject = Field(default_factory=dict)
    """Instead of what there was."""

    @model_validator(mode="after")
    def _title_is_there(self) -> Self:
        if "title_is_automatic" in self.model_fields_set and self.title is None:
            raise ValueError("titleIsAutomatic says something of a title, which is missing")
        return self


class GivenTitle(Body):
    """A title that a model made."""

    title: Title


class Archive(Body):
    """Whether to put it away."""

    archived: bool = True


class Reading(Body):
    """How far the user has read."""

    at: GivenTime | None = None
    """Left out, or a time that is still to come: up to now."""


class Fork(Body):
    """What to copy."""

    up_to: Name | None = None
    """The id of the last message of the copy; left out: all."""
    id: NewId | None = None
    """The copy's; left out, it gets one."""


class Purged(Answer):
    """How many deleted conversations are gone for good."""

    purged: int


class Deleted(Answer):
    """How many conversations and recorded runs are gone for good."""

    deleted: int


# --- messages -----------------------------------------------------------------------------------------------------


class StoredMessage(Answer):
    """A message."""

    id: str
    role: str
    content: Json
    type: str
    metadata: JsonObject
    created_at: Time


class StoredMessages(Answer):
    """Messages, the oldest first."""

    items: list[StoredMessage]


def messages_of(found: list[Message]) -> list[StoredMessage]:
    """Return messages as they cross."""
    return [StoredMessage.model_validate(each) for each in found]


class MessagePage(StoredMessages):
    """A stretch of a conversation, the oldest message first."""

    has_more: bool
    """Whether more follows in the direction of the walk."""


class NewMessage(Body):
    """A message to store."""

    id: Name | None = None
    """Unique in the conversation: one that is there is replaced in its place. Left out, it gets one."""
    role: Name
    """user, assistant, system, tool, or a name of the application's."""
    content: Json
    """Text, or any JSON value."""
    type: Name = "text"
    metadata: JsonObject = Field(default_factory=dict)


class NewMessages(Body):
    """Messages to store, all of them or none."""

    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=1000)]


def how_many(value: object) -> str:
    """Return which of two kinds a body is: one message, or several."""
    return "<several>" if isinstance(value, dict) and "messages" in value else "<one>"


OneOrSeveral: TypeAlias = Annotated[
    Annotated[NewMessage, Tag("<one>")] | Annotated[NewMessages, Tag("<several>")], Discriminator(how_many)
]


class Rewind(Body):
    """Where to go back to."""

    message_id: Name
    """The last message that stays."""


class Dropped(Answer):
    """How many messages were dropped."""

    dropped: int


# --- the search ---------------------------------------------------------------------------------------------------


class Piece(Answer):
    """A piece of a text, in a row of pieces that are the whole of it."""

    text: str
    is_match: bool
    """Whether it is what was searched for."""


class Hit(Answer):
    """A conversation that was found."""

    conversation: FoundConversation
    title: list[Piece]
    message_id: str | None
    """The message that fits best; null: only the title has the words."""
    role: str | None
    created_at: Time | None
    snippet: list[Piece]
    """The place in the message; at most 200 characters."""

    @classmethod
    def of(cls, hit: SearchHit) -> Self:
        """Return what was found as it crosses."""
        return cls(
            conversation=FoundConversation.model_validate(hit.conversation),
            title=list(map(_piece, hit.title)),
            message_id=hit.message_id,
            role=hit.role,
            created_at=hit.created_at,
            snippet=list(map(_piece, hit.snippet)),
        )


def _piece(piece: Highlight) -> Piece:
    return Piece(text=piece.text, is_match=piece.is_match)


class Hits(Answer):
    """A stretch of what was found, best first."""

    items: list[Hit]
    next_cursor: str | None

    @classmethod
    def of(cls, found: SearchResults) -> Self:
        """Return what was found as it crosses."""
        return cls(items=[Hit.of(hit) for hit in found.hits], next_cursor=found.next_cursor)


def values(body: Body) -> dict[str, Any]:
    """Return the fields of a body that have a value, by our names."""
    return {name: value for name in type(body).model_fields if (value := getattr(body, name)) is not None}
