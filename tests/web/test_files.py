"""Files over HTTP: uploads, ranges, who may read them, and addresses in place of references, in all routes."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.checkout import ROOT
from tests.conftest import MakeStorage
from tests.node import node
from tests.web.conftest import Connect, Serve, application, signed_in
from voltmem import InvalidOptionError, PostgresStorage, web

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2000
ID = sha256(PNG).hexdigest()
REFERENCE = f"voltmem:file/{ID}"
PATH = f"/api/files/{ID}"
ADDRESS = f"http://test{PATH}"


@pytest.fixture
def anybody(app: FastAPI, connect: Connect) -> httpx2.AsyncClient:
    """A client that is not signed in."""
    return connect(app, None)


@pytest.fixture
async def conversation(storage: PostgresStorage) -> str:
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return "c1"


@pytest.fixture
async def url(ada: httpx2.AsyncClient) -> str:
    """The address of a picture of ada's, below the prefix."""
    uploaded = await ada.post("/files", content=PNG, headers={"Content-Type": "image/png"})
    assert uploaded.status_code == 201, uploaded.text
    assert uploaded.json() == {
        "id": ID,
        "size": len(PNG),
        "createdAt": uploaded.json()["createdAt"],
        "url": ADDRESS,
    }
    return f"/files/{ID}"


def picture(url: str, id: str = "m1") -> dict[str, Any]:
    """A message of useChat that shows a picture."""
    file = {"type": "file", "mediaType": "image/png", "filename": "cat.png", "url": url}
    return {"id": id, "role": "user", "parts": [{"type": "text", "text": "Look"}, file]}


# --- uploading and reading ----------------------------------------------------------------------------------------


async def test_a_file_is_read_as_it_was_uploaded(ada: httpx2.AsyncClient, url: str) -> None:
    """A file comes back whole, with its type, and with headers with which a browser runs nothing of it."""
    read = await ada.get(url)

    assert read.status_code == 200
    assert read.content == PNG
    assert read.headers["content-type"] == "image/png"
    assert read.headers["content-length"] == str(len(PNG))
    assert read.headers["content-disposition"] == "inline"
    assert read.headers["x-content-type-options"] == "nosniff"
    assert read.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert read.headers["cache-control"] == "private, no-cache"
    assert read.headers["etag"] == f'"{ID}"'


@pytest.mark.parametrize(
    ("content", "type", "shown"),
    [
        (b"\xff\xd8\xff\xe0 a photo", "image/jpeg", "inline"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav", "inline"),
        (b"%PDF-1.7", "application/pdf", "attachment"),
        (b"<html><script>alert(1)</script>", "application/octet-stream", "attachment"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "application/octet-stream", "attachment"),
        (b"", "application/octet-stream", "attachment"),
    ],
    ids=["JPEG", "WAV", "PDF", "HTML", "SVG", "empty"],
)
async def test_a_file_is_served_with_a_type_that_a_browser_cannot_run(
    ada: httpx2.AsyncClient, content: bytes, type: str, shown: str
) -> None:
    """The type comes from the content, whatever was declared; what could hold a script is saved and not shown."""
    uploaded = await ada.post("/files", content=content, headers={"Content-Type": "image/svg+xml"})

    read = await ada.get(uploaded.json()["url"])

    assert (read.content, read.headers["content-type"], read.headers["content-disposition"]) == (content, type, shown)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=3-9", 3, 10),
        ("bytes=262140-262150", 262140, 262151),
        ("bytes=500000-", 500000, len(PNG)),
        ("bytes=-5", len(PNG) - 5, len(PNG)),
        ("bytes=-9999999", 0, len(PNG)),
        ("bytes=7-9999999", 7, len(PNG)),
    ],
)
async def test_a_file_is_read_in_ranges(ada: httpx2.AsyncClient, url: str, asked: str, start: int, end: int) -> None:
    """A player gets the range that it asks for, with the type of the whole."""
    read = await ada.get(url, headers={"Range": asked})

    assert read.status_code == 206
    assert read.content == PNG[start:end]
    assert read.headers["content-range"] == f"bytes {start}-{end - 1}/{len(PNG)}"
    assert read.headers["content-type"] == "image/png"


