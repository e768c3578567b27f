"""The names of tables, functions and indexes: made from schema and prefix, validated once, spelled nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Final, TypeVar, cast

from voltmem.errors import InvalidOptionError

# PostgreSQL cuts identifiers at 63 bytes (NAMEDATALEN - 1), silently; VoltAgent's longest index name is 65.
MAX_IDENTIFIER_BYTES: Final = 63
LONGEST_SUFFIX: Final = "_agent_history_timeline_events"
MAX_PREFIX_LENGTH: Final = MAX_IDENTIFIER_BYTES - len(LONGEST_SUFFIX)

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")

StatementsT = TypeVar("StatementsT")


@dataclass(frozen=True)
class Tables:
    """Every name that SQL of ours contains, qualified and quoted, ready to stand in a statement."""

    schema: str
    prefix: str
    conversations: str = field(init=False)
    conversations_backup: str = field(init=False)
    messages: str = field(init=False)
    messages_backup: str = field(init=False)
    payloads: str = field(init=False)
    shares: str = field(init=False)
    migrations: str = field(init=False)
    watchers: str = field(init=False)
    tell_watchers: str = field(init=False)
    add_messages: str = field(init=False)
    drop_messages: str = field(init=False)
    drop_messages_of_user: str = field(init=False)
    hand_over: str = field(init=False)
    plain: str = field(init=False)
    agent_history: str = field(init=False)
    agent_history_steps: str = field(init=False)
    agent_history_timeline_events: str = field(init=False)

    def __post_init__(self) -> None:
        _check_identifier("schema", self.schema, MAX_IDENTIFIER_BYTES)
        _check_identifier("table_prefix", self.prefix, MAX_PREFIX_LENGTH)
        if self.schema.startswith("pg_"):
            raise InvalidOptionError(f"schema {self.schema!r}: names that begin with pg_ belong to PostgreSQL")
        for each in fields(self):
            if not each.init:
                object.__setattr__(self, each.name, f'"{self.schema}".{self.prefix}_{each.name}')

    def __str__(self) -> str:
        return f"{self.schema}.{self.prefix}_*"

    def render(self, template: str) -> str:
        """
        Return a migration's text with {schema} and {prefix} filled in.

        By replacement, not str.format, so that '{}' stays legal SQL.
        """
        return template.replace("{schema}", f'"{self.schema}"').replace("{prefix}", self.prefix)


def rendered(kind: Callable[[Tables], StatementsT], tables: Tables) -> StatementsT:
    """Return the statements of a kind for these tables: written once, on first use, for all who have the same names."""
    return cast(StatementsT, _rendered(kind, tables))


@lru_cache(maxsize=256)  # a kind has some 10 KiB; who has hundreds of prefixes writes those again that are seldom used
def _rendered(kind: Callable[[Tables], object], tables: Tables) -> object:
    return kind(tables)


def _check_identifier(option: str, value: object, longest: int) -> None:
    if not isinstance(value, str) or _IDENTIFIER.fullmatch(value) is None:
        raise InvalidOptionError(
            f"{option} {value!r}: use lower-case letters, digits and underscores, and begin with no digit"
        )
    if len(value) > longest:
        raise InvalidOptionError(f"{option} {value!r} has {len(value)} characters; at most {longest} leave room")
