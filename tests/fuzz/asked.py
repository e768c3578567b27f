"""Requests that some client may send, in ASGI's form, so that headers and bodies may be anything."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from hypothesis import strategies as st
from pydantic import JsonValue
from starlette.types import ASGIApp, Message, Scope

from tests.fuzz.shapes import as_text, changed, one_of, shapes, texts, words

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "X")

# --- what is drawn ------------------------------------------------------------------------------------------------

integers: Final = st.sampled_from(["0", "-1", "1", "100", "1e3", "9" * 20, str(2**63), "٣", "1.5", " 1", "true", "NaN"])
raw: Final = st.binary(max_size=12) | st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass"))


def encoded(cursor: JsonValue) -> str:
    """Return a value in the form of a cursor."""
    return urlsafe_b64encode(as_text(cursor).encode("utf-8", "surrogatepass")).decode().rstrip("=")


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """Return a strategy for a text with some characters replaced, removed or added."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from(["", "=", "A", "_", "-", "+", "/", "\x00", "é", "\ud800", "%", ".", "0", "f"]))
        text = text[:at] + new + text[at + draw(st.integers(0, 2)) :]
    return text


def cursors(real: list[str]) -> st.SearchStrategy[str]:
    """Return a strategy for cursors: real ones, changed ones, and the forms of others."""
    places: list[list[Any]] = [
        *([True, "2026-01-01T00:00:00Z", "c1"], [0.5, "2026-01-01T00:00:00Z", "c1"], ["2026-01-01T00:00:00Z", 7]),
        ["2026-01-01T00:00:00Z", "h1"],
    ]
    odd = st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", 1e300, -(2**63), 2**63, "infinity"])
    changes = st.sampled_from(places).flatmap(
        lambda place: changed(place) | st.tuples(st.integers(0, len(place) - 1), odd).map(
            lambda change: [*place[: change[0]], change[1], *place[change[0] + 1 :]]
        )
    )  # fmt: skip
    known = st.sampled_from(real)
    return known | known.flatmap(mutated) | changes.map(encoded) | shapes.map(encoded) | st.text(max_size=20)


@dataclass(frozen=True, repr=False)
class Known:
    """What an application takes, of which requests are made."""

    operations: list[tuple[str, str]]
    parameters: list[str]
    ids: list[str]
    cursors: list[str]
    bodies: list[Any]


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]
    is_cut_off: bool


HEADERS: Final[dict[str, list[str]]] = {
    "Range": [
        "bytes=0-",
        "bytes=-1",
        "bytes=5-2",
        "bytes=0-0,2-3",
        "bytes=" + "9" * 30 + "-",
        "items=1",
        "bytes=٣-",
    ],
    "If-Range": ['"x"', "Wed, 21 Oct 2015 07:28:00 GMT"],
    "If-None-Match": ["*", '"x"', 'W/"x"', ","],
    "Content-Type": [
        *(
            "application/json",
            "application/json; charset=utf-16",
            "text/plain",
            "multipart/form-data",
            "a/b/c",
            ";",
        ),
        *("application/x-ndjson", "application/merge-patch+json", "multipart/form-data; boundary=x", ""),
        "application/octet-stream",
    ],
    "Last-Event-ID": ["", "0", "-1", "x", "9" * 40],
    "Accept": ["text/event-stream", "*/*", "", "application/json;q=x", "text/html,,;"],
    "Content-Length": ["0", "-1", "5", "999999999999", "9" * 40, "x", "", "+5", "٣"],
    "Idempotency-Key": ["k", "", "k" * 300, "\x00"],
    "Origin": ["null", "https://evil.example", "http://test", "x"],
    "Sec-Fetch-Site": ["cross-site", "same-origin", ""],
    "Host": ["test", "", "[::1", "a b", "x:99999999"],
    "Cookie": ["a=b; ;=", ";;;"],
    "X-Forwarded-For": ["unknown"],
    "Transfer-Encoding": ["chunked", "gzip, chunked"],
    "Content-Encoding": ["gzip", "br"],
    "Expect": ["100-continue"],
    "X-User": ["ada", "bob", "", "é", "a" * 500],
    "Time-Zone": ["Europe/Oslo", "../../etc/passwd"],
}