@pytest.mark.parametrize("asked", ["bytes=512008-", "bytes=9-3", "bytes=-0"])
async def test_a_range_that_a_file_does_not_have_is_refused(ada: httpx2.AsyncClient, url: str, asked: str) -> None:
    """A range after the end is 416, with the size."""
    read = await ada.get(url, headers={"Range": asked})

    assert (read.status_code, read.headers["content-range"]) == (416, f"bytes */{len(PNG)}")


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,4-5"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=-"},
        {"Range": "bytes=0-1", "If-Range": '"x"'},
    ],
)
async def test_a_file_is_sent_whole_for_a_range_that_is_not_understood(
    ada: httpx2.AsyncClient, url: str, headers: dict[str, str]
) -> None:
    """Several ranges, other units, and a range of another content: all of it is sent."""
    read = await ada.get(url, headers=headers)

    assert (read.status_code, read.content) == (200, PNG)


async def test_a_file_that_the_client_has_is_not_sent_again(ada: httpx2.AsyncClient, url: str) -> None:
    """A client that has the content learns that it is still there, and may be read."""
    read = await ada.get(url, headers={"If-None-Match": f'W/"x", "{ID}"'})

    assert (read.status_code, read.content) == (304, b"")


async def test_head_answers_as_get_without_the_content(
    ada: httpx2.AsyncClient, storage: PostgresStorage, conversation: str, url: str
) -> None:
    """HEAD has the headers of the whole file, for the user's own files and for those behind a link."""
    await ada.post(f"/conversations/{conversation}/ui-messages", json=picture(ADDRESS))
    token = (await storage.share_conversation(conversation)).token
    for address in (url, f"/shared/{token}/files/{ID}"):
        read, asked = await ada.get(address), await ada.head(address, headers={"Range": "bytes=0-1"})

        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers == read.headers
        cached = await ada.head(address, headers={"If-None-Match": read.headers["etag"]})
        assert (cached.status_code, cached.content) == (304, b"")
    assert (await ada.head(f"/files/{'0' * 64}")).status_code == 404
    assert (await ada.put(url)).headers["allow"] == "DELETE, GET, HEAD"


async def test_a_file_that_is_too_large_is_refused(storage: PostgresStorage, connect: Connect) -> None:
    """An upload beyond the limit is 413, declared or not, and nothing of it remains."""
    app = FastAPI()
    app.include_router(web.router(storage, user=signed_in, max_file_bytes=len(PNG) - 1))
    client = connect(app, prefix="")

    async def in_pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(PNG), 1000):
            yield PNG[place : place + 1000]

    refused = [(await client.post("/files", content=content)).status_code for content in (PNG, in_pieces())]

    assert refused == [413, 413]
    assert (await client.post("/files", content=PNG[:-1])).status_code == 201
    assert await storage.get_file("ada", ID) is None
    await storage.delete_file("ada", sha256(PNG[:-1]).hexdigest())
    assert await storage._executor.fetch(f"SELECT FROM {storage._options.tables.files}") == []


async def test_a_form_with_a_file_is_refused(ada: httpx2.AsyncClient) -> None:
    """The body is the file itself; a form would be stored with its boundaries."""
    refused = await ada.post("/files", files={"file": ("a.txt", b"a note")})

    assert refused.status_code == 415
    assert "the file itself" in refused.json()["detail"]


@pytest.mark.parametrize("bytes", [-1, "1", None, 1.5])
def test_a_limit_that_is_no_number_is_refused(storage: PostgresStorage, bytes: Any) -> None:
    """max_file_bytes is a number of bytes."""
    with pytest.raises(InvalidOptionError, match="max_file_bytes"):
        web.router(storage, user=signed_in, max_file_bytes=bytes)


