"""The working memory of users and of conversations: a text that an agent keeps, and its versions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from pydantic import BaseModel, Field, JsonValue

from voltmem._areas.area import Access, Area
from voltmem._areas.queries import is_deleted
from voltmem._model import Model, String, Time, construct_unchecked
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    check_count,
    check_id,
    check_id_or_none,
    check_owner,
    check_text,
    check_user,
    short_repr,
    to_json,
    uuid7,
)
from voltmem.errors import (
    ConversationNotFoundError,
    InvalidInputError,
    MemoryConflictError,
    MemoryRefusedError,
    OperationConflictError,
)
from voltmem.models import Owner

if TYPE_CHECKING:
    from voltmem._areas.deleted_users import Elapsed
    from voltmem._postgres.driver import Record

MemoryScope: TypeAlias = Literal["user", "conversation"]
MemorySchema: TypeAlias = type[BaseModel]
MergeRules: TypeAlias = Literal["rfc7396", "voltagent"]
ToolForm: TypeAlias = Literal["openai", "responses", "anthropic", "anthropic-memory", "mcp"]
MemoryChange: TypeAlias = Literal["set", "append", "merge", "unite", "restore", "delete", "erase", "edit", "fork"]

MAX_MEMORY_BYTES: Final = 100_000
"""How large a working memory may become, unless its handle says otherwise."""

_EMPTY: Final = frozenset({"", "{}", "[]", "null", '""'})
_LEAVES: Final = "delete() empties it"
_REFUSALS: Final = {
    "empty": f"the merged JSON would be empty: {_LEAVES}",
    "template": f"the bare template would replace what the memory holds: {_LEAVES}, then set() the template",
    "JSON": "the memory holds a JSON object, and text behind it would make it unreadable: use merge()",
    "no JSON": "the memory holds text, into which no JSON can be merged: use append(), or set() with if_version= to "
    "replace it",
    "no version": "that version is not in the history, or the memory was empty then: history() lists the versions",
}


class WorkingMemory(Model):
    """The working memory of a user, or of a conversation, as it is now."""

    content: String
    """The text, which may be JSON."""
    version: int
    """The number of this version, for if_version=."""
    author: String | None
    """Who wrote it, as its writer said; "VoltAgent" for an edit of VoltAgent's."""
    changed_at: Time
    """When it was written; for an edit of VoltAgent's, when it was noticed."""

    @property
    def value(self) -> JsonValue:
        """The content as JSON; None if it is not JSON."""
        from json import loads  # here: few programs keep JSON in it

        try:
            value: JsonValue = loads(self.content)
        except ValueError:
            return None
        return value

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the memory of a row, in the order of the columns."""
        return construct_unchecked(cls, dict(zip(_COLUMNS.split(", "), row, strict=True)))


class MemoryVersion(Model):
    """One version of a working memory."""

    version: int
    """Its number, from 1 on."""
    content: String | None
    """The text; None: it was deleted."""
    change: MemoryChange
    """
    What made it: "set", "append", "merge", "unite" (a merge as VoltAgent does it), "restore", "delete", "erase"
    (a deletion with the versions before), "edit" (another program's) or "fork" (of the conversation).
    """
    author: String | None = None
    """Who wrote it, as its writer said."""
    created_at: Time
    """When it was written, or when the edit was noticed."""
    operation_id: String | None = None
    """The id of the write."""
    from_messages: list[String] = Field(default_factory=list)
    """
    The ids of the messages that its content came from, as far as its writers said: those of this version and of the
    versions before that it goes on from, the newest thousand.
    """

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the version of a row, in the order of the fields."""
        return construct_unchecked(cls, dict(zip(cls.model_fields, row, strict=True)))


_COLUMNS: Final = "version, content, author, changed_at"


class WorkingMemoryStatements:
    """The statements whose text does not depend on the arguments. User NULL: no check of the conversation's owner."""

    def __init__(self, tables: Tables) -> None:
        self.get = f"SELECT {_COLUMNS} FROM {tables.look_at_memory}($1, $2) WHERE content IS NOT NULL"
        self.change = f"""
            SELECT outcome, {_COLUMNS}, outcome = 'no conversation' AND {is_deleted(tables, "$2", "$1")} AS is_deleted
            FROM {tables.change_memory}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"""
        self.history = f"""
            SELECT {", ".join(MemoryVersion.model_fields)} FROM {tables.memory_versions}($1, $2, $3, $4)"""


class Place(NamedTuple):
    """Whose memory it is."""

    user_id: str | None
    """The user; None: any user's conversation, for trusted code."""
    conversation_id: str | None
    """The conversation; None: the memory is the user's."""

    @classmethod
    def of(cls, user_id: Owner, conversation_id: str | None, scope: object) -> Self:
        """Return the place that VoltAgent's arguments name."""
        if scope not in get_args(MemoryScope):
            raise InvalidInputError(f"scope {short_repr(scope)}: use one of {', '.join(get_args(MemoryScope))}")
        if scope == "user":
            check_id_or_none(conversation_id=conversation_id)
            return cls(check_user("user_id", user_id, "the memory is one user's"), None)
        owner = check_owner("user_id", user_id)
        check_id(conversation_id=conversation_id)
        return cls(owner, conversation_id)


class Change(NamedTuple):
    """A change to be made."""

    kind: MemoryChange
    given: str | None = None
    """The text, the JSON, or the number of the version."""
    is_bare: bool = False
    """Whether it is a template that nobody has filled in."""
    if_version: int | None = None
    operation_id: str | None = None
    """None: a new one, so that the statement can be sent again after its answer was lost."""
    author: str | None = None
    most_bytes: int = MAX_MEMORY_BYTES
    from_messages: list[str] | None = None

    def checked(self) -> Self:
        """Return the change; an error if the database need not be asked to refuse it."""
        if self.if_version is not None:
            check_count("if_version", self.if_version)
        if self.given is not None and self.kind in ("set", "append"):
            check_text(content=self.given)
            if self.given.strip() in _EMPTY:
                raise InvalidInputError(f"the content {short_repr(self.given)} is empty: {_LEAVES}")
            if len(self.given.encode()) > self.most_bytes:
                raise InvalidInputError(f"the content has {_too_large(self.most_bytes)}")
        for name in ("operation_id", "author"):
            check_id_or_none(**{name: getattr(self, name)})
        return self


def _too_large(most: int) -> str:
    return (
        f"more than {most:,} bytes: leave out what is out of date, by set() with if_version=, or give the handle more "
        "max_bytes"
    )


Run: TypeAlias = "tuple[str, Elapsed] | tuple[None, None]"
"""The arguments of deleted_since(), for a write within a run."""


async def write_memory(access: Access, place: Place, change: Change, run: Run = (None, None)) -> WorkingMemory:
    """Make a change that leaves a memory. Returns it as stored, or as stored before by the same operation."""
    row = await _make(access, place, change, run)
    _check(row, place, change)
    return WorkingMemory.from_row(tuple(row)[1:-1])


async def delete_memory(access: Access, place: Place, change: Change, run: Run = (None, None)) -> bool:
    """Delete a memory. Returns whether there was one; False if the conversation is not there, too."""
    row = await _make(access, place, change, run)
    if row["outcome"] not in ("absent", "no conversation", "user deleted"):
        _check(row, place, change)
    return row["outcome"] in ("done", "repeated")


async def _make(access: Access, place: Place, change: Change, run: Run) -> Record:
    row = await access.executor.fetchrow(
        access.sql(WorkingMemoryStatements).change,
        *place,
        *(change.kind, change.given, change.is_bare, change.if_version, change.operation_id or uuid7()),
        *(_fingerprint(change), change.author, change.most_bytes, *run, change.from_messages),
    )
    assert row is not None  # the function returns one row always
    return row


def _check(row: Record, place: Place, change: Change) -> None:
    """Raise the error of an outcome, if nothing was stored."""
    outcome = row["outcome"]
    if outcome in ("no conversation", "user deleted"):
        if place.conversation_id is None:
            raise MemoryRefusedError(
                f"user {place.user_id!r} was deleted while this run was under way: store nothing of the run. If the "
                "user has come back, begin a new run with a new handle."
            )
        raise ConversationNotFoundError(place.conversation_id, place.user_id, is_deleted=row["is_deleted"])
    if outcome == "conflict" and change.if_version is not None:
        raise MemoryConflictError(change.if_version, row["version"])
    if outcome == "other operation":
        raise OperationConflictError(str(change.operation_id))
    if outcome == "too large":
        raise MemoryRefusedError(f"the memory would have {_too_large(change.most_bytes)}")
    if outcome in _REFUSALS:
        raise MemoryRefusedError(_REFUSALS[outcome])


def _fingerprint(change: Change) -> str:
    from hashlib import sha256  # here: it loads OpenSSL

    return sha256(to_json([change.kind, change.given]).encode()).hexdigest()


class WorkingMemories(Area):
    """The verbs about the working memory, with VoltAgent's arguments. The handle of working_memory() does more."""

    async def get_working_memory(
        self, *, scope: MemoryScope, user_id: Owner = ANY_USER, conversation_id: str | None = None
    ) -> str | None:
        """
        Return the working memory of a user or of a conversation; None if there is none.

        Args:
            scope: "user" or "conversation": whose memory.
            user_id: The user. For a conversation: only if it is this user's; ANY_USER: no check, for trusted code.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``getWorkingMemory``, which checks no owner.
        """
        place = Place.of(user_id, conversation_id, scope)
        row = await self._executor.fetchrow(self._sql(WorkingMemoryStatements).get, *place)
        return None if row is None else str(row["content"])

    async def set_working_memory(
        self, content: str, *, scope: MemoryScope, user_id: Owner = ANY_USER, conversation_id: str | None = None
    ) -> WorkingMemory:
        """
        Replace the working memory of a user or of a conversation. Returns it as stored.

        The handle of working_memory() has more: it appends and merges, and replaces only the version that was read.

        Args:
            content: The text.
            scope: "user" or "conversation": whose memory.
            user_id: The user. For a conversation: only if it is this user's; ANY_USER: no check, for trusted code.
            conversation_id: The conversation, for the scope "conversation".

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the user's.
            InvalidInputError: The content is empty, or has more than 100,000 bytes.

        VoltAgent: ``setWorkingMemory``.
        """
        place = Place.of(user_id, conversation_id, scope)
        check_text(content=content)
        return await write_memory(Access(self._options, self._executor), place, Change("set", content).checked())

    async def delete_working_memory(
        self, *, scope: MemoryScope, user_id: Owner = ANY_USER, conversation_id: str | None = None
    ) -> bool:
        """
        Delete the working memory of a user or of a conversation. Returns whether there was one. Its history stays.

        Args:
            scope: "user" or "conversation": whose memory.
            user_id: The user. For a conversation: only if it is this user's; ANY_USER: no check, for trusted code.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``deleteWorkingMemory``.
        """
        place = Place.of(user_id, conversation_id, scope)
        return await delete_memory(Access(self._options, self._executor), place, Change("delete"))