def headers(known: Known) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Return a strategy for a header: one that is read, with a value that may mean something or nothing."""
    values = HEADERS | {"If-None-Match": [*HEADERS["If-None-Match"], *(f'"{each}"' for each in known.ids)]}
    return st.sampled_from([*values]).flatmap(
        lambda name: st.tuples(
            st.just(name.lower().encode()),
            st.sampled_from(values[name]).map(str.encode) | raw,
        )
    )


def bodies(known: Known) -> st.SearchStrategy[bytes]:
    """Return a strategy for bodies: real ones, changed ones, JSON of any shape, and no JSON."""
    real = one_of(known.bodies)
    text = real.map(as_text) | real.flatmap(changed).map(as_text) | shapes.map(as_text)
    deep = st.sampled_from(["[" * 100_000, '{"a":' * 300 + "1" + "}" * 300, '{"a": 1, "a": 2}', "nul", "\ufeff{}", ""])
    return (text | deep).map(str.encode) | raw


@st.composite
def requests(draw: st.DrawFn, known: Known) -> Asked:
    """Return a strategy for requests."""
    ids = st.sampled_from(known.ids)
    id = (
        ids | ids | ids.flatmap(mutated) | texts | st.sampled_from(["", ".", "..", "a/b", "%", "%00", "\x00", "\ud800"])
    )
    method, path = draw(one_of(known.operations))
    while "{}" in path:
        given = draw(id)
        part = quote(given.encode("utf-8", "surrogatepass"), safe="") if draw(st.integers(0, 7)) else given
        path = path.replace("{}", part.replace("{}", ""), 1)
    value = integers | cursors(known.cursors) | words | id | texts
    query = draw(st.lists(st.tuples(st.sampled_from(known.parameters) | words, value), max_size=3))
    pairs = [name.encode() + b"=" + quote(each.encode("utf-8", "surrogatepass")).encode() for name, each in query]
    query_string = b"&".join(pairs) if draw(st.integers(0, 15)) else draw(raw)
    given_headers = draw(st.lists(headers(known), max_size=3))
    if draw(st.integers(0, 15)):
        given_headers = [(b"x-user", b"ada"), (b"content-type", b"application/json"), *given_headers]
    body = draw(bodies(known))
    cut = draw(st.integers(0, len(body)))
    chunks = [body] if draw(st.booleans()) else [body[:cut], body[cut:]]
    if draw(st.booleans()):
        given_headers.append((b"content-length", str(len(body)).encode()))
    is_cut_off = draw(st.integers(0, 15)) == 0
    if draw(st.integers(0, 15)) == 0:
        method = draw(st.sampled_from(METHODS))
    return Asked(method, path.encode("utf-8", "surrogatepass"), query_string, given_headers, chunks, is_cut_off)


# --- asking -------------------------------------------------------------------------------------------------------


class AnsweredError(AssertionError):
    """An answer that no request must have."""


@contextmanager
def _errors_logged() -> Iterator[list[logging.LogRecord]]:
    """Yield the list of records of errors, which fills meanwhile."""
    found: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler = Handler(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)


def _scope(asked: Asked) -> Scope:
    parts = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), asked.path)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": parts.decode("utf-8", "replace"),  # as uvicorn does it
        "raw_path": asked.path,
        "query_string": asked.query,
        "root_path": "",
        "headers": asked.headers,
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }


async def ask(app: ASGIApp, asked: Asked) -> int:
    """Send a request. Returns the status; raises what the application raises, or AnsweredError."""
    waiting = [{"type": "http.request", "body": each, "more_body": True} for each in asked.chunks]
    if not asked.is_cut_off:
        waiting[-1]["more_body"] = False
    is_over = asyncio.Event()  # the answer, or what there is to see of a stream
    status: list[int] = []
    body: list[bytes] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        if not asked.is_cut_off:
            await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])
            return
        body.append(message.get("body", b""))
        if not message.get("more_body") or b"/events" in asked.path:
            is_over.set()

    with _errors_logged() as errors:
        async with asyncio.timeout(30):
            await app(_scope(asked), receive, send)
    if not status and not asked.is_cut_off:
        raise AnsweredError("no answer")
    if status and status[0] >= 500 and status[0] != 501:
        raise AnsweredError(f"{status[0]}: {b''.join(body)[:300]!r}")
    if errors:
        raise AnsweredError(f"logged: {errors[0].getMessage()}") from (errors[0].exc_info or (None, None))[1]
    if status and status[0] >= 400 and body and b"".join(body).startswith(b"{"):
        json.loads(b"".join(body))
    return status[0] if status else 0
