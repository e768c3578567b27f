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


def _demanded(tables: Tables) -> str:
    """Return the FROM item of the columns that voltmem does not fill, and that have no default and must not be NULL."""
    return " UNION ALL ".join(
        f"""SELECT attrelid, attname FROM pg_catalog.pg_attribute
            WHERE attrelid = pg_catalog.to_regclass('{table}')::oid AND attnum > 0 AND NOT attisdropped
                AND attnotnull AND NOT atthasdef AND attidentity = ''
                AND attname <> ALL ('{{{",".join(_FILLED[name])}}}'::name[])"""
        for name, table in (("conversations", tables.conversations), ("messages", tables.messages))
    )


def _foreign_user(tables: Tables) -> str:
    """Return the FROM item of the column user_id of the messages, if its default is not voltmem's."""
    return f"""SELECT a.attrelid, a.attname FROM pg_catalog.pg_attribute AS a
            LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = pg_catalog.to_regclass('{tables.messages}')::oid AND a.attname = 'user_id'
                AND NOT a.attisdropped
                AND coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') NOT LIKE '%voltmem.user_id%'"""


def unmet(tables: Tables) -> str:
    """Return the SELECT of a row for each column that has to be changed."""
    return f"SELECT 1 FROM ({_demanded(tables)} UNION ALL {_foreign_user(tables)}) AS demanded"


def unread(tables: Tables) -> str:
    """Return the SELECT of a row if there may be messages that VoltAgent cannot read."""
    return f"""SELECT 1 FROM pg_catalog.pg_attribute
            WHERE attrelid = pg_catalog.to_regclass('{tables.messages}')::oid AND attname = 'user_id'
                AND NOT attisdropped
                AND NOT EXISTS (SELECT 1 FROM {tables.migrations} WHERE name = '{MESSAGES}')"""


def script(tables: Tables) -> str:
    """Return the statement that changes the columns, or does nothing."""
    return f"""DO $voltmem$
DECLARE
    demanded record;
BEGIN
FOR demanded IN {_demanded(tables)} LOOP
    EXECUTE pg_catalog.format(
        'ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', demanded.attrelid::regclass, demanded.attname
    );
END LOOP;
IF EXISTS ({_foreign_user(tables)}) THEN
    ALTER TABLE {tables.messages} ALTER COLUMN user_id SET DEFAULT {_USER};
END IF;
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
    return [*done, MESSAGES] if await connection.fetchval(f"SELECT EXISTS ({unread(tables)})") else done


async def record_messages(connection: Connection, tables: Tables) -> None:
    """Record in the ledger that VoltAgent can read all messages."""
    await connection.execute(
        f"INSERT INTO {tables.migrations} (name, checksum) VALUES ('{MESSAGES}', '') ON CONFLICT (name) DO NOTHING"
    )