async def test_an_upload_over_a_real_connection_ends_with_it(storage: PostgresStorage, serve: Serve) -> None:
    """A client that goes away during an upload leaves nothing."""

    async def broken() -> AsyncIterator[bytes]:
        yield PNG
        raise ConnectionAbortedError

    async with serve(application(storage)) as address, httpx2.AsyncClient(base_url=address) as client:
        with pytest.raises(ConnectionAbortedError):
            await client.post("/api/files", content=broken(), headers={"X-User": "ada"})
        uploaded = await client.post("/api/files", content=PNG, headers={"X-User": "ada"})
        read = await client.get(uploaded.json()["url"], headers={"X-User": "ada"})

    assert read.content == PNG
    rows = await storage._executor.fetch(f"SELECT id FROM {storage._options.tables.files}")
    assert [row["id"] for row in rows] == [ID]


# --- who may read -------------------------------------------------------------------------------------------------


async def test_another_user_neither_reads_nor_deletes_a_file(
    ada: httpx2.AsyncClient, mallory: httpx2.AsyncClient, anybody: httpx2.AsyncClient, url: str
) -> None:
    """Another user's file looks like a missing one; without a user there is none."""
    missing = f"/files/{'0' * 64}"

    assert [(await mallory.get(each)).json() for each in (url, missing)] == [(await mallory.get(missing)).json()] * 2
    assert (await mallory.get(url)).status_code == 404
    assert (await mallory.delete(url)).status_code == 404
    assert (await anybody.get(url)).status_code == 401
    assert (await anybody.post("/files", content=PNG)).status_code == 401
    assert (await ada.get("/files/c1")).status_code == 404
    assert (await ada.get(url)).status_code == 200


async def test_a_file_is_deleted_unless_a_message_shows_it(
    ada: httpx2.AsyncClient, url: str, conversation: str
) -> None:
    """A draft's file can be deleted; one that a message shows is 409, and goes with the message."""
    await ada.post(f"/conversations/{conversation}/ui-messages", json=picture(ADDRESS))

    assert (await ada.delete(url)).status_code == 409
    assert (await ada.delete(f"/conversations/{conversation}/messages/m1")).status_code == 204
    assert (await ada.get(url)).status_code == 404
    await ada.post("/files", content=PNG)
    assert (await ada.delete(url)).status_code == 204


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [ADDRESS, f"https://test{PATH}", PATH, REFERENCE])
async def test_a_message_with_an_address_is_stored_with_the_reference(
    storage: PostgresStorage, ada: httpx2.AsyncClient, url: str, conversation: str, sent: str
) -> None:
    """The storage has the reference, every route the address, and saving that again changes nothing."""
    saved = await ada.post(f"/conversations/{conversation}/ui-messages", json=picture(sent))
    assert saved.json() == [picture(ADDRESS)]

    (stored,) = await storage.get_messages("ada", conversation)
    assert ADDRESS not in str(stored)
    assert isinstance(stored.content, list)
    assert stored.content[1] == {**picture(REFERENCE)["parts"][1]}

    loaded = (await ada.get(f"/conversations/{conversation}/ui-messages")).json()
    assert loaded == [picture(ADDRESS)]
    listed = (await ada.get(f"/conversations/{conversation}/messages")).json()["items"]
    assert listed[0]["content"][1]["url"] == ADDRESS
    history = (await ada.get(f"/conversations/{conversation}/history")).json()["messages"]
    assert history[0]["content"]["parts"][1]["url"] == ADDRESS

    await ada.post(f"/conversations/{conversation}/ui-messages", json=loaded)
    assert await storage.get_messages("ada", conversation) == [stored]


async def test_an_address_with_escaped_slashes_is_one(
    storage: PostgresStorage, ada: httpx2.AsyncClient, url: str, conversation: str
) -> None:
    """Some clients write a slash in JSON as \\/."""
    body = json.dumps(picture(ADDRESS)).replace("/", r"\/")

    saved = await ada.post(
        f"/conversations/{conversation}/ui-messages", content=body, headers={"Content-Type": "application/json"}
    )

    assert saved.json() == [picture(ADDRESS)]
    assert await storage.delete_file("ada", ID) is False


