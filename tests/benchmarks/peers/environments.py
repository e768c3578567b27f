"""The peers, and the environments in which they run: build/peers has one for each, made when it is first asked for."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.checkout import ROOT

FOLDER: Final = ROOT / "build" / "peers"
NODE: Final = Path(__file__).with_name("node")
SCRIPTS: Final = ("package.json", "package-lock.json", "store.mjs")
WORK: Final = "tests.benchmarks.peers.work"
_LONGEST_ERROR: Final = 600
_ASYNCPG: Final = ("sqlalchemy[asyncio]==2.1.9", "asyncpg==0.32.0")


class ProgramError(Exception):
    """A program has failed; the message ends with what it printed."""


class Environment(Protocol):
    """Where the program of a peer runs."""

    async def install(self) -> list[str]:
        """Install what is missing. Returns the command that does the work; its arguments follow."""
        ...


@dataclass(frozen=True)
class Peer:
    """A peer, with the versions that are measured."""

    name: str
    environment: Environment


@dataclass(frozen=True)
class This:
    """The environment that runs now, for a program of voltmem."""

    program: str

    async def install(self) -> list[str]:
        return [sys.executable, "-m", WORK, self.program]


@dataclass(frozen=True)
class Python:
    """A virtual environment with these packages."""

    program: str
    packages: Sequence[str]

    async def install(self) -> list[str]:
        folder = FOLDER / self.program
        python = folder / "bin" / "python"
        uv = Path(sys.executable).with_name("uv")
        if _is_new(folder, list(self.packages)):
            await run(str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            await run(str(uv), "pip", "install", "--quiet", "--python", str(python), *self.packages)
            _remember(folder, list(self.packages))
        return [str(python), "-m", WORK, self.program]


@dataclass(frozen=True)
class Node:
    """A folder with the npm packages of the lock file, and the scripts, which find them there."""

    name: str

    async def install(self) -> list[str]:
        folder, given = FOLDER / self.name, NODE / self.name
        folder.mkdir(parents=True, exist_ok=True)
        for file in (NODE / "work.mjs", *(given / name for name in SCRIPTS)):
            shutil.copy(file, folder)
        lock = (given / "package-lock.json").read_text()
        if _is_new(folder, lock):
            await run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", cwd=folder)
            _remember(folder, lock)
        return ["node", str(folder / "work.mjs")]


OURS: Final = Peer("voltmem", This("ours"))
PEERS: Final = (
    Peer(
        "OpenAI Agents SDK 0.24.0, `SQLAlchemySession`", Python("openai_agents", ("openai-agents==0.24.0", *_ASYNCPG))
    ),
    Peer("Agno 3.1.10, `AsyncPostgresDb`", Python("agno_db", ("agno==3.1.10", *_ASYNCPG))),
    Peer("Google ADK 2.13.0, `DatabaseSessionService`", Python("google_adk", ("google-adk==2.13.0", *_ASYNCPG))),
    Peer(
        "LangGraph 1.2.24, `AsyncPostgresSaver` 3.2.0",
        Python(
            "langgraph_saver",
            ("langgraph==1.2.24", "langgraph-checkpoint-postgres==3.2.0", "psycopg[binary,pool]==3.3.9"),
        ),
    ),
    Peer("VoltAgent 2.1.2 (Node)", Node("voltagent")),
    Peer("Mastra 1.27.1 (Node)", Node("mastra")),
)


def _is_new(folder: Path, wanted: object) -> bool:
    """Return whether these packages have still to be installed."""
    installed = folder / "installed.json"
    return not installed.exists() or json.loads(installed.read_text()) != wanted


def _remember(folder: Path, wanted: object) -> None:
    (folder / "installed.json").write_text(json.dumps(wanted))


async def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a program, with compiled modules kept, as installed. Returns what it prints; ProgramError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problems = await process.communicate()
    if process.returncode:
        raise ProgramError(f"{' '.join(command[:3])}: … {problems.decode().strip()[-_LONGEST_ERROR:]}")
    return printed.decode()
