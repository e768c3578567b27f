"""The queries whose SQL depends on the arguments, as immutable values: of conversations, messages and windows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, cast

from voltmem._tables import Tables, rendered
from voltmem._values import (
    ANY_USER,
    MAX_BIGINT,
    check_count,
    check_flag,
    check_id,
    check_id_or_none,
    check_owner,
    check_texts,
    check_time,
    short_repr,
)
from voltmem.errors import ConversationNotFoundError, InvalidQueryError
from voltmem.models import Conversation, OrderBy, OrderDirection, Owner
from voltmem.parts.ai_sdk import TEXTS_PATH

CONVERSATION_NAMES: Final = "id, resource_id, user_id, title, metadata, created_at, updated_at"
CONVERSATION_COLUMNS: Final = "id, resource_id, user_id, title, metadata::text AS metadata, created_at, updated_at"

# --- messages that VoltAgent may have written ---------------------------------------------------------------------

# voltmem fills VoltAgent's column "parts" for VoltAgent, and stores its hash. Parts with another hash are VoltAgent's:
# it has added the message, or replaced it since. Then they are the content, and the other columns are out of date.
# If the words of VoltAgent's parts were indexed, there is a "=" before their hash.


def hash_of(parts: str) -> str:
    """Return the SQL expression of the hash of parts, which are jsonb. Functions in migrations_sql/ have the same."""
    return f"pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({parts}::text, 'UTF8')), 'hex')"


PARTS_HASH: Final = hash_of("parts")
IS_THEIRS: Final = (
    "CASE WHEN parts IS NULL THEN false WHEN parts_hash IS NULL OR parts_hash LIKE '=%' THEN true "
    f"ELSE parts_hash <> {PARTS_HASH} END"
)
# Whether "words" are those of the message as it is now.
IS_INDEXED: Final = (
    "words IS NOT NULL AND CASE WHEN parts IS NULL THEN true WHEN parts_hash IS NULL THEN false "
    f"ELSE pg_catalog.ltrim(parts_hash, '=') = {PARTS_HASH} END"
)
ROLE: Final = f"CASE WHEN own_role IS NULL OR {IS_THEIRS} THEN role ELSE own_role END"
TYPE: Final = f"CASE WHEN type IS NULL OR type = 'text' OR {IS_THEIRS} THEN 'text' ELSE type END"
# Whether it is a tool's call or result. Only of messages that may be one, the parts are read.
OF_TOOLS: Final = (
    "CASE WHEN 'tool' IN (role, own_role) OR type IN ('tool-call', 'tool-result') THEN "
    f"CASE WHEN {IS_THEIRS} THEN role = 'tool' "
    "ELSE coalesce(own_role, role) = 'tool' OR coalesce(type, '') IN ('tool-call', 'tool-result') END "
    "ELSE false END"
)
# The readable text. A CASE, so that the parts are read only if they are VoltAgent's.
TEXT: Final = (
    f"CASE WHEN NOT {IS_THEIRS} THEN content ELSE ("
    "SELECT pg_catalog.string_agg(said #>> '{}'::text[], E'\\n') "
    f"FROM pg_catalog.jsonb_path_query(parts, '{TEXTS_PATH}') AS said) END"
)
# Content that is not plain text is read from content_json alone; its searchable copy in the column content is not
# needed.
_BEFORE_PAYLOAD: Final = (
    "message_id, role, CASE WHEN content_json IS NULL THEN content END AS content, content_json::text AS content_json, "
    "coalesce(type, 'text') AS type, metadata::text AS metadata, created_at"
)
_AFTER_PAYLOAD: Final = f"parent_id, own_role, CASE WHEN {IS_THEIRS} THEN parts::text END AS parts"


def message_columns(tables: Tables, *, unless: str = "false") -> str:
    """
    Return the columns of a message, with the contents of files in the payload, if files="extract" took them out.

    unless: the condition under which the payload is returned as it is stored.
    """
    filled = f"{tables.fill_in_files}(payload::text, conversation_id, file_ids)"
    payload = f"CASE WHEN file_ids IS NULL OR {unless} THEN payload::text ELSE {filled} END AS payload"
    return f"{_BEFORE_PAYLOAD}, format, {payload}, {_AFTER_PAYLOAD}"


PLAIN_COLUMNS: Final = f"{_BEFORE_PAYLOAD}, NULL::text AS format, NULL::text AS payload, {_AFTER_PAYLOAD}"
"""The columns of a message without a framework's form."""


