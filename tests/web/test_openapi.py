"""The OpenAPI document: it is complete, and the routes do as it says, whatever is sent to them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from fastapi import Request

from tests.web.conftest import Serve
from voltmem import PostgresStorage, web

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
METHODS = {"get", "post", "put", "patch", "delete"}


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations of a document, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


async def schemathesis(address: str, *options: str, configuration: str) -> None:
    """Run schemathesis against an application; it must find nothing."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "schemathesis.cli", "--no-color", "--config-file", HERE / configuration),
        *("run", f"{address}/openapi.json", "--continue-on-failure", "--warnings", "off", *options),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=HERE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await program.communicate()
    assert program.returncode == 0, printed.decode()


async def test_schemathesis_finds_nothing_about_a_user_with_data(storage: PostgresStorage, serve: Serve) -> None:
    """Every operation, with good and bad parameters and bodies, on a conversation that is there."""

    async def ada(_: Request) -> str:
        mine = storage.for_user("ada")
        await mine.restore_conversation("c1") if await mine.list_deleted_conversations(limit=1) else None
        await mine.ensure_conversation({"id": "c1", "title": "Bread"})
        await mine.add_message({"id": "m1", "role": "user", "content": "Why won't it rise?"}, "c1")
        return "ada"

    async with serve(web.app(storage, user=ada)) as address:
        await schemathesis(address, "--phases", "coverage,fuzzing", "-n", "8", configuration="schemathesis.toml")
