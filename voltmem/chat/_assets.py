"""The files of the page: compressed once, and kept by browsers for good, under addresses that change with them."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from voltmem.errors import MissingExtraError

try:
    from fastapi import APIRouter, HTTPException, Request, Response
except ImportError as error:
    raise MissingExtraError("fastapi", "chat") from error

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_COMPRESSED_ALREADY: Final = {".woff2"}
_VERSION: Final = re.compile(r"^[0-9a-f]{12}/")
# Comments that have lines of their own: a sixth of the compressed bytes. Libraries are served as they were released.
_COMMENT: Final = re.compile(rb"^[ \t]*(?://[^\n]*|/\*\*(?:(?!\*/).)*\*/)$", re.MULTILINE | re.DOTALL)
_IMPORT: Final = re.compile(rb'^(?:import|export)\b[^;]*?"\./([\w-]+\.js)";', re.MULTILINE)
_FOR_GOOD: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    media_type: str
    content: bytes
    compressed: bytes | None
    tag: str


@cache
def _assets() -> dict[str, _Asset]:
    """Read the files, once in a process."""
    found = sorted(each for each in _FOLDER.rglob("*") if each.suffix in _TYPES and each.is_file())
    return {each.relative_to(_FOLDER).as_posix(): _asset(each) for each in found}


def _asset(file: Path) -> _Asset:
    content = file.read_bytes()
    if file.suffix == ".js" and "vendor" not in file.parts:
        content = _COMMENT.sub(lambda found: b"\n" * found[0].count(b"\n"), content)  # lines keep their numbers
    compressed = None if file.suffix in _COMPRESSED_ALREADY else gzip.compress(content, mtime=0)
    return _Asset(_TYPES[file.suffix], content, compressed, f'"{sha256(content).hexdigest()[:24]}"')


@cache
def version() -> str:
    """Return the version of the files, which every process with the same files has."""
    all_of_them = "".join(f"{path}{asset.tag}" for path, asset in _assets().items())
    return sha256(all_of_them.encode()).hexdigest()[:12]


@cache
def first_modules() -> list[str]:
    """Return the modules of the first screen: start.js, app.js and what it imports, the next ones first."""
    found = ["start.js", "app.js"]
    for path in found:
        imported = [name.decode() for name in _IMPORT.findall(_assets()[path].content)]
        found += [name for name in dict.fromkeys(imported) if name not in found]
    return found


assets: Final = APIRouter()


@assets.api_route("/static/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
async def asset(request: Request, path: str) -> Response:
    """
    Return a file.

    During a deployment a page may ask a process that has the files of another version. It gets them, but keeps nothing.
    """
    name = _VERSION.sub("", path)
    found = _assets().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {
        "Cache-Control": _FOR_GOOD if path == f"{version()}/{name}" else "no-cache",
        "ETag": found.tag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("If-None-Match") == found.tag:
        return Response(status_code=304, headers=headers)
    if found.compressed is None or "gzip" not in request.headers.get("Accept-Encoding", ""):
        return Response(found.content, media_type=found.media_type, headers=headers)
    return Response(found.compressed, media_type=found.media_type, headers={**headers, "Content-Encoding": "gzip"})
