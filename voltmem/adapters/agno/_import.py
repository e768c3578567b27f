"""Importing the sessions of a table of Agno 1."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from voltmem._areas.area import check_storage
from voltmem._tables import Tables
from voltmem._values import UNSET, JsonObject, from_stored_json
from voltmem.adapters.agno._sessions import DEFAULT_USER_ID, Sessions, resource_id_of
from voltmem.adapters.agno._sessions_of_1 import save_session
from voltmem.storage import PostgresStorage


async def import_sessions(storage: PostgresStorage, table_name: str, *, schema: str = "ai") -> int:
    """
    Copy the sessions of a table of Agno 1's PostgresStorage in the same database. Returns the number of sessions.

    A repeated import updates the sessions that were imported before, and keeps messages added to them since. The table
    is only read.

    Args:
        storage: The storage to import into: that of a VoltMemStorage on Agno 1.
        table_name: The name of Agno's table.
        schema: The PostgreSQL schema of Agno's table.

    Raises:
        ConversationNotFoundError: A conversation with the id of a session exists and is another user's.
    """
    check_storage(storage, PostgresStorage)
    source = Tables(schema, table_name)  # checks both names, because they become part of a statement
    name = f'"{source.schema}"."{source.prefix}"'
    async with storage.transaction() as tx:
        # The session used last is imported last, so it comes first in lists.
        rows = await tx.connection.fetch(
            f"SELECT pg_catalog.to_jsonb(t)::text AS session FROM {name} AS t "
            "ORDER BY coalesce(updated_at, created_at), session_id"
        )
    for row in rows:
        session = from_stored_json(row["session"])
        assert isinstance(session, dict)
        await _import_session(storage, session)
    return len(rows)


async def _import_session(storage: PostgresStorage, session: JsonObject) -> None:
    modes = {"agent_data": "agent", "team_data": "team", "workflow_data": "workflow", "runs": "workflow_v2"}
    mode = next(mode for key, mode in reversed(modes.items()) if key in session)
    session_id, user_id = str(session["session_id"]), str(session.get("user_id") or DEFAULT_USER_ID)
    made = session.get("created_at")
    conversation: dict[str, object] = {"id": session_id, "user_id": user_id, "resource_id": resource_id_of(session)}
    if isinstance(made, int):
        with suppress(ValueError, OverflowError, OSError):  # no time at all: the conversation begins now
            conversation["created_at"] = datetime.fromtimestamp(made, UTC)
    await storage.ensure_conversation(conversation)
    await save_session(Sessions(storage, UNSET, None), mode, session_id, user_id, session)
