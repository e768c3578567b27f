"""The bodies of requests and responses, in camelCase. None of them names the user."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, Self, TypeAlias, TypeVar

from fastapi import Path, Query, Request, Response
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SkipValidation,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_json as serialize

from voltmem._areas.groups import group_by_date
from voltmem._areas.search import Highlight, SearchHit, SearchResults
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._values import MAX_ID_BYTES, check_id, to_json, without_flood
from voltmem.errors import ConversationNotFoundError, InvalidInputError, MessageNotFoundError
from voltmem.models import Conversation
from voltmem.web._addresses import with_addresses

# --- the parts ----------------------------------------------------------------------------------------------------


def _fits(name: str) -> str:
    if len(name.encode()) > MAX_ID_BYTES:
        raise ValueError(f"must have at most {MAX_ID_BYTES} bytes")
    return name


# PostgreSQL's text has no NUL.
_NO_NUL: Final = r"^[^\x00]*$"
Name: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_ID_BYTES, pattern=_NO_NUL), AfterValidator(_fits)
]


def _has_an_address(id: str) -> str:
    if id in (".", ".."):
        raise ValueError("must not be . or .., which disappear from an address")
    return id


# The id that a client gives a message. "DELETE …/messages/.." would be a request to delete the conversation.
NewMessageId: TypeAlias = Annotated[Name, AfterValidator(_has_an_address)]
Title: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=_NO_NUL)]
# Printable ASCII without a slash: safe in a path, a log and a browser.
NewId: TypeAlias = Annotated[str, StringConstraints(max_length=200, pattern=r"^[!-\-0-~][!-.0-~]*$")]


def _rfc3339(value: object) -> object:
    # pydantic would accept numbers and dates as well.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", value):
        raise ValueError("must be a time as in RFC 3339: 2026-11-21T13:00:00Z")
    return value


def written_time(time: datetime) -> str:
    """Return a time as responses have it."""
    return time.isoformat().replace("+00:00", "Z")


_TIME_SCHEMA: Final[dict[str, JsonValue]] = {"type": "string", "format": "date-time"}
GivenTime: TypeAlias = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_rfc3339), WithJsonSchema(_TIME_SCHEMA)
]
Time: TypeAlias = Annotated[
    datetime,
    PlainSerializer(written_time),
    WithJsonSchema(_TIME_SCHEMA, mode="serialization"),
]
Json: TypeAlias = Annotated[SkipValidation[JsonValue], WithJsonSchema({"description": "Any JSON value."})]
# A name may have a lone surrogate, which pydantic's str refuses.
_AnyName: TypeAlias = Annotated[SkipValidation[str], WithJsonSchema({"type": "string"})]
JsonObject: TypeAlias = dict[_AnyName, SkipValidation[JsonValue]]
T = TypeVar("T")
# A list is read up to its first invalid item, so that errors are few, however long the list.
ListOf: TypeAlias = Annotated[list[T], Field(fail_fast=True)]


def _reachable(missing: Callable[[str], Exception]) -> Callable[[str], str]:
    def check(id: str) -> str:
        try:
            check_id(id=id)
        except InvalidInputError:
            raise missing(id) from None  # no stored row can have this id
        return id

    return check


ConversationId: TypeAlias = Annotated[
    str,
    Path(description="The id of one of the user's conversations.", min_length=1),
    AfterValidator(_reachable(ConversationNotFoundError)),
]
MessageId: TypeAlias = Annotated[
    str,
    Path(description="The id of a message in the conversation.", min_length=1),
    AfterValidator(_reachable(lambda missing: MessageNotFoundError(missing, ""))),
]
Cursor: TypeAlias = Annotated[
    str | None, Query(description="The nextCursor of the page before.", json_schema_extra={"format": "cursor"})
]
SearchCursor: TypeAlias = Annotated[
    str | None, Query(description="The nextCursor of the page before.", json_schema_extra={"format": "search-cursor"})
]
TimeZone: TypeAlias = Annotated[
    str | None,
    Query(
        alias="timeZone",
        description="The viewer's time zone, such as Europe/Oslo: adds the date group to each conversation.",
        json_schema_extra={"format": "time-zone"},
    ),
]
Limit: TypeAlias = Annotated[int, Query(description="The maximum number of results.", ge=1, le=200)]


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _has_few_errors(cls, given: object) -> object:
        if not isinstance(given, dict) or cls.model_config.get("extra") != "forbid":
            return given
        return without_flood(given, {field.alias or name for name, field in cls.model_fields.items()})


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        serialize_by_alias=True,
        from_attributes=True,
        use_attribute_docstrings=True,
    )


def _encoded(value: JsonValue) -> bytes:
    """Return to_json(), in UTF-8, by an encoder that is several times as fast, but for what only to_json() writes."""
    try:
        body = serialize(value)
    except ValueError:  # a lone surrogate
        body = b""
    return body if body and b"NaN" not in body and b"Infinity" not in body else to_json(value).encode()


class JsonResponse(Response):
    """A JSON response that keeps stored values exactly: lone surrogates, big integers, the order of names."""

    media_type = "application/json"

    def __init__(self, answer: Answer | JsonValue, status: int = 200, headers: dict[str, str] | None = None) -> None:
        # Fields that are not set are left out: front ends in TypeScript distinguish undefined from null.
        value = answer.model_dump(exclude_unset=True) if isinstance(answer, Answer) else answer
        super().__init__(_encoded(value), status, {"Cache-Control": "no-store", **(headers or {})})

    def with_addresses(self, request: Request) -> JsonResponse:
        """Put the addresses of files in place of references. Returns itself."""
        self.body = with_addresses(bytes(self.body), request)
        self.headers["Content-Length"] = str(len(self.body))
        return self


# --- conversations ------------------------------------------------------------------------------------------------


class Group(Answer):
    """The date group of a conversation."""

    key: str
    """pinned, today, yesterday, previous-7-days, previous-30-days, or a month: 2026-09."""
    label: str
    """The heading in English, such as Previous 7 days."""


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
    """The conversation that it was copied from."""
    forked_up_to: str | None
    """The last message that was copied."""
    preview: str | None
    """The beginning of the last message of the user or the assistant."""
    unread: bool
    """Whether the last message is not the user's and is newer than readAt."""
    group: Group | None = None
    """The date group, if the request has a timeZone."""