@pytest.mark.parametrize(
    "text",
    [
        f"See {ADDRESS}",
        f'"{REFERENCE}"',
        f'say "{REFERENCE}',
        f'{REFERENCE}"',
        f"http://elsewhere{PATH}",
        f"{REFERENCE}0",
    ],
)
async def test_an_address_within_a_text_stays(
    storage: PostgresStorage, ada: httpx2.AsyncClient, conversation: str, text: str
) -> None:
    """What people write comes back as they wrote it, and an address of another host is not ours."""
    message = {"id": "m1", "role": "user", "content": text, "metadata": {"as JSON": json.dumps([text])}}

    stored = (await ada.post(f"/conversations/{conversation}/messages", json=message)).json()["items"][0]

    assert (stored["content"], stored["metadata"]) == (text, message["metadata"])
    assert (await storage.get_messages("ada", conversation))[0].content == text


async def test_addresses_have_the_prefix_of_the_application(storage: PostgresStorage, connect: Connect) -> None:
    """Mounted, with parameters in the prefix, or behind a proxy that cuts off a path: the address is the client's."""
    mounted = Starlette(routes=[Mount("/outer", FastAPI())])
    inner = mounted.routes[0].app  # type: ignore[attr-defined]
    inner.include_router(web.router(storage, user=signed_in), prefix="/of/{tenant}")
    behind = application(storage)
    app = Starlette(routes=[Mount("/api", web.app(storage, lambda request: request.headers.get("x-user")))])

    made = [
        await connect(mounted, prefix="/outer/of/a%20b").post("/files", content=b"a"),
        await connect(behind, root_path="/proxy").post("/files", content=b"b"),
        await connect(app).post("/files", content=b"c"),
    ]

    assert [re.sub("[0-9a-f]{64}", "ID", each.json()["url"]) for each in made] == [
        "http://test/outer/of/a%20b/files/ID",
        "http://test/proxy/api/files/ID",
        "http://test/api/files/ID",
    ]


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https"}, "https://chat.example"),
        (
            {"X-Forwarded-Host": "chat.example:8443, inner", "X-Forwarded-Proto": "https, http"},
            "https://chat.example:8443",
        ),
        ({"Host": "[::1]:8000"}, "http://[::1]:8000"),
        ({"Host": 'x"y'}, ""),
        ({"X-Forwarded-Host": "a/b"}, ""),
        ({"X-Forwarded-Proto": "javascript"}, ""),
    ],
)
async def test_an_address_has_the_host_that_the_client_asked(
    storage: PostgresStorage, ada: httpx2.AsyncClient, url: str, conversation: str, headers: dict[str, str], origin: str
) -> None:
    """A proxy says what the client asked; what is no host is left out. The address is read back the same way."""
    ada.headers.update(headers)

    saved = await ada.post(f"/conversations/{conversation}/ui-messages", json=picture(origin + PATH))

    assert saved.json() == [picture(origin + PATH)]
    (stored,) = await storage.get_messages("ada", conversation)
    assert REFERENCE in str(stored)


async def test_an_edited_question_keeps_its_picture(
    storage: PostgresStorage, ada: httpx2.AsyncClient, url: str, conversation: str
) -> None:
    """The question is stored under another id and the old one dropped: the picture that both show stays."""
    answer = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "A cat."}]}
    messages = [{"id": "m0", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}, picture(ADDRESS), answer]
    await ada.post(f"/conversations/{conversation}/ui-messages", json={"messages": messages})

    edited = {"messages": [messages[0], picture(ADDRESS, "m2")], "rewind": True}
    saved = await ada.post(f"/conversations/{conversation}/ui-messages", json=edited)

    assert saved.status_code == 200
    assert [each.id for each in await storage.get_messages("ada", conversation)] == ["m0", "m2"]
    assert (await ada.get(url)).content == PNG


# --- shared -------------------------------------------------------------------------------------------------------


