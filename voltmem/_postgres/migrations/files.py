"""
The files of migrations_sql/: their names, versions and checksums, and the statements in them.

Numbered files create tables, columns, indexes and triggers, or change rows: one change a file. A file is never edited
once it is released, and each of its statements can be repeated.

functions/NAME.sql has the current text of one function, so that git shows its history. The first line is
"-- version N". A change of the text raises N, and the file is applied if the ledger has a lower N. So older code does
not replace a newer function, but calls it: the function must keep its arguments, its result columns and its meaning.
Otherwise, create a new function in a new file, add_messages_2, and keep the old one until no released version calls it.

Functions are applied before the numbered files, because triggers need them. So a function may use only columns that
already exist: a text that needs a column of a new numbered file must be a new function, too.
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
from voltmem._values import short_repr
from voltmem.errors import MigrationError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FUNCTIONS: Final = "functions/"
"""The prefix of the names of function files, also in the ledger."""

_NUMBERED = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_FUNCTION = re.compile(r"[a-z][a-z0-9_]*\.sql")
_VERSION = re.compile(r"-- version ([1-9]\d*)\n")


@dataclass(frozen=True)
class Migration:
    """One file of migrations_sql/."""

    name: str
    """Its path in migrations_sql/, without .sql."""
    text: str

    @property
    def is_function(self) -> bool:
        """Whether the file has a function, which is replaced if its version is lower."""
        return self.name.startswith(FUNCTIONS)

    @property
    def version(self) -> int:
        """The number in the first line of a function's file; 1 for a numbered file."""
        if not self.is_function:
            return 1
        found = _VERSION.match(self.text)
        if found is None:
            line = short_repr(self.text.partition("\n")[0])
            raise MigrationError(self.name, f'its first line is {line}: begin the file with "-- version N"')
        return int(found[1])

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text, by which an edit after the file was applied is found."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, tables: Tables) -> Iterator[str]:
        """
        Yield the statements one by one (Citus refuses several in one query).

        A statement ends at a line that ends with a semicolon, outside of a dollar-quoted body.
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
    """Return all migrations in order, functions first: from the installed package, or from a checkout."""
    from importlib import resources  # here: it imports zipfile, tempfile and email

    folders: Sequence[Traversable] = (
        resources.files("voltmem") / "migrations_sql",
        Path(__file__).parents[3] / "migrations_sql",
    )
    folder = next(each for each in folders if each.is_dir())
    return (*_read(folder / "functions", _FUNCTION, FUNCTIONS), *_read(folder, _NUMBERED))


def _read(folder: Traversable, names: re.Pattern[str], prefix: str = "") -> Iterator[Migration]:
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if names.fullmatch(file.name):
            # Git may have converted the line ends; the checksum must not depend on them.
            text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
            yield Migration(prefix + file.name.removesuffix(".sql"), text)
