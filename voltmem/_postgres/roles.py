"""
The database roles of `python -m voltmem sql --roles`: what each may do, and which rows a session sees.

The owner creates the tables and runs the migrations. The application calls the verbs. The read-only role is for
reports. The session role is taken by UserStorage.session() alone: the policies are restrictive and name this role, so
that they add nothing to a statement of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Final, NamedTuple

from voltmem._postgres.migrations.citus import ONE_BY_ONE
from voltmem._postgres.migrations.ledger import LOCK_TIMEOUT, PINNED_PATH
from voltmem._tables import MAX_IDENTIFIER_BYTES, Tables, check_identifier
from voltmem.errors import InvalidOptionError

SETTING: Final = "voltmem.rls_user"
"""The setting that names the user of a session, for policies on the application's own tables, too."""
POLICY: Final = "voltmem_session"
"""The name of the restrictive policy on each table."""
_PERMISSIVE_POLICY: Final = "voltmem_all"


@dataclass(frozen=True)
class RoleNames:
    """The names of the roles, which must differ."""

    owner: str = "voltmem_owner"
    application: str = "voltmem_app"
    read_only: str = "voltmem_read"
    session: str = "voltmem_session"

    def __post_init__(self) -> None:
        for each in fields(self):
            name = getattr(self, each.name)
            check_identifier(f"the {each.name.replace('_', '-')} role", name, MAX_IDENTIFIER_BYTES)
            if name.startswith("pg_") or name in ("public", "none"):
                raise InvalidOptionError(f"role {name!r}: PostgreSQL reserves this name; use another")
        if len(set(astuple(self))) < len(fields(self)):
            raise InvalidOptionError(f"roles {', '.join(astuple(self))}: use a different name for each")


class Rights(NamedTuple):
    """The privileges on one table. An empty text means none."""

    application: str
    session: str = ""
    read_only: str = "SELECT"
    rows: Callable[[Tables], str] | None = None
    """The condition that a row is the session's user's; needed if the session has privileges."""


_USER: Final = f"nullif(pg_catalog.current_setting('{SETTING}', true), '')"
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"


def _of_user(column: str) -> Callable[[Tables], str]:
    return lambda tables: f"{column} = {_USER}"


# An array, not EXISTS: PostgreSQL computes it once for each statement, and reads the other table by its index.
def _of_conversations(tables: Tables) -> str:
    own = f"SELECT c.id FROM {tables.conversations} AS c WHERE c.user_id = {_USER}"
    return f"conversation_id = ANY (ARRAY({own}))"


def _of_entries(tables: Tables) -> str:
    own = f"SELECT h.id FROM {tables.agent_history} AS h WHERE h.userid = {_USER}"
    return f"history_id = ANY (ARRAY({own}))"


RIGHTS: Final[Mapping[str, Rights]] = {
    "conversations": Rights(_ALL, _ALL, rows=_of_user("user_id")),
    "messages": Rights(_ALL, _ALL, rows=_of_conversations),
    # A trigger adds rows, as the owner.
    "changed_lines": Rights("SELECT, UPDATE, DELETE", read_only=""),
    "payloads": Rights("SELECT, INSERT, UPDATE", "SELECT", rows=_of_conversations),
    # A token opens the conversation to anyone who has it, so reports do not see it.
    "shares": Rights(
        _ALL,
        "SELECT",
        "SELECT (conversation_id, up_to, up_to_time, up_to_seq, newest_seq, created_at)",
        _of_conversations,
    ),
    "agent_history": Rights(_ALL, _ALL, rows=_of_user("userid")),
    "agent_history_steps": Rights(_ALL, _ALL, rows=_of_entries),
    "agent_history_timeline_events": Rights(_ALL, _ALL, rows=_of_entries),
    "files": Rights(_ALL, "SELECT", rows=_of_user("user_id")),
    # Reports need sizes and times of files, not their bytes.
    "file_chunks": Rights("SELECT, INSERT", "SELECT", "", _of_user("user_id")),
    # A trigger adds and deletes them, as the owner.
    "file_references": Rights("SELECT, UPDATE", "SELECT", rows=_of_user("user_id")),
    # Versions are never changed. The methods write them, and VoltAgent's place for the text.
    "user_memory": Rights("SELECT, INSERT, DELETE", "SELECT", rows=_of_user("user_id")),
    # Those of frameworks. The same functions write them.
    "user_items": Rights(_ALL, "SELECT", rows=_of_user("user_id")),
    "conversation_memory": Rights("SELECT, INSERT, DELETE", "SELECT", rows=_of_conversations),
    # What changes a message deletes them. UPDATE: one that a new one takes in is locked.
    "summaries": Rights(_ALL, "SELECT", rows=_of_conversations),
    "leases": Rights("SELECT, INSERT, UPDATE", "SELECT", rows=_of_conversations),
    "answers": Rights("SELECT, INSERT, UPDATE", "SELECT", rows=_of_conversations),
    "answer_pieces": Rights("SELECT, INSERT, DELETE", "SELECT", rows=_of_conversations),
    "watchers": Rights(_ALL, read_only=""),
    # Who asked to be forgotten is nobody's report.
    "deleted_users": Rights(_ALL, read_only=""),
    # Not for reports: a bound is not a count.
    "quota_counts": Rights(_ALL, read_only=""),
    "migrations": Rights("SELECT"),
}
"""The privileges on each table of Tables, by its attribute."""

