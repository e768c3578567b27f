"""The search for what is wrong in the stored data: all rules on all rows, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from voltmem._areas.checks.derived import (
    MEANINGS,
    OTHER_BYTES,
    STALE_TEXT,
    STALE_WORDS,
    DerivedStatements,
    derive,
    hash_of_file,
)
from voltmem._areas.checks.rules import RowChecks
from voltmem._areas.checks.schema import MEANINGS as OF_THE_SCHEMA
from voltmem._areas.checks.schema import SchemaStatements, broken_by_schema
from voltmem._areas.checks.tables import row_checks
from voltmem._postgres.connection import BoundConnection
from voltmem._postgres.migrations.ledger import PATIENCE
from voltmem._postgres.migrations.vectors import VectorStatements
from voltmem._tables import Tables, rendered
from voltmem._values import Unset

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

EXAMPLES: Final = 10
"""How many rows a finding names."""


@dataclass(frozen=True)
class Finding:
    """One kind of thing that is wrong in the stored data."""

    name: str
    """The name of the rule that is broken, such as "message-without-conversation"."""
    meaning: str
    """What is wrong with each row, as a sentence."""
    count: int
    """How many rows break the rule."""
    examples: list[dict[str, str]]
    """The keys of the first ten of them: names of columns, and ids. Nothing of what a person wrote."""


class Findings:
    """Counts what is found, and keeps the first keys of each kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[dict[str, str]]] = {}
        self._meanings: dict[str, str] = {**OF_THE_SCHEMA, **MEANINGS}

    def know(self, checks: RowChecks) -> None:
        """Add the meanings of rules."""
        self._meanings |= {rule.name: rule.meaning for rule in checks.rules}

    def add(self, name: str, *keys: Mapping[str, object], count: int | None = None) -> None:
        """Count rows that break a rule. count: how many there are, if more than these."""
        self._counts[name] = self._counts.get(name, 0) + (len(keys) if count is None else count)
        examples = self._examples.setdefault(name, [])
        for key in keys[: EXAMPLES - len(examples)]:
            examples.append({column: str(value) for column, value in key.items()})

    def add_messages(self, name: str, messages: Iterable[tuple[str, str]]) -> None:
        """Count messages that break a rule."""
        for conversation_id, message_id in messages:
            self.add(name, {"conversation_id": conversation_id, "message_id": message_id})

    def all(self) -> list[Finding]:
        """Return a finding for each broken rule, in the order in which they were found."""
        return [
            Finding(name, self._meanings[name], count, self._examples[name]) for name, count in self._counts.items()
        ]


async def find_all(
    on: Connection, tables: Tables, storage_limit: int | Unset | None, *, read_files: bool
) -> list[Finding]:
    """
    Return what is wrong in the tables.

    Each page is read in a read-only transaction of its own. A rule concerns one row and those that it looks up, in one
    snapshot, so writes between two pages are never taken for something wrong. A long transaction would
    keep VACUUM from removing dead rows of all tables of the server until its end. A statement may take as long as one
    of a migration, since command_timeout is made for the calls of an application.
    """
    findings = Findings()
    connection = BoundConnection(on, timeout=PATIENCE)
    async with connection.snapshot() as snapshot:
        row = await snapshot.fetchrow(rendered(VectorStatements, tables).look)
        if row is not None and row["exists"]:
            tables = replace(tables, vectors=row["place"])
    for broken in await broken_by_schema(connection, tables):
        findings.add(broken.name, *broken.keys, count=broken.total)
    async with connection.snapshot() as snapshot:
        row = await snapshot.fetchrow(rendered(SchemaStatements, tables).is_standby)
        is_standby = row is not None and bool(row[0])
    for checks in row_checks(tables, storage_limit):
        if checks.is_on_standby or not is_standby:
            await _check_rows(connection, checks, findings)
    await _check_derived(connection, tables, findings)
    if read_files:
        await _check_files(connection, tables, findings)
    return findings.all()


async def _check_rows(connection: BoundConnection, checks: RowChecks, findings: Findings) -> None:
    findings.know(checks)
    sql, key = checks.sql(first=True), tuple[object, ...]()
    while True:
        async with connection.snapshot() as snapshot:
            rows = await snapshot.fetch(sql, *key)
        if not rows:
            return
        for row in rows:
            for name in row["broken"]:
                findings.add(name, {column: row[column] for column in checks.key})
        sql, key = checks.sql(first=False), tuple(rows[-1])[:-1]


async def _check_derived(connection: BoundConnection, tables: Tables, findings: Findings) -> None:
    sql = rendered(DerivedStatements, tables)
    statement, key = sql.first_messages, tuple[str, ...]()
    while True:
        async with connection.snapshot() as snapshot:
            rows = await snapshot.fetch(statement, *key)
            if not rows:
                return
            derived = await asyncio.to_thread(derive, rows)
            if derived.vectors:
                columns = map(list, zip(*derived.vectors, strict=True))
                stale = await snapshot.fetch(sql.stale_words, *columns)
                findings.add_messages(STALE_WORDS, [(row["conversation_id"], row["message_id"]) for row in stale])
        findings.add_messages(STALE_TEXT, derived.stale)
        statement, key = sql.more_messages, (rows[-1]["conversation_id"], rows[-1]["message_id"])


async def _check_files(connection: BoundConnection, tables: Tables, findings: Findings) -> None:
    sql = rendered(DerivedStatements, tables)
    key = ("", "")
    while files := await connection.fetch(sql.files, *key):
        for user_id, upload, id in files:
            if id is None:
                continue
            async with connection.snapshot() as snapshot:
                found = await hash_of_file(snapshot, sql.chunks, user_id, upload, id)
            if found is not None and found != id:
                findings.add(OTHER_BYTES, {"user_id": user_id, "upload": upload})
        key = files[-1]["user_id"], files[-1]["upload"]
