"""The routes for the working memory of the user, and of a conversation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Self, TypeAlias

from fastapi import APIRouter, Header, Query, Response
from pydantic import ConfigDict, JsonValue, StringConstraints, model_validator

from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem._areas.working_memory import WorkingMemory
from voltmem._user import UserStorage
from voltmem._values import MAX_BIGINT
from voltmem.errors import InvalidInputError, MemoryRefusedError
from voltmem.web._bodies import Given
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, Body, ConversationId, JsonObject, JsonResponse
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)

_AUTHOR: Final = "user"

IfMatch: TypeAlias = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='Only if this is the newest version, as in the ETag: "3"; "0": only if there is no memory.',
        max_length=100,
    ),
]


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


def _version(given: str | None) -> int | None:
    """Return the version of an ETag."""
    if given is None or given.strip() == "*":
        return None
    digits = given.strip().removeprefix('"').removesuffix('"')
    if not (digits.isascii() and digits.isdigit() and int(digits) <= MAX_BIGINT):
        raise InvalidInputError('If-Match is not a version: send the ETag that you have read, such as "3"')
    return int(digits)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise MemoryRefusedError("The text is blank: use DELETE to empty the memory.")
    return text


def _answer(found: WorkingMemory | None) -> JsonResponse:
    none: dict[str, JsonValue] = {"content": None, "version": 0, "author": None, "changed_at": None}
    memory = Memory.model_validate(none if found is None else found)
    return JsonResponse(memory, headers={"ETag": f'"{memory.version}"'})


async def _read(mine: UserStorage, id: str | None) -> Response:
    found = await mine.working_memory(id).get()
    if found is None and id is not None:
        await mine.get_conversation_item(id)  # or 404
    return _answer(found)


async def _changed(memory: WorkingMemoryHandle, changes: MemoryChanges, if_match: str | None) -> Response:
    version = _version(if_match)
    if changes.append is not None:
        return _answer(await memory.append(_not_blank(changes.append), if_version=version, author=_AUTHOR))
    return _answer(await memory.merge(changes.merge or {}, if_version=version, author=_AUTHOR))


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
    return await _read(mine, None)


@routes.put("/memory", response_model=Memory, responses=_STORED, operation_id="setMemory")
async def set_memory(mine: Mine, given: Given[NewMemory], if_match: IfMatch = None) -> Response:
    """Replace the memory of the user."""
    memory = mine.working_memory()
    return _answer(await memory.set(_not_blank(given.content), if_version=_version(if_match), author=_AUTHOR))


@routes.patch("/memory", response_model=Memory, responses=_STORED, operation_id="changeMemory")
async def change_memory(mine: Mine, changes: Given[MemoryChanges], if_match: IfMatch = None) -> Response:
    """Add to the memory of the user. Nothing of concurrent changes is lost."""
    return await _changed(mine.working_memory(), changes, if_match)


@routes.delete("/memory", response_model=DeletedMemory, responses=responses(412), operation_id="deleteMemory")
async def delete_memory(mine: Mine, history: History = False, if_match: IfMatch = None) -> Response:
    """Delete the memory of the user."""
    done = await mine.working_memory().delete(history=history, if_version=_version(if_match), author=_AUTHOR)
    return JsonResponse(DeletedMemory(deleted=done))


# --- a conversation's ---------------------------------------------------------------------------------------------

_PATH: Final = "/conversations/{conversationId}/memory"


@routes.get(_PATH, response_model=Memory, responses=_ONE, operation_id="getConversationMemory")
async def get_conversation_memory(mine: Mine, conversationId: ConversationId) -> Response:
    """Get what agents have written down of a conversation."""
    return await _read(mine, conversationId)


@routes.put(_PATH, response_model=Memory, responses=_STORED_OF_ONE, operation_id="setConversationMemory")
async def set_conversation_memory(
    mine: Mine, conversationId: ConversationId, given: Given[NewMemory], if_match: IfMatch = None
) -> Response:
    """Replace the memory of a conversation."""
    memory = mine.working_memory(conversationId)
    return _answer(await memory.set(_not_blank(given.content), if_version=_version(if_match), author=_AUTHOR))


@routes.patch(_PATH, response_model=Memory, responses=_STORED_OF_ONE, operation_id="changeConversationMemory")
async def change_conversation_memory(
    mine: Mine, conversationId: ConversationId, changes: Given[MemoryChanges], if_match: IfMatch = None
) -> Response:
    """Add to the memory of a conversation. Nothing of concurrent changes is lost."""
    return await _changed(mine.working_memory(conversationId), changes, if_match)


@routes.delete(
    _PATH, response_model=DeletedMemory, responses=responses(404, 412), operation_id="deleteConversationMemory"
)
async def delete_conversation_memory(
    mine: Mine, conversationId: ConversationId, history: History = False, if_match: IfMatch = None
) -> Response:
    """Delete the memory of a conversation."""
    memory = mine.working_memory(conversationId)
    done = await memory.delete(history=history, if_version=_version(if_match), author=_AUTHOR)
    if not done:
        await mine.get_conversation_item(conversationId)  # or 404
    return JsonResponse(DeletedMemory(deleted=done))
