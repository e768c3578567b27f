"""
The tables that VoltAgent 1 or 2 uses, too: showing it the messages that it cannot read yet, and its own tables.

add_message() and add_messages() write what VoltAgent reads together with the message. Messages that are stored
otherwise, and those from before VoltAgent came, are shown to it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from voltmem._areas.queries import hash_of, message_columns
from voltmem._tables import Tables, rendered
from voltmem._values import MAX_BIGINT, jsonb_copy, to_json
from voltmem.models import NativeMessage
from voltmem.parts.voltagent import Shown, show

if TYPE_CHECKING:
    from voltmem._postgres.connection import Executor

# A list of messages is read and written in pieces of this size.
_AT_ONCE: Final = 500


def has_voltagent(tables: Tables) -> str:
    """Return the condition that VoltAgent 1 or 2 uses these tables: it adds a column to the messages."""
    return f"""EXISTS (
            SELECT 1 FROM pg_catalog.pg_attribute
            WHERE attrelid = '{tables.messages}'::regclass::oid AND attname = 'user_id' AND NOT attisdropped
        )"""


def shown_columns(shown: Sequence[Shown], roles: Sequence[str]) -> tuple[list[str], list[str | None], list[str | None]]:
    """Return ui_parts, speakers and results of add_messages, for messages with these roles."""
    return (
        [to_json(jsonb_copy(each.parts)) for each in shown],
        [None if each.role == role else each.role for each, role in zip(shown, roles, strict=True)],
        [to_json(jsonb_copy(each.results)) if each.results else None for each in shown],
    )


class ShowStatements:
    """The statements that show messages to VoltAgent. Those with its columns can be prepared in its tables only."""

    def __init__(self, tables: Tables) -> None:
        self.hidden_conversations = f"""
            SELECT DISTINCT conversation_id FROM {tables.messages}
            WHERE conversation_id > $1 AND parts IS NULL AND content IS NOT NULL AND seq > 0
            ORDER BY conversation_id LIMIT $2::bigint"""
        self.claim = f"""
            UPDATE {tables.messages} SET user_id = (SELECT c.user_id FROM {tables.conversations} AS c WHERE c.id = $1)
            WHERE conversation_id = $1 AND user_id = 'default'
                AND EXISTS (SELECT 1 FROM {tables.conversations} AS c WHERE c.id = $1)"""
        self.hidden = f"""
            SELECT {message_columns(tables)} FROM {tables.messages}
            WHERE conversation_id = $1 AND parts IS NULL AND content IS NOT NULL AND seq > 0
            ORDER BY created_at, seq LIMIT $2::bigint"""
        # Messages that were replaced meanwhile have parts, and stay.
        self.show = f"""
            WITH shown AS (
                UPDATE {tables.messages} AS m SET parts = given.parts::jsonb, role = coalesce(given.speaker, role),
                    own_role = CASE WHEN given.speaker IS NOT NULL THEN role END,
                    parts_hash = {hash_of("given.parts::jsonb")}
                FROM unnest($2::text[], $3::text[], $4::text[]) AS given (message_id, parts, speaker)
                WHERE m.conversation_id = $1 AND m.message_id = given.message_id AND m.parts IS NULL
            )
            SELECT 1 AS shown"""
        self.answer = f"SELECT {tables.answer_calls}($1, $2)"
        # A working memory from before VoltAgent had a place for it is stored again, as it is: so it is written there.
        # Not in place of what VoltAgent has stored since, which then is the newest version.
        shown = f"""
            SELECT pg_catalog.count(done.outcome) AS shown
            FROM {{newest}} AS m
            CROSS JOIN LATERAL {tables.change_memory}(
                {{place}}, 'restore', m.version::text, false, m.version, NULL, NULL, m.author, {MAX_BIGINT}, NULL, NULL,
                NULL
            ) AS done
            WHERE m.content IS NOT NULL AND NOT m.is_shown"""

        def newest(table: str, key: str) -> str:
            return f"""(
                SELECT DISTINCT ON ({key}) {key}, version, content, author, is_shown FROM {table}
                WHERE $1::text IS NULL OR {key} = $1
                ORDER BY {key}, version DESC
            )"""

        self.show_memory = shown.format(
            newest=newest(tables.conversation_memory, "conversation_id"), place="NULL, m.conversation_id"
        )
        users = f"pg_catalog.to_regclass('{tables.of_voltagent('users')}')"
        self.show_user_memory = (
            shown.format(newest=newest(tables.user_memory, "user_id"), place="m.user_id, NULL")
            + f" AND {users} IS NOT NULL"
        )


async def show_conversation(executor: Executor, tables: Tables, conversation_id: str) -> None:
    """Show VoltAgent the messages and the working memory of a conversation that it cannot read yet."""
    sql = rendered(ShowStatements, tables)
    await _show_messages(executor, sql, conversation_id)
    await executor.fetch(sql.show_memory, conversation_id)


async def _show_messages(executor: Executor, sql: ShowStatements, conversation_id: str) -> None:
    await executor.execute(sql.claim, conversation_id)
    while rows := await executor.fetch(sql.hidden, conversation_id, _AT_ONCE):
        messages = [NativeMessage.from_row(row) for row in rows]
        parts, speakers, results = shown_columns(show(messages), [each.role for each in messages])
        await executor.fetch(sql.show, conversation_id, [each.id for each in messages], parts, speakers)
        for result in filter(None, results):
            await executor.fetch(sql.answer, conversation_id, result)


async def show_user_memory(executor: Executor, tables: Tables, user_id: str) -> None:
    """Show VoltAgent, if it has a table of users, the working memory of a user that it cannot read yet."""
    await executor.fetch(rendered(ShowStatements, tables).show_user_memory, user_id)


async def show_all(executor: Executor, tables: Tables) -> int:
    """Show VoltAgent all that it cannot read yet. Returns the number of conversations with such messages."""
    sql, count, last = rendered(ShowStatements, tables), 0, ""
    while rows := await executor.fetch(sql.hidden_conversations, last, _AT_ONCE):
        for row in rows:
            last = row["conversation_id"]
            await _show_messages(executor, sql, last)
            count += 1
    await executor.fetch(sql.show_memory, None)
    await executor.fetch(sql.show_user_memory, None)
    return count


# --- VoltAgent's own tables ---------------------------------------------------------------------------------------


def _own_rows(tables: Tables) -> dict[str, str]:
    """Return the condition on the rows t of a user, $1, for each of VoltAgent's own tables, by suffix."""
    own = f"(SELECT c.id FROM {tables.conversations} AS c WHERE c.user_id = $1)"
    of_workflow = f"(t.user_id = $1 OR t.user_id IS NULL AND t.conversation_id IN {own})"
    history = tables.of_voltagent("workflow_history")
    in_workflow = f"t.workflow_history_id IN (SELECT t.id FROM {history} AS t WHERE {of_workflow})"
    return {
        "users": "t.id = $1",
        "steps": "t.user_id = $1",
        "workflow_states": of_workflow,
        "workflow_history": of_workflow,
        "workflow_steps": in_workflow,
        "workflow_timeline_events": in_workflow,
    }


async def voltagent_rows(executor: Executor, tables: Tables) -> dict[str, str]:
    """Return the SELECT of the rows of a user, $1, as JSON text, for each of VoltAgent's own tables that is there."""
    conditions = _own_rows(tables)
    names = {tables.of_voltagent(suffix): suffix for suffix in conditions}
    there = "SELECT name FROM pg_catalog.unnest($1::text[]) AS name WHERE pg_catalog.to_regclass(name) IS NOT NULL"
    return {
        names[row["name"]]: f"SELECT pg_catalog.to_jsonb(t)::text AS row FROM {row['name']} AS t "
        f"WHERE {conditions[names[row['name']]]} ORDER BY t.created_at"
        for row in await executor.fetch(there, list(names))
    }
