"""Folders and servers for the tests of the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.postgres.embedded.processes import eventually, processes_in


@pytest.fixture
def reachable() -> Iterator[Path]:
    """An empty folder that every account can use, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="voltmem-test-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    eventually(lambda: not processes_in(folder))  # a killed process is there until it gets its turn on a busy machine
    left = processes_in(folder)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
def home(reachable: Path) -> Path:
    """A folder for a shared server, which does not exist yet."""
    return reachable / "home"
