"""The pages of the chat: one that shows everything to a user, and one that a public link leads to."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Final

from voltmem._values import to_json
from voltmem.errors import MissingExtraError

try:
    from fastapi import APIRouter, Request, Response
    from fastapi.responses import HTMLResponse
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError("fastapi", "chat") from error

from voltmem.chat._assets import first_modules, version
from voltmem.chat._carried import as_block, carried, first_requests, listed
from voltmem.chat._first_rows import first_rows
from voltmem.chat._languages import Offered
from voltmem.chat._settings import Settings
from voltmem.web._shares import UNLISTED

_STATIC: Final = Path(__file__).parent / "static"
# The page loads nothing from other sites, and scripts in a model's answer do not run.
_POLICY: Final = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
_PART: Final = re.compile(r"[ \t]*<!-- (\w+) -->\n(.*?)[ \t]*<!-- /\1 -->\n", re.DOTALL)
# A text of the page in English, which is translated, or a value.
_PLACE: Final = re.compile(r"\{\{(.+?)\}\}|\{(base|title|settings|lang|dir|texts|modules|carried|rows)\}")
_VARY: Final = "Accept-Encoding, Accept-Language"
_OF_ONE_USER: Final = {"Cache-Control": "private, no-cache", "Vary": f"{_VARY}, Authorization, Cookie"}
_OF_ALL: Final = {"Cache-Control": "no-cache", "Vary": _VARY}


def page_routes(settings: Settings, offered: Offered, app: ASGIApp) -> APIRouter:
    """Make the routes of the pages. app: the chat, which answers the first requests of a page."""
    routes = APIRouter()

    @routes.get("/")
    @routes.get("/c/{conversation_id}")
    async def page(request: Request) -> Response:
        found = await carried(app, request, first_requests(request.path_params.get("conversation_id")))
        return _page(request, "index.html", settings, offered, _OF_ONE_USER, found)

    if "sharing" in settings.without:
        return routes

    @routes.get("/shared/{token}")
    def shared_page(request: Request) -> Response:
        """Return the page that a public link leads to. It needs no user, and asks the API for what the link shows."""
        return _page(request, "shared.html", settings, offered, {**_OF_ALL, **UNLISTED})

    return routes


def _page(
    request: Request,
    name: str,
    settings: Settings,
    offered: Offered,
    headers: Mapping[str, str],
    found: Mapping[str, bytes] = MappingProxyType({}),
) -> Response:
    """
    Return a page in the language of who asks.

    With the path under which the chat is mounted, its settings, and the responses that were found.
    """
    language = offered.choose(request.headers.get("Accept-Language", ""))
    base = request.scope.get("root_path", "").rstrip("/") + "/"
    rows = first_rows(listed(found), language, base, request.url.path, with_folders="folders" not in settings.without)
    static = f"{escape(base)}static/{version()}/"
    filled = {
        "base": escape(base),
        "title": escape(settings.title),
        "settings": escape(to_json(settings.shown())),
        "lang": language.tag,
        "dir": language.direction,
        "texts": language.block(),
        "modules": "\n  ".join(f'<link rel="modulepreload" href="{static}{path}">' for path in first_modules()),
        "carried": as_block(found),
        "rows": rows,
    }
    text = (_STATIC / name).read_text(encoding="utf-8").replace("{base}static/", static)
    text = _PART.sub(lambda found: "" if found[1] in settings.without else found[2], text)
    text = _PLACE.sub(lambda found: escape(language.text(found[1])) if found[1] else filled[found[2]], text)
    content, headers = text.encode(), {"Content-Security-Policy": _POLICY, **headers}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        content, headers = gzip.compress(content, 6), {**headers, "Content-Encoding": "gzip"}
    return HTMLResponse(content, headers=headers)