# The messages of the line: those of the chosen branch that the storage limit has not archived. All readers of a
# conversation read them, by the index {prefix}_messages_in_line.
ON_LINE: Final = "NOT archived AND NOT aside"


def authored(tables: Tables) -> str:
    """
    Return the FROM item of the messages with their author: the user who wrote a message, where VoltAgent stores that.

    VoltAgent 1 and 2 let several users write in a conversation, and each reads their own messages. NULL: the author is
    the owner of the conversation. The column may be added at any time. In "said", user_id is the column of the messages
    if they have one, and that of "nobody" if not. If not, the planner removes all of it.
    """
    return f"""(
                SELECT said.* FROM (SELECT NULL::text AS user_id) AS nobody CROSS JOIN LATERAL (
                    SELECT *, CASE WHEN user_id <> 'default' THEN user_id END AS author FROM {tables.messages}
                ) AS said
            )"""


def without_indents(sql: str) -> str:
    """
    Return a long statement without the indents of its lines.

    asyncpg keeps a statement of up to 15 KiB prepared. A longer one is parsed and planned at each call, in a round trip
    of its own.
    """
    return re.sub(r"\n\s+", "\n", sql)


def mostly(condition: str) -> str:
    """
    Return a condition that the planner expects to be true for nearly all rows, whatever is known of the table.

    So it walks an index in order and filters, because it does not expect to read far. Without statistics it expects
    that IS NULL, or a tag, is true for few rows, and would read and sort all. Only where no index has the condition.
    """
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END <> 0"


def message_at(tables: Tables, conversation_id: str, message_id: str) -> str:
    """
    Return the SELECT of the first message of a conversation from this id on; the caller compares the id.

    With this order it is one look-up by the primary key, wherever it stands. A join on the id, or another index if the
    table was never analysed, would read the whole conversation for each id.
    """
    return f"""
                    SELECT * FROM {tables.messages} AS each
                    WHERE each.conversation_id = {conversation_id} AND each.message_id >= {message_id}
                    ORDER BY each.conversation_id, each.message_id LIMIT 1"""


def owner_of(tables: Tables, conversation_id: str) -> str:
    """Return the subquery of the user_id of a conversation; NULL if there is none, or it is soft-deleted."""
    return f"(SELECT user_id FROM {tables.conversations} WHERE id = {conversation_id} AND deleted_at IS NULL)"


# --- soft-deleted conversations --------------------------------------------------------------------------


def is_deleted(tables: Tables, conversation_id: str, owner: str) -> str:
    """Return the condition that this conversation of the owner's is soft-deleted. Owner NULL: any user's."""
    return f"""EXISTS (
            SELECT 1 FROM {tables.conversations}
            WHERE id = {conversation_id} AND ({owner}::text IS NULL OR user_id = {owner}) AND deleted_at IS NOT NULL
        )"""


def with_is_deleted(tables: Tables, answer: str, conversation_id: str = "$1", owner: str = "$2") -> str:
    """
    Return the SELECT of the row of *answer*, with is_deleted before its columns; for require_found().

    If *answer*, whose first column is an id, has no row, the columns are NULL, and is_deleted is true if the
    conversation is soft-deleted.
    """
    return f"""
        SELECT answer.id IS NULL AND {is_deleted(tables, conversation_id, owner)} AS is_deleted, answer.*
        FROM (SELECT 1) AS one LEFT JOIN ({answer}) AS answer ON true"""


def require_found(row: Iterable[Any] | None, conversation_id: str, owner: str | None) -> tuple[Any, ...]:
    """Return the columns of the answer in a row of with_is_deleted(); ConversationNotFoundError if there is none."""
    was_deleted, *columns = row or (False, None)
    if columns[0] is None:
        raise ConversationNotFoundError(conversation_id, owner, is_deleted=was_deleted)
    return tuple(columns)


# The text in ORDER BY comes from here, never from the caller.
_ORDER_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {"created_at": "created_at", "updated_at": "updated_at", "title": "title"}
)


