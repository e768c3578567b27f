"""Answers that the chat writes: what became of each, and what it has said so far. Not part of the storage's face."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from voltmem._areas.area import Access
from voltmem._areas.leases import in_force
from voltmem._areas.queries import ON_LINE
from voltmem._tables import Tables

ANSWER: Final = "answer"
"""The purpose of the lease under which an answer is written."""

Status: TypeAlias = Literal["streaming", "approval", "complete", "stopped", "failed"]

_MOST_ANSWERS: Final = 200


@dataclass(frozen=True)
class StoredAnswer:
    """What is known of an answer."""

    conversation_id: str
    question_id: str
    answer_id: str
    token: int
    status: Status
    started_at: datetime
    ended_at: datetime | None
    state: str | None
    """What it needs to go on, as JSON, if it waits for approval."""
    is_held: bool
    """Whether the process that writes it has the lease."""

    @property
    def is_running(self) -> bool:
        """Whether a process writes it."""
        return self.status == "streaming" and self.is_held

    @property
    def is_orphan(self) -> bool:
        """Whether the process that wrote it has died."""
        return self.status == "streaming" and not self.is_held


class Piece(NamedTuple):
    """What an answer said between two moments."""

    number: int
    """The number of its last event; the first event of the answer has 1."""
    parts: str
    """The events, as JSON."""


class Place(NamedTuple):
    """Where an answer belongs."""

    is_off_line: bool
    """Whether a branch without its question, or with another answer to it, is chosen."""
    head: str | None
    """The last message of the chosen branch; None: it has none."""


class AnswerStatements:
    """The statements whose text does not depend on the arguments. $1 is the conversation."""

    def __init__(self, tables: Tables) -> None:
        answers, pieces, leases, messages = tables.answers, tables.answer_pieces, tables.leases, tables.messages
        held = f"""SELECT l.stop_requested FROM {leases} AS l
                WHERE l.conversation_id = $1 AND l.purpose = '{ANSWER}' AND {in_force("l")}"""
        columns = f"""a.conversation_id, a.question_id, a.answer_id, a.token, a.status, a.started_at, a.ended_at,
                a.state,
                EXISTS (
                    SELECT 1 FROM {leases} AS l
                    WHERE l.conversation_id = a.conversation_id AND l.purpose = '{ANSWER}' AND l.token = a.token
                        AND {in_force("l")}
                ) AS is_held"""
        of_user = f"""
            FROM {answers} AS a JOIN {tables.conversations} AS c ON c.id = a.conversation_id
            WHERE a.conversation_id = $1 AND c.user_id = $2 AND c.deleted_at IS NULL"""
        # Pieces are left of an answer whose process died right after its end.
        self.begin = f"""
            WITH old AS (DELETE FROM {pieces} WHERE conversation_id = $1),
            passed_over AS (
                UPDATE {answers} SET status = 'stopped', state = NULL
                WHERE conversation_id = $1 AND question_id <> $2 AND status = 'approval'
            )
            INSERT INTO {answers} AS a
                (conversation_id, question_id, answer_id, token, status, started_at)
            VALUES ($1, $2, $3, $4, 'streaming', pg_catalog.statement_timestamp())
            ON CONFLICT (conversation_id, question_id) DO UPDATE SET
                answer_id = excluded.answer_id, token = excluded.token, status = excluded.status,
                started_at = excluded.started_at, ended_at = NULL, state = NULL"""
        # A stale process stores nothing: see confirm_lease().
        self.grow = f"""
            WITH held AS ({held} AND l.token = $2 FOR KEY SHARE OF l),
            stored AS (
                INSERT INTO {pieces} (conversation_id, answer_id, number, parts)
                SELECT $1, $3, $4, $5 FROM held WHERE $5::text IS NOT NULL
                ON CONFLICT (conversation_id, answer_id, number) DO NOTHING
            )
            SELECT stop_requested OR NOT EXISTS (
                SELECT 1 FROM {messages} AS m WHERE m.conversation_id = $1 AND m.message_id = $6
            ) AS is_to_stop FROM held"""
        self.end = f"""
            UPDATE {answers} SET status = $4, state = $5, ended_at = pg_catalog.statement_timestamp()
            WHERE conversation_id = $1 AND question_id = $2 AND answer_id = $3
            RETURNING true"""
        self.forget = f"""
            DELETE FROM {answers} AS a
            WHERE a.conversation_id = $1 AND a.question_id = $2 AND NOT EXISTS (
                SELECT 1 FROM {messages} AS m WHERE m.conversation_id = $1 AND m.message_id = $2
            )"""
        # Also in a conversation that is deleted, where keep_lease() ends none.
        self.let_go = f"""
            UPDATE {leases} AS l SET until = pg_catalog.statement_timestamp()
            WHERE l.conversation_id = $1 AND l.purpose = '{ANSWER}' AND l.until > pg_catalog.statement_timestamp()
                AND l.token = (SELECT a.token FROM {answers} AS a WHERE a.conversation_id = $1 AND a.answer_id = $2)"""
        # Those who watch are told what changes the row of the conversation: see ChangeStatements.
        self.tell = f"""
            UPDATE {tables.conversations} SET updated_at = updated_at WHERE id = $1
            RETURNING true"""
        # Nobody chooses another branch before the transaction ends.
        self.lock = f"SELECT 1 FROM {tables.conversations} WHERE id = $1 FOR NO KEY UPDATE"
        # What was on the line after the question before the answer began is another answer to it, or another question.
        self.place = f"""
            SELECT q.aside OR EXISTS (
                    SELECT 1 FROM {messages} AS m
                    WHERE m.conversation_id = $1 AND {ON_LINE} AND (m.created_at, m.seq) > (q.created_at, q.seq)
                        AND m.created_at < a.started_at AND m.message_id <> a.answer_id
                ) AS is_off_line,
                (
                    SELECT m.message_id FROM {messages} AS m
                    WHERE m.conversation_id = $1 AND {ON_LINE} ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
                ) AS head
            FROM {answers} AS a JOIN {messages} AS q
                ON q.conversation_id = a.conversation_id AND q.message_id = a.question_id
            WHERE a.conversation_id = $1 AND a.question_id = $2 AND NOT q.archived"""
        self.clear = f"DELETE FROM {pieces} WHERE conversation_id = $1 AND answer_id = $2"
        self.take_orphan = f"""
            UPDATE {answers} AS a SET status = 'failed', ended_at = pg_catalog.statement_timestamp()
            WHERE a.conversation_id = $1 AND a.question_id = $2 AND a.token = $3 AND a.status = 'streaming'
                AND NOT EXISTS ({held} AND l.token = $3)
            RETURNING true"""
        self.pieces = f"""
            SELECT number, parts FROM {pieces}
            WHERE conversation_id = $1 AND answer_id = $2 ORDER BY number"""
        self.unfinished = f"""
            SELECT {columns} {of_user} AND a.status <> 'complete' ORDER BY a.token DESC LIMIT {_MOST_ANSWERS}"""
        self.last = f"SELECT {columns} {of_user} ORDER BY a.token DESC LIMIT 1"
        self.to_question = f"SELECT {columns} {of_user} AND a.question_id = $3"
        self.growth = f"""
            SELECT growing.*, p.number, p.parts
            FROM (SELECT {columns} {of_user} AND a.answer_id = $3) AS growing
            LEFT JOIN {pieces} AS p
                ON p.conversation_id = $1 AND p.answer_id = $3 AND p.number > $4
            ORDER BY p.number"""
        # The question of an answer that is written was stored lately, so its conversation is among the latest.
        self.running = f"""
            SELECT {columns}
            FROM (
                SELECT id FROM {tables.conversations}
                WHERE user_id = $1 AND deleted_at IS NULL ORDER BY updated_at DESC, id DESC LIMIT {_MOST_ANSWERS}
            ) AS c JOIN {answers} AS a ON a.conversation_id = c.id
            WHERE a.status = 'streaming'"""


class AnswerRows:
    """The rows of answers. What it writes belongs into a transaction that confirms the lease, except grow()."""

    def __init__(self, reach: Access) -> None:
        self._executor = reach.executor
        self._sql = reach.sql(AnswerStatements)

    async def begin(self, conversation_id: str, question_id: str, answer_id: str, token: int) -> None:
        """Store that the answer to a question is written now."""
        await self._executor.fetchrow(self._sql.begin, conversation_id, question_id, answer_id, token)

    async def grow(
        self, conversation_id: str, token: int, question_id: str, answer_id: str, piece: Piece | None
    ) -> bool | None:
        """
        Store what an answer said; None: nothing.

        Returns whether to stop, as for a question that is gone; None if the lease is lost, and nothing was stored.
        """
        number, parts = piece or (None, None)
        row = await self._executor.fetchrow(
            self._sql.grow, conversation_id, token, answer_id, number, parts, question_id
        )
        return None if row is None else bool(row["is_to_stop"])

    async def end(
        self, conversation_id: str, question_id: str, answer_id: str, status: Status, state: str | None = None
    ) -> None:
        """Store what became of an answer."""
        await self._executor.fetchrow(self._sql.end, conversation_id, question_id, answer_id, status, state)

    async def forget(self, conversation_id: str, question_id: str) -> None:
        """Delete the row of an answer if its question is gone."""
        await self._executor.fetchrow(self._sql.forget, conversation_id, question_id)

    async def let_go(self, conversation_id: str, answer_id: str) -> None:
        """End the lease of an answer that is given up, so that whoever looks next stores what it said."""
        await self._executor.fetchrow(self._sql.let_go, conversation_id, answer_id)

    async def place(self, conversation_id: str, question_id: str) -> Place | None:
        """Return where the answer to a question belongs, until the transaction ends; None if the question is gone."""
        await self._executor.fetchrow(self._sql.lock, conversation_id)
        row = await self._executor.fetchrow(self._sql.place, conversation_id, question_id)
        return None if row is None else Place(*row)

    async def tell(self, conversation_id: str) -> None:
        """Tell those who watch the conversation that an answer has ended which says nothing: no message tells them."""
        await self._executor.fetchrow(self._sql.tell, conversation_id)

    async def clear(self, conversation_id: str, answer_id: str) -> None:
        """Delete the pieces of an answer."""
        await self._executor.fetchrow(self._sql.clear, conversation_id, answer_id)

    async def take_orphan(self, answer: StoredAnswer) -> bool:
        """Store that the process of an answer has died. Returns False if another caller did so."""
        row = await self._executor.fetchrow(
            self._sql.take_orphan, answer.conversation_id, answer.question_id, answer.token
        )
        return row is not None

    async def pieces(self, conversation_id: str, answer_id: str) -> list[Piece]:
        """Return what an answer has said, from its beginning."""
        rows = await self._executor.fetch(self._sql.pieces, conversation_id, answer_id)
        return [Piece(*row) for row in rows]

    async def unfinished(self, user_id: str, conversation_id: str) -> list[StoredAnswer]:
        """Return the latest answers that are not complete, newest first."""
        return [_answer(row) for row in await self._executor.fetch(self._sql.unfinished, conversation_id, user_id)]

    async def last(self, user_id: str, conversation_id: str) -> StoredAnswer | None:
        """Return the answer that began last."""
        return _found(await self._executor.fetchrow(self._sql.last, conversation_id, user_id))

    async def to_question(self, user_id: str, conversation_id: str, question_id: str) -> StoredAnswer | None:
        """Return the last answer to a question."""
        return _found(await self._executor.fetchrow(self._sql.to_question, conversation_id, user_id, question_id))

    async def growth(
        self, user_id: str, conversation_id: str, answer_id: str, after: int
    ) -> tuple[StoredAnswer, list[Piece]] | None:
        """Return an answer, and its pieces that end after an event; None if it is not there any more."""
        rows = await self._executor.fetch(self._sql.growth, conversation_id, user_id, answer_id, after)
        if not rows:
            return None
        pieces = [Piece(row["number"], row["parts"]) for row in rows if row["number"] is not None]
        return _answer(rows[0]), pieces

    async def running(self, user_id: str) -> list[StoredAnswer]:
        """Return the answers that are written in a user's latest conversations."""
        found = [_answer(row) for row in await self._executor.fetch(self._sql.running, user_id)]
        return [answer for answer in found if answer.is_running]


def _found(row: Iterable[Any] | None) -> StoredAnswer | None:
    return None if row is None else _answer(row)


def _answer(row: Iterable[Any]) -> StoredAnswer:
    return StoredAnswer(*tuple(row)[:9])  # growth() has a piece after it
