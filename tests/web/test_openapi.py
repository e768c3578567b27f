"""The OpenAPI document is complete, and the routes behave as it says, for any request."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from tests.properties import explores, times
from tests.web.conftest import Serve, application
from voltmem import PostgresStorage, web

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
METHODS = {"get", "post", "put", "patch", "delete"}
OPEN_TO_ALL = {"GET /api/shared/{token}", "GET /api/shared/{token}/files/{fileId}"}


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Yield the operations of a document, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def test_every_operation_says_all_of_itself() -> None:
    """Every operation has a summary, an id and all its responses, problems included."""
    document = application(PostgresStorage("postgresql://nowhere/none")).openapi()
    found = operations(document)

    assert len({operation["operationId"] for operation in found.values()}) == len(found) == 59
    for name, operation in found.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert {"422", "503"} <= operation["responses"].keys(), name
        assert ({"401", "403"} <= operation["responses"].keys()) == (name not in OPEN_TO_ALL), name
        assert ("404" in operation["responses"]) == ("{" in name), name
        for status, response in operation["responses"].items():
            kinds = list(response.get("content", {}))
            assert response["description"], (name, status)
            assert len(kinds) == (status not in ("204", "304")), (name, status)
            assert (kinds == ["application/problem+json"]) == (status >= "400"), (name, status)
        for parameter in operation.get("parameters", []):
            assert parameter["name"] == "x-user" or parameter["description"], (name, parameter["name"])


def test_a_link_leads_to_an_operation() -> None:
    """A link leads to an operation of the document."""
    found = operations(application(PostgresStorage("postgresql://nowhere/none")).openapi())
    names = {operation["operationId"] for operation in found.values()}
    links = [
        link["operationId"]
        for operation in found.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]

    assert links
    assert set(links) <= names


async def schemathesis(address: str, count: int, *options: str, configuration: str, folder: Path) -> None:
    """
    Run schemathesis against an application, and check that it finds nothing. Its examples are kept in the folder.

    The requests are the same each time, or several times as many with a fresh seed under `make explore`.
    """
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "schemathesis.cli", "--no-color", "--config-file", HERE / configuration),
        *("run", f"{address}/openapi.json", "--continue-on-failure", "--warnings", "off", *options),
        # One thread: in Python 3.11.7 and before, two that parse Python at once fail now and then (gh-106905).
        *("--workers", "1"),
        *("--max-examples", str(count * times())),
        *(() if explores() else ("--generation-deterministic",)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await program.communicate()
    assert program.returncode == 0, printed.decode()


@pytest.mark.hypothesis
async def test_schemathesis_finds_nothing_about_a_user_with_data(
    storage: PostgresStorage, serve: Serve, tmp_path: Path
) -> None:
    """schemathesis finds nothing in any operation on an existing conversation, with valid and invalid requests."""

    async def ada(_: Request) -> str:
        mine = storage.for_user("ada")
        await mine.restore_conversation("c1") if await mine.list_deleted_conversations(limit=1) else None
        await mine.ensure_conversation({"id": "c1", "title": "Bread"})
        await mine.add_message({"id": "m1", "role": "user", "content": "Why won't it rise?"}, "c1")
        return "ada"

    async with serve(web.app(storage, user=ada, chosen_ids="any")) as address:
        options = ("--phases", "coverage,fuzzing")
        await schemathesis(address, 4, *options, configuration="schemathesis.toml", folder=tmp_path)


@pytest.mark.hypothesis
async def test_schemathesis_finds_nothing_along_the_links(
    storage: PostgresStorage, serve: Serve, tmp_path: Path
) -> None:
    """schemathesis finds nothing along the links: created conversations and messages exist, deleted ones do not."""
    about = ("createConversation", "getConversation", "deleteConversation", "addMessages")
    operations = [option for name in about for option in ("--include-operation-id", name)]

    async with serve(web.app(storage, user=lambda _: "ada", chosen_ids="any")) as address:
        options = ("--phases", "stateful", *operations)
        await schemathesis(address, 15, *options, configuration="schemathesis.stateful.toml", folder=tmp_path)
    assert await storage.count_conversations(user_id="ada")
    assert await storage.list_deleted_conversations("ada")