class Select:
    """A builder of a SELECT: conditions, and their arguments, which are numbered in the order of adding."""

    def __init__(self) -> None:
        self.arguments: list[Any] = []
        self.conditions: list[str] = []

    def argument(self, value: object) -> str:
        """Add an argument. Returns its placeholder, such as $1."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def where(self, condition: str, *values: object) -> None:
        """Add a condition; each {} in it becomes the placeholder of the next value."""
        self.conditions.append(condition.format(*(self.argument(value) for value in values)))

    def text(self, columns: str, table: str, order: str, limit: object, offset: object) -> str:
        """Return the statement. limit and offset are arguments; None and 0: all rows."""
        lines = [f"SELECT {columns}", f"FROM {table}"]
        if self.conditions:
            lines.append(f"WHERE {' AND '.join(self.conditions)}")
        lines.append(f"ORDER BY {order}")
        if limit is not None:
            lines.append(f"LIMIT {self.argument(limit)}::bigint")
        if offset:
            lines.append(f"OFFSET {self.argument(offset)}::bigint")
        return "\n".join(lines)


@dataclass(frozen=True)
class ConversationQuery:
    """A list of conversations. Raises InvalidQueryError or InvalidInputError for invalid arguments."""

    user_id: Owner = ANY_USER
    resource_id: str | None = None
    limit: int | None = None
    offset: int = 0
    order_by: OrderBy = "updated_at"
    order_direction: OrderDirection = "DESC"
    after: Conversation | None = None
    """Only conversations after this one in the order (keyset paging)."""

    def __post_init__(self) -> None:
        check_owner("user_id", self.user_id)
        check_id_or_none(resource_id=self.resource_id)
        if self.limit is not None:
            check_count("limit", self.limit)
        check_count("offset", self.offset)
        order_by, order_direction = cast(object, self.order_by), cast(object, self.order_direction)
        if not isinstance(order_by, str) or order_by not in _ORDER_COLUMNS:
            raise InvalidQueryError(f"order_by {short_repr(order_by)}: use one of {', '.join(_ORDER_COLUMNS)}")
        if not isinstance(order_direction, str) or order_direction.upper() not in ("ASC", "DESC"):
            raise InvalidQueryError(f"order_direction {short_repr(order_direction)}: use ASC or DESC")

    def sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement and its arguments. No I/O; equal queries give equal text."""
        statement = self._filtered()
        column, direction = _ORDER_COLUMNS[self.order_by], self.order_direction.upper()
        if self.after is not None:
            self._continue(statement, column, ">" if direction == "ASC" else "<", self.after)
        # DESC alone would put NULL titles first. Times are never NULL, and with NULLS LAST their index would not serve.
        nulls = " NULLS LAST" if column == "title" else ""
        order = f"{column} {direction}{nulls}, id {direction}"
        offset = min(self.offset, MAX_BIGINT - (self.limit or 0))  # Citus adds the two
        text = statement.text(CONVERSATION_COLUMNS, tables.conversations, order, self.limit, offset)
        return text, statement.arguments

    def count_sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement that counts all matching conversations, ignoring limit and offset."""
        statement = self._filtered()
        where = f"\nWHERE {' AND '.join(statement.conditions)}" if statement.conditions else ""
        return f"SELECT pg_catalog.count(*)\nFROM {tables.conversations}{where}", statement.arguments

    def _filtered(self) -> Select:
        statement = Select()
        statement.where(mostly("deleted_at IS NULL"))
        if self.user_id is not ANY_USER:
            statement.where("user_id = {}", self.user_id)
        if self.resource_id is not None:
            statement.where("resource_id = {}", self.resource_id)
        return statement

    def _continue(self, statement: Select, column: str, beyond: str, last: Conversation) -> None:
        value = getattr(last, self.order_by)
        if value is None:  # NULLs are last, so only NULLs can follow
            statement.where(f"{column} IS NULL AND id {beyond} {{}}", last.id)
        elif column == "title":
            statement.where(f"((title, id) {beyond} ({{}}, {{}}) OR title IS NULL)", value, last.id)
        else:
            statement.where(f"({column}, id) {beyond} ({{}}, {{}})", value, last.id)


class _Texts(dict[tuple[object, ...], tuple[str, Sequence[str]]]):
    """The statements that queries have made for some tables, and the fields that are their arguments, by shape."""

    def __init__(self, _: Tables) -> None:
        super().__init__()


class ShapedQuery:
    """
    The base of queries whose text is made once for each shape: which fields are given, but not their values.

    Making the text of a short conversation's query takes as long as making models of its rows.
    """

    def sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement and its arguments. No I/O; equal queries give equal text."""
        texts, shape = rendered(_Texts, tables), self._shape()
        if (made := texts.get(shape)) is None:
            made = texts[shape] = self._select(tables)
        text, names = made
        return text, self._values(names)

    def _shape(self) -> tuple[object, ...]:
        """Return all that the text depends on."""
        raise NotImplementedError

    def _select(self, tables: Tables) -> tuple[str, Sequence[str]]:
        """Return the statement, and the names of the fields that are its arguments."""
        raise NotImplementedError

    def _values(self, names: Sequence[str]) -> list[object]:
        fields = vars(self)
        return [fields[name] for name in names]