async def test_a_link_shows_the_files_of_its_messages_and_no_others(
    storage: PostgresStorage, ada: httpx2.AsyncClient, anybody: httpx2.AsyncClient, url: str, conversation: str
) -> None:
    """Files are read under the token: those in messages that the link shows, until it is revoked."""
    await ada.post(f"/conversations/{conversation}/ui-messages", json=picture(ADDRESS))
    hidden: dict[str, JsonValue] = {}
    for name in ("later", "a tool's", "metadata's", "the system's"):
        hidden[name] = (await storage.put_file("ada", name.encode())).id
    refer = {name: f"voltmem:file/{id}" for name, id in hidden.items()}
    call = {
        "type": "tool-draw",
        "toolCallId": "1",
        "state": "output-available",
        "input": {},
        "output": refer["a tool's"],
    }
    answer = {"id": "m2", "role": "assistant", "parts": [call, {"type": "text", "text": "Done"}]}
    await ada.post(f"/conversations/{conversation}/ui-messages", json=answer)
    said = {"id": "m3", "role": "user", "content": "Thanks", "metadata": {"by": refer["metadata's"]}}
    file = [{"type": "file", "url": refer["the system's"]}]
    await storage.add_messages([said, {"role": "system", "content": file}], "ada", conversation)
    token = (await ada.post(f"/conversations/{conversation}/share")).json()["token"]
    await storage.add_message({"role": "user", "content": [{"type": "file", "url": refer["later"]}]}, "ada", "c1")

    page = (await anybody.get(f"/shared/{token}")).json()["items"]

    assert [(each["content"], len(each["files"])) for each in page] == [("Look", 1), ("Done", 0), ("Thanks", 0)]
    (shown,) = page[0]["files"]
    assert shown == {"url": f"http://test/api/shared/{token}/files/{ID}", "mediaType": "image/png", "name": "cat.png"}
    read = await anybody.get(shown["url"], headers={"Range": "bytes=1-3"})
    assert (read.status_code, read.content, read.headers["x-robots-tag"]) == (206, b"PNG", "noindex")
    for name, id in hidden.items():
        assert (await anybody.get(f"/shared/{token}/files/{id}")).status_code == 404, name
    assert (await anybody.get(f"/shared/other/files/{ID}")).status_code == 404

    await ada.delete(f"/shares/{token}")
    assert (await anybody.get(shown["url"])).status_code == 404


async def test_a_link_shows_files_that_were_extracted(
    storage: PostgresStorage, make_storage: MakeStorage, connect: Connect
) -> None:
    """What files="extract" took out of a message is shown by its address, and never with its bytes."""
    extracting = make_storage(search=True, files="extract")
    await extracting.create_conversation({"id": "c1", "user_id": "ada"})
    client = connect(application(extracting))
    data = f"data:image/png;base64,{b64encode(PNG).decode()}"
    await client.post("/conversations/c1/ui-messages", json=picture(data))
    token = (await client.post("/conversations/c1/share")).json()["token"]

    (shown,) = (await client.get(f"/shared/{token}")).json()["items"]

    assert shown["files"] == [
        {"url": f"http://test/api/shared/{token}/files/{ID}", "mediaType": "image/png", "name": "cat.png"}
    ]
    assert (await client.get(f"/shared/{token}/files/{ID}")).content == PNG
    assert (await client.get("/conversations/c1/ui-messages")).json() == [picture(data)]


# --- the documentation --------------------------------------------------------------------------------------------


async def test_the_page_for_files_attaches_one(storage: PostgresStorage, serve: Serve) -> None:
    """The documented code uploads a file and makes the part of a message, and says why a file is refused."""
    found = re.search(r"```ts\n(import type \{ FileUIPart.*?)```", (ROOT / "docs/how-to/web.md").read_text(), re.DOTALL)
    assert found is not None
    app = FastAPI()
    app.include_router(web.router(storage, user=signed_in, max_file_bytes=10), prefix="/api")

    async with serve(app) as address:
        said = await node("attach.cjs", {"page": found[1], "address": address})

    url = f"{address}/api/files/{sha256(b'a note').hexdigest()}"
    assert said["part"] == {"type": "file", "mediaType": "text/plain", "filename": "note.txt", "url": url}
    assert (said["status"], said["bytes"]) == (200, "a note")
    assert said["error"] == "The file has more than 10 bytes."
