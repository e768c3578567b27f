"""What goes wrong is told as a problem document, with a status that says whose it is, and nothing of anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import httpx2
import pytest
from fastapi import HTTPException
from pydantic_core import to_json
from starlette.testclient import TestClient

from tests.conftest import MakeStorage
from tests.web.conftest import Connect, application
from tests.web.test_openapi import operations
from voltmem import PostgresStorage, web
from voltmem.errors import (
    ConnectionFailedError,
    DatabaseError,
    DatabaseTimeoutError,
    OutcomeUnknownError,
    StorageClosedError,
    VoltMemError,
)

JSON = {"Content-Type": "application/json"}


def problem(answer: httpx2.Response, status: int, kind: str | None = None) -> Any:
    """Return the document, which must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document["status"] == status
    if kind is not None:
        assert document["type"] == (kind if kind == "about:blank" else f"urn:voltmem:{kind}")
    return document


# --- what is no request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"[1,]",
        b"\xff\xfe",
        b'{"title": "\xff"}',
        b'{"title": NaN}',
        b'{"metadata": {"n": Infinity}}',
        b'{"metadata": {"n": 1e999}}',
        b'{"title": "a", "title": "b"}',
        b'{"metadata": {"a": {"b": 1, "b": 2}}}',
        b'{"metadata": {"n": ' + b"9" * 5000 + b"}}",
        b'{"metadata": {"n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
    ids=lambda body: body[:24].decode(errors="replace"),
)
async def test_what_is_no_json_is_refused(body: bytes, ada: httpx2.AsyncClient) -> None:
    """400 (422 for nothing at all): no number that isn't one, no name twice, no depth that no parser bears."""
    answer = await ada.post("/conversations", content=body, headers=JSON)

    problem(answer, 400 if body else 422)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"title"',
        b'{"title": ""}',
        b'{"title": 7}',
        b'{"title": "a\\u0000b"}',
        b'{"title": "half a \\ud83d smile"}',
        b'{"resourceId": "\\u0000"}',
        b'{"resourceId": ""}',
        b'{"metadata": []}',
        b'{"metadata": null}',
        b'{"metadata": {"a": ["\\u0000"]}}',
        b'{"metadata": {"\\ud800": 1}}',
        b'{"metadata": {"a": {"\\ud800": 1}}}',
        b'{"metadata": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        b'{"\\ud800": 1}',
        b'{"createdAt": "2026-01-01T00:00:00Z"}',
    ],
    ids=lambda body: body[:32].decode(),
)
async def test_what_cannot_be_stored_is_refused(body: bytes, ada: httpx2.AsyncClient) -> None:
    """422, before any SQL runs; the document is JSON whatever stood in the body."""
    answer = await ada.post("/conversations", content=body, headers=JSON)

    problem(answer, 422, "invalid-request")


async def test_each_thing_that_is_wrong_is_told(ada: httpx2.AsyncClient) -> None:
    """With a pointer to where it stands."""
    answer = await ada.patch("/conversations/c1", json={"title": 7, "tags": ["ok", ""], "a/b~": 1})

    assert [error["pointer"] for error in problem(answer, 422)["errors"]] == [
        "/body/title",
        "/body/tags/1",
        "/body/a~1b~0",
    ]


