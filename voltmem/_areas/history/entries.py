"""The agent history: everything that reads or writes its three tables, entries, their steps and their events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from voltmem._areas.area import Area
from voltmem._areas.cursors import HistoryCursor
from voltmem._areas.history.models import (
    ENTRY_JSON,
    EVENT_JSON,
    AgentHistoryEntry,
    AgentHistoryPage,
    AgentHistoryStep,
    TimelineEvent,
)
from voltmem._areas.queries import Select
from voltmem._model import Row
from voltmem._tables import Tables
from voltmem._values import ANY_USER, MAX_BIGINT, check_count, check_flag, check_id, check_id_or_none, check_owner
from voltmem.errors import HistoryEntryNotFoundError
from voltmem.models import Owner
from voltmem.options import HISTORY_LIMIT


def _as_text(names: Sequence[str]) -> str:
    return ", ".join(f"{name}::text AS {name}" for name in (*names, "exact"))


ENTRY_COLUMNS: Final = f'id, agent_id, "timestamp", status, userid, conversationid, {_as_text(ENTRY_JSON)}'
STEP_COLUMNS: Final = f"key, history_id, {_as_text(['value'])}"
EVENT_COLUMNS: Final = (
    "id, history_id, event_type, event_name, start_time, end_time, status, status_message, level, version, "
    f"parent_event_id, {_as_text(EVENT_JSON)}"
)


class HistoryStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        entries, steps, events = tables.agent_history, tables.agent_history_steps, tables.agent_history_timeline_events
        # $3 names the columns that were given; only these change.
        new = {name: f"excluded.{name}" for name in ("status", "userid", "conversationid", *ENTRY_JSON)}
        new["userid"] = "$6::text"
        given = ",\n                ".join(
            f"{name} = CASE WHEN '{name}' = ANY($3::text[]) THEN {value} ELSE existing.{name} END"
            for name, value in new.items()
        )
        # A new run without a user is the owner's of its conversation. It is decided now: the id may be used again.
        user = f"coalesce($6::text, (SELECT c.user_id FROM {tables.conversations} AS c WHERE c.id = $7::text))"

        def put(source: str = "") -> str:
            """Return the statement that adds an entry or replaces the one with its id."""
            return f"""
            INSERT INTO {entries} AS existing
                (id, agent_id, "timestamp", status, userid, conversationid, {", ".join(ENTRY_JSON)}, exact)
            SELECT $1::text, $2::text, coalesce($4::timestamptz, pg_catalog.statement_timestamp()),
                $5::text, {user}, $7::text,
                $8::text::jsonb, $9::text::jsonb, $10::text::jsonb, $11::text::jsonb, $12::text::jsonb
            {source}
            ON CONFLICT (id) DO UPDATE SET
                agent_id = excluded.agent_id,
                "timestamp" = CASE WHEN $4 IS NULL THEN existing."timestamp" ELSE excluded."timestamp" END,
                {given},
                exact = {_exact("$3")}
            RETURNING {ENTRY_COLUMNS}"""

        self.put_entry = put()
        # Only an entry that exists. With the lock, it cannot be deleted before the update.
        self.put_existing_entry = put(f"FROM {entries} AS entry WHERE entry.id = $1 FOR NO KEY UPDATE")
        # FOR KEY SHARE: the entry cannot be deleted before its step or event is stored.
        self.put_step = f"""
            INSERT INTO {steps} AS existing (key, value, exact, agent_id, history_id)
            SELECT $1::text, $2::text::jsonb, $3::text::jsonb, $6::text, entry.id
            FROM {entries} AS entry WHERE entry.id = $7 FOR KEY SHARE
            ON CONFLICT (key) DO UPDATE SET
                value = CASE WHEN $5::boolean THEN excluded.value ELSE existing.value || excluded.value END,
                exact = CASE WHEN $5 THEN excluded.exact ELSE {_exact("$4")} END,
                agent_id = excluded.agent_id,
                history_id = excluded.history_id
            RETURNING {STEP_COLUMNS}"""
        columns = (
            "event_type, event_name, end_time, status, status_message, level, version, parent_event_id, "
            f"{', '.join(EVENT_JSON)}, exact, agent_id, history_id"
        )
        self.put_event = f"""
            INSERT INTO {events} AS existing (id, start_time, {columns})
            SELECT $1::text, coalesce($2::timestamptz, pg_catalog.statement_timestamp()),
                $3::text, $4::text, $5::timestamptz,
                $6::text, $7::text, $8::text, $9::text, $10::text, $11::text::jsonb, $12::text::jsonb,
                $13::text::jsonb, $14::text::jsonb, $15::text::jsonb, $16::text::jsonb, $17::text, entry.id
            FROM {entries} AS entry WHERE entry.id = $18 FOR KEY SHARE
            ON CONFLICT (id) DO UPDATE SET
                start_time = CASE WHEN $2 IS NULL THEN existing.start_time ELSE excluded.start_time END,
                {", ".join(f"{name} = excluded.{name}" for name in columns.split(", "))}
            RETURNING {EVENT_COLUMNS}"""
        self.entry = f"""
            SELECT {ENTRY_COLUMNS} FROM {entries}
            WHERE id = $1"""
        # Its steps and events go with it.
        self.delete_entry = f"""
            DELETE FROM {entries} WHERE id = $1 AND ($2::text IS NULL OR userid = $2)"""
        self.step = f"""
            SELECT {STEP_COLUMNS} FROM {steps}
            WHERE key = $1"""
        # Rows that VoltAgent wrote before we adopted its tables have seq 0; their steps have a timestamp.
        self.steps = f"""
            SELECT {STEP_COLUMNS} FROM {steps}
            WHERE history_id = ANY($1::text[])
            ORDER BY seq, value ->> 'timestamp'::text, key"""
        self.events = f"""
            SELECT {EVENT_COLUMNS} FROM {events}
            WHERE history_id = ANY($1::text[])
            ORDER BY start_time, seq, id"""


def _exact(given: str) -> str:
    """Return the SQL of the new column exact: kept for fields that are not given, replaced for those that are."""
    kept = f"coalesce(existing.exact, '{{}}') - {given}::text[]"
    return f"nullif(({kept}) || coalesce(excluded.exact, '{{}}'), '{{}}')"


@dataclass(frozen=True)
class HistoryQuery:
    """A list of entries, newest first. Raises InvalidQueryError or InvalidInputError for invalid arguments."""

    agent_id: str | None = None
    user_id: Owner = ANY_USER
    conversation_id: str | None = None
    limit: int | None = None
    offset: int = 0
    after: HistoryCursor | None = None

    def __post_init__(self) -> None:
        check_id_or_none(agent_id=self.agent_id, conversation_id=self.conversation_id)
        check_owner("user_id", self.user_id)
        if self.limit is not None:
            check_count("limit", self.limit)
        check_count("offset", self.offset)

    def sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement and its arguments. No I/O; equal queries give equal text."""
        statement = Select()
        if self.agent_id is not None:
            statement.where("agent_id = {}", self.agent_id)
        if self.user_id is not ANY_USER:
            statement.where("userid = {}", self.user_id)
        if self.conversation_id is not None:
            statement.where("conversationid = {}", self.conversation_id)
        if self.after is not None:
            statement.where('("timestamp", id) < ({}, {})', self.after.timestamp, self.after.id)
        order = '"timestamp" DESC, id DESC'
        text = statement.text(ENTRY_COLUMNS, tables.agent_history, order, self.limit, self.offset)
        return text, statement.arguments