class Items(Answer):
    """Conversations."""

    items: list[Item]


class ItemPage(Items):
    """A page of the sidebar."""

    next_cursor: str | None
    """Pass it as after for the next page."""
    has_more: bool
    """Whether more follow in the direction of paging."""

    @classmethod
    def of(cls, found: ConversationList, time_zone: str | None) -> Self:
        """Make the page, with date groups if a time zone is given."""
        groups = [] if time_zone is None else group_by_date(found.items, time_zone)
        headings = {
            each.id: Group(key=group.key, label=group.label) for group in groups for each in group.conversations
        }
        items = [item_of(each, headings.get(each.id)) for each in found.items]
        return cls(items=items, next_cursor=found.next_cursor, has_more=found.has_more)


def item_of(found: ConversationItem, group: Group | None = None) -> Item:
    """Make the response for a conversation."""
    return Item.model_validate(found).model_copy(update={"group": group})


def new_item(made: Conversation) -> Item:
    """Make the response for a new conversation, which has no marks yet."""
    return item_of(ConversationItem.model_validate(made.model_dump()))


class NewConversation(Body):
    """A conversation to create."""

    id: NewId | None = None
    """Unique in the whole application, at least 16 characters unless it allows others; generated if left out."""
    title: Title | None = None
    resource_id: Name = "default"
    metadata: JsonObject = Field(default_factory=dict)


