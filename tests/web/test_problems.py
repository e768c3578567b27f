"""Every error is a problem document with the right status, and discloses no other user's data."""

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
    """Return the problem document of a response, and check that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document["status"] == status
    if kind is not None:
        assert document["type"] == (kind if kind == "about:blank" else f"urn:voltmem:{kind}")
    return document


# --- invalid requests ---------------------------------------------------------------------------------------------


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
async def test_invalid_json_is_refused(body: bytes, ada: httpx2.AsyncClient) -> None:
    """400 for invalid JSON (422 for an empty body): non-numbers, duplicate names, excessive depth."""
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
    """422 for values that cannot be stored, before any SQL runs; the document is valid JSON for any body."""
    answer = await ada.post("/conversations", content=body, headers=JSON)

    problem(answer, 422, "invalid-request")


async def test_each_error_of_a_body_is_listed(ada: httpx2.AsyncClient) -> None:
    """Each error in a body is listed, with a pointer to its place."""
    answer = await ada.patch("/conversations/c1", json={"title": 7, "tags": ["ok", ""], "a/b~": 1})

    assert [error["pointer"] for error in problem(answer, 422)["errors"]] == [
        "/body/title",
        "/body/tags/1",
        "/body/a~1b~0",
    ]


@pytest.mark.parametrize("time", [0, "0", "2026-01-01", "2026-01-01T00:00:00", "soon", "0001-01-01T00:00:00Z", True])
async def test_a_time_is_a_whole_one(time: object, storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """A time is an RFC 3339 date and time with a zone: no number, no date alone, and no infinity."""
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
        "resourceId=" + "x" * 1001,
        "timeZone=Oslo",
        "timeZone=../../etc/passwd",
        "timeZone=%00",
        "timeZone=" + "x" * 5000,
    ],
    ids=lambda query: query[:40],
)
async def test_a_query_that_no_list_can_have_is_refused(query: str, ada: httpx2.AsyncClient) -> None:
    """A query with an invalid cursor, limit or zone is refused."""
    problem(await ada.get(f"/conversations?{query}"), 422, "invalid-request")


@pytest.mark.parametrize("id", ["%00", "x" * 1001, "%FF", "..%2F..", "%ED%A0%80"])
async def test_an_id_that_cannot_be_is_not_there(id: str, ada: httpx2.AsyncClient) -> None:
    """404 for an id in the path that cannot exist, as for any missing one."""
    for path in (f"/conversations/{id}", f"/conversations/{id}/messages", f"/threads/{id}"):
        assert (await ada.get(path)).status_code == 404
    assert (await ada.delete(f"/conversations/c1/messages/{id}")).status_code == 404


async def test_a_body_is_not_too_large(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """413 for a body above 10 MiB, which is not read further, even without a Content-Length."""
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
    """415 for a body that is not JSON, as a form of another site could send without a preflight."""
    problem(await ada.post("/conversations", content=b"{}", headers={"Content-Type": type}), 415, "about:blank")


def posts() -> list[str]:
    """The paths that accept POST."""
    found = operations(application(PostgresStorage("postgresql://nowhere/none")).openapi())
    return sorted(name.removeprefix("POST /api") for name in found if name.startswith("POST "))


@pytest.mark.parametrize("path", posts())
async def test_another_site_sends_nothing_without_asking(
    path: str, storage: PostgresStorage, ada: httpx2.AsyncClient
) -> None:
    """
    403 for each POST that a browser sends to another site without a preflight, even without a body or content type.
    """
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
        problem(await ada.post(path.format(conversationId="c1", messageId="m1"), **arguments), 403, "about:blank")

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
    """
    Accepted are requests of the same origin, of another origin after a preflight, and of clients without an origin.
    """
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert (await ada.post("/conversations/c1/archive", headers=headers)).status_code == 200


async def test_a_method_that_a_path_has_not_names_those_that_it_has(ada: httpx2.AsyncClient) -> None:
    """405 for a method that a path does not have, with all of its methods in Allow."""
    answer = await ada.put("/conversations/c1")

    problem(answer, 405, "about:blank")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


# --- errors of the database and the application -------------------------------------------------------------------


async def test_a_search_that_is_off_is_not_the_clients_fault(make_storage: MakeStorage, connect: Connect) -> None:
    """501 for a search if the application has it turned off."""
    for path in ("/search", "/recall"):
        problem(await connect(application(make_storage())).get(f"{path}?q=bread"), 501, "search-off")


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
async def test_a_database_that_is_down_is_503(
    error: VoltMemError,
    kind: str,
    retry_after: str | None,
    storage: PostgresStorage,
    ada: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 if the database is down, with Retry-After if a repetition is safe, and without details of the database."""

    async def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(storage, "list_conversations", fail)

    answer = await ada.get("/conversations")

    problem(answer, 503, kind)
    assert answer.headers.get("retry-after") == retry_after
    assert "secret" not in answer.text


