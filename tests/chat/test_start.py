"""``python -m examples.chat`` starts on an empty database, loads conversations, and ends on Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from httpx2 import AsyncClient

from tests.checkout import ROOT
from tests.dialogues import Dialogues, with_dialogues
from voltmem.__main__ import main


@asynccontextmanager
async def started(
    database: str,
    *arguments: str | Path,
    browser: str = "",
    program: Sequence[str] = ("examples.chat",),
    folder: Path = ROOT,
) -> AsyncIterator[tuple[str, str]]:
    """Start the program. Yields its output so far and its address; at the end Ctrl-C ends it, without output."""
    with TemporaryFile() as problems:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", *program, "--port", "0", "--connection", database),
            *(() if browser else ("--no-browser",)),
            *arguments,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "", "BROWSER": browser},
            stdout=PIPE,
            stderr=problems,
        )
        try:
            printed = await until_it_serves(running)
            yield printed, re.findall(r"http://\S+/", printed)[-1]
            running.send_signal(signal.SIGINT)
            rest, _ = await asyncio.wait_for(running.communicate(), 60)
            problems.seek(0)
            said = problems.read()
            assert said == b"", said.decode()
            assert (running.returncode, rest) == (0, b"")
        finally:
            if running.returncode is None:
                running.kill()
                await running.communicate()


async def until_it_serves(program: Process) -> str:
    assert program.stdout is not None
    printed = ""
    while "http://" not in printed:
        line = await asyncio.wait_for(program.stdout.readline(), 120)
        assert line, f"it ended; before it said {printed!r}"
        printed += line.decode()
    return printed


async def get(address: str) -> str:
    async with AsyncClient(timeout=30) as client:
        response = await client.get(address)
    assert response.status_code == 200, response.text
    return response.text


AGENT = """
async def my_agent(messages):
    for word in ["You ", "said: ", messages[-1].text]:
        yield word
"""


@pytest.mark.parametrize("given", [["mymodule:my_agent"], []], ids=["a function", "the script"])
async def test_the_command_line_serves_a_function(database: str, tmp_path: Path, given: list[str]) -> None:
    """``python -m voltmem chat mymodule:my_agent`` serves it, without the examples; without a name the script."""
    (tmp_path / "mymodule.py").write_text(AGENT)

    async with (
        started(database, program=("voltmem", "chat", *given), folder=tmp_path) as (_, address),
        AsyncClient(timeout=30, base_url=f"{address}api/") as client,
    ):
        made = (await client.post("conversations", json={})).json()
        question = {"conversationId": made["id"], "messageId": "m1", "text": "Hello?"}
        events = (await client.post("chat", json=question)).text

    assert '"status":"complete"' in events
    assert ('"delta":"You ' in events) == bool(given)


async def test_the_command_line_adds_and_leaves_out_languages(database: str, tmp_path: Path) -> None:
    """--languages gives a language the texts of a file, or leaves it out; a word without = is an invalid argument."""
    (tmp_path / "nl.json").write_text('{"New chat": "Nieuwe chat"}')
    program = ("voltmem", "chat", "--languages", "nl=nl.json", "--languages", "de=")

    async with started(database, program=program, folder=tmp_path) as (_, address), AsyncClient(timeout=30) as client:
        pages = [
            (await client.get(address, headers={"Accept-Language": wanted})).text
            for wanted in ("nl", "fr", "de;q=0.9, es;q=0.1")
        ]

    assert [re.findall('<html lang="(.*?)"', page) for page in pages] == [["nl"], ["fr"], ["es"]]
    assert "Nieuwe chat" in pages[0]
    with pytest.raises(SystemExit, match="2"):
        await asyncio.to_thread(main, ["chat", "--languages", "nl.json"])


async def test_it_is_filled_once(database: str, tmp_path: Path) -> None:
    """The conversations of a file are loaded, spread over the past; loading the file again adds none."""
    file = tmp_path / "some.jsonl"
    dialogue = [{"role": "user", "content": "A table for two."}, {"role": "assistant", "content": "At eight?"}]
    file.write_text("\n".join(json.dumps({"id": f"d{number}", "messages": dialogue}) for number in range(30)))

    for loaded in (30, 0):
        async with started(database, "--load", file) as (printed, address):
            assert f"loaded {loaded} conversations\n" in printed
            assert "<title>voltmem</title>" in await get(address)
            listed = json.loads(await get(f"{address}api/conversations?limit=100&timeZone=UTC"))
            assert len(listed["items"]) == 30
            assert listed["items"][0]["title"] == "A table for two"
            assert len({item["group"]["key"] for item in listed["items"]}) > 5
            assert [item["unread"] for item in listed["items"]] == [True] * 3 + [False] * 27
            found = json.loads(await get(f"{address}api/search?q=tabl"))
            assert len(found["items"]) == 20


async def test_where_its_port_is_taken_it_takes_another(database: str) -> None:
    """If its port is in use, it takes another one, and prints it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with started(database, "--port", str(port)) as (_, address):
            assert f":{port}/" not in address
            assert json.loads(await get(f"{address}api/answers")) == {"items": []}


async def test_it_opens_a_browser(database: str, tmp_path: Path) -> None:
    """It opens the browser of the system, or of BROWSER, at its address."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser.py"
    program.write_text(f"import pathlib, sys; pathlib.Path({str(opened)!r}).write_text(sys.argv[1])")

    async with started(database, browser=f"{sys.executable} {program} %s") as (_, address):
        pass
    assert opened.read_text() == address


async def test_only_its_own_name_is_answered_to(database: str) -> None:
    """Only requests with its own host name are answered, and its pages load nothing from other sites."""
    async with started(database) as (_, address), AsyncClient(timeout=30) as client:
        assert (await client.get(f"{address}api/conversations", headers={"Host": "evil.example"})).status_code == 400
        page = await client.get(address)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")


async def test_streams_do_not_keep_it_from_ending(database: str) -> None:
    """Ctrl-C ends it, even with open streams."""
    async with started(database) as (_, address):
        host, port = re.findall(r"//(.+):(\d+)/", address)[0]
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /api/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"ready" in await asyncio.wait_for(reader.readuntil(b"ready"), 30)
    writer.close()


@with_dialogues
async def test_dialogues_fill_it(dialogues: Dialogues, database: str) -> None:
    """The conversations of a file are loaded, found by the search, and paged through to the last."""
    async with started(database, "--load", dialogues.file) as (printed, address):
        assert f"loaded {dialogues.conversations:,} conversations" in printed
        ids, cursor = [], ""
        while cursor is not None:
            after = f"&after={cursor}" if cursor else ""
            page = json.loads(await get(f"{address}api/conversations?limit={dialogues.conversations // 11}{after}"))
            ids += [item["id"] for item in page["items"]]
            cursor = page["nextCursor"]
        assert len(ids) == len(set(ids)) == dialogues.conversations
