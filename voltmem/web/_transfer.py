"""The routes that export and import a user's data as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, cast

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from voltmem._areas.area import off_loop_if_long
from voltmem._user import UserStorage
from voltmem.web._bodies import check_declared, check_size
from voltmem.web._openapi import Responses, responses
from voltmem.web._payloads import Answer, JsonResponse
from voltmem.web._route import ProblemRoute, media_type
from voltmem.web._signed_in import Limits, Mine, OwnLimits
from voltmem.web._streams import TimedStream, spooled

routes = APIRouter(route_class=ProblemRoute)

MEDIA_TYPE: Final = "application/x-ndjson"
# One conversation is in memory at a time during an import. Larger imports are for the command line.
MAX_IMPORT_BYTES: Final = 256 * 2**20
# A message of 10 MiB in an export, each of its characters escaped.
MAX_LINE_BYTES: Final = 64 * 2**20

_LINES: Final = {MEDIA_TYPE: {"schema": {"type": "string"}}}
_ANSWER: Final[Responses] = {200: {"description": "Lines of JSON, for POST /import.", "content": _LINES}}


class LeftOut(Answer):
    """Something that was not imported."""

    kind: str
    """conversation or run."""
    id: str
    reason: str


class Renamed(Answer):
    """Something that was imported under another id."""

    kind: str
    id: str
    """Its id in the import."""
    new_id: str
    """Its id in the storage."""


class Imported(Answer):
    """Summary of an import."""

    conversations: int
    """How many conversations were stored."""
    messages: int
    """How many messages they have."""
    runs: int
    """How many recorded runs of agents were stored."""
    files: int
    """How many files the import has."""
    skipped: list[LeftOut]
    """What was skipped, most often because it is there already."""
    renamed: list[Renamed]
    """What was stored under another id, because its own was taken."""


@routes.get("/export", response_class=StreamingResponse, responses=responses(429) | _ANSWER, operation_id="exportMe")
async def export_me(mine: Mine, limits: OwnLimits) -> Response:
    """Export all of the user's data, as a snapshot of one moment."""
    pieces = _export(mine, limits)
    first = await anext(pieces)  # before the response begins: an error until here is a problem document
    headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="conversations.jsonl"'}
    return TimedStream(first, pieces, 200, {**headers, "Content-Type": MEDIA_TYPE})


async def _export(mine: UserStorage, limits: Limits) -> AsyncGenerator[bytes, None]:
    with limits.exports.one_more(mine.user_id):
        async with aclosing(spooled(cast(AsyncGenerator[str, None], mine.export_user()))) as pieces:
            async for piece in pieces:
                yield piece


@routes.post(
    "/import",
    response_model=Imported,
    responses=responses(400, 413, 415, 429, 507),
    operation_id="importMe",
    openapi_extra={"requestBody": {"required": True, "content": _LINES}},
)
async def import_me(mine: Mine, limits: OwnLimits, request: Request) -> Response:
    """
    Import the lines of an export for the user. The exported user may be another one.

    Conversations and runs that are already stored are skipped, so a failed import can be repeated. Short ids are
    replaced.
    """
    if media_type(request) != MEDIA_TYPE:
        raise HTTPException(415, f"The body must be {MEDIA_TYPE}.")
    with limits.imports.one_more(mine.user_id):
        result = await mine.import_user(_lines(request), shortest_id=limits.shortest_id)
    return JsonResponse(Imported.model_validate(result))


async def _lines(request: Request) -> AsyncIterator[bytes]:
    check_declared(request, MAX_IMPORT_BYTES, "The body")
    size = of_line = 0
    rest: list[bytes] = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_IMPORT_BYTES:
            raise HTTPException(413, f"The body has more than {MAX_IMPORT_BYTES} bytes.")
        end, *others = chunk.split(b"\n")
        rest.append(end)
        of_line += len(end)
        for begin in others:
            yield await _line(rest, of_line)
            rest, of_line = [begin], len(begin)
        _check_length(of_line)
    yield await _line(rest, of_line)


async def _line(pieces: list[bytes], size: int) -> bytes:
    _check_length(size)
    line = b"".join(pieces)
    await off_loop_if_long(size, check_size, line, "A line")
    return line


def _check_length(size: int) -> None:
    if size > MAX_LINE_BYTES:
        raise HTTPException(413, f"A line has more than {MAX_LINE_BYTES} bytes.")