@dataclass(frozen=True)
class MessageQuery(ShapedQuery):
    """A list of messages of one conversation. Raises InvalidQueryError or InvalidInputError for invalid arguments."""

    conversation_id: str
    user_id: Owner = ANY_USER
    """Only if the conversation is this user's; ANY_USER: no check, for trusted code."""
    limit: int | None = None
    offset: int = 0
    before: datetime | str | None = None
    """A time, or the id of a message of the conversation."""
    after: datetime | str | None = None
    roles: Sequence[str] | None = None
    types: Sequence[str] | None = None
    include_archived: bool = False
    newest_first: bool = False

    def __post_init__(self) -> None:
        check_id(conversation_id=self.conversation_id)
        check_owner("user_id", self.user_id)
        if self.limit is not None:
            check_count("limit", self.limit)
        check_count("offset", self.offset)
        check_flag("include_archived", self.include_archived)
        for name in ("before", "after"):
            place = getattr(self, name)
            if isinstance(place, str):
                check_id(**{name: place})
            elif place is not None:
                check_time(name, place)
        for name in ("roles", "types"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(check_texts(name, getattr(self, name))))

    def count_sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement that counts all matching messages, ignoring limit and offset."""
        statement = self._filtered(tables)
        text = f"SELECT pg_catalog.count(*)\nFROM {authored(tables)} AS m\nWHERE {' AND '.join(statement.conditions)}"
        return text, self._values(statement.arguments)

    def _shape(self) -> tuple[object, ...]:
        places = (None if place is None else isinstance(place, str) for place in (self.before, self.after))
        flags = self.include_archived, self.newest_first
        given = self.limit is None, self.offset == 0, self.roles is None, self.types is None
        return MessageQuery, self.user_id is ANY_USER, *flags, *given, *places

    def _select(self, tables: Tables) -> tuple[str, Sequence[str]]:
        statement = self._filtered(tables)
        direction = "DESC" if self.newest_first else "ASC"
        order = f"created_at {direction}, seq {direction}"
        limit, offset = (None if self.limit is None else "limit"), (self.offset and "offset")
        text = statement.text(message_columns(tables), f"{authored(tables)} AS m", order, limit, offset)
        return text, statement.arguments

    def _filtered(self, tables: Tables) -> Select:
        statement = Select()
        statement.where("conversation_id = {}", "conversation_id")
        statement.where("NOT aside" if self.include_archived else ON_LINE)
        # It refers to no column of the outer query, so PostgreSQL evaluates it once, before it reads a message.
        statement.where(f"{owner_of(tables, '{}')} IS NOT NULL", "conversation_id")
        if self.user_id is not ANY_USER:
            owner = owner_of(tables, "{}")
            statement.where(f"coalesce(author, {owner}) = {{}}", "conversation_id", "user_id")
        for name, place, beyond in (("before", self.before, "<"), ("after", self.after, ">")):
            if isinstance(place, str):
                of_message = f"SELECT created_at, seq FROM {tables.messages} WHERE conversation_id = {{}}"
                statement.where(
                    f"(created_at, seq) {beyond} ({of_message} AND message_id = {{}})", "conversation_id", name
                )
            elif place is not None:
                statement.where(f"created_at {beyond} {{}}", name)
        if self.roles is not None:
            statement.where(f"{ROLE} = ANY({{}}::text[])", "roles")
        if self.types is not None:
            statement.where(f"{TYPE} = ANY({{}}::text[])", "types")
        return statement
