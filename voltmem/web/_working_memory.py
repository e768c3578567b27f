"""The routes for the working memory of the user, and of a conversation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final, Literal, NamedTuple, Self, TypeAlias, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from voltmem._agents.working_memory import HISTORY_LIMIT, WorkingMemoryHandle
from voltmem._areas.working_memory import MemoryChange, WorkingMemory
from voltmem._user import UserStorage
from voltmem.errors import InvalidInputError, MemoryConflictError, MemoryRefusedError
from voltmem.web._bodies import Given
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, Body, ConversationId, JsonObject, JsonResponse
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)

_AUTHOR: Final = "user"
_LARGEST: Final = 2**53 - 1
"""The largest number that JavaScript reads exactly."""

# A proxy that compresses an answer makes its ETag weak: W/"3". The version is still the same text.
_ETAGS: Final = r'^(\*|(W/)?"?([0-9]{1,18})"?)$'
IfMatch: TypeAlias = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias="If-Match",
        description='Only if this is the newest version, as in the ETag: "3"; "0": only if there is no memory; *: only '
        "if there is one.",
        json_schema_extra={"pattern": _ETAGS},
    ),
]
IfNoneMatch: TypeAlias = Annotated[
    Literal["*"] | SkipJsonSchema[None], Header(alias="If-None-Match", description="*: only if there is no memory.")
]
Result = TypeVar("Result")


class Memory(Answer):
    """A working memory. The ETag is its version."""

    content: str | None
    """The text, which may be JSON; null: there is no memory."""
    version: int
    """Its version; 0: there is none."""
    author: str | None
    """Who wrote it."""
    changed_at: datetime | None
    """When it was written."""


class Version(Answer):
    """One version of a working memory."""

    version: int
    """Its number, from 1 on."""
    content: str | None
    """The text, which may be JSON; null: it was deleted."""
    change: MemoryChange
    """What made it: see the change of MemoryVersion in the library."""
    author: str | None
    """Who wrote it."""
    created_at: datetime
    """When it was written."""
    from_messages: list[str]
    """The ids of the messages that its content came from, as far as its writers said."""


class Versions(Answer):
    """Versions of a working memory, newest first. A hundred are kept."""

    items: list[Version]


def _whole(value: object) -> object:
    """Return the integer that a number such as 3.0 is, for JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Restored(Body):
    """The version that becomes the memory again, as a new one."""

    version: Annotated[int, Field(ge=1, le=_LARGEST), BeforeValidator(_whole)]


class DeletedMemory(Answer):
    """Whether there was a memory."""

    deleted: bool


# PostgreSQL's text has no NUL.
_Words: TypeAlias = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]


class NewMemory(Body):
    """The text that replaces the memory."""

    content: _Words


