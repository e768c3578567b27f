"""What the page carries: the responses to its first requests, so that the list is there before its scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from fastapi import Request
from pydantic_core import from_json
from starlette.types import ASGIApp, Message, Scope

from voltmem._values import to_json

# A database that is slow or away delays the page by this much; the page asks by itself then.
_SECONDS: Final = 1.0
_FIRST_LIST: Final = "conversations?limit=40&archived=false"
_NEWEST: Final = "limit=30&uiMessages=true"


def first_requests(conversation_id: str | None) -> list[str]:
    """Return the paths, below /api/, that the page asks first: see list.js, and open() in conversation.js."""
    if conversation_id is None:
        return [_FIRST_LIST]
    id = encoded(conversation_id)
    own = f"conversations/{id}"
    return [_FIRST_LIST, own, f"{own}/messages?{_NEWEST}", f"chat/{id}/answers", f"{own}/branches"]


def encoded(id: str) -> str:
    """Return an id as a part of an address, as encodeURIComponent() does."""
    return quote(id, safe="!~*'()")


async def carried(app: ASGIApp, request: Request, paths: Iterable[str]) -> dict[str, bytes]:
    """
    Return the responses to these requests, JSON, by their paths.

    The application answers them as if the browser had sent them with this request's headers: with the same sign-in and
    the same checks. Those that fail or are late are left out, as all are if nobody is signed in.
    """
    found: dict[str, bytes] = {}

    async def ask(path: str) -> None:
        if (body := await _answer(app, request, path)) is not None:
            found[path] = body

    asking = [asyncio.create_task(ask(path)) for path in paths]
    try:
        await asyncio.wait(asking, timeout=_SECONDS)
    finally:
        for task in asking:
            task.cancel()
        # An error is raised again, and logged, when the page asks.
        await asyncio.gather(*asking, return_exceptions=True)
    return found


def listed(found: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the conversations of the first list; none if it is not among the responses."""
    items: list[dict[str, Any]] = from_json(found[_FIRST_LIST])["items"] if _FIRST_LIST in found else []
    return items


def as_block(found: Mapping[str, bytes]) -> str:
    """Return the responses as JSON for a script element."""
    text = ",".join(f"{to_json(path)}:{body.decode()}" for path, body in found.items())
    return f"{{{text}}}".replace("<", "\\u003c")  # within strings only; nothing ends the element


async def _answer(app: ASGIApp, request: Request, path: str) -> bytes | None:
    """Return the body of a response; None if it is an error."""
    status, body = 0, b""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    await app(_scope(request, path), receive, send)
    return body if status == 200 else None


def _scope(request: Request, asked: str) -> Scope:
    """Return the scope of a request below /api/, from that of a request for a page."""
    path, _, query = asked.partition("?")
    steps = 2 if "conversation_id" in request.path_params else 1
    raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return {
        **request.scope,
        "path": "/".join([*request.scope["path"].split("/")[:-steps], "api", unquote(path)]),
        "raw_path": b"/".join([*raw.split(b"/")[:-steps], b"api", path.encode()]),
        "query_string": query.encode(),
    }