# What delete_user(), forget(), prune(), export_user(), the working memory and a change of owner do in tables that may
# not exist: VoltAgent's own, and the backup of migrate_conversation_schema(). What
# embed_messages() does in that of vectors, which neither reports nor sessions need.
_OPTIONAL: Final = {
    "users": "SELECT, INSERT, UPDATE, DELETE",
    "steps": "SELECT, UPDATE, DELETE",
    "workflow_states": "SELECT, DELETE",
    "workflow_history": "SELECT, DELETE",
    "workflow_steps": "SELECT",
    "workflow_timeline_events": "SELECT",
    "conversations_backup": "SELECT, UPDATE, DELETE",
    "messages_backup": "SELECT, DELETE",
    "embeddings": "SELECT, INSERT, UPDATE, DELETE",
}


def protected(tables: Tables) -> dict[str, str]:
    """Return the condition of the policy for each table that has one."""
    return {getattr(tables, name): each.rows(tables) for name, each in RIGHTS.items() if each.rows is not None}


def script(tables: Tables, names: RoleNames, *, distributed: bool = False) -> str:
    """Return the SQL script that creates the roles and gives them their privileges. It can be run again."""
    header = (
        f"-- Roles of voltmem for {tables}. Run this after 'python -m voltmem migrate', and after each upgrade,\n"
        "-- as a superuser, or as a role with CREATEROLE that owns the schema and the tables. All or nothing:\n"
        "-- psql is to stop at the first error: psql --set ON_ERROR_STOP=1"
    )
    return "\n\n".join([header, "BEGIN;", *statements(tables, names, distributed=distributed), "COMMIT;"]) + "\n"


def statements(tables: Tables, names: RoleNames, *, distributed: bool = False) -> list[str]:
    """
    Return the statements of the script, which are one transaction.

    distributed: Whether the tables are distributed, or will be. Citus refuses policies that read other tables: there
    are none then, and the session role has no privileges.
    """
    kinds = ("application", "read_only") if distributed else ("application", "read_only", "session")
    return [
        # First, because this runs as a superuser: operators, types and the statements in blocks are found by the path.
        f"{PINNED_PATH.replace('SET', 'SET LOCAL')};",
        # All later statements on a table wait behind this one. If it fails, nothing has changed.
        f"SET LOCAL lock_timeout = {LOCK_TIMEOUT};\nSET LOCAL client_min_messages = warning;",
        *([f"{ONE_BY_ONE};"] if distributed else []),
        *_create(names),
        *_own(tables, names),
        *_use(tables, names, kinds),
        *_use_later(tables, names),
        *(_unprotect(tables) if distributed else _protect(tables, names)),
    ]


def _create(names: RoleNames) -> Iterator[str]:
    """Yield the statements that create the roles and their memberships."""
    for name in astuple(names):
        # Older servers have no option of a membership: NOINHERIT keeps the session role's policies from its member.
        options = "NOLOGIN NOINHERIT" if name == names.application else "NOLOGIN"
        yield _if(f"pg_catalog.to_regrole('\"{name}\"'::text) IS NULL", f'CREATE ROLE "{name}" {options};')
    yield (
        "-- It creates and changes objects of the owner.\n"
        + _if(
            f"NOT pg_catalog.pg_has_role('{names.owner}'::name, 'USAGE'::text)",
            f'GRANT "{names.owner}" TO CURRENT_USER;',
        )
    )
    grant = f'GRANT "{names.session}" TO "{names.application}"'
    yield f"""-- A member that inherits from the session role would be under its policies all the time.
DO $voltmem$
BEGIN
IF pg_catalog.current_setting('server_version_num'::text)::integer >= 160000 THEN
    EXECUTE '{grant} WITH INHERIT FALSE, SET TRUE';
ELSIF (SELECT rolinherit FROM pg_catalog.pg_roles WHERE rolname = '{names.application}'::name) THEN
    RAISE EXCEPTION 'the role {names.application} has INHERIT: let the script create the role, under another name';
ELSE
    {grant};
END IF;
END
$voltmem$;"""


