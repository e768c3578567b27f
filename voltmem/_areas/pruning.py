"""Retention: deleting what is older than a time, in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from voltmem._areas.area import Area
from voltmem._areas.queries import authored
from voltmem._model import Model
from voltmem._tables import Tables
from voltmem._values import check_count, check_flag, check_id_or_none, check_owner, short_repr
from voltmem.errors import InvalidInputError, InvalidQueryError
from voltmem.models import Owner

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

# How many conversations, or runs, are looked at in one statement, and how many messages are deleted in one: their
# conversation is locked for some tens of milliseconds.
_AT_ONCE: Final = 500
# Nothing is older, and PostgreSQL can subtract it from the time.
_LONGEST: Final = timedelta(days=700_000)


class Pruned(Model):
    """What prune() has deleted, or would delete."""

    messages: int
    """The number of messages, those of deleted conversations included."""
    conversations: int
    """The number of conversations."""
    runs: int
    """The number of recorded runs."""


class PruneStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, entries = tables.conversations, tables.messages, tables.agent_history

        # A vector of VoltAgent's has no reference to its message. Steps refer to the conversation.
        has_vectors = f"pg_catalog.to_regclass('{tables.of_voltagents_vectors}') IS NOT NULL"

        def cut(age: str) -> str:
            """Return the time before which everything is old."""
            return f"(pg_catalog.statement_timestamp() - {age}::interval)"

        # So the index of the line is searched from the oldest message on, in all of its parts.
        in_any_part = "m.archived = ANY (ARRAY[false, true]) AND m.aside = ANY (ARRAY[false, true])"

        def old(conversation: str, age: str, archived: str, keep_last: str, user: str) -> str:
            """Return the FROM and the WHERE of the old messages of a conversation that a user wrote. NULL: anyone."""
            owner = f"(SELECT user_id FROM {conversations} WHERE id = {conversation})"
            # If there are fewer than stay, the comparison is with NULL, so all stay.
            newest = f"""
                    SELECT n.created_at, n.seq FROM {messages} AS n
                    WHERE n.conversation_id = {conversation} AND NOT n.archived AND NOT n.aside
                    ORDER BY n.created_at DESC, n.seq DESC OFFSET greatest({keep_last}::bigint, 1) - 1 LIMIT 1"""
            return f"""FROM {authored(tables)} AS m
                WHERE m.conversation_id = {conversation} AND {in_any_part} AND m.created_at < {cut(age)}
                    AND (m.archived OR NOT {archived}::boolean)
                    AND ({user}::text IS NULL OR coalesce(m.author, {owner}) = {user})
                    AND ({keep_last}::bigint = 0 OR (m.created_at, m.seq) < ({newest}))"""

        count = f"(SELECT pg_catalog.count(*) {old('c.id', '$3', '$4', '$5', '$2')}) AS old"
        # The conversations after $1, of the user $2 and the resource $6, with the number of their old messages, and
        # whether they are old: see prune_conversation.
        self.conversations = f"""
            SELECT c.id, {count},
                c.updated_at < {cut("$3")} AND NOT $4 AND $5::bigint = 0 AND NOT EXISTS (
                    SELECT 1 FROM {messages} AS m
                    WHERE m.conversation_id = c.id AND {in_any_part} AND m.created_at >= {cut("$3")}
                ) AND NOT EXISTS (
                    SELECT 1 FROM {tables.conversation_memory} AS v
                    WHERE v.conversation_id = c.id AND v.created_at >= {cut("$3")}
                ) AS is_old, {has_vectors} AS has_vectors
            FROM {conversations} AS c
            WHERE c.id > $1 AND ($2::text IS NULL OR c.user_id = $2) AND ($6::text IS NULL OR c.resource_id = $6)
                AND c.deleted_at IS NULL
            ORDER BY c.id LIMIT {_AT_ONCE}"""
        # Those of other users in which the user has written, in VoltAgent's tables. They stay. IN, not EXISTS,
        # beside which Citus cannot plan the count.
        self.others = f"""
            SELECT c.id, {count}, false AS is_old
            FROM {conversations} AS c
            WHERE c.id > $1 AND c.user_id <> $2 AND ($6::text IS NULL OR c.resource_id = $6) AND c.deleted_at IS NULL
                AND c.id IN (SELECT m.conversation_id FROM {authored(tables)} AS m WHERE m.author = $2)
            ORDER BY c.id LIMIT {_AT_ONCE}"""
        self.messages = f"""
            SELECT m.message_id {old("$1", "$2", "$3", "$4", "$5")}
            ORDER BY m.created_at, m.seq LIMIT {_AT_ONCE}"""
        self.conversation = f"SELECT {tables.prune_conversation}($1, $2, $3) AS is_gone"
        self.forget_derived = f"SELECT vectors, steps FROM {tables.forget_derived}($1, NULL)"
        # Lateral: what was derived goes before the messages.
        self.delete_messages = f"""
            SELECT d.dropped
            FROM {tables.forget_derived}($1, $3) AS f
            CROSS JOIN LATERAL {tables.drop_messages}(
                $1, $2, CASE WHEN f.vectors IS NOT NULL THEN $3::text[] END, NULL, NULL
            ) AS d"""
        page = f"""
            WITH page AS (
                SELECT id, "timestamp" < {cut("$3")} AS is_old FROM {entries}
                WHERE id > $1 AND ($2::text IS NULL OR userid = $2)
                ORDER BY id LIMIT {_AT_ONCE}
            )"""
        found = "SELECT pg_catalog.max(id) AS last, (SELECT pg_catalog.count(*) FROM {}) AS runs FROM page"
        self.count_runs = f"{page} {found.format('page WHERE is_old')}"
        self.delete_runs = f"""{page}, deleted AS (
                DELETE FROM {entries} AS e USING page WHERE e.id = page.id AND page.is_old RETURNING 1
            ) {found.format("deleted")}"""


@dataclass(frozen=True)
class _Rule:
    """What is old, and whose."""

    owner: str | None
    age: timedelta
    archived: bool
    keep_last: int
    resource_id: str | None


class Pruning(Area):
    """The verb about retention."""

    async def prune(
        self,
        user_id: Owner,
        *,
        older_than: timedelta,
        keep_last: int = 0,
        archived: bool = False,
        resource_id: str | None = None,
        runs: bool = False,
        dry_run: bool = False,
    ) -> Pruned:
        """
        Delete messages that are older than a time, and the conversations that have no others. Returns how many.

        ::

            await storage.prune(ANY_USER, older_than=timedelta(days=365), runs=True)  # in a nightly task
            await storage.prune("ada", older_than=timedelta(days=30), keep_last=20)

        Pinned conversations are no exception. Files, links and payloads go with what they belong to; files that no
        message uses any more are deleted by purge_unused_files(). So do VoltAgent's vectors of the messages, and its
        steps that quote them; its states of workflows stay. Soft-deleted conversations stay: see
        purge_deleted_conversations().

        Args:
            user_id: Only this user's, also in others' conversations (see VoltAgent), which stay. ANY_USER: all users'.
            older_than: Messages count from their created_at, by the database's clock; conversations from their
                updated_at, or from the last change of their working memory; runs from their timestamp.
            keep_last: How many of the newest messages of each conversation stay, whatever their age; then their
                conversation stays, too.
            archived: Only messages that the storage limit archived (on_limit="archive").
            resource_id: Only the conversations of this agent or project.
            runs: Also recorded runs, with their steps and events. Not with a resource_id, which runs do not have.
            dry_run: Delete nothing, and return what would be deleted.

        Raises:
            InvalidQueryError: runs with a resource_id, or keep_last is no count.
            OutcomeUnknownError: The connection broke; some may have been deleted. Call it again.

        Works in batches of 500, so that it blocks nobody, and may be repeated or interrupted. A round trip for each 500
        conversations, two for each 500 messages, one for each conversation that goes; and for one user, one that reads
        all conversations if VoltAgent stores who wrote a message.
        """
        given: object = older_than
        if not isinstance(given, timedelta) or given < timedelta(0):
            raise InvalidInputError(f"older_than must be a timedelta of 0 or more, not {short_repr(older_than)}")
        check_count("keep_last", keep_last)
        check_id_or_none(resource_id=resource_id)
        for name, flag in (("archived", archived), ("runs", runs), ("dry_run", dry_run)):
            check_flag(name, flag)
        if runs and resource_id is not None:
            raise InvalidQueryError("runs belong to no resource: leave out runs=True, or resource_id")
        owner = check_owner("user_id", user_id)
        rule = _Rule(owner, min(older_than, _LONGEST), archived, keep_last, resource_id)
        messages = conversations = 0
        async for found in self._conversations(rule):
            if found["is_old"] and (dry_run or await self._delete(found, rule)):
                messages, conversations = messages + found["old"], conversations + 1
            elif dry_run:
                messages += found["old"]
            elif found["old"]:
                messages += await self._delete_messages(found["id"], rule)
        gone = await self._runs(rule, dry_run=dry_run) if runs else 0
        return Pruned(messages=messages, conversations=conversations, runs=gone)

    async def _conversations(self, rule: _Rule) -> AsyncIterator[Record]:
        """Yield the conversations that have old messages, or are old themselves."""
        sql = self._sql(PruneStatements)
        for statement in [sql.conversations] if rule.owner is None else [sql.conversations, sql.others]:
            after: str | None = ""
            while after is not None:
                arguments = (after, rule.owner, rule.age, rule.archived, rule.keep_last, rule.resource_id)
                page = await self._executor.fetch(statement, *arguments)
                for row in page:
                    if row["old"] or row["is_old"]:
                        yield row
                after = page[-1]["id"] if len(page) == _AT_ONCE else None

    async def _delete(self, found: Record, rule: _Rule) -> bool:
        """Delete a conversation, unless it has become newer. Returns whether it was deleted."""
        sql, id = self._sql(PruneStatements), found["id"]
        if found["has_vectors"]:  # if the conversation stays, they are those of messages that are old all the same
            await self._executor.fetchrow(sql.forget_derived, id)
        row = await self._executor.fetchrow(sql.conversation, id, rule.owner, rule.age, repeatable=False)
        return row is not None and row["is_gone"]

    async def _delete_messages(self, conversation_id: str, rule: _Rule) -> int:
        """Delete the old messages of a conversation. Returns how many."""
        count = 0
        while True:
            arguments = (conversation_id, rule.age, rule.archived, rule.keep_last, rule.owner)
            rows = await self._executor.fetch(self._sql(PruneStatements).messages, *arguments)
            if not rows:
                return count
            ids = [row["message_id"] for row in rows]
            statement = self._sql(PruneStatements).delete_messages
            row = await self._executor.fetchrow(statement, conversation_id, rule.owner, ids, repeatable=False)
            dropped = 0 if row is None else row["dropped"] or 0
            count += dropped
            if len(ids) < _AT_ONCE or not dropped:
                return count

    async def _runs(self, rule: _Rule, *, dry_run: bool) -> int:
        sql = self._sql(PruneStatements)
        count, after = 0, ""
        while True:
            row = await self._executor.fetchrow(
                sql.count_runs if dry_run else sql.delete_runs, after, rule.owner, rule.age, repeatable=dry_run
            )
            if row is None or row["last"] is None:
                return count
            count, after = count + row["runs"], row["last"]