class MemoryChanges(Body):
    """What is added to the memory: one of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["append"], "properties": {"append": {"type": "string"}}},
                {"required": ["merge"], "properties": {"merge": {"type": "object"}}},
            ]
        }
    )

    append: _Words | None = None
    """A paragraph, if the memory is text."""
    merge: JsonObject | None = None
    """A JSON Merge Patch (RFC 7396), if it is JSON."""

    @model_validator(mode="after")
    def _one_is_given(self) -> Self:
        if (self.append is None) == (self.merge is None):
            raise ValueError("pass append or merge")
        return self


class _Condition(NamedTuple):
    """What must be true of the memory before it is changed."""

    version: int | None = None
    """The newest version; 0: there is none; None: any."""
    is_there: bool = False
    """Whether there must be one, of any version."""
    is_never: bool = False


def _condition(if_match: IfMatch = None, if_none_match: IfNoneMatch = None) -> _Condition:
    if if_match is None:
        return _Condition(version=None if if_none_match is None else 0)
    if (found := re.fullmatch(_ETAGS, if_match.strip())) is None:
        raise InvalidInputError('If-Match is not a version: send the ETag that you have read, such as "3"')
    version, is_never = found[3], if_none_match is not None
    return _Condition(None if version is None else int(version), is_there=version is None, is_never=is_never)


Condition: TypeAlias = Annotated[_Condition, Depends(_condition)]


async def _when(
    condition: _Condition,
    mine: UserStorage,
    memory: WorkingMemoryHandle,
    change: Callable[[int | None], Awaitable[Result]],
) -> Result:
    """Make a change of the version that the condition allows."""
    if condition.is_never:
        raise HTTPException(412, "If-Match and If-None-Match: * are never both true: send one of them.")
    while condition.is_there:
        found = await _found(mine, memory)
        if found is None:
            raise HTTPException(412, "There is no memory.")
        try:
            return await change(found.version)
        except MemoryConflictError:  # somebody else was faster; the next version is as good
            continue
    return await change(condition.version)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise MemoryRefusedError("The text is blank: use DELETE to empty the memory.")
    return text


def memory_of(found: WorkingMemory | None) -> Memory:
    """Return a memory as the routes answer it."""
    none: dict[str, JsonValue] = {"content": None, "version": 0, "author": None, "changed_at": None}
    return Memory.model_validate(none if found is None else found)


def _answer(found: WorkingMemory | None) -> JsonResponse:
    memory = memory_of(found)
    return JsonResponse(memory, headers={"ETag": f'"{memory.version}"'})


async def _found(mine: UserStorage, memory: WorkingMemoryHandle) -> WorkingMemory | None:
    found = await memory.get()
    if found is None and memory.conversation_id is not None:
        await mine.get_conversation_item(memory.conversation_id)  # or 404
    return found


async def _set(mine: UserStorage, id: str | None, given: NewMemory, condition: _Condition) -> Response:
    memory, text = mine.working_memory(id), _not_blank(given.content)

    async def change(version: int | None) -> WorkingMemory:
        return await memory.set(text, if_version=version, author=_AUTHOR)

    return _answer(await _when(condition, mine, memory, change))


async def _changed(mine: UserStorage, id: str | None, changes: MemoryChanges, condition: _Condition) -> Response:
    memory = mine.working_memory(id)

    async def change(version: int | None) -> WorkingMemory:
        if changes.append is not None:
            return await memory.append(_not_blank(changes.append), if_version=version, author=_AUTHOR)
        return await memory.merge(changes.merge or {}, if_version=version, author=_AUTHOR)

    return _answer(await _when(condition, mine, memory, change))


async def _deleted(mine: UserStorage, id: str | None, condition: _Condition, *, history: bool) -> Response:
    memory = mine.working_memory(id)

    async def change(version: int | None) -> bool:
        return await memory.delete(history=history, if_version=version, author=_AUTHOR)

    done = await _when(condition, mine, memory, change)
    if not done:
        await _found(mine, memory)  # or 404
    return JsonResponse(DeletedMemory(deleted=done))


async def _versions(mine: UserStorage, id: str | None, limit: int, before: int | None) -> Response:
    memory = mine.working_memory(id)
    found = await memory.history(limit=limit, before=before)
    if not found:
        await _found(mine, memory)  # or 404
    return JsonResponse(Versions(items=[Version.model_validate(each) for each in found]))


async def _restored(mine: UserStorage, id: str | None, given: Restored, condition: _Condition) -> Response:
    memory = mine.working_memory(id)

    async def change(version: int | None) -> WorkingMemory:
        return await memory.restore(given.version, if_version=version, author=_AUTHOR)

    return _answer(await _when(condition, mine, memory, change))


Limit: TypeAlias = Annotated[int, Query(description="The maximum number of versions.", ge=1, le=100)]
Before: TypeAlias = Annotated[int | None, Query(description="Only versions before this one.", ge=1, le=_LARGEST)]
History: TypeAlias = Annotated[
    bool, Query(description="Also delete the versions before, so that nothing of what it held is stored any more.")
]
_ONE: Final = responses(404)
_STORED: Final = responses(400, 409, 412, 413, 415)
_STORED_OF_ONE: Final = responses(400, 404, 409, 412, 413, 415)

# --- the user's ---------------------------------------------------------------------------------------------------


@routes.get("/memory", response_model=Memory, responses=responses(), operation_id="getMemory")
async def get_memory(mine: Mine) -> Response:
    """Get what agents have written down of the user."""
    return _answer(await mine.working_memory().get())


@routes.put("/memory", response_model=Memory, responses=_STORED, operation_id="setMemory")
async def set_memory(mine: Mine, given: Given[NewMemory], condition: Condition) -> Response:
    """Replace the memory of the user."""
    return await _set(mine, None, given, condition)


@routes.patch("/memory", response_model=Memory, responses=_STORED, operation_id="changeMemory")
async def change_memory(mine: Mine, changes: Given[MemoryChanges], condition: Condition) -> Response:
    """Add to the memory of the user. Nothing of concurrent changes is lost."""
    return await _changed(mine, None, changes, condition)


@routes.delete("/memory", response_model=DeletedMemory, responses=responses(412), operation_id="deleteMemory")
async def delete_memory(mine: Mine, condition: Condition, history: History = False) -> Response:
    """Delete the memory of the user."""
    return await _deleted(mine, None, condition, history=history)


@routes.get("/memory/history", response_model=Versions, responses=responses(), operation_id="listMemoryVersions")
async def list_memory_versions(mine: Mine, limit: Limit = HISTORY_LIMIT, before: Before = None) -> Response:
    """List what the memory of the user was, newest first."""
    return await _versions(mine, None, limit, before)


@routes.post("/memory/restore", response_model=Memory, responses=_STORED, operation_id="restoreMemory")
async def restore_memory(mine: Mine, given: Given[Restored], condition: Condition) -> Response:
    """Make an earlier version the memory of the user again."""
    return await _restored(mine, None, given, condition)


# --- a conversation's ---------------------------------------------------------------------------------------------

_PATH: Final = "/conversations/{conversationId}/memory"


@routes.get(_PATH, response_model=Memory, responses=_ONE, operation_id="getConversationMemory")
async def get_conversation_memory(mine: Mine, conversationId: ConversationId) -> Response:
    """Get what agents have written down of a conversation."""
    return _answer(await _found(mine, mine.working_memory(conversationId)))


@routes.put(_PATH, response_model=Memory, responses=_STORED_OF_ONE, operation_id="setConversationMemory")
async def set_conversation_memory(
    mine: Mine, conversationId: ConversationId, given: Given[NewMemory], condition: Condition
) -> Response:
    """Replace the memory of a conversation."""
    return await _set(mine, conversationId, given, condition)


@routes.patch(_PATH, response_model=Memory, responses=_STORED_OF_ONE, operation_id="changeConversationMemory")
async def change_conversation_memory(
    mine: Mine, conversationId: ConversationId, changes: Given[MemoryChanges], condition: Condition
) -> Response:
    """Add to the memory of a conversation. Nothing of concurrent changes is lost."""
    return await _changed(mine, conversationId, changes, condition)


@routes.delete(
    _PATH, response_model=DeletedMemory, responses=responses(404, 412), operation_id="deleteConversationMemory"
)
async def delete_conversation_memory(
    mine: Mine, conversationId: ConversationId, condition: Condition, history: History = False
) -> Response:
    """Delete the memory of a conversation."""
    return await _deleted(mine, conversationId, condition, history=history)


@routes.get(f"{_PATH}/history", response_model=Versions, responses=_ONE, operation_id="listConversationMemoryVersions")
async def list_conversation_memory_versions(
    mine: Mine, conversationId: ConversationId, limit: Limit = HISTORY_LIMIT, before: Before = None
) -> Response:
    """List what the memory of a conversation was, newest first."""
    return await _versions(mine, conversationId, limit, before)


@routes.post(
    f"{_PATH}/restore", response_model=Memory, responses=_STORED_OF_ONE, operation_id="restoreConversationMemory"
)
async def restore_conversation_memory(
    mine: Mine, conversationId: ConversationId, given: Given[Restored], condition: Condition
) -> Response:
    """Make an earlier version the memory of a conversation again."""
    return await _restored(mine, conversationId, given, condition)
