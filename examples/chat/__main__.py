"""``python -m examples.chat``, or ``make sidebar``: the chat on this machine, filled with conversations of a file."""

import argparse
import asyncio
import contextlib
from pathlib import Path

from examples.chat.load import load
from examples.chat.model import from_environment
from voltmem import PostgresStorage
from voltmem.chat._scripted import NAME, SUGGESTIONS, ScriptedModel
from voltmem.chat._server import serve, you


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description="A chat application with a sidebar.")
    parser.add_argument("--load", type=Path, metavar="FILE", help="load conversations from a .jsonl or .jsonl.gz file")
    parser.add_argument("--port", type=int, default=8765, help="the port (default: 8765); a free one if it is in use")
    parser.add_argument("--no-browser", action="store_true", help="don't open the browser")
    parser.add_argument("--connection", metavar="DSN", help="a connection string, instead of the embedded database")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.connection, given.load, given.port, opens_browser=not given.no_browser))


async def run(connection: str | None, file: Path | None, port: int, *, opens_browser: bool) -> None:
    async with PostgresStorage(connection, search=True, storage_limit=None) as storage:
        if file is not None:
            print(f"loading {file} …", flush=True)
            print(f"loaded {await load(storage, file, you()):,} conversations", flush=True)
        if (model := from_environment()) is not None:
            answer, names = model.answer, [model.name]
            await serve(storage, answer, port, models=names, make_title=model.title, opens_browser=opens_browser)
        else:
            await serve(
                storage,
                ScriptedModel().answer,
                port,
                models=[NAME],
                suggestions=SUGGESTIONS,
                opens_browser=opens_browser,
            )


if __name__ == "__main__":
    main()