def _own(tables: Tables, names: RoleNames) -> Iterator[str]:
    """Yield the statements that make the owner the owner, who may create more."""
    yield f'GRANT USAGE, CREATE ON SCHEMA "{tables.schema}" TO "{names.owner}";'
    yield "\n".join(f'ALTER TABLE {each} OWNER TO "{names.owner}";' for each in tables.all_tables())
    is_there = f"pg_catalog.to_regclass('{tables.embeddings}') IS NOT NULL"
    yield _if(is_there, f'ALTER TABLE {tables.embeddings} OWNER TO "{names.owner}";')
    yield "\n".join(f'ALTER FUNCTION {each} OWNER TO "{names.owner}";' for each in tables.all_functions())


def _use(tables: Tables, names: RoleNames, kinds: tuple[str, ...]) -> Iterator[str]:
    """Yield the statements about privileges on what is there."""
    users = f'"{names.application}", "{names.read_only}", "{names.session}"'
    yield f'GRANT USAGE ON SCHEMA "{tables.schema}" TO {users};'
    yield f"REVOKE ALL ON\n    {_lines(tables.all_tables())}\nFROM {users};"
    for kind in kinds:
        rights = ((getattr(tables, table), getattr(each, kind)) for table, each in RIGHTS.items())
        yield "\n".join(f'GRANT {right} ON {table} TO "{getattr(names, kind)}";' for table, right in rights if right)
    sequences, functions = _lines(tables.all_sequences()), _lines(tables.all_functions())
    yield f'GRANT USAGE ON SEQUENCE\n    {sequences}\nTO "{names.application}", "{names.session}";'
    yield f'REVOKE EXECUTE ON FUNCTION\n    {functions}\nFROM PUBLIC, "{names.application}";'
    called = _lines(tables.all_functions(without_triggers=True))
    yield f'GRANT EXECUTE ON FUNCTION\n    {called}\nTO "{names.application}";'
    yield _use_optional(tables, names)


def _use_later(tables: Tables, names: RoleNames) -> Iterator[str]:
    """Yield the statements about what migrations create before this script is run again."""
    owner = f'ALTER DEFAULT PRIVILEGES FOR ROLE "{names.owner}"'
    in_schema = f'{owner} IN SCHEMA "{tables.schema}" GRANT'
    yield f"-- What later migrations create.\n{owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;"
    for right, kind in ((_ALL, "TABLES"), ("USAGE", "SEQUENCES"), ("EXECUTE", "FUNCTIONS")):
        yield f'{in_schema} {right} ON {kind} TO "{names.application}";'


def _use_optional(tables: Tables, names: RoleNames) -> str:
    """Return the statement about tables that may not exist."""
    given = {tables.of_voltagent(name): right for name, right in _OPTIONAL.items()}
    given[tables.of_voltagents_vectors] = "SELECT, DELETE"
    rows = ",\n    ".join(f"('{name}', '{right}')" for name, right in given.items())
    return f"""DO $voltmem$
DECLARE
    name text;
    rights text;
BEGIN
FOR name, rights IN VALUES
    {rows}
LOOP
    IF pg_catalog.to_regclass(name) IS NOT NULL THEN
        EXECUTE pg_catalog.format('GRANT %s ON %s TO "{names.application}"', rights, name);
    END IF;
END LOOP;
END
$voltmem$;"""


def _protect(tables: Tables, names: RoleNames) -> Iterator[str]:
    """Yield the statements about row-level security."""
    for table, condition in protected(tables).items():
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
        yield (
            f"DROP POLICY IF EXISTS {_PERMISSIVE_POLICY} ON {table};\n"
            f"CREATE POLICY {_PERMISSIVE_POLICY} ON {table} USING (true);"
        )
        yield (
            f"DROP POLICY IF EXISTS {POLICY} ON {table};\n"
            f'CREATE POLICY {POLICY} ON {table} AS RESTRICTIVE TO "{names.session}"\n'
            f"    USING ({condition});"
        )


def _unprotect(tables: Tables) -> Iterator[str]:
    """Yield the statements that drop the policies, which Citus refuses. The others stay, and allow every row."""
    for table in protected(tables):
        yield f"DROP POLICY IF EXISTS {POLICY} ON {table};"


def _if(condition: str, statement: str) -> str:
    return f"DO $voltmem$\nBEGIN\nIF {condition} THEN\n    {statement}\nEND IF;\nEND\n$voltmem$;"


def _lines(names: list[str]) -> str:
    return ",\n    ".join(names)
