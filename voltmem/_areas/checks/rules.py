"""
A rule, and the statement that evaluates the rules of a table on a page of its rows.

    SELECT key, [names of the rules that the row breaks] FROM (500 rows after the last key, or 4 MB)

The condition of a rule reads the row "t" and looks others up by an index, so a page costs the same however large the
tables and the rows are. Only names and keys leave the server, no content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from voltmem._tables import Tables, bare

PAGE: Final = 500
_MOST_BYTES: Final = 4_000_000
# What is stored out of line is not read for this. The size of JSON is known only as it is compressed.
_BYTES: Final = "coalesce(pg_catalog.octet_length(content), 0) + " + " + ".join(
    f"8 * coalesce(pg_catalog.pg_column_size({name}), 0)" for name in ("content_json", "payload", "metadata", "parts")
)


def page_of_messages(rows: str, after: str) -> str:
    """Return the FROM item of a page of messages: few rows and few bytes, but one row at least."""
    return f"""(
                SELECT * FROM (
                    SELECT *, pg_catalog.sum({_BYTES}) OVER (ORDER BY conversation_id, message_id) AS bytes,
                        pg_catalog.row_number() OVER (ORDER BY conversation_id, message_id) AS number
                    FROM (
                        SELECT * FROM {rows} AS each {after} ORDER BY conversation_id, message_id LIMIT {PAGE}
                    ) AS page
                ) AS measured
                WHERE number = 1 OR bytes < {_MOST_BYTES}
            )"""


class Rule(NamedTuple):
    """What is always true of a row."""

    name: str
    meaning: str
    """What is wrong with a row that breaks it."""
    broken: str
    """The SQL condition of a row t that breaks it."""


@dataclass(frozen=True)
class RowChecks:
    """The rules of the rows of one table."""

    table: str
    key: tuple[str, ...]
    rules: Sequence[Rule]
    rows: str = ""
    """The FROM item of the rows; "": the table."""
    are_messages: bool = False
    """Whether the rows are messages, which may be large."""
    is_on_standby: bool = True
    """Whether a standby has the rows: unlogged tables cannot be read there."""

    def sql(self, *, first: bool) -> str:
        """Return the statement of a page: the first, or the one after the key that is given as the arguments."""
        key = ", ".join(self.key)
        placeholders = ", ".join(f"${number}" for number in range(1, len(self.key) + 1))
        after = "" if first else f"WHERE ({key}) > ({placeholders})"
        rows = self.rows or self.table
        page = f"(SELECT * FROM {rows} AS each {after} ORDER BY {key} LIMIT {PAGE})"
        broken = ",\n                ".join(f"CASE WHEN {rule.broken} THEN '{rule.name}' END" for rule in self.rules)
        return f"""
            SELECT {", ".join(f"t.{column}" for column in self.key)}, pg_catalog.array_remove(ARRAY[
                {broken}
            ], NULL) AS broken
            FROM {page_of_messages(rows, after) if self.are_messages else page} AS t
            ORDER BY {key}"""


def found(table: str, condition: str) -> str:
    """
    Return the condition that a row of a table, r, meets a condition.

    OFFSET 0: otherwise PostgreSQL may read the whole table for each page, to hash it.
    """
    return f"EXISTS (SELECT 1 FROM {table} AS r WHERE {condition} OFFSET 0)"


def missing(table: str, condition: str) -> str:
    """Return the condition that no row of a table, r, meets a condition."""
    return f"NOT {found(table, condition)}"


def beyond_sequence(tables: Tables, kind: str, sequence: str) -> Rule:
    """Return the rule that a sequence is not behind the rows that it orders. NULL without the privilege to read it."""
    return Rule(
        f"{kind}-beyond-sequence",
        f"the sequence that orders {kind}s is behind a {kind}, so later ones may sort before it",
        f"""t.seq > (
                    SELECT coalesce(q.last_value, 0) FROM pg_catalog.pg_sequences AS q
                    WHERE q.schemaname = '{tables.schema}' AND q.sequencename = '{bare(sequence)}'
                        AND pg_catalog.has_sequence_privilege('{sequence}', 'SELECT, USAGE')
                )""",
    )


def impossible_time(kind: str, *columns: str) -> Rule:
    """Return the rule that Python can represent the times of a row. 'infinity' is none of them."""
    years = "'0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"
    return Rule(
        f"{kind}-time-impossible",
        f"a time of a {kind} is before the year 1 or after 9999, so it cannot be read",
        " OR ".join(f"t.{column} NOT BETWEEN {years}" for column in columns),
    )
