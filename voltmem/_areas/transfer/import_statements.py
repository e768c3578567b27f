"""The SQL of an import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from voltmem._areas.history.models import ENTRY_JSON, EVENT_JSON
from voltmem._areas.queries import hash_of
from voltmem._areas.quotas import room
from voltmem._areas.sidebar import MARKS
from voltmem._areas.transfer.columns import EVENT, MEMORY, MESSAGE, STEP, SUMMARY
from voltmem._areas.voltagent_tables import has_voltagent
from voltmem._tables import Tables
from voltmem._values import user_key_sql


class ImportStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        conversations, payloads = tables.conversations, tables.payloads
        entries, steps, events = tables.agent_history, tables.agent_history_steps, tables.agent_history_timeline_events
        marks = ", ".join(MARKS)
        added = "ARRAY[(SELECT pg_catalog.count(*) FROM said)::text]"
        check = room(
            tables,
            "ARRAY[$2]",
            before=" AND ",
            conversations="true",
            messages="true",
            added=added,
            file_bytes=f"${22 + len(MESSAGE)}::text[] IS NOT NULL",
            stored="(SELECT pg_catalog.count(*) FROM made) + (SELECT pg_catalog.count(*) FROM said)",
        )
        # The setting fills the column user_id of messages in tables that VoltAgent made. A fork does not name a source
        # that belongs to another user.
        self.store = f"""
            WITH made AS (
                INSERT INTO {conversations}
                    (id, user_id, resource_id, title, metadata, created_at, updated_at, {marks})
                SELECT $1, $2, $3, $4, $5::text::jsonb,
                    coalesce($6::timestamptz, pg_catalog.statement_timestamp() - $17::interval),
                    coalesce($7::timestamptz, $6::timestamptz, pg_catalog.statement_timestamp()),
                    $8, $9, $10::text[],
                    CASE WHEN $16 THEN greatest($11::timestamptz, $6, pg_catalog.statement_timestamp()) ELSE $11 END,
                    $12::timestamptz, $13,
                    CASE WHEN NOT source.is_others THEN $14 END, CASE WHEN NOT source.is_others THEN $15 END
                FROM (
                    SELECT EXISTS (SELECT 1 FROM {conversations} WHERE id = $14 AND user_id <> $2) AS is_others
                ) AS source
                ON CONFLICT (id) DO NOTHING
                RETURNING id, user_id, created_at, pg_catalog.set_config('voltmem.user_id', user_id, true)
            ), kept AS (
                INSERT INTO {payloads} (conversation_id, format, payload, revision, updated_at)
                SELECT c.id, p.format, p.payload::json, p.revision,
                    coalesce(p.updated_at::timestamptz, pg_catalog.statement_timestamp())
                FROM made AS c, unnest({_arrays(18, 4)}) AS p (format, payload, revision, updated_at)
            ), said AS ({_insert_messages(tables, "made", 22)}{" RETURNING 1" if check else ""}
            )
            SELECT EXISTS (SELECT 1 FROM made){check} AS made, c.user_id AS owner,
                c.deleted_at IS NOT NULL AS is_deleted, {has_voltagent(tables)} AS beside_voltagent
            FROM (SELECT 1) AS one LEFT JOIN {conversations} AS c ON c.id = $1"""
        self.store_more = _insert_messages(tables, conversations, 2)
        owners_room = room(
            tables,
            conversation_ids="ARRAY[$1]",
            before="",
            messages="true",
            added=added,
            stored="(SELECT pg_catalog.count(*) FROM said)",
            file_bytes=f"${2 + len(MESSAGE)}::text[] IS NOT NULL",
        )
        if owners_room:
            self.store_more = f"WITH said AS ({self.store_more} RETURNING 1) SELECT {owners_room}"
        version = """m.version::bigint, m.content, m.change, m.author,
                    coalesce(m.created_at::timestamptz, pg_catalog.statement_timestamp()), m.from_messages::text[]"""
        versions = f"unnest({_arrays(2, len(MEMORY))}) AS m ({', '.join(MEMORY)})"
        self.store_memory = f"""
            INSERT INTO {tables.conversation_memory} (conversation_id, {", ".join(MEMORY)})
            SELECT c.id, {version}
            FROM {conversations} AS c, {versions}
            WHERE c.id = $1"""
        # A summary that ended later would hide what is added next: add_messages gives it a time after the last message.
        ends_at = f"""(
                SELECT least('9999-12-30 UTC'::timestamptz, greatest(
                    pg_catalog.statement_timestamp(), pg_catalog.max(created_at)
                )) FROM {tables.messages} WHERE conversation_id = $1 AND NOT aside
            )"""
        until = f"least({{}}::timestamptz, {ends_at})"
        stored = f"""s.id, s.content, {until.format("s.first_at")}, {until.format("s.last_at")}, s.hash, s.usage::json,
                s.format, s.payload::json, coalesce(s.created_at::timestamptz, pg_catalog.statement_timestamp())"""
        self.store_summaries = f"""
            INSERT INTO {tables.summaries} (conversation_id, {", ".join(SUMMARY)})
            SELECT c.id, {stored}
            FROM {conversations} AS c, unnest({_arrays(2, len(SUMMARY))}) AS s ({", ".join(SUMMARY)})
            WHERE c.id = $1"""
        self.name_summary = f"UPDATE {conversations} SET summary_id = $2 WHERE id = $1"
        # Of two imports at once, the second skips the versions of the first.
        self.store_user_memory = f"""
            WITH stored AS (
                INSERT INTO {tables.user_memory} (user_id, {", ".join(MEMORY)})
                SELECT $1, {version}
                FROM {versions}
                WHERE NOT EXISTS (SELECT 1 FROM {tables.user_memory} WHERE user_id = $1)
                ON CONFLICT DO NOTHING
                RETURNING 1
            )
            SELECT pg_catalog.count(*) AS stored FROM stored"""
        self.taken = f"""
            SELECT 'run' AS kind, id, coalesce(userid = $1, false) AS is_own FROM {entries} WHERE id = ANY($2::text[])
            UNION ALL SELECT 'step', key, false FROM {steps} WHERE key = ANY($3::text[])
            UNION ALL SELECT 'event', id, false FROM {events} WHERE id = ANY($4::text[])"""
        self.owners = f"SELECT id, user_id FROM {conversations} WHERE id = ANY($1::text[])"
        step, event = ", ".join(STEP), ", ".join(EVENT)
        # A run never refers to another user's conversation.
        self.store_run = f"""
            WITH made AS (
                INSERT INTO {entries}
                    (id, agent_id, "timestamp", status, userid, conversationid, {", ".join(ENTRY_JSON)}, exact)
                SELECT $1, $2, coalesce($3::timestamptz, pg_catalog.statement_timestamp()), $4, $5,
                    CASE WHEN NOT EXISTS (SELECT 1 FROM {conversations} WHERE id = $6 AND user_id <> $5) THEN $6 END,
                    $7::text::jsonb, $8::text::jsonb, $9::text::jsonb, $10::text::jsonb, $11::text::jsonb
                ON CONFLICT (id) DO NOTHING
                RETURNING id
            ), steps AS (
                INSERT INTO {steps} (history_id, {step})
                SELECT made.id, s.key, s.value::jsonb, s.exact::jsonb, s.agent_id
                FROM made, unnest({_arrays(12, 4)}) WITH ORDINALITY AS s ({step}, place)
                ORDER BY s.place
            ), events AS (
                INSERT INTO {events} (history_id, {event})
                SELECT made.id, {", ".join(_EVENT_VALUES.values())}
                FROM made, unnest({_arrays(16, len(EVENT))}) WITH ORDINALITY AS e ({event}, place)
                ORDER BY e.place
            )
            SELECT id FROM made"""


# Casts for the columns that are not text, and a value for the one that must not be NULL.
_EVENT_VALUES: Final[Mapping[str, str]] = {
    **{name: f"e.{name}" for name in EVENT},
    **{name: f"e.{name}::jsonb" for name in (*EVENT_JSON, "exact")},
    "start_time": "coalesce(e.start_time::timestamptz, pg_catalog.statement_timestamp())",
    "end_time": "e.end_time::timestamptz",
}


def _arrays(first: int, count: int) -> str:
    """Return *count* parameters of type text[]: for any other array type asyncpg asks the server about its codec."""
    return ", ".join(f"${number}::text[]" for number in range(first, first + count))


def _insert_messages(tables: Tables, conversations: str, first: int) -> str:
    """
    Return the INSERT of messages into conversation $1; parameter *first* is the first of their columns.

    The parameters after the columns are ids and contents of files that the messages refer to, and how many messages
    have been inserted before: without times, each is a microsecond after the one before it.
    """
    last = first + len(MESSAGE) - 1
    # The sequence numbers follow the order of the SELECT.
    return f"""
                INSERT INTO {tables.messages} (conversation_id, {", ".join(MESSAGE)}, parts_hash)
                SELECT c.id, m.message_id, m.role, m.content, m.content_json::json, m.type, m.metadata::jsonb,
                    coalesce(
                        m.created_at::timestamptz,
                        c.created_at + (${last + 3}::bigint + m.place) * interval '1 microsecond'
                    ), m.format, m.payload::json, m.parent_id,
                    m.archived IS NOT NULL, m.aside IS NOT NULL, m.parts::jsonb,
                    pg_catalog.replace(m.words, E'\\x01', {user_key_sql("c.user_id")})::tsvector,
                    pg_catalog.string_to_array(m.file_ids, ' '), '=' || {hash_of("m.parts::jsonb")}
                FROM {conversations} AS c,
                    unnest({_arrays(first, len(MESSAGE))}) WITH ORDINALITY AS m ({", ".join(MESSAGE)}, place)
                WHERE c.id = $1 AND (
                    SELECT pg_catalog.count({tables.keep_file}(owned.user_id, kept.id, kept.content))
                    FROM {conversations} AS owned, unnest({_arrays(last + 1, 2)}) AS kept (id, content)
                    WHERE owned.id = $1
                ) >= 0
                ORDER BY m.place"""
