"""The rules of the tables themselves: the keys, indexes, triggers and functions that the migrations create."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from voltmem._postgres.migrations.files import FUNCTIONS, Migration, migrations
from voltmem._postgres.migrations.indexes import Index
from voltmem._postgres.migrations.vectors import create_statements
from voltmem._tables import Tables, bare, rendered

if TYPE_CHECKING:
    from voltmem._postgres.connection import BoundConnection

MEANINGS: Final = {
    "index-invalid": "an index is not complete, because creating it was cut off",
    "index-missing": "an index is missing, so reading is slow",
    "key-missing": "a primary key or unique constraint is missing, so rows may be stored twice",
    "foreign-key-missing": "a foreign key is missing, so what belongs to a deleted row stays",
    "function-changed": "a function is missing, or has another text than this release",
    "trigger-missing": "a trigger or its function is missing, or the trigger is disabled",
    "row-doubled": "a key has several rows",
}

KEYS: Final[Sequence[tuple[str, tuple[str, ...]]]] = (
    ("conversations", ("id",)),
    ("messages", ("conversation_id", "message_id")),
    ("payloads", ("conversation_id", "format")),
    ("shares", ("token", "conversation_id")),
    ("user_memory", ("user_id", "version")),
    ("user_memory", ("user_id", "operation_id")),
    ("user_items", ("user_id", "namespace", "key")),
    ("conversation_memory", ("conversation_id", "version")),
    ("conversation_memory", ("conversation_id", "operation_id")),
    ("summaries", ("conversation_id", "id")),
    ("leases", ("conversation_id", "purpose")),
    ("leases", ("conversation_id", "purpose", "token")),
    ("answers", ("conversation_id", "question_id")),
    ("answer_pieces", ("conversation_id", "answer_id", "number")),
    ("watchers", ("user_id", "listener")),
    ("agent_history", ("id",)),
    ("agent_history_steps", ("key",)),
    ("agent_history_timeline_events", ("id",)),
    ("files", ("user_id", "upload")),
    ("files", ("user_id", "id")),
    ("file_chunks", ("user_id", "upload", "number")),
    ("file_references", ("conversation_id", "message_id", "file_id")),
    ("deleted_users", ("user_hash",)),
    ("quota_counts", ("user_id",)),
    ("migrations", ("name",)),
)
"""The columns of each primary key and unique constraint."""
OF_VECTORS: Final = (("embeddings", ("conversation_id", "message_id", "model", "piece")),)
"""Those of the table that no migration creates: see migrations/vectors.py."""

FOREIGN_KEYS: Final[Sequence[tuple[str, tuple[str, ...], str]]] = (
    ("messages", ("conversation_id",), "conversations"),
    ("payloads", ("conversation_id",), "conversations"),
    ("changed_lines", ("conversation_id",), "conversations"),
    ("shares", ("conversation_id",), "conversations"),
    ("conversation_memory", ("conversation_id",), "conversations"),
    ("summaries", ("conversation_id",), "conversations"),
    ("leases", ("conversation_id",), "conversations"),
    ("answers", ("conversation_id",), "conversations"),
    ("answer_pieces", ("conversation_id",), "conversations"),
    ("agent_history_steps", ("history_id",), "agent_history"),
    ("agent_history_timeline_events", ("history_id",), "agent_history"),
    ("file_chunks", ("user_id", "upload"), "files"),
)
"""The table and the columns of each foreign key, and the table that it references."""
FROM_VECTORS: Final = (("embeddings", ("conversation_id", "message_id"), "messages"),)
"""Those of the table of vectors."""

_TRIGGERS: Final = (
    ("conversations", "tell_watchers", 2),
    ("user_memory", "tell_of_memory", 1),
    ("conversation_memory", "tell_of_memory", 1),
    ("messages", "note_changed_line", 4),
    ("messages", "note_changed_summary", 4),
    ("messages", "refer_to_files", 3),
    ("file_references", "drop_unused_file", 1),
)
_BODY: Final = re.compile(r"\nAS \$(\w+)\$(.*?)\$\1\$", re.DOTALL)


class SchemaStatements:
    """The statements that look for what is missing in the catalog; with tables.vectors, of that table, too."""

    def __init__(self, tables: Tables) -> None:
        self.rules = {
            "index-invalid": _invalid_indexes(tables),
            "index-missing": _missing_indexes(tables),
            "key-missing": _missing_keys(tables),
            "foreign-key-missing": _missing_foreign_keys(tables),
            "function-changed": _changed_functions(tables),
            "trigger-missing": _missing_triggers(tables),
        }
        """A statement for each rule: one row for each thing that breaks it."""
        self.doubled = {
            (bare(getattr(tables, table)), ", ".join(columns)): _doubled(getattr(tables, table), columns)
            for table, columns in _keys(tables)
        }
        """For a key that is missing: the first values that several rows have, and how many there are."""
        self.is_standby = "SELECT pg_catalog.pg_is_in_recovery()"

    def all(self) -> Iterator[str]:
        """Yield all of them."""
        yield from (*self.rules.values(), *self.doubled.values(), self.is_standby)


class Broken(NamedTuple):
    """A rule that the tables break."""

    name: str
    keys: list[dict[str, str]]
    """Where."""
    total: int
    """How many there are. The keys may be the first of them."""


async def broken_by_schema(connection: BoundConnection, tables: Tables) -> list[Broken]:
    """Return the rules that the tables break."""
    sql = rendered(SchemaStatements, tables)
    found: list[Broken] = []
    async with connection.snapshot() as snapshot:
        for name, statement in sql.rules.items():
            if rows := [dict(row) for row in await snapshot.fetch(statement)]:
                found.append(Broken(name, rows, len(rows)))
        # Only these can be doubled. Looking for it reads and sorts the whole table.
        lost = [row for each in found if each.name == "key-missing" for row in each.keys]
        for row in lost:
            if doubled := await snapshot.fetch(sql.doubled[row["table"], row["columns"]]):
                keys = [{"table": row["table"], **dict(list(each.items())[:-1])} for each in doubled]
                found.append(Broken("row-doubled", keys, doubled[0]["doubled"]))
    return found


def _invalid_indexes(tables: Tables) -> str:
    return f"""
            SELECT i.relname::text AS name
            FROM pg_catalog.pg_index AS x
            JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
            JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = '{tables.schema}'
                AND pg_catalog.left(c.relname::text, {len(tables.prefix) + 1}) = '{tables.prefix}_'
                AND NOT (x.indisvalid AND x.indisready)
            ORDER BY 1"""


def _missing_indexes(tables: Tables) -> str:
    every = [*indexes(tables)] if tables.vectors is None else [*indexes(tables), *of_vectors(tables)]
    wanted = ", ".join(f"('{index.name}', '{index.table}')" for index in every)
    return f"""
            SELECT pg_catalog.split_part(w.name, '.', 2) AS name FROM (VALUES {wanted}) AS w (name, relation)
            WHERE NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_index AS x
                WHERE x.indexrelid = pg_catalog.to_regclass(w.name)::oid
                    AND x.indrelid = pg_catalog.to_regclass(w.relation)::oid
            )
            ORDER BY 1"""


def indexes(tables: Tables) -> Iterator[Index]:
    """Yield the indexes that the migrations create and no later one drops."""
    numbered = [each for each in migrations() if not each.is_function]
    for number, migration in enumerate(numbered):
        for statement in migration.statements(tables):
            index = Index.made_by(statement, tables)
            if index is not None and not any(index.is_dropped_by(later, tables) for later in numbered[number:]):
                yield index


def of_vectors(tables: Tables) -> Iterator[Index]:
    """Yield the indexes of the table of vectors."""
    for statement in create_statements(tables):
        index = Index.made_by(statement, tables)
        if index is not None:
            yield index


def _array(columns: Sequence[str]) -> str:
    return "ARRAY['{}']".format("', '".join(columns))


def _keys(tables: Tables) -> Sequence[tuple[str, tuple[str, ...]]]:
    return KEYS if tables.vectors is None else (*KEYS, *OF_VECTORS)


def _missing_keys(tables: Tables) -> str:
    wanted = ", ".join(f"('{getattr(tables, table)}', {_array(columns)})" for table, columns in _keys(tables))
    return f"""
            SELECT pg_catalog.split_part(w.relation, '.', 2) AS table,
                pg_catalog.array_to_string(w.columns, ', ') AS columns
            FROM (VALUES {wanted}) AS w (relation, columns)
            WHERE NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_index AS x
                WHERE x.indrelid = pg_catalog.to_regclass(w.relation)::oid AND x.indisunique AND x.indisvalid
                    AND x.indpred IS NULL AND x.indexprs IS NULL
                    AND ARRAY(
                        SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
                        WHERE a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)
                    ) <@ w.columns
            )
            ORDER BY 1, 2"""


def _missing_foreign_keys(tables: Tables) -> str:
    keys = FOREIGN_KEYS if tables.vectors is None else (*FOREIGN_KEYS, *FROM_VECTORS)
    wanted = ", ".join(
        f"('{getattr(tables, table)}', {_array(columns)}, '{getattr(tables, other)}')" for table, columns, other in keys
    )
    return f"""
            SELECT pg_catalog.split_part(w.relation, '.', 2) AS table,
                pg_catalog.array_to_string(w.columns, ', ') AS columns
            FROM (VALUES {wanted}) AS w (relation, columns, referenced)
            WHERE NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_constraint AS k
                WHERE k.contype = 'f' AND k.conrelid = pg_catalog.to_regclass(w.relation)::oid
                    AND k.confrelid = pg_catalog.to_regclass(w.referenced)::oid AND k.confdeltype = 'c'
                    AND ARRAY(
                        SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS key (number, place)
                        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number
                        ORDER BY key.place
                    ) = w.columns
            )
            ORDER BY 1, 2"""


def _changed_functions(tables: Tables) -> str:
    """Where the ledger has the version of this release: an older or newer text is that of another release."""
    wanted = ", ".join(
        f"('{each.name}', {each.version}, '{each.name.removeprefix(FUNCTIONS)}', '{_hash(each, tables)}')"
        for each in migrations()
        if each.is_function
    )
    return f"""
            SELECT '{tables.prefix}_' || w.function AS name
            FROM (VALUES {wanted}) AS w (name, version, function, hash)
            JOIN {tables.migrations} AS l ON l.name = w.name AND l.version = w.version
            WHERE NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_proc AS p
                WHERE p.pronamespace = pg_catalog.to_regnamespace('"{tables.schema}"')::oid
                    AND p.proname = '{tables.prefix}_' || w.function
                    AND pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(p.prosrc, 'UTF8')), 'hex') = w.hash
            )
            ORDER BY 1"""


def _hash(function: Migration, tables: Tables) -> str:
    body = _BODY.search("\n".join(function.statements(tables)))
    assert body is not None  # each file has a function with such a body; a test compares them with the database
    return sha256(body[2].encode()).hexdigest()


def _missing_triggers(tables: Tables) -> str:
    wanted = ", ".join(
        f"('{getattr(tables, table)}', '{getattr(tables, function)}', {count})" for table, function, count in _TRIGGERS
    )
    # Citus allows no triggers: there, watching polls, and files stay until they are deleted.
    return f"""
            SELECT pg_catalog.split_part(w.function, '.', 2) AS name
            FROM (VALUES {wanted}) AS w (relation, function, count)
            WHERE pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NULL AND w.count <> (
                SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS g
                WHERE g.tgrelid = pg_catalog.to_regclass(w.relation)::oid
                    AND g.tgfoid = pg_catalog.to_regproc(w.function)::oid AND g.tgenabled IN ('O', 'A')
            )
            ORDER BY 1"""


def _doubled(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(columns)
    return f"""
            SELECT {names}, pg_catalog.count(*) OVER () AS doubled FROM {table}
            WHERE ({names}) IS NOT NULL
            GROUP BY {names} HAVING pg_catalog.count(*) > 1 ORDER BY {names} LIMIT 10"""
