"""A request costs what its length is worth, and nothing before it is known who asks."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import Message, Scope

from tests.web.conftest import Connect, application
from tests.web.test_openapi import operations
from tests.web.test_problems import JSON, problem
from voltmem import ImportedConversation, InvalidInputError, PostgresStorage, _strict_json, web
from voltmem import Message as StoredMessage
from voltmem._areas import appends, area, search
from voltmem._areas.transfer import imports
from voltmem.web import _bodies, _problems, _transfer

NOWHERE = PostgresStorage("postgresql://nowhere/none")


def request(method: str, path: str, kind: str, **headers: str) -> Scope:
    """Return the scope of a request, whose body is not there yet."""
    given = {"content-type": f"application/{kind}", **headers}
    return {
        **{"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""},
        **{"scheme": "http", "root_path": "", "http_version": "1.1"},
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
    }


# --- before it is known who asks ----------------------------------------------------------------------------------

APPLICATION = application(NOWHERE)
WITH_BODY = [name for name in operations(APPLICATION.openapi()) if not name.startswith(("GET", "DELETE"))]


@pytest.mark.parametrize("name", WITH_BODY)
async def test_nobodys_body_is_read(name: str) -> None:
    """The body of a request is not asked for if nobody is signed in."""
    method, path = name.split()
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    kind = "x-ndjson" if path.endswith("import") else "json"
    await APPLICATION(request(method, path.replace("{", "").replace("}", ""), kind), receive, send)

    assert sent[0]["status"] == 401


async def test_the_applications_dependency_reads_the_body(storage: PostgresStorage, connect: Connect) -> None:
    """A dependency that checks a signature of the body is given the body itself, and so is the route."""
    read: list[bytes] = []

    async def signed(request: Request) -> str:
        read.append(await request.body())
        assert await request.json() == {"title": "Bread"}
        return "ada"

    app = FastAPI()
    app.include_router(web.router(storage, user=signed, chosen_ids="any"), prefix="/api")
    made = await connect(app).post("/conversations", json={"title": "Bread"})

    assert (made.status_code, made.json()["title"]) == (201, "Bread")
    assert json.loads(read[0]) == {"title": "Bread"}


async def test_a_body_without_a_content_type_is_no_json(ada: httpx2.AsyncClient) -> None:
    """A body without a content type is refused; where a body may be left out, it may be empty."""
    await ada.post("/conversations", json={"id": "c1"})

    problem(await ada.post("/conversations/c1/archive", content=b'{"archived": false}'), 422)
    assert (await ada.post("/conversations/c1/archive")).json()["archived"]


async def test_a_body_that_is_cut_off_is_refused(storage: PostgresStorage) -> None:
    """A client that disconnects within its body has a 400, and no exception reaches the application."""
    sent: list[Message] = []
    received: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(received)

    async def send(message: Message) -> None:
        sent.append(message)

    await application(storage)(request("POST", "/api/conversations", "json", x_user="ada"), receive, send)

    assert sent[0]["status"] == 400


# --- the cost grows with the length -------------------------------------------------------------------------------


@contextmanager
def lines_counted() -> Iterator[list[int]]:
    """Count the lines of Python that voltmem executes in this thread."""
    count = [0]

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        count[0] += 1
        return trace if "voltmem" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


def object_of(names: Iterator[object] | range) -> str:
    return ", ".join(f'"{name}": 0' for name in names)


BODIES: dict[str, tuple[str, str, Callable[[int], str]]] = {
    "unknown names": ("POST", "", lambda n: f"{{{object_of(range(n))}}}"),
    "a name twice": ("POST", "", lambda n: f'{{{object_of(range(n))}, "{n - 1}": 0}}'),
    "metadata": ("POST", "", lambda n: f'{{"metadata": {{{object_of(range(n))}}}}}'),
    "tags that are none": ("PATCH", "/c1", lambda n: f'{{"tags": [{"0, " * n}0]}}'),
    "lists": ("POST", "/c1/messages", lambda n: f'{{"role": "user", "content": [{"[], " * n}[]]}}'),
    "one message with unknown names": (
        *("POST", "/c1/messages"),
        lambda n: f'{{"role": "user", "content": "a", {object_of(range(n))}}}',
    ),
    "messages with unknown names": (
        *("POST", "/c1/messages"),
        lambda n: f'{{"messages": [{", ".join([f"{{{object_of(range(20))}}}"] * (n // 20))}]}}',
    ),
    "text": ("POST", "/c1/messages", lambda n: f'{{"role": "user", "content": "{"a b " * n}"}}'),
    "parts": (
        *("POST", "/c1/ui-messages"),
        lambda n: f'{{"id": "a", "role": "user", "parts": [{", ".join([UI_PART] * n)}]}}',
    ),
    "parts without a type": (
        *("POST", "/c1/ui-messages"),
        lambda n: f'{{"id": "a", "role": "user", "parts": [{", ".join(["{}"] * n)}]}}',
    ),
    "calls": (
        *("POST", "/c1/messages"),
        lambda n: f'{{"role": "assistant", "content": null, "tool_calls": [{", ".join([CALL] * n)}]}}',
    ),
}
UI_PART = '{"type": "text", "text": "a"}'
CALL = '{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}'


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_costs_what_its_length_is_worth(kind: str, ada: httpx2.AsyncClient) -> None:
    """Four times as long a body makes the routes execute at most about four times as many lines."""
    await ada.post("/conversations", json={"id": "c1"})
    method, path, body = BODIES[kind]
    counts = []
    for size in (200, 200, 800):  # the first time modules are imported
        with lines_counted() as count:
            await ada.request(method, f"/conversations{path}", content=body(size), headers=JSON)
        counts.append(count[0])

    assert counts[2] < 4.4 * counts[1]


def test_a_name_that_comes_twice_is_found_in_one_pass() -> None:
    """Finding the name that an object has twice compares about as many names as there are."""
    compared = 0

    class Name(str):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    pairs: list[Any] = [(Name(number), None) for number in (*range(1000), 999)]
    with pytest.raises(ValueError, match="the name '999' twice"):
        _strict_json._object(pairs)

    assert compared < 100


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["[[], [], [], [], []]", '{"a": 0, "b": 0, "c": 0, "d": 0, "e": 0}', "[0,0,0,0,0,0]"])
async def test_a_body_of_too_many_values_is_refused(
    body: str, ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """413 for a body with too many JSON values; commas and brackets in a string are none."""
    monkeypatch.setattr(_bodies, "MAX_VALUES", 5)
    text = json.dumps("words " + '[,{"\\' * 100)

    problem(await ada.post("/conversations", content=body, headers=JSON), 413)
    made = await ada.post("/conversations", content=f'{{"metadata": {{"a": {text}}}}}', headers=JSON)
    assert made.json()["metadata"] == {"a": json.loads(text)}


HIDDEN: Final = {
    "lists": '"[[],[],[],[],[]]"',
    "objects": '"{\\"a\\":0,\\"b\\":0,\\"c\\":0,\\"d\\":0,\\"e\\":0}"',
    "after spaces": '"\\n \\u0020[0,0,0,0,0,0]"',
    "escaped": '"\\u005b0\\u002c0\\u002C0\\u002c0\\u002c0\\u002c0\\u005D"',
    "within a string within it": '"[\\"[0,0,0,0,0,0]\\"]"',
}


@pytest.mark.parametrize("name", HIDDEN)
async def test_values_of_json_in_a_string_count(
    name: str, ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """413 for too many values in the fields of "exact" in an import, or in the text of a call's arguments."""
    monkeypatch.setattr(_bodies, "MAX_VALUES", 5)
    exact = f'{{"voltmem":1,"kind":"header"}}\n{{"exact":{{"content":{HIDDEN[name]}}}}}\n'

    problem(
        await ada.post("/conversations", content=f'{{"metadata": {{"arguments": {HIDDEN[name]}}}}}', headers=JSON), 413
    )
    answer = await ada.post("/import", content=exact, headers={"Content-Type": "application/x-ndjson"})

    assert problem(answer, 413)["detail"] == "A line has more than 5 JSON values."


