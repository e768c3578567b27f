"""
Run one page of the documentation, block by block, as a reader would: ``python -m tests.docs.page docs/tutorial.md``.

Python blocks share one namespace and one event loop, and may use ``await`` at top level, as in ``python -m asyncio``.
Shell blocks run in bash, after ``shell.sh``. Both run in the current directory, with VOLTMEM_DATABASE_URL naming the
page's database. A block whose first line is a comment with a file name is written to that file, and not run.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt

from voltmem import PostgresStorage

PYTHON: Final = frozenset({"py", "python"})
SHELL: Final = frozenset({"bash", "console", "sh", "shell"})
_PRELUDE: Final = Path(__file__).with_name("shell.sh")
_FILE_NAME: Final = re.compile(r"# ([\w./-]+\.[a-z]+)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    line: int
    """The line of the page at which its code begins."""
    code: str

    @property
    def file_name(self) -> str | None:
        """The name of the file, if the first line is one."""
        named = _FILE_NAME.match(self.code)
        return named[1] if named else None


def blocks(page: Path) -> list[Block]:
    """Return the page's blocks of Python, shell and files, in their order."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    fences = [(token.info.strip(), token.map, token.content) for token in tokens if token.type == "fence"]
    found = [Block(language, lines[0] + 2, code) for language, lines, code in fences if lines is not None]
    return [block for block in found if block.language in PYTHON | SHELL or block.file_name]


def run(page: Path) -> None:
    """Run the page's blocks. The first failing one is reported by page and line, and its error is raised."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        try:
            for block in blocks(page):
                try:
                    _run_block(block, page, namespace, runner)
                except BaseException:
                    print(f"{page}, line {block.line}: this block fails", file=sys.stderr)
                    raise
        finally:
            runner.run(_close_storages(namespace))


def _run_block(block: Block, page: Path, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    if block.file_name is not None:
        file = Path(block.file_name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code, encoding="utf-8")
    elif block.language in SHELL:
        if status := subprocess.run(["bash", "-c", f"source '{_PRELUDE}'\n{block.code}"]).returncode:
            raise SystemExit(f"exit status {status}")
    else:
        tree = ast.parse(block.code, str(page))
        ast.increment_lineno(tree, block.line - 1)  # a traceback then shows the page's own line
        code = compile(tree, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, namespace)  # noqa: S307 - the project's own documentation
        if inspect.iscoroutine(result):
            runner.run(result)


async def _close_storages(namespace: dict[str, Any]) -> None:
    """Close the storages that the page left open, since a page shows calls and not always the end of a program."""
    for value in list(namespace.values()):
        if isinstance(value, PostgresStorage):
            await value.close()


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())  # the folder of the page's files
    run(Path(sys.argv[1]))
