"""
The files of migrations_sql/: their names, versions and checksums, and the statements in them.

Numbered files create tables, columns, indexes and triggers, or change rows: one change a file. A file is never edited
once it is released, and each of its statements can be repeated.

functions/NAME.sql holds the present text of one function, so that its history is that of the file. The first line is
"-- version N". Whoever changes the text raises N, and the file is applied where the ledger has a lower N. So older code
leaves a newer function alone, and calls it: it must take the same arguments, return the same columns and mean the same.
Otherwise it is a new function in a new file, add_messages_2, and the old one stays until no released version calls it.

Functions come before the numbered files, so that a trigger finds its function. What a new text needs of the tables must
therefore be there already: a text that needs a column of a new numbered file is a new function, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voltmem._tables import Tables

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FUNCTIONS: Final = "functions/"
"""What the name of a function's file begins with, in the ledger, too."""

_NUMBERED = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_FUNCTION = re.compile(r"[a-z][a-z0-9_]*\.sql")
_VERSION = re.compile(r"-- version (\d+)\n")


@dataclass(frozen=True)
class Migration:
    """One file of migrations_sql/."""

    name: str
    """Its path there, without .sql."""
    text: str

    @property
    def is_function(self) -> bool:
        """Whether the file holds a function, which is replaced where its version is lower."""
        return self.name.startswith(FUNCTIONS)

    @property
    def version(self) -> int:
        """The number in the first line of a function's file; 1 for a numbered file."""
        found = _VERSION.match(self.text) if self.is_function else None
        return 1 if found is None else int(found[1])

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text, which tells whether the file was edited after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, tables: Tables) -> Iterator[str]:
        """
        Yield its statements, one at a time (Citus refuses several in one).

        A statement ends with a line that ends with a semicolon, outside of a dollar-quoted body.
        """
        lines: list[str] = []
        quoted = False
        for line in tables.render(self.text).splitlines():
            lines.append(line)
            code = line.partition("--")[0].rstrip()
            quoted ^= len(re.findall(r"\$\w*\$", code)) % 2 == 1
            if code.endswith(";") and not quoted:
                yield "\n".join(lines)
                lines = []
        if any(line.partition("--")[0].strip() for line in lines):
            yield "\n".join(lines)


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations in their order, functions first: from the installed package, or from a checkout."""
    from importlib import resources  # here: it brings zipfile, tempfile and email along

    folders: Sequence[Traversable] = (
        resources.files("voltmem") / "migrations_sql",
        Path(__file__).parents[3] / "migrations_sql",
    )
    folder = next(each for each in folders if each.is_dir())
    return (*_read(folder / "functions", _FUNCTION, FUNCTIONS), *_read(folder, _NUMBERED))


def _read(folder: Traversable, names: re.Pattern[str], prefix: str = "") -> Iterator[Migration]:
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if names.fullmatch(file.name):
            # Git may have turned the line ends into Windows'; the checksum must not depend on it.
            text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
            yield Migration(prefix + file.name.removesuffix(".sql"), text)
