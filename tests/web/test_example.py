"""The example application, run as documented, answers, and ends on Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from tests.checkout import ROOT


@asynccontextmanager
async def running(database: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", ROOT / "examples" / "web_app.py", "0"),
        env={**os.environ, "VOLTMEM_DATABASE_URL": database, "PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.PIPE,
    )
    assert program.stderr is not None
    try:
        while b"Uvicorn running on" not in (line := await program.stderr.readline()):
            assert line, "it ended before it began"
        yield program, line.split()[4].decode()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def test_the_example_answers_and_ctrl_c_ends_it_with_an_open_stream(database: str) -> None:
    """Ctrl-C ends the server although a stream of events, which never ends by itself, is open."""
    async with (
        running(database) as (program, address),
        httpx2.AsyncClient(base_url=f"{address}/api", headers={"X-User": "ada"}, timeout=60) as client,
    ):
        made = await client.post("/conversations", json={"title": "Bread"})
        assert (await client.get(f"{address}{made.headers['location']}")).json()["title"] == "Bread"
        assert (await client.get("/conversations", headers={"X-User": "bob"})).json()["items"] == []

        async with client.stream("GET", "/events") as events:
            await anext(events.aiter_bytes())
            program.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                assert await program.wait() in (0, -signal.SIGINT, 130)
