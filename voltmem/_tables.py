"""The names of tables and functions, made of schema and prefix and validated here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar, cast

from voltmem.errors import InvalidOptionError

if TYPE_CHECKING:
    from voltmem.options import Quotas

# PostgreSQL silently cuts identifiers at 63 bytes (NAMEDATALEN - 1). VoltAgent's longest index name has 65.
MAX_IDENTIFIER_BYTES: Final = 63
LONGEST_SUFFIX: Final = "_agent_history_timeline_events"
MAX_PREFIX_LENGTH: Final = MAX_IDENTIFIER_BYTES - len(LONGEST_SUFFIX)

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")

StatementsT = TypeVar("StatementsT")

_TABLE: Final = {"kind": "table"}
_SEQUENCE: Final = {"kind": "sequence"}
_FUNCTION: Final = {"kind": "function"}
_TRIGGER: Final = {"kind": "function", "is_trigger": True}
_TEMPORARY: Final = {"schema": "pg_temp"}


@dataclass(frozen=True)
class Tables:
    """The names of all tables and functions, with the schema, ready for SQL; and what else it depends on."""

    schema: str
    prefix: str
    quotas: Quotas | None = None
    vectors: str | None = None
    """The schema of pgvector, in statements that need it."""

    # In an order in which the tables can be dropped.
    file_references: str = field(init=False, metadata=_TABLE)
    file_chunks: str = field(init=False, metadata=_TABLE)
    files: str = field(init=False, metadata=_TABLE)
    messages: str = field(init=False, metadata=_TABLE)
    payloads: str = field(init=False, metadata=_TABLE)
    changed_lines: str = field(init=False, metadata=_TABLE)
    conversation_memory: str = field(init=False, metadata=_TABLE)
    summaries: str = field(init=False, metadata=_TABLE)
    leases: str = field(init=False, metadata=_TABLE)
    answer_pieces: str = field(init=False, metadata=_TABLE)
    answers: str = field(init=False, metadata=_TABLE)
    shares: str = field(init=False, metadata=_TABLE)
    conversations: str = field(init=False, metadata=_TABLE)
    user_memory: str = field(init=False, metadata=_TABLE)
    user_items: str = field(init=False, metadata=_TABLE)
    watchers: str = field(init=False, metadata=_TABLE)
    deleted_users: str = field(init=False, metadata=_TABLE)
    quota_counts: str = field(init=False, metadata=_TABLE)
    agent_history_steps: str = field(init=False, metadata=_TABLE)
    agent_history_timeline_events: str = field(init=False, metadata=_TABLE)
    agent_history: str = field(init=False, metadata=_TABLE)
    migrations: str = field(init=False, metadata=_TABLE)

    messages_seq: str = field(init=False, metadata=_SEQUENCE)
    history_steps_seq: str = field(init=False, metadata=_SEQUENCE)
    history_events_seq: str = field(init=False, metadata=_SEQUENCE)

    # The backup of migrate_conversation_schema().
    conversations_backup: str = field(init=False)
    messages_backup: str = field(init=False)
    # The vectors of messages, where there is pgvector: see migrations/vectors.py.
    embeddings: str = field(init=False)
    # The writers of each conversation, while it runs.
    writers: str = field(init=False, metadata=_TEMPORARY)

    # Each function is a file in migrations_sql/functions/.
    add_message: str = field(init=False, metadata=_FUNCTION)
    add_messages: str = field(init=False, metadata=_FUNCTION)
    add_plain_messages: str = field(init=False, metadata=_FUNCTION)
    answer_calls: str = field(init=False, metadata=_FUNCTION)
    change_items: str = field(init=False, metadata=_FUNCTION)
    change_memory: str = field(init=False, metadata=_FUNCTION)
    choose_branch: str = field(init=False, metadata=_FUNCTION)
    copies_in_forks: str = field(init=False, metadata=_FUNCTION)
    copy_files: str = field(init=False, metadata=_FUNCTION)
    count_line: str = field(init=False, metadata=_FUNCTION)
    deleted_since: str = field(init=False, metadata=_FUNCTION)
    drop_messages: str = field(init=False, metadata=_FUNCTION)
    drop_messages_of_user: str = field(init=False, metadata=_FUNCTION)
    drop_unused_file: str = field(init=False, metadata=_TRIGGER)
    ensure_conversation: str = field(init=False, metadata=_FUNCTION)
    fill_in_files: str = field(init=False, metadata=_FUNCTION)
    forget_derived: str = field(init=False, metadata=_FUNCTION)
    forget_in_voltagent: str = field(init=False, metadata=_FUNCTION)
    forget_messages: str = field(init=False, metadata=_FUNCTION)
    fork_conversation: str = field(init=False, metadata=_FUNCTION)
    give_conversation: str = field(init=False, metadata=_FUNCTION)
    hand_over: str = field(init=False, metadata=_FUNCTION)
    index_words: str = field(init=False, metadata=_FUNCTION)
    json_object_of: str = field(init=False, metadata=_FUNCTION)
    keep_file: str = field(init=False, metadata=_FUNCTION)
    keep_lease: str = field(init=False, metadata=_FUNCTION)
    leave_summaries: str = field(init=False, metadata=_FUNCTION)
    line_to: str = field(init=False, metadata=_FUNCTION)
    lock_memory: str = field(init=False, metadata=_FUNCTION)
    look_at_memory: str = field(init=False, metadata=_FUNCTION)
    memory_versions: str = field(init=False, metadata=_FUNCTION)
    merge_patch: str = field(init=False, metadata=_FUNCTION)
    message_before: str = field(init=False, metadata=_FUNCTION)
    message_hash: str = field(init=False, metadata=_FUNCTION)
    move_head: str = field(init=False, metadata=_FUNCTION)
    note_changed_line: str = field(init=False, metadata=_TRIGGER)
    note_changed_summary: str = field(init=False, metadata=_TRIGGER)
    notify_watchers: str = field(init=False, metadata=_FUNCTION)
    path_to_line: str = field(init=False, metadata=_FUNCTION)
    plain: str = field(init=False, metadata=_FUNCTION)
    prune_conversation: str = field(init=False, metadata=_FUNCTION)
    put_file: str = field(init=False, metadata=_FUNCTION)
    refer_to_files: str = field(init=False, metadata=_TRIGGER)
    release_files: str = field(init=False, metadata=_FUNCTION)
    remove_oldest: str = field(init=False, metadata=_FUNCTION)
    require_room: str = field(init=False, metadata=_FUNCTION)
    restore_archived: str = field(init=False, metadata=_FUNCTION)
    save_payload: str = field(init=False, metadata=_FUNCTION)
    show_memory: str = field(init=False, metadata=_FUNCTION)
    store_summary: str = field(init=False, metadata=_FUNCTION)
    take_lease: str = field(init=False, metadata=_FUNCTION)
    tell_of_memory: str = field(init=False, metadata=_TRIGGER)
    tell_watchers: str = field(init=False, metadata=_TRIGGER)
    unite: str = field(init=False, metadata=_FUNCTION)
    unlink_messages: str = field(init=False, metadata=_FUNCTION)
    usage: str = field(init=False, metadata=_FUNCTION)

    # A function of unreleased versions, which migrations/unreleased.py drops.
    append: str = field(init=False)

    @property
    def of_voltagents_vectors(self) -> str:
        """The table in which VoltAgent's PostgreSQLVectorAdapter keeps vectors, if it has its default name."""
        return f'"{self.schema}".voltagent_vector_vectors'

    def __post_init__(self) -> None:
        check_identifier("schema", self.schema, MAX_IDENTIFIER_BYTES)
        check_identifier("table_prefix", self.prefix, MAX_PREFIX_LENGTH)
        if self.schema.startswith("pg_"):
            raise InvalidOptionError(f"schema {self.schema!r}: names that begin with pg_ are PostgreSQL's; use another")
        for each in fields(self):
            if not each.init:
                schema = each.metadata.get("schema", f'"{self.schema}"')
                object.__setattr__(self, each.name, f"{schema}.{self.prefix}_{each.name}")

    def __hash__(self) -> int:
        # Not of all the names that follow from these two: each call of the storage looks its statements up by it.
        return hash((self.schema, self.prefix))

    def __str__(self) -> str:
        return f"{self.schema}.{self.prefix}_*"

    def all_tables(self) -> list[str]:
        """Return the names of the tables, without the backup, in an order in which they can be dropped."""
        return self._all_of("table")

    def all_sequences(self) -> list[str]:
        """Return the names of the sequences, each of which belongs to a column."""
        return self._all_of("sequence")

    def all_functions(self, *, without_triggers: bool = False) -> list[str]:
        """Return the names of the functions. Drop them after the tables, whose triggers call them."""
        triggers = [getattr(self, each.name) for each in fields(self) if each.metadata.get("is_trigger")]
        return [each for each in self._all_of("function") if not (without_triggers and each in triggers)]

    def _all_of(self, kind: str) -> list[str]:
        return [getattr(self, each.name) for each in fields(self) if each.metadata.get("kind") == kind]

    def of_voltagent(self, suffix: str) -> str:
        """Return the name of a table of VoltAgent's own, which may not exist."""
        return f'"{self.schema}".{self.prefix}_{suffix}'

    def render(self, template: str) -> str:
        """
        Return the text of a migration with {schema} and {prefix} filled in.

        With str.replace, not str.format, so that the SQL may contain '{}'.
        """
        return template.replace("{schema}", f'"{self.schema}"').replace("{prefix}", self.prefix)


def bare(name: str) -> str:
    """Return a name without its schema, for RENAME, the catalogs and the names of triggers."""
    return name.rpartition(".")[2]


def rendered(kind: Callable[[Tables], StatementsT], tables: Tables) -> StatementsT:
    """Return the statements of a kind for these tables. They are made on first use and cached."""
    return cast(StatementsT, _rendered(kind, tables))


@lru_cache(maxsize=256)  # a kind takes some 10 KiB; with hundreds of prefixes, rarely used ones are made again
def _rendered(kind: Callable[[Tables], object], tables: Tables) -> object:
    return kind(tables)


def check_identifier(option: str, value: object, longest: int) -> None:
    """Raise InvalidOptionError unless the value is a lower-case identifier of at most so many bytes."""
    if not isinstance(value, str) or _IDENTIFIER.fullmatch(value) is None:
        raise InvalidOptionError(
            f"{option} {value!r}: use lower-case letters, digits and underscores, and begin with a letter or underscore"
        )
    if len(value) > longest:
        raise InvalidOptionError(
            f"{option} {value!r} has {len(value)} characters: use at most {longest}, because a name in PostgreSQL "
            f"has at most {MAX_IDENTIFIER_BYTES}"
        )
