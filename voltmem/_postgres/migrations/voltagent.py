"""
What VoltAgent's tables demand. It is looked at on every opening, because VoltAgent upgrades its tables when it likes.

Two steps, which have no files: columns that must not be NULL and that voltmem does not fill, and the user of a message;
and messages that voltmem stored before VoltAgent 1 or 2 came, which it could not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from voltmem._postgres.migrations.ledger import execute, retry_while_in_use, schema_lock
from voltmem._tables import Tables

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

COLUMNS: Final = "voltagent_columns"
"""The name of the first step in lists of migrations and in errors. It is not in the ledger: it may be needed again."""
MESSAGES: Final = "voltagent_messages"
"""The name of the second step. It is in the ledger: what is stored afterwards is readable."""

# The columns that every INSERT of voltmem fills.
_FILLED: Final = {
    "conversations": ("id", "resource_id", "user_id", "metadata", "created_at", "updated_at"),
    "messages": ("conversation_id", "message_id", "role", "content", "type", "created_at", "user_id"),
}
# A default that is evaluated for the writing session. Functions of voltmem set voltmem.user_id for their transaction.
# 'default' is VoltAgent's own default; VoltAgent replaces it by the conversation's user when it starts.
_USER: Final = "coalesce(nullif(pg_catalog.current_setting('voltmem.user_id', true), ''), 'default')"


def _demanding(tables: Tables, *, or_else: str = "false") -> str:
    """
    Return the SELECT of the columns that have to be changed.

    Those that voltmem does not fill, that have no default and must not be NULL; and user_id of the messages, if its
    default is not voltmem's, or in another case, *or_else*. One scan of one table: each opening plans this statement in
    a new session, which takes longer than to execute it.
    """
    conversations, messages = (
        f"pg_catalog.to_regclass('{table}')::oid" for table in (tables.conversations, tables.messages)
    )
    filled = {name: f"'{{{','.join(columns)}}}'::name[]" for name, columns in _FILLED.items()}
    return f"""SELECT attrelid, attname FROM pg_catalog.pg_attribute AS a
            WHERE attrelid IN ({conversations}, {messages}) AND attnum > 0 AND NOT attisdropped
                AND CASE WHEN attrelid = {messages} AND attname = 'user_id' THEN coalesce((
                    SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef AS d
                    WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum
                ), '') NOT LIKE '%voltmem.user_id%' OR {or_else}
                ELSE attnotnull AND NOT atthasdef AND attidentity = '' AND attname <> ALL (
                    CASE attrelid WHEN {conversations} THEN {filled["conversations"]} ELSE {filled["messages"]} END
                ) END"""


def unmet(tables: Tables, *, messages: bool = False) -> str:
    """Return the SELECT of a row for each column to be changed; messages: or if VoltAgent may not read some."""
    return _demanding(tables, or_else=_is_unread(tables) if messages else "false")


def _is_unread(tables: Tables) -> str:
    """Return the condition that there may be messages that VoltAgent cannot read, if it uses the tables."""
    return f"NOT EXISTS (SELECT 1 FROM {tables.migrations} WHERE name = '{MESSAGES}')"


def script(tables: Tables) -> str:
    """Return the statement that changes the columns, or does nothing."""
    return f"""DO $voltmem$
DECLARE
    demanded record;
BEGIN
FOR demanded IN {_demanding(tables)} LOOP
    IF demanded.attname = 'user_id' THEN
        ALTER TABLE {tables.messages} ALTER COLUMN user_id SET DEFAULT {_USER};
    ELSE
        EXECUTE pg_catalog.format(
            'ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', demanded.attrelid::regclass, demanded.attname
        );
    END IF;
END LOOP;
END
$voltmem$;"""


async def missing(connection: Connection, tables: Tables) -> list[str]:
    """Return COLUMNS if columns have to be changed. Messages can be read without MESSAGES, so it is never missing."""
    return [COLUMNS] if await connection.fetchval(f"SELECT EXISTS ({unmet(tables)})") else []


async def adapt(connection: Connection, tables: Tables) -> list[str]:
    """Change the columns. Returns COLUMNS if some were changed, and MESSAGES if the caller has to show messages."""

    async def step() -> list[str]:
        async with schema_lock(connection, tables):
            if not (todo := await missing(connection, tables)):
                return []
            await execute(connection, COLUMNS, script(tables))
            return todo

    done = await retry_while_in_use(step) if await missing(connection, tables) else []
    return [*done, MESSAGES] if await connection.fetchval(f"SELECT EXISTS ({unmet(tables, messages=True)})") else done


async def record_messages(connection: Connection, tables: Tables) -> None:
    """Record in the ledger that VoltAgent can read all messages."""
    await connection.execute(
        f"INSERT INTO {tables.migrations} (name, checksum) VALUES ('{MESSAGES}', '') ON CONFLICT (name) DO NOTHING"
    )
