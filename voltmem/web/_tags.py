"""The routes for tags: which there are, and to replace one."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, model_validator

from voltmem.web._bodies import Given
from voltmem.web._openapi import responses
from voltmem.web._payloads import Answer, Body, JsonResponse, ListOf, Name
from voltmem.web._route import ProblemRoute
from voltmem.web._signed_in import Mine

routes = APIRouter(route_class=ProblemRoute)


class TagWithCount(Answer):
    """A tag, and how many conversations have it. Deleted conversations are not counted."""

    tag: str
    listed: int
    """How many conversations of the list have it."""
    archived: int
    """How many archived conversations have it."""


class TagCounts(Answer):
    """The tags of a user's conversations, in the order of their characters."""

    items: list[TagWithCount]


class TagReplacement(Body):
    """A tag to replace. Without *by* it is removed; without *tag*, *by* is added to the given conversations."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["tag"], "properties": {"tag": {"type": "string"}}},
                {
                    "required": ["by", "conversationIds"],
                    "properties": {"by": {"type": "string"}, "conversationIds": {"type": "array"}},
                },
            ]
        }
    )

    tag: Name | None = None
    by: Name | None = None
    conversation_ids: Annotated[ListOf[Name], Field(max_length=10_000)] | None = None
    """Only these conversations; left out: all that have the tag."""

    @model_validator(mode="after")
    def _names_what_to_change(self) -> Self:
        if self.tag is None and (self.by is None or self.conversation_ids is None):
            raise ValueError("pass the tag to replace, or by and conversationIds")
        return self


class Retagged(Answer):
    """The conversations whose tags were changed."""

    conversation_ids: list[str]


@routes.get("/tags", response_model=TagCounts, responses=responses(), operation_id="listTags")
async def list_tags(mine: Mine) -> Response:
    """List the tags of the user's conversations, and how many conversations have each."""
    return JsonResponse(TagCounts.model_validate({"items": await mine.list_tags()}))


@routes.patch("/tags", response_model=Retagged, responses=responses(400, 413, 415), operation_id="replaceTag")
async def replace_tag(mine: Mine, given: Given[TagReplacement]) -> Response:
    """Replace a tag of all conversations that have it, or of some: archived and deleted ones included."""
    changed = await mine.replace_tag(given.tag, given.by, conversation_ids=given.conversation_ids)
    return JsonResponse(Retagged(conversation_ids=changed))