@pytest.mark.parametrize("time", [0, "0", "2026-01-01", "2026-01-01T00:00:00", "soon", "0001-01-01T00:00:00Z", True])
async def test_a_time_is_a_whole_one(time: object, storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """RFC 3339, with a zone: no numbers, no dates, none that PostgreSQL takes for infinity."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    problem(await ada.post("/conversations/c1/read", json={"at": time}), 422)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=99999999999999999999999",
        "after=nonsense",
        "after=W10",
        "after=%00",
        "before=WzFd",
        "after=W3RydWUsIjIwMjYtMDEtMDFUMDA6MDA6MDBaIiwiYSJd&before=W3RydWUsIjIwMjYtMDEtMDFUMDA6MDA6MDBaIiwiYSJd",
        "archived=perhaps",
        "tag=",
        "tag=%00",
        "resourceId=" + "x" * 251,
        "timeZone=Oslo",
        "timeZone=../../etc/passwd",
        "timeZone=%00",
        "timeZone=" + "x" * 5000,
    ],
    ids=lambda query: query[:40],
)
async def test_a_query_that_no_list_can_have_is_refused(query: str, ada: httpx2.AsyncClient) -> None:
    """Cursors that are none of ours, limits and zones that cannot be."""
    problem(await ada.get(f"/conversations?{query}"), 422, "invalid-request")


@pytest.mark.parametrize("id", ["%00", "x" * 1001, "%FF", "..%2F..", "%ED%A0%80"])
async def test_an_id_that_cannot_be_is_not_there(id: str, ada: httpx2.AsyncClient) -> None:
    """404, as for any other: in the path there is nothing to correct."""
    for path in (f"/conversations/{id}", f"/conversations/{id}/messages", f"/threads/{id}"):
        assert (await ada.get(path)).status_code == 404
    assert (await ada.delete(f"/conversations/c1/messages/{id}")).status_code == 404


async def test_a_body_is_not_too_large(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """10 MiB are read and no more: 413, also where nobody said beforehand how much would come."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    def body(size: int) -> bytes:
        return to_json({"role": "user", "content": "x" * size})

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 2**20

    large = await ada.post("/conversations/c1/messages", content=body(9 * 2**20), headers=JSON)
    larger = await ada.post("/conversations/c1/messages", content=body(10 * 2**20), headers=JSON)
    endless = await ada.post("/conversations/c1/messages", content=chunks(), headers=JSON)

    assert large.status_code == 201
    problem(larger, 413, "about:blank")
    problem(endless, 413, "about:blank")


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonish", "json"])
async def test_a_body_is_json(type: str, ada: httpx2.AsyncClient) -> None:
    """415: what a form of another site could send without asking is not read."""
    problem(await ada.post("/conversations", content=b"{}", headers={"Content-Type": type}), 415, "about:blank")


def posts() -> list[str]:
    """The paths to which one can POST."""
    found = operations(application(PostgresStorage("postgresql://nowhere/none")).openapi())
    return sorted(name.removeprefix("POST /api") for name in found if name.startswith("POST "))


@pytest.mark.parametrize("path", posts())
async def test_another_site_sends_nothing_without_asking(
    path: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """403 for each POST that a browser sends with no question first: without a body, too, or with one of no kind."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    before = (await ada.get("/conversations")).json()
    sent: list[dict[str, Any]] = [
        {"headers": {"Sec-Fetch-Site": "cross-site"}},
        {"headers": {"Sec-Fetch-Site": "same-site"}, "content": b"{}"},
        {"headers": {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain;charset=UTF-8"}, "content": b"{}"},
        {"headers": {"Origin": "http://evil.example"}},
        {"headers": {"Origin": "null"}},
    ]

    for arguments in sent:
        problem(await ada.post(path.format(conversationId="c1"), **arguments), 403, "about:blank")

    assert (await ada.get("/conversations")).json() == before
    assert (await ada.get("/conversations/c1/shares")).json() == {"items": []}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://test"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:5173", "Content-Type": "application/json"},
        {},
    ],
    ids=str,
)
async def test_a_front_end_sends_what_it_may(
    headers: dict[str, str], storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """From the same origin; from another, what a browser asks for first; and what is no browser."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert (await ada.post("/conversations/c1/archive", headers=headers)).status_code == 200


async def test_a_method_that_a_path_has_not_names_those_that_it_has(ada: httpx2.AsyncClient) -> None:
    """405, with Allow: all of the path's, not only the first route's."""
    answer = await ada.put("/conversations/c1")

    problem(answer, 405, "about:blank")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


# --- what cannot be answered --------------------------------------------------------------------------------------


async def test_a_search_that_is_off_is_not_the_clients_fault(make_storage: MakeStorage, connect: Connect) -> None:
    """501: whatever the request, this application does not search."""
    problem(await connect(application(make_storage())).get("/search?q=bread"), 501, "search-off")


@pytest.mark.parametrize(
    ("error", "kind", "retry_after"),
    [
        (ConnectionFailedError("cannot reach postgres://secret@db"), "unavailable", "2"),
        (DatabaseTimeoutError("PostgreSQL did not answer in time"), "unavailable", "2"),
        (StorageClosedError(), "unavailable", "2"),
        (OutcomeUnknownError("secret"), "outcome-unknown", None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_database_that_is_away_is_503(
    error: VoltMemError,
    kind: str,
    retry_after: str | None,
    storage: PostgresStorage,
    ada: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With Retry-After where repeating does no harm; nothing is told of the database itself."""

    async def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(storage, "list_conversations", fail)

    answer = await ada.get("/conversations")

    problem(answer, 503, kind)
    assert answer.headers.get("retry-after") == retry_after
    assert "secret" not in answer.text


async def test_a_server_that_is_not_there_is_503(make_storage: MakeStorage, connect: Connect) -> None:
    """Not only in a simulation."""
    nowhere = make_storage("postgresql://ada:secret@127.0.0.1:1/none", retry_timeout=0.1, connect_timeout=1)

    answer = await connect(application(nowhere)).get("/conversations")

    assert "127.0.0.1" not in problem(answer, 503, "unavailable")["detail"]


def test_another_error_is_the_applications_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours that no client can do anything about reaches the application, its log and its handlers."""
    storage = PostgresStorage("postgresql://nowhere/none")

    async def fail(*_: object, **__: object) -> NoReturn:
        raise DatabaseError("the disk is full", "53100")

    monkeypatch.setattr(storage, "list_conversations", fail)

    with pytest.raises(DatabaseError):
        TestClient(application(storage)).get("/api/conversations", headers={"X-User": "ada"})
    mounted = TestClient(web.app(storage, user=lambda _: "ada"), raise_server_exceptions=False)
    told = mounted.get("/conversations")
    assert (told.status_code, told.headers["content-type"]) == (500, "application/problem+json")
    assert "disk" not in told.text


# --- who may not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_the_applications_refusal_is_a_problem(status: int, storage: PostgresStorage, connect: Connect) -> None:
    """What its dependency raises comes out with its status, detail and headers."""

    def refuse(_: object) -> NoReturn:
        raise HTTPException(status, "No.", {"WWW-Authenticate": "Bearer"})

    answer = await connect(web.app(storage, user=refuse), prefix="").get("/conversations")

    assert problem(answer, status, "about:blank")["detail"] == "No."
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_refusal_may_have_a_status_of_the_applications_own(storage: PostgresStorage, connect: Connect) -> None:
    """One that is registered nowhere has no phrase, and is no mistake of the server's."""

    def refuse(_: object) -> NoReturn:
        raise HTTPException(499, "Gone.")

    answer = await connect(web.app(storage, user=refuse), prefix="").get("/conversations")

    assert problem(answer, 499, "about:blank") | {"title": "Status 499", "detail": "Gone."} == answer.json()


@pytest.mark.parametrize("told", [{"code": "plan", "until": None}, ["plan"], 7], ids=str)
async def test_a_refusal_may_be_more_than_a_text(told: Any, storage: PostgresStorage, connect: Connect) -> None:
    """What the application's other routes tell as JSON is JSON in the problem, too, beside the text."""

    def refuse(_: object) -> NoReturn:
        raise HTTPException(403, told)

    answer = await connect(web.app(storage, user=refuse), prefix="").get("/conversations")

    document = problem(answer, 403, "about:blank")
    assert (document["detail"], document["data"]) == ("Forbidden", told)


async def test_a_dependency_that_lacks_something_says_what(storage: PostgresStorage, connect: Connect) -> None:
    """A header that the application's dependency requires, for example: 422, and no route is called."""
    from fastapi import FastAPI, Header

    async def user(x_token: str = Header()) -> str:
        return x_token

    app = FastAPI()
    app.include_router(web.router(storage, user=user))

    answer = await connect(app, prefix="").get("/conversations")

    assert problem(answer, 422)["errors"] == [{"pointer": "/header/x-token", "detail": "Field required"}]