@pytest.mark.parametrize("depth", [_bodies.MAX_DEPTH + 1, 100_000])
async def test_a_body_that_is_too_deep_is_not_parsed(depth: int, ada: httpx2.AsyncClient) -> None:
    """400 for a body of too many levels, before the parser reaches them."""
    answer = await ada.post("/conversations", content=b"[" * depth, headers=JSON)

    assert problem(answer, 400)["detail"] == "The body is nested too deeply."


@pytest.mark.parametrize(
    ("path", "kind"), [("conversations", "json"), ("import", "x-ndjson"), ("files", "octet-stream")]
)
async def test_a_body_that_is_declared_too_large_is_not_read(path: str, kind: str, storage: PostgresStorage) -> None:
    """413 for a Content-Length above the limit, before anything of the body is read."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    given = request("POST", f"/api/{path}", kind, content_length="9" * 5000, x_user="ada")
    await application(storage)(given, receive, send)

    assert sent[0]["status"] == 413


async def test_a_line_of_an_import_has_a_limit(ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """413 for a line that is too long, as soon as it is, and for one with too many values."""
    monkeypatch.setattr(_transfer, "MAX_LINE_BYTES", 100)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 40

    answer = await ada.post("/import", content=endless(), headers={"Content-Type": "application/x-ndjson"})
    assert problem(answer, 413)["detail"] == "A line has more than 100 bytes."
    assert sent < 10

    monkeypatch.setattr(_bodies, "MAX_VALUES", 5)
    lines = b'{"voltmem":1,"kind":"header"}\n[0,0,0,0,0,0]\n'
    answer = await ada.post("/import", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert problem(answer, 413)["detail"] == "A line has more than 5 JSON values."


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        ("/conversations", {str(number): 0 for number in range(1000)}, 100),
        ("/conversations/c1/messages", {"messages": [{str(number): 0 for number in range(1000)}] * 9}, 100),
        ("/conversations/c1/ui-messages", {"id": "a", "role": "user", "parts": [{}] * 1000}, 1),
    ],
)
async def test_validation_stops_at_the_first_hundred_errors(
    path: str, body: object, count: int, ada: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an invalid body, pydantic makes about a hundred errors, and of a list those of the first invalid item."""
    made: list[int] = []
    listed = _problems._invalid

    def counted(error: RequestValidationError) -> Response:
        made.append(len(error.errors()))
        return listed(error)

    monkeypatch.setattr(_problems, "_invalid", counted)

    errors = problem(await ada.post(path, json=body), 422)["errors"]

    assert count <= len(errors) <= 100
    assert made[0] < 110


