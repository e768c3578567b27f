"""Databases created by the real VoltAgent packages, and the statements of their releases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.conftest import Connection

FIXTURES: Final = Path(__file__).parent / "fixtures"
RELEASES: Final = ("0.1.0", "0.1.7", "1.0.0", "2.1.2")


def script_of(release: str, schema: str) -> str:
    """Return the script of a database that the release created, for the test's schema."""
    return (FIXTURES / f"voltagent-{release}.sql").read_text("utf-8").replace("public.", f"{schema}.")


async def load(connection: Connection, release: str, schema: str) -> None:
    """Load the release's database into the test's schema."""
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(script_of(release, schema))
    await connection.execute("RESET search_path")


# The statements of addMessage and createConversation in each release, as in its source. addMessage sets the time in
# JavaScript; 2.1 and later replace an existing message.
_CONVERSATION: Final = (
    "INSERT INTO {schema}.voltagent_memory_conversations "
    "(id, resource_id, user_id, title, metadata, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)"
)
_TEXT_MESSAGE: Final = (
    "INSERT INTO {schema}.voltagent_memory_messages "
    "(conversation_id, message_id, role, content, type, created_at) VALUES ($1, $2, $3, $4, $5, $6)"
)
_UI_MESSAGE: Final = (
    "INSERT INTO {schema}.voltagent_memory_messages "
    "(conversation_id, message_id, user_id, role, parts, metadata, format_version, created_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
_UI_UPSERT: Final = (
    _UI_MESSAGE + " ON CONFLICT (conversation_id, message_id) DO UPDATE SET user_id = EXCLUDED.user_id, "
    "role = EXCLUDED.role, parts = EXCLUDED.parts, metadata = EXCLUDED.metadata, "
    "format_version = EXCLUDED.format_version"
)
_MESSAGE: Final[Mapping[str, str]] = {
    "0.1.7": _TEXT_MESSAGE,
    "0.1.12": _TEXT_MESSAGE,
    "1.0.0": _UI_MESSAGE,
    "1.0.11": _UI_MESSAGE,
    "1.1.4": _UI_MESSAGE,
    "2.0.2": _UI_MESSAGE,
    "2.1.2": _UI_UPSERT,
}
WRITERS: Final[Mapping[str, str]] = {
    "0.1.7": "0.1.7",
    "0.1.12": "0.1.7",
    "1.0.0": "1.0.0",
    "1.0.11": "2.1.2",
    "1.1.4": "2.1.2",
    "2.0.2": "2.1.2",
    "2.1.2": "2.1.2",
}
"""For each release that writes, the release whose database has the same tables."""
UI_WRITERS: Final = [release for release in WRITERS if not release.startswith("0.")]
"""The releases that store UIMessages."""

# What VoltAgent 1 and 2 do when they open tables of VoltAgent 0.1, or of voltmem.
_UPGRADE: Final = """
    ALTER TABLE {schema}.voltagent_memory_messages
        ADD COLUMN IF NOT EXISTS format_version integer DEFAULT 2,
        ADD COLUMN IF NOT EXISTS user_id text NOT NULL DEFAULT 'default',
        ADD COLUMN IF NOT EXISTS parts jsonb,
        ADD COLUMN IF NOT EXISTS metadata jsonb,
        ALTER COLUMN content DROP NOT NULL,
        ALTER COLUMN type DROP NOT NULL;
    UPDATE {schema}.voltagent_memory_messages AS m SET user_id = c.user_id
    FROM {schema}.voltagent_memory_conversations AS c WHERE m.conversation_id = c.id AND m.user_id = 'default'"""


async def upgrade(connection: Connection, schema: str) -> None:
    """Upgrade tables like VoltAgent 1 and 2, which begin to use them."""
    for statement in _UPGRADE.format(schema=schema).split(";"):  # Citus takes one at a time
        await connection.execute(statement)


async def create_conversation(connection: Connection, schema: str, id: str, user: str, at: Any) -> None:
    """Create a conversation like every release since 0.1.2."""
    sql = _CONVERSATION.format(schema=schema)
    await connection.execute(sql, id, "agent-0", user, "From VoltAgent", '{"from": "VoltAgent"}', at, at)


async def add_message(
    connection: Connection,
    release: str,
    schema: str,
    conversation: str,
    id: str,
    user: str,
    content: Any,
    at: Any,
    role: str = "user",
    type: str = "text",
) -> None:
    """Add a message like the release: other content than text as JSON, or a UIMessage's parts."""
    sql = _MESSAGE[release].format(schema=schema)
    if release.startswith("0."):
        text = content if isinstance(content, str) else json.dumps(content)
        await connection.execute(sql, conversation, id, role, text, type, at)
    else:
        await connection.execute(sql, conversation, id, user, role, json.dumps(content), '{"n": 1}', 2, at)