async def test_a_server_that_is_not_there_is_503(make_storage: MakeStorage, connect: Connect) -> None:
    """503 if there is no server, with a real connection attempt."""
    nowhere = make_storage("postgresql://ada:secret@127.0.0.1:1/none", retry_timeout=0.1, connect_timeout=1)

    answer = await connect(application(nowhere)).get("/conversations")

    assert "127.0.0.1" not in problem(answer, 503, "unavailable")["detail"]


def test_another_error_reaches_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of voltmem that a client cannot mend reaches the application, its log and its handlers."""
    storage = PostgresStorage("postgresql://nowhere/none")

    async def fail(*_: object, **__: object) -> NoReturn:
        raise DatabaseError("the disk is full", "53100")

    monkeypatch.setattr(storage, "list_conversations", fail)

    with pytest.raises(DatabaseError):
        TestClient(application(storage)).get("/api/conversations", headers={"X-User": "ada"})
    mounted = TestClient(web.app(storage, user=lambda _: "ada"), raise_server_exceptions=False)
    response = mounted.get("/conversations")
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    assert "disk" not in response.text


# --- missing privileges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_the_applications_refusal_is_a_problem(status: int, storage: PostgresStorage, connect: Connect) -> None:
    """An HTTPException of the application's dependency keeps its status, detail and headers in the problem."""

    def refuse(_: object) -> NoReturn:
        raise HTTPException(status, "No.", {"WWW-Authenticate": "Bearer"})

    answer = await connect(web.app(storage, user=refuse), prefix="").get("/conversations")

    assert problem(answer, status, "about:blank")["detail"] == "No."
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_refusal_may_have_a_status_of_the_applications_own(storage: PostgresStorage, connect: Connect) -> None:
    """A dependency's exception may have an unregistered status, which has no phrase."""

    def refuse(_: object) -> NoReturn:
        raise HTTPException(499, "Gone.")

    answer = await connect(web.app(storage, user=refuse), prefix="").get("/conversations")

    assert problem(answer, 499, "about:blank") | {"title": "Status 499", "detail": "Gone."} == answer.json()


@pytest.mark.parametrize("given", [{"code": "plan", "until": None}, ["plan"], 7], ids=str)
async def test_a_refusal_may_be_more_than_a_text(given: Any, storage: PostgresStorage, connect: Connect) -> None:
    """A detail that is JSON, not text, is in the problem, too."""

    def refuse(_: object) -> NoReturn:
        raise HTTPException(403, given)

    answer = await connect(web.app(storage, user=refuse), prefix="").get("/conversations")

    document = problem(answer, 403, "about:blank")
    assert (document["detail"], document["data"]) == ("Forbidden", given)


async def test_a_dependency_that_lacks_something_says_what(storage: PostgresStorage, connect: Connect) -> None:
    """A request without a header that the application's dependency requires is a 422, and no route is called."""
    from fastapi import FastAPI, Header

    async def user(x_token: str = Header()) -> str:
        return x_token

    app = FastAPI()
    app.include_router(web.router(storage, user=user))

    answer = await connect(app, prefix="").get("/conversations")

    assert problem(answer, 422)["errors"] == [{"pointer": "/header/x-token", "detail": "Field required"}]