def test_a_model_names_a_hundred_unknown_fields() -> None:
    """A value with many unknown fields is an error that names a hundred of them."""
    given: dict[str, Any] = {"role": "user", "content": "a", **{f"x{number}": 0 for number in range(1000)}}

    with pytest.raises(InvalidInputError) as refused:
        StoredMessage.of(given)

    assert str(refused.value).count("unknown field 'x") == 100


# --- off the event loop -------------------------------------------------------------------------------------------


async def test_long_work_is_done_in_a_thread(storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import, a message and a search of much text leave the event loop to others; little text pays no thread."""
    threads: dict[str, set[int]] = {}

    def recorded(module: object, name: str) -> None:
        function = getattr(module, name)

        def called(*arguments: object, **named: object) -> object:
            threads.setdefault(name, set()).add(threading.get_ident())
            return function(*arguments, **named)

        monkeypatch.setattr(module, name, called)

    recorded(imports, "message_columns")
    recorded(search, "snippet")
    recorded(appends, "vectors")
    text = "parcel " * 1000
    conversation = ImportedConversation(id="c1", title="a", messages=[StoredMessage(role="user", content=text)])
    for limit, is_long in ((area._LONG, False), (1000, True)):
        threads.clear()
        monkeypatch.setattr(area, "_LONG", limit)
        await storage.delete_user("ada")
        await storage.import_conversations("ada", [conversation])
        await storage.add_message({"role": "user", "content": text}, "ada", "c1")
        assert len((await storage.search("ada", "parcel")).hits) == 1

        assert [each - {threading.get_ident()} != set() for each in threads.values()] == [is_long] * 3