class AgentHistory(Area):
    """The verbs of the agent history. PostgresStorage inherits from all areas."""

    # --- writing ----------------------------------------------------------------------------------------------

    async def add_history_entry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agent_id: str
    ) -> AgentHistoryEntry:
        """
        Add an entry to the agent history, or replace the one with this key.

        Returns it as stored, without its steps and events.

        Args:
            key: The id of the entry. Replacing an entry keeps its steps and events, and its time unless *value* has a
                timestamp. So a retry stores it once.
            value: A model or a dict in either spelling; every field is optional. Only None is stored as NULL. An id,
                an agent, steps and events in it are ignored: they have arguments and verbs of their own.
            agent_id: The agent whose run it was.

        Raises:
            InvalidInputError: A field is unknown or has the wrong type.

        VoltAgent: ``addHistoryEntry`` (which stores 0, "" and False as NULL).
        """
        return await self._put_entry(key, value, agent_id, whole=True)

    async def update_history_entry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agent_id: str, *, create: bool = False
    ) -> AgentHistoryEntry:
        """
        Update the given fields of an entry. Returns it as stored, without its steps and events.

        Args:
            key: The id of the entry.
            value: A dict of the fields to change (None clears a field), or a model, of which only the fields that
                were set count. An id, an agent, steps and events in it are ignored.
            agent_id: The agent whose run it is from now on.
            create: Whether a missing entry is created, as in VoltAgent. Not for the end of a run: its user may have
                been deleted meanwhile, and must not come back with it.

        Raises:
            HistoryEntryNotFoundError: There is no such entry, and *create* is false.
            InvalidInputError: A field is unknown or has the wrong type.

        VoltAgent: ``updateHistoryEntry`` (which creates a missing entry, and clears the fields that are not given).
        """
        check_flag("create", create)
        return await self._put_entry(key, value, agent_id, whole=False, create=create)

    async def _put_entry(
        self,
        key: str,
        value: AgentHistoryEntry | Mapping[str, object],
        agent_id: str,
        *,
        whole: bool,
        create: bool = True,
    ) -> AgentHistoryEntry:
        check_id(key=key, agent_id=agent_id)
        entry = AgentHistoryEntry.kept_under(value, id=key, agent_id=agent_id)
        sql = self._sql(HistoryStatements)
        statement = sql.put_entry if create else sql.put_existing_entry
        row = await self._executor.fetchrow(statement, *entry.to_row(whole=whole))
        if row is None:
            raise HistoryEntryNotFoundError(key)
        return AgentHistoryEntry.from_row(row)

    async def add_history_step(
        self, key: str, value: AgentHistoryStep | Mapping[str, object], history_id: str, agent_id: str
    ) -> AgentHistoryStep:
        """
        Add a step to an entry, or replace the one with this key in its place. Returns it as stored.

        Args:
            key: The id of the step.
            value: A model or a dict. Fields that the model does not have are kept too. An id in it is ignored.
            history_id: The id of the entry.
            agent_id: The agent whose step it was; a sub-agent's differs from the entry's.

        Raises:
            HistoryEntryNotFoundError: There is no such entry. Nothing is stored.
            InvalidInputError: A field has the wrong type or cannot be stored.

        VoltAgent: ``addHistoryStep``.
        """
        return await self._put_step(key, value, history_id, agent_id, whole=True)

    async def update_history_step(
        self, key: str, value: AgentHistoryStep | Mapping[str, object], history_id: str, agent_id: str
    ) -> AgentHistoryStep:
        """
        Update the given fields of a step. Returns it as stored.

        Args:
            key: The id of the step. A missing step is created, as in VoltAgent.
            value: A dict of the fields to change; each replaces the old value as a whole. Or a model, of which only
                the fields that were set count.
            history_id: The id of the entry that it belongs to from now on.
            agent_id: The agent whose step it is from now on.

        Errors as in add_history_step(). One statement. VoltAgent: ``updateHistoryStep`` (which replaces the step).
        """
        return await self._put_step(key, value, history_id, agent_id, whole=False)

    async def _put_step(
        self,
        key: str,
        value: AgentHistoryStep | Mapping[str, object],
        history_id: str,
        agent_id: str,
        *,
        whole: bool,
    ) -> AgentHistoryStep:
        check_id(key=key, history_id=history_id, agent_id=agent_id)
        step = AgentHistoryStep.kept_under(value, id=key).to_row(whole=whole)
        row = await self._executor.fetchrow(self._sql(HistoryStatements).put_step, *step, whole, agent_id, history_id)
        if row is None:
            raise HistoryEntryNotFoundError(history_id)
        return AgentHistoryStep.from_row(row)

    async def add_timeline_event(
        self, key: str, value: TimelineEvent | Mapping[str, object], history_id: str, agent_id: str
    ) -> TimelineEvent:
        """
        Add an event to the timeline of an entry, or replace the one with this key. Returns it as stored.

        Args:
            key: The id of the event. Write an event when it begins and again, with the same key, when it ends: its
                start time stays unless *value* has another.
            value: A model or a dict in either spelling, with a type and a name. An id and a trace id in it are
                ignored.
            history_id: The id of the entry.
            agent_id: The agent whose event it was.

        Raises:
            HistoryEntryNotFoundError: There is no such entry. Nothing is stored.
            InvalidInputError: A field is missing, unknown or has the wrong type.

        VoltAgent: ``addTimelineEvent`` (which stores the status message as the error).
        """
        check_id(key=key, history_id=history_id, agent_id=agent_id)
        event = TimelineEvent.kept_under(value, id=key)
        statement = self._sql(HistoryStatements).put_event
        row = await self._executor.fetchrow(statement, *event.to_row(), agent_id, history_id)
        if row is None:
            raise HistoryEntryNotFoundError(history_id)
        return TimelineEvent.from_row(row)

    async def delete_history_entry(self, key: str, *, owner: Owner = ANY_USER) -> bool:
        """
        Delete an entry with its steps and timeline events. Returns whether there was one.

        Args:
            key: The id of the entry. If its run is still under way, the end of record_run() does not create it again.
            owner: Only if the run is this user's; ANY_USER: no check, for trusted code.

        A run without a user is nobody's, so only trusted code deletes it.
        """
        check_id(key=key)
        arguments = key, check_owner("owner", owner)
        return await self._executor.execute(self._sql(HistoryStatements).delete_entry, *arguments) > 0

    # --- reading ----------------------------------------------------------------------------------------------

    async def get_history_entry(self, key: str) -> AgentHistoryEntry | None:
        """
        Return an entry with its steps and timeline events, or None.

        Steps come in the order of adding, events by start time; those of sub-agents are included. Three statements.
        VoltAgent: ``getHistoryEntry``.
        """
        check_id(key=key)
        row = await self._executor.fetchrow(self._sql(HistoryStatements).entry, key)
        return None if row is None else (await self._with_details([row]))[0]

    async def get_history_step(self, key: str) -> AgentHistoryStep | None:
        """Return a step, or None. VoltAgent: ``getHistoryStep``."""
        check_id(key=key)
        row = await self._executor.fetchrow(self._sql(HistoryStatements).step, key)
        return None if row is None else AgentHistoryStep.from_row(row)

    async def get_all_history_entries_by_agent(
        self, agent_id: str, *, limit: int | None = None, offset: int = 0
    ) -> list[AgentHistoryEntry]:
        """
        Return an agent's entries with their steps and events, newest first.

        Args:
            agent_id: The agent whose runs to return.
            limit: The maximum number of entries; None: all, 0: none.
            offset: The number of entries to skip. list_history_entries() pages by cursor instead.

        Three statements, whatever the number of entries. VoltAgent: ``getAllHistoryEntriesByAgent`` (two more
        statements for each entry).
        """
        check_id(agent_id=agent_id)
        return await self._with_details(await self._entry_rows(HistoryQuery(agent_id, limit=limit, offset=offset)))

    async def list_history_entries(
        self,
        *,
        agent_id: str | None = None,
        user_id: Owner = ANY_USER,
        conversation_id: str | None = None,
        limit: int = HISTORY_LIMIT,
        after: str | None = None,
    ) -> AgentHistoryPage:
        """
        Return a page of entries with their steps and events, newest first.

        Args:
            agent_id: Only this agent's runs.
            user_id: Only runs for this user; ANY_USER: all runs, also those without a user, for trusted code.
            conversation_id: Only runs in this conversation.
            limit: The maximum number of entries, 1 or more.
            after: The next_cursor of the page before. New entries neither shift a page nor repeat a row.

        Raises:
            InvalidQueryError: The limit is below 1, or the cursor is not the next_cursor of a page.

        Three statements, no COUNT. Uses the index by agent, by user or by conversation; without any of these filters
        it sorts all entries.
        """
        check_count("limit", limit, minimum=1)
        cursor = None if after is None else HistoryCursor.of("after", after)
        query = HistoryQuery(agent_id, user_id, conversation_id, limit=min(limit + 1, MAX_BIGINT), after=cursor)
        rows = await self._entry_rows(query)
        entries = await self._with_details(rows[:limit])
        has_more = len(rows) > limit
        cursor = HistoryCursor(entries[-1].timestamp, entries[-1].id) if has_more else None
        return AgentHistoryPage(entries=entries, next_cursor=None if cursor is None else str(cursor), has_more=has_more)

    async def _entry_rows(self, query: HistoryQuery) -> Sequence[Row]:
        sql, arguments = query.sql(self._options.tables)
        return await self._executor.fetch(sql, *arguments)

    async def _with_details(self, rows: Sequence[Row]) -> list[AgentHistoryEntry]:
        """Return the entries of these rows with their steps and events. Two statements, or none without rows."""
        if not rows:
            return []
        ids = [row["id"] for row in rows]
        steps: defaultdict[str, list[AgentHistoryStep]] = defaultdict(list)
        for row in await self._executor.fetch(self._sql(HistoryStatements).steps, ids):
            steps[row["history_id"]].append(AgentHistoryStep.from_row(row))
        events: defaultdict[str, list[TimelineEvent]] = defaultdict(list)
        for row in await self._executor.fetch(self._sql(HistoryStatements).events, ids):
            events[row["history_id"]].append(TimelineEvent.from_row(row))
        return [AgentHistoryEntry.from_row(row, steps[row["id"]], events[row["id"]]) for row in rows]
