"""Export and import are streamed, round trips are equal, and connections are released."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator

import httpx2
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from tests.conftest import MakeStorage
from tests.web.conftest import Connect, Serve, application
from voltmem import PostgresStorage
from voltmem.web import _streams, _transfer

NDJSON = {"Content-Type": "application/x-ndjson"}


async def stock(storage: PostgresStorage, count: int = 2) -> None:
    for number in range(count):
        await storage.create_conversation({"id": f"c{number}", "user_id": "ada", "title": f"T{number}"})
        said = [{"id": f"m{n}", "role": "user", "content": ["half a \ud83d smile", n]} for n in range(3)]
        await storage.add_messages(said, "ada", f"c{number}")
    await storage.soft_delete_conversation("c0")


def seen(export: httpx2.Response) -> list[object]:
    """Return the lines of an export without its user and its time."""
    lines = [json.loads(line) for line in export.content.split(b"\n") if line]
    return [{**line, "user_id": None, "exported_at": None} for line in lines]


async def test_what_was_exported_can_be_imported(
    storage: PostgresStorage, ada: httpx2.AsyncClient, make_storage: MakeStorage, connect: Connect
) -> None:
    """Another user can import an export elsewhere, soft-deleted conversations included; a second import skips all."""
    await stock(storage)
    export = await ada.get("/export")
    elsewhere = connect(application(make_storage(table_prefix="elsewhere")), "grace")

    first, second = [await elsewhere.post("/import", content=export.content, headers=NDJSON) for _ in range(2)]

    assert export.headers["content-type"] == "application/x-ndjson"
    assert "attachment" in export.headers["content-disposition"]
    counts = {"conversations": 2, "messages": 6, "runs": 0, "files": 0, "skipped": [], "renamed": []}
    assert (first.status_code, first.json()) == (200, counts)
    assert [each["id"] for each in second.json()["skipped"]] == ["c0", "c1"]
    assert seen(await elsewhere.get("/export")) == seen(export)


async def test_what_was_imported_can_be_reached(ada: httpx2.AsyncClient) -> None:
    """Imported conversations can be reached by any id, also with a slash."""
    lines = [
        {"voltmem": 1, "kind": "header", "user_id": "ada", "exported_at": "2026-01-01T00:00:00+00:00"},
        {"kind": "conversation", "id": "team/42", "title": "Bread"},
        {"kind": "end"},
    ]

    imported = await ada.post("/import", content="\n".join(map(json.dumps, lines)), headers=NDJSON)

    assert (imported.json()["conversations"], imported.json()["renamed"]) == (1, [])
    assert (await ada.get("/conversations/team%2F42")).json()["title"] == "Bread"


async def test_an_import_never_touches_another_users(
    storage: PostgresStorage, ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient
) -> None:
    """Whatever user the lines name, the data is imported for the current user, under new ids where needed."""
    await stock(storage)
    export = await ada.get("/export")

    imported = await mallory.post("/import", content=export.content, headers=NDJSON)

    assert [each["id"] for each in imported.json()["renamed"]] == ["c0", "c1"]
    assert seen(await ada.get("/export")) == seen(export)
    assert len((await mallory.get("/conversations")).json()["items"]) == 1


async def test_lines_may_come_in_any_pieces(storage: PostgresStorage, ada: httpx2.AsyncClient) -> None:
    """The body may arrive in any pieces, even byte by byte."""
    await stock(storage)
    export = (await ada.get("/export")).content
    await ada.delete("/me")

    async def bytewise() -> AsyncIterator[bytes]:
        for byte in export:
            yield bytes([byte])

    assert (await ada.post("/import", content=bytewise(), headers=NDJSON)).json()["conversations"] == 2


@pytest.mark.parametrize(
    "lines",
    [b"", b"\n", b"{", b"null\n", b"\xff\n", b'{"kind": "header", "voltmem": 99}\n', b'{"kind": "conversation"}\n'],
    ids=str,
)
async def test_an_invalid_export_is_refused(lines: bytes, ada: httpx2.AsyncClient) -> None:
    """An invalid export is a 422 with the number of the line."""
    answer = await ada.post("/import", content=lines, headers=NDJSON)

    assert (answer.status_code, answer.json()["type"]) == (422, "urn:voltmem:invalid-request")
    assert "line" in answer.json()["detail"]


async def test_an_import_says_what_it_is(ada: httpx2.AsyncClient) -> None:
    """415 without the media type of an export, as a form of another site could send without a preflight."""
    for headers in ({"Content-Type": "text/plain"}, {}):
        assert (await ada.post("/import", content=b"", headers=headers)).status_code == 415


async def test_an_import_is_not_too_large(ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """413 as soon as an import exceeds the limit."""
    monkeypatch.setattr(_transfer, "MAX_IMPORT_BYTES", 1000)

    assert (await ada.post("/import", content=b" " * 1001, headers=NDJSON)).status_code == 413


async def test_an_export_without_a_client_releases_its_connection(make_storage: MakeStorage, serve: Serve) -> None:
    """If a client disconnects during an export, the connection is released."""
    storage = make_storage(max_connections=1)
    await storage.create_conversation({"id": "c0", "user_id": "ada"})
    for _ in range(8):
        large = [{"role": "user", "content": "x" * 1_000_000} for _ in range(4)]
        await storage.add_messages(large, "ada", "c0")

    async with serve(application(storage)) as address:
        async with (
            httpx2.AsyncClient(headers={"X-User": "ada"}, timeout=30) as client,
            client.stream("GET", f"{address}/api/export") as response,
        ):
            await anext(response.aiter_bytes())
        async with asyncio.timeout(20):
            assert await storage.count_conversations() == 1


async def test_an_export_that_never_began_ends_too() -> None:
    """If a client disconnects before the response begins, the connection is released without the garbage collector."""
    ended = asyncio.Event()

    async def exported() -> AsyncGenerator[bytes, None]:
        try:
            yield b"{}"
        finally:
            ended.set()

    async def send(_: Message) -> None:
        raise OSError("the client is gone")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    lines = exported()
    with pytest.raises(ClientDisconnect):
        await _streams.TimedStream(await anext(lines), lines, 200, {})(
            {"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send
        )

    assert ended.is_set()


async def test_a_database_that_is_down_is_a_problem_document(make_storage: MakeStorage, connect: Connect) -> None:
    """An error before the first line is a problem document with its own status."""
    nowhere = make_storage("postgresql://ada:secret@127.0.0.1:1/none", retry_timeout=0.1, connect_timeout=1)

    answer = await connect(application(nowhere)).get("/export")

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