class ConversationChanges(Body):
    """The fields to change, all or none; the others stay."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentSchemas": {
                "titleIsAutomatic": {"required": ["title"], "properties": {"title": {"type": "string"}}},
                "mergeMetadata": {"not": {"required": ["metadata"]}},
            }
        }
    )

    title: Title | None = None
    """null removes the title."""
    title_is_automatic: bool = False
    """A model made the title, so it does not replace a title that a person gave. Needs a title."""
    pinned: bool = False
    archived: bool = False
    tags: Annotated[ListOf[Name], Field(max_length=100)] = Field(default_factory=list)
    metadata: JsonObject = Field(default_factory=dict)
    """Replaces the old metadata."""
    merge_metadata: JsonObject = Field(default_factory=dict)
    """A JSON Merge Patch (RFC 7396) of the metadata: the fields to change; null removes a field."""

    @model_validator(mode="after")
    def _metadata_is_given_once(self) -> Self:
        if {"metadata", "merge_metadata"} <= self.model_fields_set:
            raise ValueError("metadata replaces what mergeMetadata would change: pass one of them")
        return self

    @model_validator(mode="after")
    def _title_is_there(self) -> Self:
        if "title_is_automatic" in self.model_fields_set and self.title is None:
            raise ValueError("titleIsAutomatic needs a title")
        return self


class GivenTitle(Body):
    """A title that a model made."""

    title: Title


class Archive(Body):
    """Whether to archive or to unarchive."""

    archived: bool = True


class Reading(Body):
    """How far the user has read."""

    at: GivenTime | None = None
    """The time up to which it is read. Left out, or in the future: now."""


class Fork(Body):
    """What to copy."""

    up_to: Name | None = None
    """The id of the last message of the copy; left out: all."""
    id: NewId | None = None
    """The id of the copy, as for a new conversation; generated if left out."""


class Purged(Answer):
    """How many deleted conversations were removed permanently."""

    purged: int


class Deleted(Answer):
    """How many conversations and recorded runs were deleted permanently."""

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
    ui_message: JsonObject | None = None
    """
    What the message says, if the request asks for it, as a UIMessage of the AI SDK: the result of a tool is in the part
    of its call. Null: nothing by itself.
    """


class StoredMessages(Answer):
    """Messages, oldest first."""

    items: list[StoredMessage]


class MessagePage(StoredMessages):
    """A page of a conversation, oldest message first."""

    has_more: bool
    """Whether more follow in the direction of paging."""


class NewMessage(Body):
    """A message to store."""

    id: NewMessageId | None = None
    """Unique in the conversation. An existing message with this id is replaced. Generated if left out."""
    role: Name
    """user, assistant, system, tool, or a name of your own."""
    content: Json
    """Text, or any JSON value."""
    type: Name = "text"
    metadata: JsonObject = Field(default_factory=dict)


def how_many(value: object) -> str:
    """Tell whether a body holds one message or several."""
    return "<several>" if isinstance(value, dict) and "messages" in value else "<one>"


class MessageChanges(Body):
    """What to change in a message."""

    merge_metadata: JsonObject
    """A JSON Merge Patch (RFC 7396) of the metadata: the fields to change; null removes a field."""


class MessageCount(Answer):
    """The number of messages."""

    count: int


class Rewind(Body):
    """The message to rewind to."""

    message_id: Name
    """The last message that stays."""


class Dropped(Answer):
    """How many messages were deleted."""

    dropped: int


# --- the search ---------------------------------------------------------------------------------------------------


class Piece(Answer):
    """A piece of a text. All pieces together are the whole text."""

    text: str
    is_match: bool
    """Whether the piece matches the search."""


class Hit(Answer):
    """A conversation that was found."""

    conversation: FoundConversation
    title: list[Piece]
    message_id: str | None
    """The best message; null if only the title matches."""
    role: str | None
    created_at: Time | None
    snippet: list[Piece]
    """The part of the message around the match; at most 200 characters."""

    @classmethod
    def of(cls, hit: SearchHit) -> Self:
        """Make the response."""
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
    """A page of search results, best first."""

    items: list[Hit]
    next_cursor: str | None

    @classmethod
    def of(cls, found: SearchResults) -> Self:
        """Make the response."""
        return cls(items=[Hit.of(hit) for hit in found.hits], next_cursor=found.next_cursor)


def values(body: Body) -> dict[str, Any]:
    """Return the fields of a body that have a value, by their Python names."""
    return {name: value for name in type(body).model_fields if (value := getattr(body, name)) is not None}
