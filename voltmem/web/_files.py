"""The routes for files: the user's own, and those that a shared conversation shows."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Final, TypeAlias, cast

from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator
from starlette.exceptions import HTTPException

from voltmem._areas.files import StoredFile, check_file_id
from voltmem._media_types import SHOWN, media_type_of
from voltmem.errors import InvalidInputError
from voltmem.web._bodies import check_declared
from voltmem.web._openapi import Responses, responses
from voltmem.web._payloads import Answer, JsonResponse, Time
from voltmem.web._route import ProblemRoute, media_type
from voltmem.web._shares import UNLISTED, Token, not_found
from voltmem.web._signed_in import Anybodys, Mine, OwnLimits
from voltmem.web._streams import TimedStream

routes = APIRouter(route_class=ProblemRoute)
public_routes = APIRouter(route_class=ProblemRoute)

# Whatever somebody uploads, a browser runs nothing of it: it may show pictures, play recordings, and save the rest.
_SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-site",
    # Asked again each time: the browser may have another user now, or the link may be revoked.
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}
_BYTES: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_SERVED: Final[Responses] = {
    200: {"description": "The content.", "content": _BYTES},
    206: {"description": "The range that was asked for.", "content": _BYTES},
    304: {"description": "The client has the content."},
}


def _reachable(file_id: str) -> str:
    try:
        check_file_id(file_id)
    except InvalidInputError:
        raise _no_file() from None
    return file_id


def _no_file() -> HTTPException:
    return HTTPException(404, "There is no such file.")


FileId: TypeAlias = Annotated[str, Path(description="The id of a file."), AfterValidator(_reachable)]


class UploadedFile(Answer):
    """A file of the user."""

    id: str
    """The SHA-256 of the content, in hexadecimal digits."""
    size: int
    """The number of bytes."""
    created_at: Time
    url: str
    """The address for a message's part, and to read it."""


@routes.post(
    "/files",
    status_code=201,
    response_model=UploadedFile,
    responses=responses(400, 413, 415, 507),
    operation_id="uploadFile",
    openapi_extra={"requestBody": {"content": _BYTES}},
)
async def upload_file(mine: Mine, limits: OwnLimits, request: Request) -> Response:
    """
    Store a file, which is the body of the request. A message shows it by its url.

    Without a message that shows it, it is deleted after a day. The same content is stored once.
    """
    if media_type(request) == "multipart/form-data":
        raise HTTPException(415, "The body must be the file itself, not a form with the file in it.")
    declared = check_declared(request, limits.max_file_bytes, "The file")
    stored = await mine.put_file(_content(request, limits.max_file_bytes), size=declared)
    return JsonResponse(UploadedFile.model_validate(stored), 201)


async def _content(request: Request, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise HTTPException(413, f"The file has more than {most} bytes.")
        yield chunk


@routes.head("/files/{fileId}", include_in_schema=False)
@routes.get(
    "/files/{fileId}", response_class=Response, responses=responses(404, 416) | _SERVED, operation_id="readFile"
)
async def read_file(mine: Mine, request: Request, fileId: FileId) -> Response:
    """Read a file, or a range of it. Pictures and recordings are shown by a browser, other files are saved."""
    file = await mine.get_file(fileId)
    if file is None:
        raise _no_file()
    return await _answer(file, request, lambda start, end: mine.read_file(fileId, start=start, end=end))


@routes.delete(
    "/files/{fileId}",
    status_code=204,
    response_class=Response,
    responses=responses(404, 409),
    operation_id="deleteFile",
)
async def delete_file(mine: Mine, fileId: FileId) -> None:
    """Delete a file that no message shows. One that a message shows is deleted with that message."""
    if not await mine.delete_file(fileId):
        if await mine.get_file(fileId) is None:
            raise _no_file()
        raise HTTPException(409, "A message shows the file.")


@public_routes.head("/shared/{token}/files/{fileId}", include_in_schema=False)
@public_routes.get(
    "/shared/{token}/files/{fileId}",
    response_class=Response,
    responses={status: each for status, each in responses(404, 416).items() if status not in (401, 403)} | _SERVED,
    operation_id="readSharedFile",
)
async def read_shared_file(storage: Anybodys, request: Request, token: Token, fileId: FileId) -> Response:
    """Read a file that a shared conversation shows, or a range of it. Needs no sign-in."""
    file = await storage.get_shared_file(token, fileId)
    if file is None:
        raise not_found()
    response = await _answer(
        file, request, lambda start, end: storage.read_shared_file(token, fileId, start=start, end=end)
    )
    response.headers.update(UNLISTED)
    return response


Read: TypeAlias = Callable[[int, int], AsyncIterator[bytes]]


async def _answer(file: StoredFile, request: Request, read: Read) -> Response:
    headers = {**_SAFE, "ETag": f'"{file.id}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end = 0, file.size
    only_head = request.method == "HEAD"  # for which there are no ranges
    if (given := None if only_head else _range(request, headers["ETag"])) is not None:
        start, end = _within(*given, file.size)
        if start >= end:
            raise HTTPException(416, f"The file has {file.size} bytes.", {"Content-Range": f"bytes */{file.size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    pieces = cast(AsyncGenerator[bytes, None], read(start, min(end, 64) if only_head else end))
    first = await anext(pieces, b"")  # before the response begins: an error until here is a problem document
    head = first if start == 0 and len(first) >= min(64, file.size) else await anext(read(0, 64), b"")
    type = media_type_of(head) or "application/octet-stream"
    headers |= {
        "Content-Type": type,
        "Content-Length": str(end - start),
        "Content-Disposition": "inline" if type in SHOWN else "attachment",
    }
    if only_head:
        return Response(headers=headers)
    return TimedStream(first, pieces, 200 if given is None else 206, headers)


def _range(request: Request, etag: str) -> tuple[str, str] | None:
    """Return the two numbers of a Range header; None for none, several, or one of another content: all is sent."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("range", "").replace(" ", ""))
    if found is None or not (found[1] or found[2]) or request.headers.get("if-range", etag) != etag:
        return None
    return found[1], found[2]


def _within(first: str, last: str, size: int) -> tuple[int, int]:
    """Return the range from the first byte to after the last; first "": the last bytes of the file."""
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
