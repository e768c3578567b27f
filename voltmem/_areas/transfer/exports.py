"""Exporting a user's data as lines of JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from voltmem._areas.area import Area
from voltmem._areas.history.entries import ENTRY_COLUMNS, EVENT_COLUMNS, STEP_COLUMNS
from voltmem._areas.inlined import EXPORTED
from voltmem._areas.items import OPERATIONS
from voltmem._areas.queries import IS_THEIRS, authored, message_columns
from voltmem._areas.sidebar import MARKS
from voltmem._areas.voltagent_tables import voltagent_rows
from voltmem._postgres.connection import BoundConnection
from voltmem._tables import Tables
from voltmem._values import check_user

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

# The number of conversations, or runs, whose rows are read together.
_AT_ONCE: Final = 100
# The number of messages that are read together.
_MESSAGES_AT_ONCE: Final = 100
# The number of items that are read together, of at most a megabyte each.
_ITEMS_AT_ONCE: Final = 20
# The number of chunks of files that are read together, of 256 KiB each.
_CHUNKS_AT_ONCE: Final = 4


class ExportStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        conversations, payloads = tables.conversations, tables.payloads
        entries, steps, events = tables.agent_history, tables.agent_history_steps, tables.agent_history_timeline_events
        marks = ", ".join(MARKS)
        # With those of other users in which the user has written, in VoltAgent's tables. Their titles and marks are the
        # owners'.
        self.conversations = f"""
            SELECT id, resource_id, title, metadata::text AS metadata, created_at, updated_at, {marks}, summary_id
            FROM {conversations} WHERE user_id = $1
            UNION ALL
            SELECT c.id, c.resource_id, NULL::text AS title, NULL::text AS metadata, c.created_at, c.updated_at,
                false AS pinned, false AS archived, '{{}}'::text[] AS tags, NULL::timestamptz AS read_at, c.deleted_at,
                false AS title_is_automatic, NULL::text AS forked_from, NULL::text AS forked_up_to,
                NULL::text AS summary_id
            FROM {conversations} AS c
            WHERE c.user_id <> $1 AND EXISTS (
                SELECT 1 FROM {authored(tables)} AS m WHERE m.conversation_id = c.id AND m.author = $1
            )
            ORDER BY created_at, id"""
        self.payloads = f"""
            SELECT conversation_id, format, payload::text AS payload, revision, updated_at
            FROM {payloads} WHERE conversation_id = ANY($1::text[])
                AND EXISTS (SELECT 1 FROM {conversations} AS c WHERE c.id = conversation_id AND c.user_id = $2)
            ORDER BY conversation_id, format"""
        # A row for each chunk of a file, in order.
        self.files = f"""
            SELECT f.id, f.size, f.created_at, c.number, c.bytes
            FROM {tables.files} AS f JOIN {tables.file_chunks} AS c ON c.user_id = f.user_id AND c.upload = f.upload
            WHERE f.user_id = $1 AND f.id IS NOT NULL
            ORDER BY f.id, c.number"""
        # The conversations in the order of the array. The planner knows the order of WITH ORDINALITY, and so can sort
        # each conversation by itself. What files="extract" took out of the payloads is in the lines of the files, which
        # are the user's own.
        columns = message_columns(tables, unless=f"owner = $2 AND pg_catalog.strpos(payload::text, '{EXPORTED}') = 0")
        self.messages = f"""
            SELECT conversation_id, archived, aside, {IS_THEIRS} AS in_parts, {columns}
            FROM {authored(tables)} AS m JOIN (
                SELECT wanted.id, c.user_id AS owner, wanted.place
                FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS wanted (id, place)
                JOIN {conversations} AS c ON c.id = wanted.id
            ) AS c ON c.id = m.conversation_id
            WHERE conversation_id = ANY($1::text[]) AND coalesce(author, owner) = $2
            ORDER BY place, created_at, seq"""
        # What VoltAgent has changed is not stored here until a memory is looked at, and an export stores nothing.
        versions = "version, content, change, author, created_at, from_messages"
        changed = (
            "version + 1 AS version, content, 'edit' AS change, author, changed_at AS created_at, NULL AS from_messages"
        )
        self.user_memory = f"SELECT {versions} FROM {tables.user_memory} WHERE user_id = $1 ORDER BY version"
        self.changed_user_memory = f"SELECT {changed} FROM {tables.look_at_memory}($1, NULL) WHERE NOT is_stored"
        # Without the receipts of operations.
        self.items = f"""
            SELECT namespace, key, value::text AS value, words IS NOT NULL AS searched,
                lifetime, expires_at, created_at, updated_at
            FROM {tables.user_items} WHERE user_id = $1 AND namespace <> ARRAY['{OPERATIONS[0]}']
                AND (expires_at IS NULL OR expires_at > pg_catalog.statement_timestamp())
            ORDER BY namespace, key"""
        self.memory = f"""
            SELECT conversation_id, {versions} FROM {tables.conversation_memory} AS m
            WHERE conversation_id = ANY($1::text[])
                AND EXISTS (SELECT 1 FROM {conversations} AS c WHERE c.id = m.conversation_id AND c.user_id = $2)
            ORDER BY conversation_id, version"""
        self.summaries = f"""
            SELECT s.conversation_id, s.id, s.content, s.first_at, s.last_at, s.hash, s.usage::text AS usage, s.format,
                s.payload::text AS payload, s.created_at
            FROM {tables.summaries} AS s
            WHERE s.conversation_id = ANY($1::text[])
                AND EXISTS (SELECT 1 FROM {conversations} AS c WHERE c.id = s.conversation_id AND c.user_id = $2)
            ORDER BY s.conversation_id, s.last_at, s.id"""
        self.changed_memory = f"""
            SELECT given.id AS conversation_id, {changed}
            FROM pg_catalog.unnest($1::text[]) AS given (id)
            CROSS JOIN LATERAL {tables.look_at_memory}($2, given.id) AS seen
            WHERE NOT seen.is_stored"""
        self.runs = f"""
            SELECT {ENTRY_COLUMNS} FROM {entries}
            WHERE userid = $1
            ORDER BY "timestamp", id"""
        # In the order in which AgentHistory reads them.
        self.steps = f"""
            SELECT {STEP_COLUMNS}, agent_id FROM {steps}
            WHERE history_id = ANY($1::text[])
            ORDER BY seq, value ->> 'timestamp'::text, key"""
        self.events = f"""
            SELECT {EVENT_COLUMNS}, agent_id FROM {events}
            WHERE history_id = ANY($1::text[])
            ORDER BY start_time, seq, id"""


class Exports(Area):
    """The verb that exports a user's data."""

    def export_user(self, user_id: str) -> AsyncIterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                async for line in storage.export_user("ada"):
                    file.write(line)

        Included are the files, the user's working memory, what frameworks keep of the user as items, all conversations,
        also archived and deleted ones, with their marks, messages, working memory and the payloads of frameworks, and
        the recorded runs of agents. Public links are left out, because anyone with the token can read. In tables that
        VoltAgent uses, also what it stores of the user in tables of its own (working memory, steps, workflows), and the
        user's messages in other users'
        conversations. import_user() reads the lines; the reference, under "A user's data", describes their format.

        The export is a snapshot of one moment. About a hundred conversations, or a megabyte of a file, are in memory at
        a time. It holds one connection, in a transaction, until the last line is read or the iterator is closed.
        """
        check_user("user_id", user_id, "an export holds the data of one user")
        return self._export(user_id)

    async def _export(self, user_id: str) -> AsyncIterator[str]:
        from voltmem._areas.transfer.lines import (  # here and below: few programs need it
            chunk_line,
            end_line,
            file_line,
            header_line,
            item_line,
            user_memory_line,
            voltagent_line,
        )

        sql = self._sql(ExportStatements)
        async with self._executor.snapshot() as snapshot:
            yield header_line(user_id, snapshot.moment)
            async for row in snapshot.rows(sql.files, user_id, at_once=_CHUNKS_AT_ONCE):
                if row["number"] == 0:
                    yield file_line(row)
                yield chunk_line(row)
            for statement in (sql.user_memory, sql.changed_user_memory):
                for row in await snapshot.fetch(statement, user_id):
                    yield user_memory_line(row)
            async for row in snapshot.rows(sql.items, user_id, at_once=_ITEMS_AT_ONCE):
                yield item_line(row)
            async for rows in _together(snapshot.rows(sql.conversations, user_id)):
                async for lines in self._conversation_lines(snapshot, rows, user_id):
                    for line in lines:
                        yield line
            async for rows in _together(snapshot.rows(sql.runs, user_id)):
                async for line in self._run_lines(snapshot, rows):
                    yield line
            for name, statement in (await voltagent_rows(snapshot, self._options.tables)).items():
                async for row in snapshot.rows(statement, user_id):
                    yield voltagent_line(name, row)
            yield end_line()

    async def _conversation_lines(
        self, snapshot: BoundConnection, rows: Sequence[Record], user_id: str
    ) -> AsyncIterator[list[str]]:
        """Yield the lines of conversations, many at a time: a line by itself takes longer to yield than to make."""
        from voltmem._areas.transfer.lines import (  # here: as above
            conversation_line,
            memory_line,
            message_line,
            payload_line,
            summary_line,
        )

        sql = self._sql(ExportStatements)
        heads = {row["id"]: [conversation_line(row)] for row in rows}
        ids = list(heads)
        for row in await snapshot.fetch(sql.payloads, ids, user_id):
            heads[row["conversation_id"]].append(payload_line(row))
        # Whose metadata has VoltAgent's place for it, or whose memory VoltAgent may have deleted.
        seen = {row["id"] for row in rows if '"workingMemory"' in (row["metadata"] or "")}
        for row in await snapshot.fetch(sql.memory, ids, user_id):
            heads[row["conversation_id"]].append(memory_line(row))
            seen.add(row["conversation_id"])
        for row in await snapshot.fetch(sql.changed_memory, sorted(seen), user_id) if seen else ():
            heads[row["conversation_id"]].append(memory_line(row))
        summarised = [row["id"] for row in rows if row["summary_id"] is not None]
        for row in await snapshot.fetch(sql.summaries, summarised, user_id) if summarised else ():
            heads[row["conversation_id"]].append(summary_line(row))
        async for page in snapshot.pages(sql.messages, ids, user_id, at_once=_MESSAGES_AT_ONCE):
            lines: list[str] = []
            for row in page:
                while row["conversation_id"] in heads:
                    lines += heads.pop(next(iter(heads)))
                lines.append(message_line(row))
            yield lines
        yield [line for head in heads.values() for line in head]

    async def _run_lines(self, snapshot: BoundConnection, rows: Sequence[Record]) -> AsyncIterator[str]:
        from voltmem._areas.transfer.lines import event_line, run_line, step_line  # here: as above

        sql = self._sql(ExportStatements)
        ids = [row["id"] for row in rows]
        details: defaultdict[str, list[str]] = defaultdict(list)
        for row in await snapshot.fetch(sql.steps, ids):
            details[row["history_id"]].append(step_line(row))
        for row in await snapshot.fetch(sql.events, ids):
            details[row["history_id"]].append(event_line(row))
        for row in rows:
            yield run_line(row)
            for line in details[row["id"]]:
                yield line


async def _together(rows: AsyncIterator[Record]) -> AsyncIterator[list[Record]]:
    """Yield the rows in lists of _AT_ONCE."""
    batch: list[Record] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
